"""What victims do when they are killed, and what must be true afterwards: used by test_client_kills.py.

A work is a class: `prepare` sets its scene with agents that stay alive, `act` is what the victim does, and `check` accounts
for every record once the victim is gone, wherever in `act` that was. Each belongs to a part of the library, and together they
pass every kill point of the client (test_client_kills.py sees to it).
"""
from __future__ import annotations

import json
import threading
import time

from support.agents import Agent, AgentError
from support.broker import broker_pids
from support.victims import Victim

ENOUGH = 30_000  # ms
LOCK, LOCK_WAITERS = 512, 1 << 31  # of a group file: SPEC.md, "Locks"
BELLS = 4096                       # where the bells begin in their file


def record(number: int) -> bytes:
    """Every length occurs, so that records end anywhere in a ring."""
    return b"%06d" % number + b"." * ((number + 1) * 97 % 900)


def number_of(data: bytes) -> int:
    number = int(data[:6])
    assert data == record(number), "a record that nobody sent"
    return number


def ignoring(name: str, call) -> None:
    try:
        call()
    except AgentError as error:
        assert error.name == name, error


def drain(agent: Agent, h: str) -> list[dict]:
    """All that is there, until the stream ends or nothing more comes. Of a dead client what the broker gave back is there."""
    records = []
    while True:
        try:
            records.append(agent.call("receive", h=h, timeout_ms=50))
        except AgentError as error:
            assert error.name in ("timed_out", "ended"), error
            return records


class Reading:
    """Somebody reads beside the victim; `records` is what came. Begins when it is told to."""

    def __init__(self, agent: Agent, h: str) -> None:
        self.agent, self.h = agent, h
        self.records: list[dict] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        while True:
            try:
                self.records.append(self.agent.call("receive", h=self.h, timeout_ms=50))
            except AgentError as error:
                if error.name == "ended" or (error.name == "timed_out" and self.stop.is_set()):
                    return
                if error.name != "timed_out":
                    raise

    def begin(self) -> None:
        if self.thread.ident is None:
            self.thread.start()

    def end(self) -> list[dict]:
        self.begin()
        self.stop.set()
        self.thread.join(60)
        return self.records


def alive(victim: Victim) -> bool:
    return victim.agent.process.poll() is None


def word(path: str, offset: int) -> int:
    """Four bytes of shared memory."""
    with open(path, "rb") as file:
        file.seek(offset)
        return int.from_bytes(file.read(4), "little")


class Work:
    name = ""
    stop = ""              # where the victim stops once, for others to do something meanwhile
    only: tuple[str, ...] = ()  # the points that it is there for, where others pass the rest more surely
    elsewhere: tuple[str, ...] = ()  # points that it passes by chance, and another work surely

    def __init__(self, agents) -> None:
        self.agents = agents

    def prepare(self) -> None: ...
    def act(self, victim: Victim) -> None: ...
    def check(self) -> None: ...


class Producing(Work):
    """Sends one by one, in batches and through loans in any order, with pads, and into a ring that is full for a while."""

    name = "a producer"
    elsewhere = ("wake_mode.stored",)  # hangs on when its process is registered for membarrier

    def prepare(self) -> None:
        self.operator, self.reader = self.agents("C++"), self.agents("C++")
        self.reader.call("create", name="s", kind="stream", capacity=8192)
        self.reader.call("open_consumer", h="c", name="s", group="g")
        self.reading = Reading(self.reader, "c")
        self.done: set[int] = set()  # sends that returned
        self.next = 0

    def take(self, count: int) -> list[int]:
        numbers = list(range(self.next, self.next + count))
        self.next += count
        return numbers

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("create", name="s", kind="stream", capacity=8192)
        victim.call("open_producer", h="p", name="s")
        # Nobody reads yet: until the ring is full, and then one that has to wait.
        while True:
            [number] = self.take(1)
            try:
                victim.call("send", h="p", data=record(number), timeout_ms=0)
                self.done.add(number)
            except AgentError as error:
                assert error.name == "timed_out", error
                break
        pending = victim.begin("send", h="p", data=record(number), timeout_ms=ENOUGH)
        self.wait_until_blocked(victim)
        self.reading.begin()
        victim.result(pending)
        self.done.add(number)
        for _ in range(20):
            one, first, second, *many = self.take(6)
            victim.call("send", h="p", data=record(one), timeout_ms=ENOUGH)
            self.done.add(one)
            victim.call("loan", h="p", v="a", data=record(first), timeout_ms=ENOUGH)
            victim.call("loan", h="p", v="b", data=record(second), timeout_ms=ENOUGH)
            victim.call("commit", h="p", v="b")
            victim.call("commit", h="p", v="a")
            self.done |= {first, second}
            victim.call("loan", h="p", v="c", data=b"never seen", timeout_ms=ENOUGH)
            victim.call("abort", h="p", v="c")
            assert victim.call("send_many", h="p", records=[record(each) for each in many], timeout_ms=ENOUGH)["sent"] == len(many)
            self.done |= set(many)
        victim.call("finish", h="p")
        [last] = self.take(1)
        victim.call("send", h="p", data=record(last), timeout_ms=ENOUGH)  # it goes on after all
        self.done.add(last)
        victim.call("finish", h="p")
        victim.call("close", h="p")

    def lanes(self) -> list[dict]:
        return self.operator.call("call", method="Show", parameters={"name": "s"})["reply"]["lanes"]

    def wait_until_blocked(self, victim: Victim) -> None:
        """Its lane counts that it had to wait, or it is dead."""
        while alive(victim) and not any(lane["blocked"] > 0 for lane in self.lanes()):
            pass

    def check(self) -> None:
        came = self.reading.end() + drain(self.reader, "c")  # more may come after an end
        numbers = [number_of(each["data"]) for each in came]
        assert numbers == sorted(set(numbers)), "order was lost, or a record came twice"
        assert self.done <= set(numbers), f"lost: {sorted(self.done - set(numbers))}"
        # The stream is usable: another producer takes over.
        self.reader.call("open_producer", h="q", name="s")
        self.reader.call("send", h="q", data=b"999999", timeout_ms=ENOUGH)
        self.reader.call("finish", h="q")
        assert drain(self.reader, "c")[-1]["data"] == b"999999"


class Waking(Producing):
    """Sends so much that it goes over to waking by membarrier, and then to a reader that sleeps before every record, so that it
    goes back to fences: twice."""

    name = "a producer whose readers fall asleep"
    only = ("wake_mode.stored",)
    elsewhere = ()
    PLENTY = 600  # more than the few records whose fences cost less than a membarrier

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("open_producer", h="p", name="s")
        self.reading.begin()
        for _ in range(2):
            self.send_until("registered", victim, self.PLENTY)
            self.send_until("fenced", victim, 1)
        victim.call("close", h="p")

    def send_until(self, mode: str, victim: Victim, count: int) -> None:
        until = time.monotonic() + ENOUGH / 1000
        while self.lanes()[0]["wake_mode"] != mode:
            assert time.monotonic() < until, f"its lane's wake_mode does not become {mode}"
            numbers = self.take(count)
            sent = victim.call("send_many", h="p", records=[record(each) for each in numbers], timeout_ms=ENOUGH)["sent"]
            assert sent == count
            self.done |= set(numbers)


class GoingBack(Work):
    """Sends large records that are read at once, so that it goes back to the ring's start again and again."""

    name = "a producer of large records"
    only = ("claim.terminated", "claim.padded", "send.begun", "send.written", "send.committed", "checkpoint.counted", "limit.stored", "tail.sequence", "tail.published")
    COUNT = 9

    @staticmethod
    def large(number: int) -> bytes:
        return b"%06d" % number * 11_000

    def prepare(self) -> None:
        self.reader = self.agents("C++")
        self.reader.call("create", name="s", kind="stream", capacity=2 << 20)
        self.reader.call("open_consumer", h="c", name="s", group="g")
        self.done = 0
        self.came: list[bytes] = []

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("open_producer", h="p", name="s")
        for number in range(self.COUNT):
            victim.call("send", h="p", data=self.large(number), timeout_ms=ENOUGH)
            self.done += 1
            self.came.append(self.reader.call("receive", h="c", timeout_ms=ENOUGH)["data"])
        victim.call("finish", h="p")
        victim.call("close", h="p")

    def check(self) -> None:
        self.came += [came["data"] for came in drain(self.reader, "c")]
        assert len(self.came) >= self.done and self.came == [self.large(number) for number in range(len(self.came))]
        # The lane goes on where it was left, large and small.
        self.reader.call("open_producer", h="q", name="s")
        for data in (self.large(self.COUNT), b"999999", self.large(self.COUNT + 1)):
            self.reader.call("send", h="q", data=data, timeout_ms=ENOUGH)
            assert self.reader.call("receive", h="c", timeout_ms=ENOUGH)["data"] == data


class Dropping(Work):
    """Sends into a stream that drops what does not fit."""

    name = "a producer that drops"

    def prepare(self) -> None:
        self.reader = self.agents("C++")
        self.reader.call("create", name="s", kind="stream", capacity=4096, when_full="drop-new")
        self.reader.call("open_consumer", h="c", name="s", group="g")
        self.sent: list[int] = []

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("open_producer", h="p", name="s")
        for number in range(30):
            try:
                victim.call("send", h="p", data=record(number), timeout_ms=ENOUGH)
                self.sent.append(number)
            except AgentError as error:
                assert error.name == "dropped", error
        victim.call("close", h="p")

    def check(self) -> None:
        numbers = [number_of(came["data"]) for came in drain(self.reader, "c")]
        assert numbers == sorted(set(numbers)) and set(self.sent) <= set(numbers)


class Consuming(Work):
    """Receives and decides one by one; then in an automatic group, an exclusive one, and one that waits in vain."""

    name = "a consumer"

    def prepare(self) -> None:
        self.producer, self.other = self.agents("C++"), self.agents("C++")
        self.producer.call("create", name="s", kind="stream", capacity=65536)
        self.producer.call("open_producer", h="p", name="s")
        self.other.call("open_consumer", h="c", name="s", group="g")
        for number in range(60):
            self.producer.call("send", h="p", data=record(number))
            if number % 10 == 9:
                self.producer.call("loan", h="p", v="a", data=b"never seen")
                self.producer.call("abort", h="p", v="a")
        self.dealt_with: list[int] = []

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("open_consumer", h="c", name="s", group="g", manual=True, wait_ms=ENOUGH)
        for i in range(30):
            came = victim.call("receive", h="c", v=f"v{i}", timeout_ms=ENOUGH)
            if i % 5 == 4 and came["deliveries"] == 1:
                victim.call("reject", h="c", v=f"v{i}")
            else:
                self.dealt_with.append(number_of(came["data"]))  # from here on it may count as dealt with
                victim.call("acknowledge", h="c", v=f"v{i}")
            victim.call("release", h="c", v=f"v{i}")
        victim.call("close", h="c")
        for group, exclusive in (("automatic", False), ("own", True)):
            victim.call("open_consumer", h="x", name="s", group=group, exclusive=exclusive, ephemeral=True, start="earliest")
            for number in range(60):
                assert number_of(victim.call("receive", h="x", v="v", timeout_ms=ENOUGH)["data"]) == number
                victim.call("release", h="x", v="v")
            ignoring("timed_out", lambda: victim.call("receive", h="x", timeout_ms=0))  # passes the aborted one at the end
            victim.call("close", h="x")
        victim.call("open_consumer", h="n", name="s", group="nothing", ephemeral=True, start="latest")
        ignoring("timed_out", lambda: victim.call("receive", h="n", timeout_ms=20))
        victim.call("close", h="n")

    def check(self) -> None:
        self.producer.call("finish", h="p")
        rest = drain(self.other, "c")
        numbers = [number_of(came["data"]) for came in rest]
        assert set(numbers) | set(self.dealt_with) == set(range(60)), "a record was lost"
        again = set(numbers) & set(self.dealt_with[:-1])
        assert not again, f"records {sorted(again)} were acknowledged and came again"
        assert len(numbers) == len(set(numbers)), "a record came twice to one consumer"


class Draining(Work):
    """Reads what a producer waits to have room for, and wakes it."""

    name = "a consumer that a producer waits for"
    only = ("bell.slot_cleared", "bell.cleared", "bell.counted", "fast.released", "released", "fast.claim.exclusive", "claim.exclusive")

    def prepare(self) -> None:
        self.producer = self.agents("C++")
        self.producer.call("create", name="s", kind="stream", capacity=4096)
        self.producer.call("open_producer", h="p", name="s")
        self.keeper = self.agents("C++")
        self.keeper.call("open_consumer", h="k", name="s", group="g", exclusive=True)  # the group stays
        self.keeper.call("close", h="k")
        self.sent, self.seen, self.sending = 0, [], None

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("open_consumer", h="c", name="s", group="g", exclusive=True)
        for _ in range(4):
            try:
                while True:
                    self.producer.call("send", h="p", data=record(self.sent), timeout_ms=0)
                    self.sent += 1
            except AgentError as error:
                assert error.name == "timed_out", error
            self.sending = self.producer.begin("send", h="p", data=record(self.sent), timeout_ms=ENOUGH)
            self.sent += 1
            while len(self.seen) < self.sent:
                self.seen.append(number_of(victim.call("receive", h="c", timeout_ms=ENOUGH)["data"]))
            self.sending.result()
            self.sending = None
        victim.call("close", h="c")

    def check(self) -> None:
        other = self.agents("C++")
        other.call("open_consumer", h="c", name="s", group="g", exclusive=True)
        numbers = [number_of(came["data"]) for came in drain(other, "c")]
        if self.sending is not None:
            self.sending.result()
            numbers += [number_of(came["data"]) for came in drain(other, "c")]
        # It may have died over one that it had received and not released yet, or released and not told of yet.
        assert set(self.seen) | {len(self.seen)} | set(numbers) >= set(range(self.sent)), (self.seen, numbers)
        assert len(set(self.seen) & set(numbers)) <= 1 and numbers == sorted(set(numbers)), (self.seen, numbers)


class Raced(Work):
    """A new group begins between its looking for room and its looking again."""

    name = "a producer that a new group holds back"
    stop = "limit.stored:4"
    only = ("limit.settled",)

    def prepare(self) -> None:
        self.reader = self.agents("C++")
        self.reader.call("create", name="s", kind="stream", capacity=4096)
        self.reader.call("open_consumer", h="c", name="s", group="g")
        self.reading = Reading(self.reader, "c")
        self.late = self.agents("C++")
        self.reading_late = Reading(self.late, "l")
        self.sent = 0

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("open_producer", h="p", name="s")
        self.reading.begin()
        pending = victim.begin("send_pattern", h="p", count=30, seed=1, largest=300, timeout_ms=ENOUGH)
        victim.stops()
        self.late.call("open_consumer", h="l", name="s", group="late")
        victim.go_on()
        self.reading_late.begin()
        victim.result(pending)
        self.sent = 30
        victim.call("close", h="p")

    def check(self) -> None:
        everything = [came["data"] for came in self.reading.end() + drain(self.reader, "c")]
        assert len(everything) >= self.sent
        late = [came["data"] for came in self.reading_late.end() + drain(self.late, "l")]
        assert late and everything[-len(late):] == late, "the new group has all from where it begins"


class Following(Work):
    """Reads an overwrite stream whose producer laps it, in an exclusive and in a shared group."""

    name = "a consumer that is overtaken"

    def prepare(self) -> None:
        self.producer, self.other = self.agents("C++"), self.agents("C++")
        self.producer.call("create", name="s", kind="stream", capacity=8192, when_full="overwrite")
        self.producer.call("open_producer", h="p", name="s")
        self.other.call("open_consumer", h="c", name="s", group="g")
        self.sent = 0
        self.send(5)

    def send(self, count: int) -> None:
        for number in range(self.sent, self.sent + count):
            self.producer.call("send", h="p", data=record(number))
        self.sent += count

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("open_consumer", h="x", name="s", group="own", exclusive=True)
        victim.call("open_consumer", h="g", name="s", group="g")
        last = -1
        for _ in range(4):
            for h in ("x", "g"):
                number = number_of(victim.call("receive", h=h, timeout_ms=ENOUGH)["data"])
                if h == "x":
                    assert number > last
                    last = number
            self.send(60)
        victim.call("close", h="x")
        victim.call("close", h="g")

    def check(self) -> None:
        self.send(3)
        reader = self.agents("C++")
        reader.call("open_consumer", h="x", name="s", group="own", exclusive=True)
        for agent, h in ((self.other, "c"), (reader, "x")):
            numbers = [number_of(came["data"]) for came in drain(agent, h)]
            assert numbers == sorted(set(numbers)) and numbers[-1] == self.sent - 1, numbers


class Putting(Work):
    """Puts contents of growing length, and gets them."""

    name = "a putter"

    def prepare(self) -> None:
        self.reader = self.agents("C++")
        self.reader.call("create", name="b", kind="bytes", size=20_000)
        self.reader.call("open_bytes", h="b", name="b", mode="write")
        self.put = 0

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("create", name="b", kind="bytes", size=20_000)
        victim.call("open_bytes", h="b", name="b", mode="write")
        for i in range(1, 20):
            victim.call("put", h="b", data=bytes([i]) * (i * 1000), timeout_ms=ENOUGH)
            self.put = i
            victim.call("get", h="b", timeout_ms=ENOUGH)
        victim.call("close", h="b")

    def check(self) -> None:
        try:
            content = self.reader.call("get", h="b", timeout_ms=0)["data"]
            assert content and content == content[:1] * (content[0] * 1000), "half of one content, half of another"
            assert self.put <= content[0] <= self.put + 1, "a put that had returned is gone"
        except AgentError as error:
            assert error.name == "timed_out" and self.put == 0, error
        self.reader.call("put", h="b", data=b"new", timeout_ms=ENOUGH)
        assert self.reader.call("get", h="b", timeout_ms=0)["data"] == b"new"


class Contending(Work):
    """Finds the group's lock taken by a consumer that is stopped while it holds it, and gets it when that one goes on."""

    name = "a consumer that waits for the lock"

    def prepare(self) -> None:
        self.producer = self.agents("C++")
        self.producer.call("create", name="s", kind="stream", capacity=65536)
        self.producer.call("open_producer", h="p", name="s")
        self.holder = Victim(stop="lock.taken:1")
        self.holder.call("connect")
        self.holder.call("open_consumer", h="c", name="s", group="g", manual=True)
        for number in range(200):
            self.producer.call("send", h="p", data=record(number)[:6])
        self.taking = self.holder.begin("receive", h="c", v="v", timeout_ms=ENOUGH)
        self.holder.stops()
        self.dealt_with: list[int] = []

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("open_consumer", h="c", name="s", group="g", manual=True)
        pending = victim.begin("receive", h="c", v="v", timeout_ms=ENOUGH)
        self.wait_until_queued(victim)
        self.holder.go_on()
        came = victim.result(pending)
        self.dealt_with.append(int(came["data"]))
        victim.call("acknowledge", h="c", v="v")
        victim.call("release", h="c", v="v")
        victim.call("close", h="c")

    def wait_until_queued(self, victim: Victim) -> None:
        """The lock word says that somebody waits, or the victim is dead."""
        manifest = json.loads(self.producer.call("call", method="Manifest", parameters={"name": "s"})["reply"]["manifest"])
        [path] = [file["path"] for file in manifest["files"] if file["role"] == "group"]
        while alive(victim) and not word(path, LOCK) & LOCK_WAITERS:
            pass

    def check(self) -> None:
        self.holder.go_on()
        came = [int(self.holder.result(self.taking)["data"])]
        self.holder.call("acknowledge", h="c", v="v")
        self.holder.call("close", h="c")
        self.holder.end()
        self.producer.call("finish", h="p")
        other = self.agents("C++")
        other.call("open_consumer", h="c", name="s", group="g")
        came += [int(each["data"]) for each in drain(other, "c")]
        assert len(came) == len(set(came)), "a record came twice"
        assert set(came) | set(self.dealt_with) == set(range(200)), "a record was lost"
        assert not set(came) & set(self.dealt_with[:-1])


class Surviving(Work):
    """Its broker dies under it, twice: while it waits, and before it asks for something."""

    name = "a client whose broker dies"

    def __init__(self, agents, runtime) -> None:
        super().__init__(agents)
        self.runtime = runtime

    def prepare(self) -> None:
        self.producer = self.agents("C++")
        self.producer.call("create", name="s", kind="stream", capacity=65536)
        self.producer.call("open_producer", h="p", name="s")
        self.next = 0
        self.seen: list[int] = []

    def send(self) -> None:
        self.producer.call("send", h="p", data=record(self.next))
        self.next += 1

    def act(self, victim: Victim) -> None:
        victim.call("connect")
        victim.call("open_consumer", h="c", name="s", group="g")
        victim.call("open_producer", h="q", name="s")
        for _ in range(2):
            pending = victim.begin("receive", h="c", timeout_ms=ENOUGH)
            self.wait_until_asleep(victim)
            self.runtime.kill_broker_if_any()
            self.wait_until_served(victim)
            self.send()
            self.seen.append(number_of(victim.result(pending)["data"]))
            self.runtime.kill_broker_if_any()
            victim.call("create", name="t", kind="stream", capacity=4096)
            victim.call("remove", name="t", force=True)
        victim.call("close", h="c")
        victim.call("close", h="q")

    def wait_until_asleep(self, victim: Victim) -> None:
        """Its bell says so, or it is dead."""
        status = self.producer.call("call", method="Status")["reply"]
        clients = self.producer.call("call", method="Show", parameters={"name": "s"})["reply"]["clients"]
        slots = [client["slot"] for client in clients if client["pid"] == victim.pid]
        while alive(victim) and slots and not word(status["shm_directory"] + "/bells", BELLS + 64 * slots[0] + 4):
            pass

    def wait_until_served(self, victim: Victim) -> None:
        """The victim has started another broker, or it is dead."""
        while alive(victim) and not broker_pids(self.runtime.directory):
            pass

    def check(self) -> None:
        self.send()
        self.producer.call("finish", h="p")
        reader = self.agents("C++")
        reader.call("open_consumer", h="c", name="s", group="g")
        numbers = [number_of(came["data"]) for came in drain(reader, "c")]
        assert set(numbers) | set(self.seen) == set(range(self.next)), "a record was lost"
        assert len(numbers) == len(set(numbers))


def works(agents, runtime) -> dict[str, Work]:
    made = [kind(agents) for kind in (Producing, Waking, GoingBack, Dropping, Consuming, Draining, Raced, Following, Putting, Contending)] + [Surviving(agents, runtime)]
    return {work.name: work for work in made}
