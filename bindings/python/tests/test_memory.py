"""Memory: what is received and sent a hundred thousand times does not add up."""
import gc
import sys

import pytest

import atoll
from conftest import ENOUGH

ROUNDS = 100_000
GROWTH = 8 << 20  # bytes; a leak of 100 bytes a record would be more


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_a_hundred_thousand_messages_leave_nothing(stream):
    producer, consumer = stream()

    def rounds(count):
        for i in range(0, count, 5):
            producer.send(b"x" * 100)
            consumer.receive(timeout=ENOUGH)
            producer.send("text")
            assert consumer.receive_bytes(timeout=ENOUGH) == b"text"
            producer.send_many([b"a", bytearray(b"b")])
            messages = []
            while len(messages) < 2:
                messages += consumer.receive_many(10, timeout=ENOUGH)
            assert messages[0].view == b"a"
            with producer.loan(10) as view:
                view[0] = 1
            with consumer.receive(timeout=ENOUGH) as message:
                memoryview(message)

    rounds(ROUNDS // 10)
    gc.collect()
    before = resident()
    rounds(ROUNDS)
    gc.collect()
    assert resident() - before < GROWTH
    assert consumer.outstanding == 0


def test_arrays_and_json_leave_nothing(stream):
    np = pytest.importorskip("numpy")
    producer, consumer = stream()
    array = np.arange(50.0)

    def rounds(count):
        for _ in range(count):
            producer.send_array(array)
            assert consumer.receive_array(timeout=ENOUGH)[-1] == 49
            producer.send_json({"a": 1})
            assert consumer.receive_json(timeout=ENOUGH) == {"a": 1}

    rounds(1000)
    before = resident()
    rounds(ROUNDS // 10)
    assert resident() - before < GROWTH


def test_errors_leave_nothing(stream):
    producer, consumer = stream()

    def rounds(count):
        for _ in range(count):
            for wrong in (lambda: consumer.receive(timeout=0), lambda: producer.send(3), lambda: producer.send_many([b"", 3])):
                try:
                    wrong()
                except (atoll.TimedOut, TypeError):
                    pass
            consumer.receive(timeout=ENOUGH).release()

    rounds(1000)
    before = resident()
    rounds(20_000)
    assert resident() - before < GROWTH


def test_opening_and_closing_leaves_no_descriptor_and_no_mapping(client, name):
    import os

    client.create(name)

    def mappings():
        with open("/proc/self/maps") as maps:
            return len(maps.readlines())

    def once():
        with client.open_producer(name) as producer, client.open_consumer(name) as consumer, client.open_observer(name) as observer:
            producer.send(b"x")
            consumer.receive(timeout=ENOUGH).release()
            observer.receive(timeout=ENOUGH).release()

    once()
    once()
    descriptors, maps = len(os.listdir("/proc/self/fd")), mappings()
    for _ in range(50):
        once()
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert mappings() <= maps + 5


def test_handles_are_freed_with_their_last_reference(client, name):
    import weakref

    client.create(name)
    for opening in (client.open_producer, client.open_consumer, client.open_observer):
        handle = opening(name)
        gone = weakref.ref(handle)
        del handle
        assert gone() is None


def test_references_are_counted_right(stream):
    producer, consumer = stream()
    record = b"some record that is not interned"
    text = "some text that is not interned"
    before = sys.getrefcount(record), sys.getrefcount(text), sys.getrefcount(consumer), sys.getrefcount(producer)
    for _ in range(10):
        producer.send(record)
        producer.send_many([record, text])
        consumer.receive(timeout=ENOUGH).release()
        for message in consumer.receive_many(10, timeout=ENOUGH):
            message.release()
        producer.loan(3).abort()
    del message
    assert (sys.getrefcount(record), sys.getrefcount(text), sys.getrefcount(consumer), sys.getrefcount(producer)) == before
