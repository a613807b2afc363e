"""Kills workers and the broker at random for a while, and counts afterwards: script/crash.

    script/crash [--minutes N | --kills N] [--seed S] [--languages L,L] [--soak | --peace] [--record] [--json] [--mutants]

A stream, three groups (automatic and manual, each with several consumers, and an exclusive one) and three producers, all
of them programs of their own in C++, Python and Node (workers/README.md); an observer; and a bytes segment with a putter
and a getter. Every few milliseconds one of them is killed
with SIGKILL and replaced, or stopped for a moment, or the broker is. The seed decides whose place is hit and when, and for the nth
program of a place its language and its kill point. (What the programs do meanwhile is the machine's.)

What must hold, for each producer that ever was and each group:
- lost: every record whose send returned was received; none was received that was not at least begun;
- order: a consumer's first deliveries of one producer's records come in order;
- again: no record comes again after it was dealt with;
- stuck: while anybody is there to do it, work goes on; at the end every group comes to the end of every lane;
- whole: what observers see and getters get is whole and in order;
- leaked: when all have gone, `gc` and removal leave nothing in shared memory.

Also used by test_random_kills.py. Prints a summary, status 0 if all of it holds, 1 if not.
"""
from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support.agents import PYTHON, Agent  # noqa: E402
from support.broker import BUILD, Runtime, start_broker, wait_for_end  # noqa: E402
from support.kill_points import points_of  # noqa: E402
from support.victims import PACKAGES  # noqa: E402

COMMANDS = {
    "C++": [str(BUILD / "bin/atoll_crash_worker")],
    "Python": [str(PYTHON), str(HERE / "workers/worker.py")],
    "Node": ["node", str(HERE / "workers/worker.mjs")],
}
# An interpreter takes a hundred times as long to start, so most are C++; all are killed often enough.
CHOICES = ["C++"] * 16 + ["Python"] * 2 + ["Node"] * 2
GROUPS = {"shared": ("automatic", 3), "decided": ("manual", 3), "own": ("exclusive", 1)}
PRODUCERS = 3
OTHERS = ("observer", "putter", "getter")  # C++; each checks for itself what it sees
# In a build with kill points (script/build kill) every second worker, and every second broker, has one of them chosen
# for it, and how often it passes there before it dies: who is killed from outside is seldom in the middle of anything.
MOST_PASSAGES = 500
DELICATE = ("redo.", "lock.")  # in the middle of what must change together: for every third one
RECORD = HERE / "record.json"
STUCK_SECONDS = 20.0
CALM_SECONDS = 10.0  # the broker's own ring comes once a minute
KILLS_BETWEEN_CALMS = 100
EVENT = numpy.dtype([("kind", "<u4"), ("id", "<u4"), ("sequence", "<u8"), ("deliveries", "<u4"), ("lost", "<u4"), ("time", "<u8")])
RECEIVED, DEALT_WITH = 1, 2


HAS_PACKAGES = all(pathlib.Path(path).exists() for path in PACKAGES.values())  # with kill points, too


def has_kill_points() -> bool:
    return b"ATOLL_KILL_AT" in pathlib.Path(COMMANDS["C++"][0]).read_bytes()


class Failure(Exception):
    """A promise was broken; the text says which."""

    story: list[str] = []  # what happened before, oldest first; times are CLOCK_MONOTONIC in ns


@dataclasses.dataclass
class Worker:
    """One process, and what it wrote down."""

    language: str
    process: subprocess.Popen
    record: pathlib.Path  # its report or its log
    role: str             # producer, consumer, or one of OTHERS
    group: str            # of a consumer
    number: int
    doomed: str           # the kill point where it dies by itself
    place: int            # in Room.workers

    @property
    def does(self) -> str:
        """What goes on as long as one who does it does: records, or what it is."""
        return self.role if self.role in OTHERS else "records"

    def size(self) -> int:
        """Grows while it works."""
        if self.role == "consumer":
            return self.record.stat().st_size
        return int.from_bytes(self.record.read_bytes()[8:16], "little")


class Ledger:
    """What became of every record, for one group: dense arrays by sequence for each producer."""

    def __init__(self) -> None:
        self.last_received: dict[int, numpy.ndarray] = {}  # time, 0: never
        self.dealt_with: dict[int, numpy.ndarray] = {}     # time of the first, 0: never
        self.dealt_by: dict[int, numpy.ndarray] = {}       # number of the worker

    @staticmethod
    def _row(table: dict[int, numpy.ndarray], producer: int, length: int) -> numpy.ndarray:
        row = table.get(producer, numpy.zeros(0, numpy.uint64))
        if len(row) < length:
            row = table[producer] = numpy.concatenate([row, numpy.zeros(max(length - len(row), len(row)), numpy.uint64)])
        return row

    def add(self, events: numpy.ndarray, consumer: int = 0) -> None:
        """One consumer's log."""
        if events["lost"].any():
            raise Failure("lost: a consumer of a stream that blocks was told that records were lost")
        for producer in numpy.unique(events["id"]):
            mine = events[events["id"] == producer]
            received = mine[mine["kind"] == RECEIVED]
            first = received[received["deliveries"] == 1]["sequence"]
            if len(first) > 1 and not (numpy.diff(first.astype(numpy.int64)) > 0).all():
                raise Failure(f"order: first deliveries of producer {producer} came out of order or twice")
            for table, rows, merge in ((self.last_received, received, numpy.maximum), (self.dealt_with, mine[mine["kind"] == DEALT_WITH], None)):
                if len(rows) == 0:
                    continue
                row = self._row(table, int(producer), int(rows["sequence"].max()) + 1)
                if merge is not None:
                    merge.at(row, rows["sequence"], rows["time"])
                    continue
                taken = row[rows["sequence"]] != 0
                by = self._row(self.dealt_by, int(producer), len(row))
                if taken.any():
                    twice = rows[taken][0]
                    sequence = int(twice["sequence"])
                    raise Failure(f"again: record {sequence} of producer {producer} was dealt with by worker {by[sequence]} at {row[sequence]} ns and by worker "
                                  f"{consumer} at {twice['time']} ns (delivery {twice['deliveries']}); {taken.sum()} such records in its log")
                row[rows["sequence"]] = rows["time"]
                by[rows["sequence"]] = consumer

    def count(self, producer: int) -> int:
        """How many of the first records were received without a gap."""
        row = self.last_received.get(producer)
        if row is None:
            return 0
        missing = numpy.flatnonzero(row == 0)
        return int(missing[0]) if len(missing) else len(row)

    def check(self, producer: int, done: int, attempted: int) -> None:
        have = self.count(producer)
        row = self.last_received.get(producer, numpy.zeros(0, numpy.uint64))
        beyond = int(numpy.flatnonzero(row)[-1]) + 1 if row.any() else 0
        if have < done:
            raise Failure(f"lost: of the {done} records that producer {producer} sent, record {have} never came")
        if beyond > attempted:
            raise Failure(f"lost: record {beyond - 1} of producer {producer} came, which it had not begun to send ({attempted})")
        dealt = self.dealt_with.get(producer)
        if dealt is not None:
            n = min(len(dealt), len(row))
            again = (dealt[:n] != 0) & (row[:n] > dealt[:n])
            if again.any():
                raise Failure(f"again: record {int(numpy.flatnonzero(again)[0])} of producer {producer} came again after it was dealt with")


class Room:
    """Everything that runs, and the accounts."""

    pause = (0.002, 0.03)  # seconds between two blows
    broker_share = 0.02    # of the blows

    def __init__(self, seed: int, runtime: Runtime, folder: pathlib.Path, languages: list[str]) -> None:
        self.languages = languages
        self.seed = seed
        self.random = random.Random(f"{seed} blows")  # nothing else draws from it: deaths at kill points come when they come
        self.begun: collections.Counter[str] = collections.Counter()  # how many programs each place has had
        self.runtime = runtime
        self.folder = folder
        self.workers: dict[int, Worker] = {}  # by place
        self.ledgers = {group: Ledger() for group in GROUPS}
        self.story: list[str] = []  # of every worker and blow, for a failure's sake
        self.producers: dict[int, tuple[int, int]] = {}  # of those that are gone: done, attempted
        self.counts: collections.Counter[str] = collections.Counter()
        self.started = 0
        self.accounted: collections.Counter[str] = collections.Counter()  # how much those had done that are gone
        self.worker_points = points_of("client", "protocol/include") if has_kill_points() else []
        self.broker_points = points_of("daemon", "protocol/include") if has_kill_points() else []
        self.broker_doomed = ""
        self.broker = start_broker(runtime.socket)
        with Agent("C++") as agent:
            agent.call("create", name="s", kind="stream", capacity=65536)
            # The groups begin where the stream does.
            for group, (mode, _) in GROUPS.items():
                agent.call("open_consumer", h=group, name="s", group=group, manual=mode == "manual", exclusive=mode == "exclusive")
            agent.call("create", name="b", kind="bytes", size=4096)
        self._populate()

    def _populate(self) -> None:
        for _ in range(PRODUCERS):
            self._start("producer")
        for group, (_, members) in GROUPS.items():
            for _ in range(members):
                self._start("consumer", group)
        for role in OTHERS:
            self._start(role)

    def _dice(self, place: str) -> random.Random:
        """For the next program of a place."""
        self.begun[place] += 1
        return random.Random(f"{self.seed} {place} {self.begun[place]}")

    @staticmethod
    def _doom(points: list[str], dice: random.Random) -> str:
        if not points or dice.random() < 0.5:
            return ""
        delicate = [point for point in points if point.startswith(DELICATE)] if dice.random() < 1 / 3 else []
        return f"{dice.choice(delicate or points)}:{int(MOST_PASSAGES ** dice.random())}"

    def _words(self, role: str, group: str, record: pathlib.Path) -> list[str]:
        number = str(self.started)
        return {"producer": ["produce", "s", number, str(record)], "consumer": ["consume", "s", group, GROUPS.get(group, ("",))[0], str(record)],
                "observer": ["observe", "s", str(record)], "putter": ["put", "b", number, str(record)], "getter": ["get", "b", str(record)],
                "asker": ["ask", group, str(record)], "answerer": ["answer", group, str(record)]}[role]

    def _start(self, role: str, group: str = "", doomed: bool = True, place: int | None = None) -> None:
        self.started += 1
        if place is None:
            place = len(self.workers)
        dice = self._dice(str(place))
        language = "C++" if role not in ("producer", "consumer") else dice.choice(self.languages)
        record = self.folder / f"{self.started}"
        record.write_bytes(b"" if role == "consumer" else bytes(16))
        errors = open(f"{record}.stderr", "w+b")
        doom = self._doom(self.worker_points, dice) if doomed and (language == "C++" or HAS_PACKAGES) else ""
        process = subprocess.Popen([*COMMANDS[language], *self._words(role, group, record)], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                                   env=os.environ | (PACKAGES if HAS_PACKAGES else {}) | ({"ATOLL_KILL_AT": doom} if doom else {}))
        errors.close()
        self.workers[place] = Worker(language, process, record, role, group, self.started, doom, place)
        self.tell(f"worker {self.started}: {language} {group or role}, pid {process.pid} {doom}")

    def tell(self, what: str) -> None:
        self.story.append(f"{time.monotonic_ns()} {what}")

    def _account(self, worker: Worker) -> None:
        """Takes the notes of a worker that is gone."""
        self.accounted[worker.does] += worker.size()
        if worker.role == "consumer":
            try:
                self.ledgers[worker.group].add(numpy.frombuffer(worker.record.read_bytes(), EVENT), worker.number)
            except Failure as failure:
                raise Failure(f"{failure} (group {worker.group})") from None
        elif worker.role == "producer":
            attempted, done = numpy.frombuffer(worker.record.read_bytes(), "<u8")
            self.producers[worker.number] = int(done), int(attempted)
        worker.record.unlink()
        pathlib.Path(f"{worker.record}.stderr").unlink()

    def _must_have_ended_well(self, worker: Worker, allowed: tuple[int, ...]) -> None:
        status = worker.process.wait()
        if status not in allowed and not (worker.doomed and status == -signal.SIGKILL):
            text = pathlib.Path(f"{worker.record}.stderr").read_text(errors="replace").strip()
            raise Failure(f"a {worker.language} worker ({worker.group or worker.role}) ended with status {status}: {text[-2000:]}")

    def progress(self) -> dict[str, int]:
        """How much was done of each sort of work; each must go on."""
        sums = self.accounted.copy()
        for worker in self.workers.values():
            sums[worker.does] += worker.size()
        return dict(sums)

    @staticmethod
    def _when_it_runs(victim: Worker) -> None:
        """Waits for that, a moment at most: who sleeps holds no lock and is in the middle of nothing."""
        try:
            with open(f"/proc/{victim.process.pid}/stat", "rb", buffering=0) as stat:
                for _ in range(200):
                    stat.seek(0)
                    if stat.read(64).rpartition(b") ")[2][:1] == b"R":
                        return
        except OSError:
            pass  # it has ended

    def replace(self, victim: Worker, allowed: tuple[int, ...], doomed: bool = True) -> None:
        self._must_have_ended_well(victim, allowed)
        self._account(victim)
        self._start(victim.role, victim.group, doomed, victim.place)

    def bury(self, doomed: bool = True) -> None:
        """Replaces who died at its kill point. Whoever ended without being told to is a failure."""
        for worker in [worker for worker in self.workers.values() if worker.process.poll() is not None]:
            self.tell(f"worker {worker.number} has died at {worker.doomed}")
            self.replace(worker, (), doomed)
            self.counts[f"{worker.language} {worker.role} at a point"] += 1
        if self.broker_doomed and self.broker.poll() is not None:
            self.tell(f"the broker has died at {self.broker_doomed}")
            self.counts["broker at a point"] += 1
            self._start_broker(doomed)

    def _start_broker(self, doomed: bool = True) -> None:
        self.broker_doomed = self._doom(self.broker_points, self._dice("broker")) if doomed else ""
        self.broker = start_broker(self.runtime.socket, environment={"ATOLL_KILL_AT": self.broker_doomed} if self.broker_doomed else {})

    def step(self) -> None:
        """One blow."""
        self.bury()
        die = self.random.random()
        if die < self.broker_share:
            self.tell("the broker is killed")
            self.broker.kill()
            self.broker.wait()
            self._start_broker()
            self.counts["broker"] += 1
            return
        victim = self.workers[self.random.randrange(len(self.workers))]
        if die < self.broker_share + 0.04:
            self.tell(f"worker {victim.number} is stopped")
            os.kill(victim.process.pid, signal.SIGSTOP)
            self.counts["stopped for a while"] += 1
            time.sleep(self.random.uniform(0.02, 0.15))
            os.kill(victim.process.pid, signal.SIGCONT)
            return
        if self.random.random() < 0.8:
            self._when_it_runs(victim)
        if victim.process.poll() is None:
            self.tell(f"worker {victim.number} is killed")
            victim.process.kill()
        self.replace(victim, (-signal.SIGKILL,))
        self.counts[f"{victim.language} {victim.role}"] += 1

    def kills(self) -> int:
        return sum(n for what, n in self.counts.items() if what != "stopped for a while")

    def calm(self) -> None:
        """Nobody is killed for a while. A death wakes everybody; now they must wake each other."""
        time.sleep(0.3)
        before, begin = self.progress(), time.monotonic()
        while still := [what for what, done in self.progress().items() if done <= before.get(what, 0)]:
            self.bury()
            if time.monotonic() - begin > CALM_SECONDS:
                raise Failure(f"stuck: nothing was done for {CALM_SECONDS:.0f} s in which nobody died: {', '.join(still)}")
            time.sleep(0.05)

    def rage(self, until, report) -> None:
        """Blow after blow, until `until(kills)`; work must go on meanwhile."""
        moved: dict[str, tuple[int, float]] = {}
        calm_at = KILLS_BETWEEN_CALMS
        while not until(self.kills()):
            time.sleep(self.random.uniform(*self.pause))
            self.step()
            now = time.monotonic()
            for what, done in self.progress().items():
                if moved.setdefault(what, (done, now))[0] != done:
                    moved[what] = done, now
                if now - moved[what][1] > STUCK_SECONDS:
                    raise Failure(f"stuck: nothing was done for {STUCK_SECONDS:.0f} s: {what}")
            report(self.kills())
            if self.kills() >= calm_at:
                self.calm()
                calm_at += KILLS_BETWEEN_CALMS

    def _ends(self, worker: Worker) -> None:
        """Asks it to, more than once: a signal may come just before a wait begins."""
        begin = time.monotonic()
        while not wait_for_end(worker.process.pid, 0):
            if time.monotonic() - begin > STUCK_SECONDS:
                raise Failure(f"stuck: a {worker.language} {worker.group or worker.role} does not end")
            worker.process.terminate()
            wait_for_end(worker.process.pid, 0.1)

    def _received(self, group: str) -> dict[int, int]:
        """How many records of each producer the group has had, living consumers' logs included."""
        ledger = Ledger()
        ledger.last_received = {producer: row.copy() for producer, row in self.ledgers[group].last_received.items()}
        ledger.dealt_with = {producer: row.copy() for producer, row in self.ledgers[group].dealt_with.items()}
        for worker in self.workers.values():
            if worker.role == "consumer" and worker.group == group:
                data = worker.record.read_bytes()
                ledger.add(numpy.frombuffer(data[:len(data) // EVENT.itemsize * EVENT.itemsize], EVENT))
        return {producer: ledger.count(producer) for producer in self.producers}

    @staticmethod
    def _lags() -> dict[str, int]:
        """The groups that are behind, and by how many bytes. What a dead producer left half made must hold nobody up, either."""
        with Agent("C++") as agent:
            groups = agent.call("call", method="Show", parameters={"name": "s"})["reply"]["groups"]
        return {group["name"]: group["lag"] for group in groups if group["lag"] > 0}

    def settle(self) -> None:
        """The producers end, the groups read all that is left, and the consumers end; then the accounts must agree."""
        for worker in [worker for worker in self.workers.values() if worker.role == "producer"]:
            self._ends(worker)
            # An interpreter that has just begun has no handler yet.
            self._must_have_ended_well(worker, (0, -signal.SIGTERM))
            del self.workers[worker.place]
            self._account(worker)
        last, moved = None, time.monotonic()
        while True:
            self.bury(doomed=False)
            received = {group: self._received(group) for group in GROUPS}
            whole = all(received[group][producer] >= done for group in GROUPS for producer, (done, _) in self.producers.items())
            lags = self._lags() if whole else {}
            if whole and not lags:
                break
            if (received, lags) != last:
                last, moved = (received, lags), time.monotonic()
            if time.monotonic() - moved > STUCK_SECONDS:
                if lags:
                    raise Failure(f"stuck: these groups do not come to the end of the stream: {lags} bytes")
                break  # the accounts say what is missing
            time.sleep(0.05)
        for worker in list(self.workers.values()):
            self._ends(worker)
            self._must_have_ended_well(worker, (0, -signal.SIGTERM))
            del self.workers[worker.place]
            self._account(worker)
        for producer, (done, attempted) in self.producers.items():
            for group in GROUPS:
                try:
                    self.ledgers[group].check(producer, done, attempted)
                except Failure as failure:
                    raise Failure(f"{failure} (group {group})") from None
        with Agent("C++") as agent:
            agent.call("call", method="Gc", parameters={"apply": True})
            for segment in agent.call("call", method="List")["reply"]["segments"]:
                agent.call("remove", name=segment["name"], force=True)
        if left := self.runtime.segments():
            raise Failure(f"leaked: {left}")

    def findings(self) -> dict:
        """What else the summary says."""
        return {}

    def records(self) -> int:
        return sum(done for done, _ in self.producers.values())

    def close(self) -> None:
        for worker in self.workers.values():
            worker.process.kill()
            worker.process.wait()
        self.broker.kill()
        self.broker.wait()


def run(seed: int, *, kills: int | None = None, seconds: float | None = None, languages=tuple(COMMANDS), kind=Room, report=lambda done, share: None) -> dict:
    """The whole of it. Raises Failure."""
    begin = time.monotonic()
    runtime = Runtime()
    before = {name: os.environ.get(name) for name in runtime.environment}
    os.environ.update(runtime.environment)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="crash-", dir="/dev/shm" if shutil.disk_usage("/dev/shm").free > 1 << 30 else None))
    room = None
    try:
        room = kind(seed, runtime, folder, [language for language in CHOICES if language in languages])

        def enough(done: int) -> bool:
            return done >= kills if kills is not None else time.monotonic() - begin >= seconds

        room.rage(enough, lambda done: report(done, done / kills if kills is not None else (time.monotonic() - begin) / seconds))
        room.settle()
        return {"seed": seed, "kills": room.kills(), "by": dict(sorted(room.counts.items())), "records": room.records(), "producers": len(room.producers),
                "seconds": round(time.monotonic() - begin, 1), "lost": 0, "stuck": 0, "leaked": 0} | room.findings()
    except Failure as failure:
        if room is not None:
            failure.story = room.story
        raise
    finally:
        if room is not None:
            room.close()
        shutil.rmtree(folder)
        runtime.close()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def note(what: str, command: str, figures: str) -> None:
    """One row of docs/guarantees.md for each sort of long run: the latest."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"runs": []}
    rows = [row for row in record["runs"] if row["what"] != what] + [{"what": what, "command": command, "figures": figures}]
    RECORD.write_text(json.dumps({"runs": sorted(rows, key=lambda row: row["what"])}, indent=1) + "\n")


def kind_of(options: argparse.Namespace) -> type[Room]:
    if options.soak:
        from soak import Soak

        return Soak
    if options.peace:
        from peace import Peace

        return Peace
    return Room


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/crash", description="Kills producers, consumers and the broker at random, and counts what came.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--kills", type=int, help="how many, instead of how long")
    parser.add_argument("--seed", type=int, help="who, when, in which language (default: another one each time; it is printed)")
    parser.add_argument("--languages", default=",".join(COMMANDS), help="of the workers (default: %(default)s)")
    parser.add_argument("--mutants", nargs="?", const="", metavar="TEXT", help="break promises one by one instead (those with one of these texts, parted by commas, in their name), and see that each is noticed")
    parser.add_argument("--soak", action="store_true", help="few blows and full rate, and measure the broker (soak.py)")
    parser.add_argument("--peace", action="store_true", help="no blows: whoever is not woken stays asleep (peace.py)")
    parser.add_argument("--record", action="store_true", help="note the run for docs/guarantees.md (script/guarantees)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    languages = options.languages.split(",")
    if unknown := set(languages) - set(COMMANDS):
        parser.error(f"there are no workers in {', '.join(sorted(unknown))}")
    if options.mutants is not None:
        import mutants

        return mutants.main(options.minutes, seed, options.mutants, options.record)
    shows = sys.stderr.isatty()
    drawn = 0.0

    def report(done: int, share: float) -> None:
        nonlocal drawn
        if shows and time.monotonic() - drawn > 0.1:
            drawn = time.monotonic()
            full = int(40 * min(share, 1.0))
            print(f"\r  [{'#' * full}{'.' * (40 - full)}] {done:,} kills", end="", file=sys.stderr, flush=True)

    print(f"seed {seed}", file=sys.stderr, flush=True)
    try:
        summary = run(seed, kills=options.kills, seconds=60 * options.minutes, languages=languages, kind=kind_of(options), report=report)
    except Failure as failure:
        print(f"{chr(13) if shows else ''}FAILED with seed {seed}: {failure}", file=sys.stderr)
        if failure.story:
            with tempfile.NamedTemporaryFile("w", prefix="atoll-crash-", suffix=".log", delete=False) as file:
                file.write("\n".join(failure.story) + "\n")
            print(f"what happened before: {file.name}", file=sys.stderr)
        return 1
    finally:
        if shows:
            print("\r" + " " * 70 + "\r", end="", file=sys.stderr)
    if options.record:
        note("soak" if options.soak else f"random kills, {summary['seconds'] / 60:.0f} minutes", f"script/crash {'--soak ' if options.soak else ''}--minutes {summary['seconds'] / 60:.0f} --seed {seed}",
             f"{summary['kills']:,} kills, {summary['records']:,} records: 0 lost, 0 stuck, 0 leaked" +
             (f"; the broker had at most {summary['peak']['memory'] / (1 << 20):.1f} MiB and {summary['peak']['descriptors']} descriptors" if options.soak else ""))
    if options.json:
        print(json.dumps(summary))
        return 0
    print(f"{summary['kills']:,} kills in {summary['seconds']:.0f} s; {summary['records']:,} records of {summary['producers']:,} producers, each by "
          f"{len(GROUPS)} groups: 0 lost, 0 stuck, 0 leaked")
    if options.soak:
        print(f"the broker: at most {summary['peak']['memory'] / (1 << 20):.1f} MiB, {summary['peak']['descriptors']} descriptors, "
              f"{summary['peak']['files']} files; growth in one life {summary['growth']}")
    for what, n in summary["by"].items():
        print(f"  {what:24} {n:7,}")
    return 0


if __name__ == "__main__":
    import random_kills  # the module that soak.py knows

    sys.exit(random_kills.main())
