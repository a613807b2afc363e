"""Reads how many tests passed, failed and were skipped from a test runner's output.

Called by tests/run.py. Each function gets all the output of a suite's commands and whether they ended
with status 0; a suite that ran no test counts as failed.
"""
from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def catch(output: str, ok: bool) -> Counts:
    counts = Counts()
    for number in re.findall(r"^All tests passed \(.* in (\d+) test cases?\)", output, re.M):
        counts.passed += int(number)
    for line in re.findall(r"^test cases: (.*)$", output, re.M):
        for number, what in re.findall(r"(\d+) (passed|failed)", line):
            setattr(counts, what, getattr(counts, what) + int(number))
    return counts


def pytest(output: str, ok: bool) -> Counts:
    counts = Counts()
    lines = re.findall(r"^(?:=+ )?((?:\d+ \w+(?:, )?)+) in [\d.]+s", output, re.M)
    for line in lines:
        for number, what in re.findall(r"(\d+) (\w+)", line):
            if what == "passed":
                counts.passed += int(number)
            elif what in ("failed", "error", "errors"):
                counts.failed += int(number)
            elif what in ("skipped", "xfailed"):
                counts.skipped += int(number)
    return counts


def node(output: str, ok: bool) -> Counts:
    def total(word: str) -> int:
        return sum(int(n) for n in re.findall(rf"^\S+ {word} (\d+)$", output, re.M))

    return Counts(total("pass"), total("fail") + total("cancelled"), total("skipped"))


def plain(output: str, ok: bool) -> Counts:
    counts = Counts()
    for passed, failed in re.findall(r"^(\d+) passed, (\d+) failed$", output, re.M):
        counts.passed += int(passed)
        counts.failed += int(failed)
    return counts


def one(output: str, ok: bool) -> Counts:
    return Counts(passed=int(ok), failed=int(not ok))


READERS = {"catch": catch, "pytest": pytest, "node": node, "plain": plain, "one": one}


def read(kind: str, output: str, ok: bool) -> Counts:
    counts = READERS[kind](output, ok)
    # A runner that failed, or ran nothing, without saying so.
    if (not ok and counts.failed == 0) or counts.passed + counts.failed == 0:
        counts.failed += 1
    return counts
