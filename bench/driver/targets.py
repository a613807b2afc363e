"""What must hold: the targets, each judged by figures of one run, and their verdicts.

A target compares a figure of a row with that of another row of the same round (`base`), or with a fixed
limit. It is met when the median over the rounds is. Where several rows are given, the best of each round
counts. `hard`: C++ and Python to Node, the rows that may not be missed.
"""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Target:
    what: str
    rows: tuple
    limit: float
    base: str = ""
    least: bool = True  # True: at least `limit`; False: at most
    field: str = "rate"
    hard: bool = True
    why_not: str = ""  # why it cannot be measured

    def values(self, rounds):
        """One value for each round in which all that it takes was measured."""
        out = []
        for number in range(max((len(rounds.get(row, ())) for row in self.rows), default=0)):
            found = [_figure(rounds, row, number, self.field) for row in self.rows]
            found = [value for value in found if value is not None]
            if not found:
                continue
            value = max(found) if self.least else min(found)
            if self.base:
                other = _figure(rounds, self.base, number, self.field)
                if not other:
                    continue
                value /= other
            out.append(value)
        return out


def _figure(rounds, row, number, field):
    results = rounds.get(row, ())
    return results[number].get(field) if number < len(results) and results[number] else None


def _targets():
    out = []

    def ratio(what, rows, base, limit, least=True, **more):
        out.append(Target(what, (rows,) if isinstance(rows, str) else rows, limit, base, least, **more))

    def absolute(what, rows, limit, least=True, **more):
        out.append(Target(what, (rows,) if isinstance(rows, str) else rows, limit, "", least, **more))

    spin = "cpp/64B/latency/spin/"
    at = {"least": False, "field": "p50"}
    ratio("C++ 64 B spinning p50: raw ring", spin + "atoll_stream/spin", spin + "raw_ring/spin", 1.10, **at)
    ratio("C++ 64 B spinning p99: raw ring", spin + "atoll_stream/spin", spin + "raw_ring/spin", 1.5, least=False, field="p99")
    ratio("C++ 64 B spinning p50: Aeron", spin + "atoll_stream/spin", spin + "aeron/spin", 1, **at)
    ratio("C++ 64 B spinning p50: iceoryx2", spin + "atoll_stream/spin", spin + "iceoryx2/spin", 1, **at)
    ratio("C++ 64 B spinning p99: Aeron", spin + "atoll_stream/spin", spin + "aeron/spin", 0.2, least=False, field="p99")
    rate = "cpp/64B/rate/"
    ratio("C++ 64 B rate, send, receive_many: raw ring", rate + "atoll_stream/block/takes64", rate + "raw_ring/spin", 0.75)
    ratio("C++ 64 B rate, send_many or loan: raw ring", (rate + "atoll_stream/block/batch64", rate + "atoll_stream/block/loan"),
          rate + "raw_ring/spin", 0.9)
    ratio("C++ 64 B rate, send: Aeron", rate + "atoll_stream/block", rate + "aeron/spin", 5)
    for name, row, calls in [("1KiB", "atoll_stream/block/takes64", "send, receive_many"), ("64KiB", "atoll_stream/block", "send"), ("1MiB", "atoll_stream/block", "send")]:
        rate = f"cpp/{name}/rate/"
        text = name.replace("KiB", " KiB").replace("MiB", " MiB")
        ratio(f"C++ {text} rate, {calls}: raw ring", rate + row, rate + "raw_ring/spin", 0.9)
    over = "cpp/1MiB/hand-over/"
    ratio("C++ 1 MiB lent, not copied, p50: 64 B", over + "atoll_stream/spin/loan/ends", over + "atoll_stream/spin", 1.3, **at)
    ratio("C++ 1 MiB written and read p50: iceoryx", over + "atoll_stream/spin/loan", over + "iceoryx/spin", 1, **at)
    ratio("C++ 1 MiB written and read p50: cpp-ipc", over + "atoll_stream/spin/loan", "cpp-ipc", 1, **at,
          why_not="cpp-ipc is in none of the package registries that bench/setup uses")
    for section, text, limit in [("block", "blocking", 1.10), ("one-cpu", "one CPU", 1.25)]:
        base = f"cpp/64B/latency/{section}/"
        ratio(f"C++ 64 B {text} p50: bare futex", base + "atoll_stream/block", base + "futex_pingpong/block", limit, **at)
    for who in ["broker", "consumer", "producer"]:
        absolute(f"idle, {who}, wake-ups a minute", "idle/atoll_idle/block", 1, least=False, field=f"{who}_wakeups_a_minute")
    absolute("idle, broker, resident KiB", "idle/atoll_idle/block", 8192, least=False, field="broker_kib")
    absolute("a stream beside its lanes, KiB", "idle/atoll_idle/block", 200, least=False, field="stream_kib")
    crowd = "cpp/64B/crowd/atoll_crowd/block/"
    for shape in ["2x1", "4x1", "8x1", "1x2g", "1x4g", "1x8g", "2x2", "4x4"]:
        text = shape.replace("g", " groups")
        ratio(f"crowd {text}, rate: 1x1", crowd + shape, crowd + "1x1", 0.7)
        absolute(f"crowd {text}, smallest share", crowd + shape, 1 / 3, field="fair")
    queue = "cpp/64B/queue/atoll_crowd/block/"
    absolute("work queue, 2 consumers, msg/s", (queue + "1x2", queue + "batch64/1x2"), 5e6)
    soft = {"hard": False}
    alone = "py/64B/alone/py_alone/block/"
    for name, limit in [("send", 10e6), ("batch64/send_many", 40e6), ("receive", 8e6), ("batch64/receive_many", 25e6)]:
        absolute(f"Python {name.rpartition('/')[2]}, msg/s", alone + name, limit, **soft)
    for name in ["send", "receive"]:
        ratio(f"Python {name}, calls: empty call", alone + name, alone + "empty", 1 / 3, **soft)
    alone = "node/64B/alone/node_alone/block/"
    for name, limit in [("receive", 8e6), ("batch1024/receiveMany", 15e6), ("for-await", 3e6), ("send", 10e6), ("batch1024/sendMany", 20e6)]:
        absolute(f"Node {name.rpartition('/')[2].replace('-', ' ')}, msg/s", alone + name, limit, **soft)
    for name, limit in [("64B", 10), ("1KiB", 8), ("64KiB", 5), ("1MiB", 5)]:
        rate = f"py-node/{name}/rate/"
        text = "64 B" if name == "64B" else name.replace("KiB", " KiB").replace("MiB", " MiB")
        ratio(f"Python to Node {text}, send: Unix socket", rate + "py_node_atoll/block", rate + "py_node_socket/block", limit)
    rate = "py-node/64B/rate/"
    ratio("Python to Node 64 B, send_many: 64 glued", rate + "py_node_atoll/block/batch64", rate + "py_node_socket/block/batch64", 2)
    ratio("Python to Node 64 B, send: pyzmq, zeromq.js", rate + "py_node_atoll/block", rate + "py_node_zeromq/block", 20)
    latency = "py-node/64B/latency/"
    ratio("Python-Node 64 B event loop p50: Unix socket", latency + "py_node_atoll/block", latency + "py_node_socket/block", 0.6, **at, **soft)
    ratio("Python-Node 64 B spinning p50: Unix socket", latency + "py_node_atoll/spin", latency + "py_node_socket/block", 0.1, **at, **soft)
    ms = {"least": False, "field": "ms"}
    absolute("first message, C++, broker running, ms", "first/atoll_first/block", 1, **ms)
    absolute("first message, C++, no broker yet, ms", "first/atoll_first/block/none", 50, **ms)
    absolute("first message, Python, ms", "first/py_first/block", 2, **ms, **soft)
    absolute("first message, Node, ms", "first/node_first/block", 2, **ms, **soft)
    absolute("1,000 segments: atoll ls, ms", "many/atoll_many/block", 50, least=False, field="ls_ms")
    absolute("1,000 segments: attach, ms", "many/atoll_many/block", 2, least=False, field="attach_ms")
    absolute("1,000 segments: broker, resident KiB", "many/atoll_many/block", 65536, least=False, field="broker_kib")
    return out


TARGETS = _targets()


def judge(results):
    """One dictionary for each target of which a row was asked for."""
    asked = {row.id for row in results.rows}
    out = []
    for target in TARGETS:
        if asked & set(target.rows) and (target.base in asked or not target.base or target.why_not):
            values = target.values(results.rounds)
            entry = {"what": target.what, "rows": target.rows, "base": target.base, "field": target.field, "limit": target.limit,
                     "least": target.least, "hard": target.hard, "why_not": target.why_not, "measured": None}
            if values:
                middle = median(values)
                entry["measured"] = {"median": middle, "low": min(values), "high": max(values)}
                entry["met"] = middle >= target.limit if target.least else middle <= target.limit
            entry["verdict"] = "not measured" if not values else "met" if entry["met"] else "MISSED"
            out.append(entry)
    return out
