"""Speaks the control protocol with nothing but the standard library, and runs brokers of its own.

Used by the tests in this folder. A Broker serves a fresh directory and is ended, with everything it
made, when the `with` block ends.
"""
import array
import fcntl
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ATOLLD = os.environ.get("ATOLLD", "atolld")


class CallError(Exception):
    def __init__(self, reply):
        self.name = reply["error"].rsplit(".", 1)[1]
        self.parameters = reply.get("parameters", {})
        super().__init__(f"{self.name}: {self.parameters.get('message', self.parameters)}")


class Connection:
    """One connection; call() answers (parameters, descriptors)."""

    def __init__(self, path):
        self.buffer = b""
        self.fds = []
        self.received = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(path)

    def send(self, method, parameters=None, fds=()):
        message = json.dumps({"method": "dev.atoll.Broker." + method, "parameters": parameters or {}}).encode() + b"\0"
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.socket.sendmsg([message], ancillary)
        if sent < len(message):
            self.socket.sendall(message[sent:])

    def receive(self):
        while b"\0" not in self.buffer:
            data, ancillary, flags, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(4 * 253))
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    got = array.array("i")
                    got.frombytes(content[: len(content) - len(content) % 4])
                    self.fds.extend(got)
            if not data:
                raise ConnectionError("the broker closed the connection")
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        fds, self.fds = self.fds, []
        self.received += fds
        return json.loads(text), fds

    def call(self, method, _fds=(), /, **parameters):
        self.send(method, parameters, _fds)
        reply, fds = self.receive()
        if "error" in reply:
            raise CallError(reply)
        return reply["parameters"], fds

    def hello(self, _fds=(), **more):
        parameters, fds = self.call("Hello", _fds, interface_version=1, library="test", language="python", **more)
        self.session = parameters
        return parameters, fds

    def attach(self, name, role, **more):
        parameters, fds = self.call("Attach", name=name, role=role, **more)
        return parameters, list(zip(parameters["fds"], fds))

    def close(self):
        """Closes the connection and what came over it: memory is only free when nobody holds it."""
        self.socket.close()
        for fd in self.received + self.fds:
            os.close(fd)
        self.received, self.fds = [], []

    def __del__(self):
        self.close()


def memory(files, role, writable=False, **match):
    """Maps the file of an attachment that fits."""
    for row, fd in files:
        if row["role"] == role and all(row.get(key) == value for key, value in match.items()):
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            return mmap.mmap(fd, row["size"], access=access)
    raise LookupError(f"no {role} {match}")


def word(memory_map, offset, width=8):
    return struct.unpack_from("<Q" if width == 8 else "<I", memory_map, offset)[0]


class Broker:
    """A broker in a fresh directory. kill() is -9; start() again follows it."""

    def __init__(self, *arguments, environment=None):
        self.arguments = arguments
        self.environment = environment or {}
        self.directory = tempfile.mkdtemp(prefix="atoll-broker-")
        self.path = os.path.join(self.directory, "atoll.sock")
        self.prefix = []
        self.process = None
        self.connections = []

    def __enter__(self):
        self.start()
        return self

    def start(self, wait=True):
        self.log = open(os.path.join(self.directory, "stderr"), "ab")
        self.process = subprocess.Popen(
            [*self.prefix, ATOLLD, "--socket", self.path, "--log-level", "debug", *self.arguments],
            stderr=self.log, env={**os.environ, **self.environment})
        if wait:
            self.wait_until_it_serves()

    def wait_until_it_serves(self):
        end = time.monotonic() + 20
        while True:
            try:
                Connection(self.path).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise AssertionError("the broker did not come up:\n" + self.log_text())
                time.sleep(0.002)

    def log_text(self):
        with open(os.path.join(self.directory, "stderr"), "rb") as log:
            return log.read().decode(errors="replace")

    def serves(self):
        """A connection over which it answers, or None."""
        try:
            connection = Connection(self.path)
            connection.call("Status")
            return connection
        except (CallError, OSError):
            return None

    def connect(self):
        connection = Connection(self.path)
        self.connections.append(connection)
        return connection

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.prefix:
            # What died is the prefix; the broker itself dies with it, a little later.
            eventually(self.lock_is_free, "the broker is dead")

    def lock_is_free(self):
        with open(os.path.join(self.directory, "lock")) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                return False

    def restart(self):
        self.kill()
        self.start()

    def shm_directory(self):
        return self.connect().call("Status")[0]["shm_directory"]

    def __exit__(self, *exception):
        for connection in self.connections:
            connection.close()
        if self.process.poll() is not None:
            self.environment = {}
            self.start()
        connection = eventually(self.serves, "it answers")
        shm = connection.call("Status")[0]["shm_directory"]
        for segment in connection.call("List")[0]["segments"]:
            connection.call("Remove", name=segment["name"], force=True)
        connection.call("Stop")
        connection.close()
        status = self.process.wait(timeout=20)
        self.log.close()
        text = self.log_text()
        shutil.rmtree(self.directory)
        left = os.path.exists(shm)
        shutil.rmtree(shm, ignore_errors=True)
        if exception[0] is None:
            assert status == 0, f"the broker ended with status {status}:\n{text}"
            assert not left, f"{shm} was left behind"


class Holder:
    """A process of its own that holds things: see holder.py."""

    def __init__(self, broker, prefix=()):
        here = os.path.dirname(os.path.abspath(__file__))
        self.process = subprocess.Popen([*prefix, sys.executable, os.path.join(here, "holder.py"), broker.path],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=here)
        self.session = self.do("hello")

    def do(self, operation, *arguments):
        self.process.stdin.write(json.dumps([operation, *arguments]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if isinstance(answer, dict) and "error" in answer:
            raise CallError({"error": "x." + answer["error"], "parameters": answer})
        return answer

    def attach(self, name, role, **parameters):
        answer = self.do("attach", name, role, parameters)
        return answer["handle"], answer

    def poke(self, handle, role, offset, data, **match):
        self.do("poke", handle, role, match, offset, data.hex())

    def peek(self, handle, role, offset, size, **match):
        return bytes.fromhex(self.do("peek", handle, role, match, offset, size))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.kill()


def u16(value):
    return struct.pack("<H", value)


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def record(state, length, sequence, lap=0, kind=1):
    """A record header: what stands at the start of each record of a ring."""
    return struct.pack("<IIIHBB", state | lap << 3, length, sequence, 0, 0, kind)


EMPTY, CLAIMED, COMMITTED, ABORTED, PADDING = range(5)
LANE_STATE, LANE_LIMIT, LANE_TAIL, LANE_SEQUENCE, LANE_FINISHED, LANE_WAKE_MODE, RING = 128, 256, 384, 392, 264, 272, 4096
OWNED, CLOSED, ORPHANED = 1, 2, 3
GROUP_MEMBERS, GROUP_RETURNED, GROUP_LOCK, GROUP_REDO, GROUP_LANES, GROUP_CLAIMS = 136, 144, 512, 768, 4096, 8192
FREE, HELD, RETURNED = range(3)


def eventually(check, what, seconds=10):
    """Waits for something that another process does and that cannot be slept on."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < end, f"did not happen within {seconds} s: {what}"
        time.sleep(0.005)


def read_file(path, offset, size):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def file_paths(connection, name):
    """Paths of a segment's files, by (role, number)."""
    manifest = json.loads(connection.call("Manifest", name=name)[0]["manifest"])
    return {(row["role"], row.get("lane", row.get("id", 0))): row["path"] for row in manifest["files"]}


def make_stream(broker, name="s", **options):
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name=name, options={"kind": "stream", "capacity": 4096, **options})
    return connection


def come_back(holder, *attachments):
    holder.do("reconnect")
    return holder.do("hello", {"token": holder.session["token"], "slot": holder.session["slot"],
                               "slot_generation": holder.session["slot_generation"], "attachments": list(attachments)})


def edit_file(broker, paths, key, offset, data):
    with open(paths[key], "r+b") as file:
        file.seek(offset)
        file.write(data)


def roles(files):
    return sorted((row["role"], row.get("lane", row.get("id", 0))) for row, _ in files)
