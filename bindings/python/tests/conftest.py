"""A broker of the tests' own, in a directory of its own, that must end and leave nothing.

It is the one the package carries, started by the first connect(). Each test gets a connection (`client`) and
names of segments (`name`, `names`) that are removed after it.
"""
import contextlib
import itertools
import os
import pathlib
import select
import shutil
import tempfile

import pytest

import atoll

ENOUGH = 30.0  # seconds, for what must come; far above what it takes


@pytest.fixture(scope="session", autouse=True)
def runtime():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="p-"))
    before = {name: os.environ.pop(name, None) for name in ("ATOLL_SOCKET", "ATOLLD")}
    os.environ["ATOLL_SOCKET"] = str(directory / "atoll.sock")
    yield directory
    with contextlib.suppress(atoll.NoBroker), atoll.connect(start_broker=False) as client:
        status = client.status()
        left = [segment["name"] for segment in client.list()]
        for name in left:
            client.remove(name, force=True)
        broker = os.pidfd_open(status["pid"])
        client.stop()
        assert select.select([broker], [], [], ENOUGH)[0], "the broker does not end"
        os.close(broker)
        assert left == [], "tests left segments"
        assert [path for path in pathlib.Path(status["shm_directory"]).glob("*@*")] == []
        shutil.rmtree(status["shm_directory"], ignore_errors=True)
    shutil.rmtree(directory)
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture
def client():
    with atoll.connect() as connected:
        yield connected


_numbers = itertools.count()


@pytest.fixture
def names(client):
    """A function that makes names; their segments are removed after the test."""
    made = []

    def new():
        made.append(f"test-{os.getpid()}-{next(_numbers)}")
        return made[-1]

    yield new
    for name in made:
        with contextlib.suppress(atoll.UnknownSegment):
            client.remove(name, force=True)


@pytest.fixture
def name(names):
    return names()


@pytest.fixture
def stream(client, names):
    """A function that makes a stream and gives a producer and a consumer of it; they are closed after the test."""
    with contextlib.ExitStack() as stack:

        def new(consumer=None, **options):
            name = names()
            client.create(name, **{"capacity": 65536, **options})
            producer = client.open_producer(name)
            reader = client.open_consumer(name, **(consumer or {}))
            stack.callback(reader.close, release=True)
            stack.callback(producer.close)
            return producer, reader

        yield new
