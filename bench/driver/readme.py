"""The tables of figures in README.md and bench/README.md, written from bench/figures/full.json between marks.

Called by script/figures after a new run was kept, and by tests/tree with --check: what the documents say of speed is then
what one run measured. Why a target was missed is in WHY, and a missed target without a reason is refused.
"""

import argparse
import json
import pathlib
import sys
from statistics import median

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIGURES = ROOT / "bench/figures/full.json"
SHORT = ROOT / "README.md"
LONG = ROOT / "bench/README.md"

PROCESSES = ("more processes than CPUs: which of them runs where is the scheduler's choice, and the same shape gives half or all of the rate "
             "of one pair from round to round, as the range shows")
NODE = "what a call and an object cost in V8, for which [docs/performance.md](../docs/performance.md#node) has a table; `receiveBatch` and `sendMany` spare it"
PYTHON = "a message is an object that holds the record and gives it back, 660 instructions in a batch and 840 alone; an empty call makes nothing"
CACHES = ("the bare steps alone (four calls, the same files made, mapped and handed over; no JSON, no checks, no journal) take two fifths of it, and like "
          "them it varies by a factor of two between rounds: each call finds both processes asleep and nothing in any cache. Two thirds of the broker's "
          "share is the kernel's, in some 190 system calls, five files and two manifests written")
WHY = {
    "C++ 64 B spinning p50: raw ring": "a reader that must survive its death writes its position, and a view is made of what was read: some 50 instructions more",
    "C++ 64 B spinning p99: Aeron": "the raw ring's own p99 is no better; a fifth of Aeron's is less than a cache line takes from one CPU to the other: the limit is the machine's",
    "C++ 64 B rate, send: raw ring": "118 instructions for a message received and 85 for one sent, twice the raw ring's (positions that survive a death, checks of "
                                     "what is read), so that fewer cache lines are on their way at once; `receive_many` needs half of them",
    "C++ 1 KiB rate, send: raw ring": "the reader is what holds it up: 118 instructions beside the 200 that sum a message",
    "C++ 64 B rate, send, receive_many: raw ring": "51 instructions for a message received and 85 for one sent (positions that survive a death, checks of what is read); "
                                                   "`send_many` is far above it",
    "C++ 1 KiB rate, send, receive_many: raw ring": "the reader is what holds it up: 51 instructions beside the 200 that sum a message, and it passes twice over the headers' cache lines",
    "C++ 1 MiB lent, not copied, p50: 64 B": "three cache lines change hands instead of two, and a record begins a lap or asks for room now and then",
    "C++ 1 MiB written and read p50: iceoryx": "as fast as memory: both copy into a chunk that is in the cache and sum it there",
    **{f"crowd {shape}, rate: 1x1": PROCESSES for shape in ("2x1", "4x1", "8x1", "1x2 groups", "1x4 groups", "1x8 groups", "2x2", "4x4")},
    "Python receive_many, msg/s": PYTHON,
    "Python receive, calls: empty call": PYTHON,
    "Python send, calls: empty call": PYTHON,
    **{f"Node {name}, msg/s": NODE for name in ("receive", "receiveMany", "send", "sendMany", "for await")},
    "first message, C++, broker running, ms": CACHES,
    "first message, Python, ms": "as for C++, and what Python does for the first time",
    "first message, Node, ms": "as for C++; Node compiles what it calls first, and its calls to the broker go through a thread",
}


def latency(ns):
    return f"{ns:.0f} ns" if ns < 1000 else f"{ns / 1000:.1f} us" if ns < 10_000 else f"{ns / 1000:.0f} us"


def rate(each):
    if each >= 100_000:
        return f"{each / 1e6:.0f} M" if each >= 20e6 else f"{each / 1e6:.1f} M" if each >= 1e6 else f"{each / 1e6:.2f} M"
    return f"{each / 1e3:.0f} k" if each >= 10_000 else f"{each / 1e3:.1f} k"


class Run:
    def __init__(self, report):
        self.report = report
        self.rows = {row["id"]: row for row in report["rows"]}

    def text(self, row):
        """The row's main figure; nothing for no row or one that was not measured."""
        if not row:
            return ""
        kind = "p50" if self.rows[row]["metric"] == "latency" else "rate"
        values = [one[kind] for one in self.rows[row]["rounds"] if one]
        return (latency if kind == "p50" else rate)(median(values)) if values else "-"

    def cell(self, cell):
        """A row; (row, text, row) is the second one in brackets after the text."""
        if not isinstance(cell, tuple):
            return self.text(cell)
        first, text, second = cell
        return f"{self.text(first)} ({text.format(self.text(second))})"


def table(head, lines):
    return "\n".join(["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |",
                      *("| " + " | ".join(line) + " |" for line in lines)])


def short_tables(run):
    lines = [
        ("Python to Node, 64 bytes, messages a second", "py-node/64B/rate/py_node_atoll/block", "py-node/64B/rate/py_node_socket/block", "py-node/64B/rate/py_node_zeromq/block"),
        ("Python to Node, 1 MiB, messages a second", "py-node/1MiB/rate/py_node_atoll/block", "py-node/1MiB/rate/py_node_socket/block", "py-node/1MiB/rate/py_node_zeromq/block"),
        ("Python to Node, 64 bytes, one way, event loop", "py-node/64B/latency/py_node_atoll/block", "py-node/64B/latency/py_node_socket/block", "py-node/64B/latency/py_node_zeromq/block"),
        ("C++ to C++, 64 bytes, messages a second", ("cpp/64B/rate/atoll_stream/block", "{}, 64 at once", "cpp/64B/rate/atoll_stream/block/batch64"), "cpp/64B/rate/unix_socket/block", "cpp/64B/rate/zeromq/block"),
        ("C++ to C++, 64 bytes, one way", "cpp/64B/latency/block/atoll_stream/block", "cpp/64B/latency/block/unix_socket/block", "cpp/64B/latency/block/zeromq/block"),
    ]
    return {"figures": table(["", "Atoll", "Unix socket", "ZeroMQ"], [[text, *map(run.cell, cells)] for text, *cells in lines])}


def long_tables(run):
    def cpp(name, more=()):
        base = f"cpp/{name}/rate/"
        cells = {"raw": base + "raw_ring/spin", "atoll": base + "atoll_stream/block", "socket": base + "unix_socket/block", **dict(more)}
        return cells["raw"], cells["atoll"], base + "boost_queue/block", cells["socket"], base + "zeromq/block", base + "aeron/spin"

    spin, block, one, rates = "cpp/64B/latency/spin/", "cpp/64B/latency/block/", "cpp/64B/latency/one-cpu/", "cpp/64B/rate/"
    many = {"raw": (rates + "raw_ring/spin", "{}", rates + "raw_ring/spin/batch64"),
            "atoll": (rates + "atoll_stream/block", "{}", rates + "atoll_stream/block/batch64"),
            "socket": (rates + "unix_socket/block", "64 in one write: {}", rates + "unix_socket/block/batch64")}
    node = "py-node/64B/"
    lines = [
        ("C++ to C++, 64 B, one way, spinning, p50", spin + "raw_ring/spin", spin + "atoll_stream/spin", spin + "boost_queue/spin", spin + "unix_socket/spin", "", spin + "aeron/spin"),
        ("C++ to C++, 64 B, one way, blocking, p50", block + "raw_ring/block", block + "atoll_stream/block", block + "boost_queue/block", block + "unix_socket/block", block + "zeromq/block", ""),
        ("the same, both on one CPU", one + "raw_ring/block", one + "atoll_stream/block", "", one + "unix_socket/block", one + "zeromq/block", ""),
        ("C++ to C++, 64 B, messages a second (64 at once)", *cpp("64B", many)),
        ("C++ to C++, 1 KiB, messages a second", *cpp("1KiB")),
        ("C++ to C++, 64 KiB, messages a second", *cpp("64KiB")),
        ("C++ to C++, 1 MiB, messages a second", *cpp("1MiB")),
        ("Python to Node, 64 B, messages a second (64 at once)", "", (node + "rate/py_node_atoll/block", "{}", node + "rate/py_node_atoll/block/batch64"), "",
         (node + "rate/py_node_socket/block", "{}", node + "rate/py_node_socket/block/batch64"), node + "rate/py_node_zeromq/block", ""),
        *((f"Python to Node, {text}, messages a second", "", f"py-node/{name}/rate/py_node_atoll/block", "", f"py-node/{name}/rate/py_node_socket/block", f"py-node/{name}/rate/py_node_zeromq/block", "")
          for name, text in (("1KiB", "1 KiB"), ("64KiB", "64 KiB"), ("1MiB", "1 MiB"))),
        ("Python to Node, 64 B, one way, p50, event loop", "", node + "latency/py_node_atoll/block", "", node + "latency/py_node_socket/block", node + "latency/py_node_zeromq/block", ""),
        ("the same, spinning `receiveSync`", "", node + "latency/py_node_atoll/spin", "", "", "", ""),
    ]
    measured = table(["what", "raw ring", "Atoll", "Boost queue", "Unix socket", "ZeroMQ", "Aeron"], [[text, *map(run.cell, cells)] for text, *cells in lines])
    targets = run.report["targets"]
    missed = [target for target in targets if target["verdict"] == "MISSED"]
    unmeasured = [target for target in targets if target["measured"] is None]
    if unknown := [target["what"] for target in missed if target["what"] not in WHY]:
        raise SystemExit(f"no reason is known why these were missed; add it to WHY in {pathlib.Path(__file__).name}: {', '.join(unknown)}")
    reasons = table(["missed", "is", "range", "wanted", "why"], [
        [("**" + target["what"] + "**") if target["hard"] else target["what"], number(target["measured"]["median"]),
         f"{number(target['measured']['low'])} to {number(target['measured']['high'])}", ("at least " if target["least"] else "at most ") + number(target["limit"]), WHY[target["what"]]]
        for target in missed])
    hard = sum(target["hard"] for target in missed)
    count = (f"Of the {len(targets)} targets {len(targets) - len(missed) - len(unmeasured)} were met, {len(missed)} missed ({hard} of them, in bold, are C++'s or Python to Node's), "
             f"{len(unmeasured)} could not be measured. Those missed, with what is known of the reasons:")
    return {"figures": measured, "missed": f"{count}\n\n{reasons}"}


def number(value):
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:.3g}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def with_tables(text, tables, where):
    for name, body in tables.items():
        begin, end = f"<!-- {name}: written by script/figures -->\n", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"{where} has no marks for the table {name!r}")
        before, rest = text.split(begin)
        text = before + begin + body + "\n" + end + rest.split(end, 1)[1]
    return text


def main():
    parser = argparse.ArgumentParser(prog="script/figures", description="Writes the tables of figures in README.md and bench/README.md from bench/figures/full.json.")
    parser.add_argument("--check", action="store_true", help="only compare; status 1 if they differ")
    options = parser.parse_args()
    run = Run(json.loads(FIGURES.read_text()))
    differ = False
    for document, tables in ((SHORT, short_tables(run)), (LONG, long_tables(run))):
        old = document.read_text()
        new = with_tables(old, tables, document.relative_to(ROOT))
        if options.check and new != old:
            differ = True
            print(f"{document.relative_to(ROOT)} does not say what bench/figures/full.json holds: run script/figures", file=sys.stderr)
        if not options.check:
            document.write_text(new)
    return 1 if differ else 0


if __name__ == "__main__":
    raise SystemExit(main())
