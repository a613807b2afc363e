"""Control messages that no library sends, and what the broker must answer: used by test_control_socket.py."""
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass


def call(method: str, parameters=None, interface: str = "dev.atoll.Broker") -> bytes:
    return json.dumps({"method": f"{interface}.{method}", "parameters": {} if parameters is None else parameters}).encode() + b"\0"


def hello() -> bytes:
    return call("Hello", {"interface_version": 1, "library": "test", "language": "Python"})


@dataclass(frozen=True)
class ControlCase:
    title: str
    error: str
    message: Callable[[], bytes]
    names: tuple[str, ...] = ()  # words that the answer must hold: the field, the limit
    after_hello: bool = True
    descriptors: int = 0

    @property
    def id(self) -> str:
        return self.title.replace(" ", "_")


CASES = [
    ControlCase("what is no JSON", "ProtocolError", lambda: b"{nonsense\0"),
    ControlCase("a list instead of an object", "ProtocolError", lambda: b"[1,2]\0"),
    ControlCase("an empty message", "ProtocolError", lambda: b"\0"),
    ControlCase("a message that is not UTF-8", "ProtocolError", lambda: b'{"method":"\xff\xfe"}\0'),
    ControlCase("a message nested 100 deep", "ProtocolError", lambda: b'{"method":"dev.atoll.Broker.List","parameters":' + b"[" * 100 + b"]" * 100 + b"}\0"),
    ControlCase("a key given twice", "ProtocolError", lambda: b'{"method":"dev.atoll.Broker.List","method":"dev.atoll.Broker.Stop"}\0'),
    ControlCase("a message of 5000 keys", "ProtocolError", lambda: call("List", {str(i): 0 for i in range(5000)})),
    ControlCase("a message over the limit", "ProtocolError", lambda: call("List", {"prefix": "x" * 70_000})),
    ControlCase("a first message over its limit", "ProtocolError", lambda: call("List", {"prefix": "x" * 5_000}), after_hello=False),
    ControlCase("a call before Hello", "ProtocolError", lambda: call("Attach", {"name": "s", "role": "observe"}), ("Hello",), after_hello=False),
    ControlCase("a Hello of another interface version", "WrongVersion",
                lambda: call("Hello", {"interface_version": 999, "library": "t", "language": "t"}), ("999", "1"), after_hello=False),
    ControlCase("a missing field", "ProtocolError", lambda: call("Create", {"options": {"kind": "stream"}}), ("name",)),
    ControlCase("a field of the wrong type", "ProtocolError", lambda: call("Create", {"name": 5, "options": {"kind": "stream"}}), ("name",)),
    ControlCase("a field that does not exist", "ProtocolError", lambda: call("Create", {"name": "s", "options": {"kind": "stream", "colour": 1}}), ("colour",)),
    ControlCase("a negative capacity", "InvalidArgument", lambda: call("Create", {"name": "s", "options": {"kind": "stream", "capacity": -1}}), ("capacity",)),
    ControlCase("a capacity that is a fraction", "InvalidArgument", lambda: call("Create", {"name": "s", "options": {"kind": "stream", "capacity": 0.5}}), ("capacity",)),
    ControlCase("a kind that does not exist", "InvalidArgument", lambda: call("Create", {"name": "s", "options": {"kind": "carpet"}}), ("carpet",)),
    ControlCase("a name that climbs out", "InvalidName", lambda: call("Create", {"name": "a/../b", "options": {"kind": "stream"}}), ("a/../b",)),
    ControlCase("a method that does not exist", "MethodNotFound", lambda: call("Fly"), ("Fly",)),
    ControlCase("an interface that does not exist", "InterfaceNotFound", lambda: call("Fly", interface="org.example"), ("org.example",)),
    ControlCase("no method at all", "InvalidParameter", lambda: b'{"parameters":{}}\0', ("method",)),
    # Before Hello: after it, newer kernels refuse to send them at all (SO_PASSRIGHTS).
    ControlCase("more descriptors than are taken", "ProtocolError", lambda: call("List"), ("descriptors",), after_hello=False, descriptors=100),
]
