"""The manifest is enough: reader.py follows streams and reads bytes segments with Python's standard library alone."""
import ast
import contextlib
import json
import pathlib
import subprocess
import sys
import threading

import pytest

READER = pathlib.Path(__file__).with_name("reader.py")
ENOUGH = 30  # seconds, for what must come


class Reading:
    """reader.py at work in a process of its own, without site-packages."""

    def __init__(self, manifest, *arguments):
        self.process = subprocess.Popen([sys.executable, "-I", "-S", str(READER), str(manifest), *map(str, arguments)],
                                        stdout=subprocess.PIPE, text=True)
        self.watchdog = threading.Timer(ENOUGH, self.process.kill)
        self.watchdog.start()

    def next(self):
        line = self.process.stdout.readline()
        assert line, f"the reader ended with status {self.process.wait()}"
        record = json.loads(line)
        record["data"] = bytes.fromhex(record["data"])
        return record

    def rest(self):
        lines = self.process.stdout.read().splitlines()
        assert self.process.wait() == 0
        return [{**json.loads(line), "data": bytes.fromhex(json.loads(line)["data"])} for line in lines]

    def close(self):
        self.watchdog.cancel()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def read(runtime):
    """A function that starts the reader on a segment's published manifest."""
    with contextlib.ExitStack() as stack:
        def start(name, *arguments):
            reading = Reading(runtime.directory / "segments" / f"{name.replace('/', '+')}.json", *arguments)
            stack.callback(reading.close)
            return reading
        yield start


@pytest.fixture
def agent(agents):
    return agents("C++")


def stream(agent, name="s", **options):
    agent.call("create", name=name, kind="stream", **{"capacity": 65536, **options})
    agent.call("open_producer", h="p", name=name)


def test_it_uses_the_standard_library_only_and_knows_no_number_of_the_layout():
    tree = ast.parse(READER.read_text())
    imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imports <= {"json", "mmap", "os", "struct", "sys", "time"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    numbers = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is int}
    assert numbers <= {0, 1, 2, 3, 8}, "offsets, widths and values come from the manifest"


@pytest.mark.parametrize("alignment", [16, 64])
def test_it_reads_a_stream_from_the_earliest_record_until_its_end(agent, read, alignment):
    stream(agent, alignment=alignment)
    sent = [bytes([length]) * length for length in range(100)]
    for data in sent:
        agent.call("send", h="p", data=data)
    agent.call("finish", h="p")
    records = read("s").rest()
    assert [record["data"] for record in records] == sent
    assert [record["sequence"] for record in records] == list(range(100))
    assert {record["missed"] for record in records} == {0}


def test_it_says_what_a_record_holds(agent, read):
    stream(agent)
    for content in ("bytes", "text", "json"):
        agent.call("send", h="p", data=b"1", content=content)
    assert [record["content"] for record in read("s", 3).rest()] == ["bytes", "text", "json"]


def test_it_follows_records_that_come_later(agent, read):
    stream(agent)
    agent.call("send", h="p", data=b"before")
    reading = read("s")
    assert reading.next()["data"] == b"before"
    for i in range(50):
        agent.call("send", h="p", data=b"%d" % i)
        assert reading.next()["data"] == b"%d" % i


def test_it_reads_all_lanes_and_finds_new_ones(agent, read):
    stream(agent)
    agent.call("send", h="p", data=b"first lane")
    reading = read("s")
    assert reading.next()["data"] == b"first lane"
    agent.call("open_producer", h="q", name="s")
    agent.call("send", h="q", data=b"second lane")
    record = reading.next()
    assert (record["data"], record["sequence"]) == (b"second lane", 0)
    agent.call("send", h="p", data=b"first again")
    assert reading.next()["data"] == b"first again"
    for h in "pq":
        agent.call("finish", h=h)
    assert reading.rest() == []


def test_it_follows_a_ring_round_its_end_with_padding_and_aborted_loans(agent, read):
    stream(agent, capacity=4096)
    agent.call("open_consumer", h="c", name="s")
    reading = read("s")
    for i in range(200):
        data = b"%03d" % i * (1 + i % 150)
        if i % 7 == 0:
            agent.call("loan", h="p", v="v", data=b"never seen")
            agent.call("abort", h="p", v="v")
        agent.call("send", h="p", data=data)
        assert reading.next()["data"] == data
        assert agent.call("receive", h="c")["data"] == data  # makes room


def test_it_sees_nothing_of_a_loan_before_it_is_committed(agent, read):
    stream(agent)
    agent.call("loan", h="p", v="v", data=b"lent")
    agent.call("send", h="p", data=b"after")
    agent.call("commit", h="p", v="v")
    agent.call("finish", h="p")
    assert [record["data"] for record in read("s").rest()] == [b"lent", b"after"]


def test_it_starts_at_the_oldest_record_left_and_counts_those_it_missed(agent, read):
    stream(agent, capacity=4096, when_full="overwrite")
    for i in range(300):
        agent.call("send", h="p", data=b"%03d" % i + b"x" * 100)
    agent.call("finish", h="p")
    records = read("s").rest()
    first = records[0]
    assert first["missed"] == first["sequence"] > 0
    assert [record["sequence"] for record in records] == list(range(first["sequence"], 300))
    assert all(record["data"][:3] == b"%03d" % record["sequence"] for record in records)


def test_it_can_read_on_when_the_broker_is_dead(agent, read, runtime):
    stream(agent)
    reading = read("s")
    agent.call("send", h="p", data=b"one")
    assert reading.next()["data"] == b"one"
    runtime.kill_broker()
    agent.call("send", h="p", data=b"two")
    assert reading.next()["data"] == b"two"


def test_it_reads_the_content_last_put_of_a_bytes_segment(agent, read):
    agent.call("create", name="a/b", kind="bytes", size=10000)
    agent.call("open_bytes", h="w", name="a/b", mode="write")
    assert read("a/b").rest() == [{"version": 0, "data": b""}]
    for version, data in enumerate((b"hello", b"x" * 10000, b""), start=1):
        agent.call("put", h="w", data=data)
        assert read("a/b").rest() == [{"version": version, "data": data}]


def test_it_says_so_when_a_file_has_no_path(agent, runtime):
    agent.call("create", name="hidden", kind="stream", backing="memfd")
    done = subprocess.run([sys.executable, "-I", "-S", str(READER), str(runtime.directory / "segments/hidden.json")],
                          capture_output=True, text=True, timeout=ENOUGH)
    assert done.returncode != 0 and "no path" in done.stderr and "Traceback" not in done.stderr
