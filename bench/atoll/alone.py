"""Atoll from Python, one side alone: how many calls a second, with nobody else at work.

--variant send, send_many: into a ring that overwrites, so that nothing waits. receive, receive_bytes,
receive_many: the ring is filled, then the clock runs while it is emptied, and again; every eighth filling
is checked message by message and not timed. A message is released as it would be in a loop that looks at one
after the other. empty: a call of an extension's function that does nothing, in the same loop.
"""

import importlib.machinery
import importlib.util
import itertools
import os
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import atoll  # noqa: E402
import bench  # noqa: E402

ROUND = 10_240  # messages of a filling or of a look at the clock; a multiple of all batches


def empty_call():
    """The function of empty_call.c, which the driver built beside the other programs."""
    build = os.environ.get("ATOLL_BENCH_BUILD") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build-bench")
    path = os.path.join(build, "bench", "empty_call.so")
    loader = importlib.machinery.ExtensionFileLoader("empty_call", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("empty_call", loader))
    loader.exec_module(module)
    return module.empty


def one_by_one(call, messages):
    for message in messages:
        call(message)


def takes(call, count):
    for _ in itertools.repeat(None, count):
        call()


def timed(seconds, step, prepare=None, check=None):
    """Repeats prepare() and step() until step() took so long; returns messages and seconds, without the first."""
    clock = time.perf_counter_ns
    count = errors = spent = 0
    turn = -1  # the first is not counted
    while spent < seconds * 1e9:
        if prepare:
            prepare()
        if check and turn % 8 == 7:
            errors += check()
        else:
            begin = clock()
            step()
            took = clock() - begin
            if turn >= 0:
                spent += took
                count += ROUND
        turn += 1
    return count, errors, spent * 1e-9


def main():
    arguments = bench.parse()
    what = arguments.variant
    prepared = bench.messages(arguments.size)
    messages = list(itertools.islice(itertools.cycle(prepared), ROUND))
    batches = [messages[i:i + arguments.batch] for i in range(0, ROUND, arguments.batch)]
    cpu = bench.cpu_seconds()
    if what == "empty":
        empty = empty_call()
        result = timed(arguments.seconds, lambda: one_by_one(empty, messages))
    else:
        name = "bench/" + os.path.basename(arguments.path) + "/alone"
        with atoll.connect() as client:
            sends = what.startswith("send")
            client.create(name, capacity=arguments.capacity, alignment=arguments.align, when_full="overwrite" if sends else "block")
            with client.open_producer(name) as producer:
                if sends:
                    call, given = (producer.send_many, batches) if what == "send_many" else (producer.send, messages)
                    result = timed(arguments.seconds, lambda: one_by_one(call, given))
                else:
                    with client.open_consumer(name, exclusive=True) as consumer:
                        result = receive(arguments, what, consumer, lambda: producer.send_many(messages), messages)
            client.remove(name, force=True)
    count, errors, seconds = result
    bench.report(count=count, errors=errors, seconds=seconds, cpu_seconds=bench.cpu_seconds() - cpu, rate=count / seconds)


def receive(arguments, what, consumer, fill, messages):
    def check():
        errors = 0
        for message in messages:
            errors += consumer.receive_bytes() != message
        return errors

    def many():
        take, batch = consumer.receive_many, arguments.batch
        left = ROUND
        while left:
            left -= len(take(min(batch, left)))

    one = consumer.receive_bytes if what == "receive_bytes" else consumer.receive
    return timed(arguments.seconds, many if what == "receive_many" else lambda: takes(one, ROUND), fill, check)


main()
