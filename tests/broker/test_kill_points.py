"""The broker is killed at each point at which it has just changed, or is about to change, what others see.

Needs an atolld that was built with ATOLL_KILL_POINTS. One story is told for every point: streams and bytes
are made, used, left by the dying and removed; wherever the broker dies a new one is started and the story goes
on. At the end nothing may be out of step and nothing left over.
"""
import json
import os
import struct
import tempfile

import pytest

from broker_client import *


def points():
    """Every point that the story passes, from one telling of it."""
    with tempfile.NamedTemporaryFile("r") as passed:
        with Broker(environment={"ATOLL_KILL_LIST": passed.name}) as broker:
            tell_story(broker)
        return sorted({line.strip() for line in passed if line.startswith("broker.")})


class Teller:
    """Repeats a call until a broker lived long enough to answer it."""

    def __init__(self, broker):
        self.broker = broker

    def restart_if_dead(self):
        try:
            self.broker.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            raise AssertionError("the broker hangs:\n" + self.broker.log_text())
        self.broker.environment = {}
        self.broker.start()

    def call(self, method, **parameters):
        for _ in range(5):
            try:
                return Connection(self.broker.path).call(method, **parameters)[0]
            except OSError:
                self.restart_if_dead()
            except CallError as error:
                # The first try may have been carried out before its answer was lost.
                if method == "Remove" and error.name in ("UnknownSegment", "UnknownGroup"):
                    return {}
                raise
        raise AssertionError("no broker lives long enough")

    def settle(self, check, what):
        def look():
            try:
                if self.broker.process.poll() is not None:
                    self.restart_if_dead()
                return check()
            except (OSError, ConnectionError):
                self.restart_if_dead()
                return False
        return eventually(look, what)

    def holder(self, name, *attachments):
        """A process that holds these attachments, however often the broker dies in between."""
        for _ in range(5):
            holder = None
            try:
                holder = Holder(self.broker)
                return holder, [holder.attach(name, role, **more) for role, more in attachments]
            except (OSError, ValueError, ConnectionError):
                if holder is not None:
                    holder.kill()
                self.restart_if_dead()
        raise AssertionError("no broker lives long enough")


def tell_story(broker):
    teller = Teller(broker)
    teller.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    teller.call("Create", name="b", options={"kind": "bytes", "size": 100})
    teller.call("Create", name="f", options={"kind": "bytes", "size": 100, "backing": "file", "directory": broker.directory})
    one, [(lane, given), (group, _)] = teller.holder("s", ("produce", {}), ("consume", {"group": "g"}))
    other, _ = teller.holder("s", ("produce", {}), ("consume", {"group": "g"}), ("consume", {"group": "short", "group_options": {"ephemeral": True}}))
    putter, [(data, _)] = teller.holder("b", ("map", {"writable": True}))
    with one, other, putter:
        slot, generation = one.session["slot"], one.session["slot_generation"]
        number = given["lane"]
        one.poke(lane, "lane", RING, record(COMMITTED, 5, 0) + b"x" * 16 + record(CLAIMED, 5, 1), lane=number)
        one.poke(lane, "lane", LANE_LIMIT, u64(512), lane=number)
        # `lane` in a claim is two bytes.
        claim = u16(HELD) + u16(slot) + u32(generation) + u16(number) + u16(1) + u16(1) + u16(0) + u64(0) + u64(32) + u64(0) + u64(0)
        one.poke(group, "group", GROUP_LANES + 64 * number + 8, u64(32) + u64(1))
        one.poke(group, "group", GROUP_CLAIMS, claim)
        one.poke(group, "group", GROUP_LOCK, u32((slot + 1) | (generation & 0x1FFFF) << 13))
        paths = {(row["role"], row.get("lane", row.get("group"))): row["path"] for row in json.loads(teller.call("Manifest", name="s")["manifest"])["files"]}
        holder = (putter.session["slot"] + 1) | (putter.session["slot_generation"] & 0x1FFFF) << 13
        putter.poke(data, "data", 4096 + 4096, b"new")
        putter.poke(data, "data", 768, u32(2) + u32(0) + u64(3) + u64(648) + u64(3) + u64(656) + u64(1))
        putter.poke(data, "data", 512, u32(holder))
        one.kill()
        putter.kill()
        teller.settle(lambda: struct.unpack("<I", read_file(paths["lane", number], RING + 32, 4))[0] & 7 == ABORTED, "the loan is aborted")
        teller.settle(lambda: struct.unpack("<H", read_file(paths["group", "g"], GROUP_CLAIMS, 2))[0] == RETURNED, "the claim is given back")
        teller.settle(lambda: read_file(paths["group", "g"], GROUP_LOCK, 4) == u32(0), "the lock is free")
        assert struct.unpack("<Q", read_file(paths["group", "g"], GROUP_RETURNED, 8))[0] == 1, "given back once"
        teller.settle(lambda: teller.call("Show", name="b")["length"] == 3, "the put is completed")
        teller.settle(lambda: {row["lane"]: row["state"] for row in teller.call("Show", name="s")["lanes"]}[number] == "orphaned", "the lane is orphaned")
        assert {row["lane"]: row["tail"] for row in teller.call("Show", name="s")["lanes"]}[number] == 64
        other.kill()
        teller.settle(lambda: [row["name"] for row in teller.call("Show", name="s")["groups"]] == ["g"], "the ephemeral group is gone")
        teller.settle(lambda: teller.call("Show", name="s")["clients"] == [], "nobody is attached")
    in_step(teller)
    teller.call("Create", name="drained", options={"kind": "stream", "capacity": 4096})
    leaver, _ = teller.holder("drained", ("produce", {}), ("produce", {}), ("consume", {"group": "g"}))
    with leaver:
        leaver.kill()
    teller.settle(lambda: teller.call("Show", name="drained")["clients"] == [], "nobody is attached")
    # What brokers of other runtimes leave beside this one's folder, or are just making, is theirs.
    shm = teller.call("Status")["shm_directory"]
    teller.settle(lambda: not [row for row in teller.call("Gc", apply=True)["findings"] if not row["name"].startswith("/") or row["name"].startswith(shm)],
                  "nothing is left to clean up")
    assert len(teller.call("Show", name="drained")["lanes"]) == 1
    in_step(teller)
    teller.call("Remove", name="s", group="g")
    in_step(teller)
    for name in ("s", "b", "f", "drained"):
        teller.call("Remove", name=name)
    in_step(teller)
    assert teller.call("List")["segments"] == []
    assert [name for name in os.listdir(broker.directory) if name.startswith("f@")] == []


def in_step(teller):
    """Manifest, header words and files say the same, and nothing else is there."""
    shm = teller.call("Status")["shm_directory"]
    expected = {"bells", "runtime"}
    for segment in teller.call("List")["segments"]:
        assert segment["state"] == "live", teller.broker.log_text()
        manifest = json.loads(teller.call("Manifest", name=segment["name"])["manifest"])
        directory = os.path.dirname(manifest["files"][0]["path"])
        names = {os.path.basename(row["path"]) for row in manifest["files"]}
        assert set(os.listdir(directory)) - {"manifest.json", "boot"} == names
        if manifest["backing"] == "shm":
            expected.add(os.path.basename(directory))
        if manifest["kind"] == "stream":
            header = read_file(os.path.join(directory, "header"), 0, 4096)
            lanes = sum(1 << row["lane"] for row in manifest["files"] if row["role"] == "lane")
            groups = sum(1 << row["id"] for row in manifest["files"] if row["role"] == "group")
            assert struct.unpack_from("<Q", header, 128)[0] == lanes and struct.unpack_from("<I", header, 260)[0] == groups
    assert set(os.listdir(shm)) == expected


POINTS = points()


@pytest.mark.parametrize("passage", [1, 2, 5])
@pytest.mark.parametrize("point", POINTS or ["none"])
def test_a_broker_killed_there_is_followed_by_one_that_goes_on(point, passage):
    if not POINTS:
        pytest.skip("this atolld was built without ATOLL_KILL_POINTS")
    broker = Broker(environment={"ATOLL_KILL_AT": f"{point}:{passage}"})
    broker.start(wait=False)
    try:
        broker.wait_until_it_serves()
    except AssertionError:
        broker.environment = {}
        broker.start()
    try:
        tell_story(broker)
    finally:
        if broker.process.poll() is None:
            broker.kill()
        broker.environment = {}
        broker.start()
        broker.__exit__(None, None, None)
