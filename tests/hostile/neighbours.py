"""Who lives in these tests: a broker, honest programs, and the programs that attack (hostile.py) or take all (greedy.py).

Used by the tests in this folder. Where the tests run as root the broker is root's, the honest are one ordinary user and the
attackers another; else all are the same user, and what is promised then is less: see docs/threat-model.md.
"""
from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from support.agents import Agent, AgentError
from support.broker import ATOLL, start_broker, stop_broker

HERE = pathlib.Path(__file__).parent
ROOT = os.geteuid() == 0
HONEST, HOSTILE = (65531, 65532) if ROOT else (os.geteuid(), os.geteuid())
ANSWER_SECONDS = 20  # of one honest operation, with all attackers at work on a slow machine
carried_out: collections.Counter[int] = collections.Counter()  # attacks, by number


def as_user(user: int) -> list[str]:
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if ROOT else []


class Programs:
    """The attackers' programs, in a folder that they can read, and a folder for their temporary files."""

    def __init__(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="programs-"))
        self.folder.chmod(0o755)
        for path in (HERE / "hostile.py", HERE / "greedy.py", HERE.parent / "broker/broker_client.py"):
            (self.folder / path.name).write_bytes(path.read_bytes())
            (self.folder / path.name).chmod(0o644)
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        self.python = "/usr/bin/python3" if ROOT else sys.executable

    def start(self, program: str, *arguments: str, user: int = HOSTILE) -> subprocess.Popen:
        return subprocess.Popen([*as_user(user), self.python, str(self.folder / program), *arguments], cwd=self.folder, text=True,
                                env=os.environ | {"TMPDIR": str(self.temporary)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def setuid_atoll(self) -> str | None:
        """The command `atoll`, belonging to the honest user and set-uid; None where that cannot be made."""
        if not ROOT or os.statvfs(self.folder).f_flag & os.ST_NOSUID:
            return None
        path = shutil.copy(ATOLL, self.folder / "atoll-setuid")
        os.chown(path, HONEST, HONEST)
        os.chmod(path, 0o4755)
        return str(path)

    def remove(self) -> None:
        shutil.rmtree(self.folder)


class HonestPair:
    """Two programs at work: one makes a stream and sends, the other receives and compares each record."""

    def __init__(self, stream: str, producer: Agent, consumer: Agent, records: int) -> None:
        self.stream, self.producer, self.consumer, self.records = stream, producer, consumer, records
        self.times: list[float] = []

    def round(self) -> float:
        """Create, open, send and compare, close, remove: how long it took."""
        began = time.monotonic()
        pattern = {"count": self.records, "seed": len(self.times), "largest": 1500, "timeout_ms": ANSWER_SECONDS * 1000}
        assert self.producer.call("create", name=self.stream, kind="stream", capacity=65536)["created"]
        self.consumer.call("open_consumer", h="c", name=self.stream, group="g")
        self.producer.call("open_producer", h="p", name=self.stream)
        receiving = self.consumer.begin("receive_pattern", h="c", **pattern)
        self.producer.call("send_pattern", h="p", **pattern)
        assert receiving.result()["received"] == self.records
        self.producer.call("close", h="p")
        self.consumer.call("close", h="c")
        self.producer.call("remove", name=self.stream)
        self.times.append(time.monotonic() - began)
        return self.times[-1]


class Working:
    """A thread that does `work` again and again until it is told to end; what went wrong comes out of end()."""

    def __init__(self, work) -> None:
        self.work, self.ending, self.problem = work, threading.Event(), None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self.ending.is_set():
                self.work()
        except BaseException as problem:  # noqa: B036 (raised again by end)
            self.problem = problem

    def end(self) -> None:
        self.ending.set()
        self.thread.join(120)
        assert not self.thread.is_alive(), "an honest program does not come to an end"
        if self.problem is not None:
            raise self.problem


class Witness:
    """An honest program that shares segments with the attackers: its own records come whole, and whatever else
    happens to it is an error with a name."""

    def __init__(self, streams: list[str], board: str, agent: Agent) -> None:
        self.agent, self.streams, self.board = agent, streams, board
        self.errors: collections.Counter[str] = collections.Counter()
        self.own_records = 0
        for stream in streams:
            agent.call("open_producer", h="p" + stream, name=stream)
            agent.call("open_consumer", h="c" + stream, name=stream, group="witness")
        agent.call("open_bytes", h="b", name=board)
        self.lanes = {stream: agent.call("info", h="p" + stream)["lane"] for stream in streams}

    def look(self) -> None:
        for stream in self.streams:
            self.agent.call("send", h="p" + stream, data=b"honest" * 20, timeout_ms=1000)
            for _ in range(20):
                try:
                    got = self.agent.call("receive", h="c" + stream, timeout_ms=50)
                except AgentError as error:
                    self.errors[error.name] += 1
                    if error.name == "timed_out":
                        break
                    continue
                if got["lane"] == self.lanes[stream]:
                    assert got["data"] == b"honest" * 20, "a record of an honest producer was changed"
                    self.own_records += 1
                    break
        assert len(self.agent.call("read_at", h="b", offset=0, length=4096)["data"]) == 4096


class Neighbourhood:
    """A broker with segments of the honest: two streams and bytes that the attackers may use, and a secret one."""

    def __init__(self, runtime, agents) -> None:
        self.runtime, self.agents = runtime, agents
        self.programs = Programs()
        runtime.directory.chmod(0o755 if ROOT else 0o700)
        self.log = runtime.directory / "atolld.log"
        options = ["--allow-other-users", "--name-prefix", "*:public/"] if ROOT else []
        self.broker = start_broker(runtime.socket, "--log-file", str(self.log), *options)
        self.space = f"{HONEST}"
        self.honest = agents("C++", prefix=as_user(HONEST))
        access = f"{HOSTILE}:pco" if ROOT else ""
        self.open, self.named, self.board, self.secret = (f"{self.space}/{name}" for name in ("open", "named", "board", "secret"))
        # `overwrite`: a group that does not read holds nobody back. `block` would, as it is meant to.
        self.honest.call("create", name=self.open, kind="stream", capacity=4096, backing="memfd", when_full="overwrite", access=access)
        self.honest.call("create", name=self.named, kind="stream", capacity=4096, backing="shm", when_full="overwrite", access=access)
        self.honest.call("create", name=self.board, kind="bytes", size=8192, backing="memfd", access=access)
        self.honest.call("create", name=self.secret, kind="stream", capacity=4096)
        self.witness = Witness([self.open, self.named], self.board, agents("C++", prefix=as_user(HONEST)))
        self.pair = HonestPair(f"{self.space}/work", agents("C++", prefix=as_user(HONEST)), agents("C++", prefix=as_user(HONEST)), 20_000)

    def scene(self) -> str:
        return json.dumps({
            "socket": str(self.runtime.socket), "directory": str(self.runtime.directory), "open": self.open, "named": self.named, "board": self.board,
            "secret": self.secret, "victim": self.honest.process.pid, "broker_pid": self.broker.pid, "same_user": not ROOT,
            "setuid_program": self.programs.setuid_atoll(),
        })

    def attack(self, number: int, seed: int = 1) -> dict[str, str]:
        """Carries out one attack, alone, and gives what its attempts gave."""
        attacker = self.programs.start("hostile.py", self.scene(), "--attack", str(number), "--seed", str(seed))
        out, err = attacker.communicate(timeout=60)
        assert attacker.returncode == 0, err
        carried_out[number] += 1
        return json.loads(out)["got"]

    def check(self) -> None:
        """The broker is the same and serves; the honest go on."""
        assert self.broker.poll() is None, "the broker has ended"
        assert self.honest.call("call", method="Status")["reply"]["pid"] == self.broker.pid
        before = self.witness.own_records
        for _ in range(3):
            self.witness.look()
        assert self.witness.own_records > before, "the witness gets its own records"
        assert self.pair.round() < ANSWER_SECONDS

    def use(self) -> tuple[int, int]:
        """The broker's resident memory in KiB and its open descriptors."""
        status = pathlib.Path(f"/proc/{self.broker.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return resident, len(os.listdir(f"/proc/{self.broker.pid}/fd"))

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.programs.remove)
            stack.callback(stop_broker, self.broker)
            self.witness.agent.close()
            self.pair.producer.close()
            self.pair.consumer.close()
            for row in self.honest.call("call", method="List")["reply"]["segments"]:
                if row["uid"] == HONEST:
                    self.honest.call("remove", name=row["name"], force=True)
            self.honest.close()
