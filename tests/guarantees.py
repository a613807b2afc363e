"""Writes docs/guarantees.md: every promise, the tests that show it, and what they counted last. Called by script/guarantees.

The promises are the table here. What was counted comes from three records in the tree: tests/record.json (`script/test
--record`), tests/crash/record.json (`script/crash --record`) and tests/fuzz/record.json (`script/fuzz --record`). tests/tree
compares the document with what this writes, and looks for every test that is named.
"""
from __future__ import annotations

import argparse
import json
import pathlib
import sys
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/guarantees.md"


@dataclass(frozen=True)
class Promise:
    text: str
    shown: tuple[tuple[str, str], ...]  # suite, and a file or FILE::TEST under tests/; no file: the whole suite
    figures: tuple[str, ...] = ()       # names of support/figures.py


def by(suite: str, *files: str) -> tuple[tuple[str, str], ...]:
    return tuple((suite, file) for file in files) or ((suite, ""),)


SECTIONS: dict[str, list[Promise]] = {
    "Records": [
        Promise("A record whose `send` or `commit` returned is received by every group, whole and unchanged, though its producer dies in the next instant.",
                by("kills, C++", "crash/test_client_kills.py::test_killed") + by("random kills", "crash/test_random_kills.py"), ("random kills",)),
        Promise("A record that was begun and not committed is never seen; those committed after it are.",
                by("kills, C++", "crash/works.py") + by("units", "unit/daemon_lane_recovery_test.cpp") + by("models")),
        Promise("The records of one producer come in order, to each consumer and observer.", by("conformance", "conformance/test_streams.py") + by("random kills")),
        Promise("In a stream that blocks nothing is written over that a group has not released; in one that overwrites, readers are told how many they lost.",
                by("models") + by("conformance", "conformance/test_streams.py") + by("kills, C++", "crash/works.py")),
        Promise("What a consumer received and did not acknowledge comes again, to another one and marked as such; what it acknowledged does not.",
                by("kills, C++", "crash/test_client_kills.py::test_killed") + by("random kills") + by("models")),
        Promise("A content that is put is seen whole or not at all; a put that was decided is finished after the death of whoever put it.",
                by("kills, C++", "crash/works.py") + by("conformance", "conformance/test_bytes.py") + by("models")),
    ],
    "Deaths": [
        Promise("A client may be killed at any store that others can see, in C++, Python and Node: nobody else is stuck, nothing is lost, nothing is left over.",
                by("kills, C++", "crash/test_client_kills.py::test_every_point_of_the_client_is_passed_in_one_of_the_works") + by("kills, packages"), ("kills",)),
        Promise("So may the broker. Traffic does not stop, and the next one takes over everything.",
                by("kills, broker", "crash/test_broker_kills.py::test_every_point_of_the_broker_is_passed_in_a_story") + by("kills, protocol", "broker/test_kill_points.py") + by("restart")),
        Promise("Client and broker may die in the same moment.", by("other deaths", "crash/test_other_deaths.py::test_client_and_broker_die_in_the_same_moment")),
        Promise("Whoever waits for a process goes on within 10 ms of its certain death.",
                by("other deaths", "crash/test_other_deaths.py::test_whoever_waits_for_a_process_goes_on_soon_after_its_death"), ("resume",)),
        Promise("A process that is only stopped is never taken for dead, and a stopped broker holds up nobody who has what it needs.",
                by("other deaths", "crash/test_other_deaths.py::test_a_stopped_consumer_keeps_its_records_and_its_group",
                   "crash/test_other_deaths.py::test_a_stopped_broker_holds_up_nobody_who_has_what_it_needs")),
        Promise("A living process loses nothing when its connection is cut; a forked child does not keep what its dead parent held.",
                by("other deaths", "crash/test_other_deaths.py::test_a_living_client_whose_socket_is_closed_keeps_all_that_it_holds",
                   "crash/test_other_deaths.py::test_a_forked_child_that_lives_on_does_not_keep_what_its_dead_parent_held")),
        Promise("Deaths of every sort, one after the other: nothing is lost, nobody is stuck, and the broker's memory, descriptors and files do not grow.",
                by("random kills", "crash/test_random_kills.py") + by("soak", "crash/test_soak.py"), ("random kills", "soak")),
    ],
    "Failing calls": [
        Promise("Memory is reserved before it is promised: a full file system, or control group, is an error of `create` or `open`, never a signal later.", by("faults") + by("faults", "faults/test_control_group.py") + by("conformance")),
        Promise("Any call of the C library by broker or client may fail, once or from then on, and so may any allocation of the broker and the larger ones of a client "
                "([operating.md](operating.md) has the exception): the answer is an error that says what to do, and afterwards everything works again.",
                by("faults"), ("faults",)),
    ],
    "Neighbours": [
        Promise("A program with every right of a client harms itself, not others: they finish correctly and in time, and the broker stays up within bounds.",
                by("hostile", "hostile/test_hostile_neighbour.py"), ("attacks",)),
        Promise("Nobody can take so much that another user, or another program of the same user, gets nothing.", by("hostile", "hostile/test_fairness.py") + by("units", "unit/daemon_limits_test.cpp")),
        Promise("Bytes that no Atoll wrote, in messages, files or memory, are refused by name; none of them crashes or hangs anybody.",
                by("fuzzing", "fuzz/test_targets.py") + by("fuzz", "fuzz/test_fuzz.py") + by("bad input", "errors/test_bad_input.py"), ("fuzzing",)),
    ],
    "The protocol": [
        Promise("The algorithms hold for every interleaving, with a death between any two steps; without any one of their rules they do not.", by("models"), ("models",)),
        Promise("The memory orders that SPEC.md argues are enough, and each of them is needed.", by("weak memory"), ("weak memory",)),
    ],
}


def load(path: str) -> dict:
    file = ROOT / path
    return json.loads(file.read_text()) if file.exists() else {}


def latest(promise: Promise, record: dict) -> list[str]:
    """What the suites of this promise counted, and how many of their tests passed."""
    lines = [f"{name}: {text}" if name == "kills" else text for suite in record.values() for name, text in suite["figures"] if name in promise.figures]
    if not lines:
        lines = [f"{suite}: {record[suite]['passed']} passed" for suite in dict.fromkeys(suite for suite, _ in promise.shown) if suite in record]
    return lines


def named(promise: Promise) -> str:
    words = []
    for suite, test in promise.shown:
        file, _, name = test.partition("::")
        words.append(f"[{name or file.split('/')[-1]}](../tests/{file})" if file else f"suite `{suite}`")
    return ", ".join(words)


def document() -> str:
    record = load("tests/record.json")
    out = ["# Guarantees", "",
           "What Atoll promises, the tests that show it, and what they counted when `script/test --record` last ran. `script/guarantees` writes this file.",
           "What each kind of trouble is, and who is trusted with what: [threat-model.md](threat-model.md).", ""]
    for title, promises in SECTIONS.items():
        out += [f"## {title}", "", "| promise | shown by | latest figures |", "| --- | --- | --- |"]
        out += [f"| {promise.text} | {named(promise)} | {'; '.join(latest(promise, record))} |" for promise in promises]
        out.append("")
    out += ["## Long runs", "", "Done by hand, and added up in the tree.", "", "| what | how | figures |", "| --- | --- | --- |"]
    for row in load("tests/crash/record.json").get("runs", []):
        out.append(f"| {row['what']} | `{row['command']}` | {row['figures']} |")
    for target, row in sorted(load("tests/fuzz/record.json").items()):
        mended = len(list((ROOT / "tests/fuzz/regressions" / target).glob("*")))
        figures = f"{row['executions']:,} executions in {row['cpu_seconds'] / 60:,.1f} CPU minutes"
        out.append(f"| fuzzing {target} | `script/fuzz --record` | {figures}; inputs that crashed it once, and do so no more: {mended} |")
    return "\n".join(out) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/guarantees", description="Writes docs/guarantees.md.")
    parser.add_argument("--check", action="store_true", help="only compare; status 1 if it differs")
    if parser.parse_args().check:
        if DOCUMENT.exists() and DOCUMENT.read_text() == document():
            return 0
        print("docs/guarantees.md is not what script/guarantees writes", file=sys.stderr)
        return 1
    DOCUMENT.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
