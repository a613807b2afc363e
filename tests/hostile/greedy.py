"""A client that takes all it can get of one thing, as fast as it can, until it is killed.

Run by test_fairness.py, often as another user: greedy.py SOCKET KIND, KIND one of the functions below. With the standard library
alone. Prints "full" once it has been refused, or was at it for two seconds, and goes on.
"""
from __future__ import annotations

import itertools
import json
import os
import select
import socket
import sys
import time

from broker_client import CallError, Connection

STREAM = {"kind": "stream", "capacity": 4096}
started = time.monotonic()
told = False


def full(really: bool = True) -> None:
    """Says so, once."""
    global told
    if not told and (really or time.monotonic() - started > 2):
        told = True
        print("full", flush=True)


def name(number: int) -> str:
    return f"{os.getuid()}/greedy-{os.getpid()}-{number}"


def connect(path: str) -> Connection:
    while True:
        connection = Connection(path)
        try:
            connection.hello()
            return connection
        except (CallError, OSError):
            connection.close()


def until_refused(action) -> None:
    """action(0), action(1), ... : for ever. What is refused is asked for again."""
    for number in itertools.count():
        try:
            action(number)
            full(False)
        except CallError as error:
            if error.name not in ("LimitReached", "TooManyLanes", "NoSpace"):
                raise
            full()


def connections(path):
    held = []
    while True:
        connection = Connection(path)
        try:
            connection.send("Status")
            reply, _ = connection.receive()
        except OSError:
            reply = {"error": "dropped"}
        if "error" in reply:
            full()
            connection.close()
        else:
            held.append(connection)


def knocks(path):
    """Connects and does not even wait to be served."""
    held = []
    while True:
        knock = socket.socket(socket.AF_UNIX)
        knock.connect(path)
        held.append(knock)
        full(False)
        if len(held) == 500:
            for each in held:
                each.close()
            held = []


def segments(path):
    connection = connect(path)
    until_refused(lambda number: connection.call("Create", name=name(number), options=STREAM))


def lanes(path):
    connection = connect(path)
    connection.call("Create", name=name(0), options=STREAM)
    made = [0]

    def one_more(number):
        try:
            connection.attach(name(made[-1]), "produce")
        except CallError as error:
            if error.name == "TooManyLanes":
                made.append(number)
                connection.call("Create", name=name(number), options=STREAM)
            else:
                raise
        for fd in connection.received:
            os.close(fd)
        connection.received = []

    until_refused(one_more)


def bytes_of_memory(path):
    connection = connect(path)
    until_refused(lambda number: connection.call("Create", name=name(number), options={"kind": "bytes", "size": 4 << 20, "put_size": 0}))


def churn(path):
    """Large segments, made and removed again and again: the broker reserves each byte of them."""
    connection = connect(path)
    size = 256 << 20
    while True:
        try:
            connection.call("Create", name=name(0), options={"kind": "bytes", "size": size, "put_size": 0})
            connection.call("Remove", name=name(0))
            full(False)
        except CallError:
            size //= 2  # /dev/shm is small


def attachments(path):
    connection = connect(path)
    connection.call("Create", name=name(0), options=STREAM)

    def one_more(_):
        connection.attach(name(0), "observe")
        for fd in connection.received:
            os.close(fd)
        connection.received = []

    until_refused(one_more)


def waits(path):
    held = []
    while True:
        connection = connect(path)
        connection.send("Await", {"name": name(0), "wait_ms": -1})
        refused = select.select([connection.socket], [], [], 0.005)[0]
        if refused:
            full()
            connection.close()
        else:
            held.append(connection)


def slots(path):
    """Comes, takes something, and leaves its place taken: its process goes on."""
    first = connect(path)
    first.call("Create", name=name(0), options=STREAM)
    while True:
        try:
            connection = Connection(path)
            connection.hello()
            connection.attach(name(0), "observe")
        except CallError:
            full()
        except OSError:
            pass
        connection.close()


def calls(path):
    """Many connections, each with as many calls on the way as it takes, some of them dear."""
    first = connect(path)
    for number in range(200):
        first.call("Create", name=name(number), options=STREAM)
    held = [connect(path) for _ in range(40)]
    batch = json.dumps({"method": "dev.atoll.Broker.List", "parameters": {"prefix": name(0)[:-2]}}).encode() + b"\0"
    batch += b'{"method":"dev.atoll.Broker.Status"}\0' * 20
    for connection in held:
        connection.socket.setblocking(False)
    while True:
        readable, writable, _ = select.select([c.socket for c in held], [c.socket for c in held], [])
        for each in writable:
            try:
                each.send(batch * 10)
            except BlockingIOError:
                pass
            except OSError:
                held = [c for c in held if c.socket is not each]
        for each in readable:
            try:
                each.recv(1 << 20)
            except OSError:
                pass
        if len(held) < 20:
            held.append(connect(path))
            held[-1].socket.setblocking(False)
        full(False)


def descriptors(path):
    """Asks for descriptors and leaves them where they are: in its end of connections whose other end is closed."""
    first = connect(path)
    first.call("Create", name=name(0), options=STREAM)
    held = []
    call = json.dumps({"method": "dev.atoll.Broker.Attach", "parameters": {"name": name(0), "role": "observe"}}).encode() + b"\0"
    while True:
        if len(held) > 300:
            held.pop().close()  # the first ones hold most: later it gets no slots
        connection = Connection(path)
        held.append(connection)
        try:
            connection.send("Hello", {"interface_version": 1, "library": "greedy", "language": "python"})
            connection.socket.sendall(call * 30)
            connection.socket.shutdown(socket.SHUT_WR)
            ended = select.poll()
            ended.register(connection.socket, select.POLLHUP)
            ended.poll(500)
        except OSError:
            pass
        full(len(held) > 80)


if __name__ == "__main__":
    KINDS = {kind.__name__: kind for kind in (connections, knocks, segments, lanes, churn, attachments, waits, slots, calls, descriptors)}
    (KINDS | {"bytes": bytes_of_memory})[sys.argv[2]](sys.argv[1])
