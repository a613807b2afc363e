"""Random damage to shared files and random control messages: errors are allowed, crashes and hangs are not.

Each test is one seed, named in its id, and does the same every time. `ATOLL_FUZZ_SEEDS=1000` tries more.
"""
import json
import os
import random
import socket

import pytest
from support.agents import AgentError

SEEDS = range(int(os.environ.get("ATOLL_FUZZ_SEEDS", "12")))
HEADER = 4096
INTERESTING = [0, 1, 2, 3, 4, 7, 8, 15, 16, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1]
# What damage may be called; anything else, such as a crash, a hang or a wrong record, is a defect.
ALLOWED = {"lane_damaged", "group_damaged", "bad_header", "truncated_file", "wrong_version", "wrong_byte_order", "timed_out", "ended",
           "removed", "too_many_unacknowledged", "lock_stuck", "bad_manifest", "closed", "invalid_geometry", "protocol_error"}


def scribble(randomness, path):
    size = path.stat().st_size
    with open(path, "r+b") as file:
        for _ in range(randomness.randrange(1, 6)):
            # Mostly at the words that matter: the page, and the first records.
            limit = size if randomness.random() < 0.2 else min(size, HEADER + 512)
            file.seek(randomness.randrange(0, limit - 8, 4))
            if randomness.random() < 0.5:
                file.write(randomness.choice(INTERESTING).to_bytes(8, "little"))
            else:
                file.write(randomness.randbytes(randomness.randrange(1, 8)))


def may_fail(agent, op, **fields):
    try:
        return agent.call(op, **fields)
    except AgentError as error:
        assert error.name in ALLOWED, error
        return None


def still_serves(agents):
    """The broker is the same one as before, and another segment works."""
    fresh = agents("C++")
    fresh.call("create", name="other", kind="stream", capacity=4096)
    fresh.call("open_producer", h="p", name="other")
    fresh.call("open_consumer", h="c", name="other")
    fresh.call("send", h="p", data=b"fine")
    assert fresh.call("receive", h="c")["data"] == b"fine"
    return fresh.call("call", method="Status")["reply"]["pid"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("language", ["C++", "Python", "Node"])
def test_damaged_files_of_a_stream_harm_nobody_else(runtime, agents, language, seed):
    randomness = random.Random(seed)
    pid = still_serves(agents)
    p, c = agents(language), agents(language)
    p.call("create", name="s", kind="stream", capacity=8192, when_full=randomness.choice(["block", "drop-new", "overwrite"]))
    p.call("open_producer", h="p", name="s")
    c.call("open_consumer", h="c", name="s", group="g", manual=bool(seed % 2))
    for number in range(10):
        p.call("send", h="p", data=b"%d" % number, timeout_ms=0)
    (folder,) = [folder for folder in runtime.segments() if folder.name.startswith("s@")]
    # The producer's own lane is mapped by it, too: what it does afterwards may fail, but it must live.
    victims = sorted(path for path in folder.iterdir() if path.is_file())
    for turn in range(4):
        scribble(randomness, randomness.choice(victims))
        for _ in range(6):
            record = may_fail(c, "receive", h="c", v=f"v{turn}", timeout_ms=0)
            if record is not None:
                may_fail(c, "release", h="c", v=f"v{turn}")
        late = agents(language)
        may_fail(late, "open_consumer", h="late", name="s", group=f"late{turn}")
        may_fail(late, "open_observer", h="o", name="s", start="earliest")
        late.call("call", method="List")
    may_fail(c, "close", h="c")
    may_fail(p, "close", h="p")
    assert still_serves(agents) == pid, "the broker was ended by a damaged segment"
    agents("C++").call("remove", name="s", force=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_files_of_a_bytes_segment_harm_nobody_else(runtime, agents, seed):
    randomness = random.Random(1000 + seed)
    pid = still_serves(agents)
    language = ["C++", "C", "Python", "Node"][seed % 4]
    agent = agents(language)
    agent.call("create", name="b", kind="bytes", size=4096)
    agent.call("open_bytes", h="b", name="b", mode="write")
    agent.call("put", h="b", data=b"content")
    (folder,) = [folder for folder in runtime.segments() if folder.name.startswith("b@")]
    for _ in range(6):
        scribble(randomness, randomness.choice(sorted(folder.iterdir())))
        may_fail(agent, "get", h="b", timeout_ms=0)
        may_fail(agent, "put", h="b", data=b"again", timeout_ms=20)
    assert still_serves(agents) == pid
    agents("C++").call("remove", name="b", force=True)


def mutated(randomness, message):
    data = bytearray(message)
    for _ in range(randomness.randrange(1, 5)):
        at = randomness.randrange(len(data))
        kind = randomness.randrange(4)
        if kind == 0:
            data[at] = randomness.randrange(256)
        elif kind == 1:
            del data[at:at + randomness.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = randomness.choice([b"{", b"[", b'"', b"\\u0000", b"-1", b"1e999", b"null", b"\0", b"\xff", b"999999999999999999999"])
        else:
            data[at:at] = data[at:at + randomness.randrange(1, 30)]
        if not data:
            data = bytearray(b"{")
    return bytes(data)


@pytest.mark.parametrize("seed", SEEDS)
def test_mutated_control_messages_never_end_the_broker(runtime, agents, seed):
    randomness = random.Random(2000 + seed)
    pid = still_serves(agents)
    calls = [{"method": f"dev.atoll.Broker.{method}", "parameters": parameters} for method, parameters in (
        ("Hello", {"interface_version": 1, "library": "t", "language": "t", "attachments": []}),
        ("Create", {"name": "f", "options": {"kind": "stream", "capacity": 4096, "access": [{"user": "*", "rights": ["consume"]}]}}),
        ("Attach", {"name": "f", "role": "consume", "group": "g", "group_options": {"start": "back", "start_back": 3}}),
        ("Refresh", {"attachment": 1, "lanes": [[0, 1]], "groups": []}), ("Show", {"name": "f"}), ("List", {"prefix": "x"}), ("Gc", {"apply": False}))]
    for _ in range(20):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(runtime.socket))
        connection.settimeout(10)
        try:
            for call in randomness.sample(calls, 3):
                connection.sendall(mutated(randomness, json.dumps(call).encode()) + b"\0")
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            connection.close()
    assert still_serves(agents) == pid, "a control message ended the broker"
