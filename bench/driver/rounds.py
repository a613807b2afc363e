"""Interleaved rounds: every row once in each, so that a slow minute of the machine hits all alike.

First each row finds how many messages fill the wanted time (that also warms everything up, and is not
counted); then the rounds. Within a round the rows of one section follow each other directly, and each
round begins at another row of the section.
"""

import time

from . import contenders, rows as rows_of_bench
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
    return -(-count // rows_of_bench.BATCH) * rows_of_bench.BATCH  # batches divide it


def _seconds(row, seconds, quick):
    """How long a measurement of this row takes."""
    return max(seconds, row.seconds[1 if quick else 0]) if row.seconds else seconds


def _calibrate(place, row, seconds, limit):
    if row.alone:
        return FIRST[row.size]  # it goes by time
    count = -(-FIRST[row.size] // rows_of_bench.BATCH) * rows_of_bench.BATCH
    if row.metric == "latency" and row.wait == "block":
        count = min(count, 1024)
    for _ in range(3):
        began = time.monotonic()
        result = place.measure(row, count, seconds, limit)
        wanted = _count(row, seconds, result)
        if wanted <= 2 * count or time.monotonic() - began > seconds:
            return wanted
        count = min(wanted, 50 * count)
    return count


def run(place, rows, rounds, seconds, quick, limit, progress):
    """Measures everything. `progress(done, total, text)` is called before each step."""
    results = Results(rows)
    sections = {}
    for row in rows:
        sections.setdefault(row.section, []).append(row)
    total = sum(1 + (1 if row.once else rounds) for row in rows)
    done = 0
    missing = {name: contender.missing() for name, contender in contenders.CONTENDERS.items()}
    for row in rows:
        progress(done, total, f"warming up: {row.label}, {rows_of_bench.title(row.section)}")
        done += 1
        if missing[row.contender]:
            results.fail(row, missing[row.contender])
            continue
        try:
            results.counts[row.id] = _calibrate(place, row, _seconds(row, seconds, quick), limit)
        except Failed as error:
            results.fail(row, str(error))
    for number in range(rounds):
        for section in sections.values():
            shift = number % len(section)
            for row in section[shift:] + section[:shift]:
                if row.once and number > 0:
                    continue
                progress(done, total, f"round {number + 1} of {rounds}: {row.label}, {rows_of_bench.title(row.section)}")
                done += 1
                if row.id not in results.counts:
                    continue
                try:
                    own = _seconds(row, seconds, quick)
                    results.rounds[row.id].append(place.measure(row, results.counts[row.id], own, limit + own))
                except Failed as error:
                    results.rounds[row.id].append(None)
                    results.fail(row, f"round {number + 1}: {error}")
    progress(total, total, "")
    return results
