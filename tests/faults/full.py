"""A broker and its clients where memory or disk is really full: run by test_full.py in a mount namespace of its own.

full.py shm: /dev/shm is small here and filled to the last page. full.py disk: the runtime directory and the data directory lie on a
small file system (TMPDIR), which is filled. What is established goes on; what needs room is refused by name, and done when there is room.
"""
from __future__ import annotations

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support.agents import Agent, AgentError  # noqa: E402
from world import World  # noqa: E402


def fill(folder: pathlib.Path) -> pathlib.Path:
    """A file that takes every page and, on a disk, every inode's worth that is left."""
    path = folder / "fills"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 16, 4096, 512, 1):
        try:
            while True:
                os.write(fd, bytes(size))
        except OSError:
            pass
    os.close(fd)
    assert os.statvfs(folder).f_bavail == 0, "it is not full"
    return path


def no_room(agent: Agent, op: str, **fields) -> None:
    try:
        agent.call(op, **fields)
    except AgentError as error:
        assert error.name == "no_space", error
        assert error.segment == fields["name"] and error.fix, f"{error} does not say where, or what to do"
        return
    raise AssertionError(f"{op} found room where there is none")


def goes_on(world: World, rounds: int) -> None:
    """Records through several laps of a ring, and contents, of who had them before."""
    for number in range(rounds):
        data = b"%06d" % number + b"." * 900
        world.client.call("send", h="p", data=data, timeout_ms=3000)
        assert world.client.call("receive", h="c", timeout_ms=3000)["data"] == data
        world.client.call("put", h="b", data=data, timeout_ms=3000)
        assert world.client.call("get", h="b", timeout_ms=3000)["data"] == data


def place(world: World, kind: str) -> dict:
    return {"backing": "file", "directory": str(world.data)} if kind == "disk" else {}


def story(kind: str, folder: pathlib.Path) -> None:
    world = World()
    client = world.client
    client.call("create", name="s", kind="stream", capacity=8192, **place(world, kind))
    client.call("create", name="b", kind="bytes", size=4000, **place(world, kind))
    client.call("open_producer", h="p", name="s")
    client.call("open_consumer", h="c", name="s", group="g")
    client.call("open_bytes", h="b", name="b", mode="write")
    goes_on(world, 30)
    for _ in range(3):
        filling = fill(folder)
        before = world.settled_descriptors()
        goes_on(world, 30)
        no_room(client, "create", name="new", kind="stream", capacity=8192, **place(world, kind))
        no_room(client, "create", name="new", kind="bytes", size=4000, **place(world, kind))
        no_room(client, "open_producer", h="p2", name="s")
        no_room(client, "open_consumer", h="c2", name="s", group="new")
        if kind == "disk":  # a file of the journal's file system: a holder that could not be noted is refused
            for _ in range(100):
                try:
                    client.call("open_observer", h="o", name="s")
                    client.call("close", h="o")
                except AgentError as error:
                    assert error.name == "no_space", error
                    break
        goes_on(world, 30)
        world.has_no_more_descriptors(before)
        filling.unlink()
        world.is_well()
        for op, fields in (("open_producer", {"h": "p2", "name": "s"}), ("open_consumer", {"h": "c2", "name": "s", "group": "new"})):
            client.call(op, **fields)
            client.call("close", h=fields["h"])
        world.ask("Remove", name="s", group="new")
        world.ask("Gc", apply=True)
        world.is_whole()
    client.call("create", name="new", kind="stream", capacity=8192, **place(world, kind))
    client.call("remove", name="new")
    # What a broker that comes now finds is whole.
    fill(folder)
    world.broker.kill()
    world.broker.wait()
    (folder / "fills").unlink()
    world.broker = world.start_broker()
    goes_on(world, 30)
    world.is_well()
    world.close()


if __name__ == "__main__":
    story(sys.argv[1], pathlib.Path(sys.argv[2]))
    print("well")
