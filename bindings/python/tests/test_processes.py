"""Handles in other processes: pickled as references, inherited by forks, killed."""
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest

import atoll
from conftest import ENOUGH


def send_numbers(producer, count):
    for i in range(count):
        producer.send(b"%d" % i)
    producer.finish()
    producer.close()


def echo(consumer, producer):
    for message in consumer:
        producer.send(bytes(message)[::-1])
    producer.finish()


@pytest.fixture(params=["fork", "spawn"])
def start(request):
    """A function that runs another function in a child process, and checks that it ended well after the test."""
    context = multiprocessing.get_context(request.param)
    children = []

    def begin(target, *arguments):
        children.append(context.Process(target=target, args=arguments))
        children[-1].start()
        return children[-1]

    yield begin
    for child in children:
        child.join(ENOUGH)
        assert child.exitcode == 0


def test_a_producer_given_to_a_child_is_a_producer_of_its_own(stream, start):
    producer, consumer = stream()
    producer.send(b"parent")
    start(send_numbers, producer, 50)
    got = [consumer.receive(timeout=ENOUGH) for _ in range(51)]
    assert sorted((m.lane, m.sequence) for m in got) == [(0, 0), *((1, i) for i in range(50))]
    producer.send(b"still mine")
    assert consumer.receive_bytes(timeout=ENOUGH) == b"still mine"


def test_a_consumer_and_a_producer_given_to_a_child_work_there(client, stream, names, start):
    requests, worker = stream({"group": "work"})
    replies = names()
    client.create(replies)
    back = client.open_producer(replies)
    with client.open_consumer(replies) as answers:
        start(echo, worker, back)
        worker.close()
        back.close()
        for i in range(20):
            requests.send("%03d" % i)
            assert answers.receive(timeout=ENOUGH).text == ("%03d" % i)[::-1]
        requests.finish()


def use_everything(client, consumer, observer, data):
    assert client.status()["pid"] > 0
    assert data.read_at(0, 5) == b"hello"
    data.put(b"from the child")
    assert observer.name == consumer.name


def test_clients_observers_and_bytes_go_to_children(client, stream, names, start):
    producer, consumer = stream()
    name = names()
    client.create(name, "bytes", size=100)
    with client.open_bytes(name, "r+") as data, client.open_observer(producer.name) as observer:
        data.write_at(0, b"hello")
        child = start(use_everything, client, consumer, observer, data)
        child.join(ENOUGH)
        assert data.get(timeout=ENOUGH) == b"from the child"


def test_pickling_keeps_the_options_and_copies_no_data(stream):
    producer, consumer = stream({"group": "g", "manual": True})
    text = pickle.dumps(consumer)
    assert len(text) < 1000
    copy = pickle.loads(text)
    assert (type(copy), copy.name, copy.group) == (atoll.Consumer, consumer.name, "g")
    producer.send(b"x")
    consumer.close()
    message = copy.receive(timeout=ENOUGH)
    message.acknowledge()
    message.release()
    copy.close()


def forked(child):
    """Runs `child` in a fork; its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = child() or 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_a_fork_inherits_opens_itself_anew(client, stream):
    producer, consumer = stream({"group": "g"})
    lane = producer.lane

    def child():
        assert producer.send(b"child")
        assert producer.lane != lane
        producer.close()
        assert client.status()["pid"]

    assert forked(child) == 0
    assert consumer.receive(timeout=ENOUGH).text == "child"
    producer.send(b"parent")
    message = consumer.receive(timeout=ENOUGH)
    assert (message.text, message.lane) == ("parent", lane)


def test_messages_and_views_of_the_parent_can_not_be_used_up_by_a_child(stream):
    producer, consumer = stream({"manual": True, "group": "g", "prefetch": 1})
    producer.send_many([b"one", b"two"])
    message = consumer.receive(timeout=ENOUGH)
    view = message.view

    def child():
        assert view == b"one"  # the memory is still there
        for use in (lambda: memoryview(message), message.acknowledge, message.release):
            with pytest.raises(atoll.Forked):
                use()
        with consumer.receive(timeout=ENOUGH) as mine:  # a consumer of the same group now
            assert bytes(mine) == b"two"
            mine.acknowledge()
        view.release()
        consumer.close(release=True)

    assert forked(child) == 0
    assert view == b"one" and message.text == "one"
    message.acknowledge()
    view.release()
    message.release()


def test_a_loan_of_the_parent_is_not_the_childs(stream):
    producer, consumer = stream()
    loan = producer.loan(4)
    loan.view[:] = b"mine"

    def child():
        with pytest.raises(atoll.Forked):
            loan.commit()
        producer.send(b"child")
        producer.close()

    assert forked(child) == 0
    loan.commit()
    assert sorted(consumer.receive_bytes(timeout=ENOUGH) for _ in range(2)) == [b"child", b"mine"]


HOLD = """
import atoll, sys
with atoll.connect() as client:
    consumer = client.open_consumer(sys.argv[1], "g")
    message = consumer.receive()
    print(message.text, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_consumer_held_is_given_to_another_and_marked(client, stream):
    producer, _ = stream()
    producer.send_many(["a", "b"])
    child = subprocess.Popen([sys.executable, "-c", HOLD, producer.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "a\n"
    with client.open_consumer(producer.name, "g") as consumer:
        child.send_signal(signal.SIGKILL)
        child.wait()
        got = [consumer.receive(timeout=ENOUGH) for _ in range(2)]
        assert sorted(m.text for m in got) == ["a", "b"]
        assert next(m for m in got if m.text == "a").redelivered
        for message in got:
            message.release()
    child.stdin.close()
    child.stdout.close()


def test_two_processes_share_the_work_of_one_group(client, stream):
    producer, consumer = stream({"group": "g", "prefetch": 1})
    code = (
        "import atoll, sys\n"
        "with atoll.connect() as c, c.open_consumer(sys.argv[1], 'g', prefetch=1) as consumer:\n"
        "    print('ready', flush=True)\n"
        "    for m in consumer: print(m.text, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, producer.name], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    producer.send_many([str(i) for i in range(500)])
    producer.finish()
    mine = [int(message.text) for message in consumer]
    theirs = [int(line) for line in child.stdout]
    assert child.wait(ENOUGH) == 0
    child.stdout.close()
    assert sorted(mine + theirs) == list(range(500))


def test_what_a_forked_child_could_not_open_it_tries_again(client, names):
    name = names()
    client.create(name)
    consumer = client.open_consumer(name, group="x", exclusive=True)
    told, tell = os.pipe()
    done, do = os.pipe()

    def child():
        with pytest.raises(atoll.errors.GroupExclusive):
            consumer.receive(timeout=0)
        os.write(tell, b"x")
        os.read(done, 1)
        with pytest.raises(atoll.errors.TimedOut):
            consumer.receive(timeout=0)

    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            child()
            status = 0
        finally:
            os._exit(status)
    assert os.read(told, 1) == b"x"
    consumer.close()
    os.write(do, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for descriptor in (told, tell, done, do):
        os.close(descriptor)


def test_a_thread_that_comes_while_another_opens_an_inherited_handle_is_told_that_it_is_in_use(stream):
    producer, consumer = stream()

    def child():
        inside, go_on, got = threading.Event(), threading.Event(), []
        connect = atoll.Client._connect

        def held_up(client):
            inside.set()
            assert go_on.wait(ENOUGH)
            connect(client)

        atoll.Client._connect = held_up
        opening = threading.Thread(target=lambda: got.append(consumer.receive_bytes(timeout=ENOUGH)))
        opening.start()
        assert inside.wait(ENOUGH)
        with pytest.raises(atoll.InUse):
            consumer.receive_bytes(timeout=0)
        go_on.set()
        producer.send(b"x")
        opening.join()
        assert got == [b"x"]
        consumer.close()
        producer.close()

    assert forked(child) == 0


def test_a_forked_child_whose_first_connection_failed_connects_at_the_next_use(client):
    socket = os.environ["ATOLL_SOCKET"]
    alone = atoll.connect(start_broker=False)

    def child():
        os.rename(socket, socket + ".away")
        try:
            with pytest.raises(atoll.errors.NoBroker):
                alone.list()
        finally:
            os.rename(socket + ".away", socket)
        assert alone.status()["pid"]

    assert forked(child) == 0
    alone.close()
