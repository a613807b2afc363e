"""A minute, or ten, of everything at once, while the broker is measured: script/crash --soak.

The room of random_kills.py at full rate: blows fall seldom enough that records run in between, and the broker lives long enough
to show what it keeps. Once a second its resident memory, its descriptors and the files in its folder are counted; between the
first and the last third of a broker's life none may grow. Everything that random kills promise must hold, too.
"""
from __future__ import annotations

import os
import pathlib
import random
import signal
import statistics
import threading

from random_kills import Failure, Room

MOST_GROWTH = {"memory": 1 << 20, "descriptors": 12, "files": 12}  # what lives at one moment and not at another
SHORTEST_LIFE = 12  # samples


def sample(pid: int, folder: pathlib.Path | None) -> dict[str, int]:
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return {"memory": pages * os.sysconf("SC_PAGE_SIZE"), "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "files": sum(len(files) for _, _, files in os.walk(folder)) if folder else 0}


class Soak(Room):
    pause = (0.05, 0.4)
    broker_share = 0.004

    def __init__(self, *arguments) -> None:
        self.lives: dict[int, list[dict[str, int]]] = {}
        self.over = threading.Event()
        super().__init__(*arguments)
        self.thread = threading.Thread(target=self._measure, daemon=True)
        self.thread.start()

    def _doom(self, points: list[str], dice: random.Random) -> str:
        return super()._doom(points, dice) if points is not self.broker_points else ""

    def step(self) -> None:
        if self.random.random() < self.broker_share:
            self.tell("the broker is ended")
            self.broker.send_signal(signal.SIGTERM)
            self.broker.wait()
            self._start_broker()
            self.counts["broker ended in order"] += 1
        super().step()

    def _measure(self) -> None:
        while not self.over.wait(1):
            try:
                folder = next(iter(self.runtime.shared_memory()), None)
                self.lives.setdefault(self.broker.pid, []).append(sample(self.broker.pid, folder))
            except (OSError, ValueError, IndexError):
                pass  # it is just being replaced

    def findings(self) -> dict:
        self.over.set()
        self.thread.join()
        most = {what: 0 for what in MOST_GROWTH}
        peak = {what: max(each[what] for life in self.lives.values() for each in life) for what in MOST_GROWTH}
        for life in self.lives.values():
            if len(life) < SHORTEST_LIFE:
                continue
            third = len(life) // 3
            for what in MOST_GROWTH:
                most[what] = max(most[what], int(statistics.median(each[what] for each in life[-third:]) - statistics.median(each[what] for each in life[:third])))
        for what, bound in MOST_GROWTH.items():
            if most[what] > bound:
                raise Failure(f"leaked: the broker's {what} grew by {most[what]:,} in one life ({peak[what]:,} at most)")
        return {"growth": most, "peak": peak, "done": self.progress()}

    def close(self) -> None:
        self.over.set()
        super().close()
