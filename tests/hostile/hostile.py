"""A client that attacks: it carries out the 19 attacks of docs/threat-model.md, as often as it is told to.

Run by test_hostile_neighbour.py and test_fairness.py, as another user where root allows, with the standard library alone:

    hostile.py SCENE [--attack N] [--loop SECONDS] [--seed S]

SCENE is a JSON object: `socket` and `directory` of the broker, what it may use (`open`, `named`: streams; `board`: bytes), what
it may not (`secret`, `victim`: a process), `same_user`, `setuid_program` or null, `broker_pid` or null where that is hidden.
Each attack is one function. It tells what each of its attempts gave: "allowed", or the error's name. It raises
Succeeded if something worked that must not; the program then says so and ends with status 1. At the end the program prints
{"attack": N, "got": {...}} for --attack, {"carried_out": {N: times}} for --loop, on one line.
"""
from __future__ import annotations

import argparse
import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from broker_client import CallError, Connection

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, PR_SET_NAME, SYS_FUTEX, SYS_MEMBARRIER = 0x10000000, 15, 202, 324
FALLOC_FL_PUNCH_HOLE_KEEP_SIZE = 3
MEMBARRIER_GLOBAL_EXPEDITED, MEMBARRIER_REGISTER_GLOBAL_EXPEDITED = 2, 4
LARGE = 1 << 40


class Succeeded(Exception):
    """An attack worked that must not."""


def attempt(action, *arguments, **named):
    """What an attempt gives: "allowed", the name of the broker's error, "dropped", or the errno."""
    try:
        action(*arguments, **named)
        return "allowed"
    except CallError as error:
        return error.name
    except (ConnectionError, TimeoutError):
        return "dropped"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))


class Scene:
    def __init__(self, given: dict, seed: int) -> None:
        self.__dict__.update(given)
        self.random = random.Random(seed)
        self.uid = os.getuid()
        self.own = f"{self.uid}/hostile-{os.getpid()}"

    def must(self, what: str, got: str, *right: str) -> None:
        """`got` is one of the right outcomes: those that are no success of the attacker."""
        if got not in right:
            raise Succeeded(f"{what}: {got}, not one of {', '.join(right)}")

    def raw(self) -> Connection:
        """A new connection. Who connects too often waits, and is refused beyond that: then later again."""
        end = time.monotonic() + 20
        while True:
            connection = Connection(self.socket)
            try:
                connection.call("Status")
                return connection
            except (CallError, ConnectionError):
                connection.close()
                if time.monotonic() > end:
                    raise Succeeded("the broker does not serve any more") from None
                time.sleep(0.05)

    def connect(self) -> Connection:
        connection = self.raw()
        connection.hello()
        return connection

    def stream(self, connection: Connection, backing: str = "memfd", **options) -> str:
        """A stream of its own, to be removed by its caller."""
        self.counter = getattr(self, "counter", 0) + 1
        name = f"{self.own}-{self.counter}"
        connection.call("Create", name=name, options={"kind": "stream", "capacity": 4096, "backing": backing, **options})
        return name


def file_of(files, role):
    """(row, descriptor) of the first file of that role."""
    return next((row, fd) for row, fd in files if row["role"] == role)


def child_says(action) -> str:
    """What action() returns in a child process of its own; "died" with a signal's name if it does not come to that."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(action()).encode())
        except BaseException as error:  # noqa: B036 (told to the parent)
            os.write(write, f"failed: {error!r}".encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return text or f"died of {signal.Signals(os.WTERMSIG(status)).name}"


def truncated_files(scene):
    """1. Cuts files that others have mapped, so that they die of SIGBUS."""
    connection = scene.connect()
    got = {}
    for role, name, more in (("produce", scene.open, {}), ("consume", scene.open, {"group": "hostile", "group_options": {"ephemeral": True}})):
        _, files = connection.attach(name, role, **more)
        for row, fd in files:
            for size in (0, row["size"] // 2, row["size"] * 2):
                outcome = attempt(os.ftruncate, fd, size)
                scene.must(f"resizing {row['role']} of a memfd stream", outcome, "EPERM", "EINVAL", "EACCES")
                got[f"{row['role']} of memfd" if row["writable"] else "read-only"] = outcome
    # Who may write a named file may cut it, and whoever is attached may write the bell: the broker, which maps them too, lives on.
    for role, cut in (("produce", "lane"), ("consume", "group"), ("observe", "bell")):
        name = scene.stream(connection, "shm")
        _, files = connection.attach(name, role, **({"group": "hostile"} if role == "consume" else {}))
        for row, fd in files:
            if not row["writable"]:
                scene.must("resizing a read-only file", attempt(os.ftruncate, fd, 0), "EINVAL", "EPERM", "EACCES")
        got[f"named {cut}"] = attempt(os.ftruncate, file_of(files, cut)[1], 0)
        for method, parameters in (("Show", {}), ("Attach", {"role": "observe"}), ("Attach", {"role": "produce"}), ("Remove", {"force": True})):
            got[f"{method} where the {cut} was cut"] = attempt(connection.call, method, name=name, **parameters)
    connection.close()
    return got


def punched_holes(scene):
    """2. Punches holes into memory that cannot be cut, and fills memory so that nothing can fill them again."""
    connection = scene.connect()
    given, files = connection.attach(scene.open, "produce")
    row, lane = file_of(files, "lane")

    def punch(fd):
        if libc.fallocate(fd, FALLOC_FL_PUNCH_HOLE_KEEP_SIZE, ctypes.c_long(4096), ctypes.c_long(row["size"] - 4096)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")

    got = {"before it is sealed": attempt(punch, lane)}
    memory = mmap.mmap(lane, row["size"])
    connection.call("Refresh", attachment=given["attachment"], lanes=[], groups=[])
    got["after it is sealed"] = attempt(punch, lane)
    scene.must("punching a sealed lane", got["after it is sealed"], "EPERM")
    scene.must("mapping a sealed lane for writing", attempt(mmap.mmap, lane, row["size"]), "EPERM", "EACCES")
    for other, fd in files:
        if not other["writable"]:
            scene.must(f"punching {other['role']}", attempt(punch, fd), "EBADF", "EPERM")
    del memory
    got["filling memory"] = attempt(connection.call, "Create", name=scene.own, options={"kind": "bytes", "size": LARGE, "put_size": 0, "backing": "memfd"})
    scene.must("a segment larger than memory", got["filling memory"], "NoSpace", "LimitReached", "InvalidGeometry")
    connection.close()
    return got


def reopened_descriptors(scene):
    """3. Opens what it was given for reading once more, for writing."""
    connection = scene.connect()
    got = {}
    for name in (scene.open, scene.named):
        _, files = connection.attach(name, "consume", group="hostile", group_options={"ephemeral": True})
        row, fd = file_of(files, "lane")
        right = ("allowed",) if scene.same_user else ("EACCES", "EPERM")
        got[f"reopen of {name.split('/')[-1]}"] = attempt(lambda: os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR)))
        if scene.same_user and name == scene.open:
            right += ("EPERM",)
        scene.must(f"reopening the lane of {name}", got[f"reopen of {name.split('/')[-1]}"], *right)
        scene.must("mapping it for writing", attempt(mmap.mmap, fd, row["size"]), "EACCES", "EPERM")
        scene.must("writing to it", attempt(os.pwrite, fd, b"x", 0), "EBADF", "EPERM")
        libc.mmap.restype = ctypes.c_void_p
        address = libc.mmap(None, ctypes.c_size_t(row["size"]), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
        got["mprotect"] = "allowed" if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(row["size"]), 3) == 0 else "refused"
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(row["size"]))
        scene.must("mprotect for writing", got["mprotect"], "refused")
    connection.close()
    return got


def scribbled_words(scene):
    """4. Writes at random over all that it may write: its lane, its group, bytes."""
    connection = scene.connect()
    got = {}
    for name, role, mine, more in (
        (scene.open, "produce", "lane", {}), (scene.named, "produce", "lane", {}), (scene.board, "map", "data", {"writable": True}),
        (scene.open, "consume", "group", {"group": "hostile", "group_options": {"ephemeral": True}}),
        (scene.named, "consume", "group", {"group": "hostile", "group_options": {"ephemeral": True}}),
    ):
        try:
            given, files = connection.attach(name, role, **more)
        except CallError as error:
            # What it has spoiled before is not given to it again, and nothing is used up for ever.
            scene.must(f"attaching to {name} again", error.name, "GroupDamaged", "TooManyLanes", "LimitReached", "LaneDamaged")
            got[f"{role} {name.split('/')[-1]}"] = error.name
            continue
        row, fd = file_of(files, mine)
        memory = mmap.mmap(fd, row["size"])
        for _ in range(200):
            at = scene.random.choice((scene.random.randrange(128, 1024), scene.random.randrange(128, row["size"] - 8))) & ~7
            value = scene.random.choice((0, 1, 1 << 63, (1 << 64) - 1, scene.random.getrandbits(64), scene.random.getrandbits(20)))
            struct.pack_into("<Q", memory, min(at, row["size"] - 8), value)
        got[f"{role} {name.split('/')[-1]}"] = "scribbled"
        for method in ("Show", "Manifest"):
            scene.must(f"{method} of what was scribbled on", attempt(connection.call, method, name=name), "allowed")
        attempt(connection.call, "Refresh", attachment=given["attachment"], lanes=[], groups=[])
        scene.must("giving it back", attempt(connection.call, "Detach", attachment=given["attachment"]), "allowed")
        memory.close()
    connection.close()
    return got


def futex_words(scene):
    """5. Rings every bell, sets every flag, pretends that the broker died, wakes and sleeps on words of others."""
    connection = scene.connect()
    bells = mmap.mmap(connection.received[0], connection.session["fds"][0]["size"])
    address = ctypes.addressof(ctypes.c_char.from_buffer(bells))
    _, files = connection.attach(scene.open, "observe")
    row, fd = file_of(files, "bell")
    bell = mmap.mmap(fd, row["size"])
    for number in range(256):
        at = 4096 + 64 * number
        struct.pack_into("<II", bells, at, scene.random.getrandbits(32), 1)
        libc.syscall(SYS_FUTEX, ctypes.c_void_p(address + at), 1, 1 << 30, None, None, 0)
    for at in (1024, 1792):
        for word in range(17):
            struct.pack_into("<Q", bell, at + 8 * word, scene.random.getrandbits(64))
    life = struct.unpack_from("<I", bells, 128)[0]
    struct.pack_into("<I", bells, 128, 0x40000000)
    libc.syscall(SYS_FUTEX, ctypes.c_void_p(address + 128), 1, 1 << 30, None, None, 0)
    # The broker sleeps on no word: there is nothing to wake it with, or to hold it by.
    got = {"broker": attempt(connection.call, "Status")}
    scene.must("a call while all words are wrong", got["broker"], "allowed")
    struct.pack_into("<I", bells, 128, scene.random.choice((life, scene.random.getrandbits(30))))
    bell.close()
    connection.close()
    return got


def descriptor_floods(scene):
    """6. Sends descriptors that nobody asked for, and takes none of those that it asks for."""
    got = {}
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(250)]
    for number in (1, 50, 250):
        connection = Connection(scene.socket)
        got[f"{number} before Hello"] = attempt(connection.call, "Status", descriptors[:number])
        scene.must(f"{number} descriptors with Status", got[f"{number} before Hello"], "ProtocolError", "dropped", "EPIPE", "ECONNRESET", "LimitReached")
        connection.close()
    connection = scene.connect()
    got["after Hello"] = attempt(connection.call, "Status", descriptors[:50])
    scene.must("descriptors after Hello", got["after Hello"], "EPERM", "ProtocolError", "dropped", "EPIPE")
    for fd in descriptors:
        os.close(fd)
    connection.close()
    # It asks and asks, and reads nothing.
    deaf = scene.connect()
    deaf.socket.settimeout(0.3)
    message = json.dumps({"method": "dev.atoll.Broker.Attach", "parameters": {"name": scene.open, "role": "observe"}}).encode() + b"\0"
    try:
        for _ in range(400):
            deaf.socket.sendall(message)
    except OSError:
        pass
    if scene.alone:  # in the loop there is no time for it
        hung_up = select.poll()
        hung_up.register(deaf.socket, select.POLLHUP)
        got["never taken"] = "dropped" if hung_up.poll(8000) else "allowed"
    deaf.close()
    return got


def connection_floods(scene):
    """7. Connects as often as it can and keeps the connections; sends byte by byte; never reads a reply."""
    held, refused = [], ""
    for _ in range(150):
        connection = Connection(scene.socket)
        held.append(connection)
        connection.send("Status")
    for connection in held:
        outcome = attempt(answered, connection)
        refused = outcome if outcome != "allowed" else refused
        scene.must("one connection of many", outcome, "allowed", "LimitReached", "dropped")
    for connection in held:
        connection.close()
    slow = scene.raw()
    slow.socket.settimeout(0.1)
    for byte in b'{"method":"dev.atoll.Bro':
        slow.socket.send(bytes([byte]))
    deaf = scene.raw()
    deaf.socket.settimeout(0.1)
    call = json.dumps({"method": "dev.atoll.Broker.List"}).encode() + b"\0"
    outcome = attempt(lambda: [deaf.socket.sendall(call * 50) for _ in range(200)])
    deaf.close()
    slow.close()
    return {"150 connections": refused or "allowed", "never reads": outcome}


def answered(connection):
    reply, _ = connection.receive()
    if "error" in reply:
        raise CallError(reply)


def malformed_messages(scene):
    """8. Sends what is no JSON, too large, too deep, with keys twice, not UTF-8, of wrong types, or a good message with bytes changed."""
    call = b'{"method":"dev.atoll.Broker.Create","parameters":{"name":"x","options":{"kind":"stream","capacity":4096}}}\0'
    frames = [
        b"\0", b"[]\0", b"{\0", b'{"method":"\xff"}\0', b'{"method":1}\0', b'{"method":"a","method":"b"}\0', b"x" * 200_000,
        b'{"method":"dev.atoll.Broker.List","parameters":' + b"[" * 5000 + b"]" * 5000 + b"}\0",
        b'{"method":"dev.atoll.Broker.Hello","parameters":{' + b",".join(b'"k%d":0' % i for i in range(5000)) + b"}}\0",
        b'{"method":"dev.atoll.Broker.Show","parameters":{"name":1e999}}\0',
        b'{"method":"dev.atoll.Broker.Create","parameters":{"name":"x","options":{"kind":"bytes","size":99999999999999999999999}}}\0',
    ]
    for _ in range(10):
        changed = bytearray(call)
        for _ in range(scene.random.randrange(1, 6)):
            changed[scene.random.randrange(len(call) - 1)] = scene.random.randrange(1, 256)
        frames.append(bytes(changed))
    got = {}
    for frame in frames:
        connection = Connection(scene.socket)
        connection.socket.settimeout(5)

        def exchange(connection=connection, frame=frame):
            connection.socket.sendall(frame)
            answered(connection)

        outcome = attempt(exchange)
        connection.close()
        got[outcome] = str(int(got.get(outcome, "0")) + 1)
        if outcome == "allowed":
            raise Succeeded(f"the broker carried out {frame[:200]!r}")
    return got


def squatted_names(scene):
    """9. Takes names that belong to others, and names that lead out of the directory or confuse a reader."""
    connection = scene.connect()
    options = {"kind": "stream", "capacity": 4096}
    got = {}
    for name in ("../x", "a/../../x", "/etc/passwd", "a//b", ".hidden", "-rf", "a\x00b", "a\x1b[2J", "ä", "x" * 129, "", "a b", "a+b"):
        outcome = attempt(connection.call, "Create", name=name, options=options)
        scene.must(f"the name {name!r}", outcome, "InvalidName", "ProtocolError")
        got["wrong names"] = outcome
    if not scene.same_user:
        for name in ("squatted", "0/x", "root/x", f"{scene.uid}x", f"{scene.uid + 1}/x", scene.secret.rsplit("/", 1)[0] + "/next"):
            outcome = attempt(connection.call, "Create", name=name, options=options)
            scene.must(f"the name {name!r}, which is another's", outcome, "NotPermitted")
            got["names of others"] = outcome
        granted = f"public/{scene.uid}-{os.getpid()}"
        got["a granted prefix"] = attempt(connection.call, "Create", name=granted, options=options)
        attempt(connection.call, "Remove", name=granted, force=True)
    name = scene.stream(connection)
    got["its own"] = "allowed"
    connection.call("Remove", name=name, force=True)
    connection.close()
    return got


def borrowed_identity(scene):
    """10. Comes back as somebody else: with a parent's token from a child, with guessed slots, with other's byte locks."""
    connection = scene.connect()
    session = connection.session
    given, _ = connection.attach(scene.open, "observe")

    def claim(token, slot, generation):
        other = scene.raw()
        reply, _ = other.hello(token=token, slot=slot, slot_generation=generation,
                               attachments=[{"name": scene.open, "generation": 1, "attachment": given["attachment"], "role": "observe"}])
        outcome = "known" if reply["known"] else "a new one"
        other.close()
        return outcome

    # In a child process: the same token, another process.
    in_child = child_says(lambda: claim(session["token"], session["slot"], session["slot_generation"]))
    scene.must("a child with its parent's token", in_child, "a new one")
    for slot in range(4):
        outcome = claim("0" * 32, slot, scene.random.randrange(1, 50))
        scene.must(f"slot {slot} with a guessed token", outcome, "a new one")
    life = connection.received[1]
    lock = struct.pack("hhqqi4x", 1, os.SEEK_SET, 0, 0, 0)  # F_WRLCK of all bytes
    held = attempt(fcntl.fcntl, life, 37, lock)
    scene.must("a write lock on every process's byte", held, "EBADF", "EAGAIN", "EACCES")
    for attachment in range(max(0, given["attachment"] - 5), given["attachment"]):
        outcome = attempt(connection.call, "Refresh", attachment=attachment, lanes=[], groups=[])
        scene.must("an attachment of another process", outcome, "InvalidArgument")
        attempt(connection.call, "Detach", attachment=attachment)
    connection.close()
    return {"child": in_child, "guessed": "a new one", "lock": held}


def promised_memory(scene):
    """11. Asks for more memory than there is, or for memory that is only there once it is written to."""
    connection = scene.connect()
    got = {}
    for size in (1 << 36, LARGE, (1 << 62), 5 << 30):
        outcome = attempt(connection.call, "Create", name=scene.own, options={"kind": "bytes", "size": size, "put_size": 0})
        scene.must(f"{size} bytes", outcome, "NoSpace", "LimitReached", "InvalidGeometry")
        got[str(size)] = outcome
    made = []
    outcome = "allowed"
    while outcome == "allowed" and len(made) < 40:
        made.append(f"{scene.own}-{len(made)}")
        outcome = attempt(connection.call, "Create", name=made[-1], options={"kind": "bytes", "size": 1 << 20, "put_size": 0})
    scene.must("40 segments of 1 MiB", outcome, "allowed", "NoSpace", "LimitReached")
    for name in made:
        try:
            _, files = connection.attach(name, "map")
        except CallError:
            continue  # the one that was refused
        for row, fd in files:
            status = os.fstat(fd)
            if status.st_blocks * 512 < status.st_size:
                raise Succeeded(f"{row['role']} of {status.st_size} bytes has {status.st_blocks * 512} reserved")
        connection.call("Remove", name=name, force=True)
    got["reserved"] = "in full"
    connection.close()
    return got


def planted_links(scene):
    """12. Plants links, files and directories where the broker looks for its own."""
    if scene.same_user:
        # Of the same user: a link that the broker meets in its own directory is not followed.
        with tempfile.TemporaryDirectory() as target:
            connection = scene.connect()
            planted = os.path.join(scene.directory, "segments", f"{os.getpid()}.json.new")
            os.symlink(os.path.join(target, "x"), planted)
            name = scene.stream(connection, "shm")
            scene.must("a file behind a planted link", str(os.listdir(target)), "[]")
            connection.call("Remove", name=name, force=True)
            os.unlink(planted)
            connection.close()
        return {"link": "not followed"}
    got = {}
    connection = scene.raw()
    shm = connection.call("Status")[0]["shm_directory"]
    connection.close()
    for directory in (scene.directory, os.path.join(scene.directory, "segments"), shm, os.path.dirname(shm)):
        there = os.path.join(directory, "planted")
        for what, action in (("link", lambda: os.symlink("/etc/passwd", there)), ("hard link", lambda: os.link("/proc/self/exe", there)),
                             ("file", lambda: os.close(os.open(there, os.O_CREAT | os.O_WRONLY))), ("directory", lambda: os.mkdir(there)),
                             ("rename", lambda: os.rename(scene.socket, there)), ("remove", lambda: os.unlink(scene.socket))):
            got[what] = attempt(action)
            scene.must(f"{what} in {directory}", got[what], "EACCES", "EPERM", "EXDEV", "ENOENT")
    return got


def foreign_segments(scene):
    """13. Reads what belongs to others: by name, by path, by descriptors of other processes."""
    connection = scene.connect()
    got = {}
    right = ("allowed",) if scene.same_user else ("NotPermitted",)
    for method, parameters in (("Show", {}), ("Manifest", {}), ("Attach", {"role": "observe"}), ("Attach", {"role": "produce"}),
                               ("Attach", {"role": "consume", "group": "hostile"})):
        outcome = attempt(connection.call, method, name=scene.secret, **parameters)
        scene.must(f"{method} of another user's stream", outcome, *right)
        got[method] = outcome
    if not scene.same_user:
        for method in ("Remove", "Create"):
            parameters = {"force": True} if method == "Remove" else {"options": {"kind": "stream", "capacity": 4096}}
            got[method] = attempt(connection.call, method, name=scene.secret, **parameters)
            scene.must(f"{method} of another user's stream", got[method], "NotPermitted")
        names = [row["name"] for row in connection.call("List")[0]["segments"]]
        if scene.secret in names:
            raise Succeeded("List names what it may not see")
        for pid in (scene.broker_pid, scene.victim):
            for entry in ("fd", "map_files", "mem", "environ"):
                path = f"/proc/{pid}/{entry}"
                outcome = attempt(os.listdir, path) if entry in ("fd", "map_files") else attempt(lambda path=path: open(path, "rb").close())
                scene.must(path, outcome, "EACCES", "EPERM")
            got["/proc"] = outcome
        shm = connection.call("Status")[0]["shm_directory"]
        got["the broker's memory"] = attempt(os.listdir, shm)
        scene.must("the broker's directory of memory", got["the broker's memory"], "EACCES")
        for action in ("Stop", "Gc"):
            outcome = attempt(connection.call, action, **({"apply": True} if action == "Gc" else {}))
            scene.must(action, outcome, "NotPermitted" if action == "Stop" else "allowed")
    connection.close()
    return got


def forged_manifests(scene):
    """14. Writes manifests of its own where clients and the broker read them."""
    connection = scene.connect()
    answer, _ = connection.call("Manifest", name=scene.named)
    manifest = json.loads(answer["manifest"])
    manifest["name"] = scene.own
    for row in manifest["files"]:
        row["path"] = "/etc/passwd"
    got = {}
    if scene.same_user:
        # The one who may write there is the user itself. What was not created is not believed before a restart checks it.
        path = os.path.join(scene.directory, "segments", f"forged-{os.getpid()}.json")
        with open(path, "w") as file:
            json.dump(manifest, file)
        got["forged"] = attempt(connection.attach, f"forged-{os.getpid()}", "observe")
        os.unlink(path)
        scene.must("attaching to a forged manifest", got["forged"], "UnknownSegment")
    else:
        for path in (answer["path"], os.path.join(scene.directory, "segments", "forged.json"), os.path.join(scene.directory, "journal")):
            got["write"] = attempt(lambda path=path: open(path, "w").close())
            scene.must(f"writing {path}", got["write"], "EACCES", "EPERM")
    # Through the front door: to be told of memory that it made itself.
    fake = os.memfd_create("atoll")
    os.ftruncate(fake, 1 << 16)
    other = scene.raw()
    # A connection's first call brought no descriptors; Hello may.
    got["offered memory"] = attempt(other.hello, [fake])
    scene.must("offering memory that is no segment's", got["offered memory"], "allowed", "EPERM", "ProtocolError", "dropped", "LimitReached")
    os.close(fake)
    other.close()
    connection.close()
    return got


def false_broker(scene):
    """15. Serves a socket that looks like the broker's, and tries to put it in the broker's place."""
    got = {}
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = os.path.join(directory, "atoll.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            os.chmod(path, 0o666)
            if not scene.same_user:
                for action in (lambda: os.rename(path, scene.socket), lambda: os.unlink(scene.socket), lambda: os.link(path, scene.socket + ".2")):
                    got["in the broker's place"] = attempt(action)
                    scene.must("putting a socket in the broker's place", got["in the broker's place"], "EACCES", "EPERM", "EXDEV")
            with socket.socket(socket.AF_UNIX) as second:
                got["bound again"] = attempt(second.bind, scene.socket)
                scene.must("binding the broker's path", got["bound again"], "EADDRINUSE", "EACCES")
    return got


def misled_setuid_program(scene):
    """16. Starts a set-uid program of another user with ATOLL_SOCKET set to a socket of its own."""
    if not scene.setuid_program:
        return {"set-uid program": "there is none here"}
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = os.path.join(directory, "atoll.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            os.chmod(path, 0o666)
            listener.listen(1)
            listener.settimeout(0)
            done = subprocess.run([scene.setuid_program, "status"], env={"ATOLL_SOCKET": path, "ATOLLD": "/bin/false", "XDG_RUNTIME_DIR": directory, "PATH": "/bin"},
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
            try:
                listener.accept()[0].close()
                raise Succeeded("the set-uid program connected to the attacker's socket")
            except BlockingIOError:
                pass
    return {"set-uid program": "did not connect", "status": str(done.returncode)}


def control_characters(scene):
    """17. Puts control characters into whatever a person may come to see."""
    evil = "\x1b[2J\x07\r\n\x9b31m"
    libc.prctl(PR_SET_NAME, evil.encode()[:15], 0, 0, 0)
    connection = scene.raw()
    connection.call("Hello", interface_version=1, library=evil, language=evil, command=evil)
    name = scene.stream(connection)
    connection.attach(name, "observe")
    text = json.dumps(connection.call("Show", name=name)[0]["clients"])
    libc.prctl(PR_SET_NAME, b"hostile", 0, 0, 0)
    if any(character in json.loads(text)[0]["command"] for character in "\x1b\x07\r\n\x9b"):
        raise Succeeded(f"Show passes control characters on: {text!r}")
    outcome = attempt(connection.call, "Attach", name=name, role="consume", group=evil)
    scene.must("a group's name", outcome, "InvalidName")
    attempt(connection.call, evil)
    attempt(connection.call, "Create", name=evil, options={"kind": evil})
    attempt(connection.call, "Create", name="x", options={evil: evil})
    connection.call("Remove", name=name, force=True)
    connection.close()
    return {"group": outcome, "command": "replaced"}


def barrier_storms(scene):
    """18. Interrupts every CPU with membarrier as often as it can."""
    end = time.monotonic() + 0.2
    counts = []

    def storm():
        libc.syscall(SYS_MEMBARRIER, MEMBARRIER_REGISTER_GLOBAL_EXPEDITED, 0, 0)
        count = 0
        while time.monotonic() < end:
            for _ in range(50):
                libc.syscall(SYS_MEMBARRIER, MEMBARRIER_GLOBAL_EXPEDITED, 0, 0)
            count += 50
        counts.append(count)

    threads = [threading.Thread(target=storm) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"calls": str(sum(counts))}


def hidden_user(scene):
    """19. Hides its user id: connects as root of a user namespace of its own."""

    def as_root_of_a_namespace():
        if libc.unshare(CLONE_NEWUSER) != 0:
            return "no user namespaces here"
        for path, line in (("setgroups", "deny"), ("uid_map", f"0 {scene.uid} 1")):
            try:
                with open(f"/proc/self/{path}", "w") as file:
                    file.write(line)
            except OSError:
                return "no mapping here"
        if os.getuid() != 0:
            return "not root"
        connection = Connection(scene.socket)
        outcomes = [attempt(connection.hello)]
        outcomes.append(attempt(connection.call, "Stop"))
        outcomes.append(attempt(connection.call, "Show", name=scene.secret))
        return ", ".join(outcomes)

    got = "not tried by the broker's own user, who may stop it" if scene.same_user else child_says(as_root_of_a_namespace)
    scene.must("root of a namespace", got, "allowed, NotPermitted, NotPermitted", "dropped, dropped, dropped", "dropped, EPIPE, EPIPE",
               "LimitReached, EPIPE, EPIPE", "LimitReached, dropped, dropped", "LimitReached, dropped, EPIPE", "LimitReached, EPIPE, dropped",
               "no user namespaces here", "no mapping here", "not tried by the broker's own user, who may stop it")
    return {"as root of a namespace": got}


ATTACKS = (truncated_files, punched_holes, reopened_descriptors, scribbled_words, futex_words, descriptor_floods, connection_floods, malformed_messages,
           squatted_names, borrowed_identity, promised_memory, planted_links, foreign_segments, forged_manifests, false_broker, misled_setuid_program,
           control_characters, barrier_storms, hidden_user)


def carry_out(scene: Scene, number: int) -> dict:
    """One attack; what limits and the rate of connections refuse on the way is no success, and no attack that was carried out."""
    try:
        return ATTACKS[number - 1](scene)
    except CallError as error:
        scene.must(f"attack {number}", error.name, "LimitReached", "TooManyLanes", "GroupDamaged", "NoSpace")
        return {"refused": error.name}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scene")
    parser.add_argument("--attack", type=int)
    parser.add_argument("--loop", type=float)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    scene = Scene(json.loads(arguments.scene), arguments.seed)
    scene.alone = arguments.loop is None
    number = arguments.attack
    try:
        if scene.alone:
            print(json.dumps({"attack": number, "got": carry_out(scene, number)}))
            return
        carried_out = dict.fromkeys(range(1, len(ATTACKS) + 1), 0)
        refused: dict[int, str] = {}
        tried: set[int] = set()
        end = time.monotonic() + arguments.loop
        while time.monotonic() < end or len(tried) < len(ATTACKS):
            for number in scene.random.sample(range(1, len(ATTACKS) + 1), len(ATTACKS)):
                got = carry_out(scene, number)
                tried.add(number)
                if set(got) == {"refused"}:
                    refused[number] = got["refused"]
                else:
                    carried_out[number] += 1
                if time.monotonic() > end and len(tried) == len(ATTACKS):
                    break
        print(json.dumps({"carried_out": carried_out, "refused": refused}))
    except Succeeded as success:
        print(f"attack {number} ({ATTACKS[number - 1].__name__}) succeeded: {success}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
