"""Atoll, Python's half: module `atoll`, `send` in a loop, or `send_many` with --batch.

Messages are made before the clock starts, as the socket's frames are; sending one copies it into the ring.
The Node half makes the streams.
"""

import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import atoll  # noqa: E402
import bench  # noqa: E402


def main():
    arguments = bench.parse()
    run = "bench/" + os.path.basename(arguments.path)
    client = atoll.connect()
    prepared = bench.messages(arguments.size)

    with client.open_producer(run + "/forth") as producer:
        if arguments.role == "ping":
            with client.open_consumer(run + "/back", exclusive=True) as consumer:
                def round_trip(message):
                    producer.send(message)
                    with consumer.receive() as message_back:
                        return bytes(message_back.view)

                bench.ping(arguments, round_trip)
        else:
            cpu = bench.cpu_seconds()
            many = len(prepared)
            if arguments.batch == 1:
                send = producer.send
                for number in range(arguments.count):
                    send(prepared[number % many])
            else:
                batch = min(arguments.batch, many)
                batches = [prepared[i:i + batch] for i in range(0, many, batch)]
                for number in range(arguments.count // batch):
                    producer.send_many(batches[number % len(batches)])
            bench.report(count=arguments.count, cpu_seconds=bench.cpu_seconds() - cpu)

    if arguments.role == "ping":
        for name in ("/forth", "/back"):
            client.remove(run + name, force=True)


main()
