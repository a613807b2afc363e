"""Lines that say how much a suite did: so many kills, faults, attacks. tests/run.py shows them again at the end.

A test calls `figure("random kills", "2,000 in 60 s")`. A suite's conftest.py imports `pytest_terminal_summary` from here, which
prints them after the tests, each as `NAME: TEXT`. What is no pytest prints such lines by itself.
"""
from __future__ import annotations

import re

NAMES = ("kills", "random kills", "soak", "resume", "faults", "attacks", "fuzzing", "models", "weak memory")
LINE = re.compile(rf"^({'|'.join(NAMES)}): (.+)$", re.M)

_told: list[str] = []


def figure(name: str, text: str) -> None:
    assert name in NAMES
    _told.append(f"{name}: {text}")


def pytest_terminal_summary(terminalreporter) -> None:
    for line in _told:
        terminalreporter.write_line(line)


def read(output: str) -> list[tuple[str, str]]:
    """The lines in a suite's output."""
    return LINE.findall(output)
