"""Ctrl-C: a real SIGINT ends every wait with KeyboardInterrupt, and nothing is lost by it."""
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import atoll
from conftest import ENOUGH


def waiting_thread(thread_id):
    """Waits until a thread of this process sleeps in the kernel."""
    end = time.monotonic() + ENOUGH
    while time.monotonic() < end:
        with open(f"/proc/self/task/{thread_id}/stat") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "S":
                return
    raise AssertionError("the thread does not get to sleep")


@pytest.fixture
def interrupt_soon():
    """A function after which this process gets SIGINT as soon as its main thread sleeps."""
    threads = []

    def begin():
        def send():
            waiting_thread(os.getpid())
            os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=send))
        threads[-1].start()

    yield begin
    for thread in threads:
        thread.join()


def test_it_ends_a_receive_and_the_next_one_works(stream, interrupt_soon):
    producer, consumer = stream()
    for call in (lambda: consumer.receive(), lambda: consumer.receive(timeout=ENOUGH), lambda: consumer.receive_many(5), lambda: consumer.receive_bytes(), lambda: next(iter(consumer))):
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            call()
    producer.send(b"after")
    assert consumer.receive_bytes(timeout=ENOUGH) == b"after"


def test_it_ends_a_send_that_waits_for_room(stream, interrupt_soon):
    producer, consumer = stream(capacity=4096)
    with pytest.raises(atoll.TimedOut):
        while producer.send(b"x" * 500, timeout=0):
            pass
    for call in (lambda: producer.send(b"x" * 500), lambda: producer.loan(500), lambda: producer.send_many([b"x" * 500])):
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            call()


def test_it_ends_a_get(client, name, interrupt_soon):
    client.create(name, "bytes", size=100)
    with client.open_bytes(name) as data:
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            data.get()


def test_it_ends_waiting_for_a_segment(client, name, interrupt_soon):
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        client.open_consumer(name, wait=ENOUGH)


def test_a_handler_that_returns_lets_the_wait_go_on(stream):
    producer, consumer = stream()
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: (seen.append(1), producer.send(b"from the handler")))
    main = os.getpid()
    threading.Thread(target=lambda: (waiting_thread(main), os.kill(main, signal.SIGUSR1))).start()
    try:
        assert consumer.receive(timeout=ENOUGH).text == "from the handler"
        assert seen == [1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_handler_that_uses_the_handle_that_waits_gets_in_use(stream):
    _, consumer = stream()
    before = signal.signal(signal.SIGUSR1, lambda *_: consumer.close())
    main = os.getpid()
    threading.Thread(target=lambda: (waiting_thread(main), os.kill(main, signal.SIGUSR1))).start()
    try:
        with pytest.raises(atoll.InUse):
            consumer.receive(timeout=ENOUGH)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not consumer.closed


def test_a_program_ends_at_ctrl_c(stream):
    producer, _ = stream()
    code = (
        "import atoll, sys\n"
        "with atoll.connect() as client, client.open_consumer(sys.argv[1], 'other') as consumer:\n"
        "    print('ready', flush=True)\n"
        "    consumer.receive()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, producer.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=ENOUGH)
    assert child.returncode == -signal.SIGINT and "KeyboardInterrupt" in errors


def test_the_time_limit_of_an_open_is_one_over_all_signals(client):
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    began = time.monotonic()
    try:
        with pytest.raises(atoll.errors.AtollError):
            client.open_producer("absent", wait=0.5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 0.5 <= time.monotonic() - began < ENOUGH
