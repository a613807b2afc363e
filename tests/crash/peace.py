"""Nobody dies, and everybody waits for somebody: script/crash --peace.

Two programs ask and answer each other, one record at a time, after pauses of any length up to that at which a waiter falls asleep. A death
wakes whoever waits for the dead, and a second record wakes who missed the first: here there is neither, so who is not woken stays
asleep until the broker's ring, once a minute. Everybody must go on sooner than that.
"""
from __future__ import annotations

from random_kills import Room, Worker
from support.agents import Agent

PAIRS = 1


class Peace(Room):
    pause = (0.05, 0.05)

    def _populate(self) -> None:
        with Agent("C++") as agent:
            for pair in range(PAIRS):
                for way in ("ask", "answer"):
                    agent.call("create", name=f"{way}{pair}", kind="stream", capacity=4096)
        for pair in range(PAIRS):
            self._start("asker", str(pair), doomed=False)
            self._start("answerer", str(pair), doomed=False)

    def step(self) -> None:
        self.bury()

    def progress(self) -> dict[str, int]:
        def name(worker: Worker) -> str:
            return f"worker {worker.number}, {worker.role} {worker.group}"

        return {name(worker): worker.size() for worker in self.workers.values()}

    def records(self) -> int:
        return sum(self.accounted.values())
