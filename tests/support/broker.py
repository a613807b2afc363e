"""A broker in a fresh runtime directory of its own, for pytest suites.

`runtime` (a fixture made by importing this in a conftest.py) sets ATOLL_SOCKET to a new socket, and
stops and checks the broker afterwards: it must end, and leave nothing.
"""
from __future__ import annotations

import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid

import pytest

from .leftovers import broker_folders

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ATOLL_BUILD", ROOT / "build"))
ATOLLD = os.environ.get("ATOLLD", str(BUILD / "bin/atolld"))
ATOLL = str(BUILD / "bin/atoll")


def wait_for_end(pid: int, seconds: float) -> bool:
    """True when the process has ended; a child is not reaped."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def broker_pids(directory: pathlib.Path) -> list[int]:
    """Every running atolld that serves a socket in the directory."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                words = pathlib.Path(f"/proc/{entry.name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words and words[0].endswith(b"atolld") and any(str(directory).encode() in word for word in words):
                found.append(int(entry.name))
    return found


def start_broker(socket_path: pathlib.Path, *options: str, prefix: list[str] | None = None,
                 environment: dict[str, str] | None = None) -> subprocess.Popen:
    """Starts a broker in the foreground and returns when it says that it is ready, as it would to systemd, or ended."""
    address = "\0atoll-test-" + uuid.uuid4().hex
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        broker = subprocess.Popen([*(prefix or []), ATOLLD, "--socket", str(socket_path), *options], stderr=subprocess.DEVNULL,
                                  env=os.environ | (environment or {}) | {"NOTIFY_SOCKET": "@" + address[1:]})
        ended = os.pidfd_open(broker.pid)
        try:
            while True:
                readable = select.select([notify, ended], [], [], 30)[0]
                assert readable, "the broker does not get ready"
                if ended in readable or b"READY=1" in notify.recv(4096):
                    return broker
        finally:
            os.close(ended)


def stop_broker(broker: subprocess.Popen) -> None:
    """Ends a broker with SIGTERM; it must end by itself."""
    broker.terminate()
    try:
        broker.wait(20)
    except subprocess.TimeoutExpired:
        broker.kill()
        broker.wait()
        raise AssertionError("the broker does not end on SIGTERM") from None


class Runtime:
    """A runtime directory and what runs in it."""

    def __init__(self) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="r-"))
        self.socket = self.directory / "atoll.sock"
        self.environment = {"ATOLL_SOCKET": str(self.socket), "ATOLLD": ATOLLD}

    def atoll(self, *arguments: str, check: bool = True, **options) -> subprocess.CompletedProcess:
        """Runs the command `atoll` here."""
        return subprocess.run([ATOLL, *arguments], env=os.environ | self.environment, capture_output=True, timeout=60,
                              check=check, **options)

    def kill_broker(self) -> None:
        assert self.kill_broker_if_any(), "no broker runs here"

    def kill_broker_if_any(self) -> bool:
        pids = broker_pids(self.directory)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            assert wait_for_end(pid, 10)
        return bool(pids)

    def shared_memory(self) -> list[pathlib.Path]:
        return [folder for folder, runtime in broker_folders() if runtime == str(self.directory)]

    def segments(self) -> list[pathlib.Path]:
        """The folders of segments in shared memory."""
        return [entry for folder in self.shared_memory() for entry in folder.iterdir() if "@" in entry.name]

    def close(self) -> None:
        for pid in broker_pids(self.directory):
            os.kill(pid, signal.SIGTERM)
            if not wait_for_end(pid, 10):
                os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"the broker {pid} does not end on SIGTERM")
        for folder in self.shared_memory():
            shutil.rmtree(folder)
        shutil.rmtree(self.directory)


@pytest.fixture
def runtime(monkeypatch):
    """A fresh runtime directory; ATOLL_SOCKET says so to everything started in the test."""
    made = Runtime()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()
