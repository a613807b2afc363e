"""The golden bytes of protocol/vectors, read in every language.

A segment is made by the broker; the bytes of a vector then replace what the broker's header page and line leave
free, as if the vector's producer had written them. What comes out must be what the vector says.
"""
import json
import pathlib

import pytest
from support.agents import LANGUAGES, AgentError

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "protocol/vectors"
OURS = 256  # the header page's 128 bytes and the broker's line stay the broker's
pytestmark = pytest.mark.parametrize("language", LANGUAGES)


def vectors(pattern, wanted=lambda vector: True):
    paths = sorted(VECTORS.glob(pattern))
    assert paths, f"no vector is called {pattern}"
    return [path.stem for path in paths if wanted(json.loads(path.read_text()))]


def load(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def plant(runtime, vector, role):
    """Puts the vector's bytes of one file into the segment's."""
    golden = next(file for file in vector["files"] if file["role"] == role)
    (folder,) = runtime.segments()
    (path,) = [path for path in folder.iterdir() if path.name.split("-")[0] == role]
    assert path.stat().st_size == golden["size"]
    content = bytearray(golden["size"])
    for offset, data in golden["bytes"].items():
        data = bytes.fromhex(data)
        content[int(offset):int(offset) + len(data)] = data
    with open(path, "r+b") as file:
        file.seek(OURS)
        file.write(content[OURS:])


@pytest.mark.parametrize("name", vectors("lane_*.json"))
def test_the_records_of_a_golden_lane(runtime, agents, language, name):
    vector = load(name)
    agent = agents(language)
    agent.call("create", name="s", kind="stream", capacity=vector["capacity"], alignment=vector["alignment"], when_full=vector["when_full"])
    plant(runtime, vector, "lane")
    agent.call("open_consumer", h="c", name="s", group="g")
    expected = vector["expect"]
    for record in expected["records"]:
        got = agent.call("receive", h="c", timeout_ms=5000)
        assert (got["sequence"], got["content"], got["data"].hex()) == (record["sequence"], record["content"], record["payload"])
    end = {"nothing": "timed_out", "claimed": "timed_out"}.get(expected["then"], expected["then"])
    with pytest.raises(AgentError) as caught:
        agent.call("receive", h="c", timeout_ms=0 if end == "timed_out" else 5000)
    assert caught.value.name == end


@pytest.mark.parametrize("name", vectors("bytes_*.json", lambda vector: "get" in vector["expect"] and "lock" not in vector["expect"]))
def test_the_content_of_a_golden_bytes_segment(runtime, agents, language, name):
    vector = load(name)
    agent = agents(language)
    agent.call("create", name="b", kind="bytes", size=vector["size"], put_size=vector["put_size"])
    plant(runtime, vector, "data")
    agent.call("open_bytes", h="b", name="b")
    expected = vector["expect"]
    if expected["get"] == "content":
        got = agent.call("get", h="b", timeout_ms=0)
        assert (got["data"].hex(), got["version"]) == (expected["content"], expected["version"])
        return
    with pytest.raises(AgentError) as caught:
        agent.call("get", h="b", timeout_ms=0)
    assert caught.value.name == ("timed_out" if expected["get"] == "waits" else expected["get"])
