"""Each role is killed with -9 at each named point of its code; the others go on, and nothing is lost.

The programs are those of build-kill, where ATOLL_KILL_POINT names the points (protocol/kill_point.hpp). A first
run of each role lists the points that it passes; then one test per point kills there. A point that nobody
passes is a failure of the listing test, so that none is forgotten.
"""
from __future__ import annotations

import pathlib
import threading

import pytest
from support.agents import Agent, AgentError
from support.broker import Runtime, start_broker, stop_broker
from support.kill_points import points_of

ENOUGH = 30_000  # ms

CLIENT_POINTS = points_of("client/src")
BROKER_POINTS = points_of("daemon")


class Died(Exception):
    """The agent was killed where it was told to be."""


class Victim:
    """An agent that is killed at a point, or lists the points it passes."""

    def __init__(self, at: str | None = None, listing: pathlib.Path | None = None) -> None:
        environment = {}
        if at is not None:
            environment["ATOLL_KILL_AT"] = at
        if listing is not None:
            environment["ATOLL_KILL_LIST"] = str(listing)
        self.agent = Agent("C++", environment=environment, connect=False)

    def call(self, op: str, **fields):
        try:
            return self.agent.call(op, **fields)
        except (AssertionError, BrokenPipeError):
            if self.agent.process.wait(timeout=30) == -9:
                raise Died from None
            raise

    def end(self) -> None:
        if self.agent.process.poll() is None:
            self.agent.process.stdin.close()
            self.agent.process.wait(timeout=30)
        self.agent.process.stdout.close()


def work_of_a_producer(victim: Victim, sent: list[int]) -> None:
    """Sends 0, 1, 2, ... with pads, loans in both orders, and a full ring on the way; notes what was sent."""
    victim.call("connect")
    victim.call("create", name="s", kind="stream", capacity=8192)
    victim.call("open_producer", h="p", name="s")
    number = 0

    def data():
        nonlocal number
        number += 1
        return b"%06d" % (number - 1) + b"." * (number * 97 % 900)

    for _ in range(25):
        sent.append(number)
        victim.call("send", h="p", data=data(), timeout_ms=ENOUGH)
        first, second = number, number + 1
        sent += [first, second]
        victim.call("loan", h="p", v="a", data=data(), timeout_ms=ENOUGH)
        victim.call("loan", h="p", v="b", data=data(), timeout_ms=ENOUGH)
        victim.call("commit", h="p", v="b")
        victim.call("commit", h="p", v="a")
        victim.call("loan", h="p", v="c", data=b"never seen", timeout_ms=ENOUGH)
        victim.call("abort", h="p", v="c")
    victim.call("finish", h="p")
    victim.call("close", h="p")


def work_of_a_consumer(victim: Victim, done: list[int], count: int) -> None:
    """Receives in manual mode: acknowledges some, rejects some, and leaves."""
    victim.call("connect")
    victim.call("open_consumer", h="c", name="s", group="g", manual=True, wait_ms=ENOUGH)
    for i in range(count):
        record = victim.call("receive", h="c", v=f"v{i}", timeout_ms=ENOUGH)
        number = int(record["data"][:6])
        if i % 5 == 4 and record["deliveries"] == 1:
            victim.call("reject", h="c", v=f"v{i}")
        else:
            done.append(number)  # from here on it may count as dealt with
            victim.call("acknowledge", h="c", v=f"v{i}")
        victim.call("release", h="c", v=f"v{i}")
    victim.call("close", h="c")
    # A group of its own, exclusive; and one that waits in vain.
    victim.call("open_consumer", h="x", name="s", group="own", exclusive=True, ephemeral=True, start="earliest")
    for i in range(5):
        victim.call("receive", h="x", v="v", timeout_ms=ENOUGH)
        victim.call("release", h="x", v="v")
    victim.call("close", h="x")
    victim.call("open_consumer", h="n", name="s", group="nothing", ephemeral=True, start="latest")
    try:
        victim.call("receive", h="n", timeout_ms=30)
    except AgentError as error:
        assert error.name in ("timed_out", "ended"), error
    victim.call("close", h="n")


def work_of_bytes(victim: Victim) -> None:
    victim.call("connect")
    victim.call("create", name="b", kind="bytes", size=20_000)
    victim.call("open_bytes", h="b", name="b", mode="write")
    for i in range(1, 20):
        victim.call("put", h="b", data=bytes([i]) * (i * 1000), timeout_ms=ENOUGH)
        victim.call("get", h="b", timeout_ms=ENOUGH)
    victim.call("close", h="b")


def drain(agent: Agent, h: str) -> list[dict]:
    """All that comes until the stream ends or falls silent."""
    records = []
    while True:
        try:
            records.append(agent.call("receive", h=h, timeout_ms=1500))
        except AgentError as error:
            assert error.name in ("timed_out", "ended"), error
            return records


class Reading:
    """Somebody reads beside a work whose records do not fit into the ring; gives the list of what came."""

    def __init__(self, agent: Agent, h: str) -> None:
        self.agent, self.h = agent, h
        self.records: list[dict] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        while True:
            try:
                self.records.append(self.agent.call("receive", h=self.h, timeout_ms=300))
            except AgentError as error:
                if error.name == "ended" or (error.name == "timed_out" and self.stop.is_set()):
                    return
                if error.name != "timed_out":
                    raise

    def __enter__(self) -> list[dict]:
        self.thread.start()
        return self.records

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(60)


def nothing_is_left(runtime: Runtime, agents) -> None:
    agent = agents("C++")
    for segment in agent.call("call", method="List")["reply"]["segments"]:
        agent.call("remove", name=segment["name"], force=True)
    assert runtime.segments() == []


@pytest.mark.parametrize("passage", [1, 4])
@pytest.mark.parametrize("point", CLIENT_POINTS)
def test_a_producer_killed_at(runtime, agents, point, passage):
    reader = agents("C++")
    reader.call("create", name="s", kind="stream", capacity=8192)
    reader.call("open_consumer", h="c", name="s", group="g")
    victim, sent = Victim(at=f"{point}:{passage}"), []
    with Reading(reader, "c") as received:
        try:
            work_of_a_producer(victim, sent)
        except Died:
            pass
        finally:
            victim.end()
    numbers = [int(record["data"][:6]) for record in received]
    for record in received:
        number = int(record["data"][:6])
        assert record["data"] == b"%06d" % number + b"." * ((number + 1) * 97 % 900), "a record that nobody sent"
    assert numbers == sorted(set(numbers)), "order was lost, or a record came twice"
    # Everything whose send returned is there; of the last few, only what was committed.
    assert set(range(max(0, len(set(sent)) - 3))) <= set(numbers)
    # The stream is usable: another producer takes over.
    reader.call("open_producer", h="q", name="s")
    reader.call("send", h="q", data=b"999999", timeout_ms=ENOUGH)
    reader.call("finish", h="q")
    assert drain(reader, "c")[-1]["data"] == b"999999"
    nothing_is_left(runtime, agents)


@pytest.mark.parametrize("passage", [1, 3])
@pytest.mark.parametrize("point", CLIENT_POINTS)
def test_a_consumer_killed_at(runtime, agents, point, passage):
    p, other = agents("C++"), agents("C++")
    p.call("create", name="s", kind="stream", capacity=65536)
    p.call("open_producer", h="p", name="s")
    other.call("open_consumer", h="c", name="s", group="g")
    for number in range(60):
        p.call("send", h="p", data=b"%06d" % number)
    victim, done = Victim(at=f"{point}:{passage}"), []
    try:
        work_of_a_consumer(victim, done, 30)
    except Died:
        pass
    except AgentError as error:
        # It was not killed: the other members may have had the rest.
        assert error.name == "timed_out", error
    finally:
        victim.end()
    p.call("finish", h="p")
    rest = drain(other, "c")
    numbers = [int(record["data"]) for record in rest]
    assert set(numbers) | set(done) == set(range(60)), "a record was lost"
    for record in rest:
        if int(record["data"]) in done[:-1]:
            raise AssertionError(f"record {record['data']} was acknowledged and came again")
    assert len(numbers) == len(set(numbers)), "a record came twice to one consumer"
    nothing_is_left(runtime, agents)


@pytest.mark.parametrize("passage", [1, 3])
@pytest.mark.parametrize("point", CLIENT_POINTS)
def test_a_putter_killed_at(runtime, agents, point, passage):
    reader = agents("C++")
    reader.call("create", name="b", kind="bytes", size=20_000)
    reader.call("open_bytes", h="b", name="b", mode="write")
    victim = Victim(at=f"{point}:{passage}")
    try:
        work_of_bytes(victim)
    except Died:
        pass
    finally:
        victim.end()
    try:
        content = reader.call("get", h="b", timeout_ms=0)["data"]
        assert content and content == content[:1] * (content[0] * 1000), "half of one content, half of another"
    except AgentError as error:
        assert error.name == "timed_out", error
    reader.call("put", h="b", data=b"new", timeout_ms=ENOUGH)
    assert reader.call("get", h="b", timeout_ms=0)["data"] == b"new"
    nothing_is_left(runtime, agents)


def test_every_point_of_the_client_is_passed_by_one_of_the_works(runtime, agents, tmp_path):
    listing = tmp_path / "points"
    reader = agents("C++")
    reader.call("create", name="s", kind="stream", capacity=65536)
    reader.call("open_producer", h="p", name="s")
    for number in range(30):
        reader.call("send", h="p", data=b"%06d" % number)
    for work in (lambda v: work_of_a_consumer(v, [], 30), work_of_bytes):
        victim = Victim(listing=listing)
        work(victim)
        victim.end()
    reader.call("remove", name="s", force=True)
    reader.call("create", name="s", kind="stream", capacity=8192)
    reader.call("open_consumer", h="c", name="s", group="g")
    with Reading(reader, "c"):
        victim = Victim(listing=listing)
        work_of_a_producer(victim, [])
        victim.end()
    passed = set(listing.read_text().split())
    listing.unlink()
    assert set(CLIENT_POINTS) <= passed, f"never passed: {sorted(set(CLIENT_POINTS) - passed)}"


def work_of_a_broker(agents, directory) -> None:
    """Everything that makes the broker change something."""
    a, b = agents("C++"), agents("C++", connect=False)
    a.call("create", name="s", kind="stream", capacity=8192)
    a.call("create", name="b", kind="bytes", size=4096)
    a.call("open_producer", h="p", name="s")
    b.call("connect")
    b.call("open_consumer", h="c", name="s", group="g", manual=True)
    a.call("send", h="p", data=b"one")
    b.call("receive", h="c", v="v", timeout_ms=ENOUGH)
    b.kill()
    d = agents("C++")
    d.call("open_consumer", h="d", name="s", group="g")
    assert d.call("receive", h="d", timeout_ms=ENOUGH)["data"] == b"one"
    d.call("open_producer", h="q", name="s")
    d.call("send", h="q", data=b"two")
    assert d.call("receive", h="d", timeout_ms=ENOUGH)["data"] == b"two"
    d.call("close", h="q")
    d.call("close", h="d")
    d.call("open_producer", h="r", name="s")
    d.call("loan", h="r", v="open", data=b"never seen")
    d.call("loan", h="r", v="behind", data=b"never seen")
    d.kill()
    e = agents("C++")
    e.call("open_consumer", h="c", name="s", group="g")
    drain(e, "c")
    e.call("call", method="Gc", parameters={"apply": True})  # the lanes that nobody has any more
    e.call("close", h="c")
    e.call("open_producer", h="p", name="s")
    e.call("call", method="Remove", parameters={"name": "s", "group": "g"})
    e.call("create", name="f", kind="bytes", size=4096, backing="file", directory=str(directory))
    e.call("remove", name="f")
    a.call("remove", name="b", force=True)
    a.call("close", h="p")
    e.call("close", h="p")
    a.call("create", name="s", kind="stream", capacity=8192)
    a.call("remove", name="s", force=True)


@pytest.mark.parametrize("passage", [1, 2])
@pytest.mark.parametrize("point", BROKER_POINTS)
def test_the_broker_killed_at(runtime, agents, point, passage):
    broker = start_broker(runtime.socket, environment={"ATOLL_KILL_AT": f"{point}:{passage}"})
    try:
        work_of_a_broker(agents, runtime.directory)
        nothing_is_left(runtime, agents)
    finally:
        stop_broker(broker)


def test_every_point_of_the_broker_is_passed(runtime, agents, tmp_path):
    listing = tmp_path / "points"
    broker = start_broker(runtime.socket, environment={"ATOLL_KILL_LIST": str(listing)})
    work_of_a_broker(agents, runtime.directory)
    stop_broker(broker)
    # A second life passes the points of recovery.
    broker = start_broker(runtime.socket, environment={"ATOLL_KILL_LIST": str(listing)})
    work_of_a_broker(agents, runtime.directory)
    stop_broker(broker)
    passed = set(listing.read_text().split())
    listing.unlink()
    assert set(BROKER_POINTS) <= passed, f"never passed: {sorted(set(BROKER_POINTS) - passed)}"
