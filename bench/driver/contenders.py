"""Who is measured, and how: the contenders, and the list of rows that the table has.

A contender is two command lines (the accepting half is started first). A row is one contender doing
one thing at one size. To add a peer: a program in bench/peers with the command line of bench.hpp, a line
in CONTENDERS, its lines in `rows`.
"""

import os
import shutil
from dataclasses import dataclass

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(BENCH)
BUILD = os.environ.get("ATOLL_BENCH_BUILD") or os.path.join(ROOT, "build-bench")
PROGRAMS = os.path.join(BUILD, "bench")
VENV_PYTHON = os.environ.get("ATOLL_BENCH_PYTHON") or os.path.join(ROOT, ".venv", "bin", "python")
NODE = shutil.which("node") or "node"

SIZES = {"64B": 64, "1KiB": 1 << 10, "64KiB": 1 << 16, "1MiB": 1 << 20}
# Bytes of a ring, for every contender that has one; and the alignment of payloads in it.
CAPACITY = {64: 1 << 20, 1 << 10: 4 << 20, 1 << 16: 4 << 20, 1 << 20: 8 << 20}
ALIGN = {64: 16, 1 << 10: 64, 1 << 16: 64, 1 << 20: 64}
BATCH = 64


@dataclass(frozen=True)
class Contender:
    name: str
    accept: tuple  # the command of pong and receive
    start: tuple  # the command of ping and send
    needs: str = ""  # what to install if it is missing
    broker: bool = False
    files: tuple = ()  # what must be there

    def missing(self):
        """Why it cannot run, or ""."""
        for path in (*self.files, *self.accept, *self.start):
            if not (os.path.exists(path) or shutil.which(path)):
                return f"{os.path.relpath(path, ROOT) if os.path.isabs(path) else path} is missing: {self.needs or 'bench/setup'}"
        return ""


def program(name, needs="", broker=False):
    path = os.path.join(PROGRAMS, name)
    return Contender(name, (path,), (path,), needs, broker)


def script(folder, name):
    return os.path.join(BENCH, folder, name)


CONTENDERS = {contender.name: contender for contender in [
    program("raw_ring"),
    program("atoll_stream", "it did not build", broker=True),
    program("boost_queue", "install libboost-dev (bench/setup)"),
    program("zeromq", "install libzmq3-dev (bench/setup)"),
    program("unix_socket"),
    Contender("py_node_socket", (NODE, script("peers", "unix_socket_receive.mjs")),
              ("python3", script("peers", "unix_socket_send.py")), "install nodejs (bench/setup)"),
    Contender("py_node_atoll", (NODE, script("atoll", "receive.mjs")), (VENV_PYTHON, script("atoll", "send.py")),
              "build the packages (bench/setup)", broker=True,
              files=(os.environ.get("ATOLL_NODE_ADDON") or os.path.join(ROOT, "bindings", "node", "build", "atoll.node"),)),
]}


@dataclass(frozen=True)
class Row:
    section: str  # rows of a section stand under one heading and are compared with its first row
    label: str
    contender: str
    metric: str  # latency or rate
    size: int
    wait: str = "block"
    batch: int = 1
    variant: str = ""
    cpus: tuple = (0, 1)  # of the starting and of the accepting process

    @property
    def id(self):
        parts = [self.section, self.contender, self.wait, f"batch{self.batch}" if self.batch > 1 else "", self.variant]
        return "/".join(part for part in parts if part)

    def arguments(self, count):
        out = ["--size", str(self.size), "--count", str(count), "--wait", self.wait, "--batch", str(self.batch),
               "--capacity", str(CAPACITY[self.size]), "--align", str(ALIGN[self.size])]
        return out + (["--variant", self.variant] if self.variant else [])


def rows():
    out = []

    def add(section, lines, metric, size, **common):
        for label, contender, extra in lines:
            out.append(Row(section, label, contender, metric, size, **{**common, **extra}))

    for name, size in SIZES.items():
        small = size <= 1024
        add(f"cpp/{name}/latency/spin", [
            ("raw ring", "raw_ring", {}),
            ("Atoll", "atoll_stream", {}),
            ("Boost message_queue", "boost_queue", {}),
            ("Unix socket", "unix_socket", {}),
        ], "latency", size, wait="spin")
        blocking = [
            ("raw ring and futex", "raw_ring", {}),
            ("Atoll", "atoll_stream", {}),
            ("Boost message_queue", "boost_queue", {}),
            ("Unix socket", "unix_socket", {}),
            ("ZeroMQ ipc", "zeromq", {}),
        ]
        add(f"cpp/{name}/latency/block", blocking, "latency", size)
        if size == 64:
            add(f"cpp/{name}/latency/one-cpu", blocking, "latency", size, cpus=(0, 0))
        batches = [
            ("Atoll send_many, receive_many", "atoll_stream", {"batch": BATCH}),
            (f"raw ring, {BATCH} at once", "raw_ring", {"wait": "spin", "batch": BATCH}),
            (f"Unix socket, {BATCH} in one write", "unix_socket", {"batch": BATCH}),
        ] if small else []
        add(f"cpp/{name}/rate", [
            ("raw ring", "raw_ring", {"wait": "spin"}),
            ("Atoll send, receive", "atoll_stream", {}),
            *([("Atoll, group that is shared", "atoll_stream", {"variant": "shared"}),
               ("raw ring with a terminator", "raw_ring", {"wait": "spin", "variant": "terminator"})] if size == 64 else []),
            *batches[:2],
            ("Boost message_queue", "boost_queue", {}),
            ("ZeroMQ ipc", "zeromq", {}),
            ("Unix socket", "unix_socket", {}),
            *batches[2:],
        ], "rate", size)
        add(f"py-node/{name}/latency", [
            ("Unix socket", "py_node_socket", {}),
            ("Atoll", "py_node_atoll", {}),
        ], "latency", size)
        add(f"py-node/{name}/rate", [
            ("Unix socket", "py_node_socket", {}),
            *([(f"Unix socket, {BATCH} in one write", "py_node_socket", {"batch": BATCH})] if small else []),
            ("Atoll send, receiveMany", "py_node_atoll", {}),
            *([("Atoll send_many, receiveMany", "py_node_atoll", {"batch": BATCH})] if small else []),
        ], "rate", size)
    return out


TITLES = {"cpp": "C++ to C++", "py-node": "Python to Node", "latency": "latency, half a round trip", "rate": "rate",
          "spin": "spinning", "block": "blocking", "one-cpu": "blocking, both on one CPU"}


def title(section):
    language, size, metric, *how = section.split("/")
    return ", ".join([TITLES[language], size.replace("KiB", " KiB").replace("MiB", " MiB") if size != "64B" else "64 B",
                      TITLES[metric], *(TITLES[part] for part in how)])


# What must hold: (what, row, row it is compared with, factor). The first is at least `factor` times the second.
TARGETS = [
    ("Python to Node, 64 B: send, receiveMany against the Unix socket",
     "py-node/64B/rate/py_node_atoll/block", "py-node/64B/rate/py_node_socket/block", 3.0),
]
