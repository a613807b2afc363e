"""What every language's producers, consumers and observers do alike: one table of scenarios, run for each."""
import json

import pytest

from support.agents import LANGUAGES

pytestmark = pytest.mark.parametrize("language", LANGUAGES)
SOON = 200  # ms, for what must not come
ENOUGH = 20_000  # ms, for what must come


def stream(agent, name="s", **options):
    agent.call("create", name=name, kind="stream", **{"capacity": 65536, **options})
    return name


def pair(agent, name="s", consumer=None, **options):
    """An agent's own producer `p` and consumer `c` of a new stream."""
    stream(agent, name, **options)
    agent.call("open_producer", h="p", name=name)
    agent.call("open_consumer", h="c", name=name, **(consumer or {}))


def received(agent, count, h="c"):
    return [agent.call("receive", h=h, timeout_ms=ENOUGH)["data"] for _ in range(count)]


def test_records_come_in_order_with_their_numbers(agents, language):
    agent = agents(language)
    pair(agent)
    for i in range(100):
        agent.call("send", h="p", data=b"%d" % i)
    for i in range(100):
        record = agent.call("receive", h="c")
        assert (record["data"], record["sequence"], record["lost"], record["deliveries"]) == (b"%d" % i, i, 0, 1)


def test_a_record_says_what_it_holds(agents, language):
    agent = agents(language)
    pair(agent)
    for content, data in (("bytes", b"\0\xff"), ("text", "ä".encode()), ("json", b'{"a":1}')):
        agent.call("send", h="p", data=data, content=content)
        record = agent.call("receive", h="c")
        assert (record["content"], record["data"]) == (content, data)


@pytest.mark.parametrize("alignment", [16, 64])
def test_records_of_every_small_length_come_whole(agents, language, alignment):
    agent = agents(language)
    pair(agent, alignment=alignment)
    for length in range(200):
        agent.call("send", h="p", data=bytes([length]) * length)
        assert agent.call("receive", h="c")["data"] == bytes([length]) * length


def test_the_largest_record_fits_and_one_byte_more_is_too_large(agents, refused, language):
    agent = agents(language)
    pair(agent)
    largest = agent.call("info", h="p")["max_payload"]
    for _ in range(5):
        agent.call("send", h="p", data=b"x" * largest)
        assert agent.call("receive", h="c")["data"] == b"x" * largest
    error = refused(agent, "send", "too_large", h="p", data=b"x" * (largest + 1))
    assert error.segment == "s"


def test_loans_committed_out_of_order_keep_their_order_and_aborted_ones_are_never_seen(agents, refused, language):
    agent = agents(language)
    pair(agent)
    for v in "abcd":
        agent.call("loan", h="p", v=v, data=v.encode() * 10)
    agent.call("commit", h="p", v="d")
    agent.call("commit", h="p", v="b")
    refused(agent, "receive", "timed_out", h="c", timeout_ms=0)
    agent.call("commit", h="p", v="a")
    agent.call("abort", h="p", v="c")
    assert received(agent, 3) == [b"a" * 10, b"b" * 10, b"d" * 10]
    refused(agent, "commit", "invalid_argument", h="p", v="a")


def test_many_sent_at_once_come_one_by_one(agents, language):
    agent = agents(language)
    pair(agent)
    assert agent.call("send_many", h="p", records=[b"%d" % i for i in range(50)])["sent"] == 50
    assert received(agent, 50) == [b"%d" % i for i in range(50)]


def test_a_stream_ends_when_its_producer_finished_and_all_is_read(agents, refused, language):
    agent = agents(language)
    pair(agent)
    agent.call("send", h="p", data=b"last")
    agent.call("finish", h="p")
    assert received(agent, 1) == [b"last"]
    refused(agent, "receive", "ended", h="c", timeout_ms=ENOUGH)


def test_a_full_block_stream_makes_send_wait_until_a_record_is_released(agents, refused, language):
    agent = agents(language)
    pair(agent, capacity=4096)
    sent = 0
    while True:
        try:
            agent.call("send", h="p", data=b"x" * 500, timeout_ms=0)
        except Exception as error:
            assert getattr(error, "name", "") == "timed_out", error
            break
        sent += 1
    assert 2 <= sent <= 8
    refused(agent, "send", "timed_out", h="p", data=b"x" * 500, timeout_ms=20)
    received(agent, sent)
    agent.call("send", h="p", data=b"y" * 500, timeout_ms=ENOUGH)
    assert received(agent, 1) == [b"y" * 500]


def test_a_full_drop_new_stream_drops_and_counts(agents, refused, language):
    agent = agents(language)
    pair(agent, capacity=4096, when_full="drop-new")
    stored = 0
    while True:
        try:
            agent.call("send", h="p", data=b"%03d" % stored + b"x" * 500)
        except Exception as error:
            assert getattr(error, "name", "") == "dropped", error
            break
        stored += 1
    assert agent.call("info", h="p")["dropped"] == 1
    assert [data[:3] for data in received(agent, stored)] == [b"%03d" % i for i in range(stored)]
    refused(agent, "receive", "timed_out", h="c", timeout_ms=0)


def test_an_overwrite_stream_never_waits_and_the_reader_is_told_how_many_it_lost(agents, language):
    agent = agents(language)
    pair(agent, capacity=4096, when_full="overwrite")
    for i in range(100):
        agent.call("send", h="p", data=b"%03d" % i + b"x" * 300)
    first = agent.call("receive", h="c", timeout_ms=ENOUGH)
    assert first["lost"] == first["sequence"] > 0
    assert first["data"][:3] == b"%03d" % first["sequence"]
    assert [data[:3] for data in received(agent, 99 - first["sequence"])] == [b"%03d" % i for i in range(first["sequence"] + 1, 100)]
    assert agent.call("info", h="c")["lost"] == first["lost"]


def test_every_group_sees_all_and_members_of_one_share(agents, refused, language):
    agent = agents(language)
    pair(agent, consumer={"group": "one"})
    agent.call("open_consumer", h="d", name="s", group="one")
    agent.call("open_consumer", h="e", name="s", group="two")
    for i in range(20):
        agent.call("send", h="p", data=b"%d" % i)
    shared = []
    for h in "cd":
        while True:
            try:
                shared.append(agent.call("receive", h=h, timeout_ms=0)["data"])
            except Exception as error:
                assert getattr(error, "name", "") == "timed_out", error
                break
    assert sorted(shared, key=int) == [b"%d" % i for i in range(20)]
    assert received(agent, 20, "e") == [b"%d" % i for i in range(20)]


def test_what_a_manual_consumer_did_not_acknowledge_is_delivered_again_and_marked(agents, language):
    agent = agents(language)
    pair(agent, consumer={"manual": True})
    for data in (b"a", b"b", b"c"):
        agent.call("send", h="p", data=data)
    for v in "abc":
        assert agent.call("receive", h="c", v=v)["data"] == v.encode()
    agent.call("acknowledge", h="c", v="b")
    for v in "abc":
        agent.call("release", h="c", v=v)
    agent.call("close", h="c")
    agent.call("open_consumer", h="d", name="s")
    again = [agent.call("receive", h="d", timeout_ms=ENOUGH) for _ in range(2)]
    assert [(record["data"], record["deliveries"]) for record in again] == [(b"a", 2), (b"c", 2)]


def test_a_rejected_record_comes_again_and_acknowledging_up_to_covers_what_came_before(agents, refused, language):
    agent = agents(language)
    pair(agent, consumer={"manual": True})
    for data in (b"a", b"b", b"c"):
        agent.call("send", h="p", data=data)
    for v in "abc":
        agent.call("receive", h="c", v=v)
    agent.call("reject", h="c", v="c")
    agent.call("acknowledge_up_to", h="c", v="b")
    again = agent.call("receive", h="c", v="again", timeout_ms=ENOUGH)
    assert (again["data"], again["deliveries"]) == (b"c", 2)
    agent.call("acknowledge", h="c", v="again")
    for v in ("a", "b", "c", "again"):
        agent.call("release", h="c", v=v)
    agent.call("close", h="c")
    agent.call("open_consumer", h="d", name="s")
    refused(agent, "receive", "timed_out", h="d", timeout_ms=0)


def test_an_acknowledged_record_is_done_though_its_consumer_is_killed_while_it_still_holds_the_view(agents, refused, language):
    producer, agent = agents("C++"), agents(language)
    pair(producer, consumer={"manual": True})
    agent.call("open_consumer", h="c", name="s", manual=True)
    producer.call("close", h="c")
    for data in (b"a", b"b", b"c"):
        producer.call("send", h="p", data=data)
    for v in "abc":
        agent.call("receive", h="c", v=v, timeout_ms=ENOUGH)
    agent.call("acknowledge", h="c", v="a")
    agent.call("reject", h="c", v="b")
    agent.kill()
    producer.call("open_consumer", h="d", name="s")
    again = [producer.call("receive", h="d", timeout_ms=ENOUGH) for _ in range(2)]
    assert sorted((record["data"], record["deliveries"]) for record in again) == [(b"b", 2), (b"c", 2)]
    refused(producer, "receive", "timed_out", h="d", timeout_ms=0)


@pytest.mark.parametrize("start, first", [({"start": "earliest"}, 0), ({"start": "latest"}, 30), ({"start": "back", "back": 5}, 25)])
def test_a_new_group_starts_where_it_was_told_to(agents, language, start, first):
    agent = agents(language)
    stream(agent)
    agent.call("open_producer", h="p", name="s")
    for i in range(30):
        agent.call("send", h="p", data=b"%d" % i)
    agent.call("open_consumer", h="c", name="s", group="new", **start)
    agent.call("send", h="p", data=b"30")
    assert received(agent, 31 - first) == [b"%d" % i for i in range(first, 31)]


def test_an_observer_sees_records_and_takes_none_away(agents, language):
    agent = agents(language)
    pair(agent)
    for i in range(10):
        agent.call("send", h="p", data=b"%d" % i)
    agent.call("open_observer", h="o", name="s", start="earliest")
    agent.call("open_observer", h="late", name="s")
    assert received(agent, 10, "o") == [b"%d" % i for i in range(10)]
    agent.call("send", h="p", data=b"10")
    assert received(agent, 1, "late") == [b"10"]
    assert received(agent, 11) == [b"%d" % i for i in range(11)]


def test_an_observer_holds_nothing_back(agents, language):
    agent = agents(language)
    stream(agent, capacity=4096)
    agent.call("open_producer", h="p", name="s")
    agent.call("open_observer", h="o", name="s", start="earliest")
    for i in range(100):
        agent.call("send", h="p", data=b"%03d" % i + b"x" * 300, timeout_ms=0)
    first = agent.call("receive", h="o", timeout_ms=ENOUGH)
    assert first["lost"] == first["sequence"] > 0


def published_tail(agent, name="s"):
    manifest = json.loads(agent.call("call", method="Manifest", parameters={"name": name})["reply"]["manifest"])
    [path] = [file["path"] for file in manifest["files"] if file["role"] == "lane"]
    with open(path, "rb") as file:
        return int.from_bytes(file.read(392)[384:], "little")


LARGE = 1 << 18


def large_record(number):
    return b"%03d" % number * (LARGE // 3)


def test_large_records_that_are_read_at_once_take_the_same_memory_again(agents, language):
    agent = agents(language)
    pair(agent, capacity=16 * LARGE)
    for i in range(12):
        agent.call("send", h="p", data=large_record(i))
        assert received(agent, 1) == [large_record(i)]
    assert published_tail(agent) > 3 * 16 * LARGE  # a lap for two or three records, not for fifteen
    # Who comes later finds the last ones still, without a gap.
    agent.call("open_consumer", h="d", name="s", group="later", start="earliest")
    found = received(agent, 1, "d")
    while found[-1] != large_record(11):
        found += received(agent, 1, "d")
    assert found == [large_record(i) for i in range(12 - len(found), 12)]


def test_large_records_wait_for_all_groups_before_their_memory_is_taken_again(agents, language):
    agent = agents(language)
    pair(agent, capacity=16 * LARGE)
    agent.call("open_consumer", h="slow", name="s", group="slow")
    for i in range(12):
        agent.call("send", h="p", data=large_record(i))
        assert received(agent, 1) == [large_record(i)]
    assert received(agent, 12, "slow") == [large_record(i) for i in range(12)]


@pytest.mark.parametrize("when_full", ["block", "drop-new"])
def test_a_group_that_comes_between_large_records_finds_room_for_what_follows(agents, language, when_full):
    agent = agents(language)
    stream(agent, capacity=16 * LARGE, when_full=when_full)
    agent.call("open_consumer", h="c", name="s")
    agent.call("open_producer", h="p", name="s")
    for i in range(2):
        agent.call("send", h="p", data=large_record(i))
        assert received(agent, 1) == [large_record(i)]
    agent.call("open_consumer", h="late", name="s", group="late", start="earliest")
    for i in range(2, 12):
        agent.call("send", h="p", data=large_record(i), timeout_ms=ENOUGH)
        assert received(agent, 1) == [large_record(i)]
    assert received(agent, 12, "late") == [large_record(i) for i in range(12)]


def test_large_records_stay_for_an_observer_though_all_groups_have_read_them(agents, language):
    agent = agents(language)
    pair(agent, capacity=16 * LARGE)
    agent.call("open_observer", h="o", name="s")
    for i in range(12):
        agent.call("send", h="p", data=large_record(i))
        assert received(agent, 1) == [large_record(i)]
    seen = [agent.call("receive", h="o", timeout_ms=ENOUGH) for _ in range(12)]
    assert [record["data"] for record in seen] == [large_record(i) for i in range(12)] and {record["lost"] for record in seen} == {0}
    agent.call("close", h="o")
    before = published_tail(agent)
    for i in range(12, 24):
        agent.call("send", h="p", data=large_record(i))
        assert received(agent, 1) == [large_record(i)]
    assert published_tail(agent) - before > 2 * 16 * LARGE


def test_an_ephemeral_group_ends_with_its_last_consumer(agents, language):
    agent = agents(language)
    pair(agent, consumer={"group": "brief", "ephemeral": True})
    groups = lambda: [g["name"] for g in agent.call("call", method="Show", parameters={"name": "s"})["reply"]["groups"]]
    assert groups() == ["brief"]
    agent.call("close", h="c")
    assert groups() == []


def test_an_exclusive_group_has_one_consumer(agents, refused, language):
    agent = agents(language)
    pair(agent, consumer={"group": "mine", "exclusive": True})
    refused(agent, "open_consumer", "group_exclusive", h="d", name="s", group="mine", exclusive=True)
    agent.call("send", h="p", data=b"x")
    assert received(agent, 1) == [b"x"]
    agent.call("close", h="c")
    agent.call("open_consumer", h="d", name="s", group="mine", exclusive=True)


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_consumer_that_spins_gets_what_comes_late_and_hears_the_end(agents, refused, language, exclusive):
    agent, other = agents(language), agents("C++")
    stream(agent, capacity=4096)
    agent.call("open_consumer", h="c", name="s", exclusive=exclusive, spin=True)
    refused(agent, "receive", "timed_out", h="c", timeout_ms=20)
    other.call("open_producer", h="p", name="s")
    for i in range(200):
        waiting = agent.begin("receive", h="c", timeout_ms=ENOUGH)
        other.call("send", h="p", data=b"%d" % i)
        assert waiting.result()["data"] == b"%d" % i
    other.call("finish", h="p")
    refused(agent, "receive", "ended", h="c", timeout_ms=ENOUGH)


@pytest.mark.parametrize("exclusive", [False, True])
def test_the_room_of_aborted_records_behind_an_open_view_comes_back(agents, refused, language, exclusive):
    agent = agents(language)
    pair(agent, consumer={"exclusive": exclusive}, capacity=4096)
    agent.call("send", h="p", data=b"small")
    agent.call("receive", h="c", v="open", timeout_ms=ENOUGH)
    for loan in "ab":
        agent.call("loan", h="p", v=loan, data=b"x" * 1900)
        agent.call("abort", h="p", v=loan)
    refused(agent, "receive", "timed_out", h="c", timeout_ms=0)
    agent.call("release", h="c", v="open")
    refused(agent, "receive", "timed_out", h="c", timeout_ms=0)
    agent.call("send", h="p", data=b"y" * 1900, timeout_ms=ENOUGH)
    assert received(agent, 1) == [b"y" * 1900]


def test_a_consumer_waits_for_a_segment_to_appear(agents, refused, language):
    agent, other = agents(language), agents("C++")
    refused(agent, "open_consumer", "unknown_segment", h="c", name="later")
    refused(agent, "open_consumer", "timed_out", h="c", name="later", wait_ms=20)
    waiting = agent.begin("open_consumer", h="c", name="later", wait_ms=ENOUGH)
    other.call("create", name="later", kind="stream")
    other.call("open_producer", h="p", name="later")
    other.call("send", h="p", data=b"hello")
    waiting.result()
    assert received(agent, 1) == [b"hello"]


def test_a_waiting_consumer_wakes_when_a_record_comes(agents, language):
    agent, other = agents(language), agents("C++")
    stream(agent)
    agent.call("open_consumer", h="c", name="s")
    waiting = agent.begin("receive", h="c", timeout_ms=ENOUGH)
    other.call("open_producer", h="p", name="s")
    other.call("send", h="p", data=b"wake")
    assert waiting.result()["data"] == b"wake"


def test_creating_again_with_the_same_options_is_no_error_and_with_others_names_both(agents, refused, language):
    agent = agents(language)
    assert agent.call("create", name="s", kind="stream", capacity=65536)["created"] is True
    assert agent.call("create", name="s", kind="stream", capacity=65536)["created"] is False
    error = refused(agent, "create", "exists_with_other_options", name="s", kind="stream", capacity=131072)
    assert "65536" in error.message and "131072" in error.message


def test_removing_a_used_segment_needs_force_and_ends_waits(agents, refused, language):
    agent, other = agents(language), agents("C++")
    pair(agent)
    assert refused(other, "remove", "in_use", name="s").segment == "s"
    waiting = agent.begin("receive", h="c", timeout_ms=ENOUGH)
    other.call("remove", name="s", force=True)
    with pytest.raises(Exception) as caught:
        waiting.result()
    assert getattr(caught.value, "name", "") == "removed", caught.value
    refused(other, "remove", "unknown_segment", name="s")


def test_several_producers_have_a_lane_each_and_order_holds_in_each(agents, language):
    agent = agents(language)
    pair(agent)
    agent.call("open_producer", h="q", name="s")
    for i in range(50):
        agent.call("send", h="pq"[i % 2], data=b"%d" % i)
    records = [agent.call("receive", h="c") for _ in range(50)]
    lanes = {}
    for record in records:
        lanes.setdefault(record["lane"], []).append(int(record["data"]))
    assert sorted(lanes.values()) == [list(range(0, 50, 2)), list(range(1, 50, 2))]
