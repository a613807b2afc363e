"""Bytes segments: in place, and as one content that is put and got."""
import gc
import threading

import pytest

import atoll
from conftest import ENOUGH


@pytest.fixture
def segment(client, names):
    """A function that makes a bytes segment and opens it in the modes asked for."""

    def new(*modes, size=4096, **options):
        name = names()
        client.create(name, "bytes", size=size, **options)
        return [client.open_bytes(name, mode) for mode in modes]

    return new


def test_what_one_handle_writes_another_reads(segment):
    writer, reader = segment("r+", "r")
    writer.write_at(4090, b"ending")
    assert reader.read_at(4088, 8) == b"\0\0ending"
    writer.data[:5] = b"hello"
    assert reader.data[:5] == b"hello" and len(reader) == reader.size == 4096
    writer.flush()
    writer.flush(0, 100, wait=False)


def test_read_only_data_can_not_be_written(segment):
    (reader,) = segment("r")
    assert reader.data.readonly and reader.mode == "r"
    with pytest.raises(TypeError):
        reader.data[0] = 1
    for call in (lambda: reader.write_at(0, b"x"), lambda: reader.put(b"x")):
        with pytest.raises(PermissionError):
            call()
    np = pytest.importorskip("numpy")
    with pytest.raises(ValueError):
        np.frombuffer(reader, "u1")[0] = 1


def test_changes_of_a_copy_stay_private(segment):
    copy, reader = segment("c", "r")
    copy.data[:4] = b"mine"
    copy.write_at(4, b"!")
    assert copy.read_at(0, 5) == b"mine!" and reader.read_at(0, 5) == bytes(5)
    with pytest.raises(atoll.NotPermitted):
        copy.put(b"x")


def test_numpy_sees_it_in_place(segment):
    np = pytest.importorskip("numpy")
    writer, reader = segment("r+", "r")
    np.frombuffer(writer, "<f8")[:3] = [1, 2, 3]
    assert np.frombuffer(reader, "<f8", 3).tolist() == [1, 2, 3]


@pytest.mark.parametrize("offset, length", [(4090, 7), (5000, 1), (0, 4097), (2**63, 1), (2**64 - 1, 2), (-1, 1), (0, -1), (2**70, 1)])
def test_a_range_outside_is_refused(segment, offset, length):
    (writer,) = segment("r+")
    with pytest.raises(atoll.InvalidArgument):
        writer.read_at(offset, length)
    if length > 0:
        with pytest.raises(atoll.InvalidArgument):
            writer.write_at(offset, bytes(length))


@pytest.mark.parametrize("mode", ["w", "", None, 1])
def test_an_unknown_mode_is_refused(client, names, mode):
    name = names()
    client.create(name, "bytes", size=10)
    with pytest.raises((atoll.InvalidArgument, TypeError), match="mode"):
        client.open_bytes(name, mode)


def test_get_gives_what_was_put_with_its_version(segment):
    writer, reader = segment("r+", "r")
    with pytest.raises(atoll.TimedOut):
        reader.get(timeout=0)
    for version, content in enumerate([b"one", b"", b"three" * 500, b"4"], start=1):
        writer.put(content)
        assert reader.get_versioned(timeout=0) == (content, version)
        assert reader.get() == content
        assert (reader.version, reader.length) == (version, len(content))
    with pytest.raises(TimeoutError):
        reader.get(after=4, timeout=0.02)


def test_a_get_waits_for_a_newer_and_longer_content(segment):
    writer, reader = segment("r+", "r", size=1 << 20)
    writer.put(b"short")
    got = []
    waiting = threading.Thread(target=lambda: got.append(reader.get_versioned(after=1, timeout=ENOUGH)))
    waiting.start()
    writer.put(b"long" * 100_000)
    waiting.join()
    assert got == [(b"long" * 100_000, 2)]


def test_a_content_is_never_torn(segment):
    writer, reader = segment("r+", "r", size=100_000)
    done = threading.Event()

    def put():
        for i in range(2000):
            writer.put(bytes([i % 256]) * (100_000 if i % 2 else 50_000))
        done.set()

    putting = threading.Thread(target=put)
    putting.start()
    version = 0
    while not done.is_set():
        try:
            content, version = reader.get_versioned(version, timeout=1)
        except atoll.TimedOut:
            continue
        assert content == content[:1] * len(content)
        assert len(content) == (50_000 if version % 2 else 100_000)
    putting.join()


def test_a_put_longer_than_put_size_is_too_large(segment):
    (writer,) = segment("r+", put_size=100)
    assert writer.put_size == 100
    writer.put(b"x" * 100)
    with pytest.raises(atoll.TooLarge) as caught:
        writer.put(b"x" * 101)
    assert caught.value.detail == 100
    (none,) = segment("r+", put_size=0)
    with pytest.raises(atoll.TooLarge):
        none.put(b"x")


def test_close_is_refused_while_a_view_lives(segment):
    (writer,) = segment("r+")
    view = writer.data[10:20]
    with pytest.raises(BufferError):
        writer.close()
    view[:2] = b"ok"
    view.release()
    writer.close()
    writer.close()
    for use in (lambda: writer.data, lambda: writer.read_at(0, 1), lambda: writer.get(timeout=0), lambda: len(writer)):
        with pytest.raises(atoll.Closed):
            use()


def test_a_view_keeps_the_memory_when_everything_else_is_gone(client, segment):
    (writer,) = segment("r+")
    name, view = writer.name, writer.data
    view[:4] = b"kept"
    client.remove(name, force=True)
    del writer
    gc.collect()
    assert view[:4] == b"kept"


def test_a_with_block_closes_and_its_own_exception_is_not_hidden_by_views(segment):
    (writer,) = segment("r+")
    with writer as same:
        assert same is writer
    assert writer.closed
    (writer,) = segment("r+")
    view = None
    with pytest.raises(KeyError), writer:
        view = writer.data
        raise KeyError
    assert len(view) == 4096


def test_files_survive_in_their_directory(client, name, tmp_path):
    client.create(name, "bytes", size=4096, backing="file", directory=tmp_path)
    with client.open_bytes(name, "r+") as writer:
        writer.write_at(0, b"on disk")
        writer.flush()
    assert any(b"on disk" in path.read_bytes() for path in tmp_path.rglob("data"))


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_numbers_out_of_range_are_refused_by_name(client, names, number):
    name = names()
    client.create(name, kind="bytes", size=64)
    memory = client.open_bytes(name, mode="r+")
    for call in (lambda: memory.get(after=number, timeout=0), lambda: memory.get_versioned(after=number, timeout=0)):
        with pytest.raises(atoll.errors.InvalidArgument, match="after"):
            call()
    with pytest.raises(atoll.errors.InvalidArgument, match="offset"):
        memory.flush(number)
    with pytest.raises(atoll.errors.InvalidArgument, match="start"):
        client.open_consumer(name, start=number)
