"""Bad input, case by case: what is done, and which error it must be in every language.

Each case is a function of a Scene that does something wrong through an agent (tests/agents/README.md); the
error that comes out must have the case's code, a message and a fix. test_bad_input.py runs every case in
every language; docs/errors.md is made of what passed.
"""
from __future__ import annotations

import os
import pathlib
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

from support.agents import LANGUAGES, Agent, AgentError
from support.broker import Runtime, start_broker

# Header page, protocol/include/atoll/protocol/header_page.hpp.
MAGIC, MIN_READER, GENERATION, REQUIRED_FEATURES, CAPACITY, FILE_SIZE = 0, 10, 16, 40, 64, 80
HEADER = 4096
LANE_TAIL = 384
GROUP_POSITIONS = 4096  # 64 bytes a lane: cursor, next, ...


@dataclass
class Scene:
    """What a case works with: a runtime directory, and agents of the language under test."""

    runtime: Runtime
    start: Callable[..., Agent]
    language: str
    brokers: list[subprocess.Popen] = field(default_factory=list)
    _agent: Agent | None = None

    @property
    def agent(self) -> Agent:
        if self._agent is None:
            self._agent = self.start(self.language)
        return self._agent

    def stream(self, **options) -> None:
        self.agent.call("create", name="s", kind="stream", **{"capacity": 65536, **options})

    def file(self, role: str) -> pathlib.Path:
        """The one shared file whose name starts so."""
        found = [path for folder in self.runtime.segments() for path in folder.iterdir() if path.name.startswith(role)]
        assert len(found) == 1, found
        return found[0]

    def broker(self, *options: str) -> None:
        """Starts the broker with options of its own."""
        self.brokers.append(start_broker(self.runtime.socket, *options))


def scribble(path: pathlib.Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


@dataclass(frozen=True)
class Case:
    title: str
    code: str
    run: Callable[[Scene], None]
    languages: tuple[str, ...] = tuple(LANGUAGES)
    why_not: str = ""  # for languages that cannot do it
    root: bool = False

    @property
    def id(self) -> str:
        return self.run.__name__


CASES: list[Case] = []


def case(title: str, code: str, **options):
    def add(function: Callable[[Scene], None]) -> Callable[[Scene], None]:
        CASES.append(Case(title, code, function, **options))
        return function

    return add


# ---- Names, options, geometry ---------------------------------------------------------------------


@case("a name that is no name", "invalid_name")
def wrong_name(scene):
    scene.agent.call("create", name="../etc", kind="stream")


@case("a name with a control character", "invalid_name")
def control_character_in_name(scene):
    scene.agent.call("create", name="a\x1b[2Jb", kind="stream")


@case("a name of 129 bytes", "invalid_name")
def long_name(scene):
    scene.agent.call("create", name="n" * 129, kind="stream")


@case("a capacity below a page of records", "invalid_geometry")
def small_capacity(scene):
    scene.stream(capacity=100)


@case("a capacity that overflows", "invalid_geometry")
def huge_capacity(scene):
    scene.stream(capacity=2**62)


@case("an alignment that is neither 16 nor 64", "invalid_geometry")
def odd_alignment(scene):
    scene.stream(alignment=24)


@case("a bytes segment without a size", "invalid_geometry")
def no_size(scene):
    scene.agent.call("create", name="b", kind="bytes", size=0)


@case("a segment that nobody created", "unknown_segment")
def unknown_segment(scene):
    scene.agent.call("open_consumer", h="c", name="nothing")


@case("a segment that exists with other options", "exists_with_other_options")
def other_options(scene):
    scene.stream(when_full="block")
    scene.stream(when_full="overwrite")


@case("a segment of the other kind", "wrong_kind")
def other_kind(scene):
    scene.stream()
    scene.agent.call("open_bytes", h="b", name="s")


@case("a group that is not there is removed", "unknown_group")
def unknown_group(scene):
    scene.stream()
    scene.agent.call("call", method="Remove", parameters={"name": "s", "group": "nobody"})


@case("a segment in use is removed without force", "in_use")
def in_use(scene):
    scene.stream()
    scene.agent.call("open_producer", h="p", name="s")
    scene.start("C++").call("remove", name="s")


@case("a directory for backing file that is not there", "invalid_argument")
def missing_directory(scene):
    scene.stream(backing="file", directory=str(scene.runtime.directory / "nothing"))


# ---- Memory and limits ----------------------------------------------------------------------------


@case("more memory than there is", "no_space")
def too_little_memory(scene):
    scene.broker("--max-bytes", str(2**60))
    scene.agent.call("create", name="b", kind="bytes", size=2**42)


@case("a full /dev/shm", "no_space", root=True)
def full_shm(scene):
    # A broker whose /dev/shm has 4 MiB, of which something else takes most.
    scene.brokers.append(start_broker(scene.runtime.socket, prefix=["unshare", "--mount", "bash", "-c", """
        mount --make-rprivate / && mount -t tmpfs -o size=4m tmpfs /dev/shm && head -c 2816K /dev/zero > /dev/shm/full && exec "$@"
        """, "bash"]))
    scene.stream(capacity=2**20)


@case("more memory than a user may have", "limit_reached")
def memory_limit(scene):
    scene.broker("--max-bytes", "1000000")
    scene.agent.call("create", name="b", kind="bytes", size=2_000_000)


@case("more segments than a user may have", "limit_reached")
def segment_limit(scene):
    scene.broker("--max-segments", "3")
    for i in range(5):
        try:
            scene.agent.call("create", name=f"s{i}", kind="stream", capacity=4096)
        except AgentError:
            scene.agent.call("remove", name="s0")
            raise


@case("more producers than a stream has lanes", "too_many_lanes")
def too_many_lanes(scene):
    scene.stream(capacity=4096)
    for i in range(65):
        scene.agent.call("open_producer", h=f"p{i}", name="s")


@case("more groups than a stream can have", "too_many_groups")
def too_many_groups(scene):
    scene.stream()
    for i in range(17):
        scene.agent.call("open_consumer", h=f"c{i}", name="s", group=f"g{i}")


@case("a record larger than half a lane", "too_large")
def record_too_large(scene):
    scene.stream(capacity=4096)
    scene.agent.call("open_producer", h="p", name="s")
    scene.agent.call("send", h="p", data=b"x" * 4096)


@case("a loan larger than half a lane", "too_large")
def loan_too_large(scene):
    scene.stream(capacity=4096)
    scene.agent.call("open_producer", h="p", name="s")
    scene.agent.call("loan", h="p", v="l", data=b"x" * 4096)


@case("no file descriptor is left", "no_descriptors")
def descriptors_exhausted(scene):
    scene.stream()
    scene.agent.call("exhaust_descriptors")
    scene.agent.call("open_consumer", h="c", name="s")


# ---- Waiting and ends -----------------------------------------------------------------------------


@case("nothing comes in time", "timed_out")
def nothing_comes(scene):
    scene.stream()
    scene.agent.call("open_consumer", h="c", name="s")
    scene.agent.call("receive", h="c", timeout_ms=10)


@case("a full drop-new stream", "dropped")
def full_drop_new(scene):
    scene.stream(capacity=4096, when_full="drop-new")
    scene.agent.call("open_consumer", h="c", name="s")
    scene.agent.call("open_producer", h="p", name="s")
    for _ in range(20):
        scene.agent.call("send", h="p", data=b"x" * 1000)


@case("reading past the end", "ended")
def past_the_end(scene):
    scene.stream()
    scene.agent.call("open_consumer", h="c", name="s")
    scene.agent.call("open_producer", h="p", name="s")
    scene.agent.call("finish", h="p")
    scene.agent.call("receive", h="c")


@case("the segment is removed by force under a reader", "removed")
def removed_under_reader(scene):
    scene.stream()
    scene.agent.call("open_consumer", h="c", name="s")
    scene.start("C++").call("remove", name="s", force=True)
    scene.agent.call("receive", h="c", timeout_ms=20_000)


@case("a second consumer of an exclusive group", "group_exclusive")
def second_exclusive(scene):
    scene.stream()
    scene.agent.call("open_consumer", h="c", name="s", group="g", exclusive=True)
    scene.agent.call("open_consumer", h="d", name="s", group="g", exclusive=True)


# ---- Handles --------------------------------------------------------------------------------------


@case("a closed handle", "closed", languages=("C++", "Python", "Node"), why_not="C frees a closed handle")
def closed_handle(scene):
    scene.stream()
    scene.agent.call("open_producer", h="p", name="s")
    scene.agent.call("close", h="p")
    scene.agent.call("send", h="p", data=b"x")


@case("a handle of the parent process used after fork", "forked", languages=("C++", "C"), why_not="in Python the child gets a connection of its own, Node has no fork")
def used_after_fork(scene):
    scene.stream()
    scene.agent.call("open_producer", h="p", name="s")
    scene.agent.call("in_child", request={"op": "send", "h": "p", "data": b"x".hex()})


@case("a range outside a bytes segment", "invalid_argument")
def outside_bytes(scene):
    scene.agent.call("create", name="b", kind="bytes", size=4096)
    scene.agent.call("open_bytes", h="b", name="b")
    scene.agent.call("read_at", h="b", offset=4096, length=1)


@case("writing through a read-only mapping", "not_permitted")
def read_only_write(scene):
    scene.agent.call("create", name="b", kind="bytes", size=4096)
    scene.agent.call("open_bytes", h="b", name="b")
    scene.agent.call("write_at", h="b", offset=0, data=b"x")


@case("a put longer than the segment takes", "too_large")
def put_too_large(scene):
    scene.agent.call("create", name="b", kind="bytes", size=4096)
    scene.agent.call("open_bytes", h="b", name="b", mode="write")
    scene.agent.call("put", h="b", data=b"x" * 4097)


# ---- Rights ---------------------------------------------------------------------------------------

OTHER_USER = 65533


def user(number: int) -> list[str]:
    return ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups"]


def as_other_user(scene, *, connect=True) -> Agent:
    scene.runtime.directory.chmod(0o711)  # others may reach the socket, and see nothing
    return scene.start(scene.language, prefix=user(OTHER_USER), connect=connect)


@case("a right that the segment's access list does not give", "not_permitted", root=True)
def missing_right(scene):
    scene.broker("--allow-other-users")
    scene.start("C++").call("create", name="s", kind="stream", access=f"{OTHER_USER}:c")
    as_other_user(scene).call("open_producer", h="p", name="s")


@case("a segment without an access list, by another user", "not_permitted", root=True)
def no_access_list(scene):
    scene.broker("--allow-other-users")
    scene.start("C++").call("create", name="s", kind="stream")
    as_other_user(scene).call("open_consumer", h="c", name="s")


@case("a broker that is another user's", "untrusted_broker", root=True)
def untrusted_broker(scene):
    folder = scene.runtime.directory / "theirs"
    folder.mkdir(0o711)
    os.chown(folder, OTHER_USER - 1, OTHER_USER - 1)
    agent = as_other_user(scene, connect=False)
    scene.brokers.append(start_broker(folder / "s", "--allow-other-users", prefix=user(OTHER_USER - 1)))
    agent.call("connect", socket=str(folder / "s"))


# ---- The broker's directory and socket ------------------------------------------------------------


@case("no broker, and none may be started", "no_broker")
def no_broker(scene):
    scene.start(scene.language, connect=False).call("connect", start_broker=False)


@case("the socket that a killed broker left", "no_broker")
def stale_socket(scene):
    scene.start("C++").close()
    scene.runtime.kill_broker()
    assert scene.runtime.socket.exists()
    scene.start(scene.language, connect=False).call("connect", start_broker=False)


@case("a broker program that is not there", "no_broker")
def no_broker_program(scene):
    scene.start(scene.language, connect=False, environment={"ATOLLD": "/nothing/atolld"}).call("connect")


@case("a socket path of more than 107 bytes", "socket_path_too_long")
def long_socket_path(scene):
    scene.start(scene.language, connect=False).call("connect", socket=str(scene.runtime.directory / ("x" * 120) / "s"))


@case("a runtime directory that others may write", "bad_runtime_directory")
def open_runtime_directory(scene):
    folder = scene.runtime.directory / "open"
    folder.mkdir()
    folder.chmod(0o777)
    scene.start(scene.language, connect=False).call("connect", socket=str(folder / "s"))


@case("a runtime directory that cannot be made", "bad_runtime_directory")
def unmakable_runtime_directory(scene):
    (scene.runtime.directory / "file").write_text("")
    scene.start(scene.language, connect=False).call("connect", socket=str(scene.runtime.directory / "file/deeper/s"))
    (scene.runtime.directory / "file").unlink()


@case("a read-only runtime directory", "bad_runtime_directory", root=True)
def read_only_runtime_directory(scene):
    folder = scene.runtime.directory / "readonly"
    folder.mkdir()
    folder.chmod(0o500)
    os.chown(folder, OTHER_USER, OTHER_USER)
    as_other_user(scene, connect=False).call("connect", socket=str(folder / "s"))


# ---- Files cut, forged, scribbled on ---------------------------------------------------------------


def with_lane(scene) -> None:
    scene.stream()
    writer = scene.start("C++")
    writer.call("open_producer", h="p", name="s")
    writer.call("send", h="p", data=b"before")


def damaged(scene, role: str, offset: int, data: bytes) -> None:
    """A stream whose file of that role is changed before the language under test opens it."""
    with_lane(scene)
    scribble(scene.file(role), offset, data)
    scene.agent.call("open_consumer", h="c", name="s")
    scene.agent.call("receive", h="c", timeout_ms=1000)


@case("a lane's file cut short", "truncated_file")
def truncated_lane(scene):
    with_lane(scene)
    os.truncate(scene.file("lane"), HEADER + 100)
    scene.agent.call("open_consumer", h="c", name="s")


def restarted_with_manifest(scene, change: Callable[[pathlib.Path], None]) -> None:
    """The broker is killed, a manifest changed, and the next broker finds it so."""
    with_lane(scene)
    scene.start("C++").call("create", name="other", kind="stream", capacity=4096)
    scene.runtime.kill_broker()
    change(scene.runtime.directory / "segments/s.json")
    scene.start(scene.language).call("open_consumer", h="c", name="s")


@case("a manifest cut short", "bad_manifest")
def truncated_manifest(scene):
    restarted_with_manifest(scene, lambda path: os.truncate(path, path.stat().st_size // 2))


@case("a manifest with another lane's size", "bad_manifest")
def forged_manifest(scene):
    restarted_with_manifest(scene, lambda path: path.write_text(path.read_text().replace('"capacity": 65536', '"capacity": 1048576')))


@case("a manifest of a newer version", "wrong_version")
def newer_manifest(scene):
    restarted_with_manifest(scene, lambda path: path.write_text(path.read_text().replace('"min_reader_version": 1', '"min_reader_version": 99')))


@case("a header page cut short", "truncated_file")
def truncated_header(scene):
    with_lane(scene)
    os.truncate(scene.file("header"), 100)
    scene.agent.call("open_consumer", h="c", name="s")


@case("a header page with a wrong magic number", "bad_header")
def forged_magic(scene):
    damaged(scene, "lane", MAGIC, b"NOTATOLL")


@case("a header page of the other byte order", "wrong_byte_order")
def other_byte_order(scene):
    damaged(scene, "lane", MAGIC, b"AATOLL01"[::-1])


@case("a header page for newer readers only", "wrong_version")
def newer_layout(scene):
    damaged(scene, "lane", MIN_READER, struct.pack("<H", 999))


@case("a header page that requires an unknown feature", "wrong_version")
def unknown_feature(scene):
    damaged(scene, "lane", REQUIRED_FEATURES, struct.pack("<Q", 1 << 40))


@case("a header page of another generation", "bad_header")
def other_generation(scene):
    damaged(scene, "lane", GENERATION, struct.pack("<Q", 12345))


@case("a header page whose capacity overflows", "bad_header")
def overflowing_capacity(scene):
    damaged(scene, "lane", CAPACITY, struct.pack("<Q", 2**63))


@case("a header page whose file size is not the manifest's", "bad_header")
def forged_file_size(scene):
    damaged(scene, "lane", FILE_SIZE, struct.pack("<Q", 2**40))


@case("a lane whose record header was scribbled on", "lane_damaged")
def scribbled_record(scene):
    damaged(scene, "lane", HEADER, b"\xff" * 16)


@case("a lane whose record claims a length beyond the ring", "lane_damaged")
def wild_length(scene):
    damaged(scene, "lane", HEADER + 4, struct.pack("<I", 0xFFFFFF00))


@case("a group file with wild cursors", "group_damaged")
def wild_cursors(scene):
    with_lane(scene)
    scene.agent.call("open_consumer", h="c", name="s")
    scribble(scene.file("group"), GROUP_POSITIONS, struct.pack("<QQ", 2**50, 2**51))
    scene.agent.call("receive", h="c", timeout_ms=1000)


# ---- Content --------------------------------------------------------------------------------------


@case("a record read as JSON that is none", "bad_encoding", languages=("Python", "Node"), why_not="C and C++ do not decode")
def not_json(scene):
    scene.stream()
    scene.agent.call("open_producer", h="p", name="s")
    scene.agent.call("open_consumer", h="c", name="s")
    scene.agent.call("send", h="p", data=b"{", content="json")
    scene.agent.call("receive_json", h="c")


@case("a record read as an array whose shape is a lie", "bad_encoding", languages=("Python", "Node"), why_not="C and C++ do not decode")
def not_an_array(scene):
    scene.stream()
    scene.agent.call("open_producer", h="p", name="s")
    scene.agent.call("open_consumer", h="c", name="s")
    scene.agent.call("send", h="p", data=b"\xff" * 40, content="array")
    scene.agent.call("receive_array", h="c")


# ---- Restart --------------------------------------------------------------------------------------


@case("a memfd segment that nobody held when the broker was killed", "segment_lost")
def lost_memfd(scene):
    creator = scene.start("C++")
    creator.call("create", name="m", kind="stream", backing="memfd")
    creator.close()
    scene.runtime.kill_broker()
    scene.agent.call("open_consumer", h="c", name="m")
