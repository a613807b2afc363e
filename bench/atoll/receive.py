"""Atoll, Python's receiving half, for Python to Python: `receive` in a loop, or `receive_many` with --batch.

Each message is compared in place with the one that it must be, and released.
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
    many = len(prepared)
    stream = {"capacity": arguments.capacity, "alignment": arguments.align}
    client.create(run + "/forth", **stream)
    errors = 0

    with client.open_consumer(run + "/forth", exclusive=True) as consumer:
        if arguments.role == "pong":
            client.create(run + "/back", **stream)
            with client.open_producer(run + "/back") as producer:
                bench.ready()
                warm_up = arguments.count // 10
                for number in range(arguments.count + warm_up):
                    if number == warm_up:
                        cpu = bench.cpu_seconds()
                    with consumer.receive() as message:
                        errors += message.view != prepared[number % many]
                        producer.send(message.view)
                bench.report(count=arguments.count, errors=errors, cpu_seconds=bench.cpu_seconds() - cpu)
            return
        bench.ready()
        stopwatch = None
        number = 0
        while number < arguments.count:
            if arguments.batch > 1:
                messages = consumer.receive_many(arguments.batch)
            else:
                messages = (consumer.receive(),)
            stopwatch = stopwatch or bench.Stopwatch()
            for message in messages:
                errors += message.view != prepared[number % many]
                message.release()
                number += 1
        stopwatch.report(number, errors)
    client.remove(run + "/forth", force=True)


main()
