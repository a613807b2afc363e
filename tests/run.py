"""Runs the test suites of tests/suites.py: called by script/test, which builds first.

Each suite gets a fresh directory, a broker socket and a mark of its own, and a time limit; suites run
beside each other unless they ask to be alone. Afterwards nothing of a suite may be left: no process, no
file, no shared memory. Prints one line per suite, the failing ones' output, and `N passed, N failed`.
Status: 0 if nothing failed.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field

from suites import ROOT, SUITES, Suite
from support import counts as counting
from support import figures, leftovers

LOGS = ROOT / ".cache/test-logs"
RECORD = ROOT / "tests/record.json"


@dataclass
class Outcome:
    suite: Suite
    counts: counting.Counts
    seconds: float
    problems: list[str] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)


def missing(suite: Suite) -> list[str]:
    """Those of the suite's needs that the tree does not have; a folder must hold something."""
    absent = []
    for need in suite.needs:
        path = ROOT / need
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            absent.append(need)
    return absent


def environment_of(suite: Suite, directory: pathlib.Path, mark: str) -> dict[str, str]:
    binaries = ROOT / suite.build / "bin"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATOLL")}
    environment |= {
        "ATOLL_TEST_MARK": mark,
        "ATOLL_SOCKET": str(directory / "atoll.sock"),
        "ATOLL_BUILD": str(ROOT / suite.build),
        "ATOLLD": str(binaries / "atolld"),
        "XDG_RUNTIME_DIR": str(directory),
        "TMPDIR": str(directory),
        "PATH": f"{binaries}:{ROOT / '.venv/bin'}:{environment['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "CI": environment.get("CI", ""),
        "NO_COLOR": "1",
    }
    return environment | suite.environment


def run_command(command: list[str], environment: dict[str, str], log, seconds: float) -> str | None:
    """Runs one command; says what went wrong, if anything."""
    log.write(f"$ {' '.join(command)}\n".encode())
    log.flush()
    try:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        return f"cannot run {command[0]}: {error.strerror}"
    try:
        status = process.wait(timeout=max(seconds, 1))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return "took too long and was killed"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}" if status else None


def run_suite(suite: Suite) -> Outcome:
    began = time.monotonic()
    if absent := missing(suite):
        return Outcome(suite, counting.Counts(failed=1), 0, [f"missing from the tree: {', '.join(absent)}"])
    mark = uuid.uuid4().hex
    directory = pathlib.Path(tempfile.mkdtemp(prefix="atoll-test-"))
    directory.chmod(0o711)  # tests of rights come back as other users
    path = LOGS / (suite.name.replace(", ", "-").replace(" ", "-") + ".log")
    problems = []
    commands = suite.commands()
    try:
        with open(path, "wb") as log:
            environment = environment_of(suite, directory, mark)
            for command in commands:
                left = began + suite.limit - time.monotonic()
                if problem := run_command(command, environment, log, left):
                    problems.append(f"{pathlib.Path(command[0]).name} {problem}")
        output = path.read_text(errors="replace")
        counts = counting.read(suite.counts, output, ok=not problems)
        remains = leftovers.find(mark, directory)
        counts.failed += len(remains)
        return Outcome(suite, counts, time.monotonic() - began, problems + remains, figures.read(output))
    finally:
        for folder in leftovers.shared_memory(directory):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


class Display:
    """What is running now, in one line of the terminal; nothing when that is none."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.running = total, 0, {}
        self.shown = sys.stderr.isatty()
        self.lock = threading.Lock()

    def draw(self) -> None:
        if not self.shown:
            return
        with self.lock:
            now = time.monotonic()
            names = ", ".join(f"{name} {now - began:.0f} s" for name, began in self.running.items())
        width = shutil.get_terminal_size().columns
        sys.stderr.write("\r\033[K" + f"  {self.done}/{self.total} done; {names}"[: width - 1])
        sys.stderr.flush()

    def clear(self) -> None:
        if self.shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def line(outcome: Outcome) -> str:
    counts = outcome.counts
    skipped = f", {counts.skipped} skipped" if counts.skipped else ""
    result = "FAILED" if counts.failed else "ok"
    return (f"  {outcome.suite.name:<18} {result:<6} {counts.passed:>4} passed, {counts.failed} failed{skipped}"
            f"  ({outcome.seconds:.1f} s)")


def explain(outcome: Outcome) -> None:
    """Shows why a suite failed: the problems and the end of its output."""
    path = LOGS / (outcome.suite.name.replace(", ", "-").replace(" ", "-") + ".log")
    for problem in outcome.problems:
        print(f"      {problem}")
    if path.exists() and not missing(outcome.suite):
        for text in path.read_text(errors="replace").splitlines()[-60:]:
            print(f"      | {text}")
        print(f"      all of it: {path}")


def run_all(chosen: list[Suite], workers: int) -> list[Outcome]:
    LOGS.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    display = Display(len(chosen))
    finished: queue.Queue[Outcome] = queue.Queue()

    def work(todo: queue.Queue[Suite]) -> None:
        while True:
            try:
                suite = todo.get_nowait()
            except queue.Empty:
                return
            with display.lock:
                display.running[suite.name] = time.monotonic()
            try:
                outcome = run_suite(suite)
            except Exception as error:  # a defect of this runner is a failure, not a hang
                outcome = Outcome(suite, counting.Counts(failed=1), 0, [f"the runner failed: {error!r}"])
            with display.lock:
                del display.running[suite.name]
            finished.put(outcome)

    together = [suite for suite in chosen if not suite.alone]
    alone = [suite for suite in chosen if suite.alone]
    for batch, threads in ((together, workers), (alone, 1)):
        todo: queue.Queue[Suite] = queue.Queue()
        for suite in batch:
            todo.put(suite)
        for _ in range(threads):
            threading.Thread(target=work, args=(todo,), daemon=True).start()
        for _ in batch:
            while True:
                display.draw()
                try:
                    outcome = finished.get(timeout=1)
                    break
                except queue.Empty:
                    continue
            display.done += 1
            display.clear()
            print(line(outcome), flush=True)
            if outcome.counts.failed:
                explain(outcome)
            outcomes.append(outcome)
    return outcomes


def choose(arguments: argparse.Namespace) -> list[Suite]:
    names = {suite.name for suite in SUITES}
    for name in arguments.only:
        if name not in names:
            sys.exit(f"script/test: there is no suite {name!r}; there are: {', '.join(sorted(names))}")
    chosen = [s for s in SUITES if not arguments.only or s.name in arguments.only]
    return [s for s in chosen if s.quick or not arguments.quick or arguments.only]


def record(outcomes: list[Outcome]) -> None:
    """Notes for each suite that was run how many tests passed and what else it counted."""
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for outcome in outcomes:
        kept[outcome.suite.name] = {"passed": outcome.counts.passed, "failed": outcome.counts.failed, "figures": [list(figure) for figure in outcome.figures]}
    RECORD.write_text(json.dumps({suite.name: kept[suite.name] for suite in SUITES if suite.name in kept}, indent=1) + "\n")


def main() -> int:
    # A shell starts background jobs with SIGINT ignored, and children inherit that: tests send SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="script/test", description="Builds Atoll and runs its tests.")
    parser.add_argument("--only", metavar="SUITE", action="append", default=[], help="this suite only; may be repeated")
    parser.add_argument("--quick", action="store_true", help="leave out the sanitizers")
    parser.add_argument("--list", action="store_true", help="list the suites and end")
    parser.add_argument("--small-shm", action="store_true", help="with a /dev/shm of 64 MiB (root only)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="suites at a time (default: one per CPU)")
    parser.add_argument("--record", action="store_true", help="keep what was counted for docs/guarantees.md (script/guarantees)")
    parser.add_argument("--builds", action="store_true", help=argparse.SUPPRESS)  # asked by script/test
    arguments = parser.parse_args()
    chosen = choose(arguments)
    if arguments.list:
        for suite in chosen:
            print(suite.name)
        return 0
    if arguments.builds:
        print(" ".join(dict.fromkeys(part for suite in chosen for part in suite.builds)))
        return 0
    began = time.monotonic()
    outcomes = run_all(chosen, arguments.jobs)
    skipped = sum(outcome.counts.skipped for outcome in outcomes)
    failed = sum(outcome.counts.failed for outcome in outcomes)
    told = sorted((figure for outcome in outcomes for figure in outcome.figures), key=lambda figure: figures.NAMES.index(figure[0]))
    for name, text in told:
        print(f"  {name:<13} {text}")
    if arguments.record:
        record(outcomes)
    print(f"  {len(outcomes)} suites in {time.monotonic() - began:.0f} s" + (f"; {skipped} tests skipped, see {LOGS}" if skipped else ""))
    print(f"{sum(outcome.counts.passed for outcome in outcomes)} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
