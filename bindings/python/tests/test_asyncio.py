"""asyncio: waits that yield to the loop, can be cancelled, lose nothing and never spin."""
import asyncio
import os
import select
import socket
import time

import pytest

import atoll
from conftest import ENOUGH


def run(coroutine):
    """Runs a test's coroutine, with a limit far above what it takes."""

    async def limited():
        return await asyncio.wait_for(coroutine, ENOUGH)

    return asyncio.run(limited())


def test_async_for_gives_every_record_until_the_end(stream):
    producer, consumer = stream()

    async def produce():
        for i in range(200):
            producer.send(b"%d" % i)
            if i % 10 == 0:
                await asyncio.sleep(0)
        producer.finish()

    async def main():
        producing = asyncio.create_task(produce())
        got = [bytes(message) async for message in consumer]
        await producing
        return got

    assert run(main()) == [b"%d" % i for i in range(200)]


def test_async_for_releases_each_message_when_it_asks_for_the_next(stream):
    producer, consumer = stream()
    producer.send_many([b"%d" % i for i in range(10)])
    producer.finish()

    async def main():
        kept = []
        async for message in consumer:
            assert consumer.outstanding == 1 + len(kept)
            if message.sequence == 4:
                kept.append(message)
        assert bytes(kept[0]) == b"4"

    run(main())


def test_receive_waits_without_holding_the_loop(stream):
    producer, consumer = stream()

    async def main():
        waiting = asyncio.create_task(consumer.receive_async())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        producer.send(b"now")
        return bytes(await waiting)

    assert run(main()) == b"now"


def test_a_time_limit_is_kept(stream):
    _, consumer = stream()

    async def main():
        with pytest.raises(atoll.TimedOut):
            await consumer.receive_async(timeout=0)
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            await consumer.receive_async(timeout=0.05)
        assert time.monotonic() - begin >= 0.05

    run(main())


@pytest.mark.parametrize("limit, error", [(-1, atoll.InvalidArgument), (float("nan"), atoll.InvalidArgument), ("soon", TypeError)])
def test_a_bad_time_limit_is_refused_at_once_and_nothing_is_taken(client, stream, names, limit, error):
    producer, consumer = stream()
    name = names()
    client.create(name, "bytes", size=100)

    async def main():
        with client.open_bytes(name, "r+") as data, client.open_observer(producer.name) as observer:
            producer.send(b"still there")
            data.put(b"content")
            for call in (consumer.receive_async, observer.receive_async, data.get_async, data.get_versioned_async):
                with pytest.raises(error, match="timeout"):
                    await call(timeout=limit)
            assert bytes(await observer.receive_async(timeout=0)) == b"still there"

    run(main())
    assert consumer.receive_bytes(timeout=0) == b"still there"


def test_an_infinite_time_limit_is_none(stream):
    producer, consumer = stream()

    async def main():
        waiting = asyncio.create_task(consumer.receive_async(timeout=float("inf")))
        await asyncio.sleep(0)
        producer.send(b"now")
        return bytes(await waiting)

    assert run(main()) == b"now"


def test_a_cancelled_receive_loses_no_record(stream):
    producer, consumer = stream()

    async def main():
        got = []
        for i in range(200):
            waiting = asyncio.create_task(consumer.receive_async())
            await asyncio.sleep(0)
            if i % 2:
                producer.send(b"%d" % i)  # may come just as the task is cancelled
            waiting.cancel()
            try:
                got.append(bytes(await waiting))
            except asyncio.CancelledError:
                pass
        while True:
            try:
                got.append(bytes(await consumer.receive_async(timeout=0.05)))
            except atoll.TimedOut:
                return got

    assert run(main()) == [b"%d" % i for i in range(1, 200, 2)]


def test_wait_for_loses_no_record(stream):
    producer, consumer = stream()

    async def main():
        got = []
        sent = 0
        while len(got) < 100:
            if sent < 100:
                asyncio.get_running_loop().call_later(0.0005, producer.send, b"%d" % sent)
                sent += 1
            try:
                message = await asyncio.wait_for(consumer.receive_async(), 0.0005 if sent < 100 else None)
                got.append(bytes(message))
            except asyncio.TimeoutError:
                pass
        return got

    assert run(main()) == [b"%d" % i for i in range(100)]


def test_two_tasks_may_wait_for_one_consumer_and_each_record_goes_to_one(stream):
    producer, consumer = stream()

    async def take(got):
        async for message in consumer:
            got.append(int(bytes(message)))
            await asyncio.sleep(0)

    async def main():
        one, two = [], []
        tasks = [asyncio.create_task(take(one)), asyncio.create_task(take(two))]
        for i in range(100):
            producer.send(b"%d" % i)
            await asyncio.sleep(0)
        producer.finish()
        await asyncio.gather(*tasks)
        return one, two

    one, two = run(main())
    assert sorted(one + two) == list(range(100))


def test_an_idle_wait_uses_no_processor_time(stream):
    _, consumer = stream()

    async def main():
        begin = time.process_time()
        with pytest.raises(atoll.TimedOut):
            await consumer.receive_async(timeout=0.5)
        return time.process_time() - begin

    assert run(main()) < 0.2


def test_a_reader_that_always_finds_something_lets_others_run(stream):
    producer, consumer = stream(capacity=1 << 20)
    producer.send_many([b"x"] * 5000)
    producer.finish()

    async def main():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        count = 0
        async for _ in consumer:
            count += 1
        task.cancel()
        return count, turns

    count, turns = run(main())
    assert count == 5000 and turns >= 20


def test_the_descriptor_is_level_triggered(stream):
    producer, consumer = stream()
    poll = select.poll()
    with pytest.raises(atoll.TimedOut):
        consumer.receive(timeout=0)
    poll.register(consumer.fileno(), select.POLLIN)
    producer.send_many([b"1", b"2"])
    assert poll.poll(ENOUGH * 1000)
    for _ in range(2):
        assert poll.poll(0), "stays readable while there is something"
        consumer.receive(timeout=0).release()
    with pytest.raises(atoll.TimedOut):
        consumer.receive(timeout=0)
    assert not poll.poll(0)
    assert os.fstat(consumer.fileno())


def test_observers_and_bytes_have_it_too(client, stream, names):
    producer, _ = stream()
    content = names()
    client.create(content, "bytes", size=100)

    async def main():
        with client.open_observer(producer.name) as observer, client.open_bytes(content, "r+") as data:
            seen = asyncio.create_task(observer.receive_async())
            got = asyncio.create_task(data.get_versioned_async())
            await asyncio.sleep(0)
            producer.send(b"seen")
            data.put(b"put")
            assert bytes(await seen) == b"seen"
            assert await got == (b"put", 1)
            assert await data.get_async() == b"put"
            with pytest.raises(atoll.TimedOut):
                await data.get_async(after=1, timeout=0.02)
            next_content = asyncio.create_task(data.get_async(after=1))
            await asyncio.sleep(0)
            next_content.cancel()
            with pytest.raises(asyncio.CancelledError):
                await next_content

    run(main())


def test_an_error_ends_the_wait(client, stream):
    producer, consumer = stream()

    async def main():
        waiting = asyncio.create_task(consumer.receive_async())
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, client.remove, producer.name, True)
        with pytest.raises(atoll.Removed):
            await waiting

    run(main())


def test_a_producer_is_told_of_room_although_a_smaller_record_went_ahead_meanwhile(stream):
    producer, consumer = stream({"exclusive": True}, capacity=4096)
    poll = select.poll()
    poll.register(producer.fileno(), select.POLLIN)
    count = 0
    with pytest.raises(atoll.TimedOut):
        while True:
            producer.send(b"x" * 100, timeout=0)
            count += 1
    with pytest.raises(atoll.TimedOut):
        producer.send(b"y" * 1500, timeout=0)
    for _ in range(2):
        consumer.receive_bytes(timeout=ENOUGH)
    producer.send(b"x" * 100, timeout=0)
    for _ in range(count - 1):
        consumer.receive_bytes(timeout=ENOUGH)
    assert poll.poll(1000 * ENOUGH)
    producer.send(b"y" * 1500, timeout=0)


def test_closing_a_handle_ends_the_tasks_that_wait_for_it(client, stream, names):
    _, consumer = stream()
    name = names()
    client.create(name, kind="bytes", size=64)
    memory = client.open_bytes(name)

    async def main():
        waiting = [asyncio.create_task(consumer.receive_async()), asyncio.create_task(memory.get_async())]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        consumer.close()
        with memory:
            pass
        for task in waiting:
            with pytest.raises(atoll.errors.Closed):
                await task
        # The descriptor's number is free for others now.
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            other.send(b"x")
            assert await asyncio.get_running_loop().sock_recv(one, 1) == b"x"

    run(main())


def test_another_thread_may_close_a_handle_while_a_task_waits(stream):
    _, consumer = stream()

    async def main():
        waiting = asyncio.create_task(consumer.receive_async())
        await asyncio.sleep(0)
        await asyncio.to_thread(consumer.close)
        with pytest.raises((atoll.errors.Closed, atoll.errors.InUse)):  # InUse: it tries while the other thread still closes
            await waiting

    run(main())


def test_gets_that_wait_for_different_versions_do_not_hold_each_other_up(client, names):
    name = names()
    client.create(name, kind="bytes", size=64)
    memory = client.open_bytes(name, mode="r+")

    async def main():
        later = [asyncio.create_task(memory.get_async(after=2)) for _ in range(3)]
        first = asyncio.create_task(memory.get_async())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        memory.put(b"one")
        assert await first == b"one"
        memory.put(b"two")
        memory.put(b"three")
        assert await asyncio.gather(*later) == [b"three"] * 3

    run(main())
