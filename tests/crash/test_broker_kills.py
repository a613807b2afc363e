"""The broker is killed with SIGKILL at each named point of its code; whoever comes next starts a new one, and nothing is lost.

When the tests are collected the story is told once with a broker that lists the points it passes, and how often; then there
is a test for each point and its first, second and fifth passage. broker/test_kill_points.py tells another story, over the bare
protocol; both together pass every point.
"""
from __future__ import annotations

import collections
import os
import pathlib
import signal
import tempfile

import pytest
from scenes import nobody_and_nothing_is_left, scene
from support.agents import Agent
from support.broker import start_broker, wait_for_end
from support.figures import figure
from support.kill_points import points_of
from support.victims import Died, Victim
from works import ENOUGH, drain, number_of, record

POINTS = points_of("daemon", "protocol/include")
RAISING = ["broker.group.raising", "broker.group.raising.next", "broker.group.raising.cursor"]
PASSAGES = (1, 2, 5)


def dies_at(point: str, *calls: tuple[str, dict]) -> None:
    """A client that is killed at this point of its own."""
    victim = Victim(at=point)
    try:
        victim.call("connect")
        for op, fields in calls:
            victim.call(op, timeout_ms=ENOUGH, **fields)
        raise AssertionError(f"it did not get to {point}")
    except Died:
        pass
    finally:
        victim.end()


def story(agents, runtime, environment: dict[str, str]) -> None:
    """Everything that makes a broker change something; the one with `environment` begins in the middle of it, and is ended."""
    a, b, sleeper = agents("C++"), agents("C++"), agents("C++")
    a.call("create", name="s", kind="stream", capacity=8192)
    a.call("open_producer", h="p", name="s")
    b.call("open_consumer", h="c", name="s", group="g", manual=True)
    a.call("create", name="m", kind="bytes", size=4096, backing="memfd")
    a.call("open_bytes", h="m", name="m", mode="write")
    a.call("put", h="m", data=b"kept", timeout_ms=ENOUGH)
    a.call("send", h="p", data=b"one")
    b.call("receive", h="c", v="v", timeout_ms=ENOUGH)
    gone = agents("C++")
    gone.call("open_producer", h="q", name="s")
    runtime.kill_broker()
    gone.kill()

    doomed = start_broker(runtime.socket, environment=environment)  # READY or dead
    try:
        a.call("create", name="b", kind="bytes", size=4096)
        assert a.call("get", h="m", timeout_ms=ENOUGH)["data"] == b"kept"
        sleeper.call("open_consumer", h="z", name="s", group="sleeping", start="latest")
        asleep = sleeper.begin("receive", h="z", timeout_ms=ENOUGH)
        b.kill()
        d = agents("C++")
        d.call("open_consumer", h="d", name="s", group="g")
        assert d.call("receive", h="d", timeout_ms=ENOUGH)["data"] == b"one"
        d.call("open_producer", h="q", name="s")
        d.call("send", h="q", data=b"two")
        assert d.call("receive", h="d", timeout_ms=ENOUGH)["data"] == b"two"
        assert sleeper.answer("receive") and asleep
        d.call("close", h="q")
        d.call("close", h="d")
        d.call("open_producer", h="r", name="s")
        d.call("loan", h="r", v="open", data=b"never seen")
        d.call("loan", h="r", v="behind", data=b"never seen")
        again = sleeper.begin("receive", h="z", timeout_ms=ENOUGH)
        d.kill()
        # Deaths inside of what only the broker can finish: with a lock, half way through a change, all acknowledged.
        for number in range(4):
            a.call("send", h="p", data=b"%d" % number)
        assert sleeper.answer("receive") and again
        receive = [("open_consumer", {"h": "c", "name": "s", "group": "g", "manual": True}), ("receive", {"h": "c", "v": "v"}),
                   ("acknowledge_up_to", {"h": "c", "v": "v"}), ("close", {"h": "c"})]
        dies_at("lock.taken:1", *receive)
        dies_at("redo.valid:1", *receive)
        a.call("open_consumer", h="w", name="s", group="whole", start="latest")
        a.call("close", h="w")
        a.call("call", method="Status")  # a new broker learns from it that it gave something back
        a.call("send", h="p", data=b"4")  # a claim of one record, which is then acknowledged as a whole
        dies_at("ack.stored:1", ("open_consumer", {"h": "c", "name": "s", "group": "whole", "manual": True}), ("receive", {"h": "c", "v": "v"}),
                ("acknowledge", {"h": "c", "v": "v"}), ("close", {"h": "c"}))
        dies_at("put.valid:1", ("open_bytes", {"h": "b", "name": "b", "mode": "write"}), ("put", {"h": "b", "data": b"new"}))
        e = agents("C++")
        e.call("open_bytes", h="b", name="b", mode="read")
        assert e.call("get", h="b", timeout_ms=ENOUGH)["data"] == b"new"
        e.call("open_consumer", h="c", name="s", group="g")
        assert [came["data"] for came in drain(e, "c")][-1] == b"4"
        e.call("open_observer", h="o", name="s")
        sleeper.call("close", h="z")
        sleeper.call("call", method="Status")
        for group in ("sleeping", "whole"):
            e.call("call", method="Remove", parameters={"name": "s", "group": group})
        e.call("call", method="Gc", parameters={"apply": True})  # the lanes that nobody has any more
        e.call("close", h="c")
        e.call("open_producer", h="p", name="s")
        e.call("call", method="Remove", parameters={"name": "s", "group": "g"})
        # A group that begins where the ring has been lapped already.
        for _ in range(20):
            e.call("send", h="p", data=b"." * 900)
        e.call("open_consumer", h="f", name="s", group="late", ephemeral=True)
        assert drain(e, "f")
        e.call("close", h="f")
        e.call("create", name="f", kind="bytes", size=4096, backing="file", directory=str(runtime.directory))
        e.call("remove", name="f")
        for agent, h in ((a, "p"), (e, "p"), (a, "m"), (e, "b")):
            agent.call("close", h=h)
            agent.call("call", method="Status")
        a.call("remove", name="m", force=True)
        a.call("remove", name="b", force=True)
        a.call("remove", name="s", force=True)
        a.call("create", name="m2", kind="stream", capacity=4096, backing="memfd")
    finally:
        doomed.terminate()
        assert wait_for_end(doomed.pid, 30)
        doomed.wait()


def points_passed() -> dict[str, int]:
    with scene() as (runtime, agents), tempfile.TemporaryDirectory() as folder:
        listing = pathlib.Path(folder) / "points"
        story(agents, runtime, {"ATOLL_KILL_LIST": str(listing)})
        return collections.Counter(listing.read_text().split())


PASSED = points_passed()


@pytest.mark.parametrize("point,passage", [(point, passage) for point in POINTS for passage in PASSAGES if passage <= PASSED[point]])
def test_the_broker_killed(point, passage):
    with scene() as (runtime, agents):
        story(agents, runtime, {"ATOLL_KILL_AT": f"{point}:{passage}"})
        nobody_and_nothing_is_left(runtime, agents("C++"))


@pytest.mark.parametrize("point", RAISING)
def test_a_broker_that_dies_while_it_corrects_a_group_whose_ring_was_lapped_meanwhile(point):
    """A new group begins at a place that its producer, who did not know of it, has overwritten: the broker moves it on."""
    with scene() as (runtime, agents):
        broker = start_broker(runtime.socket, environment={"ATOLL_STOP_AT": "broker.group.bit:1", "ATOLL_KILL_AT": f"{point}:1"})
        producer, consumer = agents("C++"), agents("C++")
        producer.call("create", name="s", kind="stream", capacity=4096)
        producer.call("open_producer", h="p", name="s")
        producer.call("send", h="p", data=record(0))
        opening = consumer.begin("open_consumer", h="c", name="s", group="late")
        _, status = os.waitpid(broker.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        for number in range(1, 40):  # several laps: no group is known that would hold it back
            producer.call("send", h="p", data=record(number), timeout_ms=0)
        os.kill(broker.pid, signal.SIGCONT)
        assert broker.wait(30) == -signal.SIGKILL
        assert opening and consumer.answer("open_consumer") is not None
        numbers = [number_of(came["data"]) for came in drain(consumer, "c")]
        assert numbers == list(range(40 - len(numbers), 40)) and len(numbers) >= 3, numbers
        nobody_and_nothing_is_left(runtime, agents("C++"))


def test_a_broker_that_dies_when_it_has_started_a_group_which_the_one_before_had_not():
    """The first dies when the group has just been made. Its client starts the next one, which dies when it has seen to the group."""
    with scene() as (runtime, agents):
        broker = start_broker(runtime.socket, environment={"ATOLL_KILL_AT": "broker.group.active:1"})
        producer = agents("C++")
        producer.call("create", name="s", kind="stream", capacity=4096)
        producer.call("open_producer", h="p", name="s")
        producer.call("send", h="p", data=record(0))
        with Agent("C++", environment={"ATOLL_KILL_AT": "broker.group.started.later:1"}) as consumer:  # its brokers', too; it has no such point itself
            opening = consumer.begin("open_consumer", h="c", name="s", group="late")
            assert broker.wait(30) == -signal.SIGKILL
            assert opening and consumer.answer("open_consumer") is not None
            assert [number_of(came["data"]) for came in drain(consumer, "c")] == [0]
        nobody_and_nothing_is_left(runtime, agents("C++"))


def test_every_point_of_the_broker_is_passed_in_a_story():
    elsewhere = {*RAISING, "broker.group.started.later",  # above
                 "broker.bells.rename"}   # broker/test_kill_points.py begins with nothing
    assert set(POINTS) - set(PASSED) == elsewhere


def test_there_are_as_many_points_as_the_guarantees_say():
    assert len(POINTS) >= 60
    figure("kills", f"brokers at {len(POINTS)} points, {sum(passage <= PASSED[point] for point in POINTS for passage in PASSAGES)} kills")
