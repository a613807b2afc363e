"""The Python operations whose instructions bench/instructions/run counts: the twin of operations.cpp.

Run by it under callgrind with the installed package, and ATOLL_SOCKET set to a broker of its own. A count
holds the interpreter's own work for one turn of the loop around the call. The group is shared, the default.
"""
import gc
import os

import atoll

RECORD = bytes(64)
COUNT = 12_000  # nearly a ring of 1 MiB: each phase crosses its end once
BATCH = 60


def mark():
    """Callgrind ends a phase when this libc function is called (--dump-before): it does nothing else here."""
    os.getpriority(os.PRIO_PROCESS, 0)


def send(producer, consumer):
    call = producer.send
    for _ in range(COUNT):
        call(RECORD)


def receive(producer, consumer):
    call = consumer.receive
    for _ in range(COUNT):
        message = call()
        message.release()


def send_many(producer, consumer):
    call, batch = producer.send_many, [RECORD] * BATCH
    for _ in range(COUNT // BATCH):
        call(batch)


def receive_many(producer, consumer):
    call, taken = consumer.receive_many, 0
    while taken < COUNT:
        messages = call(BATCH)
        taken += len(messages)
        for message in messages:
            message.release()


def main():
    gc.disable()  # a collection comes when all objects of the process say so: it belongs to no operation
    with atoll.connect() as client:
        client.create("python", capacity=1 << 20)
        with client.open_consumer("python", group="g") as consumer, client.open_producer("python") as producer:
            for _ in range(2):  # the second round counts
                for operation in (send, receive, send_many, receive_many):
                    mark()
                    print("0 -")
                    operation(producer, consumer)
                    mark()
                    names = {receive: "Python receive and release", receive_many: "Python receive_many and release"}
                    print(COUNT, names.get(operation, f"Python {operation.__name__}"))


main()
