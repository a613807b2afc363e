"""Runs one measurement: the two processes of a contender, pinned, bounded in time, cleaned up.

`Place` is where a whole run of the benchmark lives: one directory in shared memory and, when Atoll takes
part, one broker. It ends every process that it started, by its own handle, and removes what it made.
"""

import ctypes
import glob
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

from . import contenders

PREFIX = "atoll-bench-"
SHM = "/dev/shm"
_libc = ctypes.CDLL(None, use_errno=True)


def _streams_of(place):
    """Where the broker of a place keeps its files: named after its runtime directory (SPEC.md)."""
    number = 0xcbf29ce484222325
    for byte in os.path.join(place, "broker").encode():
        number = (number ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return os.path.join(SHM, f"atoll-{os.getuid()}", f"{number:016x}")


def _remove(place):
    """Removes all that a place may have left in shared memory."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(_streams_of(place), ignore_errors=True)
    for path in glob.glob(os.path.join(SHM, place.replace("/", "_") + "*")):
        os.unlink(path)
    try:
        os.rmdir(os.path.dirname(_streams_of(place)))  # only if it is empty
    except OSError:
        pass


class Failed(Exception):
    """A measurement that gave no figure; the text says why."""


def _child_setup(cpus):
    def setup():
        _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: ends with us, whatever happens to us
        if cpus is not None:
            os.sched_setaffinity(0, cpus)
    return setup


def cpus_of_this_machine():
    return sorted(os.sched_getaffinity(0))


class Place:
    def __init__(self):
        self._sweep()
        self.path = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=SHM)
        self.broker = None
        self._runs = 0
        self._children = []
        self.environment = {**os.environ, "ATOLL_SOCKET": os.path.join(self.path, "broker", "socket"),
                            "ATOLLD": os.path.join(contenders.BUILD, "bin", "atolld")}
        self.available_cpus = cpus_of_this_machine()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @staticmethod
    def _sweep():
        """Removes what runs left that were killed and could not."""
        for path in glob.glob(os.path.join(SHM, PREFIX + "*")):
            match = re.search(PREFIX + r"(\d+)-", path)
            if match and not os.path.exists(f"/proc/{match[1]}") and os.stat(path).st_uid == os.getuid():
                _remove(path)

    def start_broker(self):
        """Starts atolld for this run; raises Failed if it does not come up in five seconds."""
        socket = self.environment["ATOLL_SOCKET"]
        os.makedirs(os.path.dirname(socket), mode=0o700, exist_ok=True)
        log = open(os.path.join(self.path, "broker.log"), "w+b")
        self.broker = subprocess.Popen([self.environment["ATOLLD"], "--socket", socket], env=self.environment, stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, preexec_fn=_child_setup(None))
        deadline = time.monotonic() + 5
        while not os.path.exists(socket):
            if self.broker.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                raise Failed("the broker did not start: " + log.read().decode(errors="replace").strip()[-300:])
            time.sleep(0.01)

    def broker_cpu_seconds(self):
        if self.broker is None or self.broker.poll() is not None:
            return None
        with open(f"/proc/{self.broker.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        for child in self._children:
            self._end(child)
        if self.broker is not None:
            self.broker.terminate()
            try:
                self.broker.wait(10)
            except subprocess.TimeoutExpired:
                self._end(self.broker)
        _remove(self.path)

    @staticmethod
    def _end(child):
        if child.poll() is None:
            child.kill()
        child.wait()

    def _start(self, command, role, row, count, path, cpu, log):
        cpus = {self.available_cpus[cpu % len(self.available_cpus)]}
        child = subprocess.Popen([*command, role, "--path", path, *row.arguments(count)], env=self.environment, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=log, preexec_fn=_child_setup(cpus))
        self._children.append(child)
        return child

    def measure(self, row, count, seconds):
        """One run of `count` messages, ended after `seconds`. The result is what both halves said, as one."""
        contender = contenders.CONTENDERS[row.contender]
        self._runs += 1
        path = os.path.join(self.path, str(self._runs))
        os.mkdir(path)
        accept, start = ("pong", "ping") if row.metric == "latency" else ("receive", "send")
        deadline = time.monotonic() + seconds
        with open(os.path.join(path, "log"), "w+b") as log:
            halves = []
            try:
                halves.append(self._start(contender.accept, accept, row, count, path, row.cpus[1], log))
                said = [_Lines(halves[0])]
                said[0].next(deadline)
                halves.append(self._start(contender.start, start, row, count, path, row.cpus[0], log))
                said.append(_Lines(halves[1]))
                accepted, started = said[0].next(deadline), said[1].next(deadline)
                for half in halves:
                    half.wait(max(0.1, deadline - time.monotonic()))
                if any(half.returncode for half in halves):
                    raise Failed("a process failed at its end")
            except (Failed, subprocess.TimeoutExpired) as error:
                for half in halves:
                    self._end(half)
                log.seek(0)
                words = log.read().decode(errors="replace").strip().splitlines()
                reason = f"no end after {seconds:.0f} s" if time.monotonic() > deadline else str(error)
                raise Failed(reason + (f" ({words[-1][:200]})" if words else "")) from None
            finally:
                for half in halves:
                    self._end(half)
                    half.stdout.close()
                    self._children.remove(half)
                shutil.rmtree(path, ignore_errors=True)
                for left in glob.glob(os.path.join(SHM, path.replace("/", "_") + "*")):
                    os.unlink(left)
        result = {**accepted, **started} if row.metric == "latency" else {**started, **accepted}
        result["errors"] = accepted.get("errors", 0) + started.get("errors", 0)
        result["cpu_seconds"] = accepted["cpu_seconds"] + started["cpu_seconds"]
        result["cpu_us"] = 1e6 * result["cpu_seconds"] / result["count"]
        if result["errors"]:
            raise Failed(f"{result['errors']} of {result['count']} messages were wrong")
        return result


class _Lines:
    """The lines of JSON that a process prints, each waited for until a deadline."""

    def __init__(self, child):
        self.child = child
        self.text = b""

    def next(self, deadline):
        while b"\n" not in self.text:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [], left)[0]:
                raise Failed("no answer")
            more = os.read(self.child.stdout.fileno(), 65536)
            if not more:
                raise Failed(f"{os.path.basename(self.child.args[0])} ended early")
            self.text += more
        line, _, self.text = self.text.partition(b"\n")
        return json.loads(line)
