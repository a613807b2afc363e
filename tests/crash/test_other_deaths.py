"""What is no plain death, or more than one: a process that is stopped is never taken for dead; a socket closed by a living process
costs it nothing; a forked child does not keep its parent alive; client and broker die in the same moment.

And how soon those who wait go on after a certain death: within 10 ms.
"""
from __future__ import annotations

import os
import signal
import statistics
import time

import pytest
from scenes import nobody_and_nothing_is_left, scene, until_dealt_with
from support.agents import AgentError
from support.figures import figure
from support.victims import Victim
from works import ENOUGH, Reading, drain, number_of, record

LANGUAGES = ("C++", "Python", "Node")
ROUNDS = 15
SOON_MS = 10


@pytest.fixture
def room():
    with scene() as (runtime, agents):
        yield runtime, agents


def stopped(agent) -> None:
    os.kill(agent.process.pid, signal.SIGSTOP)
    _, status = os.waitpid(agent.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


# ---- Stopped ----


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_stopped_consumer_keeps_its_records_and_its_group(room, language):
    runtime, agents = room
    producer, paused, other = agents("C++"), agents(language), agents("C++")
    producer.call("create", name="s", kind="stream", capacity=65536)
    producer.call("open_producer", h="p", name="s")
    paused.call("open_consumer", h="c", name="s", group="g", manual=True)
    producer.call("send", h="p", data=record(0))
    assert number_of(paused.call("receive", h="c", v="v", timeout_ms=ENOUGH)["data"]) == 0
    stopped(paused)
    other.call("open_consumer", h="c", name="s", group="g", manual=True)
    for number in range(1, 4):
        producer.call("send", h="p", data=record(number))
    # Another member dies meanwhile, so that the broker looks through the group's claims.
    with_claim = agents("C++")
    with_claim.call("open_consumer", h="c", name="s", group="g", manual=True)
    with_claim.call("receive", h="c", v="v", timeout_ms=ENOUGH)
    with_claim.kill()
    until_dealt_with(producer, with_claim.process.pid)
    seen = []
    for i in range(3):
        seen.append(number_of(other.call("receive", h="c", v=f"v{i}", timeout_ms=ENOUGH)["data"]))
        other.call("acknowledge", h="c", v=f"v{i}")
        other.call("release", h="c", v=f"v{i}")
    assert sorted(seen) == [1, 2, 3], "what the dead one held came again; what the stopped one holds did not"
    with pytest.raises(AgentError):
        other.call("receive", h="c", timeout_ms=50)
    os.kill(paused.process.pid, signal.SIGCONT)
    paused.call("acknowledge", h="c", v="v")
    paused.call("release", h="c", v="v")
    for agent in (paused, other):
        agent.call("close", h="c")
    producer.call("close", h="p")
    nobody_and_nothing_is_left(runtime, producer)


@pytest.mark.parametrize("point", ["fast.send.written", "fast.loan.begun", "limit.stored", "send_many.written"])
def test_a_producer_that_is_stopped_half_way_through_a_record_goes_on_with_it(room, point):
    runtime, agents = room
    reader, other = agents("C++"), agents("C++")
    reader.call("create", name="s", kind="stream", capacity=8192)
    reader.call("open_consumer", h="c", name="s", group="g")
    victim = Victim(stop=f"{point}:2")
    reading = Reading(reader, "c")
    reading.begin()
    victim.call("connect")
    victim.call("open_producer", h="p", name="s")
    calls = [("send_many", {"records": [record(number) for number in range(2)]})] if point.startswith("send_many") else []
    calls += [("send_many", {"records": [record(number) for number in range(2, 4)]})] if calls else [("send", {"data": record(number)}) for number in range(20)]
    if point == "fast.loan.begun":
        calls = [step for number in range(4) for step in (("loan", {"v": f"{number}", "data": record(number)}), ("commit", {"v": f"{number}"}))]
    done = False
    for op, fields in calls:
        pending = victim.begin(op, h="p", **({"timeout_ms": ENOUGH} if op != "commit" else {}), **fields)
        if not done and is_stopped(victim):
            # Others go on around it, and the broker does not think it dead.
            other.call("open_producer", h="q", name="s")
            other.call("send", h="q", data=b"other")
            clients = other.call("call", method="Show", parameters={"name": "s"})["reply"]["clients"]
            assert victim.pid in [client["pid"] for client in clients]
            other.call("close", h="q")
            victim.go_on()
            done = True
        victim.result(pending)
    assert done, "it was never stopped"
    victim.call("close", h="p")
    victim.end()
    came = [each["data"] for each in reading.end() + drain(reader, "c")]
    mine = [number_of(data) for data in came if data != b"other"]
    assert mine == list(range(len(mine))) and len(mine) >= 4 and b"other" in came
    reader.call("close", h="c")
    nobody_and_nothing_is_left(runtime, reader)


def is_stopped(victim: Victim) -> bool:
    """Whether it stops before it has answered."""
    while victim.agent.lines.empty():
        with open(f"/proc/{victim.pid}/stat") as stat:
            if stat.read().rpartition(") ")[2][0] == "T":
                return True
    return False


def test_a_stopped_broker_holds_up_nobody_who_has_what_it_needs(room):
    runtime, agents = room
    producer, consumer = agents("C++"), agents("Python")
    producer.call("create", name="s", kind="stream", capacity=65536)
    producer.call("open_producer", h="p", name="s")
    consumer.call("open_consumer", h="c", name="s", group="g")
    producer.call("send", h="p", data=record(0))  # it knows the group now
    assert number_of(consumer.call("receive", h="c", timeout_ms=ENOUGH)["data"]) == 0
    pid = producer.call("call", method="Status")["reply"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        for number in range(1, 300):
            producer.call("send", h="p", data=record(number), timeout_ms=ENOUGH)
            assert number_of(consumer.call("receive", h="c", timeout_ms=ENOUGH)["data"]) == number
    finally:
        os.kill(pid, signal.SIGCONT)
    assert producer.call("call", method="Status")["reply"]["pid"] == pid


# ---- Forked, and closed ----


@pytest.mark.parametrize("language", ["C++", "Python"])
def test_a_forked_child_that_lives_on_does_not_keep_what_its_dead_parent_held(room, language):
    runtime, agents = room
    producer, other = agents("C++"), agents("C++")
    producer.call("create", name="s", kind="stream", capacity=65536)
    producer.call("open_producer", h="p", name="s")
    producer.call("send", h="p", data=record(0))
    parent = Victim(language)
    parent.call("connect")
    parent.call("open_consumer", h="c", name="s", group="g", manual=True)
    parent.call("receive", h="c", v="v", timeout_ms=ENOUGH)
    child = parent.call("fork_and_stay")["pid"]
    try:
        os.kill(parent.pid, signal.SIGKILL)
        parent.agent.process.wait()
        other.call("open_consumer", h="c", name="s", group="g", manual=True)
        came = other.call("receive", h="c", v="v", timeout_ms=ENOUGH)
        assert number_of(came["data"]) == 0 and came["deliveries"] == 2
        other.call("acknowledge", h="c", v="v")
        other.call("release", h="c", v="v")
        other.call("close", h="c")
    finally:
        os.kill(child, signal.SIGKILL)
        parent.end()
    producer.call("close", h="p")
    nobody_and_nothing_is_left(runtime, producer, parent.pid)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_living_client_whose_socket_is_closed_keeps_all_that_it_holds(room, language):
    """Whoever shuts its connection down, a debugger or a firewall of sorts: the process lives, so nothing is taken from it."""
    runtime, agents = room
    client, other = agents(language), agents("C++")
    other.call("create", name="s", kind="stream", capacity=65536)
    client.call("open_producer", h="p", name="s")
    client.call("open_consumer", h="c", name="s", group="g", manual=True)
    client.call("send", h="p", data=record(0))
    client.call("receive", h="c", v="v", timeout_ms=ENOUGH)
    broker = other.call("call", method="Status")["reply"]["pid"]
    cut_connection(client.process.pid)
    while client_state(other, client.process.pid) != "quarantined":
        pass
    other.call("open_consumer", h="d", name="s", group="g", manual=True)
    with pytest.raises(AgentError) as nothing:
        other.call("receive", h="d", timeout_ms=50)
    assert nothing.value.name == "timed_out"
    client.call("send", h="p", data=record(1))  # without a broker
    client.call("acknowledge", h="c", v="v")
    client.call("release", h="c", v="v")
    client.call("create", name="t", kind="stream", capacity=4096)  # and with it again
    assert client_state(other, client.process.pid) == "connected"
    assert other.call("call", method="Status")["reply"]["pid"] == broker
    assert number_of(other.call("receive", h="d", timeout_ms=ENOUGH)["data"]) == 1


def client_state(agent, pid: int) -> str:
    clients = agent.call("call", method="Show", parameters={"name": "s"})["reply"]["clients"]
    [state] = {client["state"] for client in clients if client["pid"] == pid}
    return state


def cut_connection(pid: int) -> None:
    """Shuts down the process's connected Unix sockets with descriptors of our own to them (pidfd_getfd)."""
    import ctypes
    import socket

    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            if not os.readlink(f"/proc/{pid}/fd/{entry}").startswith("socket:"):
                continue
            copy = libc.syscall(438, pidfd, int(entry), 0)  # pidfd_getfd
            assert copy >= 0, os.strerror(ctypes.get_errno())
            with socket.socket(fileno=copy) as ours:
                if ours.family == socket.AF_UNIX and str(ours.getpeername()).endswith("atoll.sock"):
                    ours.shutdown(socket.SHUT_RDWR)
    finally:
        os.close(pidfd)


# ---- Both at once ----


@pytest.mark.parametrize("point", ["fast.send.written", "lock.taken", "redo.valid", "put.valid", "attach.answered", "fast.released"])
def test_client_and_broker_die_in_the_same_moment(room, point):
    runtime, agents = room
    other = agents("C++")
    other.call("create", name="s", kind="stream", capacity=8192)
    other.call("create", name="b", kind="bytes", size=4096)
    other.call("open_producer", h="p", name="s")
    for number in range(3):
        other.call("send", h="p", data=record(number))
    victim = Victim(stop=f"{point}:1")
    victim.call("connect")
    steps = {"fast.send.written": [("open_producer", {"h": "q", "name": "s"}), ("send", {"h": "q", "data": b"mine"}), ("send", {"h": "q", "data": b"mine"})],
             "put.valid": [("open_bytes", {"h": "b", "name": "b", "mode": "write"}), ("put", {"h": "b", "data": b"new"})],
             "attach.answered": [("open_producer", {"h": "q", "name": "s"})]}
    consume = [("open_consumer", {"h": "c", "name": "s", "group": "g", "exclusive": point == "fast.released"}), ("receive", {"h": "c"})]
    for op, fields in steps.get(point, consume):
        pending = victim.begin(op, **fields)
        if is_stopped(victim):
            break
        victim.result(pending)
    os.kill(victim.pid, signal.SIGKILL)
    runtime.kill_broker()
    victim.end()
    fresh = agents("C++")
    fresh.call("open_consumer", h="c", name="s", group="g", exclusive=point == "fast.released")
    numbers = [number_of(came["data"]) for came in drain(fresh, "c") if came["data"] != b"mine"]
    assert numbers in ([0, 1, 2], [1, 2]) and (numbers == [0, 1, 2] or point == "fast.released"), numbers
    fresh.call("open_bytes", h="b", name="b", mode="write")
    if point == "put.valid":
        assert fresh.call("get", h="b", timeout_ms=ENOUGH)["data"] == b"new", "a put that was decided is finished"
    fresh.call("put", h="b", data=b"newer", timeout_ms=ENOUGH)
    other.call("send", h="p", data=record(3), timeout_ms=ENOUGH)
    assert number_of(fresh.call("receive", h="c", timeout_ms=ENOUGH)["data"]) == 3
    for agent, h in ((fresh, "c"), (fresh, "b"), (other, "p")):
        agent.call("close", h=h)
    nobody_and_nothing_is_left(runtime, fresh, victim.pid)


# ---- How soon ----


def waits_for_the_lock(agents):
    holder, waiter = Victim(stop="lock.taken:1"), agents("C++")
    holder.call("connect")
    holder.call("open_consumer", h="c", name="s", group="g", manual=True)
    holder.begin("receive", h="c", v="v", timeout_ms=ENOUGH)
    holder.stops()
    waiter.call("open_consumer", h="c", name="s", group="g", manual=True)
    return holder, waiter, waiter.begin("receive", h="c", v="v", timeout_ms=ENOUGH)


def waits_for_what_the_dead_had_received(agents):
    holder, waiter = Victim(), agents("C++")
    holder.call("connect")
    holder.call("open_consumer", h="c", name="s", group="g", manual=True)
    holder.call("receive", h="c", v="v", timeout_ms=ENOUGH)
    waiter.call("open_consumer", h="c", name="s", group="g", manual=True)
    return holder, waiter, waiter.begin("receive", h="c", v="v", timeout_ms=ENOUGH)


def waits_behind_an_open_loan(agents):
    holder, waiter = Victim(), agents("C++")
    waiter.call("open_consumer", h="c", name="s", group="g", manual=True)
    waiter.call("receive", h="c", v="before", timeout_ms=ENOUGH)
    holder.call("connect")
    holder.call("open_producer", h="p", name="s")
    holder.call("loan", h="p", v="open", data=b"never seen")
    holder.call("send", h="p", data=record(1))
    return holder, waiter, waiter.begin("receive", h="c", v="v", timeout_ms=ENOUGH)


def waits_for_room(agents):
    holder, waiter = Victim(), agents("C++")
    holder.call("connect")
    holder.call("open_consumer", h="c", name="s", group="late", ephemeral=True, start="latest")
    waiter.call("open_producer", h="p", name="s")
    for _ in range(2):
        waiter.call("send", h="p", data=b"." * 1500)
    return holder, waiter, waiter.begin("send", h="p", data=b"." * 1500, timeout_ms=ENOUGH)


@pytest.mark.parametrize("wait", [waits_for_the_lock, waits_for_what_the_dead_had_received, waits_behind_an_open_loan, waits_for_room])
def test_whoever_waits_for_a_process_goes_on_soon_after_its_death(wait):
    took = []
    for _ in range(ROUNDS):
        with scene() as (runtime, agents):
            owner = agents("C++")
            owner.call("create", name="s", kind="stream", capacity=4096)
            if wait is not waits_for_room:
                owner.call("open_producer", h="p", name="s")
                owner.call("send", h="p", data=record(0))
            holder, waiter, pending = wait(agents)
            while not sleeps(waiter.process.pid):
                pass
            begin = time.monotonic()
            os.kill(holder.pid, signal.SIGKILL)
            pending.result()
            took.append((time.monotonic() - begin) * 1000)
            holder.end()
    median = statistics.median(took)
    figure("resume", f"{median:.1f} ms after a death, who {wait.__name__.replace('_', ' ')} (median of {ROUNDS}, {max(took):.1f} at most)")
    assert median <= SOON_MS, took


def sleeps(pid: int) -> bool:
    """In futex(2) or futex_waitv(2)."""
    with open(f"/proc/{pid}/syscall") as file:
        return file.read().split(" ")[0] in ("202", "449")
