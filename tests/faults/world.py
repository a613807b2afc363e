"""A broker and a client in which calls can be made to fail, a witness in which none do, and what must be true after each failure.

Used by the tests of this folder. A `World` lives through many failures: that its broker is the same process in the end,
and holds as many descriptors as before, is part of what is tested.
"""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import select
import time
import zlib

from faults import Faults
from support import agents as support_agents
from support.agents import Agent, AgentError
from support.broker import Runtime, start_broker, stop_broker

support_agents.ANSWER_SECONDS = 5  # an operation that takes longer hangs

# What may be said of a shortage. That a segment is damaged, lost or unknown is never among it.
ALLOWED = {"no_space", "no_descriptors", "not_permitted", "system_error", "no_broker", "interrupted", "timed_out", "limit_reached",
           "bad_runtime_directory"}
# The JSON library asks for memory in its destructors, and ends the program when it gets none (docs/operating.md). A broker keeps
# a reserve for that; a library cannot. So a client is refused only what is larger.
SMALLEST_OF_CLIENT = 4096
STANDING = "standing"  # the witness's own stream
QUICK = ("--connection-rate", "1000000", "--connection-burst", "1000000", "--grace", "0.2")



class World:
    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()  # closed in order; after a failure abandon() does without
        self.runtime = Runtime()
        self.stack.callback(self.runtime.close)
        self.data = self.runtime.directory / "data"
        self.data.mkdir()
        self.of_broker = Faults(self.runtime.directory, "broker")
        self.of_client = Faults(self.runtime.directory, "client", SMALLEST_OF_CLIENT)
        self.broker = self.start_broker()
        self.client = self.agent(self.of_client)
        self.witness = self.agent()
        self.witness.call("create", name=STANDING, kind="stream", capacity=65536)
        self.witness.call("open_producer", h="standing", name=STANDING)
        self.witness.call("open_consumer", h="reader", name=STANDING, group="g")

    def start_broker(self, faults: Faults | None = None):
        broker = start_broker(self.runtime.socket, *QUICK, environment=(faults or self.of_broker).environment)
        assert broker.poll() is None, "the broker does not start"
        self.stack.callback(lambda: broker.poll() is None and stop_broker(broker))  # the agents have ended by then
        return broker

    def agent(self, faults: Faults | None = None) -> Agent:
        environment = self.runtime.environment | (faults.environment if faults else {})
        agent = self.stack.enter_context(Agent("C++", environment=environment, connect=False))
        agent.call("connect", start_broker=False)
        return agent

    def close(self) -> None:
        self.stack.close()

    def abandon(self) -> None:
        """Ends what is left after a test that failed."""
        for each in (self.client, self.witness):
            each.kill()
            each.process.stdin.close()
        self.broker.kill()
        self.broker.wait()
        self.runtime.close()

    # ---- What the broker says ----

    def ask(self, method: str, **parameters) -> dict:
        return self.witness.call("call", method=method, parameters=parameters)["reply"]

    def segments(self) -> dict[str, dict]:
        return {row["name"]: row for row in self.ask("List")["segments"]}

    def clients(self, name: str) -> list[dict]:
        return self.ask("Show", name=name)["clients"]

    def descriptors(self) -> dict[str, int]:
        return {who: len(os.listdir(f"/proc/{pid}/fd")) for who, pid in (("broker", self.broker.pid), ("client", self.client.process.pid))}

    # ---- What must be true ----

    def is_well(self) -> None:
        """The broker lives, a bystander works, and what is on disk is what there is."""
        assert self.broker.poll() is None, f"the broker ended with status {self.broker.returncode}"
        self.witness.call("send", h="standing", data=b"record", timeout_ms=1000)
        assert self.witness.call("receive", h="reader", timeout_ms=1000)["data"] == b"record"
        rows = self.segments()
        for name, row in rows.items():
            assert row["state"] == "live", f"{name} is {row['state']}"
        manifests = sorted(path.name for path in (self.runtime.directory / "segments").iterdir())
        assert manifests == sorted(name + ".json" for name in rows), "manifests and segments differ"
        folders = sorted(entry.name for entry in self.runtime.segments())
        assert folders == sorted(f"{name}@{row['generation']}" for name, row in rows.items() if row["backing"] == "shm"), "folders and segments differ"
        saved = sorted(path.name for path in self.data.iterdir())
        assert saved == sorted(f"{name}@{row['generation']}" for name, row in rows.items() if row["backing"] == "file"), "folders and segments differ"

    def is_whole(self) -> None:
        """The journal tells what the broker knows; nothing is left that gc would find."""
        self.ask("Gc", apply=False)
        told = self.journalled()
        known = {(client["pid"], name, client["role"]) for name in self.segments() for client in self.clients(name)}
        assert told == known, "the journal and the broker differ"
        own = str(self.runtime.shared_memory()[0])
        found = [row for row in self.ask("Gc", apply=True)["findings"] if not row["name"].startswith("/") or row["name"].startswith(own)]
        assert not found, f"something is left: {found}"

    def journalled(self) -> set[tuple[int, str, str]]:
        slots: dict[int, int] = {}
        attached: dict[int, tuple[int, str, str]] = {}
        for line in (self.runtime.directory / "journal").read_bytes().splitlines():
            total, text = line.split(b" ", 1)
            assert int(total, 16) == zlib.crc32(text), f"a damaged line: {line!r}"
            entry = json.loads(text)
            if entry["t"] == "slot":
                slots[entry["slot"]] = entry["pid"]
            elif entry["t"] == "attached":
                attached[entry["id"]] = (slots[entry["slot"]], entry["name"], entry["role"])
            elif entry["t"] == "detached":
                attached.pop(entry["id"], None)
        return set(attached.values())

    def settled_descriptors(self) -> dict[str, int]:
        """Closing is not always done when the answer comes: the same for some questions on end."""
        same, last = 0, self.descriptors()
        while same < 10:
            self.ask("Status")
            now = self.descriptors()
            same, last = (same + 1 if now == last else 0), now
        return last

    def has_no_more_descriptors(self, before: dict[str, int]) -> None:
        until = time.monotonic() + 5
        while True:
            now = self.descriptors()
            if all(number <= before[who] for who, number in now.items()):
                return
            assert time.monotonic() < until, f"descriptors: {before} before, {now} now: {self.open_files()}"
            self.ask("Status")
            select.select([], [], [], 0.005)

    def open_files(self) -> list[str]:
        return [os.readlink(entry.path) for entry in os.scandir(f"/proc/{self.broker.pid}/fd")]

    # ---- Doing ----

    def outcome(self, act) -> str:
        """What came of it: ok, out of memory, or the name of an error that says what happened and what to do."""
        try:
            act()
            return "ok"
        except AgentError as error:
            assert error.name in ALLOWED, f"{error}"
            assert error.message and error.fix, f"{error} does not say what to do"
            return error.name
        except AssertionError as problem:
            if "std::bad_alloc" in str(problem):
                return "out of memory"
            raise


