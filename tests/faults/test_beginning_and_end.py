"""Calls fail in a broker while it starts, with segments to adopt, while it stops, and while it deals with a death.

A start ends with an error that says what to do, or serves; either way the next one has everything. A stop is a stop.
A death is dealt with when the shortage is over, at the latest.
"""
from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import pytest
from faults import KINDS, Faults, injected
from support.agents import Agent
from support.broker import ATOLLD, Runtime, start_broker, stop_broker, wait_for_end
from world import QUICK

WAYS = ("once", "from then on")
SOON = 5  # seconds
MOST = 4000
# A start makes thousands of small allocations, most of them while it reads its options: these are looked at, the later ones closely.
ALLOCATIONS = [*range(1, 400, 57), *range(400, MOST, 131)]


class Sleeping:
    """Segments of every backing that outlives a broker, and no broker."""

    def __init__(self) -> None:
        self.runtime = Runtime()
        (self.runtime.directory / "data").mkdir()
        self.faults = Faults(self.runtime.directory, "broker")
        self.broker = start_broker(self.runtime.socket, *QUICK)
        with Agent("C++", environment=self.runtime.environment) as agent:
            for name, fields in {"s": {"kind": "stream", "capacity": 4096}, "b": {"kind": "bytes", "size": 100},
                                 "f": {"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(self.runtime.directory / "data")}}.items():
                agent.call("create", name=name, **fields)
            for name in ("s", "f"):
                agent.call("open_producer", h="p", name=name)
                agent.call("send", h="p", data=b"kept")
                agent.call("open_consumer", h="c", name=name, group="g")
        stop_broker(self.broker)

    def start(self) -> bool:
        """With the faults; False if it ended with an error, which must be a good one."""
        began = time.monotonic()
        log = self.runtime.directory / "err"
        with open(log, "wb") as said:
            process = subprocess.Popen([ATOLLD, "--socket", str(self.runtime.socket), *QUICK], stderr=said,
                                       env=os.environ | self.faults.environment)
        while not (self.runtime.socket.exists() and b"serves" in log.read_bytes()) and process.poll() is None:
            assert time.monotonic() - began < SOON, "the broker neither serves nor ends"
            os.sched_yield()
        self.broker = process
        if process.poll() is None:
            return True
        assert process.returncode in (1, 2), f"the broker ended with status {process.returncode}: {log.read_text()}"
        if process.returncode == 1:
            assert re.search(r"^atolld: (no_space|no_descriptors|not_permitted|system_error|bad_runtime_directory|broker_running): .+\nfix: .+", log.read_text(), re.M), log.read_text()
        return False

    def everything_is_there(self) -> None:
        with Agent("C++", environment=self.runtime.environment, connect=False) as agent:
            agent.call("connect", start_broker=False)
            rows = {row["name"]: row["state"] for row in agent.call("call", method="List")["reply"]["segments"]}
            assert rows == {"s": "live", "b": "live", "f": "live"}, rows
            for name in ("s", "f"):
                agent.call("open_observer", h="o", name=name, start="earliest")
                assert agent.call("receive", h="o", timeout_ms=1000)["data"] == b"kept"

    def close(self) -> None:
        if self.broker.poll() is None:
            self.broker.kill()
            self.broker.wait()
        self.runtime.close()


@pytest.fixture
def sleeping():
    made = Sleeping()
    yield made
    made.close()


def numbers(shortage: str):
    return ALLOCATIONS if shortage == "no memory" else range(1, MOST)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shortage", KINDS)
def test_a_start_in_need(sleeping, shortage, way):
    for at in numbers(shortage):
        sleeping.faults.arm(KINDS[shortage], at, way == "once")
        try:
            served = sleeping.start()
        finally:
            failed = sleeping.faults.disarm()
        injected["start", "broker"] += failed
        if served and shortage == "no access":  # what it may not open is shown as not_permitted, until the next start
            stop_broker(sleeping.broker)
            served = False
        if not served:
            sleeping.broker = start_broker(sleeping.runtime.socket, *QUICK)
        sleeping.everything_is_there()
        stop_broker(sleeping.broker)
        if failed == 0:
            break


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shortage", KINDS)
def test_a_stop_in_need(sleeping, shortage, way):
    for at in numbers(shortage):
        assert sleeping.start()
        sleeping.faults.arm(KINDS[shortage], at, way == "once")
        sleeping.broker.send_signal(signal.SIGTERM)
        assert wait_for_end(sleeping.broker.pid, SOON), "the broker does not end"
        failed = sleeping.faults.disarm()
        injected["stop", "broker"] += failed
        assert sleeping.broker.wait() in (0, 1)
        sleeping.broker = start_broker(sleeping.runtime.socket, *QUICK)
        sleeping.everything_is_there()
        stop_broker(sleeping.broker)
        if failed == 0:
            break


@pytest.mark.parametrize("way", WAYS)
# Without "no access": a file of its own that a broker may not open counts as damaged.
@pytest.mark.parametrize("shortage", [shortage for shortage in KINDS if shortage != "no access"])
def test_a_death_in_need(world, shortage, way):
    numbers_to_try = range(1, 60, 3) if shortage == "no memory" else range(1, MOST)
    for at in numbers_to_try:
        doomed = Agent("C++", environment=world.runtime.environment)
        world.witness.call("create", name="d", kind="stream", capacity=4096)
        world.witness.call("open_producer", h="d", name="d")
        world.witness.call("send", h="d", data=b"claimed")
        doomed.call("open_producer", h="p", name="d")
        doomed.call("loan", h="p", v="l", data=b"never seen")
        doomed.call("open_consumer", h="c", name="d", group="g", manual=True)
        doomed.call("receive", h="c", v="v")
        world.of_broker.arm(KINDS[shortage], at, way == "once")
        doomed.kill()
        doomed.process.stdin.close()
        until = time.monotonic() + 0.05  # the shortage lasts while the broker looks at the death
        while time.monotonic() < until and way == "once" and world.of_broker.seen() < at:
            os.sched_yield()
        failed = world.of_broker.disarm()
        injected["a death", "broker"] += failed
        world.witness.call("open_consumer", h="again", name="d", group="g")
        came = world.witness.call("receive", h="again", timeout_ms=4000)
        assert came["data"] == b"claimed", "what the dead had claimed comes again"
        until = time.monotonic() + SOON
        while any(client["pid"] == doomed.process.pid for client in world.clients("d")):
            assert time.monotonic() < until, "the broker does not find out that the client is dead"
        for h in ("again", "d"):
            world.witness.call("close", h=h)
        world.witness.call("remove", name="d", force=True)
        world.is_well()
        if failed == 0 and at > 1:
            break
    world.is_whole()
