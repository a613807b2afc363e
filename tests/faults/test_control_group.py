"""A broker in a control group with a memory limit, as in a container: what would exceed the limit is refused by name, where the kernel would
end the broker. Needs root and a hierarchy of control groups that may be written; without, the test says so.
"""
from __future__ import annotations

import os
import pathlib

import pytest
from support.agents import Agent, AgentError
from support.broker import start_broker, stop_broker

MIB = 1 << 20
LIMIT = 24 * MIB  # /dev/shm may have no more than 64
ALLOWED = ["--max-bytes", str(60 * MIB), "--program-share", "100"]  # so that nothing else refuses


class Group:
    """A control group of its own that allows LIMIT bytes of memory."""

    def __init__(self) -> None:
        name = f"atoll-test-{os.getpid()}"
        version1, version2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
        try:
            if (version1 / "memory.stat").exists():
                self.path, limit = version1 / name, "memory.limit_in_bytes"
            else:
                if "memory" not in (version2 / "cgroup.subtree_control").read_text():
                    pytest.skip("the control groups here do not hand memory limits down")
                self.path, limit = version2 / name, "memory.max"
            self.path.mkdir()
            (self.path / limit).write_text(str(LIMIT))
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")

    def end(self) -> None:
        self.path.rmdir()


@pytest.fixture
def group():
    made = Group()
    yield made
    made.end()


def refused(agent: Agent, **fields) -> AgentError:
    with pytest.raises(AgentError) as raised:
        agent.call("create", **fields)
    assert raised.value.name == "no_space" and raised.value.segment == fields["name"], raised.value
    assert "control group" in str(raised.value) and str(LIMIT) in str(raised.value), raised.value
    return raised.value


@pytest.mark.parametrize("backing", ["shm", "memfd"])
def test_what_the_control_group_does_not_allow_is_refused_and_the_broker_lives(runtime, group, backing):
    broker = start_broker(runtime.socket, *ALLOWED, prefix=["sh", "-c", f'echo $$ >{group.path}/cgroup.procs; exec "$@"', "sh"])
    agent = Agent("C++")
    try:
        refused(agent, name="large", kind="stream", capacity=32 * MIB, backing=backing)
        refused(agent, name="a-little-too-large", kind="bytes", size=LIMIT - MIB, backing=backing)
        agent.call("create", name="half", kind="bytes", size=LIMIT // 4, backing=backing)  # and as much for what is put
        refused(agent, name="half-more", kind="bytes", size=LIMIT // 4, backing=backing)
        made = 0
        with pytest.raises(AgentError) as raised:
            for made in range(1000):
                agent.call("create", name=f"s{made}", kind="stream", capacity=MIB // 4, backing=backing)
        assert raised.value.name == "no_space" and 10 < made < 48, (made, raised.value)
        assert broker.poll() is None
        agent.call("remove", name="half")
        agent.call("create", name="third", kind="bytes", size=LIMIT // 6, backing=backing)
        assert agent.call("call", method="Status")["reply"]["pid"] == broker.pid
    finally:
        agent.close()
        stop_broker(broker)
