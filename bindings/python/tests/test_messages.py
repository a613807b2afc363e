"""The life of a message: seen in place, valid until released, never a crash afterwards; and of a loan."""
import contextlib
import gc

import pytest

import atoll
from conftest import ENOUGH


@pytest.fixture
def received(stream):
    """A producer, a consumer, and a message "hello" that it received."""
    producer, consumer = stream()
    producer.send(b"hello")
    return producer, consumer, consumer.receive(timeout=ENOUGH)


def test_a_message_is_seen_without_a_copy_and_read_only(received):
    _, _, message = received
    view = message.view
    assert view.readonly and view == b"hello" and len(message) == 5 and memoryview(message)[1:3] == b"el"
    with pytest.raises(TypeError):
        view[0] = 1
    np = pytest.importorskip("numpy")
    one, two = np.frombuffer(message, "u1"), np.frombuffer(view, "u1")
    assert one.ctypes.data == two.ctypes.data and not one.flags.writeable
    with pytest.raises(ValueError):
        one.flags.writeable = True


def test_a_released_message_raises_view_released_whatever_is_asked(received):
    _, _, message = received
    message.release()
    assert message.released
    for use in (lambda: memoryview(message), lambda: message.view, lambda: bytes(message), lambda: message.text, message.json, message.array,
                lambda: len(message), message.release, message.__enter__):
        with pytest.raises(atoll.ViewReleased):
            use()
    assert message.sequence == 0 and "released" in repr(message)


def test_a_with_block_releases(received):
    _, _, message = received
    with message as same:
        assert same is message and message.text == "hello"
    assert message.released
    with pytest.raises(atoll.ViewReleased), message:
        pass


def test_a_message_released_inside_its_with_block_is_fine(received):
    _, _, message = received
    with message:
        message.release()


def test_release_is_refused_while_a_view_lives(received):
    _, _, message = received
    view = memoryview(message)[2:]
    with pytest.raises(BufferError):
        message.release()
    with pytest.raises(atoll.ViewsLive):
        message.release()
    assert view == b"llo"
    view.release()
    message.release()


def test_close_is_refused_while_a_message_or_a_view_lives(received):
    _, consumer, message = received
    with pytest.raises(BufferError):
        consumer.close()
    view = message.view
    with pytest.raises(atoll.ViewsLive):
        consumer.close(release=True)
    assert bytes(view) == b"hello" and not consumer.closed
    view.release()
    message.release()
    consumer.close()


def test_a_view_keeps_the_memory_when_everything_else_is_gone(client, name):
    client.create(name)
    producer, consumer = client.open_producer(name), client.open_consumer(name)
    producer.send(b"still here" * 100)
    view = consumer.receive(timeout=ENOUGH).view
    client.remove(name, force=True)
    del producer, consumer
    gc.collect()
    assert view == b"still here" * 100


def test_a_message_that_is_forgotten_is_released(stream):
    producer, consumer = stream(capacity=4096)
    for _ in range(100):
        producer.send(b"x" * 500, timeout=ENOUGH)
        consumer.receive(timeout=ENOUGH)
    assert consumer.outstanding == 0


def test_leaving_a_with_block_deals_with_what_was_received_and_failing_gives_it_out_again(client, stream):
    producer, _ = stream()
    producer.send_many([b"1", b"2"])
    with client.open_consumer(producer.name, "g") as consumer:
        message = consumer.receive(timeout=ENOUGH)
    assert message.released and consumer.closed
    with pytest.raises(KeyError), client.open_consumer(producer.name, "g") as consumer:
        message = consumer.receive(timeout=ENOUGH)
        assert bytes(message) == b"2"
        raise KeyError
    with client.open_consumer(producer.name, "g") as consumer:
        message = consumer.receive(timeout=ENOUGH)
        assert (bytes(message), message.redelivered) == (b"2", True)


def test_a_loop_releases_each_message_when_it_asks_for_the_next_unless_something_else_refers_to_it(stream):
    producer, consumer = stream()
    producer.send_many([b"0", b"1", b"2", b"3"])
    producer.finish()
    kept, views = [], []
    for message in consumer:
        assert consumer.outstanding == 1 + len(kept) + len(views)
        if message.sequence == 1:
            kept.append(message)
        elif message.sequence == 2:
            views.append(message.view)
    assert bytes(kept[0]) == b"1" and views[0] == b"2" and message.released
    views[0].release()


def test_two_loops_of_one_group_both_end(client, stream):
    import threading

    producer, consumer = stream({"group": "g", "prefetch": 1})
    got = []

    def loop():
        with client.open_consumer(producer.name, "g", prefetch=1) as other:
            ready.set()
            for message in other:
                got.append(int(bytes(message)))

    ready = threading.Event()
    thread = threading.Thread(target=loop)
    thread.start()
    assert ready.wait(ENOUGH)
    producer.send_many([b"%d" % i for i in range(200)])
    producer.finish()
    for message in consumer:
        got.append(int(bytes(message)))
    thread.join(ENOUGH)
    assert not thread.is_alive() and sorted(got) == list(range(200))


def test_messages_can_not_be_made_or_pickled(received):
    import pickle

    with pytest.raises(TypeError):
        atoll.Message()
    with pytest.raises(TypeError):
        pickle.dumps(received[2])


# ---- Loans -----------------------------------------------------------------------------------------


def test_a_loan_is_filled_in_place_and_committed_at_the_end_of_its_block(stream):
    producer, consumer = stream()
    with producer.loan(5) as view:
        assert not view.readonly and len(view) == 5
        view[:] = b"hello"
        with pytest.raises(atoll.TimedOut):
            consumer.receive(timeout=0)
    assert consumer.receive_bytes(timeout=ENOUGH) == b"hello"
    with pytest.raises(ValueError):
        view[0] = 1


def test_a_loan_whose_block_fails_is_aborted(stream):
    producer, consumer = stream()
    with pytest.raises(KeyError), producer.loan(5):
        raise KeyError
    producer.send(b"next")
    message = consumer.receive(timeout=ENOUGH)
    assert (bytes(message), message.sequence) == (b"next", 1)


def test_several_loans_are_committed_in_any_order_and_read_in_their_own(stream):
    producer, consumer = stream()
    loans = [producer.loan(1) for _ in range(4)]
    for i, loan in enumerate(loans):
        loan.view[:] = b"%d" % i
    loans[3].commit()
    loans[1].abort()
    loans[2].commit()
    with pytest.raises(atoll.TimedOut):
        consumer.receive(timeout=0)
    loans[0].commit()
    assert [consumer.receive_bytes(timeout=ENOUGH) for _ in range(3)] == [b"0", b"2", b"3"]
    for loan in loans:
        with pytest.raises(atoll.InvalidArgument):
            loan.commit()
        with pytest.raises(atoll.InvalidArgument):
            loan.view


@pytest.mark.parametrize("fails", [False, True])
def test_after_its_block_the_memory_of_a_loan_is_not_given_out_again(stream, fails):
    producer, consumer = stream()
    loan = producer.loan(5)
    with contextlib.suppress(KeyError), loan as view:
        view[:] = b"hello"
        assert loan.view is view
        if fails:
            raise KeyError
    for use in (lambda: loan.view, lambda: memoryview(loan), loan.__enter__, loan.commit, loan.abort):
        with pytest.raises(atoll.InvalidArgument):
            use()
    with pytest.raises(ValueError):
        view[0] = 0
    producer.send(b"next")
    got = [consumer.receive_bytes(timeout=ENOUGH) for _ in range(1 if fails else 2)]
    assert got == ([b"next"] if fails else [b"hello", b"next"])


def test_a_loan_that_is_forgotten_is_aborted(stream):
    producer, consumer = stream()
    producer.loan(5).view[:] = b"never"
    producer.send(b"next")
    assert consumer.receive_bytes(timeout=ENOUGH) == b"next"


def test_a_loan_is_not_committed_while_somebody_could_still_write_it(stream):
    producer, consumer = stream()
    loan = producer.loan(8)
    other = memoryview(loan)
    with pytest.raises(BufferError):
        loan.commit()
    with pytest.raises(atoll.ViewsLive):
        producer.close()
    other.release()
    loan.commit()
    assert len(consumer.receive(timeout=ENOUGH)) == 8


def test_a_block_that_leaves_a_view_is_an_error_and_the_record_is_never_seen(stream):
    producer, consumer = stream()
    with pytest.raises(atoll.ViewsLive), producer.loan(8) as view:
        kept = view[2:]
    producer.send(b"next")
    with pytest.raises(atoll.TimedOut):
        consumer.receive(timeout=0)  # order is kept: not before the loan is settled
    kept.release()
    assert consumer.receive_bytes(timeout=ENOUGH) == b"next"


def test_closing_a_producer_aborts_its_loans(client, stream):
    producer, consumer = stream()
    loan = producer.loan(8)
    producer.close()
    with pytest.raises(atoll.InvalidArgument):
        loan.commit()
    with client.open_producer(producer.name) as other:
        other.send(b"next")
        assert consumer.receive_bytes(timeout=ENOUGH) == b"next"
