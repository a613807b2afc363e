"""The worker of the Python package. See README.md here."""
import os
import signal
import struct
import sys
import time

import atoll

LONG = 60  # s; so long that a wake-up that is lost is noticed


class Stop(BaseException):
    """SIGTERM arrived."""


def on_term(*_):
    raise Stop


def length_of(producer, sequence):
    return 16 + (sequence * sequence * 31 + producer * 17) % 700


CYCLE = bytes(range(256)) * 5


def record(producer, sequence):
    length = length_of(producer, sequence)
    start = (sequence * 37 + producer + 16) % 256
    return struct.pack("<IIQ", producer, length, sequence) + CYCLE[start:start + length - 16]


def produce(client, stream, producer_id, path):
    report = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def say(number, at):
        os.pwrite(report, struct.pack("<Q", number), at)

    producer = client.open_producer(stream, wait=20)
    sequence = 0
    while True:
        phase = sequence % 16
        count = 3 if phase == 13 else 1
        say(sequence + count, 0)
        if 10 <= phase < 13:
            loan = producer.loan(length_of(producer_id, sequence), timeout=LONG)
            loan.view[:] = record(producer_id, sequence)
            loan.commit()
        elif count == 1:
            producer.send(record(producer_id, sequence), timeout=LONG)
        else:
            producer.send_many([record(producer_id, sequence + i) for i in range(count)], timeout=LONG)
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
            if time.monotonic() - begin > 20:
                raise
    while True:
        message = consumer.receive(timeout=LONG)
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
    try:
        with atoll.connect() as client:
            if role == "produce":
                produce(client, words[0], int(words[1]), words[2])
            else:
                consume(client, *words)
    except Stop:
        pass
