"""Connecting, creating, listing, removing, and the errors of each."""
import os
import pickle
import select
import shutil
import subprocess
import sys
import tempfile

import pytest

import atoll
from conftest import ENOUGH


def test_connect_starts_the_broker_that_the_package_carries(client):
    executable = os.readlink(f"/proc/{client.status()['pid']}/exe")
    assert executable == os.path.join(os.path.dirname(atoll.__file__), "bin", "atolld")


def test_connect_without_a_broker_and_without_starting_one_is_no_broker(tmp_path):
    with pytest.raises(atoll.NoBroker) as caught:
        atoll.connect(tmp_path / "none.sock", start_broker=False)
    assert isinstance(caught.value, ConnectionError) and caught.value.fix


def test_a_socket_path_over_107_bytes_is_refused(tmp_path):
    with pytest.raises(atoll.SocketPathTooLong):
        atoll.connect("/tmp/" + "x" * 120 + "/atoll.sock")


def test_create_says_whether_it_created(client, name):
    assert client.create(name, capacity=8192) is True
    assert client.create(name, capacity=8192) is False


def test_other_options_than_the_segment_has_are_named_with_its_own(client, name):
    client.create(name, capacity=8192)
    with pytest.raises(atoll.ExistsWithOtherOptions, match="8192") as caught:
        client.create(name, capacity=16384)
    assert "16384" in str(caught.value) and caught.value.segment == name and isinstance(caught.value, FileExistsError)


@pytest.mark.parametrize("options", [{"size": 4096}, {"put_size": 10}, {"kind": "bytes", "size": 10, "capacity": 4096},
                                     {"kind": "bytes", "size": 10, "alignment": 64}, {"kind": "bytes", "size": 10, "when_full": "overwrite"}])
def test_an_option_of_the_other_kind_is_refused_and_nothing_made(client, name, options):
    with pytest.raises(atoll.InvalidArgument, match="kind") as caught:
        client.create(name, **options)
    assert caught.value.fix and name in str(caught.value)
    assert name not in [segment["name"] for segment in client.list()]


def test_an_access_list_that_is_no_mapping_is_refused(client, name):
    with pytest.raises(atoll.InvalidArgument, match="access"):
        client.create(name, access=["nobody:p"])


@pytest.mark.parametrize("bad", ["", "a b", "/a", "a//b", "../a", "x" * 129, "é", "a/.hidden"])
def test_a_bad_name_is_refused(client, bad):
    with pytest.raises(atoll.InvalidName):
        client.create(bad)


@pytest.mark.parametrize(
    "options",
    [{"kind": "table"}, {"when_full": "maybe"}, {"backing": "disk"}, {"alignment": 17}, {"capacity": -1}, {"size": 1 << 70, "kind": "bytes"}],
)
def test_options_out_of_their_range_are_refused(client, name, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        client.create(name, **options)


@pytest.mark.parametrize("kind, argument, most", [("stream", "capacity", (1 << 63) - 1), ("stream", "alignment", (1 << 32) - 1),
                                                  ("bytes", "size", (1 << 63) - 1), ("bytes", "put_size", (1 << 63) - 1)])
def test_a_number_out_of_range_or_none_at_all_is_refused_by_its_name(client, name, kind, argument, most):
    for number in (-1, most + 1, 1 << 64, 1 << 200):
        with pytest.raises(atoll.InvalidArgument, match=f"^{argument} must be from 0 to {most}"):
            client.create(name, kind, **{argument: number})
    for wrong in (4096.5, 0.0, "4096"):
        with pytest.raises(TypeError, match=f"^{argument} must be a whole number, not {type(wrong).__name__}$"):
            client.create(name, kind, **{argument: wrong})
    assert client.list(prefix=name) == []


@pytest.mark.parametrize("prefetch, error", [(-1, atoll.InvalidArgument), (65, atoll.InvalidArgument), (1 << 64, atoll.InvalidArgument), (1.5, TypeError)])
def test_a_prefetch_out_of_range_is_refused_by_its_name(client, name, prefetch, error):
    client.create(name)
    with pytest.raises(error, match="^prefetch must be"):
        client.open_consumer(name, prefetch=prefetch)


@pytest.mark.parametrize("rest", ["\0", "\0x", "\ud800"])
def test_a_text_with_a_nul_or_without_meaning_is_refused_and_never_cut(client, name, rest):
    client.create(name)
    client.create(name + "-bytes", "bytes", size=8)
    wrong = name + rest
    for call in (lambda: client.create(wrong), lambda: client.open_producer(wrong), lambda: client.open_consumer(wrong),
                 lambda: client.open_observer(wrong), lambda: client.open_bytes(name + "-bytes" + rest), lambda: client.open_consumer(name, "g" + rest)):
        with pytest.raises(atoll.InvalidName):
            call()
    for call in (client.remove, client.show, client.manifest):
        with pytest.raises((atoll.InvalidName, atoll.InvalidArgument)):
            call(wrong)
    for argument, value in (("directory", "/tmp"), ("access", "*:c")):
        with pytest.raises(atoll.InvalidArgument, match=argument):
            client.create(name + "-other", backing="file", **{argument: value + rest})
    with pytest.raises(atoll.InvalidArgument, match="socket"):
        atoll.connect(os.environ["ATOLL_SOCKET"] + rest)
    with pytest.raises(atoll.InvalidArgument, match="method"):
        client.call("List" + rest)
    assert sorted(segment["name"] for segment in client.list(prefix=name)) == [name, name + "-bytes"]
    assert client.show(name)["groups"] == []
    client.remove(name + "-bytes")


@pytest.mark.parametrize("argument", ["name", "group", "directory", "access", "socket"])
def test_what_is_no_text_is_a_type_error_that_names_the_argument(client, name, argument):
    client.create(name)
    calls = {
        "name": lambda: client.open_producer(7),
        "group": lambda: client.open_consumer(name, 7),
        "directory": lambda: client._core.create(name, kind=1, backing=1, when_full=0, capacity=None, alignment=None, size=None, put_size=None, directory=7, access=None),
        "access": lambda: client._core.create(name, kind=1, backing=1, when_full=0, capacity=None, alignment=None, size=None, put_size=None, directory=None, access=7),
        "socket": lambda: atoll.connect(b"/tmp/atoll.sock"),
    }
    with pytest.raises(TypeError, match=f"^{argument} must be a str, not (int|bytes)$"):
        calls[argument]()


def test_more_memory_than_there_is_is_no_space(client, name):
    with pytest.raises((atoll.NoSpace, atoll.LimitReached)) as caught:
        client.create(name, kind="bytes", size=1 << 45)
    assert caught.value.fix and isinstance(caught.value, OSError)
    assert name not in [segment["name"] for segment in client.list()]


def test_list_show_manifest_and_status_describe_a_segment(client, name):
    client.create(name, capacity=8192, when_full="drop-new", alignment=64)
    assert [segment["kind"] for segment in client.list() if segment["name"] == name] == ["stream"]
    assert [segment["name"] for segment in client.list(prefix=name)] == [name]
    assert client.show(name)["segment"]["name"] == name
    manifest = client.manifest(name)
    assert (manifest["capacity"], manifest["when_full"], manifest["alignment"]) == (8192, "drop-new", 64)
    assert client.show(name)["manifest"] == manifest
    assert client.status()["socket"] == os.environ["ATOLL_SOCKET"]


def test_a_segment_in_use_is_removed_only_by_force(client, name):
    client.create(name)
    with client.open_producer(name):
        with pytest.raises(atoll.InUse) as caught:
            client.remove(name)
        assert caught.value.segment == name
        client.remove(name, force=True)
    with pytest.raises(atoll.UnknownSegment):
        client.remove(name)


def test_one_group_can_be_removed(client, stream):
    producer, consumer = stream({"group": "one"})
    consumer.close()
    client.remove(producer.name, group="one")
    assert client.show(producer.name)["groups"] == []
    with pytest.raises(atoll.UnknownGroup):
        client.remove(producer.name, group="one")


def test_gc_plans_without_doing(client):
    plan = client.gc()
    assert set(plan) >= {"findings", "bytes"}


def test_any_method_of_the_broker_can_be_called_and_a_wrong_one_is_an_error(client):
    assert "segments" in client.call("List")
    with pytest.raises(atoll.AtollError):
        client.call("NoSuchMethod")
    with pytest.raises(atoll.AtollError, match="name"):
        client.call("Show", name=7)


def test_unknown_segments_and_wrong_kinds_are_named(client, names):
    missing, plain = names(), names()
    client.create(plain, kind="bytes", size=100)
    with pytest.raises(atoll.UnknownSegment) as caught:
        client.open_producer(missing)
    assert caught.value.segment == missing and isinstance(caught.value, FileNotFoundError)
    for opening in (client.open_producer, client.open_consumer, client.open_observer):
        with pytest.raises(atoll.WrongKind):
            opening(plain)
    client.create(missing)
    with pytest.raises(atoll.WrongKind):
        client.open_bytes(missing)


def test_waiting_for_a_segment_that_does_not_come_times_out(client, name):
    with pytest.raises(atoll.TimedOut):
        client.open_consumer(name, wait=0.02)


def test_a_closed_client_says_so_and_its_handles_go_on(name):
    client = atoll.connect()
    client.create(name)
    producer = client.open_producer(name)
    client.close()
    client.close()
    assert client.closed
    with pytest.raises(atoll.Closed):
        client.list()
    assert producer.send(b"x")
    producer.close()
    with atoll.connect() as other:
        other.remove(name, force=True)


@pytest.mark.parametrize("timeout", [-1, float("nan"), 10**400, "soon"], ids=["negative", "nan", "over a double", "text"])
def test_a_bad_timeout_is_refused(client, stream, timeout):
    producer, consumer = stream()
    error = TypeError if isinstance(timeout, str) else atoll.InvalidArgument
    for call in (lambda: consumer.receive(timeout=timeout), lambda: producer.send(b"x", timeout=timeout), lambda: atoll.connect(timeout=timeout)):
        with pytest.raises(error, match="^timeout must be"):
            call()
    with pytest.raises(error, match="^wait must be"):
        client.open_producer(producer.name, wait=timeout)


@pytest.mark.parametrize("limit", [None, float("inf"), 1e300])
def test_connecting_without_a_time_limit_starts_a_broker_like_any_other(limit):
    directory = tempfile.mkdtemp(prefix="p-")
    with atoll.connect(os.path.join(directory, "atoll.sock"), timeout=limit) as alone:
        status = alone.status()
        broker = os.pidfd_open(status["pid"])
        assert alone.list() == []
        alone.stop()
    assert select.select([broker], [], [], ENOUGH)[0]
    os.close(broker)
    for folder in (status["shm_directory"], directory):
        shutil.rmtree(folder, ignore_errors=True)


def test_errors_pickle_and_carry_code_name_segment_and_fix():
    error = atoll.UnknownSegment("no such", "a/b", "create it", 3)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.code, copy.name, copy.segment, copy.fix, copy.detail) == (atoll.UnknownSegment, 12, "unknown_segment", "a/b", "create it", 3)
    assert str(copy) == "no such\n  fix: create it"


def test_the_package_runs_the_command_it_carries():
    done = subprocess.run([sys.executable, "-c", "from atoll.command import atolld; atolld()", "--help"], capture_output=True, text=True, timeout=ENOUGH)
    assert done.returncode == 0 and "atolld" in done.stdout
