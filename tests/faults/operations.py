"""What a client asks for, one operation each, while calls fail in it or in its broker: used by test_faults.py.

An operation is a class: `prepare` makes its scene, `act` is the operation (done again after it failed, it must succeed),
`undo` puts everything back. `settled` are errors of the second `act` that say that the first one did it after all.
"""
from __future__ import annotations

import contextlib

from support.agents import AgentError
from world import World

MOMENT = 3000  # ms: within the five seconds after which an operation hangs
BRIEF = 300    # ms: for what may not happen while the shortage lasts


class Operation:
    name = ""
    settled: tuple[str, ...] = ()

    def __init__(self, world: World) -> None:
        self.world, self.client, self.witness = world, world.client, world.witness

    def prepare(self) -> None: ...
    def act(self) -> None: ...
    def undo(self) -> None: ...

    def remove(self, name: str) -> None:
        with contextlib.suppress(AgentError):
            self.witness.call("remove", name=name, force=True)


class Connect(Operation):
    name = "connect"

    def prepare(self):
        self.client.call("disconnect")

    def act(self):
        self.client.call("connect", start_broker=False)


class Create(Operation):
    """Of one kind and backing."""

    options: dict = {}

    def act(self):
        self.client.call("create", name="made", **self.options, **self.place())

    def place(self) -> dict:
        return {"directory": str(self.world.data)} if self.options.get("backing") == "file" else {}

    def undo(self):
        self.remove("made")


class CreateStream(Create):
    name = "create a stream"
    options = {"kind": "stream", "capacity": 4096}


class CreateInMemfd(Create):
    name = "create a stream in a memfd"
    options = {"kind": "stream", "capacity": 4096, "backing": "memfd"}


class CreateInFiles(Create):
    name = "create a stream in files"
    options = {"kind": "stream", "capacity": 4096, "backing": "file"}


class CreateBytes(Create):
    name = "create bytes"
    options = {"kind": "bytes", "size": 5000}


class OnStream(Operation):
    """With a stream of its own, in a backing."""

    backing = "shm"

    def prepare(self):
        self.witness.call("create", name="s", kind="stream", capacity=4096, backing=self.backing)

    def undo(self):
        self.client.call("close", h="h")
        self.remove("s")


class Produce(OnStream):
    name = "open a producer"

    def act(self):
        self.client.call("open_producer", h="h", name="s")


class ProduceInMemfd(Produce):
    name = "open a producer of a memfd"
    backing = "memfd"


class SecondLane(Produce):
    name = "open a second producer"

    def prepare(self):
        super().prepare()
        self.witness.call("open_producer", h="p", name="s")
        self.witness.call("open_consumer", h="c", name="s", group="there")

    def undo(self):
        self.witness.call("close", h="p")
        self.witness.call("close", h="c")
        super().undo()


class Consume(OnStream):
    """A new group, in a stream that holds records."""

    name = "open a consumer"

    def prepare(self):
        super().prepare()
        self.witness.call("open_producer", h="p", name="s")
        self.witness.call("send", h="p", data=b"first", timeout_ms=MOMENT)

    def act(self):
        self.client.call("open_consumer", h="h", name="s", group="new")

    def undo(self):
        assert self.client.call("receive", h="h", timeout_ms=MOMENT)["data"] == b"first"
        self.witness.call("close", h="p")
        super().undo()


class Observe(OnStream):
    name = "open an observer"

    def act(self):
        self.client.call("open_observer", h="h", name="s")


class Await(OnStream):
    """Somebody opens what is made only now."""

    name = "wait for a segment"

    def prepare(self):
        self.made = False

    def act(self):
        pending = self.client.begin("open_observer", h="h", name="s", wait_ms=BRIEF)
        try:
            if not self.made:
                super().prepare()
                self.made = True
        finally:
            pending.result()

    def undo(self):
        if not self.made:
            super().prepare()
        super().undo()


class Refresh(OnStream):
    """A consumer learns of a lane that came after it."""

    name = "hear of a new lane"

    def prepare(self):
        super().prepare()
        self.witness.call("open_producer", h="p", name="s")
        self.client.call("open_consumer", h="h", name="s", group="g")
        self.witness.call("open_producer", h="q", name="s")
        self.witness.call("send", h="q", data=b"from the new lane", timeout_ms=MOMENT)
        self.came = None

    def act(self):
        if self.came is None:  # it may have come, and the agent had no memory to say so
            self.came = self.client.call("receive", h="h", timeout_ms=BRIEF)["data"]
        assert self.came == b"from the new lane"

    settled = ("timed_out",)

    def undo(self):
        self.witness.call("close", h="p")
        self.witness.call("close", h="q")
        super().undo()


class Wait(OnStream):
    """A consumer that sleeps until something is sent."""

    name = "sleep until a record comes"

    def prepare(self):
        super().prepare()
        self.witness.call("open_producer", h="p", name="s")
        self.client.call("open_consumer", h="h", name="s", group="g")

    def act(self):
        pending = self.client.begin("receive", h="h", timeout_ms=BRIEF)
        try:
            self.witness.call("send", h="p", data=b"wake", timeout_ms=MOMENT)
        finally:
            came = pending.result()["data"]
        assert came == b"wake"

    def undo(self):
        self.witness.call("close", h="p")
        super().undo()


class WaitForRoom(OnStream):
    """A producer that sleeps until somebody has read."""

    name = "sleep until there is room"

    def prepare(self):
        super().prepare()
        self.witness.call("open_consumer", h="c", name="s", group="g")
        self.client.call("open_producer", h="h", name="s")
        with contextlib.suppress(AgentError):  # timed_out: it is full
            while True:
                self.client.call("send", h="h", data=b"." * 500, timeout_ms=0)

    def act(self):
        pending = self.client.begin("send", h="h", data=b"." * 500, timeout_ms=MOMENT)
        try:
            with contextlib.suppress(AgentError):  # timed_out: all is read
                while True:
                    self.witness.call("receive", h="c", timeout_ms=0)
        finally:
            pending.result()

    def undo(self):
        self.witness.call("close", h="c")
        super().undo()


class EventFd(OnStream):
    name = "ask for a descriptor for event loops"

    def prepare(self):
        super().prepare()
        self.client.call("open_consumer", h="h", name="s", group="g")

    def act(self):
        self.client.call("event_fd", h="h")


class OnBytes(Operation):
    def prepare(self):
        self.witness.call("create", name="b", kind="bytes", size=3000)
        self.open()

    def open(self):
        self.client.call("open_bytes", h="h", name="b", mode="write")

    def undo(self):
        self.client.call("close", h="h")
        self.remove("b")


class Map(OnBytes):
    name = "open bytes"

    def open(self):
        pass

    def act(self):
        OnBytes.open(self)


class Put(OnBytes):
    name = "put and get"

    def act(self):
        self.client.call("put", h="h", data=b"content" * 300, timeout_ms=MOMENT)
        assert self.client.call("get", h="h", timeout_ms=MOMENT)["data"] == b"content" * 300


class Flush(OnBytes):
    name = "flush bytes"

    def act(self):
        self.client.call("write_at", h="h", offset=0, data=b"content")
        self.client.call("flush", h="h")


class Close(OnStream):
    """The broker must know of it afterwards, if not at once then with the client's next call."""

    name = "close a producer"

    def prepare(self):
        super().prepare()
        self.client.call("open_producer", h="h", name="s")

    def act(self):
        self.client.call("close", h="h")

    def undo(self):
        self.client.call("call", method="Status")
        assert not self.world.clients("s"), "the broker does not know that it was closed"
        self.remove("s")


class Remove(OnStream):
    name = "remove a stream"
    settled = ("unknown_segment",)

    def act(self):
        self.client.call("remove", name="s")

    def undo(self):
        assert "s" not in self.world.segments()


class RemoveGroup(OnStream):
    name = "remove a group"
    settled = ("unknown_group",)

    def prepare(self):
        super().prepare()
        self.witness.call("open_consumer", h="c", name="s", group="g")
        self.witness.call("close", h="c")

    def act(self):
        self.client.call("call", method="Remove", parameters={"name": "s", "group": "g"})

    def undo(self):
        assert not self.world.ask("Show", name="s")["groups"]
        self.remove("s")


class Gc(OnStream):
    """A lane that everybody has read, and litter."""

    name = "gc"

    def prepare(self):
        super().prepare()
        for h in ("p", "q"):
            self.witness.call("open_producer", h=h, name="s")
        self.witness.call("open_consumer", h="c", name="s", group="g")
        for h in ("c", "p", "q"):
            self.witness.call("close", h=h)
        [folder] = self.world.runtime.shared_memory()
        (folder / "litter").write_text("nobody's")

    def act(self):
        self.client.call("call", method="Gc", parameters={"apply": True})

    def undo(self):
        assert len(self.world.ask("Show", name="s")["lanes"]) == 1
        self.remove("s")


class Look(OnStream):
    """The calls that only look: each with a segment to tell of."""

    method = "List"
    parameters: dict = {}

    def prepare(self):
        super().prepare()
        self.witness.call("open_producer", h="p", name="s")

    def act(self):
        self.client.call("call", method=self.method, parameters=self.parameters)

    def undo(self):
        self.witness.call("close", h="p")
        self.remove("s")


class List(Look):
    name = "list"


class Show(Look):
    name = "show"
    method, parameters = "Show", {"name": "s"}


class Manifest(Look):
    name = "manifest"
    method, parameters = "Manifest", {"name": "s"}


class Status(Look):
    name = "status"
    method = "Status"


OPERATIONS = {kind.name: kind for kind in (
    Connect, CreateStream, CreateInMemfd, CreateInFiles, CreateBytes, Produce, ProduceInMemfd, SecondLane, Consume, Observe, Await, Refresh,
    Wait, WaitForRoom, EventFd, Map, Put, Flush, Close, Remove, RemoveGroup, Gc, List, Show, Manifest, Status)}
