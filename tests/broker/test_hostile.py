"""Broken and hostile clients: each gets its own error or is dropped, and the broker serves the others."""
import json
import os
import resource
import socket
import time

import pytest

from broker_client import *


@pytest.fixture(autouse=True)
def still_serves(broker):
    yield
    assert broker.process.poll() is None, broker.log_text()
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name="still-here", options={"kind": "stream", "capacity": 4096})
    connection.attach("still-here", "produce")


def raw(broker, data):
    connection = broker.connect()
    connection.socket.sendall(data)
    return connection


def nested(depth):
    return b'{"method":"dev.atoll.Broker.Status","parameters":{"a":' + b"[" * depth + b"]" * depth + b"}}\0"


@pytest.mark.parametrize("frame,said", [
    (b"\0", "not JSON"),
    (b"hello\0", "not JSON"),
    (b"[1,2]\0", "no JSON object"),
    (b'{"method":"dev.atoll.Broker.Status"\0', "not JSON"),
    (b'{"method":"\xff\xfe"}\0', "not JSON"),
    (b'{"method":"x","method":"y"}\0', "'method' twice"),
    (b'{"method":"x","parameters":{"options":{"a":1,"a":2}}}\0', "'parameters.options.a' twice"),
    (nested(15), "nested deeper than 16"),
    (nested(1500), "nested deeper than 16"),
    (b"\x7fELF\x02\x01\x01" + b"\0" * 9, "not JSON"),
    (b"GET / HTTP/1.1\r\n\r\n\0", "not JSON"),
])
def test_what_is_no_message_is_answered_and_ends_the_connection(broker, frame, said):
    connection = raw(broker, frame)
    reply, _ = connection.receive()
    assert reply["error"] == "dev.atoll.Broker.ProtocolError" and said in reply["parameters"]["message"], reply
    assert reply["parameters"]["message"].isprintable()
    with pytest.raises((ConnectionError, OSError)):
        while True:
            connection.receive()


def test_too_many_keys_are_refused(broker):
    keys = ",".join(f'"k{number}":0' for number in range(5000))
    connection = raw(broker, b'{"method":"dev.atoll.Broker.Hello","parameters":{' + keys.encode() + b"}}\0")
    assert "4096 keys" in connection.receive()[0]["parameters"]["message"]


def test_a_first_call_is_short_unless_it_is_a_hello(broker):
    long = json.dumps({"method": "dev.atoll.Broker.List", "parameters": {"prefix": "x" * 5000}}).encode() + b"\0"
    assert "4096 bytes" in raw(broker, long).receive()[0]["parameters"]["message"]
    connection = broker.connect()
    connection.call("Status")
    assert connection.call("List", prefix="x" * 5000)[0]["segments"] == []
    rows = [{"name": "s", "generation": 1, "attachment": number, "role": "observe"} for number in range(300)]
    assert len(broker.connect().hello(attachments=rows)[0]["lost"]) == 300


def test_a_frame_without_an_end_is_cut_off(broker):
    connection = broker.connect()
    connection.hello()
    try:
        connection.socket.sendall(b"x" * 200000)
    except OSError:
        pass
    assert "65536 bytes" in connection.receive()[0]["parameters"]["message"]


@pytest.mark.parametrize("message,error", [
    ({}, "InvalidParameter"), ({"method": 5}, "InvalidParameter"), ({"method": None}, "InvalidParameter"),
    ({"method": "dev.atoll.Broker.Status", "parameters": []}, "InvalidParameter"),
    ({"method": "dev.atoll.Broker.Status", "parameters": "x"}, "InvalidParameter"),
    ({"method": "dev.atoll.Broker.Status", "upgrade": True}, "InvalidParameter"),
    ({"method": "dev.atoll.Broker."}, "MethodNotFound"), ({"method": ""}, "InterfaceNotFound"), ({"method": "." * 500}, "InterfaceNotFound"),
])
def test_what_is_json_but_no_call_gets_varlinks_own_error_and_the_connection_stays(broker, message, error):
    connection = raw(broker, json.dumps(message).encode() + b"\0")
    assert connection.receive()[0]["error"] == "org.varlink.service." + error
    connection.call("Status")


def test_a_oneway_call_is_not_answered(broker):
    connection = raw(broker, b'{"method":"dev.atoll.Broker.Status","oneway":true}\0{"method":"dev.atoll.Broker.List"}\0')
    assert "segments" in connection.receive()[0]["parameters"]


@pytest.mark.parametrize("method", ["Hello", "Create", "Attach", "Await", "Refresh", "Detach", "Remove", "List", "Show", "Manifest", "Gc", "Status", "Stop"])
@pytest.mark.parametrize("value", [None, 0, -1, 1 << 63, 1.5, True, "", "\x00", "x" * 1000, [], [[]], {}, {"a": {"b": [1]}}])
def test_every_parameter_may_be_anything(broker, method, value):
    fields = {
        "Hello": ["interface_version", "library", "language", "token", "slot", "slot_generation", "attachments"],
        "Create": ["name", "options"], "Attach": ["name", "role", "group", "group_options", "writable", "wait_ms"], "Await": ["name", "wait_ms"],
        "Refresh": ["attachment", "lanes", "groups"], "Detach": ["attachment"], "Remove": ["name", "group", "force"], "List": ["prefix"],
        "Show": ["name"], "Manifest": ["name"], "Gc": ["apply"], "Status": ["what"], "Stop": ["what"],
    }
    good = {"interface_version": 1, "library": "t", "language": "t", "name": "s", "options": {"kind": "stream"}, "role": "observe", "attachment": 1,
            "lanes": [], "groups": [], "wait_ms": 0}
    setup = broker.connect()
    setup.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    for field in fields[method]:
        if method == "Stop" and value is None:
            continue  # null is absent: that would be a good Stop
        connection = broker.connect()
        if method != "Hello":
            connection.hello()
        parameters = {key: good[key] for key in fields[method] if key in good}
        try:
            connection.call(method, **{**parameters, field: value})
        except CallError as error:
            assert error.parameters["message"] and error.parameters["fix"], (method, field, value)


def test_one_byte_at_a_time_is_served_but_not_for_ever(broker):
    connection = broker.connect()
    for byte in b'{"method":"dev.atoll.Broker.Status"}\0':
        connection.socket.sendall(bytes([byte]))
    assert connection.receive()[0]["parameters"]["pid"]
    started = time.monotonic()
    silent = broker.connect()
    with pytest.raises(ConnectionError):
        silent.receive()
    assert 1.5 < time.monotonic() - started < 10, "the first call must arrive within 2 s"


def test_descriptors_that_nobody_asked_for_are_closed_and_end_the_connection(broker):
    before = len(os.listdir(f"/proc/{broker.process.pid}/fd"))
    for _ in range(20):
        connection = broker.connect()
        read, write = os.pipe()
        connection.send("Status", {}, [read] * 50)
        with pytest.raises((CallError, ConnectionError)):
            reply, _ = connection.receive()
            raise CallError(reply)
        os.close(read)
        os.close(write)
        connection.close()
    hello = broker.connect()
    read, write = os.pipe()
    hello.hello([read, write])
    hello.close()
    eventually(lambda: len(os.listdir(f"/proc/{broker.process.pid}/fd")) <= before, "nothing is kept open")


def test_a_client_that_never_reads_is_dropped_and_holds_nobody_up(broker):
    setup = broker.connect()
    for number in range(200):
        setup.call("Create", name=f"a-rather-long-name-so-that-replies-are-long/{number}", options={"kind": "stream", "capacity": 4096})
    deaf = broker.connect()
    deaf.socket.settimeout(1)
    call = json.dumps({"method": "dev.atoll.Broker.List"}).encode() + b"\0"
    with pytest.raises(OSError):
        for _ in range(100000):
            deaf.socket.sendall(call)
    assert "does not read" in eventually(lambda: "does not read" in broker.log_text() and broker.log_text() or "did not read" in broker.log_text() and broker.log_text(), "it is dropped").replace("did not read", "does not read")


def test_too_many_connections_get_a_reason_and_others_are_served():
    with Broker("--max-connections", "5", "--program-share", "100") as broker:
        first = broker.connect()
        eventually(lambda: first.call("Status")[0]["connections"] == 1, "the one that looked whether it serves is gone")
        held = [first] + [broker.connect() for _ in range(4)]
        for connection in held:
            connection.call("Status")
        over = broker.connect()
        with pytest.raises(CallError) as error:
            over.call("Status")
        assert error.value.name == "LimitReached" and "5 connections" in str(error.value)
        for connection in held:
            connection.close()
        eventually(broker.serves, "it serves again")


def test_connecting_too_often_is_slowed_down():
    with Broker("--connection-rate", "20", "--connection-burst", "10") as broker:
        started = time.monotonic()
        for _ in range(30):
            connection = Connection(broker.path)
            connection.call("Status")
            connection.close()
        assert time.monotonic() - started > 0.9, "20 of them came at 20 a second"


def test_connecting_much_too_often_is_refused():
    with Broker("--connection-rate", "10", "--connection-burst", "5") as broker:
        flood = [Connection(broker.path) for _ in range(60)]
        for connection in flood:
            connection.send("Status")
        refused = 0
        for connection in flood:
            reply, _ = connection.receive()
            if "error" in reply:
                assert reply["error"].endswith("LimitReached") and "10 times a second" in reply["parameters"]["message"]
                refused += 1
            connection.close()
        assert 20 < refused < 50
        eventually(broker.serves, "after a while it serves again")


def test_without_descriptors_newcomers_are_dropped_and_the_broker_goes_on(broker):
    used = len(os.listdir(f"/proc/{broker.process.pid}/fd"))
    _, most = resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (used + 6, most))
    held = []
    for _ in range(20):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(broker.path)
        held.append(connection)
    eventually(lambda: "no descriptor is left" in broker.log_text(), "it says so")
    assert broker.log_text().count("no descriptor is left") == 1
    for connection in held:
        connection.close()
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (most, most))
    eventually(broker.serves, "it serves again")
