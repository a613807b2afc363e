"""The fixtures of the suites that drive agents: a runtime directory, and agents that are closed with the test."""
from __future__ import annotations

import contextlib

import pytest

from .agents import Agent
from .broker import runtime  # noqa: F401 (a fixture)


@pytest.fixture
def agents(runtime):  # noqa: F811
    """A function that starts an agent of a language, connected; all are closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda language, **options: stack.enter_context(Agent(language, **options))


@pytest.fixture
def refused():
    """A function that does an operation which must fail, and gives the error back."""
    from .agents import AgentError

    def call(agent: Agent, op: str, code: str, **fields):
        with pytest.raises(AgentError) as caught:
            agent.call(op, **fields)
        assert caught.value.name == code, caught.value
        assert caught.value.message and caught.value.fix, "an error says what happened and how to mend it"
        return caught.value

    return call
