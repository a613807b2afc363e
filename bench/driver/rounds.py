"""Interleaved rounds: every row once in each, so that a slow minute of the machine hits all alike.

First each row finds how many messages fill the wanted time (that also warms everything up, and is not
counted); then the rounds. Within a round the rows of one section follow each other directly, and each
round begins at another row of the section.
"""

import time

from . import contenders
from .measure import Failed

FEWEST, MOST = {"latency": 50, "rate": 64}, {"latency": 1_000_000, "rate": 100_000_000}
FIRST = {64: 20_000, 1 << 10: 10_000, 1 << 16: 500, 1 << 20: 100}


class Results:
    """What was measured: per row a list of results (or None where it failed), and why rows are not there."""

    def __init__(self, rows):
        self.rows = rows
        self.counts = {}
        self.rounds = {row.id: [] for row in rows}
        self.absent = {}  # row id: reason

    def fail(self, row, reason):
        self.absent.setdefault(row.id, reason)


def _count(row, seconds, result):
    """How many messages take so many seconds, judged by one result."""
    rate = result["rate"] if row.metric == "rate" else result["count"] / result["seconds"]
    count = int(min(max(rate * seconds, FEWEST[row.metric]), MOST[row.metric]))
    return -(-count // contenders.BATCH) * contenders.BATCH  # batches divide it


def _calibrate(place, row, seconds, limit):
    count = -(-FIRST[row.size] // contenders.BATCH) * contenders.BATCH
    if row.metric == "latency" and row.wait == "block":
        count = min(count, 1024)
    for _ in range(3):
        began = time.monotonic()
        result = place.measure(row, count, limit)
        wanted = _count(row, seconds, result)
        if wanted <= 2 * count or time.monotonic() - began > seconds:
            return wanted
        count = min(wanted, 50 * count)
    return count


def run(place, rows, rounds, seconds, limit, progress):
    """Measures everything. `progress(done, total, text)` is called before each step."""
    results = Results(rows)
    sections = {}
    for row in rows:
        sections.setdefault(row.section, []).append(row)
    total = len(rows) * (rounds + 1)
    done = 0
    missing = {name: contender.missing() for name, contender in contenders.CONTENDERS.items()}
    for row in rows:
        progress(done, total, f"warming up: {row.label}, {contenders.title(row.section)}")
        done += 1
        if missing[row.contender]:
            results.fail(row, missing[row.contender])
            continue
        try:
            results.counts[row.id] = _calibrate(place, row, seconds, limit)
        except Failed as error:
            results.fail(row, str(error))
    for number in range(rounds):
        for section in sections.values():
            shift = number % len(section)
            for row in section[shift:] + section[:shift]:
                progress(done, total, f"round {number + 1} of {rounds}: {row.label}, {contenders.title(row.section)}")
                done += 1
                if row.id not in results.counts:
                    continue
                try:
                    results.rounds[row.id].append(place.measure(row, results.counts[row.id], limit))
                except Failed as error:
                    results.rounds[row.id].append(None)
                    results.fail(row, f"round {number + 1}: {error}")
    progress(total, total, "")
    return results
