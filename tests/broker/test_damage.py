"""Files that were cut, lost or written over: what ends where, and what is mended.

That a client meets the error by name is shown in tests/errors; here, what the broker does with the rest.
"""
import contextlib
import json
import os
import re
import struct

import pytest

from broker_client import *


def edit_manifest(broker, change):
    path = os.path.join(broker.directory, "segments", "s.json")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(change(text))


@pytest.mark.parametrize("code,damage", [
    ("BadManifest", lambda b, p: edit_manifest(b, lambda t: t[:200])),
    ("BadManifest", lambda b, p: edit_manifest(b, lambda t: t.replace('"capacity": 4096', '"capacity": 4097'))),
    ("BadManifest", lambda b, p: edit_manifest(b, lambda t: t.replace('"name": "s"', '"name": "t"'))),
    ("WrongVersion", lambda b, p: edit_manifest(b, lambda t: t.replace('"min_reader_version": 1', '"min_reader_version": 9'))),
    ("WrongByteOrder", lambda b, p: edit_manifest(b, lambda t: t.replace('"little"', '"big"'))),
    ("BadHeader", lambda b, p: edit_manifest(b, lambda t: t.replace('"uuid": "', '"uuid": "').replace(json.loads(t)["uuid"], "0" * 8 + "-0000-0000-0000-" + "0" * 12))),
    ("BadHeader", lambda b, p: edit_file(b, p, ("header", 0), 0, b"XXXXXXXX")),
    ("WrongByteOrder", lambda b, p: edit_file(b, p, ("header", 0), 0, b"10LLOTAA")),
    ("TruncatedFile", lambda b, p: os.truncate(p["header", 0], 10)),
])
def test_a_damaged_segment_has_its_own_error_and_harms_no_other(broker, code, damage):
    connection = make_stream(broker)
    connection.call("Create", name="other", options={"kind": "stream", "capacity": 4096})
    paths = file_paths(connection, "s")
    broker.kill()
    damage(broker, paths)
    broker.start()
    connection = broker.connect()
    connection.hello()
    with pytest.raises(CallError) as error:
        connection.attach("s", "produce")
    assert error.value.name == code and error.value.parameters["segment"] == "s" and error.value.parameters["fix"]
    connection.attach("other", "produce")
    states = {s["name"]: s["state"] for s in connection.call("List")[0]["segments"]}
    assert states["other"] == "live" and states["s"] != "live"
    assert connection.call("Show", name="s")[0]["lanes"] == []
    kept = [f for f in connection.call("Gc")[0]["findings"] if f["name"] == "s"]
    assert [f["action"] for f in kept] == ["keep"]
    connection.call("Remove", name="s")
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})


SPOILT = [
    ("its geometry", lambda b, p, part: edit_file(b, p, part, 64, u64(1 << 40))),
    ("its features", lambda b, p, part: edit_file(b, p, part, 40, u64(1 << 5))),
    ("its magic", lambda b, p, part: edit_file(b, p, part, 0, b"XXXXXXXX")),
    ("cut", lambda b, p, part: os.truncate(p[part], 4100)),
    ("unlinked", lambda b, p, part: os.unlink(p[part])),
]


def stream_with_two_lanes_and_groups(broker):
    connection = make_stream(broker)
    for role, more in (("produce", {}), ("produce", {}), ("consume", {"group": "g"}), ("consume", {"group": "h"})):
        connection.attach("s", role, **more)
    return connection, file_paths(connection, "s")


def spoilt_stream(broker, part, spoil, restarted):
    """A connection to the broker, that one or the next, after the file was spoilt."""
    connection, paths = stream_with_two_lanes_and_groups(broker)
    if restarted:
        broker.kill()
    spoil(broker, paths, part)
    if restarted:
        broker.start()
        connection = broker.connect()
        connection.hello()
    return connection


def however_it_is_spoilt(test):
    for mark in (pytest.mark.parametrize("spoil", [spoil for _, spoil in SPOILT], ids=[name for name, _ in SPOILT]),
                 pytest.mark.parametrize("restarted", [False, True], ids=["while it runs", "restarted"])):
        test = mark(test)
    return test


@however_it_is_spoilt
def test_damage_to_a_lanes_file_ends_at_that_lane(broker, spoil, restarted):
    connection = spoilt_stream(broker, ("lane", 0), spoil, restarted)
    if not restarted:
        with pytest.raises(CallError) as error:
            connection.attach("s", "consume", group="g")
        assert error.value.name in ("BadHeader", "WrongVersion", "TruncatedFile") and re.search("lane(-| file )0", str(error.value)), "the first to meet it hears of it"
    _, files = connection.attach("s", "consume", group="g")
    assert roles(files) == [("bell", 0), ("group", 0), ("header", 0), ("lane", 1)]
    given, _ = connection.attach("s", "produce")
    assert given["lane"] != 0
    shown = {lane["lane"]: lane["state"] for lane in connection.call("Show", name="s")[0]["lanes"]}
    assert shown[0] == "damaged" and shown[given["lane"]] == "owned"
    assert connection.call("List")[0]["segments"][0]["state"] == "damaged"


@however_it_is_spoilt
def test_damage_to_a_groups_file_ends_at_that_group_which_holds_no_producer_back_any_more(broker, spoil, restarted):
    connection = spoilt_stream(broker, ("group", 0), spoil, restarted)
    given, files = connection.attach("s", "produce")
    assert roles(files) == [("bell", 0), ("group", 1), ("header", 0), ("lane", given["lane"])]
    active_groups = word(memory(files, "header"), 260, 4)
    assert active_groups == 1 << 1
    with pytest.raises(CallError) as error:
        connection.attach("s", "consume", group="g")
    assert error.value.name == "GroupDamaged" and "'g'" in str(error.value)
    connection.attach("s", "consume", group="h")
    connection.call("Remove", name="s", group="g", force=True)
    _, files = connection.attach("s", "consume", group="g")
    assert word(memory(files, "header"), 260, 4) == 3, "removed and made again it is as good as new"


@pytest.mark.parametrize("restarted", [False, True], ids=["while it runs", "restarted"])
@pytest.mark.parametrize("backing", ["shm", "memfd"])
@pytest.mark.parametrize("spoil", [lambda page: bytes(128), lambda page: page[:60] + u32(128 - struct.unpack_from("<I", page, 60)[0] & 80) + page[64:]], ids=["zeros", "another alignment"])
def test_the_page_of_a_file_that_all_may_write_is_written_again(broker, backing, restarted, spoil):
    connection = make_stream(broker, backing=backing)
    connection.call("Create", name="b", options={"kind": "bytes", "size": 100, "backing": backing})
    stream, bytes_ = connection.attach("s", "observe")[1], connection.attach("b", "map", writable=True)[1]
    before = memory(stream, "bell")[:128]
    memory(stream, "bell", writable=True)[:128] = spoil(before)
    memory(bytes_, "data", writable=True)[:128] = spoil(memory(bytes_, "data")[:128])
    if restarted and backing == "shm":
        broker.restart()
    connection = broker.connect()
    connection.hello()
    _, files = connection.attach("s", "observe")
    assert memory(files, "bell")[:128] == before
    assert memory(connection.attach("b", "map")[1], "data")[:8] == before[:8]


def test_what_was_set_aside_stays_so_when_its_file_is_as_it_was(broker):
    connection, paths = stream_with_two_lanes_and_groups(broker)
    magic = {part: read_file(paths[part], 0, 8) for part in (("lane", 0), ("group", 0))}
    for part in magic:
        edit_file(broker, paths, part, 0, b"XXXXXXXX")
        with pytest.raises(CallError):
            connection.attach("s", "consume", group="g")
    # A lane that the group never hears of.
    assert connection.attach("s", "produce")[0]["lane"] == 2
    for _ in range(2):
        broker.kill()
        for part, text in magic.items():
            edit_file(broker, paths, part, 0, text)
        broker.start()
    connection = broker.connect()
    connection.hello()
    _, files = connection.attach("s", "consume", group="h")
    assert roles(files) == [("bell", 0), ("group", 1), ("header", 0), ("lane", 1), ("lane", 2)]
    assert word(memory(files, "header"), 260, 4) == 1 << 1
    with pytest.raises(CallError) as error:
        connection.attach("s", "consume", group="g")
    assert error.value.name == "GroupDamaged"


@pytest.mark.parametrize("part", [("lane", 0), ("group", 0)])
def test_what_passes_is_no_damage(broker, part):
    connection, paths = stream_with_two_lanes_and_groups(broker)
    os.link(paths[part], paths[part] + ".copy")
    with pytest.raises(CallError) as error:
        connection.attach("s", "consume", group="g")
    assert error.value.name == "NotPermitted" and "hard links" in error.value.parameters["fix"]
    with contextlib.suppress(CallError):
        connection.attach("s", "produce")
    os.unlink(paths[part] + ".copy")
    _, files = connection.attach("s", "consume", group="g")
    assert part in roles(files)
    assert connection.call("List")[0]["segments"][0]["state"] == "live"
