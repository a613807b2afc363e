"""Sending and receiving: order, kinds of content, full rings, groups, observers, ends."""
import array
import threading

import pytest

import atoll
from conftest import ENOUGH


def test_records_come_in_order_with_their_numbers(stream):
    producer, consumer = stream()
    for i in range(100):
        assert producer.send(b"%d" % i) is True
    for i in range(100):
        message = consumer.receive(timeout=ENOUGH)
        assert (bytes(message), message.sequence, message.lane, message.lost, message.deliveries) == (b"%d" % i, i, producer.lane, 0, 1)
        assert not message.redelivered


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"bytearray"), memoryview(b"view"), array.array("d", [1.5, 2.5]), b""])
def test_every_bytes_like_object_can_be_sent(stream, data):
    producer, consumer = stream()
    producer.send(data)
    assert consumer.receive_bytes(timeout=ENOUGH) == bytes(data)


def test_a_str_is_sent_as_text(stream):
    producer, consumer = stream()
    producer.send("Grüße ✓")
    message = consumer.receive(timeout=ENOUGH)
    assert (message.text, message.content) == ("Grüße ✓", "text")


@pytest.mark.parametrize("wrong", [1, None, ["a"], object(), 1.5])
def test_what_is_no_bytes_is_refused_with_a_hint(stream, wrong):
    producer, consumer = stream()
    with pytest.raises(TypeError, match="send_json"):
        producer.send(wrong)
    with pytest.raises(atoll.TimedOut):
        consumer.receive(timeout=0)


def test_a_buffer_with_gaps_is_refused(stream):
    producer, _ = stream()
    with pytest.raises(BufferError):
        producer.send(memoryview(b"abcdef")[::2])


def test_wrong_arguments_are_type_errors(stream):
    producer, consumer = stream()
    for call in (
        lambda: producer.send(),
        lambda: producer.send(b"x", 0, 0),
        lambda: producer.send(b"x", wait=0),
        lambda: producer.send(b"x", 0, timeout=0),
        lambda: producer.send(b"x", data=b"y"),
        lambda: consumer.receive(1, 2),
        lambda: consumer.receive_many(),
        lambda: producer.send_many(b"not a list"),
        lambda: producer.send_many(7),
    ):
        with pytest.raises(TypeError):
            call()
    assert producer.send(data=b"by name", timeout=0) and consumer.receive_many(max=1, timeout=ENOUGH)[0].view == b"by name"


def test_json_goes_there_and_back(stream):
    producer, consumer = stream()
    value = {"a": [1, 2.5, None, True], "ü": "✓", "big": 2**60}
    producer.send_json(value)
    assert consumer.receive_json(timeout=ENOUGH) == value
    producer.send_json([1])
    message = consumer.receive(timeout=ENOUGH)
    assert (message.content, message.json()) == ("json", [1])
    with pytest.raises(ValueError):
        producer.send_json(float("nan"))


@pytest.mark.parametrize("data", [b"{", b"", b"\xff", b"NaN", b"[" * 100_000, b"1 2", b"9" * 10_000])
def test_what_is_no_json_is_bad_encoding(stream, data):
    producer, consumer = stream(capacity=1 << 20)
    producer.send(data)
    with pytest.raises(atoll.BadEncoding):
        consumer.receive_json(timeout=ENOUGH)


def test_what_is_no_text_is_bad_encoding(stream):
    producer, consumer = stream()
    producer.send(b"\xff\xfe")
    with pytest.raises(atoll.BadEncoding):
        consumer.receive(timeout=ENOUGH).text


def test_many_are_sent_and_received_at_once(stream):
    producer, consumer = stream(capacity=1 << 20)
    records = [b"%d" % i for i in range(1000)]
    assert producer.send_many(records) == 1000
    assert producer.send_many(b"%d" % i for i in range(1000, 1300)) == 300
    assert producer.send_many([]) == 0
    got = []
    while len(got) < 1300:
        got += map(bytes, consumer.receive_many(700, timeout=ENOUGH))
    assert got == [b"%d" % i for i in range(1300)]


def test_texts_and_bytes_may_be_mixed_in_send_many(stream):
    producer, consumer = stream()
    assert producer.send_many([b"a", "b", "c", bytearray(b"d"), memoryview(b"e"), "f"]) == 6
    got = [consumer.receive(timeout=ENOUGH) for _ in range(6)]
    assert [(bytes(m), m.content) for m in got] == [(b"a", "bytes"), (b"b", "text"), (b"c", "text"), (b"d", "bytes"), (b"e", "bytes"), (b"f", "text")]


def test_a_wrong_item_ends_send_many_after_those_before_it(stream):
    producer, consumer = stream()
    with pytest.raises(TypeError) as caught:
        producer.send_many([b"a", b"b", 3, b"d"])
    assert caught.value.sent == 2
    assert [bytes(m) for m in consumer.receive_many(10, timeout=ENOUGH)] == [b"a", b"b"]

    def failing():
        yield b"c"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        producer.send_many(failing())
    assert consumer.receive_bytes(timeout=ENOUGH) == b"c"


@pytest.mark.parametrize("most", [0, -1, 1 << 64])
def test_receive_many_takes_at_least_one(stream, most):
    _, consumer = stream()
    with pytest.raises(atoll.InvalidArgument):
        consumer.receive_many(most)


def test_a_full_block_stream_makes_send_wait(stream):
    producer, consumer = stream(capacity=4096)
    sent = 0
    with pytest.raises(atoll.TimedOut):
        while producer.send(b"x" * 500, timeout=0):
            sent += 1
    with pytest.raises(TimeoutError):
        producer.send(b"x" * 500, timeout=0.02)
    with pytest.raises(atoll.TimedOut) as caught:
        producer.send_many([b"x" * 500] * 3, timeout=0.02)
    assert caught.value.sent == 0
    waiting = threading.Thread(target=producer.send, args=(b"late", ENOUGH))
    waiting.start()
    for message in [consumer.receive(timeout=ENOUGH) for _ in range(sent)]:
        message.release()
    waiting.join()
    assert consumer.receive_bytes(timeout=ENOUGH) == b"late"
    assert producer.blocked > 0


def test_send_many_goes_on_where_a_full_ring_stopped_it(stream):
    producer, consumer = stream(capacity=4096)
    records = [b"%04d" % i * 20 for i in range(500)]
    got = []
    reader = threading.Thread(target=lambda: got.extend(consumer.receive_bytes(timeout=ENOUGH) for _ in records))
    reader.start()
    assert producer.send_many(records, timeout=ENOUGH) == 500
    reader.join()
    assert got == records


def test_a_full_drop_new_stream_answers_false_and_counts(stream):
    producer, consumer = stream(capacity=4096, when_full="drop-new")
    stored = 0
    while producer.send(b"x" * 500):
        stored += 1
    assert producer.dropped == 1 and producer.when_full == "drop-new"
    assert producer.send_json("x" * 500) is False
    with pytest.raises(atoll.Dropped):
        producer.loan(500)
    assert producer.send_many([b"x" * 500] * 4) == 0
    assert producer.dropped == 7
    assert len(consumer.receive_many(100, timeout=ENOUGH)) == stored


def test_an_overwrite_stream_tells_what_was_lost(stream):
    producer, consumer = stream(capacity=4096, when_full="overwrite")
    for i in range(100):
        producer.send(b"%03d" % i + b"x" * 300)
    first = consumer.receive(timeout=ENOUGH)
    assert first.lost == first.sequence > 0 and first.text[:3] == "%03d" % first.sequence
    assert consumer.lost == first.lost and consumer.copies is True


def test_a_record_over_half_a_lane_is_too_large(stream):
    producer, consumer = stream(capacity=4096)
    assert producer.send(b"x" * producer.max_payload)
    assert len(consumer.receive(timeout=ENOUGH)) == producer.max_payload
    with pytest.raises(atoll.TooLarge):
        producer.send(b"x" * (producer.max_payload + 1))
    with pytest.raises(atoll.TooLarge):
        producer.loan(1 << 40)
    for number in (-1, 1 << 64):
        with pytest.raises(atoll.InvalidArgument, match="nbytes"):
            producer.loan(number)


def test_who_reads_hears_what_was_removed_and_who_writes_that_it_did_not_finish(client, name):
    client.create(name)
    producer = client.open_producer(name)
    consumer = client.open_consumer(name, group="g")
    client.remove(name, group="g", force=True)
    with pytest.raises(atoll.Removed, match=f"group 'g' of '{name}' was removed"):
        consumer.receive(timeout=ENOUGH)
    consumer.close()
    consumer = client.open_consumer(name, group="g")
    client.remove(name, force=True)
    with pytest.raises(atoll.Removed, match=f"^'{name}' was removed"):
        consumer.receive(timeout=ENOUGH)
    with pytest.raises(atoll.Removed):
        producer.finish()


def test_a_time_limit_names_the_stream_and_a_second_decision_is_refused_in_words(client, name):
    client.create(name)
    with client.open_consumer(name, manual=True) as consumer, client.open_producer(name) as producer:
        with pytest.raises(atoll.TimedOut, match=name) as caught:
            consumer.receive(timeout=0.01)
        assert caught.value.segment == name
        producer.send(b"x")
        message = consumer.receive(timeout=ENOUGH)
        message.acknowledge()
        with pytest.raises(atoll.InvalidArgument, match="already"):
            message.reject()


def test_iteration_ends_when_the_producers_have_finished(stream):
    producer, consumer = stream()
    producer.send_many([b"1", b"2", b"3"])
    producer.finish()
    assert [bytes(m) for m in consumer] == [b"1", b"2", b"3"]
    with pytest.raises(atoll.Ended):
        consumer.receive(timeout=ENOUGH)
    producer.send(b"again")
    assert consumer.receive_bytes(timeout=ENOUGH) == b"again"


def test_every_group_sees_all_and_two_consumers_of_one_share(client, stream):
    producer, first = stream({"group": "one", "prefetch": 1})
    with client.open_consumer(producer.name, "one", prefetch=1) as second, client.open_consumer(producer.name, "two") as other:
        producer.send_many([b"%d" % i for i in range(20)])
        shared = {first: [], second: []}
        for _ in range(10):
            for consumer in (first, second):
                shared[consumer].append(int(consumer.receive_bytes(timeout=ENOUGH)))
        assert sorted(shared[first] + shared[second]) == list(range(20))
        assert shared[first] == sorted(shared[first]) and shared[second] == sorted(shared[second])
        assert [int(other.receive_bytes(timeout=ENOUGH)) for _ in range(20)] == list(range(20))


@pytest.mark.parametrize("start, first", [("earliest", 0), ("latest", 30), (5, 25), (0, 30)])
def test_a_new_group_starts_where_it_was_told_to(client, stream, start, first):
    producer, _ = stream()
    producer.send_many([b"%d" % i for i in range(30)])
    with client.open_consumer(producer.name, "new", start) as consumer:
        producer.send(b"30")
        assert consumer.receive_bytes(timeout=ENOUGH) == b"%d" % first


@pytest.mark.parametrize("start", ["middle", -1, True, None, 1.5])
def test_a_bad_start_is_refused(client, stream, start):
    producer, _ = stream()
    with pytest.raises(atoll.InvalidArgument, match="start"):
        client.open_consumer(producer.name, "new", start)


def test_an_exclusive_group_has_one_consumer_and_an_ephemeral_one_ends_with_it(client, stream):
    producer, _ = stream()
    options = {"group": "mine", "exclusive": True, "ephemeral": True}
    with client.open_consumer(producer.name, **options):
        with pytest.raises(atoll.GroupExclusive):
            client.open_consumer(producer.name, **options)
    assert "mine" not in [group["name"] for group in client.show(producer.name)["groups"]]


def test_a_manual_consumer_decides_what_is_dealt_with(client, stream):
    # Claimed one by one: a rejected record is given again once all that was claimed with it is decided.
    producer, consumer = stream({"manual": True, "group": "g", "prefetch": 1})
    producer.send_many([b"a", b"b", b"c", b"d"])
    a, b, c, d = (consumer.receive(timeout=ENOUGH) for _ in range(4))
    b.acknowledge()
    c.reject()
    for message in (a, b, c, d):
        message.release()
    again = consumer.receive(timeout=ENOUGH)
    assert (bytes(again), again.deliveries, again.redelivered) == (b"c", 2, True)
    again.acknowledge()
    d.acknowledge()
    consumer.close(release=True)
    with client.open_consumer(producer.name, "g") as other:
        message = other.receive(timeout=ENOUGH)
        assert (bytes(message), message.redelivered) == (b"a", True)
        with pytest.raises(atoll.TimedOut):
            other.receive(timeout=0)


def test_acknowledging_up_to_covers_what_came_before(client, stream):
    producer, consumer = stream({"manual": True, "group": "g"})
    producer.send_many([b"a", b"b", b"c"])
    a, b, c = (consumer.receive(timeout=ENOUGH) for _ in range(3))
    b.acknowledge_up_to()
    consumer.close(release=True)
    with client.open_consumer(producer.name, "g") as other:
        assert other.receive_bytes(timeout=ENOUGH) == b"c"
    for late in (a, b, c):
        with pytest.raises(atoll.Closed):
            late.acknowledge()


def test_a_manual_consumer_refuses_the_calls_that_keep_no_message(stream):
    _, consumer = stream({"manual": True})
    for call in (consumer.receive_bytes, consumer.receive_json, consumer.receive_array):
        with pytest.raises(atoll.InvalidArgument, match="acknowledge"):
            call(timeout=0)


def test_an_observer_sees_records_and_takes_none_away(client, stream):
    producer, consumer = stream()
    producer.send_many([b"1", b"2"])
    with client.open_observer(producer.name, start="earliest") as observer, client.open_observer(producer.name) as late:
        assert [bytes(m) for m in (observer.receive(timeout=ENOUGH), observer.receive(timeout=ENOUGH))] == [b"1", b"2"]
        producer.send(b"3")
        assert late.receive_bytes(timeout=ENOUGH) == b"3"
        assert observer.copies is True
    assert [consumer.receive_bytes(timeout=ENOUGH) for _ in range(3)] == [b"1", b"2", b"3"]


def test_removing_the_segment_ends_waits(client, stream):
    producer, consumer = stream()
    caught = []

    def wait():
        try:
            consumer.receive(timeout=ENOUGH)
        except atoll.AtollError as error:
            caught.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    client.remove(producer.name, force=True)
    waiting.join()
    assert [type(error) for error in caught] == [atoll.Removed]


def test_handles_know_their_segment_and_numbers(client, stream):
    producer, consumer = stream({"group": "g"}, alignment=64)
    assert producer.name == consumer.name and consumer.group == "g"
    assert (producer.capacity, producer.alignment, consumer.alignment, producer.when_full) == (65536, 64, 64, "block")
    producer.send(b"x")
    message = consumer.receive(timeout=ENOUGH)
    assert (producer.sequence, consumer.received, consumer.outstanding, consumer.lanes) == (1, 1, 1, 1)
    message.release()
    assert consumer.outstanding == 0


def test_a_closed_handle_says_so(stream):
    producer, consumer = stream()
    producer.close()
    producer.close()
    consumer.close()
    consumer.close()
    assert producer.closed and consumer.closed
    for call in (lambda: producer.send(b"x"), producer.finish, lambda: producer.loan(1), lambda: consumer.receive(0), lambda: next(iter(consumer)), consumer.fileno):
        with pytest.raises(atoll.Closed):
            call()


def test_producers_one_after_the_other_use_one_lane_and_leave_it_readable(client, name):
    client.create(name, capacity=8 << 20)
    for run in range(3):
        with client.open_producer(name) as producer:
            assert producer.lane == 0
            producer.send_many([b""] * 300_000)  # more than the broker looks at
            with client.open_observer(name, start="earliest") as observer:
                first = observer.receive(0).sequence
        with client.open_observer(name, start="earliest") as observer:
            assert observer.receive(0).sequence == first
