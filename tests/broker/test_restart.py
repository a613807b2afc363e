"""The broker is killed with -9 and started again: SPEC.md, "Broker restart"."""
import contextlib
import fcntl
import json
import os
import re
import shutil
import struct
import zlib

import pytest

from broker_client import *


def make_stream(broker, name="s", **options):
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name=name, options={"kind": "stream", "capacity": 4096, **options})
    return connection


def come_back(holder, *attachments):
    holder.do("reconnect")
    return holder.do("hello", {"token": holder.session["token"], "slot": holder.session["slot"],
                               "slot_generation": holder.session["slot_generation"], "attachments": list(attachments)})


def test_a_client_that_comes_back_keeps_its_slot_and_its_lane(broker):
    make_stream(broker)
    with Holder(broker) as producer:
        handle, given = producer.attach("s", "produce")
        broker.restart()
        # The lane is written while nobody has come back yet: nothing needs the broker.
        producer.poke(handle, "lane", LANE_LIMIT, u64(512))
        producer.poke(handle, "lane", RING, record(CLAIMED, 5, 0))
        session = come_back(producer, {"name": "s", "generation": 1, "attachment": given["attachment"], "role": "produce", "lane": 0})
        assert session["known"] and session["lost"] == []
        assert session["slot"] == producer.session["slot"] and session["epoch"] == producer.session["epoch"] + 1
        lane = broker.connect().call("Show", name="s")[0]["lanes"][0]
        assert lane["state"] == "owned" and lane["pid"] == producer.process.pid
        assert struct.unpack("<I", producer.peek(handle, "lane", RING, 4))[0] & 7 == CLAIMED, "a living producer's loan is left alone"
        producer.do("call", "Refresh", {"attachment": given["attachment"], "lanes": [[0, 1]], "groups": []})


def test_what_a_client_does_not_name_any_more_is_given_back(broker):
    make_stream(broker)
    with Holder(broker) as producer:
        producer.attach("s", "produce")
        broker.restart()
        assert come_back(producer)["known"]
        assert broker.connect().call("Show", name="s")[0]["lanes"][0]["state"] == "closed"


def test_a_broker_that_starts_with_too_few_descriptors_takes_nobody_for_dead(broker):
    make_stream(broker)
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(Holder(broker)).attach("s", "produce")
        broker.kill()
        broker.prefix = ["prlimit", "--nofile=24:24"]
        broker.start(wait=False)
        assert broker.process.wait(20) == 1
        assert "finding out whether process" in broker.log_text(), "it came as far as that"
        broker.prefix = []
        broker.start()
        assert {lane["state"] for lane in broker.connect().call("Show", name="s")[0]["lanes"]} == {"owned"}


def test_two_brokers_never_share_a_directory_in_shared_memory(broker):
    """As where each has a runtime directory at the same path in a mount namespace of its own, and both the same /dev/shm."""
    make_stream(broker)
    shm = broker.shm_directory()
    broker.kill()
    other = os.open(shm, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        broker.start(wait=False)
        assert broker.process.wait(20) == 1 and "mount namespace" in broker.log_text()
    finally:
        os.close(other)
    broker.start()
    assert broker.connect().call("Show", name="s")[0]["lanes"]


def test_an_attachment_that_the_broker_never_heard_of_is_lost(broker):
    make_stream(broker)
    with Holder(broker) as observer:
        _, given = observer.attach("s", "observe")
        broker.restart()
        row = {"name": "s", "generation": 1, "attachment": given["attachment"], "role": "observe"}
        session = come_back(observer, row, {**row, "attachment": 999999})
        assert session["known"] and session["lost"] == [999999]


def test_a_process_that_is_slow_to_come_back_keeps_what_it_holds(broker):
    make_stream(broker)
    with Holder(broker) as producer:
        producer.attach("s", "produce")
        broker.arguments = ("--grace", "0.05")
        broker.restart()
        connection = broker.connect()
        eventually(lambda: not connection.call("Status")[0]["recovering"], "the grace time is over")
        assert connection.call("Show", name="s")[0]["lanes"][0]["state"] == "owned"
        producer.kill()
        eventually(lambda: connection.call("Show", name="s")[0]["lanes"][0]["state"] == "orphaned", "its death is noticed")


def test_a_process_that_died_while_there_was_no_broker_is_dealt_with_at_the_start(broker):
    connection = make_stream(broker)
    _, files = connection.attach("s", "consume", group="g")
    group = memory(files, "group")
    with Holder(broker) as both:
        producer, _ = both.attach("s", "produce")
        consumer, _ = both.attach("s", "consume", group="g")
        slot, generation = both.session["slot"], both.session["slot_generation"]
        both.poke(producer, "lane", LANE_LIMIT, u64(512))
        both.poke(producer, "lane", RING, record(CLAIMED, 5, 0))
        claim = u16(HELD) + u16(slot) + u32(generation) + u16(0) + u16(1) + u16(1) + u16(0) + u64(0) + u64(32) + u64(0) + u64(0)
        both.poke(consumer, "group", GROUP_CLAIMS, claim)
        both.poke(consumer, "group", GROUP_LOCK, u32((slot + 1) | (generation & 0x1FFFF) << 13))
        broker.kill()
        both.kill()
    broker.start()
    lane = broker.connect().call("Show", name="s")[0]["lanes"][0]
    assert lane["state"] == "orphaned" and lane["tail"] == 32
    assert struct.unpack_from("<H", group, GROUP_CLAIMS)[0] == RETURNED
    assert word(group, GROUP_LOCK, 4) == 0 and word(group, GROUP_MEMBERS, 4) == 1


def test_a_member_of_a_removed_group_is_no_member_of_the_next_one_by_that_name(broker):
    connection = make_stream(broker)
    with Holder(broker) as consumer:
        _, given = consumer.attach("s", "consume", group="g")
        connection.call("Remove", name="s", group="g", force=True)
        connection.attach("s", "consume", group="g")
        broker.restart()
        assert [g["members"] for g in broker.connect().call("Show", name="s")[0]["groups"]] == [1]
        assert come_back(consumer, {"name": "s", "generation": 1, "attachment": given["attachment"], "role": "consume", "group": "g"})["lost"] == [given["attachment"]]


def test_a_lock_that_the_dead_broker_held_is_taken_over(broker):
    connection = make_stream(broker)
    _, files = connection.attach("s", "consume", group="g")
    group = memory(files, "group", writable=True)
    struct.pack_into("<I", group, GROUP_REDO + 0, 0)
    broker.kill()
    struct.pack_into("<QQ", group, GROUP_REDO + 16, GROUP_LANES + 8, 64)
    struct.pack_into("<I", group, GROUP_REDO, 1)
    struct.pack_into("<I", group, GROUP_LOCK, 8191)
    broker.start()
    assert word(group, GROUP_LOCK, 4) == 0 and word(group, GROUP_LANES + 8) == 64


def test_sleepers_hear_of_the_brokers_death_and_of_the_next_ones_start(broker):
    connection = broker.connect()
    _, fds = connection.hello()
    bells = mmap.mmap(fds[0], connection.session["fds"][0]["size"])
    assert word(bells, 128, 4) == broker.process.pid | 1 << 31
    broker.kill()
    assert word(bells, 128, 4) & 1 << 30, "the kernel marks the word"
    broker.start()
    broker.connect().call("Status")  # it takes connections a moment before it serves
    assert word(bells, 128, 4) == broker.process.pid | 1 << 31


def test_epochs_generations_and_attachments_are_never_given_twice(broker):
    connection = make_stream(broker)
    first = connection.session
    one = connection.attach("s", "observe")[0]["attachment"]
    connection.call("Remove", name="s", force=True)
    broker.restart()
    connection = make_stream(broker)
    assert connection.session["epoch"] == first["epoch"] + 1
    assert connection.session["slot_generation"] > first["slot_generation"]
    assert connection.call("List")[0]["segments"][0]["generation"] == 2
    assert connection.attach("s", "observe")[0]["attachment"] > one


def test_a_torn_journal_line_is_ignored_and_a_damaged_one_is_skipped(broker):
    make_stream(broker)
    with Holder(broker) as producer:
        _, given = producer.attach("s", "produce")
        broker.kill()
        with open(os.path.join(broker.directory, "journal"), "r+b") as journal:
            text = journal.read()
            journal.write(b'00000000 {"t":"gone","slot":1,"generation":1}\n12345678 {"t":"detach')
        assert b"attached" in text
        broker.start()
        assert "1 damaged lines" in broker.log_text()
        assert come_back(producer, {"name": "s", "generation": 1, "attachment": given["attachment"], "role": "produce", "lane": 0})["lost"] == []


def test_a_newer_brokers_journal_is_left_alone(broker):
    broker.kill()
    path = os.path.join(broker.directory, "journal")
    line = b'{"t":"journal","version":99}'
    newer = b"%08x %s\n" % (zlib.crc32(line), line)
    with open(path, "rb") as journal:
        before = journal.read()
    with open(path, "wb") as journal:
        journal.write(newer)
    broker.start(wait=False)
    assert broker.process.wait(timeout=10) == 1
    assert "wrong_version" in broker.log_text() and "version 99" in broker.log_text()
    with open(path, "rb") as journal:
        assert journal.read() == newer
    with open(path, "wb") as journal:
        journal.write(before)


def edit_manifest(broker, change):
    path = os.path.join(broker.directory, "segments", "s.json")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(change(text))


def edit_file(broker, paths, key, offset, data):
    with open(paths[key], "r+b") as file:
        file.seek(offset)
        file.write(data)


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


def roles(files):
    return sorted((row["role"], row.get("lane", row.get("id", 0))) for row, _ in files)


@pytest.mark.parametrize("restarted", [False, True], ids=["while it runs", "restarted"])
@pytest.mark.parametrize("spoil", [spoil for _, spoil in SPOILT], ids=[name for name, _ in SPOILT])
def test_damage_to_a_lanes_file_ends_at_that_lane(broker, spoil, restarted):
    connection, paths = stream_with_two_lanes_and_groups(broker)
    if restarted:
        broker.kill()
    spoil(broker, paths, ("lane", 0))
    if restarted:
        broker.start()
        connection = broker.connect()
        connection.hello()
    else:
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


@pytest.mark.parametrize("restarted", [False, True], ids=["while it runs", "restarted"])
@pytest.mark.parametrize("spoil", [spoil for _, spoil in SPOILT], ids=[name for name, _ in SPOILT])
def test_damage_to_a_groups_file_ends_at_that_group_which_holds_no_producer_back_any_more(broker, spoil, restarted):
    connection, paths = stream_with_two_lanes_and_groups(broker)
    if restarted:
        broker.kill()
    spoil(broker, paths, ("group", 0))
    if restarted:
        broker.start()
        connection = broker.connect()
        connection.hello()
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


def test_a_group_made_anew_after_a_restart_is_not_taken_for_the_one_that_was(broker):
    connection = make_stream(broker)
    with Holder(broker) as producer:
        _, given = producer.attach("s", "produce")
        old, _ = connection.attach("s", "consume", group="g")
        old_row = next(row for row in old["fds"] if row["role"] == "group")
        knows = [old_row["id"], old_row["incarnation"]]
        connection.call("Remove", name="s", group="g", force=True)
        broker.restart()
        connection = broker.connect()
        connection.hello()
        new, _ = connection.attach("s", "consume", group="g")
        come_back(producer, {"name": "s", "generation": 1, "attachment": given["attachment"], "role": "produce", "lane": 0})
        # The producer did not look at the segment in between: it asks by what it knows.
        got = producer.do("call", "Refresh", {"attachment": given["attachment"], "lanes": [[0, 1]], "groups": [knows]})
        assert [row["id"] for row in got["fds"] if row["role"] == "group"] == [old_row["id"]]


def test_what_a_reboot_took_is_told_and_made_again_by_create(broker):
    connection = make_stream(broker)
    shm = broker.shm_directory()
    broker.kill()
    shutil.rmtree(shm)
    broker.start()
    connection = broker.connect()
    connection.hello()
    with pytest.raises(CallError) as error:
        connection.attach("s", "produce")
    assert error.value.name == "SegmentLost" and "reboot" in str(error.value) and "create it again" in error.value.parameters["fix"]
    assert connection.call("Create", name="s", options={"kind": "stream", "capacity": 8192})[0]["created"]
    assert connection.attach("s", "produce")[0]["lane"] == 0


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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")
@pytest.mark.parametrize("ended", ["closed", "died"])
@pytest.mark.parametrize("restarts", [0, 1, 2])
def test_a_lane_is_given_on_to_its_last_user_only(restarts, ended):
    with Broker("--allow-other-users") as broker:
        os.chmod(broker.directory, 0o755)
        connection = broker.connect()
        connection.hello()
        connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096, "access": [{"user": "65531", "rights": ["produce"]}]})

        def guest():
            return Holder(broker, prefix=["setpriv", "--reuid=65531", "--regid=65531", "--clear-groups"])

        with guest() as first:
            _, given = first.attach("s", "produce")
            assert given["lane"] == 0
            if ended == "closed":
                first.do("call", "Detach", {"attachment": given["attachment"]})
            else:
                first.kill()  # a child of it might still write there
                eventually(lambda: connection.call("Show", name="s")[0]["lanes"][0]["state"] == "orphaned", "its death is known")
            for _ in range(restarts):
                broker.restart()
            connection = broker.connect()
            connection.hello()
            assert connection.attach("s", "produce")[0]["lane"] == 1
            with guest() as second:
                assert second.attach("s", "produce")[1]["lane"] == 0, "its own user may have it again"


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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to put the broker into a pid namespace of its own")
def test_a_process_that_the_broker_cannot_see_lives_as_long_as_its_byte_lock(broker):
    broker.kill()
    # Its children see other pids, and nothing outside: only the lock on `life` can tell.
    broker.prefix = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    broker.arguments = ("--grace", "0.2")
    broker.start()
    make_stream(broker)
    with Holder(broker) as producer:
        _, given = producer.attach("s", "produce")
        assert broker.connect().call("Show", name="s")[0]["clients"][0]["pid"] == 0
        broker.restart()
        connection = broker.connect()
        eventually(lambda: not connection.call("Status")[0]["recovering"], "the grace time is over")
        assert connection.call("Show", name="s")[0]["lanes"][0]["state"] == "owned"
        producer.kill()
        eventually(lambda: connection.call("Show", name="s")[0]["lanes"][0]["state"] == "orphaned", "the lock is free")


def test_another_users_clients_cannot_cut_the_bells():
    with Broker("--allow-other-users") as broker:
        os.chmod(broker.directory, 0o755)
        connection = broker.connect()
        _, fds = connection.hello()
        with pytest.raises(PermissionError):
            os.ftruncate(fds[0], 0)
        broker.restart()
        _, again = broker.connect().hello()
        assert os.fstat(again[0]).st_ino != os.fstat(fds[0]).st_ino
