"""Threads: waits give the GIL up; a handle that another thread uses says so; messages may be released by any."""
import threading
import time

import pytest

import atoll
from conftest import ENOUGH


def start(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def until(condition):
    end = time.monotonic() + ENOUGH
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def in_use(call):
    """True if the call is refused because another thread uses the handle."""
    try:
        call()
    except atoll.InUse:
        return True
    except atoll.TimedOut:
        pass
    return False


def test_a_wait_lets_other_threads_run(stream):
    producer, consumer = stream()
    got = []
    waiting = start(lambda: got.append(consumer.receive(timeout=ENOUGH).text))
    count = sum(1 for _ in range(100_000))
    producer.send("now")
    waiting.join()
    assert (got, count) == (["now"], 100_000)


def test_a_handle_in_use_by_another_thread_is_refused_and_goes_on(stream):
    producer, consumer = stream()
    got = []
    waiting = start(lambda: got.append(consumer.receive_bytes(timeout=ENOUGH)))
    until(lambda: in_use(consumer.fileno))
    for call in (lambda: consumer.receive(timeout=0), lambda: consumer.receive_many(1, timeout=0), consumer.close, lambda: next(iter(consumer)), lambda: consumer.lost):
        with pytest.raises(atoll.InUse):
            call()
    producer.send(b"x")
    waiting.join()
    assert got == [b"x"]
    consumer.close()


def test_a_blocked_producer_refuses_other_threads(stream):
    producer, consumer = stream(capacity=4096)
    with pytest.raises(atoll.TimedOut):
        while producer.send(b"x" * 500, timeout=0):
            pass
    waiting = start(lambda: producer.send(b"x" * 500, timeout=ENOUGH))
    until(lambda: in_use(producer.fileno))
    for call in (lambda: producer.send(b"y", timeout=0), producer.close, lambda: producer.loan(1), producer.finish):
        with pytest.raises(atoll.InUse):
            call()
    while waiting.is_alive():
        try:
            consumer.receive(timeout=0.01)
        except atoll.TimedOut:
            pass
    waiting.join()


def test_workers_release_what_a_waiting_thread_received(stream):
    """The ring is full of messages that workers hold: only their releases, made while the receiver waits, let it go on."""
    producer, consumer = stream(capacity=4096)
    held = []
    count = 60

    def receive():
        for _ in range(count):
            held.append(consumer.receive(timeout=ENOUGH))

    receiving = start(receive)
    sending = start(lambda: [producer.send(b"x" * 500, timeout=ENOUGH) for _ in range(count)])
    for _ in range(count):
        until(lambda: held)
        held.pop(0).release()
    receiving.join()
    sending.join()
    assert consumer.outstanding == 0


def test_workers_acknowledge_for_a_waiting_manual_consumer(client, stream):
    producer, consumer = stream({"manual": True, "group": "g"})
    producer.send_many([b"%d" % i for i in range(20)])
    messages = [consumer.receive(timeout=ENOUGH) for _ in range(20)]
    waiting = start(lambda: pytest.raises(atoll.TimedOut, consumer.receive, 1.0))
    until(lambda: in_use(consumer.fileno))
    for message in messages[:19]:
        message.acknowledge()
        message.release()
    messages[19].release()
    waiting.join()
    consumer.close(release=True)
    with client.open_consumer(producer.name, "g") as other:
        assert other.receive_bytes(timeout=ENOUGH) == b"19"


def test_a_loan_dropped_by_another_thread_lets_readers_go_on(stream):
    producer, consumer = stream(capacity=4096)
    producer.send_many([b"x" * 500] * 3)
    loans = [producer.loan(100)]
    with pytest.raises(atoll.TimedOut):
        while producer.send(b"x" * 500, timeout=0):
            pass
    sending = start(lambda: producer.send(b"x" * 500, timeout=ENOUGH))
    until(lambda: in_use(producer.fileno))
    loans.clear()  # readers cannot go past it
    while sending.is_alive():
        try:
            consumer.receive(timeout=0.01)
        except atoll.TimedOut:
            pass
    sending.join()


def test_many_threads_use_one_client_and_handles_of_their_own(client, names):
    name = names()
    client.create(name, capacity=1 << 16)
    consumers = [client.open_consumer(name, f"g{i}") for i in range(4)]
    sums = []

    def consume(consumer):
        sums.append(sum(int(message.text) for message in consumer))

    readers = [start(lambda consumer=consumer: consume(consumer)) for consumer in consumers]

    def produce():
        with client.open_producer(name) as producer:
            for i in range(500):
                producer.send(str(i), timeout=ENOUGH)
            producer.finish()

    # One producer first opens and all finish: the stream ends only when every one has.
    gate = client.open_producer(name)
    writers = [start(produce) for _ in range(3)]
    for writer in writers:
        writer.join()
    gate.finish()
    for reader in readers:
        reader.join()
    assert sums == [3 * sum(range(500))] * 4
    gate.close()
    for consumer in consumers:
        consumer.close(release=True)


def test_many_threads_on_one_handle_get_exceptions_and_never_a_crash(stream):
    producer, consumer = stream(capacity=4096)
    end = time.monotonic() + 1
    refused, done, wrong = [0], [0], []

    def hammer():
        while time.monotonic() < end:
            try:
                producer.send(b"x" * 100, timeout=0.001)
                with consumer.receive(timeout=0.001) as message:
                    if bytes(message) != b"x" * 100:
                        wrong.append(bytes(message))
                done[0] += 1
            except atoll.InUse:
                refused[0] += 1
            except atoll.TimedOut:
                pass

    threads = [start(hammer) for _ in range(6)]
    for thread in threads:
        thread.join()
    assert done[0] > 0 and wrong == []
