"""Atoll from Python: from connect to the first message received and checked, once. The import is over by then.

The broker is the one that runs; --variant none: there is none, and connecting starts it. The driver ends it.
"""

import os
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import atoll  # noqa: E402
import bench  # noqa: E402


def main():
    arguments = bench.parse()
    name = "bench/" + os.path.basename(arguments.path) + "/first"
    where = None
    if arguments.variant == "none":
        where = os.path.join(arguments.path, "broker", "socket")
        os.mkdir(os.path.dirname(where), mode=0o700)
    message = bench.messages(arguments.size)[1]
    cpu = bench.cpu_seconds()
    begin = time.perf_counter_ns()
    client = atoll.connect(where)
    client.create(name, capacity=256 << 10)
    consumer = client.open_consumer(name)
    producer = client.open_producer(name)
    producer.send(message)
    received = consumer.receive_bytes()
    took = time.perf_counter_ns() - begin
    used = bench.cpu_seconds() - cpu
    consumer.close()
    producer.close()
    client.remove(name, force=True)
    broker = client.status()["pid"] if where else 0
    client.close()
    bench.report(count=1, errors=int(received != message), seconds=took * 1e-9, cpu_seconds=used, ms=took * 1e-6, broker_pid=broker)


main()
