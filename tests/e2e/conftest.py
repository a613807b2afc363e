"""What the tests of the command `atoll` share: a shell in a fresh runtime directory, and a terminal."""
from __future__ import annotations

import fcntl
import os
import pathlib
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from dataclasses import dataclass

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support.broker import BUILD, Runtime, runtime  # noqa: E402, F401 (a fixture)

LIMIT = 60  # seconds; what hangs fails


@dataclass
class Ended:
    """A command line that has ended: its exit status as a shell sees it, and what it printed."""

    status: int
    out: str
    err: str = ""


class Shell:
    """Runs command lines, each in a new bash, with `atoll` in the PATH and a broker of the test's own."""

    def __init__(self, runtime: Runtime) -> None:  # noqa: F811
        self.runtime = runtime
        self.directory = runtime.directory
        self.environment = os.environ | runtime.environment
        self.environment["PATH"] = f"{BUILD / 'bin'}:{os.environ['PATH']}"
        for name in ("NO_COLOR", "COLUMNS"):
            self.environment.pop(name, None)
        self.environment |= {"TERM": "xterm", "LC_ALL": "C.UTF-8"}

    def __call__(self, line: str, check: bool = False, input: bytes | None = None) -> Ended:
        """What the line prints and its status; with check, status 0 is expected."""
        done = subprocess.run(["bash", "-c", line], env=self.environment, input=input, capture_output=True, timeout=LIMIT,
                              stdin=subprocess.DEVNULL if input is None else None)
        ended = Ended(done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="surrogateescape"))
        assert not check or ended.status == 0, ended
        return ended

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        """Starts `atoll` itself, without a shell. Unbuffered, so that communicate() goes on where readline() stopped."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "bufsize": 0} | options
        return subprocess.Popen([str(BUILD / "bin/atoll"), *arguments], env=self.environment, **options)

    def on_terminal(self, line: str, columns: int = 80, interrupt_at: bytes = b"", **environment: str) -> Ended:
        """The same with standard output and error on a terminal; both are in `out`. With interrupt_at the line
        gets SIGINT once it has printed that."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        mode = termios.tcgetattr(slave)
        mode[1] &= ~termios.OPOST  # what is written is what is read
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        # exec: a line that is one command becomes that command, which then gets the signal itself.
        process = subprocess.Popen(["bash", "-c", f"exec {line}" if interrupt_at else line], env=self.environment | environment,
                                   stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
        os.close(slave)
        read = bytearray()
        interrupted = threading.Event()

        def pump() -> None:
            try:
                while chunk := os.read(master, 65536):
                    read.extend(chunk)
                    if interrupt_at and interrupt_at in read and not interrupted.is_set():
                        interrupted.set()
                        process.send_signal(signal.SIGINT)
            except OSError:
                pass  # EIO: the last writer has closed it

        reader = threading.Thread(target=pump)
        reader.start()
        try:
            status = process.wait(LIMIT)
        finally:
            process.kill()
            reader.join(LIMIT)
            os.close(master)
        return Ended(status, read.decode(errors="surrogateescape"))


@pytest.fixture
def shell(runtime):  # noqa: F811
    return Shell(runtime)
