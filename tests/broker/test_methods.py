"""The methods of dev.atoll.Broker, called right and wrong."""
import fcntl
import json
import mmap
import os
import struct
import threading

import pytest

from broker_client import *

F_GET_SEALS, SEAL_SHRINK, SEAL_GROW, SEAL_FUTURE_WRITE = 1034, 2, 4, 16


@pytest.fixture
def connection(broker):
    connection = broker.connect()
    connection.hello()
    return connection


def fails(code, connection, method, /, **parameters):
    with pytest.raises(CallError) as error:
        connection.call(method, **parameters)
    assert error.value.name == code, error.value
    details = error.value.parameters
    assert details["message"] and details["fix"] and isinstance(details["detail"], int)
    return details


def test_creating_twice_with_the_same_options_finds_the_first(connection):
    options = {"kind": "stream", "capacity": 4096, "when_full": "drop-new", "alignment": 64}
    assert connection.call("Create", name="s", options=options)[0]["created"]
    again, _ = connection.call("Create", name="s", options=options)
    assert not again["created"] and again["segment"]["generation"] == 1
    assert not connection.call("Create", name="s", options={"kind": "stream"})[0]["created"], "what is not said does not differ"


def test_a_capacity_is_rounded_up_to_a_power_of_two(connection):
    for asked, got in ((4097, 8192), (5000, 8192), (8192, 8192), ((1 << 20) - 1, 1 << 20)):
        name = f"s{asked}"
        connection.call("Create", name=name, options={"kind": "stream", "capacity": asked})
        manifest = json.loads(connection.call("Manifest", name=name)[0]["manifest"])
        assert manifest["capacity"] == got
        assert not connection.call("Create", name=name, options={"kind": "stream", "capacity": asked})[0]["created"], "asked for again it is the same"


@pytest.mark.parametrize("change,both", [
    ({"capacity": 8192}, ("4096", "8192")), ({"when_full": "overwrite"}, ("block", "overwrite")), ({"alignment": 64}, ("16", "64")),
    ({"kind": "bytes", "size": 1, "capacity": None}, ("stream", "bytes")), ({"backing": "memfd"}, ("shm", "memfd")),
    ({"access": [{"user": "*", "rights": ["observe"]}]}, ("[]", "observe")),
])
def test_creating_with_other_options_names_both(connection, change, both):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    message = fails("ExistsWithOtherOptions", connection, "Create", name="s", options={"kind": "stream", "capacity": 4096, **change})["message"]
    assert all(word in message for word in both), message


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "..", "a/../b", ".a", "-a", "a b", "a\x00b", "a\x1b[31m", "ä", "x" * 129])
def test_names_that_could_leave_the_directory_or_confuse_a_terminal_are_refused(connection, name):
    message = fails("InvalidName", connection, "Create", name=name, options={"kind": "stream"})["message"]
    assert message.isprintable()


@pytest.mark.parametrize("error,options,said", [
    ("InvalidGeometry", {"kind": "stream", "capacity": 2048}, "2048"),
    ("InvalidGeometry", {"kind": "stream", "capacity": 1 << 62}, str(1 << 62)),
    ("InvalidGeometry", {"kind": "stream", "alignment": 32}, "32"),
    ("InvalidGeometry", {"kind": "bytes", "size": 0}, "0"),
    ("InvalidGeometry", {"kind": "bytes", "size": 1 << 60}, str(1 << 60)),
    ("InvalidGeometry", {"kind": "bytes", "size": 10, "put_size": 11}, "11"),
    ("InvalidArgument", {"kind": "stream", "capacity": -1}, "options.capacity"),
    ("InvalidArgument", {"kind": "stream", "capacity": 1 << 64}, "options.capacity"),
    ("InvalidArgument", {"kind": "stream", "when_full": "explode"}, "when_full"),
    ("InvalidArgument", {"kind": "stream", "size": 5}, "options.size"),
    ("InvalidArgument", {"kind": "nonsense"}, "options.kind"),
    ("NotSupported", {"kind": "table"}, "table"),
    ("InvalidArgument", {"kind": "stream", "backing": "cloud"}, "options.backing"),
    ("InvalidArgument", {"kind": "stream", "backing": "file"}, "options.directory"),
    ("InvalidArgument", {"kind": "stream", "backing": "file", "directory": "relative"}, "options.directory"),
    ("InvalidArgument", {"kind": "stream", "backing": "file", "directory": "/no/such/place"}, "/no/such/place"),
    ("InvalidArgument", {"kind": "stream", "access": [{"user": "nobody-here", "rights": []}]}, "nobody-here"),
    ("InvalidArgument", {"kind": "stream", "access": [{"user": "*", "rights": ["fly"]}]}, "fly"),
    ("ProtocolError", {"kind": "stream", "access": [{"user": "*"}]}, "access[].rights"),
    ("ProtocolError", {"kind": "stream", "capacity": "big"}, "options.capacity"),
    ("ProtocolError", {"kind": "stream", "capasity": 4096}, "options.capasity"),
    ("ProtocolError", {"kind": "bytes"}, "options.size"),
    ("ProtocolError", {}, "options.kind"),
    ("ProtocolError", "stream", "options"),
])
def test_wrong_options_name_the_field(connection, error, options, said):
    assert said in fails(error, connection, "Create", name="s", options=options)["message"]
    assert connection.call("List")[0]["segments"] == []


def test_too_little_memory_is_said_with_what_is_needed_and_what_is_free(connection):
    details = fails("NoSpace", connection, "Create", name="b", options={"kind": "bytes", "size": 1 << 45, "put_size": 0})
    assert details["detail"] > 1 << 45 and "free" in details["message"] and "/dev/shm" in details["message"]


def own_command():
    with open("/proc/self/comm") as file:
        return file.read().strip()


def test_one_program_gets_half_of_what_its_users_others_leave():
    with Broker("--max-segments", "8", "--max-lanes", "8", "--max-watches", "4", "--max-attachments", "20", "--max-bytes", "400000") as broker:
        connection = broker.connect()
        connection.hello()
        other = broker.connect()  # of the same program: it has no share of its own
        other.hello()
        small = {"kind": "stream", "capacity": 4096}
        for number in range(4):
            connection.call("Create", name=f"s{number}", options=small)
        message = fails("LimitReached", other, "Create", name="s4", options=small)["message"]
        assert f"4 segments of one program is reached: {own_command()} (process {os.getpid()}) has 4" in message, message
        assert "50 % of the 8" in message
        # Each stream has its first lane from the start: those of s1 to s3 are nobody's yet.
        for _ in range(3):
            connection.attach("s0", "produce")
        assert "3 lanes of one program" in fails("LimitReached", connection, "Attach", name="s0", role="produce")["message"]
        for _ in range(7):
            connection.attach("s0", "observe")
        assert "10 attachments of one program" in fails("LimitReached", connection, "Attach", name="s0", role="observe")["message"]
        waiting = [broker.connect() for _ in range(2)]
        for each in waiting:
            each.send("Await", {"name": "never", "wait_ms": -1})
        eventually(lambda: "2 waits for a segment of one program" in (refusal(broker.connect(), "Await", name="never", wait_ms=1) or ""), "both wait")
        connection.call("Remove", name="s3")
        assert "bytes of one program" in fails("LimitReached", connection, "Create", name="b", options={"kind": "bytes", "size": 200000, "put_size": 0})["message"]
        with Holder(broker) as holder:
            holder.do("call", "Create", {"name": "theirs", "options": small})
            holder.attach("theirs", "produce")
            holder.attach("theirs", "observe")
        assert other.call("Create", name="s3", options=small)[0]["created"], "what it gave back it may have again"


def refusal(connection, method, **parameters):
    try:
        connection.call(method, **parameters)
    except CallError as error:
        return str(error)
    finally:
        connection.close()


def test_a_users_own_limits_go_before_those_of_all():
    with Broker("--max-segments", "1", "--user-limit", f"{os.getuid()}:segments=3", "--user-limit", f"{os.getuid()}:program-share=100") as broker:
        connection = broker.connect()
        for number in range(3):
            connection.call("Create", name=f"s{number}", options={"kind": "stream", "capacity": 4096})
        assert "limit of 3 segments" in fails("LimitReached", connection, "Create", name="s3", options={"kind": "stream", "capacity": 4096})["message"]


def test_limits_name_the_limit_its_use_and_its_user():
    with Broker("--max-segments", "2", "--max-lanes", "3", "--max-bytes", "100000", "--program-share", "100") as broker:
        connection = broker.connect()
        connection.hello()
        for name in ("a", "b"):
            connection.call("Create", name=name, options={"kind": "stream", "capacity": 4096})
        message = fails("LimitReached", connection, "Create", name="c", options={"kind": "stream", "capacity": 4096})["message"]
        assert "limit of 2 segments" in message and f"has 2, 2 of them by {own_command()} (process {os.getpid()})" in message, message
        assert "root" in message or os.getuid() != 0
        connection.attach("a", "produce")
        connection.attach("a", "produce")
        assert "lanes" in fails("LimitReached", connection, "Attach", name="a", role="produce")["message"]
        connection.call("Remove", name="b")
        details = fails("LimitReached", connection, "Create", name="c", options={"kind": "bytes", "size": 200000})
        assert "bytes" in details["message"] and details["detail"] == 100000


def test_each_role_gets_its_files_and_writes_only_its_own(connection):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    expected = {
        "produce": {("header", False), ("bell", True), ("lane", True), ("group", False)},
        "consume": {("header", False), ("bell", True), ("lane", False), ("group", True)},
        "observe": {("header", False), ("bell", True), ("lane", False)},
    }
    connection.attach("s", "consume", group="g")
    for role, files in expected.items():
        _, given = connection.attach("s", role, **({"group": "g"} if role == "consume" else {}))
        assert {(row["role"], row["writable"]) for row, _ in given} == files
        for row, fd in given:
            mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
            assert mode == (os.O_RDWR if row["writable"] else os.O_RDONLY), row
            if not row["writable"]:
                with pytest.raises(PermissionError):
                    mmap.mmap(fd, row["size"], access=mmap.ACCESS_WRITE)
    connection.call("Create", name="b", options={"kind": "bytes", "size": 10})
    for writable in (True, False):
        _, given = connection.attach("b", "map", writable=writable)
        assert {(row["role"], row["writable"]) for row, _ in given} == {("data", writable), ("bell", True)}


def test_a_closed_lane_is_used_again_and_a_second_producer_gets_a_second(connection):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    _, files = connection.attach("s", "observe")
    header = memory(files, "header")
    for _ in range(3):
        given, _ = connection.attach("s", "produce")
        assert given["lane"] == 0
        connection.call("Detach", attachment=given["attachment"])
    assert word(header, 128) == 1
    changes = word(header, 264)
    ids = [connection.attach("s", "produce")[0] for _ in range(3)]
    assert [given["lane"] for given in ids] == [0, 1, 2]
    assert len({given["producer_id"] for given in ids}) == 3
    assert word(header, 128) == 0b111 and word(header, 264) == changes + 2


def test_a_stream_has_at_most_64_lanes(connection):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    for _ in range(64):
        connection.attach("s", "produce")
    fails("TooManyLanes", connection, "Attach", name="s", role="produce")


def test_a_stream_has_at_most_16_groups(connection):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    for number in range(16):
        assert connection.attach("s", "consume", group=f"g{number}")[0]["group_id"] == number
    fails("TooManyGroups", connection, "Attach", name="s", role="consume", group="more")
    connection.call("Remove", name="s", group="g7", force=True)
    assert connection.attach("s", "consume", group="more")[0]["group_id"] == 7


def test_refresh_gives_what_is_missing_and_names_what_is_gone(connection):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    producer, _ = connection.attach("s", "produce")
    consumer, _ = connection.attach("s", "consume", group="g")
    given, fds = connection.call("Refresh", attachment=producer["attachment"], lanes=[[0, 1]], groups=[])
    assert [(row["role"], row["group"], row["id"]) for row in given["fds"]] == [("group", "g", 0)] and len(fds) == 1
    incarnation = given["fds"][0]["incarnation"]
    given, fds = connection.call("Refresh", attachment=producer["attachment"], lanes=[[0, 1]], groups=[[0, incarnation]])
    assert given["fds"] == [] and fds == [] and given["state"] == "live"
    connection.attach("s", "produce")
    given, fds = connection.call("Refresh", attachment=consumer["attachment"], lanes=[[0, 1]], groups=[])
    assert [(row["role"], row["lane"]) for row in given["fds"]] == [("lane", 1)]
    connection.call("Remove", name="s", group="g", force=True)
    given, _ = connection.call("Refresh", attachment=producer["attachment"], lanes=[], groups=[[0, incarnation]])
    assert given["gone_groups"] == [0]
    assert connection.call("Refresh", attachment=consumer["attachment"], lanes=[], groups=[])[0]["state"] == "removed"
    connection.call("Remove", name="s", force=True)
    assert connection.call("Refresh", attachment=producer["attachment"], lanes=[], groups=[])[0]["state"] == "removed"
    fails("InvalidArgument", connection, "Refresh", attachment=4711, lanes=[], groups=[])
    fails("ProtocolError", connection, "Refresh", attachment=producer["attachment"], lanes=[[1]], groups=[])


def fill(connection, name, count):
    """A lane with `count` records of 16 bytes payload, written by hand; its producer stays."""
    given, files = connection.attach(name, "produce")
    lane = memory(files, "lane", writable=True)
    struct.pack_into("<Q", lane, LANE_LIMIT, count * 32 + 16)
    for number in range(count):
        lane[RING + number * 32:RING + number * 32 + 16] = record(COMMITTED, 16, number)
    struct.pack_into("<QQ", lane, LANE_TAIL, count * 32, count)
    return given


@pytest.mark.parametrize("start,position,sequence", [
    ({}, 0, 0), ({"start": "earliest"}, 0, 0), ({"start": "latest"}, 320, 10),
    ({"start": "back", "start_back": 3}, 224, 7), ({"start": "back", "start_back": 0}, 320, 10), ({"start": "back", "start_back": 99}, 0, 0),
])
def test_a_group_starts_where_it_was_told_to(connection, start, position, sequence):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    fill(connection, "s", 10)
    given, files = connection.attach("s", "consume", group="g", group_options=start)
    assert given["created"]
    group = memory(files, "group")
    assert struct.unpack_from("<QQQ", group, GROUP_LANES) == (position, position, sequence)
    assert struct.unpack_from("<Q", group, GROUP_LANES + 32)[0] == 1, "the lane's incarnation"


def test_a_group_that_starts_in_a_full_ring_is_raised_above_what_the_producer_may_overwrite(connection):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    given, files = connection.attach("s", "produce")
    lane = memory(files, "lane", writable=True)
    for number in range(128, 256):
        at = RING + number * 32 % 4096
        lane[at:at + 16] = record(COMMITTED, 16, number, lap=1)
    struct.pack_into("<QQ", lane, LANE_TAIL, 8192, 256)
    struct.pack_into("<Q", lane, LANE_LIMIT, 8192 + 512)
    # Checkpoints at 4096 (overwritten), 4608 (the oldest that is safe) and 5120.
    for number, position in enumerate((4096, 4608, 5120)):
        struct.pack_into("<QQ", lane, 1024 + 16 * number, position, position // 32)
    struct.pack_into("<Q", lane, 640, 3)
    _, files = connection.attach("s", "consume", group="g")
    assert struct.unpack_from("<QQQ", memory(files, "group"), GROUP_LANES) == (4608, 4608, 144)


def test_an_exclusive_group_has_one_consumer_at_a_time(connection):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    given, _ = connection.attach("s", "consume", group="g", group_options={"exclusive": True})
    fails("GroupExclusive", connection, "Attach", name="s", role="consume", group="g")
    assert "exclusive" in fails("ExistsWithOtherOptions", connection, "Attach", name="s", role="consume", group="g", group_options={"exclusive": False})["message"]
    connection.call("Detach", attachment=given["attachment"])
    connection.attach("s", "consume", group="g")


def test_wrong_attaches_say_why(connection, broker):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    connection.call("Create", name="b", options={"kind": "bytes", "size": 10})
    fails("UnknownSegment", connection, "Attach", name="none", role="produce")
    fails("WrongKind", connection, "Attach", name="b", role="produce")
    fails("WrongKind", connection, "Attach", name="s", role="map")
    fails("InvalidArgument", connection, "Attach", name="s", role="steal")
    fails("ProtocolError", connection, "Attach", name="s", role="consume")
    fails("InvalidName", connection, "Attach", name="s", role="consume", group="a/b")
    fails("InvalidArgument", connection, "Attach", name="s", role="consume", group="g", group_options={"start": "never"})
    fails("InvalidArgument", connection, "Attach", name="s", role="consume", group="g", group_options={"start": "back"})
    fails("ProtocolError", connection, "Attach", name="s", role="consume", group="g", group_options={"exclusiv": True})
    assert connection.call("Show", name="s")[0]["groups"] == []
    fails("ProtocolError", broker.connect(), "Attach", name="s", role="observe")
    fails("UnknownGroup", connection, "Remove", name="s", group="none")
    fails("WrongKind", connection, "Remove", name="b", group="g")


def test_removing_what_is_used_needs_force(connection):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    _, files = connection.attach("s", "consume", group="g")
    assert "python" in fails("InUse", connection, "Remove", name="s")["message"]
    assert "1 consumers" in fails("InUse", connection, "Remove", name="s", group="g")["message"]
    header = memory(files, "header")
    connection.call("Remove", name="s", force=True)
    assert word(header, 256, 4) == 2, "everybody who maps it can see that it is removed"
    fails("UnknownSegment", connection, "Remove", name="s")


def test_waiting_for_a_segment_ends_when_it_appears_or_the_time_is_over(connection, broker):
    waiter = broker.connect()
    waiter.send("Await", {"name": "s", "wait_ms": 60000})
    waiter.send("Status", {})
    fails("TimedOut", broker.connect(), "Await", name="s", wait_ms=1)
    fails("TimedOut", broker.connect(), "Await", name="s", wait_ms=0)
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    reply, _ = waiter.receive()
    assert reply["parameters"] == {"kind": "stream", "generation": 1}
    assert waiter.receive()[0]["parameters"]["segments"] == 1, "what was asked meanwhile is answered after it"
    assert broker.connect().call("Await", name="s", wait_ms=0)[0]["kind"] == "stream"
    gone = broker.connect()
    gone.send("Await", {"name": "never", "wait_ms": -1})
    gone.close()
    eventually(lambda: connection.call("Status")[0]["connections"] == 5, "the wait of a closed connection is dropped")


def test_attaching_can_wait_for_the_segment_too(connection, broker):
    waiter = broker.connect()
    waiter.hello()
    waiter.send("Attach", {"name": "s", "role": "observe", "wait_ms": -1})
    fails("TimedOut", connection, "Attach", name="s", role="observe", wait_ms=1)
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    reply, fds = waiter.receive()
    assert len(fds) == len(reply["parameters"]["fds"]) == 3
    waiter.call("Detach", attachment=reply["parameters"]["attachment"])


def test_memfd_files_are_sealed_and_closed_to_other_users(connection):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096, "backing": "memfd"})
    producer, files = connection.attach("s", "produce")
    for row, fd in files:
        assert os.fstat(fd).st_mode & 0o777 == 0o600
        assert fcntl.fcntl(fd, F_GET_SEALS) & (SEAL_SHRINK | SEAL_GROW) == SEAL_SHRINK | SEAL_GROW
        if row["writable"]:
            with pytest.raises(PermissionError):
                os.ftruncate(fd, 100)
    lane = next(fd for row, fd in files if row["role"] == "lane")
    first = mmap.mmap(lane, 8192)
    connection.call("Refresh", attachment=producer["attachment"], lanes=[], groups=[])
    assert fcntl.fcntl(lane, F_GET_SEALS) & SEAL_FUTURE_WRITE
    with pytest.raises(PermissionError):
        mmap.mmap(lane, 8192)
    first[RING:RING + 16] = record(CLAIMED, 5, 0)
    struct.pack_into("<Q", first, LANE_LIMIT, 512)
    connection.call("Detach", attachment=producer["attachment"])
    assert struct.unpack_from("<I", first, RING)[0] == ABORTED, "the broker mapped it before the seal"
    assert connection.attach("s", "produce")[0]["lane"] == 1, "a sealed lane is not given on"
    assert json.loads(connection.call("Manifest", name="s")[0]["manifest"])["files"][0]["path"] is None


def test_the_manifest_follows_its_schema_and_names_every_file(connection, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "..", "..", "protocol", "manifest.schema.json")) as file:
        validator = jsonschema.Draft202012Validator(json.load(file))
    connection.call("Create", name="a/b", options={"kind": "stream", "capacity": 4096})
    connection.call("Create", name="b", options={"kind": "bytes", "size": 5000, "access": [{"user": "*", "rights": ["observe"]}]})
    connection.call("Create", name="m", options={"kind": "stream", "capacity": 4096, "backing": "memfd"})
    connection.call("Create", name="f", options={"kind": "bytes", "size": 10, "backing": "file", "directory": str(tmp_path)})
    connection.attach("a/b", "consume", group="g")
    connection.attach("a/b", "produce")
    connection.attach("a/b", "produce")
    for name in ("a/b", "b", "m", "f"):
        answer, _ = connection.call("Manifest", name=name)
        manifest = json.loads(answer["manifest"])
        validator.validate(manifest)
        with open(answer["path"]) as file:
            assert file.read() == answer["manifest"]
        for row in manifest["files"]:
            assert row["path"] is None or os.stat(row["path"]).st_size == row["size"]
            assert row["path"] is None or os.stat(row["path"]).st_blocks * 512 >= row["size"], "reserved in full"
    roles = [row["role"] for row in json.loads(connection.call("Manifest", name="a/b")[0]["manifest"])["files"]]
    assert sorted(roles) == ["bell", "group", "header", "lane", "lane"]


def test_an_attach_brings_the_manifest_without_its_files_and_layout_and_the_count_of_changes(connection):
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    reply, _ = connection.attach("s", "consume", group="g")
    published = json.loads(connection.call("Manifest", name="s")[0]["manifest"])
    assert published.pop("layout") and published.pop("files") and reply["manifest"] == published
    connection.attach("s", "produce")
    connection.attach("s", "produce")  # a second lane
    refreshed, _ = connection.call("Refresh", attachment=reply["attachment"], lanes=[], groups=[])
    assert refreshed["changes"] > reply["changes"]


def findings_of(connection, shm, **parameters):
    """Gc's findings but for what brokers of other runtimes leave beside this one's folder, or are just making."""
    findings = connection.call("Gc", **parameters)[0]["findings"]
    return [row for row in findings if not row["name"].startswith("/") or row["name"].startswith(shm)]


def test_gc_removes_what_belongs_to_nobody_and_only_when_told_to(connection, broker):
    shm = broker.shm_directory()
    os.mkdir(os.path.join(shm, "old@99"))
    with open(os.path.join(shm, "old@99", "lane-0.1"), "wb") as file:
        file.write(b"x" * 5000)
    [found] = findings_of(connection, shm)
    assert (found["action"], found["name"]) == ("remove", os.path.join(shm, "old@99"))
    assert found["bytes"] >= 5000 and os.path.exists(os.path.join(shm, "old@99"))
    connection.call("Gc", apply=True)
    assert not os.path.exists(os.path.join(shm, "old@99")) and findings_of(connection, shm) == []


def test_gc_removes_an_empty_folder_that_a_broker_left_beside_its_own(connection, broker):
    empty = os.path.join(os.path.dirname(broker.shm_directory()), "0123456789abcdef")
    os.mkdir(empty, 0o700)
    found = [(row["action"], row["reason"]) for row in connection.call("Gc")[0]["findings"] if row["name"] == empty]
    assert found == [("remove", "is empty")] or not os.path.exists(empty), "unless another broker's gc was there first"
    connection.call("Gc", apply=True)
    assert not os.path.exists(empty)


def test_gc_finds_the_memory_of_a_broker_whose_directory_is_gone(connection):
    with Broker() as other:
        other.connect().call("Create", name="s", options={"kind": "stream", "capacity": 4096})
        shm = other.shm_directory()
        assert not any(shm in f["name"] for f in connection.call("Gc")[0]["findings"]), "a living broker's memory is left alone"
        other.kill()
        moved = other.directory + ".away"
        os.rename(other.directory, moved)
        found = [f for f in connection.call("Gc")[0]["findings"] if f["name"] == shm]
        assert found and found[0]["action"] == "remove" and other.directory in found[0]["proof"]
        os.rename(moved, other.directory)


def test_gc_removes_drained_lanes_without_a_producer(connection, broker):
    shm = broker.shm_directory()
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    connection.attach("s", "consume", group="g")
    one, _ = connection.attach("s", "produce")
    two, _ = connection.attach("s", "produce")
    assert findings_of(connection, shm) == []
    connection.call("Detach", attachment=two["attachment"])
    assert [f["name"] for f in findings_of(connection, shm, apply=True)] == ["s lane 1"]
    assert len(connection.call("Show", name="s")[0]["lanes"]) == 1
    again, _ = connection.attach("s", "produce")
    assert again["lane"] == 1
    assert connection.call("Show", name="s")[0]["lanes"][1]["incarnation"] > 2, "a new file has a new incarnation"


def test_gc_leaves_the_only_lane_that_says_that_the_stream_is_finished(connection, broker):
    shm = broker.shm_directory()
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    connection.attach("s", "consume", group="g")
    with Holder(broker) as producers:
        first, _ = producers.attach("s", "produce")
        second, _ = producers.attach("s", "produce")
        producers.poke(second, "lane", LANE_FINISHED, u64(1))
    eventually(lambda: not any(lane["state"] == "owned" for lane in connection.call("Show", name="s")[0]["lanes"]), "both are gone")
    assert findings_of(connection, shm, apply=True) == [], "readers would not hear of the end"
    with Holder(broker) as producers:
        first, given = producers.attach("s", "produce")
        assert given["lane"] == 0
        producers.poke(first, "lane", LANE_FINISHED, u64(1))
    eventually(lambda: not any(lane["state"] == "owned" for lane in connection.call("Show", name="s")[0]["lanes"]), "it is gone")
    assert [f["name"] for f in findings_of(connection, shm, apply=True)] == ["s lane 1"]


def test_status_tells_what_an_operator_asks_first(connection, broker):
    status, _ = connection.call("Status")
    assert status["pid"] == broker.process.pid and status["socket"] == broker.path and status["directory"] == broker.directory
    assert status["uid"] == os.getuid() and status["connections"] >= 1 and not status["autostarted"] and not status["recovering"]
    assert 0 < status["bytes_limit"] <= status["total"] and status["free"] <= status["total"]


def test_varlinks_own_service_describes_the_interface(broker):
    raw = broker.connect()

    def ask(method, **parameters):
        raw.socket.sendall(json.dumps({"method": method, "parameters": parameters}).encode() + b"\0")
        return raw.receive()[0]

    info = ask("org.varlink.service.GetInfo")["parameters"]
    assert info["product"] == "atolld" and "dev.atoll.Broker" in info["interfaces"]
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "..", "..", "protocol", "dev.atoll.Broker.varlink")) as file:
        assert ask("org.varlink.service.GetInterfaceDescription", interface="dev.atoll.Broker")["parameters"]["description"] == file.read()
    assert ask("org.varlink.service.GetInterfaceDescription", interface="a.b")["error"] == "org.varlink.service.InterfaceNotFound"
    assert ask("dev.atoll.Broker.Explode")["error"] == "org.varlink.service.MethodNotFound"
    assert ask("a.b.C")["error"] == "org.varlink.service.InterfaceNotFound"
    assert ask("Hello")["error"] == "org.varlink.service.InterfaceNotFound"


def test_calls_of_many_connections_do_not_wait_for_each_other(broker):
    waiter = broker.connect()
    waiter.send("Await", {"name": "s", "wait_ms": -1})
    done = []

    def work(number):
        connection = Connection(broker.path)
        connection.hello()
        connection.call("Create", name=f"n{number}", options={"kind": "stream", "capacity": 4096})
        done.append(connection.attach(f"n{number}", "produce")[0]["lane"])
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [0] * 16
