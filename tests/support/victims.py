"""Agents of the build with kill points that die, or stop, where they are told to; for the suites of tests/crash.

`Victim` is one such agent. Where it is killed is a point (protocol/kill_point.hpp) and a passage, the number of times that it
is reached. The native parts of the Python and Node packages come from build-kill, too (script/build kill).
"""
from __future__ import annotations

import collections
import os
import pathlib
import signal
from typing import Any

from .agents import BUILD, Agent, Pending

PACKAGES = {"PYTHONPATH": str(BUILD / "python"), "ATOLL_NODE_ADDON": str(BUILD / "node/atoll.node")}


class Died(Exception):
    """The agent was killed where it was told to be."""


class Victim:
    """An agent that is killed at `at`, or stopped at `stop` (both POINT:PASSAGE), or lists what it passes in the file `listing`."""

    def __init__(self, language: str = "C++", at: str = "", stop: str = "", listing: pathlib.Path | None = None) -> None:
        environment = dict(PACKAGES)
        if at:
            environment["ATOLL_KILL_AT"] = at
        if stop:
            environment["ATOLL_STOP_AT"] = stop
        if listing is not None:
            environment["ATOLL_KILL_LIST"] = str(listing)
        self.agent = Agent(language, environment=environment, connect=False)
        self.pid = self.agent.process.pid

    def begin(self, op: str, **fields: Any) -> Pending:
        try:
            return self.agent.begin(op, **fields)
        except BrokenPipeError:
            self._dead()
            raise

    def result(self, pending: Pending) -> dict[str, Any]:
        try:
            return pending.result()
        except AssertionError:
            self._dead()
            raise

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        return self.result(self.begin(op, **fields))

    def _dead(self) -> None:
        if self.agent.process.wait(timeout=30) == -signal.SIGKILL:
            raise Died from None

    def stops(self) -> None:
        """Waits until it is stopped."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return
        self.agent.process.returncode = os.waitstatus_to_exitcode(status)
        assert self.agent.process.returncode == -signal.SIGKILL
        raise Died

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Ends it as its user would; nothing to do if it died."""
        try:
            if self.agent.process.poll() is None:
                self.agent.process.stdin.close()
                self.agent.process.wait(timeout=30)
        finally:
            self.agent.process.kill()
            self.agent.process.stdout.close()


def passed(listing: pathlib.Path) -> dict[str, int]:
    """How often each of the client's points was passed, up to eight times."""
    counts = collections.Counter(listing.read_text().split())
    return {point: count for point, count in counts.items() if not point.startswith("broker.")}
