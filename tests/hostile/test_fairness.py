"""One greedy user, or one greedy program, does not stop another from connecting, creating, attaching and sending."""
import contextlib
import os
import statistics
import threading
import time

import pytest
from neighbours import HONEST, HOSTILE, ROOT, Programs, as_user
from support.agents import Agent
from support.broker import start_broker, stop_broker

LONGEST_SECONDS = 3.0  # of one step of the honest user's, on a slow machine that others use too
USUAL_SECONDS = 0.3  # the median of them
ROUNDS = 25

KINDS = ["connections", "knocks", "segments", "lanes", "bytes", "churn", "attachments", "waits", "slots", "calls", "descriptors"]
# What a program of the same user may use up for its user's others: how often anybody connects, and the turns at the broker.
OF_ONE_USER = [kind for kind in KINDS if kind not in ("churn", "connections", "knocks", "calls", "slots", "waits", "descriptors")]


@pytest.fixture
def programs():
    made = Programs()
    yield made
    made.remove()


@contextlib.contextmanager
def greedy(programs, runtime, kind, user):
    """greedy.py at work, which is full when the block begins. It must not have ended before the block does."""
    process = programs.start("greedy.py", str(runtime.socket), kind, user=user)
    deadline = threading.Timer(30, process.kill)
    deadline.start()
    told = process.stdout.readline()
    deadline.cancel()
    try:
        assert told == "full\n", "the greedy program was never refused, and never had enough"
        yield
        assert process.poll() is None, "the greedy program gave up"
    except BaseException:
        process.kill()
        print(process.communicate()[1])
        raise
    process.kill()
    process.communicate()


class Honest:
    """One who does everything a client does, step by step, and notes how long each step takes."""

    def __init__(self, prefix, name):
        self.prefix, self.name, self.times = prefix, name, []

    def step(self, action):
        began = time.monotonic()
        action()
        self.times.append((time.monotonic() - began, action.__name__))

    def round(self, agent, number):
        name = f"{self.name}-{number}"

        def create():
            agent.call("create", name=name, kind="stream", capacity=4096)

        def open_consumer():
            agent.call("open_consumer", h="c", name=name, group="g")

        def open_producer():
            agent.call("open_producer", h="p", name=name)

        def send():
            agent.call("send", h="p", data=b"x" * 100, timeout_ms=5000)
            assert agent.call("receive", h="c", timeout_ms=5000)["data"] == b"x" * 100

        def remove():
            agent.call("close", h="p")
            agent.call("close", h="c")
            agent.call("remove", name=name)

        for action in (create, open_consumer, open_producer, send, remove):
            self.step(action)

    def work(self):
        def connect():
            Agent("C++", prefix=self.prefix).__enter__().close()

        with Agent("C++", prefix=self.prefix) as agent:
            for number in range(ROUNDS):
                self.round(agent, number)
                if number % 5 == 0:
                    self.step(connect)

    def check(self):
        longest, what = max(self.times)
        usual = statistics.median(seconds for seconds, _ in self.times)
        print(f"median {usual * 1000:.1f} ms, longest {longest * 1000:.0f} ms ({what})")
        assert longest < LONGEST_SECONDS, f"{what} took {longest:.1f} s"
        assert usual < USUAL_SECONDS, f"the median step took {usual:.2f} s"


@pytest.mark.skipif(not ROOT, reason="needs root, to be two users")
@pytest.mark.parametrize("kind", KINDS)
def test_a_greedy_user_does_not_stop_another(runtime, programs, kind):
    runtime.directory.chmod(0o755)
    os.chown(runtime.directory, HONEST, HONEST)
    # Not root's: the kernel's own limits are for ordinary users. And few descriptors, for which the users compete.
    prefix = [*as_user(HONEST), "prlimit", "--nofile=2000:2000"]
    options = ["--max-bytes", str(128 << 20)] if kind == "bytes" else ["--max-lanes", "512"] if kind == "lanes" else []
    broker = start_broker(runtime.socket, "--allow-other-users", *options, prefix=prefix)
    try:
        honest = Honest(as_user(HONEST), "honest")
        with greedy(programs, runtime, kind, HOSTILE):
            honest.work()
        honest.check()
        assert broker.poll() is None
    finally:
        stop_broker(broker)


@pytest.mark.parametrize("kind", OF_ONE_USER)
def test_a_greedy_program_does_not_stop_another_of_its_user(runtime, programs, kind):
    broker = start_broker(runtime.socket, "--max-bytes", str(128 << 20), "--max-lanes", "512", "--max-segments", "200", "--max-attachments", "2000")
    try:
        honest = Honest([], "honest")
        with greedy(programs, runtime, kind, os.geteuid()):
            honest.work()
        honest.check()
    finally:
        stop_broker(broker)
