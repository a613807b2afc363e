"""Connecting, creating, listing, removing, and the errors of each."""
import os
import pickle
import subprocess
import sys

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


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon"])
def test_a_bad_timeout_is_refused(stream, timeout):
    producer, consumer = stream()
    with pytest.raises((ValueError, TypeError)):
        consumer.receive(timeout=timeout)
    with pytest.raises((ValueError, TypeError)):
        producer.send(b"x", timeout=timeout)
    with pytest.raises((ValueError, TypeError)):
        atoll.connect(timeout=timeout)


def test_errors_pickle_and_carry_code_name_segment_and_fix():
    error = atoll.UnknownSegment("no such", "a/b", "create it", 3)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.code, copy.name, copy.segment, copy.fix, copy.detail) == (atoll.UnknownSegment, 12, "unknown_segment", "a/b", "create it", 3)
    assert str(copy) == "no such\n  fix: create it"


def test_the_package_runs_the_command_it_carries():
    done = subprocess.run([sys.executable, "-c", "from atoll.command import atolld; atolld()", "--help"], capture_output=True, text=True, timeout=ENOUGH)
    assert done.returncode == 0 and "atolld" in done.stdout
