"""Speaks the control protocol with nothing but the standard library, and runs brokers of its own.

Used by the tests in this folder. A Broker serves a fresh directory and is ended, with everything it
made, when the `with` block ends.
"""
import array
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
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
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.buffer = b""
        self.fds = []

    def send(self, method, parameters=None, fds=()):
        message = json.dumps({"method": "dev.atoll.Broker." + method, "parameters": parameters or {}}).encode() + b"\0"
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.socket.sendmsg([message], ancillary)
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
        return json.loads(text), fds

    def call(self, method, _fds=(), **parameters):
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
        self.socket.close()


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
        self.directory = tempfile.mkdtemp(prefix="atoll-test-")
        self.path = os.path.join(self.directory, "atoll.sock")
        self.process = None
        self.connections = []

    def __enter__(self):
        self.start()
        return self

    def start(self, wait=True):
        self.log = open(os.path.join(self.directory, "stderr"), "ab")
        self.process = subprocess.Popen(
            [ATOLLD, "--socket", self.path, "--log-level", "debug", *self.arguments],
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

    def connect(self):
        connection = Connection(self.path)
        self.connections.append(connection)
        return connection

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

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
        connection = Connection(self.path)
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
