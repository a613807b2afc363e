"""What the broker does when a process that held something dies: SPEC.md, "Recovery"."""
import struct

import pytest

from broker_client import *


def stream(broker, name="s", **options):
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name=name, options={"kind": "stream", "capacity": 4096, **options})
    return connection


def lane_of(connection, name="s", lane=0):
    return next(row for row in connection.call("Show", name=name)[0]["lanes"] if row["lane"] == lane)


def test_a_dead_producers_open_loan_is_aborted_and_its_committed_records_stay(broker):
    connection = stream(broker)
    with Holder(broker) as producer:
        handle, _ = producer.attach("s", "produce")
        producer.poke(handle, "lane", RING, record(COMMITTED, 5, 0))
        producer.poke(handle, "lane", RING + 32, record(CLAIMED, 7, 1))
        producer.poke(handle, "lane", RING + 64, record(COMMITTED, 1, 2))
        producer.poke(handle, "lane", LANE_LIMIT, u64(512))
        producer.kill()
    eventually(lambda: lane_of(connection)["state"] == "orphaned", "the lane is orphaned")
    path = file_paths(connection, "s")["lane", 0]
    states = [struct.unpack("<I", read_file(path, RING + at, 4))[0] & 7 for at in (0, 32, 64, 96)]
    assert states == [COMMITTED, ABORTED, COMMITTED, EMPTY]
    lane = lane_of(connection)
    assert (lane["tail"], lane["sequence"]) == (96, 3)


def test_a_send_that_died_before_its_commit_word_was_never_there(broker):
    connection = stream(broker)
    with Holder(broker) as producer:
        handle, _ = producer.attach("s", "produce")
        producer.poke(handle, "lane", LANE_LIMIT, u64(512))
        producer.poke(handle, "lane", RING, record(EMPTY, 5, 0))
        producer.kill()
    eventually(lambda: lane_of(connection)["state"] == "orphaned", "the lane is orphaned")
    assert lane_of(connection)["tail"] == 0


def test_the_next_producer_goes_on_in_the_dead_ones_lane(broker):
    connection = stream(broker)
    with Holder(broker) as producer:
        handle, _ = producer.attach("s", "produce")
        producer.poke(handle, "lane", RING, record(COMMITTED, 5, 0))
        producer.poke(handle, "lane", LANE_LIMIT, u64(512))
        producer.poke(handle, "lane", LANE_WAKE_MODE, u32(1))
        producer.kill()
    eventually(lambda: lane_of(connection)["state"] == "orphaned", "the lane is orphaned")
    parameters, files = connection.attach("s", "produce")
    assert parameters["lane"] == 0
    lane = memory(files, "lane")
    assert word(lane, LANE_TAIL) == 32 and word(lane, LANE_SEQUENCE) == 1
    assert word(lane, LANE_STATE, 4) == OWNED
    assert word(lane, LANE_WAKE_MODE, 4) == 0, "the new process is not registered for membarrier"


def test_open_loans_on_a_later_lap_are_reached_from_the_published_tail(broker):
    connection = stream(broker)
    with Holder(broker) as producer:
        handle, _ = producer.attach("s", "produce")
        # The tail says where the oldest open loan starts.
        producer.poke(handle, "lane", RING, record(CLAIMED, 5, 10, lap=1))
        producer.poke(handle, "lane", RING + 32, record(COMMITTED, 5, 11, lap=1))
        producer.poke(handle, "lane", LANE_LIMIT, u64(4096 + 4096))
        producer.poke(handle, "lane", LANE_SEQUENCE, u64(10))
        producer.poke(handle, "lane", LANE_TAIL, u64(4096))
        producer.kill()
    eventually(lambda: lane_of(connection)["state"] == "orphaned", "the lane is orphaned")
    path = file_paths(connection, "s")["lane", 0]
    assert struct.unpack("<I", read_file(path, RING, 4))[0] == ABORTED | 1 << 3
    lane = lane_of(connection)
    assert (lane["tail"], lane["sequence"]) == (4096 + 64, 12)


@pytest.mark.parametrize("damage", [
    record(COMMITTED, 100000, 0),             # leaves the ring
    record(PADDING, 5, 0),                    # padding that ends before the ring does
    record(6, 5, 0),                          # a state that is none
])
def test_a_scribbled_lane_is_damaged_and_the_next_producer_gets_another(broker, damage):
    connection = stream(broker)
    with Holder(broker) as producer:
        handle, _ = producer.attach("s", "produce")
        producer.poke(handle, "lane", LANE_LIMIT, u64(512))
        producer.poke(handle, "lane", RING, damage)
        producer.kill()
    eventually(lambda: lane_of(connection)["state"] == "damaged", "the lane is damaged")
    assert "lane 0 is damaged" in broker.log_text()
    assert connection.attach("s", "produce")[0]["lane"] == 1
    assert [s["state"] for s in connection.call("List")[0]["segments"]] == ["damaged"]


@pytest.mark.parametrize(("left", "lane"), [
    ([record(COMMITTED, 5, 0), record(COMMITTED, 5, 1)], 0),
    ([record(COMMITTED, 5, 0), record(ABORTED, 5, 1)], 0),
    ([record(COMMITTED, 5, 0), record(6, 5, 1)], 1),          # a state that is none
    ([record(COMMITTED, 5, 0), record(EMPTY, 5, 1)], 1),      # a hole
    ([record(COMMITTED, 5, 0), record(COMMITTED, 5, 7)], 1),  # another number
    ([record(COMMITTED, 37, 0), record(COMMITTED, 5, 1)], 1),  # reaches beyond the tail
])
def test_a_lane_is_given_on_if_what_was_published_in_it_leads_readers_to_its_tail(broker, left, lane):
    connection = stream(broker)
    connection.attach("s", "consume", group="g")
    with Holder(broker) as producer:
        handle, _ = producer.attach("s", "produce")
        for i, words in enumerate(left):
            producer.poke(handle, "lane", RING + 32 * i, words)
        for at, value in ((LANE_LIMIT, 512), (LANE_SEQUENCE, 2), (LANE_TAIL, 64)):
            producer.poke(handle, "lane", at, u64(value))
        producer.kill()
    eventually(lambda: lane_of(connection)["state"] == "orphaned", "the lane is orphaned")
    assert connection.attach("s", "produce")[0]["lane"] == lane


@pytest.mark.parametrize(("at", "number", "lane"), [
    (96, 131, 0),
    (96, 132, 0),    # a consumer died between its two words
    (64, 131, 1),    # what none writes
    (80, 131, 1),    # between two records
    (4096, 256, 0),  # at the tail
    (32, 0, 0),      # overtaken
])
def test_a_lane_is_given_on_if_each_group_comes_from_where_it_stands_to_the_tail(broker, at, number, lane):
    connection = stream(broker)
    _, files = connection.attach("s", "consume", group="g")
    with Holder(broker) as producer:
        handle, _ = producer.attach("s", "produce")
        for i in range(128):  # the second lap; record 66 is not what it says
            producer.poke(handle, "lane", RING + 32 * i, record(6 if i == 2 else COMMITTED, 5, 128 + i, lap=1))
        for word_at, value in ((LANE_LIMIT, 8192 + 64), (LANE_SEQUENCE, 256), (LANE_TAIL, 8192)):
            producer.poke(handle, "lane", word_at, u64(value))
        struct.pack_into("<QQQ", memory(files, "group", writable=True), GROUP_LANES, 4096 + at, 4096 + at, number)
        producer.kill()
    eventually(lambda: lane_of(connection)["state"] == "orphaned", "the lane is orphaned")
    assert connection.attach("s", "produce")[0]["lane"] == lane


def test_a_lane_that_its_producer_cut_short_does_not_kill_the_broker(broker):
    connection = stream(broker)
    with Holder(broker) as producer:
        handle, _ = producer.attach("s", "produce")
        producer.do("cut", handle, "lane", {}, 100)
        producer.kill()
    eventually(lambda: lane_of(connection)["state"] == "damaged", "the lane is damaged")
    assert connection.attach("s", "produce")[0]["lane"] == 1


def test_a_dead_consumers_claims_are_given_back_and_its_lock_is_released(broker):
    connection = stream(broker)
    _, files = connection.attach("s", "consume", group="g")
    group = memory(files, "group")
    with Holder(broker) as consumer:
        handle, _ = consumer.attach("s", "consume", group="g")
        slot, generation = consumer.session["slot"], consumer.session["slot_generation"]
        # Two of three records acknowledged; then it dies with the lock in its hand, waiters marked.
        claim = u16(HELD) + u16(slot) + u32(generation) + u16(0) + u16(3) + u16(1) + u16(0) + u64(0) + u64(96) + u64(0) + u64(0b011)
        consumer.poke(handle, "group", GROUP_CLAIMS, claim)
        consumer.poke(handle, "group", GROUP_LANES + 8, u64(96) + u64(3))
        holder = (slot + 1) | (generation & 0x1FFFF) << 13
        consumer.poke(handle, "group", GROUP_LOCK, u32(holder | 1 << 31))
        assert word(group, GROUP_MEMBERS, 4) == 2
        consumer.kill()
    eventually(lambda: word(group, GROUP_LOCK, 4) == 0, "the lock is free")
    eventually(lambda: word(group, GROUP_MEMBERS, 4) == 1, "one member is left")
    assert struct.unpack_from("<H", group, GROUP_CLAIMS)[0] == RETURNED
    assert word(group, GROUP_RETURNED) == 1
    assert word(group, GROUP_CLAIMS + 40) == 0b011, "what was acknowledged stays so"
    assert word(group, GROUP_LANES) == 0, "the cursor waits for the third record"


def test_a_claim_that_was_acknowledged_in_full_is_freed_and_the_cursor_moves(broker):
    connection = stream(broker)
    _, files = connection.attach("s", "consume", group="g")
    group = memory(files, "group")
    with Holder(broker) as consumer:
        handle, _ = consumer.attach("s", "consume", group="g")
        slot, generation = consumer.session["slot"], consumer.session["slot_generation"]
        claim = u16(HELD) + u16(slot) + u32(generation) + u16(0) + u16(2) + u16(1) + u16(0) + u64(0) + u64(64) + u64(0) + u64(0b11)
        consumer.poke(handle, "group", GROUP_CLAIMS, claim)
        consumer.poke(handle, "group", GROUP_LANES + 8, u64(64) + u64(2))
        consumer.kill()
    eventually(lambda: word(group, GROUP_LANES) == 64, "the cursor moves")
    assert struct.unpack_from("<H", group, GROUP_CLAIMS)[0] == FREE
    assert word(group, GROUP_RETURNED) == 0


def test_a_redo_that_its_writer_did_not_finish_is_finished(broker):
    connection = stream(broker)
    _, files = connection.attach("s", "consume", group="g")
    group = memory(files, "group")
    with Holder(broker) as consumer:
        handle, _ = consumer.attach("s", "consume", group="g")
        holder = (consumer.session["slot"] + 1) | (consumer.session["slot_generation"] & 0x1FFFF) << 13
        consumer.poke(handle, "group", GROUP_REDO + 16, u64(GROUP_LANES + 8) + u64(160))
        consumer.poke(handle, "group", GROUP_REDO, u32(1))
        consumer.poke(handle, "group", GROUP_LOCK, u32(holder))
        consumer.kill()
    eventually(lambda: word(group, GROUP_LOCK, 4) == 0, "the lock is free")
    assert word(group, GROUP_LANES + 8) == 160
    assert word(group, GROUP_REDO, 4) == 0


def test_the_broker_waits_for_a_living_holder_and_does_not_take_its_lock(broker):
    connection = stream(broker)
    session = connection.session
    _, files = connection.attach("s", "consume", group="g")
    group = memory(files, "group", writable=True)
    mine = (session["slot"] + 1) | (session["slot_generation"] & 0x1FFFF) << 13
    with Holder(broker) as consumer:
        handle, _ = consumer.attach("s", "consume", group="g")
        slot, generation = consumer.session["slot"], consumer.session["slot_generation"]
        claim = u16(HELD) + u16(slot) + u32(generation) + u16(0) + u16(1) + u16(1) + u16(0) + u64(0) + u64(32) + u64(0) + u64(0)
        consumer.poke(handle, "group", GROUP_CLAIMS, claim)
        struct.pack_into("<I", group, GROUP_LOCK, mine)
        consumer.kill()
    eventually(lambda: word(group, GROUP_MEMBERS, 4) == 1, "the death was noticed")
    connection.call("Status")
    assert word(group, GROUP_LOCK, 4) == mine
    assert struct.unpack_from("<H", group, GROUP_CLAIMS)[0] == HELD
    struct.pack_into("<I", group, GROUP_LOCK, 0)
    eventually(lambda: struct.unpack_from("<H", group, GROUP_CLAIMS)[0] == RETURNED, "the claim is given back")


@pytest.mark.parametrize("offset,data", [
    (GROUP_REDO, u32(99)),                                        # more entries than there are
    (GROUP_CLAIMS, u16(9)),                                       # a state that is none
    (GROUP_CLAIMS + 64, u16(HELD) + u16(7) + u32(7) + u16(64)),   # a lane that is none
])
def test_a_group_with_wild_values_is_damaged_and_the_broker_lives_on(broker, offset, data):
    connection = stream(broker)
    with Holder(broker) as consumer:
        handle, _ = consumer.attach("s", "consume", group="g")
        consumer.poke(handle, "group", offset, data)
        consumer.kill()
    eventually(lambda: "group 'g' is damaged" in broker.log_text(), "the damage is reported")
    with pytest.raises(CallError) as error:
        connection.attach("s", "consume", group="g")
    assert error.value.name == "GroupDamaged"
    connection.attach("s", "consume", group="other")
    connection.call("Remove", name="s", group="g")
    connection.attach("s", "consume", group="g")


def test_an_ephemeral_group_ends_with_its_last_member(broker):
    connection = stream(broker)
    with Holder(broker) as first, Holder(broker) as second:
        first.attach("s", "consume", group="g", group_options={"ephemeral": True})
        second.attach("s", "consume", group="g")
        first.kill()
        eventually(lambda: connection.call("Show", name="s")[0]["groups"][0]["members"] == 1, "one member is left")
        second.kill()
    eventually(lambda: connection.call("Show", name="s")[0]["groups"] == [], "the group is gone")
    assert ("group", 0) not in file_paths(connection, "s")


def test_a_lost_connection_of_a_living_process_only_quarantines(broker):
    connection = stream(broker)
    with Holder(broker) as producer:
        producer.attach("s", "produce")
        producer.do("close")
        eventually(lambda: connection.call("Show", name="s")[0]["clients"][0]["state"] == "quarantined", "it is quarantined")
        assert lane_of(connection)["state"] == "owned"
        producer.do("reconnect")
        session = producer.do("hello", {"token": producer.session["token"], "slot": producer.session["slot"],
                                        "slot_generation": producer.session["slot_generation"],
                                        "attachments": [{"name": "s", "generation": 1, "attachment": 1025, "role": "produce", "lane": 0}]})
        assert session["known"] and session["lost"] == [] and session["slot"] == producer.session["slot"]
        assert connection.call("Show", name="s")[0]["clients"][0]["state"] == "connected"
        # And what it does not name any more it does not hold any more.
        producer.do("reconnect")
        producer.do("hello", {"token": producer.session["token"], "slot": producer.session["slot"],
                              "slot_generation": producer.session["slot_generation"], "attachments": []})
        assert lane_of(connection)["state"] == "closed"


def test_another_process_cannot_come_back_with_somebodys_token(broker):
    connection = stream(broker)
    with Holder(broker) as producer:
        producer.attach("s", "produce")
        other = broker.connect()
        session, _ = other.hello(token=producer.session["token"], slot=producer.session["slot"],
                                 slot_generation=producer.session["slot_generation"], attachments=[])
        assert not session["known"] and session["slot"] != producer.session["slot"]
        assert lane_of(connection)["state"] == "owned"


def test_a_dead_putters_bytes_are_completed(broker):
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name="b", options={"kind": "bytes", "size": 4096})
    with Holder(broker) as putter:
        handle, _ = putter.attach("b", "map", writable=True)
        holder = (putter.session["slot"] + 1) | (putter.session["slot_generation"] & 0x1FFFF) << 13
        putter.poke(handle, "data", 8192, b"whole new content")           # staging
        putter.poke(handle, "data", 4096, b"whole n")                     # copied so far
        putter.poke(handle, "data", 768, u32(2) + u32(0) + u64(17) + u64(648) + u64(17) + u64(656) + u64(1))
        putter.poke(handle, "data", 640, u64(1))                          # odd: being replaced
        putter.poke(handle, "data", 512, u32(holder))
        putter.kill()
    _, files = connection.attach("b", "map")
    data = memory(files, "data")
    eventually(lambda: word(data, 512, 4) == 0, "the lock is free")
    assert data[4096:4096 + 17] == b"whole new content"
    assert (word(data, 640), word(data, 648), word(data, 656)) == (2, 17, 1)
