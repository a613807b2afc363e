"""Atoll from Python: from connect to the first message received and checked, once. The import is over by then."""

import os
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import atoll  # noqa: E402
import bench  # noqa: E402


def main():
    arguments = bench.parse()
    name = "bench/" + os.path.basename(arguments.path) + "/first"
    message = bench.messages(arguments.size)[1]
    cpu = bench.cpu_seconds()
    begin = time.perf_counter_ns()
    client = atoll.connect()
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
    client.close()
    bench.report(count=1, errors=int(received != message), seconds=took * 1e-9, cpu_seconds=used, ms=took * 1e-6)


main()
