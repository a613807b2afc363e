"""Calls of the C library that fail when they are told to, in processes that run: for the tests of this folder.

`Faults` is the file that failing.cpp reads in one process: a test arms it before an operation, disarms it afterwards, and hears
whether a call failed. A `Kind` is a shortage, by the calls that it lets fail and how. What was injected is counted for the
line at the end of the suite.
"""
from __future__ import annotations

import collections
import errno
import mmap
import os
import pathlib
import struct
from dataclasses import dataclass

from support.agents import BUILD

LIBRARY = BUILD / "lib/libatoll_failing.so"
# In the order of Call in failing.cpp.
CALLS = ("open create socket accept memfd epoll_create epoll_control epoll_wait signalfd eventfd pipe pidfd peer_pidfd "
         "rights receive send connect bind reserve write write_at read read_at make_directory rename unlink truncate "
         "sync map control stat room sleep poll thread allocate random change_mode list fork").split()
ANSWERING = ("accept", "receive", "send", "read")
FOR_GOOD = 1 << 40

injected: collections.Counter[str] = collections.Counter()  # failed calls, by operation


@dataclass(frozen=True)
class Kind:
    error: int
    calls: tuple[str, ...]
    half: bool = False
    again: int = FOR_GOOD  # how many fail when it is not one only

    def mask(self, once: bool) -> int:
        """What would leave a client without any answer is not among those that fail from then on: it would wait for its time limit."""
        return sum(1 << CALLS.index(call) for call in self.calls if once or self.half or self.error == errno.EINTR or call not in ANSWERING)


KINDS = {
    "no space": Kind(errno.ENOSPC, ("create", "memfd", "reserve", "write", "write_at", "make_directory", "rename", "truncate", "sync", "epoll_control")),
    "half written": Kind(0, ("write", "write_at", "send"), half=True),
    "no descriptors": Kind(errno.EMFILE, ("open", "create", "socket", "accept", "memfd", "epoll_create", "signalfd", "eventfd", "pipe", "pidfd",
                                          "peer_pidfd", "rights")),
    "no kernel memory": Kind(errno.ENOMEM, ("open", "create", "socket", "accept", "memfd", "epoll_control", "eventfd", "pipe", "pidfd", "receive",
                                            "send", "reserve", "write", "write_at", "read", "read_at", "make_directory", "rename", "map", "control",
                                            "stat", "room", "list", "thread", "fork", "poll")),
    "no memory": Kind(errno.ENOMEM, ("allocate",)),
    "no access": Kind(errno.EACCES, ("open", "create", "make_directory", "rename", "connect", "bind", "change_mode")),
    # A signal for each call would keep any program from going on.
    "interrupted": Kind(errno.EINTR, ("open", "create", "accept", "epoll_wait", "receive", "send", "connect", "reserve", "write", "write_at", "read",
                                      "read_at", "sleep", "poll", "random"), again=5),
}


class Faults:
    """One process's; `environment` makes it one."""

    def __init__(self, folder: pathlib.Path, name: str, smallest: int = 0) -> None:
        self.smallest = smallest  # allocation that fails
        self.path = folder / f"faults-{name}"
        self.path.write_bytes(bytes(64))
        with open(self.path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 64)
        self.environment = {"ATOLL_FAULTS": str(self.path), "LD_PRELOAD": str(LIBRARY)}

    def arm(self, kind: Kind, at: int, once: bool) -> None:
        """The call number `at` from now on fails, and those after it unless `once`."""
        self.memory[8:64] = struct.pack("<7Q", at, 1 if once else kind.again, kind.error, int(kind.half), 0, 0, self.smallest)
        self.memory[0:8] = struct.pack("<Q", kind.mask(once))

    def disarm(self) -> int:
        """How many calls failed."""
        self.memory[0:8] = bytes(8)
        return struct.unpack("<Q", self.memory[48:56])[0]

    def seen(self) -> int:
        return struct.unpack("<Q", self.memory[40:48])[0]
