"""What every language does alike with segments of kind bytes."""
import pytest

from support.agents import LANGUAGES

pytestmark = pytest.mark.parametrize("language", LANGUAGES)
ENOUGH = 20_000  # ms


def segment(agent, name="b", size=4096, **options):
    agent.call("create", name=name, kind="bytes", size=size, **options)
    return name


def test_what_is_written_is_read_by_another_process(agents, language):
    agent, other = agents(language), agents("C++")
    segment(agent)
    agent.call("open_bytes", h="w", name="b", mode="write")
    other.call("open_bytes", h="r", name="b")
    agent.call("write_at", h="w", offset=4090, data=b"ending")
    assert other.call("read_at", h="r", offset=4088, length=8)["data"] == b"\0\0ending"
    agent.call("flush", h="w")


def test_a_range_outside_the_segment_is_refused(agents, refused, language):
    agent = agents(language)
    segment(agent)
    agent.call("open_bytes", h="w", name="b", mode="write")
    refused(agent, "write_at", "invalid_argument", h="w", offset=4090, data=b"too long")
    refused(agent, "read_at", "invalid_argument", h="w", offset=5000, length=1)
    assert agent.call("read_at", h="w", offset=4090, length=6)["data"] == bytes(6)


def test_a_read_only_handle_refuses_to_write(agents, refused, language):
    agent = agents(language)
    segment(agent)
    agent.call("open_bytes", h="r", name="b")
    refused(agent, "write_at", "not_permitted", h="r", offset=0, data=b"x")
    refused(agent, "put", "not_permitted", h="r", data=b"x")


def test_what_a_copy_writes_stays_its_own(agents, language):
    agent = agents(language)
    segment(agent)
    agent.call("open_bytes", h="c", name="b", mode="copy")
    agent.call("open_bytes", h="r", name="b")
    agent.call("write_at", h="c", offset=0, data=b"mine")
    assert agent.call("read_at", h="c", offset=0, length=4)["data"] == b"mine"
    assert agent.call("read_at", h="r", offset=0, length=4)["data"] == bytes(4)


def test_get_gives_the_content_last_put_with_its_version(agents, refused, language):
    agent = agents(language)
    segment(agent)
    agent.call("open_bytes", h="w", name="b", mode="write")
    agent.call("open_bytes", h="r", name="b")
    refused(agent, "get", "timed_out", h="r", timeout_ms=0)
    for version, content in enumerate((b"one", b"", b"three" * 100), start=1):
        agent.call("put", h="w", data=content)
        got = agent.call("get", h="r", timeout_ms=0)
        assert (got["data"], got["version"]) == (content, version)
    refused(agent, "get", "timed_out", h="r", after=3, timeout_ms=20)


def test_a_get_waits_for_the_next_put(agents, language):
    agent, other = agents(language), agents("C++")
    segment(agent)
    other.call("open_bytes", h="w", name="b", mode="write")
    agent.call("open_bytes", h="r", name="b")
    other.call("put", h="w", data=b"first")
    assert agent.call("get", h="r", timeout_ms=ENOUGH)["version"] == 1
    waiting = agent.begin("get", h="r", after=1, timeout_ms=ENOUGH)
    other.call("put", h="w", data=b"second")
    got = waiting.result()
    assert (got["data"], got["version"]) == (b"second", 2)


def test_a_put_longer_than_the_segment_takes_is_too_large(agents, refused, language):
    agent = agents(language)
    segment(agent, size=4096, put_size=100)
    agent.call("open_bytes", h="w", name="b", mode="write")
    agent.call("put", h="w", data=b"x" * 100)
    refused(agent, "put", "too_large", h="w", data=b"x" * 101)


def test_the_wrong_kind_is_named(agents, refused, language):
    agent = agents(language)
    segment(agent)
    agent.call("create", name="s", kind="stream")
    refused(agent, "open_producer", "wrong_kind", h="p", name="b")
    refused(agent, "open_bytes", "wrong_kind", h="b", name="s")
