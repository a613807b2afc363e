"""What is measured: the rows of the table, in sections. A row is one contender doing one thing at one size.

Rows of a section stand under one title and are compared with its first row. A row is
  latency   two programs, ping-pong; half a round trip
  rate      two programs, or one with `alone`; messages a second
  figures   one program that prints named figures, which `fields` names
"""

from dataclasses import dataclass

SIZES = {"64B": 64, "1KiB": 1 << 10, "64KiB": 1 << 16, "1MiB": 1 << 20}
# Bytes of a ring, for every contender that has one; and the alignment of payloads in it.
CAPACITY = {64: 1 << 20, 1 << 10: 4 << 20, 1 << 16: 4 << 20, 1 << 20: 8 << 20}
ALIGN = {64: 16, 1 << 10: 64, 1 << 16: 64, 1 << 20: 64}
BATCH = 64
CROWDS = ["1x1", "2x1", "4x1", "8x1", "1x2g", "1x4g", "1x8g", "2x2", "4x4"]


@dataclass(frozen=True)
class Row:
    section: str
    label: str
    contender: str
    metric: str
    size: int = 64
    wait: str = "block"
    batch: int = 1  # messages sent at once
    takes: int = 0  # messages received at once; 0: as many as are sent at once
    variant: str = ""
    touch: str = "all"
    cpus: tuple = (0, 1)  # of the starting and of the accepting process; (): where the kernel wants
    alone: bool = False
    fields: tuple = ()  # (text, field) of figures
    once: bool = False  # in the first round only
    seconds: tuple = ()  # least seconds of a measurement: (full, quick)
    capacity: int = 0  # bytes of a ring; 0: CAPACITY's

    @property
    def id(self):
        parts = [self.section, self.contender, self.wait, f"batch{self.batch}" if self.batch > 1 else "",
                 f"takes{self.takes}" if self.takes else "", self.variant,
                 self.touch if self.touch != "all" else ""]
        return "/".join(part for part in parts if part)

    def arguments(self, count, seconds):
        out = ["--size", str(self.size), "--count", str(count), "--wait", self.wait, "--batch", str(self.batch),
               "--capacity", str(self.capacity or CAPACITY[self.size]), "--align", str(ALIGN[self.size])]
        if self.takes:
            out += ["--takes", str(self.takes)]
        if self.alone:
            out += ["--seconds", f"{seconds:g}"]
        if self.touch != "all":
            out += ["--touch", self.touch]
        return out + (["--variant", self.variant] if self.variant else [])


TITLES = {}


def _size_name(name):
    return name.replace("KiB", " KiB").replace("MiB", " MiB") if name != "64B" else "64 B"


def rows():
    out = []

    def add(section, title, lines, **common):
        TITLES[section] = title
        for label, contender, extra in lines:
            out.append(Row(section, label, contender, **{**common, **extra}))

    for name, size in SIZES.items():
        _add_cpp(add, name, size, f"C++ to C++, {_size_name(name)}")
    _add_hand_over(add)
    _add_crowds(add)
    _add_python_and_node(add)
    _add_once(add)
    return out


def title(section):
    if not TITLES:
        rows()
    return TITLES[section]


def _add_cpp(add, name, size, text):
    small = size == 64
    spin = {"metric": "latency", "size": size, "wait": "spin"}
    add(f"cpp/{name}/latency/spin", f"{text}, latency, half a round trip, spinning", [
        ("raw ring", "raw_ring", {}),
        ("Atoll", "atoll_stream", {}),
        ("iceoryx2 (Rust)", "iceoryx2", {}),
        *([("Aeron IPC (Java)", "aeron", {}),
           ("iceoryx", "iceoryx", {}),
           ("Boost message_queue", "boost_queue", {}),
           ("Unix socket", "unix_socket", {})] if size in (64, 1 << 20) else []),
    ], **spin)
    block = {"metric": "latency", "size": size}
    sleepers = [
        ("raw ring and futex", "raw_ring", {}),
        ("Atoll", "atoll_stream", {}),
        ("Unix socket", "unix_socket", {}),
    ]
    if small:
        add("cpp/64B/latency/block", f"{text}, latency, half a round trip, blocking", [
            ("bare futex", "futex_pingpong", {}),
            *sleepers,
            ("pipe", "pipe", {}),
            ("Boost message_queue", "boost_queue", {}),
            ("iceoryx, WaitSet", "iceoryx", {}),
            ("ZeroMQ ipc", "zeromq", {}),
            ("nng ipc", "nng", {}),
        ], **block)
        add("cpp/64B/latency/one-cpu", f"{text}, latency, half a round trip, blocking, both on one CPU", [
            ("bare futex", "futex_pingpong", {}),
            *sleepers,
            ("ZeroMQ ipc", "zeromq", {}),
        ], cpus=(0, 0), **block)
    elif size == 1 << 20:
        add(f"cpp/{name}/latency/block", f"{text}, latency, half a round trip, blocking", sleepers, **block)
    raw = {"wait": "spin"}
    add(f"cpp/{name}/rate", f"{text}, rate", [
        ("raw ring", "raw_ring", raw),
        ("Atoll send, receive", "atoll_stream", {}),
        *([("Atoll send, receive_many", "atoll_stream", {"takes": BATCH})] if size <= 1024 else []),
        ("Atoll loan, receive", "atoll_stream", {"variant": "loan"}),
        *([("Atoll, group that is shared", "atoll_stream", {"variant": "shared"}),
           ("raw ring with a terminator", "raw_ring", {**raw, "variant": "terminator"})] if small else []),
        *([("Atoll send_many, receive_many", "atoll_stream", {"batch": BATCH}),
           (f"raw ring, {BATCH} at once", "raw_ring", {**raw, "batch": BATCH})] if size <= 1024 else []),
        ("Aeron IPC (Java)", "aeron", raw),
        ("iceoryx2 (Rust)", "iceoryx2", raw),
        ("iceoryx", "iceoryx", raw),
        ("Boost message_queue", "boost_queue", {}),
        ("ZeroMQ ipc", "zeromq", {}),
        ("nng ipc", "nng", {}),
        ("pipe", "pipe", {}),
        ("Unix socket", "unix_socket", {}),
        *([(f"Unix socket, {BATCH} in one write", "unix_socket", {"batch": BATCH})] if size <= 1024 else []),
    ], metric="rate", size=size)


def _add_hand_over(add):
    ends = {"size": 1 << 20, "touch": "ends"}
    whole = {"size": 1 << 20}
    # In a ring of 8 MiB two of seven records begin a lap or ask for room, on each side: the median would be on the edge.
    several = {"capacity": 16 << 20}
    add("cpp/1MiB/hand-over", "C++ to C++, 1 MiB in lent memory, latency, half a round trip, spinning", [
        ("Atoll, 64 B sent", "atoll_stream", {"size": 64}),
        ("Atoll, nothing copied", "atoll_stream", {**ends, **several, "variant": "loan"}),
        ("iceoryx2, nothing copied", "iceoryx2", ends),
        ("iceoryx, nothing copied", "iceoryx", ends),
        ("Atoll, written and read", "atoll_stream", {**whole, "variant": "loan"}),
        ("iceoryx2, written and read", "iceoryx2", whole),
        ("iceoryx, written and read", "iceoryx", whole),
    ], metric="latency", wait="spin")


def _add_crowds(add):
    common = {"metric": "rate", "cpus": (), "alone": True, "seconds": (0.5, 0.25)}
    text = {"1x1": "1 producer, 1 consumer"}
    for shape in CROWDS[1:]:
        producers, consumers = shape.rstrip("g").split("x")
        text[shape] = (f"{producers} producer{'s' if producers != '1' else ''}, {consumers} "
                       + ("groups" if shape.endswith("g") else "consumers" if consumers != "1" else "consumer"))
    add("cpp/64B/crowd", "Atoll, 64 B, many processes, received a second by all of them",
        [(text[shape], "atoll_crowd", {"variant": shape}) for shape in CROWDS], **common)
    add("cpp/64B/queue", "Atoll, 64 B, work queue: 1 producer, 2 consumers that share a group", [
        ("receive", "atoll_crowd", {"variant": "1x2"}),
        ("receive_many", "atoll_crowd", {"variant": "1x2", "batch": BATCH}),
    ], **common)


def _add_python_and_node(add):
    alone = {"metric": "rate", "alone": True, "cpus": (0,)}
    add("py/64B/alone", "Python, 64 B, one side alone, calls or messages a second", [
        ("an empty extension call", "py_alone", {"variant": "empty"}),
        *((name, "py_alone", {"variant": name}) for name in ["send", "receive", "receive_bytes"]),
        *((name, "py_alone", {"variant": name, "batch": BATCH}) for name in ["send_many", "receive_many"]),
    ], **alone)
    add("node/64B/alone", "Node, 64 B, one side alone, calls or messages a second", [
        ("an empty Node-API call", "node_alone", {"variant": "empty"}),
        ("receive", "node_alone", {"variant": "receive"}),
        ("tryReceive", "node_alone", {"variant": "tryReceive"}),
        ("for await", "node_alone", {"variant": "for-await"}),
        ("receiveMany", "node_alone", {"variant": "receiveMany", "batch": 1024}),
        ("receiveBatch", "node_alone", {"variant": "receiveBatch", "batch": 1024}),
        ("send", "node_alone", {"variant": "send"}),
        ("trySend", "node_alone", {"variant": "trySend"}),
        ("sendMany", "node_alone", {"variant": "sendMany", "batch": 1024}),
    ], **alone)
    for name, size in SIZES.items():
        text = f"Python to Node, {_size_name(name)}"
        if size in (64, 1 << 16):
            add(f"py-node/{name}/latency", f"{text}, latency, half a round trip", [
                ("Unix socket", "py_node_socket", {}),
                ("Atoll, event loop", "py_node_atoll", {}),
                *([("Atoll, spinning receiveSync", "py_node_atoll", {"wait": "spin"})] if size == 64 else []),
                ("pyzmq, zeromq.js", "py_node_zeromq", {}),
            ], metric="latency", size=size)
        add(f"py-node/{name}/rate", f"{text}, rate", [
            ("Unix socket", "py_node_socket", {}),
            *([(f"Unix socket, {BATCH} in one write", "py_node_socket", {"batch": BATCH})] if size <= 1024 else []),
            ("Atoll send, receiveBatch", "py_node_atoll", {}),
            *([("Atoll send_many, receiveBatch", "py_node_atoll", {"batch": BATCH})] if size <= 1024 else []),
            ("pyzmq, zeromq.js", "py_node_zeromq", {}),
        ], metric="rate", size=size)
    between = [
        ("multiprocessing Pipe", "py_py_pipe", {}),
        ("multiprocessing Queue", "py_py_queue", {"alone": True, "cpus": ()}),
        ("Redis list", "py_py_redis", {}),
        ("Atoll send, receive", "py_py_atoll", {}),
    ]
    add("py-py/64B/latency", "Python to Python, 64 B, latency, half a round trip",
        [(label, name, {**extra, "variant": "latency"} if name == "py_py_queue" else extra) for label, name, extra in between], metric="latency")
    add("py-py/64B/rate", "Python to Python, 64 B, rate",
        between + [("Atoll send_many, receive_many", "py_py_atoll", {"batch": BATCH})], metric="rate")


def _add_once(add):
    first = {"metric": "figures", "alone": True, "cpus": (), "fields": (("ms", "ms"),)}
    add("first", "From connect to the first message received (lane of 256 KiB), ms", [
        ("the bare steps, without Atoll", "bare_steps", {}),
        ("C++, broker running", "atoll_first", {}),
        ("C++, no broker yet", "atoll_first", {"variant": "none"}),
        ("Python, broker running", "py_first", {}),
        ("Python, no broker yet", "py_first", {"variant": "none"}),
        ("Node, broker running", "node_first", {}),
        ("Node, no broker yet", "node_first", {"variant": "none"}),
    ], **first)
    add("idle", "Atoll idle: a fresh broker, a consumer that waits, a producer that is silent", [
        ("Atoll", "atoll_idle", {}),
    ], metric="figures", alone=True, cpus=(), once=True, seconds=(20, 5), fields=(
        ("broker, wake-ups a minute", "broker_wakeups_a_minute"), ("consumer, wake-ups a minute", "consumer_wakeups_a_minute"),
        ("producer, wake-ups a minute", "producer_wakeups_a_minute"), ("broker, resident KiB", "broker_kib"),
        ("a stream beside its lanes, KiB", "stream_kib"), ("its lanes, KiB", "lanes_kib")))
    add("many", "Atoll with 1,000 segments and 200 clients", [
        ("Atoll", "atoll_many", {}),
    ], metric="figures", alone=True, cpus=(), once=True, fields=(
        ("atoll ls, ms", "ls_ms"), ("connect and open a producer, ms", "attach_ms"), ("create, ms", "create_ms"),
        ("broker, resident KiB", "broker_kib")))
