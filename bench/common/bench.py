"""What the Python halves of the contenders share: command line, payloads, result.

The command line is that of bench.hpp. Messages are made before the clock starts (`messages`), each with
its number at both ends; sending one copies it. One line of JSON goes to standard output.
"""

import argparse
import json
import resource
import struct
import time


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["ping", "pong", "send", "receive"])
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--wait", choices=["spin", "block"], default="block")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--capacity", type=int, default=1 << 20)
    parser.add_argument("--align", type=int, default=16)
    parser.add_argument("--variant", default="")
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
    samples.sort()
    points = {"min": 0, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999, "max": 1}
    report(count=arguments.count, errors=errors, seconds=seconds, cpu_seconds=used,
           **{name: samples[int(part * (len(samples) - 1))] / 2 for name, part in points.items()})
