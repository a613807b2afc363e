"""Finds what a suite left behind: processes, files, shared memory.

Called by tests/run.py after each suite. A suite's processes carry its mark in their environment
(ATOLL_TEST_MARK), whoever started them; its brokers' shared memory names its directory.
"""
from __future__ import annotations

import os
import pathlib
import select
import signal
import time
from collections.abc import Iterator

SHM = pathlib.Path("/dev/shm")


def marked_processes(mark: str) -> dict[int, str]:
    """Every process with the mark in its environment: pid and command."""
    found = {}
    wanted = f"ATOLL_TEST_MARK={mark}".encode()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry.name}/environ", "rb") as file:
                if wanted not in file.read().split(b"\0"):
                    continue
            with open(f"/proc/{entry.name}/cmdline", "rb") as file:
                found[int(entry.name)] = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


def wait_for_end(pids: list[int], seconds: float) -> None:
    """Returns when all have ended or the time has passed."""
    poll = select.poll()
    descriptors = set()
    try:
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            descriptors.add(descriptor)
            poll.register(descriptor, select.POLLIN)
        end = time.monotonic() + seconds
        left = set(descriptors)
        while left and (rest := end - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(rest * 1000):
                poll.unregister(descriptor)
                left.discard(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def end_processes(mark: str) -> None:
    """Kills what carries the mark, and waits until it is gone."""
    while found := marked_processes(mark):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for_end(list(found), 5)


def broker_folders() -> Iterator[tuple[pathlib.Path, str]]:
    """Every broker's folder under /dev/shm, with its runtime directory. Other brokers end, and remove theirs, meanwhile."""
    for parent in SHM.glob("atoll-*"):
        try:
            names = os.listdir(parent)
        except OSError:
            continue
        for folder in (parent / name for name in names):
            try:
                yield folder, (folder / "runtime").read_text().strip("\0\n")
            except OSError:
                continue


def shared_memory(directory: pathlib.Path) -> list[str]:
    """The folders under /dev/shm of brokers whose runtime directory lies in `directory`."""
    return [str(folder) for folder, runtime in broker_folders() if runtime == str(directory) or runtime.startswith(f"{directory}/")]


def files(directory: pathlib.Path) -> list[str]:
    """What lies in the directory, other than empty folders."""
    return sorted(
        os.path.relpath(os.path.join(folder, name), directory)
        for folder, _, names in os.walk(directory)
        for name in names
    )


def find(mark: str, directory: pathlib.Path) -> list[str]:
    """What is left, in words. Processes that are about to end get five seconds for it."""
    processes = marked_processes(mark)
    if processes:
        wait_for_end(list(processes), 5)
        processes = marked_processes(mark)
    left = [f"process {pid} is left: {command}" for pid, command in processes.items()]
    end_processes(mark)
    left += [f"shared memory is left: {folder}" for folder in shared_memory(directory)]
    left += [f"a file is left: {name}" for name in files(directory)[:20]]
    return left
