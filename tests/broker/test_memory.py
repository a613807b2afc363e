"""memfd segments after a crash of the broker: their clients offer the memory back. SPEC.md, "Broker restart"."""
import fcntl
import json
import os

import pytest

from broker_client import *


def test_memfd_segments_come_back_from_their_clients_and_else_are_lost(broker):
    connection = broker.connect()
    connection.hello()
    for name in ("kept", "lost"):
        connection.call("Create", name=name, options={"kind": "bytes", "size": 100, "backing": "memfd"})
    given, files = connection.attach("kept", "map", writable=True)
    lost, _ = connection.attach("lost", "map")
    memory(files, "data", writable=True)[4096:4101] = b"hello"
    session = connection.session
    broker.arguments = ("--grace", "0.5")
    broker.restart()
    connection = broker.connect()
    row = {"name": "kept", "generation": 1, "attachment": given["attachment"], "role": "map"}
    back, _ = connection.hello([fd for _, fd in files], token=session["token"], slot=session["slot"],
                               slot_generation=session["slot_generation"], attachments=[row])
    assert back["known"] and back["lost"] == []
    _, files = connection.attach("kept", "map")
    assert memory(files, "data")[4096:4101] == b"hello"
    eventually(lambda: not connection.call("Status")[0]["recovering"], "the grace time is over")
    with pytest.raises(CallError) as error:
        connection.attach("lost", "map")
    assert error.value.name == "SegmentLost"
    assert {s["name"]: s["state"] for s in connection.call("List")[0]["segments"]} == {"kept": "live", "lost": "segment_lost"}
    again, _ = connection.call("Create", name="lost", options={"kind": "bytes", "size": 100, "backing": "memfd"})
    assert again["created"] and again["segment"]["state"] == "live", "the way to mend it is to create it again"
    connection.attach("lost", "map")


def test_memory_that_the_broker_did_not_give_is_not_taken_for_a_segments(broker):
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name="s", options={"kind": "bytes", "size": 100, "backing": "memfd"})
    given, files = connection.attach("s", "map", writable=True)
    memory(files, "data", writable=True)[4096:4101] = b"truth"
    # Alike in all that can be seen of it, and offered first.
    forged = []
    for row, fd in files:
        copy = os.memfd_create("forged", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.fchmod(copy, 0o600)
        os.write(copy, os.pread(fd, row["size"], 0).replace(b"truth", b"a lie"))
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        forged.append(copy)
    session = connection.session
    broker.restart()
    broker.connect().hello(forged)
    assert {s["name"]: s["state"] for s in broker.connect().call("List")[0]["segments"]} == {"s": "segment_lost"}
    connection = broker.connect()
    row = {"name": "s", "generation": 1, "attachment": given["attachment"], "role": "map"}
    back, _ = connection.hello([fd for _, fd in files], token=session["token"], slot=session["slot"], slot_generation=session["slot_generation"], attachments=[row])
    assert back["lost"] == []
    _, files = connection.attach("s", "map")
    assert memory(files, "data")[4096:4101] == b"truth"
    for copy in forged:
        os.close(copy)


def test_memory_is_known_again_after_a_second_crash_and_whatever_stands_in_it(broker):
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096, "backing": "memfd"})
    given, files = connection.attach("s", "produce")
    session = connection.session
    lane = next(fd for row, fd in files if row["role"] == "lane")
    os.pwrite(lane, bytes(128), 0)  # its header page
    broker.restart()
    broker.restart()
    connection = broker.connect()
    row = {"name": "s", "generation": 1, "attachment": given["attachment"], "role": "produce", "lane": 0}
    connection.hello([fd for _, fd in files], token=session["token"], slot=session["slot"], slot_generation=session["slot_generation"], attachments=[row])
    again, _ = connection.attach("s", "produce")
    assert again["lane"] == 1
    assert {lane["lane"]: lane["state"] for lane in connection.call("Show", name="s")[0]["lanes"]} == {0: "damaged", 1: "owned"}


def test_memory_that_nobody_held_takes_only_its_own_lane_along(broker):
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096, "backing": "memfd"})
    given, files = connection.attach("s", "produce")
    with Holder(broker) as other:
        gone = other.attach("s", "produce")[1]
        assert gone["lane"] == 1
        session = connection.session
        broker.kill()
    broker.arguments = ("--grace", "0.3")
    broker.start()
    connection = broker.connect()
    row = {"name": "s", "generation": 1, "attachment": given["attachment"], "role": "produce", "lane": 0}
    back, _ = connection.hello([fd for _, fd in files], token=session["token"], slot=session["slot"], slot_generation=session["slot_generation"], attachments=[row])
    assert back["lost"] == []
    eventually(lambda: not connection.call("Status")[0]["recovering"], "the grace time is over")
    lanes = connection.call("Show", name="s")[0]["lanes"]
    assert [(lane["lane"], lane["state"]) for lane in lanes] == [(0, "owned")]
    assert "without the lane-1" in broker.log_text()
    assert [f["lane"] for f in json.loads(connection.call("Manifest", name="s")[0]["manifest"])["files"] if f["role"] == "lane"] == [0]
    new, _ = connection.attach("s", "produce")
    assert new["lane"] == 1
    incarnations = [next(row["incarnation"] for row in each["fds"] if row["role"] == "lane") for each in (gone, new)]
    assert incarnations[0] < incarnations[1], "it is not taken for the one that was"
    _, files = connection.attach("s", "consume", group="g")
    assert roles(files) == [("bell", 0), ("group", 0), ("header", 0), ("lane", 0), ("lane", 1)]
