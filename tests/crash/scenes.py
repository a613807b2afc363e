"""A runtime directory of its own with agents in it, and what must be true of it in the end: for the kill tests of this folder."""
from __future__ import annotations

import contextlib
import os
import time
from unittest import mock

from support.agents import Agent
from support.broker import Runtime


@contextlib.contextmanager
def scene():
    """A runtime, and a function that starts agents in it (all are ended with it). Outside of pytest's fixtures, so that the
    points to kill at can be found when tests are collected."""
    with contextlib.ExitStack() as stack:
        runtime = Runtime()
        stack.callback(runtime.close)
        stack.enter_context(mock.patch.dict(os.environ, runtime.environment))
        yield runtime, lambda language, **options: stack.enter_context(Agent(language, **options))


def until_dealt_with(agent: Agent, dead: int) -> None:
    """Waits until the broker has given back what the dead process held."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        names = [segment["name"] for segment in agent.call("call", method="List")["reply"]["segments"]]
        clients = [client for name in names for client in agent.call("call", method="Show", parameters={"name": name})["reply"]["clients"]]
        if dead not in [client["pid"] for client in clients]:
            return
    raise AssertionError(f"the broker does not find out that {dead} is dead")


def nobody_and_nothing_is_left(runtime: Runtime, agent: Agent, *dead: int) -> None:
    """`ls` and `show` know who is dead; what remains can be removed, and then there is nothing."""
    for segment in agent.call("call", method="List")["reply"]["segments"]:
        # Memory without a name is gone with its broker when no client has it mapped.
        assert segment["state"] == "live" or segment["backing"] == "memfd", segment
        shown = agent.call("call", method="Show", parameters={"name": segment["name"]})["reply"]
        assert not set(dead) & {client["pid"] for client in shown["clients"]}
        agent.call("remove", name=segment["name"], force=True)
    agent.call("call", method="Gc", parameters={"apply": True})
    # What brokers of other runtimes leave, or are just making, is theirs.
    own = [str(folder) for folder in runtime.shared_memory()]
    findings = agent.call("call", method="Gc", parameters={"apply": True})["reply"]["findings"]
    assert not [row for row in findings if not row["name"].startswith("/") or any(row["name"].startswith(folder) for folder in own)]
    assert runtime.segments() == []
