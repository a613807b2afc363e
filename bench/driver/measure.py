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

    def _start(self, command, role, row, count, seconds, path, cpu, log):
        cpus = None if cpu is None else {self.available_cpus[cpu % len(self.available_cpus)]}
        child = subprocess.Popen([*command, role, "--path", path, *row.arguments(count, seconds)], env=self.environment,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, preexec_fn=_child_setup(cpus))
        self._children.append(child)
        return child

    def _start_service(self, name, path, log, deadline):
        """Starts what a contender needs and waits until it says that it is ready."""
        service = contenders.SERVICES[name]
        command = [part.replace("{path}", path) for part in service.command]
        child = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                 preexec_fn=_child_setup(None))
        self._children.append(child)
        try:
            _Lines(child).until(service.says, deadline)
        except Failed as error:
            self._leave(child)
            raise Failed(f"{os.path.basename(command[0])} did not become ready: {error}") from None
        return child

    def _leave(self, child, politely=False):
        if politely and child.poll() is None:
            child.terminate()
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                pass
        self._end(child)
        child.stdout.close()
        self._children.remove(child)

    def measure(self, row, count, seconds, limit):
        """One run of `count` messages, or of `seconds` for a row that is alone; ended after `limit` seconds.

        The result is what the halves said, as one. A broker that the measurement started is ended.
        """
        contender = contenders.CONTENDERS[row.contender]
        self._runs += 1
        path = os.path.join(self.path, str(self._runs))
        os.mkdir(path)
        deadline = time.monotonic() + limit
        service = None
        with open(os.path.join(path, "log"), "w+b") as log:
            halves = []
            try:
                if contender.service:
                    service = self._start_service(contender.service, path, log, deadline)
                said = self._halves(contender, row, count, seconds, path, log, deadline, halves)
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                for half in halves:
                    self._end(half)
                log.seek(0)
                words = log.read().decode(errors="replace").strip().splitlines()
                reason = f"no end after {limit:.0f} s" if time.monotonic() > deadline else str(error)
                raise Failed(reason + (f" ({words[-1][:200]})" if words else "")) from None
            finally:
                for half in halves:
                    self._leave(half)
                if service:
                    self._leave(service, politely=True)
                _remove(path)
        result = {}
        for one in said:
            result.update(one)
        for name in ("errors", "cpu_seconds"):
            result[name] = sum(one.get(name, 0) for one in said)
        result["cpu_us"] = 1e6 * result["cpu_seconds"] / result["count"]
        if result["errors"]:
            raise Failed(f"{result['errors']} of {result['count']} messages were wrong")
        return result

    def _halves(self, contender, row, count, seconds, path, log, deadline, halves):
        """Runs one process, or two; what they said, that of the measuring one last."""
        def start(command, role, which):
            halves.append(self._start(command, role, row, count, seconds, path, row.cpus[which] if row.cpus else None, log))
            return _Lines(halves[-1])

        if row.alone:
            said = [start(contender.accept, "alone", 0).next(deadline)]
            self._end_broker(said[0].pop("broker_pid", 0), deadline)
        else:
            accept, begin = ("pong", "ping") if row.metric == "latency" else ("receive", "send")
            accepting = start(contender.accept, accept, 1)
            accepting.next(deadline)  # it is ready
            starting = start(contender.start, begin, 0)
            said = [accepting.next(deadline), starting.next(deadline)]
            if row.metric == "rate":
                said.reverse()
        for half in halves:
            half.wait(max(0.1, deadline - time.monotonic()))
        if any(half.returncode for half in halves):
            raise Failed("a process failed at its end")
        return said

    @staticmethod
    def _end_broker(pid, deadline):
        """Ends a broker that a measurement's program started, and waits until it has ended."""
        if not pid:
            return
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not select.select([process], [], [], max(0.1, deadline - time.monotonic()))[0]:
                signal.pidfd_send_signal(process, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(process)


class _Lines:
    """The lines of JSON that a process prints, each waited for until a deadline."""

    def __init__(self, child):
        self.child = child
        self.text = b""

    def until(self, words, deadline):
        """Waits for a line with these words in it; all lines are text."""
        while words not in self._line(deadline):
            pass

    def next(self, deadline):
        return json.loads(self._line(deadline))

    def _line(self, deadline):
        while b"\n" not in self.text:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [], left)[0]:
                raise Failed("no answer")
            more = os.read(self.child.stdout.fileno(), 65536)
            if not more:
                raise Failed(f"{os.path.basename(self.child.args[0])} ended early")
            self.text += more
        line, _, self.text = self.text.partition(b"\n")
        return line.decode(errors="replace")
