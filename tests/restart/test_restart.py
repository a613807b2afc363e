"""The broker is killed with -9 under traffic: the traffic goes on, a client starts it again, nothing is lost."""
import itertools

import pytest
from support.agents import LANGUAGES, AgentError

ENOUGH = 60_000  # ms
WORK = {"count": 20_000, "seed": 3, "largest": 2000, "timeout_ms": ENOUGH}
PAIRS = [*zip(LANGUAGES, LANGUAGES), ("Python", "Node"), ("Node", "C++")]


@pytest.mark.parametrize("producer, consumer", PAIRS, ids=lambda language: language)
def test_records_flow_while_the_broker_is_killed_again_and_again(runtime, agents, producer, consumer):
    p, c, other = agents(producer), agents(consumer), agents("C++")
    p.call("create", name="s", kind="stream", capacity=16384)
    p.call("open_producer", h="p", name="s")
    c.call("open_consumer", h="c", name="s")
    reading, sending = c.begin("receive_pattern", h="c", **WORK), p.begin("send_pattern", h="p", **WORK)
    kills = 0
    while c.lines.empty() and kills < 5:
        runtime.kill_broker()
        kills += 1
        # Any call brings a broker back, with everything that was there.
        assert other.call("call", method="Status")["reply"]["segments"] == 1
    sending.result()
    assert reading.result()["received"] == WORK["count"]
    assert kills >= 1
    p.call("finish", h="p")
    with pytest.raises(AgentError, match="ended"):
        c.call("receive", h="c", timeout_ms=ENOUGH)


@pytest.mark.parametrize("language", LANGUAGES)
def test_new_handles_and_groups_join_after_a_restart(runtime, agents, language):
    old = agents(language)
    old.call("create", name="s", kind="stream", capacity=65536)
    old.call("open_producer", h="p", name="s")
    old.call("send", h="p", data=b"before")
    runtime.kill_broker()
    old.call("send", h="p", data=b"without a broker")
    old.call("open_consumer", h="c", name="s", group="new")
    old.call("send", h="p", data=b"after")
    assert [old.call("receive", h="c", timeout_ms=ENOUGH)["data"] for _ in range(3)] == [b"before", b"without a broker", b"after"]
    new = agents(language)
    new.call("open_producer", h="q", name="s")
    new.call("send", h="q", data=b"from another")
    assert old.call("receive", h="c", timeout_ms=ENOUGH)["data"] == b"from another"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sleeping_consumer_wakes_after_a_restart(runtime, agents, language):
    c, p = agents(language), agents("C++")
    c.call("create", name="s", kind="stream")
    c.call("open_consumer", h="c", name="s")
    waiting = c.begin("receive", h="c", timeout_ms=ENOUGH)
    runtime.kill_broker()
    p.call("open_producer", h="p", name="s")
    p.call("send", h="p", data=b"hello")
    assert waiting.result()["data"] == b"hello"


@pytest.mark.parametrize("language", LANGUAGES)
def test_bytes_keep_their_content_and_version(runtime, agents, language):
    agent = agents(language)
    agent.call("create", name="b", kind="bytes", size=4096)
    agent.call("open_bytes", h="b", name="b", mode="write")
    agent.call("put", h="b", data=b"kept")
    runtime.kill_broker()
    agent.call("put", h="b", data=b"kept too")
    other = agents(language)
    other.call("open_bytes", h="b", name="b")
    got = other.call("get", h="b", timeout_ms=0)
    assert (got["data"], got["version"]) == (b"kept too", 2)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_dead_consumer_held_comes_again_though_the_broker_was_dead_too(runtime, agents, language):
    p, dying, living = agents("C++"), agents(language), agents(language)
    p.call("create", name="s", kind="stream")
    dying.call("open_consumer", h="c", name="s", group="g", manual=True)
    p.call("open_producer", h="p", name="s")
    for i in range(3):
        p.call("send", h="p", data=b"%d" % i)
    for v in "abc":
        dying.call("receive", h="c", v=v)
    dying.call("acknowledge", h="c", v="a")
    runtime.kill_broker()
    dying.kill()
    living.call("open_consumer", h="c", name="s", group="g")
    again = [living.call("receive", h="c", timeout_ms=ENOUGH) for _ in range(2)]
    assert [(record["data"], record["deliveries"]) for record in again] == [(b"1", 2), (b"2", 2)]


def test_twenty_clients_at_once_make_one_broker(runtime, agents):
    started = [agents(language, connect=False) for language, _ in zip(itertools.cycle(("C++", "C")), range(20))]
    for pending in [agent.begin("connect") for agent in started]:
        pending.result()
    pids = {agent.call("call", method="Status")["reply"]["pid"] for agent in started}
    assert len(pids) == 1
