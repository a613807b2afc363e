"""Loops over one consumer: each goes by itself, and releases its own last message and no other."""
import asyncio
import gc
import sys
import weakref

import pytest

import atoll
from conftest import ENOUGH
from test_asyncio import run
from test_processes import forked


@pytest.fixture
def numbers(stream):
    """A function that makes a consumer of a finished stream with the records 0 to `count` - 1."""

    def new(count, **options):
        producer, consumer = stream(options)
        producer.send_many([b"%d" % i for i in range(count)])
        producer.finish()
        return consumer

    return new


def number(message):
    return int(bytes(message))


def test_a_consumer_is_an_iterable_and_no_iterator(numbers):
    consumer = numbers(1)
    with pytest.raises(TypeError):
        next(consumer)
    with pytest.raises(TypeError):
        anext(consumer)
    assert iter(consumer) is not iter(consumer) and aiter(consumer) is not aiter(consumer)
    iterator = iter(consumer)
    assert iter(iterator) is iterator
    with pytest.raises(TypeError):
        type(iterator)()


def test_two_iterators_leave_each_others_message_alone(numbers):
    consumer = numbers(5)
    a, b = iter(consumer), iter(consumer)
    one, two = next(a), next(b)
    assert (number(one), number(two), consumer.outstanding) == (0, 1, 2)
    three = next(b)
    assert two.released and number(one) == 0 and number(three) == 2
    four = next(a)
    assert one.released and (number(three), number(four)) == (2, 3)


def test_nested_loops_leave_each_others_message_alone(numbers):
    consumer = numbers(6)
    got = []
    for outer in consumer:
        for inner in consumer:
            got.append(number(inner))
            assert not outer.released
        got.append(number(outer))
    assert got == [1, 2, 3, 4, 5, 0] and inner.released and outer.released


def test_two_async_loops_leave_each_others_message_alone(numbers):
    consumer = numbers(200)

    async def take(got):
        async for message in consumer:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            got.append(number(message))

    async def main():
        one, two = [], []
        await asyncio.gather(take(one), take(two))
        return one, two

    one, two = run(main())
    assert sorted(one + two) == list(range(200)) and one and two


def test_a_loop_and_an_async_loop_leave_each_others_message_alone(numbers):
    consumer = numbers(20)

    async def main():
        got = []
        async for outer in consumer:
            for inner in consumer:
                got.append(number(inner))
                if len(got) % 4 == 3:
                    break
            got.append(number(outer))
        return got

    assert sorted(run(main())) == list(range(20))


def test_two_tasks_that_share_one_async_iterator_lose_nothing(numbers):
    consumer = numbers(50)

    async def take(iterator, got):
        async for message in iterator:
            got.append(number(message))
            await asyncio.sleep(0)

    async def main():
        iterator, got = aiter(consumer), []
        await asyncio.gather(take(iterator, got), take(iterator, got))
        return got

    assert sorted(run(main())) == list(range(50))


def test_an_iterator_and_its_message_may_go_in_any_order(numbers):
    consumer = numbers(4)
    iterator = iter(consumer)
    message = next(iterator)
    del iterator
    assert number(message) == 0
    del message
    iterator = iter(consumer)
    message = next(iterator)
    del message
    assert consumer.outstanding == 0
    assert number(next(iterator)) == 2
    message = next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)
    assert message.released


def test_an_iterator_keeps_its_consumer_and_nothing_after_it_goes(client, numbers):
    consumer = numbers(3)
    before = sys.getrefcount(consumer)
    for message in consumer:
        pass
    assert sys.getrefcount(consumer) == before + 1  # the message's
    del message
    assert sys.getrefcount(consumer) == before
    iterator = iter(client.open_consumer(consumer.name, "other"))
    assert number(next(iterator)) == 0

    class Kept(atoll.Consumer):  # may refer to its own iterator
        pass

    kept = Kept(client, consumer.name, group="another")
    kept.iterator = iter(kept)
    gone = weakref.ref(kept)
    del kept, iterator
    gc.collect()
    assert gone() is None


def test_an_iterator_over_a_closed_consumer_says_so(numbers):
    consumer = numbers(2)
    iterator, loop = iter(consumer), aiter(consumer)
    message = next(iterator)
    with pytest.raises(atoll.ViewsLive):
        consumer.close()
    consumer.close(release=True)
    assert message.released
    with pytest.raises(atoll.Closed):
        next(iterator)
    with pytest.raises(atoll.Closed):
        run(anext(loop))


def test_in_a_forked_child_an_iterator_goes_on_with_the_childs_own_consumer(stream):
    producer, consumer = stream({"group": "g", "prefetch": 1})
    producer.send_many([b"0", b"1"])
    iterator = iter(consumer)
    message = next(iterator)

    def child():
        mine = next(iterator)  # the other record: the parent still holds its own
        assert number(mine) == 1 and message.released
        producer.send(b"2")
        assert number(next(iterator)) == 2 and mine.released
        consumer.close(release=True)
        producer.close()

    assert forked(child) == 0
    assert number(message) == 0
    producer.send(b"3")
    assert number(next(iterator)) == 3 and message.released


def test_observers_are_iterated_alike(client, stream):
    producer, _ = stream()
    producer.send_many([b"0", b"1", b"2"])
    producer.finish()
    with client.open_observer(producer.name, start="earliest") as observer:
        a, b = iter(observer), iter(observer)
        one, two = next(a), next(b)
        three = next(b)
        assert two.released and [number(one), number(three)] == [0, 2]
        assert next(a, None) is None and one.released and not three.released
