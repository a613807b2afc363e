"""Malformed and hostile control messages, from a client of the standard library: each its own error, and the
broker goes on serving others."""
import array
import json
import os
import socket
import subprocess

import pytest
from control_cases import CASES, hello
from support.broker import ATOLLD

shown: dict[str, str] = {}


class Raw:
    """A control connection without any library of Atoll."""

    def __init__(self, path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(str(path))

    def send(self, data: bytes, descriptors: int = 0) -> None:
        opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(descriptors)]
        try:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", opened))] if opened else []
            sent = self.socket.sendmsg([data], control)
            self.socket.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError):
            pass  # the broker has its answer ready already
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def reply(self) -> dict:
        """The next message; descriptors that come with it are closed. {} if the broker hung up."""
        data = b""
        while not data.endswith(b"\0"):
            try:
                more, descriptors, _, _ = socket.recv_fds(self.socket, 65536, 64)
            except ConnectionResetError:
                more, descriptors = b"", []
            for descriptor in descriptors:
                os.close(descriptor)
            if not more:
                assert not data, "the broker hung up in the middle of a message"
                return {}
            data += more
        return json.loads(data[:-1].split(b"\0")[-1])

    def close(self) -> None:
        self.socket.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_control_message(runtime, agents, case):
    witness = agents("C++")
    raw = Raw(runtime.socket)
    try:
        if case.after_hello:
            raw.send(hello())
            assert "error" not in raw.reply()
        raw.send(case.message(), case.descriptors)
        answer = raw.reply()
        assert answer.get("error", "").endswith("." + case.error), answer
        parameters = answer["parameters"]
        if answer["error"].startswith("dev.atoll."):
            assert parameters["message"] and parameters["fix"]
        for word in case.names:
            assert word in json.dumps(parameters), f"the error does not name {word}: {parameters}"
    finally:
        raw.close()
    assert witness.call("call", method="Status")["reply"]["pid"] > 0
    shown[case.id] = answer["error"]


def test_a_second_broker_is_refused_and_the_first_serves_on(runtime, agents):
    witness = agents("C++")
    second = subprocess.run([ATOLLD, "--socket", str(runtime.socket)], capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert "already" in second.stderr and str(runtime.directory) in second.stderr, second.stderr
    assert witness.call("call", method="Status")["reply"]["pid"] > 0


@pytest.mark.parametrize("option, status", [
    (["--socket", "/tmp/" + "x" * 120], 1), (["--no-such-option"], 2), (["--user-limit", "me:flowers=3"], 2), (["--config", "/nothing/there"], 2)])
def test_atolld_refuses_wrong_options_and_says_why(option, status):
    done = subprocess.run([ATOLLD, *option], capture_output=True, text=True, timeout=60)
    assert done.returncode == status and done.stderr.strip(), done
