"""What a forked child finds of its parent's handles in C++ and C, where they are memory that the child inherits: they say
`forked`, and nothing that it tries with them reaches the stream. (In Python a child's handles open themselves anew; Node
does not fork.)"""
import pytest

pytestmark = pytest.mark.parametrize("language", ["C++", "C"])
ENOUGH = 20_000  # ms


def in_child(agent, refused, op, **fields):
    """The child's answer must be `forked`."""
    request = {"op": op, **{name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}}
    refused(agent, "in_child", "forked", request=request)


@pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "shared"])
def test_a_forked_child_sends_receives_and_releases_nothing_with_its_parents_handles(agents, refused, language, exclusive):
    agent = agents(language)
    agent.call("create", name="s", kind="stream", capacity=65536)
    agent.call("open_producer", h="p", name="s")
    agent.call("open_consumer", h="c", name="s", exclusive=exclusive)
    # What needs no library any more is what must notice by itself.
    for i in range(3):
        agent.call("send", h="p", data=b"%d" % i)
        assert agent.call("receive", h="c")["data"] == b"%d" % i
    for data in (b"one", b"two", b"three", b"four"):
        agent.call("send", h="p", data=data)
    assert agent.call("receive", h="c", v="one")["data"] == b"one"
    in_child(agent, refused, "send", h="p", data=b"x")
    in_child(agent, refused, "send", h="p", data=b"x" * 1000)
    in_child(agent, refused, "send_many", h="p", records=[b"x".hex(), b"y".hex()])
    in_child(agent, refused, "loan", h="p", v="l", data=b"x")
    in_child(agent, refused, "finish", h="p")
    in_child(agent, refused, "receive", h="c", timeout_ms=0)
    in_child(agent, refused, "receive", h="c", timeout_ms=ENOUGH)
    in_child(agent, refused, "release", h="c", v="one")
    in_child(agent, refused, "acknowledge", h="c", v="one")
    assert agent.call("info", h="c")["outstanding"] == 1
    agent.call("release", h="c", v="one")
    agent.call("send", h="p", data=b"five")
    assert [agent.call("receive", h="c", timeout_ms=ENOUGH)["data"] for _ in range(4)] == [b"two", b"three", b"four", b"five"]
    refused(agent, "receive", "timed_out", h="c", timeout_ms=0)
    in_child(agent, refused, "receive", h="c", timeout_ms=0)


def test_a_forked_child_cannot_commit_its_parents_loan(agents, refused, language):
    agent = agents(language)
    agent.call("create", name="s", kind="stream", capacity=65536)
    agent.call("open_producer", h="p", name="s")
    agent.call("open_consumer", h="c", name="s")
    agent.call("send", h="p", data=b"before")
    agent.call("loan", h="p", v="l", data=b"lent")
    in_child(agent, refused, "commit", h="p", v="l")
    in_child(agent, refused, "abort", h="p", v="l")
    in_child(agent, refused, "send", h="p", data=b"x")
    agent.call("commit", h="p", v="l")
    assert [agent.call("receive", h="c", timeout_ms=ENOUGH)["data"] for _ in range(2)] == [b"before", b"lent"]
    refused(agent, "receive", "timed_out", h="c", timeout_ms=0)
