"""The worker of the Python package. See README.md here."""
import os
import signal
import struct
import sys
import time

import atoll

stop = False


def on_term(*_):
    global stop
    stop = True


def length_of(producer, sequence):
    return 16 + (sequence * sequence * 31 + producer * 17) % 700


CYCLE = bytes(range(256)) * 5


def record(producer, sequence):
    length = length_of(producer, sequence)
    start = (sequence * 37 + producer + 16) % 256
    return struct.pack("<IIQ", producer, length, sequence) + CYCLE[start:start + length - 16]


def insist(call):
    """Until it is done or the worker is to stop; True: done."""
    while True:
        try:
            call()
            return True
        except atoll.TimedOut:
            if stop:
                return False


def produce(client, stream, producer_id, path):
    report = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def say(number, at):
        os.pwrite(report, struct.pack("<Q", number), at)

    producer = client.open_producer(stream, wait=20)
    sequence = 0
    while not stop:
        phase = sequence % 16
        count = 3 if phase == 13 else 1
        say(sequence + count, 0)
        if 10 <= phase < 13:
            loans = []
            if not insist(lambda: loans.append(producer.loan(length_of(producer_id, sequence), timeout=0.1))):
                return
            loans[0].view[:] = record(producer_id, sequence)
            loans[0].commit()
        elif count == 1:
            if not insist(lambda: producer.send(record(producer_id, sequence), timeout=0.1)):
                return
        else:
            # Room for all three first, by the first: a batch that times out in the middle would have to be gone on with.
            for i in range(count):
                if not insist(lambda: producer.send_many([record(producer_id, sequence + i)], timeout=0.1)):
                    return
                say(sequence + i + 1, 8)
        sequence += count
        say(sequence, 8)
        if sequence % 64 == 0:
            time.sleep(0.002)


def consume(client, stream, group, mode, path):
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    begin = time.monotonic()
    while True:
        try:
            consumer = client.open_consumer(stream, group=group, manual=mode == "manual", exclusive=mode == "exclusive", wait=20)
            break
        except atoll.GroupExclusive:
            if stop or time.monotonic() - begin > 20:
                raise
    while not stop:
        try:
            message = consumer.receive(timeout=0.1)
        except atoll.TimedOut:
            continue
        data = bytes(message)
        producer_id, _, sequence = struct.unpack_from("<IIQ", data)
        assert data == record(producer_id, sequence), f"record {sequence} of producer {producer_id} is not what was sent"
        deliveries = message.deliveries
        os.write(log, struct.pack("<IIQIIQ", 1, producer_id, sequence, deliveries, message.lost, time.monotonic_ns()))
        if mode == "manual" and sequence % 50 == 0 and deliveries == 1:
            message.reject()
            message.release()
            continue
        if mode == "manual":
            message.acknowledge()
        message.release()
        os.write(log, struct.pack("<IIQIIQ", 2, producer_id, sequence, deliveries, 0, time.monotonic_ns()))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, on_term)
    role, *words = sys.argv[1:]
    with atoll.connect() as client:
        if role == "produce":
            produce(client, words[0], int(words[1]), words[2])
        else:
            consume(client, *words)
