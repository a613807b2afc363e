"""Who is measured: the contenders, their programs, and the services that some of them need.

A contender is one or two command lines. Of two, the accepting half is started first; the role `alone` has
one. To add a peer: a program in bench/peers with the command line of bench.hpp, a line here, and its lines
in rows.py. What bench/setup could not install is missing here, with the reason.
"""

import os
import shutil
from dataclasses import dataclass

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(BENCH)
BUILD = os.environ.get("ATOLL_BENCH_BUILD") or os.path.join(ROOT, "build-bench")
PROGRAMS = os.path.join(BUILD, "bench")
PEERS = os.path.join(BUILD, "peers")  # what bench/setup installs that is no Debian package
VENV_PYTHON = os.environ.get("ATOLL_BENCH_PYTHON") or os.path.join(ROOT, ".venv", "bin", "python")
NODE = shutil.which("node") or "node"
ADDON = os.environ.get("ATOLL_NODE_ADDON") or os.path.join(ROOT, "bindings", "node", "build", "atoll.node")
NODE_API = os.path.join(ROOT, "bindings", "node", "node_modules", "node-api-headers", "include")
AERON_JAR = os.path.join(PEERS, "aeron", "aeron-all.jar")
AERON_CLASSES = os.path.join(PEERS, "aeron", "classes")
# As Aeron's documentation asks for: access to the memory that its buffers are, and no bounds checks.
JAVA = ("java", "--add-opens", "java.base/jdk.internal.misc=ALL-UNNAMED", "--add-opens", "java.base/sun.nio.ch=ALL-UNNAMED",
        "-Dagrona.disable.bounds.checks=true", "-XX:+UseSerialGC", "-XX:+UnlockExperimentalVMOptions", "-Xms256m", "-Xmx256m",
        "-XX:-UsePerfData", "-cp", f"{AERON_JAR}:{AERON_CLASSES}")


@dataclass(frozen=True)
class Service:
    """A process that must run while a contender is measured. It is ready when it prints a line with `says`."""
    command: tuple  # {path} is the measurement's directory
    says: str


SERVICES = {
    "roudi": Service((os.path.join(PROGRAMS, "iceoryx_roudi"),), "ready"),
    "aeron": Service((*JAVA, "AeronDriver", "--path", "{path}"), "ready"),
    "redis": Service(("redis-server", "--port", "0", "--unixsocket", "{path}/redis", "--save", "", "--appendonly", "no", "--dir", "{path}"),
                     "eady to accept connections"),
}


@dataclass(frozen=True)
class Contender:
    name: str
    accept: tuple  # the command of pong and receive, or of alone
    start: tuple = ()  # the command of ping and send
    needs: str = ""  # what to do if it is missing
    broker: bool = False
    service: str = ""
    files: tuple = ()  # what must be there

    def missing(self):
        """Why it cannot run, or ""."""
        service = SERVICES[self.service].command[:1] if self.service else ()
        for path in (*self.files, *service, self.accept[0], *self.start[:1]):
            if not (os.path.exists(path) or shutil.which(path)):
                said = _why_left_out(self.needs)
                return f"{os.path.relpath(path, ROOT) if os.path.isabs(path) else path} is missing: {said}"
        return ""


def _why_left_out(peer):
    """What bench/setup wrote down when it had to leave a peer out."""
    try:
        with open(os.path.join(PEERS, f"{peer}.left-out")) as file:
            return file.read().strip()
    except OSError:
        return f"{peer}: run bench/setup" if peer else "run bench/setup"


def program(name, needs="", **more):
    path = os.path.join(PROGRAMS, name)
    return Contender(name, (path,), (path,), needs, **more)


def script(folder, name):
    return os.path.join(BENCH, folder, name)


def _scripts(name, accept, start, needs, *files, **more):
    for path in (*accept[1:2], *start[1:2]):
        files += (path,)
    return Contender(name, accept, start, needs, files=files, **more)


_aeron = (*JAVA, "AeronPeer")
_iceoryx2 = os.path.join(PEERS, "iceoryx2", "release", "iceoryx2_peer")
_python = (VENV_PYTHON,)
_system_python = ("python3",)

CONTENDERS = {contender.name: contender for contender in [
    program("raw_ring"),
    program("futex_pingpong"),
    program("bare_steps"),
    *(program(f"atoll_{name}", broker=True) for name in ["stream", "crowd", "first"]),
    *(program(f"atoll_{name}") for name in ["idle", "many"]),  # with brokers of their own
    program("boost_queue", "boost"),
    program("zeromq", "zeromq"),
    program("nng", "nng"),
    program("iceoryx", "iceoryx", service="roudi"),
    program("unix_socket"),
    program("pipe"),
    Contender("aeron", _aeron, _aeron, "aeron", service="aeron", files=(AERON_JAR, os.path.join(AERON_CLASSES, "AeronPeer.class"))),
    Contender("iceoryx2", (_iceoryx2,), (_iceoryx2,), "iceoryx2"),

    _scripts("py_node_socket", (NODE, script("peers", "unix_socket_receive.mjs")),
             (*_system_python, script("peers", "unix_socket_send.py")), ""),
    _scripts("py_node_atoll", (NODE, script("atoll", "receive.mjs")), (*_python, script("atoll", "send.py")), "", ADDON, broker=True),
    _scripts("py_node_zeromq", (NODE, script("peers", "zeromq_receive.mjs")), (*_python, script("peers", "zeromq_send.py")),
             "zeromq.js", os.path.join(PEERS, "node", "node_modules", "zeromq")),
    _scripts("py_py_atoll", (*_python, script("atoll", "receive.py")), (*_python, script("atoll", "send.py")), "", broker=True),
    _scripts("py_py_pipe", (*_system_python, script("peers", "multiprocessing_pipe.py")),
             (*_system_python, script("peers", "multiprocessing_pipe.py")), ""),
    _scripts("py_py_redis", (*_python, script("peers", "redis_list.py")), (*_python, script("peers", "redis_list.py")),
             "redis", service="redis"),
    _scripts("py_py_queue", (*_system_python, script("peers", "multiprocessing_queue.py")), (), ""),
    _scripts("py_alone", (*_python, script("atoll", "alone.py")), (), "", os.path.join(PROGRAMS, "empty_call.so"), broker=True),
    _scripts("py_first", (*_python, script("atoll", "first.py")), (), "", broker=True),
    _scripts("node_alone", (NODE, script("atoll", "alone.mjs")), (), "", ADDON, broker=True),
    _scripts("node_first", (NODE, script("atoll", "first.mjs")), (), "", ADDON, broker=True),
]}
