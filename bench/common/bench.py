"""What the Python halves of the contenders share: command line, payloads, result.

The command line is that of bench.hpp. Messages are made before the clock starts (`messages`), each with
its number at both ends; sending one copies it. One line of JSON goes to standard output.
"""

import argparse
import json
import resource
import struct
import time

PERCENTS = [1, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.99]  # as in bench.hpp


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["ping", "pong", "send", "receive", "alone"])
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--wait", choices=["spin", "block"], default="block")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--capacity", type=int, default=1 << 20)
    parser.add_argument("--align", type=int, default=16)
    parser.add_argument("--variant", default="")
    parser.add_argument("--touch", default="all")
    parser.add_argument("--seconds", type=float, default=0.1)
    return parser.parse_args()


def distinct(size):
    """How many different messages there are; number n is sent as n modulo this. As in bench.mjs."""
    return 1024 if size <= 4096 else 16 if size <= 65536 else 4


def messages(size):
    middle = bytes((7 * i + 3) & 255 for i in range(256)) * (size // 256 + 1)
    return [struct.pack("<I", n) + middle[: size - 8] + struct.pack("<I", n) for n in range(distinct(size))]


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def report(**fields):
    print(json.dumps(fields), flush=True)


def ready():
    report(ready=True)


class Stopwatch:
    """Runs from the first message received to the last one checked."""

    def __init__(self):
        self.begin = time.perf_counter_ns()
        self.cpu = cpu_seconds()

    def report(self, count, errors):
        seconds = (time.perf_counter_ns() - self.begin) * 1e-9
        report(count=count, errors=errors, seconds=seconds, cpu_seconds=cpu_seconds() - self.cpu, rate=(count - 1) / seconds)


def percentiles(samples):
    """The points of a distribution of round trips in ns, halved."""
    samples.sort()
    points = {"min": 0, "max": 1, **{f"p{percent:g}": percent / 100 for percent in PERCENTS}}
    return {name: samples[int(part * (len(samples) - 1))] / 2 for name, part in points.items()}


def ping(arguments, round_trip):
    """Calls round_trip(message) -> the bytes that came back, and reports half of its time."""
    prepared = messages(arguments.size)
    many = len(prepared)
    warm_up = arguments.count // 10
    samples = []
    errors = 0
    clock = time.perf_counter_ns
    for number in range(warm_up):
        errors += round_trip(prepared[number % many]) != prepared[number % many]
    cpu = cpu_seconds()
    begin = before = clock()
    for number in range(warm_up, warm_up + arguments.count):
        message = prepared[number % many]
        if round_trip(message) != message:
            errors += 1
        now = clock()
        samples.append(now - before)
        before = now
    seconds = (clock() - begin) * 1e-9
    used = cpu_seconds() - cpu
    report(count=arguments.count, errors=errors, seconds=seconds, cpu_seconds=used, **percentiles(samples))


def start_loops(arguments, prepared, send, receive):
    """The roles ping and send for a transport of one send and one receive call."""
    if arguments.role == "ping":
        def round_trip(message):
            send(message)
            return receive()

        ping(arguments, round_trip)
        return
    many = len(prepared)
    cpu = cpu_seconds()
    for number in range(arguments.count):
        send(prepared[number % many])
    report(count=arguments.count, cpu_seconds=cpu_seconds() - cpu)


def accept_loops(arguments, prepared, send, receive):
    """The roles pong and receive, every message compared."""
    many = len(prepared)
    errors = 0
    if arguments.role == "pong":
        warm_up = arguments.count // 10
        for number in range(arguments.count + warm_up):
            if number == warm_up:
                cpu = cpu_seconds()
            message = receive()
            errors += message != prepared[number % many]
            send(message)
        report(count=arguments.count, errors=errors, cpu_seconds=cpu_seconds() - cpu)
        return
    stopwatch = None
    for number in range(arguments.count):
        message = receive()
        stopwatch = stopwatch or Stopwatch()
        errors += message != prepared[number % many]
    stopwatch.report(arguments.count, errors)
