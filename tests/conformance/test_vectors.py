"""The golden bytes of protocol/vectors, read by every language through the library.

A segment of the same geometry is made, the vector's bytes are written into its files (all but what makes the files the
broker's own: header page and owner), and then each language must see in it what the vector says.
"""
import json
import os
import pathlib
import struct
import subprocess
import sys

import pytest

from support.agents import LANGUAGES, AgentError

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "protocol/vectors"
ENOUGH = 20_000  # ms, for what must come
PAGE, OWNER_END, LOCK = 4096, 256, 512

every_language = pytest.mark.parametrize("language", LANGUAGES)


def vectors(prefix):
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(VECTORS.glob(prefix + "*.json"))}
    assert found
    return found


def image(file):
    data = bytearray(file["size"])
    for offset, text in file["bytes"].items():
        part = bytes.fromhex(text)
        data[int(offset):int(offset) + len(part)] = part
    return bytes(data)


def file_of(vector, role):
    return next((file for file in vector["files"] if file["role"] == role), None)


class Place:
    """A runtime directory's segments, by name, and what was wrong with them."""

    def __init__(self, runtime):
        self.runtime, self.wrong = runtime, []

    def path(self, name, role):
        folder = next(path for path in self.runtime.segments() if path.name.rsplit("@", 1)[0] == name)
        return next(path for path in folder.iterdir() if path.name.startswith(role))

    def write(self, name, role, offset, data):
        with open(self.path(name, role), "r+b") as file:
            file.seek(offset)
            file.write(data)

    def expect(self, what, got, wanted):
        if got != wanted:
            self.wrong.append(f"{what}: {got} instead of {wanted}")


@pytest.fixture
def place(runtime):
    made = Place(runtime)
    yield made
    assert not made.wrong, "\n".join(made.wrong)


def made_stream(place, agent, name, vector):
    agent.call("create", name=name, kind="stream", capacity=vector["capacity"], alignment=vector["alignment"], when_full=vector["when_full"])
    place.write(name, "lane-0", OWNER_END, image(file_of(vector, "lane"))[OWNER_END:])


def drained(agent, h, wait_for=0):
    """Everything that comes, each as the vector's `records` say it, and the error after it. The first `wait_for` records are waited for."""
    records = []
    while True:
        try:
            got = agent.call("receive", h=h, timeout_ms=ENOUGH if len(records) < wait_for else 0)
        except AgentError as error:
            return records, error.name
        records.append(got)


def test_the_vectors_are_what_their_script_makes():
    subprocess.run([sys.executable, "-B", str(VECTORS / "make.py"), "--check"], check=True)


@every_language
def test_a_consumer_reads_every_golden_lane(place, agents, language):
    agent = agents(language)
    ends = {"nothing": "timed_out", "claimed": "timed_out", "ended": "ended", "lane_damaged": "lane_damaged"}
    for name, vector in vectors("lane_").items():
        made_stream(place, agent, name, vector)
        agent.call("open_consumer", h=name, name=name)
        records, end = drained(agent, name)
        wanted = [(r["sequence"], r["content"], r["payload"]) for r in vector["expect"]["records"]]
        place.expect(name, [(r["sequence"], r["content"], r["data"].hex()) for r in records], wanted)
        place.expect(name + " ends", end, ends[vector["expect"]["then"]])
        agent.call("close", h=name)


@every_language
def test_an_observer_reads_every_golden_lane_that_is_sound(place, agents, language):
    agent = agents(language)
    for name, vector in vectors("lane_").items():
        if vector["expect"]["then"] == "lane_damaged":
            continue
        made_stream(place, agent, name, vector)
        agent.call("open_observer", h=name, name=name, start="earliest")
        records, _ = drained(agent, name)
        wanted = [(r["sequence"], r["content"], r["payload"]) for r in vector["expect"]["records"]]
        place.expect(name, [(r["sequence"], r["content"], r["data"].hex()) for r in records], wanted)
        agent.call("close", h=name)


@every_language
def test_a_producer_goes_on_with_every_golden_lane_that_is_sound(place, agents, language):
    agent = agents(language)
    for name, vector in vectors("lane_").items():
        if vector["expect"]["then"] in ("lane_damaged", "claimed"):
            continue
        made_stream(place, agent, name, vector)
        agent.call("open_producer", h="p", name=name)
        agent.call("open_consumer", h="c", name=name)
        agent.call("send", h="p", data=b"one more")
        before = len(vector["expect"]["records"])
        records, _ = drained(agent, "c", wait_for=before + 1)
        place.expect(name, [(r["data"], r["lane"]) for r in records[before:]], [(b"one more", 0)])
        sequence = vector.get("recovered", vector["expect"])["sequence"]
        place.expect(name + " sequence", records[-1]["sequence"] if records else None, sequence)
        agent.call("close", h="p")
        agent.call("close", h="c")


def made_group(place, agent, name, vector):
    """The vector's stream and group `g`, in which a consumer that then died took part: so the broker looks after it."""
    exclusive = bool(vector["expect"].get("group", {}).get("exclusive"))
    made_stream(place, agent, name, vector)
    agent.call("open_consumer", h="first", name=name, group="g", exclusive=exclusive)
    agent.call("close", h="first")
    group = image(file_of(vector, "group"))
    place.write(name, "group-", 144, group[144:160])
    place.write(name, "group-", 768, group[768:])
    return exclusive


@every_language
def test_the_next_consumers_get_what_a_golden_group_has_still_to_give(place, agents, language):
    agent = agents(language)
    for name, vector in vectors("group_").items():
        expected = vector["expect"].get("gives_next")
        if expected is None:
            continue
        victim = agents("C++")
        exclusive = made_group(place, agent, name, vector)
        if not exclusive:
            victim.call("open_consumer", h="v", name=name, group="g")
            place.write(name, "group-", LOCK, image(file_of(vector, "group"))[LOCK:LOCK + 4])
        victim.kill()
        agent.call("open_consumer", h="c", name=name, group="g", exclusive=exclusive)
        records, _ = drained(agent, "c", wait_for=len(expected["sequences"]))
        place.expect(name, sorted((r["sequence"], r["deliveries"]) for r in records), sorted(zip(expected["sequences"], expected["deliveries"])))
        agent.call("close", h="c")


@every_language
def test_a_group_with_impossible_values_is_damaged_and_harms_nobody_else(place, agents, language):
    agent = agents(language)
    for name, vector in vectors("group_").items():
        if vector["expect"].get("error") != "group_damaged":
            continue
        made_group(place, agent, name, vector)
        try:
            agent.call("open_consumer", h="c", name=name, group="g")
            records, end = drained(agent, "c")
            agent.call("close", h="c")
        except AgentError as error:
            end = error.name
        place.expect(name, end, "group_damaged")
        agent.call("open_consumer", h="d", name=name, group="other")
        records, end = drained(agent, "d")
        place.expect(name + ", another group", (len(records) > 0, end), (True, "timed_out"))
        agent.call("close", h="d")


@every_language
def test_every_golden_bytes_segment_gives_its_content_and_a_dead_putter_leaves_old_or_new(place, agents, language):
    agent = agents(language)
    for name, vector in vectors("bytes_").items():
        expect, data = vector["expect"], image(file_of(vector, "data"))
        if expect.get("repaired") == "damaged":
            continue
        agent.call("create", name=name, kind="bytes", size=vector["size"], put_size=vector["put_size"])
        agent.call("open_bytes", h="r", name=name)
        agent.call("open_bytes", h="w", name=name, mode="write")
        victim = agents("C++")
        victim.call("open_bytes", h="v", name=name, mode="write")
        path = place.path(name, "data")
        staging = struct.unpack_from("<Q", path.read_bytes(), 296)[0]
        place.write(name, "data", PAGE, data[PAGE:PAGE + vector["size"]])
        place.write(name, "data", staging, data[PAGE + vector["size"]:][:vector["put_size"]])
        place.write(name, "data", LOCK, data[LOCK:PAGE])
        try:
            got = agent.call("get", h="r", timeout_ms=0)
            state = ("content", got["version"], got["data"].hex())
        except AgentError as error:
            state = ("waits" if error.name == "timed_out" else error.name, None, None)
        place.expect(name, state, (expect["get"], expect.get("version") if expect["get"] == "content" else None,
                                   expect.get("content") if expect["get"] == "content" else None))
        victim.kill()
        if "repaired" in expect:
            got = agent.call("get", h="r", after=expect["repaired"]["version"] - 1, timeout_ms=ENOUGH)
            place.expect(name + ", repaired", (got["version"], got["data"].hex()), (expect["repaired"]["version"], expect["repaired"]["content"]))
            agent.call("put", h="w", data=b"next", timeout_ms=ENOUGH)
            got = agent.call("get", h="r", timeout_ms=0)
            place.expect(name + ", next put", (got["version"], got["data"]), (expect["repaired"]["version"] + 1, b"next"))
        agent.call("close", h="r")
        agent.call("close", h="w")


@every_language
def test_every_golden_header_page_is_taken_or_refused_with_its_own_error(place, agents, language):
    agent = agents(language)
    pages = vectors("header_pages")["header_pages"]["pages"]
    good = bytes.fromhex(pages[0]["bytes"])
    for page in pages:
        name, bad = page["name"], bytes.fromhex(page["bytes"])
        agent.call("create", name=name, kind="stream", capacity=4096, alignment=16)
        agent.call("open_producer", h="p", name=name)
        agent.call("send", h="p", data=b"x")
        agent.call("close", h="p")
        # The difference to the good page is what is forged: uuid and generation are the segment's own.
        path = place.path(name, "lane-0")
        mine = path.read_bytes()[:len(bad)]
        place.write(name, "lane-0", 0, bytes(m ^ b ^ g for m, b, g in zip(mine, bad, good)))
        if page["real_size"] < path.stat().st_size:
            os.truncate(path, page["real_size"])
        try:
            agent.call("open_consumer", h="c", name=name)
            records, end = drained(agent, "c")
            end = None if len(records) == 1 and end == "timed_out" else end
            agent.call("close", h="c")
        except AgentError as error:
            end = error.name
        place.expect(name, end, page["error"])


@pytest.mark.parametrize("language", ["Python", "Node"])
def test_every_golden_array_is_read_and_every_hostile_one_refused(place, agents, language):
    agent, sender = agents(language), agents("C++")
    sender.call("create", name="a", kind="stream", capacity=65536, alignment=64)
    sender.call("open_producer", h="p", name="a")
    agent.call("open_consumer", h="c", name="a")
    arrays = vectors("arrays")["arrays"]
    for case in arrays["good"] + arrays["hostile"]:
        sender.call("send", h="p", data=bytes.fromhex(case["payload"]), content="array")
        try:
            got = agent.call("receive_array", h="c", timeout_ms=ENOUGH)
            if str(case.get("dtype")).startswith(">") and got["dtype"].startswith("<"):  # Node swaps: JavaScript has one byte order
                size = int(got["dtype"][2:])
                got |= {"dtype": case["dtype"], "data": b"".join(got["data"][i:i + size][::-1] for i in range(0, len(got["data"]), size))}
            # Each language has its own way to name the dtype of elements with fields; their bytes tell.
            got = (got["dtype"] if isinstance(case.get("dtype"), str) else None, got["shape"], got["data"].hex())
        except AgentError as error:
            got = error.name
        dtype = case["dtype"] if isinstance(case.get("dtype"), str) else None
        place.expect(case["about"], got, case.get("error") or (dtype, case["shape"], case["data"]))
