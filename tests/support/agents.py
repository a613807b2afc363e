"""Starts agents (tests/agents/README.md) and talks to them: for tests that hold in every language.

Used by the pytest suites conformance, pairs, errors and restart. An agent's error is raised as AgentError.
"""
from __future__ import annotations

import json
import os
import pathlib
import queue
import subprocess
import threading
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ATOLL_BUILD", ROOT / "build"))
PYTHON = ROOT / ".venv/bin/python"

COMMANDS = {
    "C++": [str(BUILD / "bin/atoll_agent_cpp")],
    "C": [str(BUILD / "bin/atoll_agent_c")],
    "Python": [str(PYTHON), str(ROOT / "tests/agents/agent.py")],
    "Node": ["node", str(ROOT / "tests/agents/agent.mjs")],
}
LANGUAGES = list(COMMANDS)
ANSWER_SECONDS = 60  # far above any limit that a test gives


class AgentError(Exception):
    """The library under test answered with an error."""

    def __init__(self, language: str, op: str, error: dict[str, Any]) -> None:
        super().__init__(f"{language} {op}: {error['name']}: {error['message']}")
        self.name: str = error["name"]
        self.message: str = error["message"]
        self.segment: str = error["segment"]
        self.fix: str = error["fix"]
        self.detail: int = error["detail"]


class Pending:
    """An operation that an agent is busy with."""

    def __init__(self, agent: "Agent", op: str) -> None:
        self.agent, self.op = agent, op

    def result(self) -> dict[str, Any]:
        return self.agent.answer(self.op)


class Agent:
    """One process of one language. `call` does an operation; `begin` starts one and returns at once."""

    def __init__(self, language: str, environment: dict[str, str] | None = None, connect: bool = True, prefix: list[str] | None = None) -> None:
        self.language = language
        self.process = subprocess.Popen([*(prefix or []), *COMMANDS[language]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=os.environ | (environment or {}), text=True, bufsize=1)
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        if connect:
            self.call("connect")

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def begin(self, op: str, **fields: Any) -> Pending:
        for name, value in fields.items():
            if isinstance(value, bytes):
                fields[name] = value.hex()
            elif isinstance(value, list):
                fields[name] = [item.hex() if isinstance(item, bytes) else item for item in value]
        self.process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self.process.stdin.flush()
        return Pending(self, op)

    def answer(self, op: str) -> dict[str, Any]:
        try:
            line = self.lines.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            raise AssertionError(f"the {self.language} agent does not answer {op}") from None
        if not line:
            raise AssertionError(f"the {self.language} agent ended with status {self.process.wait()} in {op}")
        answer = json.loads(line)
        if "broken" in answer:
            raise AssertionError(f"the {self.language} agent in {op}: {answer['broken']}")
        if "error" in answer:
            raise AgentError(self.language, op, answer["error"])
        if "data" in answer["ok"]:
            answer["ok"]["data"] = bytes.fromhex(answer["ok"]["data"])
        return answer["ok"]

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        return self.begin(op, **fields).result()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Ends the agent as its user would, and says how that went."""
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                status = self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the {self.language} agent does not end when its input does") from None
            assert status == 0, f"the {self.language} agent ended with status {status}"
        self.process.stdout.close()

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()
            self.process.stdin.close()
            self.process.stdout.close()
