"""A broker that does not answer (stopped by a real SIGSTOP): how long calls wait for it is each client's own, and Ctrl-C ends them."""
import contextlib
import os
import signal
import threading
import time

import pytest

import atoll
from conftest import ENOUGH
from test_signals import interrupt_soon, waiting_thread  # noqa: F401 (a fixture)


@pytest.fixture
def silence(client):
    """A context in which the broker is stopped."""

    @contextlib.contextmanager
    def stopped():
        broker = client.status()["pid"]
        os.kill(broker, signal.SIGSTOP)
        try:
            yield broker
        finally:
            os.kill(broker, signal.SIGCONT)

    return stopped


def test_each_client_waits_as_long_as_it_was_told_to(client, silence):
    with atoll.connect(timeout=0.3) as hasty, atoll.connect(timeout=0.6) as patient, silence():
        for one, limit in ((hasty, 0.3), (patient, 0.6), (hasty, 0.3)):
            began = time.monotonic()
            with pytest.raises(atoll.TimedOut):
                one.list()
            assert limit <= time.monotonic() - began < 9
    assert client.list() == []


def test_without_a_time_limit_a_call_waits_until_the_broker_goes_on(client, silence):
    main = os.getpid()
    with atoll.connect(timeout=None) as endless, silence() as broker:
        wake = threading.Thread(target=lambda: (waiting_thread(main), os.kill(broker, signal.SIGCONT)))
        wake.start()
        assert endless.list() == []
        wake.join()


def test_ctrl_c_ends_a_call_and_the_next_one_works(client, name, silence, interrupt_soon):  # noqa: F811
    for call in (client.list, lambda: client.create(name), lambda: client.open_consumer(name), lambda: client.remove(name)):
        with silence():
            interrupt_soon()
            with pytest.raises(KeyboardInterrupt):
                call()
        assert client.status()["pid"] > 0
    with silence():
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            atoll.connect(timeout=ENOUGH).list()


def test_a_handler_that_returns_lets_a_call_go_on_and_it_is_carried_out_once(client, name, silence):
    seen = []
    main = os.getpid()
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))

    def disturb():
        for _ in range(5):
            waiting_thread(main)
            os.kill(main, signal.SIGUSR1)
        os.kill(broker, signal.SIGCONT)

    try:
        with silence() as broker:
            disturber = threading.Thread(target=disturb)
            disturber.start()
            assert client.create(name), "made by this call, which was not asked again"
            disturber.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen


def test_signals_do_not_lengthen_a_clients_time_limit(client, silence):
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        with atoll.connect(timeout=1.5) as limited, silence():
            signal.setitimer(signal.ITIMER_REAL, 0.4, 0.4)
            began = time.monotonic()
            with pytest.raises(atoll.TimedOut):
                limited.list()
            assert 1.5 <= time.monotonic() - began < 9
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_closing_a_handle_waits_no_longer_than_its_client_does(client, name, silence):
    client.create(name)
    with atoll.connect(timeout=0.5) as hasty:
        producer = hasty.open_producer(name)
        with silence():
            began = time.monotonic()
            producer.close()
            assert time.monotonic() - began < 9


def test_a_client_waits_no_longer_because_another_one_does(client, silence):
    with atoll.connect(timeout=None) as endless, atoll.connect(timeout=0.5) as hasty, silence() as broker:
        waiting = threading.Thread(target=endless.list)
        waiting.start()
        waiting_thread(waiting.native_id)
        began = time.monotonic()
        with pytest.raises(atoll.TimedOut):
            hasty.list()
        assert time.monotonic() - began < 9
        os.kill(broker, signal.SIGCONT)
        waiting.join()


def test_a_client_that_starts_no_broker_does_not_keep_another_from_it(tmp_path):
    path = str(tmp_path / "atoll.sock")
    with atoll.connect(path) as first:
        with atoll.connect(path, start_broker=False) as second:
            first.stop()
            with pytest.raises(atoll.NoBroker):
                for _ in range(1000):  # until the old one has gone
                    second.list()
            assert first.list() == []
        first.stop()
