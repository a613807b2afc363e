"""Every language's writer of a bytes segment with every language's reader."""
import itertools

import pytest

LANGUAGES = ("C++", "Python", "Node")
PAIRS = list(itertools.product(LANGUAGES, LANGUAGES))
pytestmark = pytest.mark.parametrize("writer, reader", PAIRS, ids=lambda language: language)


def test_what_one_writes_the_other_reads_in_place(agents, writer, reader):
    w, r = agents(writer), agents(reader)
    w.call("create", name="b", kind="bytes", size=100_000)
    w.call("open_bytes", h="b", name="b", mode="write")
    r.call("open_bytes", h="b", name="b")
    content = bytes(i * 7 % 256 for i in range(100_000))
    w.call("write_at", h="b", offset=0, data=content)
    assert r.call("read_at", h="b", offset=0, length=100_000)["data"] == content


def test_each_put_is_seen_whole_by_a_waiting_get(agents, writer, reader):
    w, r = agents(writer), agents(reader)
    w.call("create", name="b", kind="bytes", size=50_000)
    w.call("open_bytes", h="b", name="b", mode="write")
    r.call("open_bytes", h="b", name="b")
    for version in range(1, 40):
        content = bytes([version]) * (version * 1237 % 50_000)
        waiting = r.begin("get", h="b", after=version - 1, timeout_ms=20_000)
        w.call("put", h="b", data=content)
        got = waiting.result()
        assert (got["version"], got["data"]) == (version, content)
