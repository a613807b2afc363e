"""multiprocessing's Queue, Python to Python: one program that starts the other half, as Queue wants it.

The parent runs on the first CPU, the child on the last. --variant latency: ping-pong over two queues for --seconds;
else the parent puts messages for --seconds and the child takes and checks them, timed from its first to its last.
"""

import multiprocessing
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import bench  # noqa: E402

MOST = 10_000  # messages in a queue


def child(cpu, prepared, forth, back, echo):
    os.sched_setaffinity(0, {cpu})
    many = len(prepared)
    number = errors = 0
    begin = 0
    while (message := forth.get()) is not None:
        if number == 0:
            begin = time.perf_counter_ns()
        errors += message != prepared[number % many]
        number += 1
        if echo:
            back.put(message)
    back.put((number, errors, time.perf_counter_ns() - begin, bench.cpu_seconds()))


def main():
    arguments = bench.parse()
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[0]})
    prepared = bench.messages(arguments.size)
    many = len(prepared)
    echo = arguments.variant == "latency"
    context = multiprocessing.get_context("fork")
    forth, back = context.Queue(MOST), context.Queue(MOST)
    half = context.Process(target=child, args=(cpus[-1], prepared, forth, back, echo), daemon=True)
    half.start()
    clock = time.perf_counter_ns
    samples = []
    number = errors = 0
    cpu = bench.cpu_seconds()
    begin = before = clock()
    while before - begin < arguments.seconds * 1e9:
        message = prepared[number % many]
        forth.put(message)
        if echo:
            errors += back.get() != message
        number += 1
        now = clock()
        samples.append(now - before)
        before = now
    seconds = (before - begin) * 1e-9
    forth.put(None)
    count, wrong, took, used = back.get()
    half.join()
    fields = {"count": count, "errors": errors + wrong, "seconds": seconds, "cpu_seconds": bench.cpu_seconds() - cpu + used}
    if echo:
        fields.update(bench.percentiles(samples))
    else:
        fields.update(seconds=took * 1e-9, rate=(count - 1) / (took * 1e-9))
    bench.report(**fields)


main()
