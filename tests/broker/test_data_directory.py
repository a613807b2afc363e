"""Segments of backing `file`: data that outlives its broker, and that several brokers may be told of."""
import contextlib
import fcntl
import json
import os
import shutil
import struct
import zlib

import pytest

from broker_client import *


@contextlib.contextmanager
def claimed(folder):
    """As another broker has it that uses the data in there."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def snapshot(folder):
    return {name: os.stat(os.path.join(folder, name)).st_ino for name in os.listdir(folder)}


def test_a_segment_is_not_made_where_another_broker_is_about_to(broker, tmp_path):
    connection = make_stream(broker, "first")
    folder = tmp_path / "s@2"
    folder.mkdir(mode=0o700)
    (folder / "lane-0.1").write_bytes(b"another's")
    with claimed(folder):
        reply, _ = connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path)})
    assert reply["created"] and reply["segment"]["generation"] == 3
    connection.call("Remove", name="s")
    assert os.listdir(folder) == ["lane-0.1"] and os.listdir(tmp_path) == ["s@2"]


def test_data_that_cannot_be_looked_at_is_not_made_anew(broker, tmp_path):
    options = {"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path)}
    make_stream(broker, **options)
    broker.kill()
    os.unlink(os.path.join(broker.directory, "segments", "s.json"))
    (tmp_path / "s@1").chmod(0o755)
    broker.start()
    connection = broker.connect()
    connection.hello()
    with pytest.raises(CallError) as error:
        connection.call("Create", name="s", options=options)
    assert "s@1" in str(error.value)
    (tmp_path / "s@1").chmod(0o700)
    assert connection.call("Create", name="s", options=options)[0]["created"] is False
    assert os.listdir(tmp_path) == ["s@1"]


def test_segments_of_the_same_generation_are_told_apart(broker, tmp_path):
    options = {"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path)}
    with Broker() as other:
        make_stream(other, **options)
        other.kill()
        shutil.rmtree(os.path.join(other.directory, "segments"))
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name="t", options={"kind": "stream", "capacity": 4096})
    assert connection.call("Create", name="s", options=options)[0]["segment"]["generation"] == 1
    paths = file_paths(connection, "t")
    edit_file(broker, paths, ("lane", 0), 0, b"XXXXXXXX")
    with pytest.raises(CallError):
        connection.attach("t", "observe")
    broker.restart()
    states = {s["name"]: s["state"] for s in broker.connect().call("List")[0]["segments"]}
    assert states == {"t": "damaged", "s": "live"}


def journal_line(**entry):
    text = json.dumps(entry, separators=(",", ":"), sort_keys=True).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


@pytest.mark.parametrize("begun", ["creating", "removing"])
def test_what_was_begun_with_data_that_another_broker_has_by_now_is_left_alone(broker, tmp_path, begun):
    options = {"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path)}
    broker.kill()
    with open(os.path.join(broker.directory, "journal"), "ab") as journal:
        journal.write(journal_line(t=begun, name="s", generation=1, directory=str(tmp_path), uuid="00000000-0000-0000-0000-000000000000"))
    with Broker() as other:
        second = make_stream(other, **options)
        before = snapshot(tmp_path / "s@1")
        broker.start()
        assert snapshot(tmp_path / "s@1") == before
        other.kill()
        broker.restart()
        assert snapshot(tmp_path / "s@1") == before, "nor when that one is dead: it is of another segment"
        other.start()
        second = other.connect()
        second.hello()
        second.attach("s", "produce")


def test_removing_what_is_gone_takes_nothing_that_another_broker_made_since(broker, tmp_path):
    options = {"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path)}
    make_stream(broker, **options)
    broker.kill()
    shutil.rmtree(tmp_path / "s@1")
    with Broker() as other:
        make_stream(other, **options)
        other.kill()
        before = snapshot(tmp_path / "s@1")
        broker.start()
        connection = broker.connect()
        connection.hello()
        with pytest.raises(CallError) as error:
            connection.attach("s", "observe")
        assert error.value.name == "TruncatedFile" and "another segment" in str(error.value)
        connection.call("Remove", name="s")
        assert snapshot(tmp_path / "s@1") == before


def test_data_that_goes_from_broker_to_broker_and_back_loses_nothing(broker, tmp_path):
    options = {"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path)}
    make_stream(broker, **options)
    broker.kill()
    with Broker() as other:
        second = make_stream(other, **options)
        with Holder(other) as producer:
            for lane in range(2):
                handle, given = producer.attach("s", "produce")
                producer.poke(handle, "lane", LANE_LIMIT, u64(512))
                producer.poke(handle, "lane", RING, record(COMMITTED, 5, 0))
                assert given["lane"] == lane
            second.attach("s", "consume", group="g")
            producer.kill()
        eventually(lambda: [lane["sequence"] for lane in second.call("Show", name="s")[0]["lanes"]] == [1, 1], "both are settled")
        other.kill()
        broker.start()
        connection = broker.connect()
        connection.hello()
        shown = connection.call("Show", name="s")[0]
        assert [(lane["lane"], lane["sequence"]) for lane in shown["lanes"]] == [(0, 1), (1, 1)]
        assert [(group["name"], group["lag"]) for group in shown["groups"]] == [("g", 2)]
        connection.call("Remove", name="s", force=True)
    assert os.listdir(tmp_path) == []


def test_a_lane_whose_producer_may_live_with_a_dead_broker_is_not_given_on_by_another(broker, tmp_path):
    options = {"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path)}
    make_stream(broker, **options)
    with Holder(broker) as producer:
        handle, given = producer.attach("s", "produce")
        assert given["lane"] == 0
        producer.poke(handle, "lane", LANE_LIMIT, u64(512))
        producer.poke(handle, "lane", RING, record(CLAIMED, 5, 0))
        broker.kill()
        with Broker() as other:
            make_stream(other, **options)
            for _ in range(2):
                second = other.connect()
                second.hello()
                assert second.attach("s", "produce")[0]["lane"] != 0
                assert struct.unpack("<I", producer.peek(handle, "lane", RING, 4))[0] & 7 == CLAIMED, "nor is it settled"
                second.close()
                other.connections.remove(second)
                other.restart()
            second = other.connect()
            second.call("Remove", name="s", force=True)


def test_after_a_reboot_the_lanes_of_a_file_segment_are_given_on(broker, tmp_path):
    options = {"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path)}
    make_stream(broker, **options)
    with Holder(broker) as producer:
        assert producer.attach("s", "produce")[1]["lane"] == 0
        broker.kill()
    (tmp_path / "s@1" / "boot").write_text("the one before")
    with Broker() as other:
        second = make_stream(other, **options)
        assert second.attach("s", "produce")[0]["lane"] == 0
        second.call("Remove", name="s", force=True)


def test_two_brokers_never_have_the_same_data(broker, tmp_path):
    options = {"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path)}
    connection = make_stream(broker, **options)
    with Broker() as other:
        second = other.connect()
        second.hello()
        with pytest.raises(CallError) as error:
            second.call("Create", name="s", options=options)
        assert error.value.name == "InUse" and "another broker" in str(error.value) and str(tmp_path) in str(error.value)
        broker.kill()
        assert second.call("Create", name="s", options=options)[0]["created"] is False
        # Now it is the first one that must not touch it, not even to remove it.
        broker.start()
        connection = broker.connect()
        connection.hello()
        with pytest.raises(CallError) as error:
            connection.attach("s", "observe")
        assert error.value.name == "InUse"
        second.attach("s", "produce")
        other.kill()
        assert connection.call("Create", name="s", options=options)[0]["created"] is False
        connection.attach("s", "produce")
        other.start()
        second = other.connect()
        second.call("Remove", name="s", force=True)
        assert os.path.exists(tmp_path / "s@1" / "lane-0.1"), "what another broker has is not removed either"
        connection.call("Remove", name="s", force=True)
    assert os.listdir(tmp_path) == []


def test_a_file_segment_survives_the_loss_of_the_runtime_directory(broker, tmp_path):
    connection = broker.connect()
    connection.hello()
    options = {"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path)}
    connection.call("Create", name="a/b", options=options)
    with Holder(broker) as producer:
        handle, given = producer.attach("a/b", "produce")
        producer.poke(handle, "lane", LANE_LIMIT, u64(512))
        producer.poke(handle, "lane", RING, record(COMMITTED, 5, 0))
        producer.do("call", "Detach", {"attachment": given["attachment"]})
    assert os.path.exists(tmp_path / "a+b@1" / "manifest.json")
    broker.kill()
    with Broker() as after:
        connection = after.connect()
        connection.hello()
        with pytest.raises(CallError) as error:
            connection.call("Create", name="a/b", options={**options, "capacity": 8192})
        assert error.value.name == "ExistsWithOtherOptions" and "4096" in str(error.value) and "8192" in str(error.value)
        reply, _ = connection.call("Create", name="a/b", options=options)
        assert reply["created"] is False
        lane = connection.call("Show", name="a/b")[0]["lanes"][0]
        assert (lane["tail"], lane["sequence"]) == (32, 1)
        assert connection.attach("a/b", "produce")[0]["lane"] == 0
        connection.call("Remove", name="a/b", force=True)
    assert os.listdir(tmp_path) == []
    # The first broker still lists it; its files are gone, and that is what it says.
    broker.start()
    with pytest.raises(CallError) as error:
        broker.connect().hello() and broker.connections[-1].attach("a/b", "observe")
    assert error.value.name == "TruncatedFile"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")
def test_whose_a_lane_was_is_known_after_a_restart_in_which_the_segment_could_not_be_used(tmp_path):
    with Broker("--allow-other-users") as broker:
        os.chmod(broker.directory, 0o755)
        connection = broker.connect()
        connection.hello()
        connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096, "backing": "file", "directory": str(tmp_path),
                                                     "access": [{"user": "65531", "rights": ["produce"]}]})
        with Holder(broker, prefix=["setpriv", "--reuid=65531", "--regid=65531", "--clear-groups"]) as guest:
            _, given = guest.attach("s", "produce")
            guest.do("call", "Detach", {"attachment": given["attachment"]})
            broker.kill()
            with claimed(tmp_path / "s@1"):
                broker.start()
                assert broker.connect().call("List")[0]["segments"][0]["state"] == "in_use"
            broker.restart()
            connection = broker.connect()
            connection.hello()
            assert connection.attach("s", "produce")[0]["lane"] == 1
