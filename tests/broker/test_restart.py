"""The broker is killed with -9 and started again: SPEC.md, "Broker restart"."""
import contextlib
import fcntl
import os
import shutil
import struct
import zlib

import pytest

from broker_client import *


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
