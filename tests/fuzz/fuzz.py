"""Runs the fuzz targets: what script/fuzz calls after building, and tests/fuzz/test_targets.py a target at a time.

Inputs that found something new are kept in .cache/fuzz/<target>/ and the next run begins with them; seeds are made anew each
time (seeds.py). An input that crashes a target is saved in .cache/fuzz/crashes/. Each run has a directory of its own, which is
gone afterwards, and so is the shared memory of the brokers in it, whatever happened.
"""
from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import seeds  # noqa: E402
from support import leftovers  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/fuzz"
CACHE = ROOT / ".cache/fuzz"
CRASHES = CACHE / "crashes"
RECORD = HERE / "record.json"
TARGETS = list(seeds.TARGETS)
# What libFuzzer puts into inputs: files of dictionaries/.
DICTIONARIES = {"control_frames": ("frames",), "hello_and_readopt": ("frames", "attachments"), "manifest": ("manifest",), "journal": ("journal",)}
LARGEST = 8192  # bytes of an input
SLOWEST = 10  # seconds for one input, on a machine that does other things as well


@dataclass
class Outcome:
    target: str
    seed: int
    executions: int
    seconds: float  # of CPU
    edges: int
    corpus: int
    crash: str | None  # the input's path
    output: str

    @property
    def rate(self) -> float:
        return self.executions / self.seconds if self.seconds else 0


def binary(target: str) -> pathlib.Path:
    return pathlib.Path(os.environ.get("ATOLL_BUILD", ROOT / "build-fuzz")) / "bin" / f"atoll_fuzz_{target}"


def execute(target: str, words: list[str], seconds: float, environment: dict[str, str] | None = None) -> tuple[int, str, float]:
    """The target with these arguments: its status, its output, and the CPU time that it took."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix=f"atoll-fuzz-{target}-", dir="/dev/shm"))  # where fsync costs nothing
    CACHE.mkdir(parents=True, exist_ok=True)
    surroundings = os.environ | {
        "TMPDIR": str(directory),
        "ATOLL_FUZZ_WRITABLE": f"{ROOT / '.cache'}:{directory}:{os.environ.get('TMPDIR', directory)}:/dev/null",
        "ASAN_OPTIONS": "detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    } | (environment or {})
    try:
        with open(directory / "output", "w+b") as log:
            process = subprocess.Popen([str(binary(target)), *words], cwd=directory, env=surroundings, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            limit = threading.Timer(seconds, process.kill)
            limit.start()
            _, status, usage = os.wait4(process.pid, 0)  # tells the CPU time, unlike Popen.wait
            process.returncode = os.waitstatus_to_exitcode(status)
            limit.cancel()
            log.seek(0)
            output = log.read().decode(errors="replace")
        if process.returncode == -signal.SIGKILL:
            output += f"\nkilled: it went on for more than {seconds:.0f} s\n"
        return process.returncode, output, usage.ru_utime + usage.ru_stime
    finally:
        for folder in map(pathlib.Path, leftovers.shared_memory(directory)):
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # other brokers of this user have theirs there
                folder.parent.rmdir()
        shutil.rmtree(directory, ignore_errors=True)


def number(pattern: str, output: str) -> int:
    found = re.findall(pattern, output, re.M)
    return int(found[-1]) if found else 0


def fuzz(target: str, seconds: float, environment: dict[str, str] | None = None, corpus: pathlib.Path | None = None) -> Outcome:
    """Random inputs for so many seconds, or until one crashes the target."""
    seed = random.SystemRandom().randrange(1, 1 << 31)
    corpus = corpus or CACHE / target
    corpus.mkdir(parents=True, exist_ok=True)
    CRASHES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="atoll-fuzz-seeds-") as made:
        first = pathlib.Path(made) / target
        seeds.write(target, first)
        for known in (HERE / "regressions" / target).glob("*"):
            shutil.copy(known, first / f"regression-{known.name}")
        words = [f"-seed={seed}", f"-max_total_time={max(1, round(seconds))}", f"-max_len={LARGEST}", f"-timeout={SLOWEST}", "-rss_limit_mb=2048",
                 "-print_final_stats=1", f"-artifact_prefix={CRASHES}/{target}-"]
        dictionary = pathlib.Path(made) / "dictionary"
        dictionary.write_text("\n".join((HERE / f"dictionaries/{name}.txt").read_text() for name in DICTIONARIES.get(target, ("words",))))
        words.append(f"-dict={dictionary}")
        status, output, used = execute(target, [*words, str(corpus), str(first)], 3 * seconds + 60, environment)
    crash = re.search(r"Test unit written to (\S+)", output)
    executions = number(r"^stat::number_of_executed_units: (\d+)", output)
    where = crash[1] if crash else "(no input was saved)" if status != 0 else None
    return Outcome(target, seed, executions, used, number(r" cov: (\d+)", output), len(list(corpus.iterdir())), where, output)


def replay(target: str, files: list[pathlib.Path], environment: dict[str, str] | None = None) -> tuple[bool, str]:
    """Did the target take these inputs as it should?"""
    status, output, _ = execute(target, [f"-timeout={SLOWEST}", *(str(file.resolve()) for file in files)], 60 + SLOWEST * len(files), environment)
    return status == 0, output


def record(outcome: Outcome) -> None:
    """Adds it to what tests/fuzz/record.json says."""
    sums = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    date = subprocess.run(["git", "log", "-1", "--format=%cs"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    row = sums.setdefault(outcome.target, {"cpu_seconds": 0, "executions": 0, "crashes": 0, "commit_date": date})
    row["cpu_seconds"] += round(outcome.seconds)
    row["executions"] += outcome.executions
    row["crashes"] += outcome.crash is not None
    row["commit_date"] = date
    RECORD.write_text(json.dumps(dict(sorted(sums.items())), indent=1) + "\n")


def line(outcome: Outcome) -> str:
    verdict = "CRASHED" if outcome.crash else "ok"
    return f"{outcome.target:<18}{outcome.executions:>12,}{outcome.rate:>10,.0f}{outcome.edges:>9,}{outcome.corpus:>9,}  {verdict}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/fuzz", description="Builds the fuzz targets and runs them, as many at a time as there are CPUs.")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="for each target (default 1)")
    length.add_argument("--seconds", type=float, help="for each target")
    parser.add_argument("--only", metavar="TARGET[,TARGET]", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the results there as well")
    parser.add_argument("--record", action="store_true", help="add them to tests/fuzz/record.json")
    parser.add_argument("replay", metavar="TARGET FILE", nargs="*", help="only give this input to this target")
    arguments = parser.parse_args()
    if arguments.replay:
        if len(arguments.replay) < 2 or arguments.replay[0] not in TARGETS:
            parser.error("an input is replayed by TARGET FILE")
        good, output = replay(arguments.replay[0], [pathlib.Path(file) for file in arguments.replay[1:]])
        print(output)
        return 0 if good else 1
    chosen = arguments.only.split(",") if arguments.only else TARGETS
    for target in chosen:
        if target not in TARGETS:
            parser.error(f"there is no target {target!r}; there are: {', '.join(TARGETS)}")
    seconds = arguments.seconds or 60 * (arguments.minutes or 1)
    print(f"{'TARGET':<18}{'EXECUTIONS':>12}{'EXEC/S':>10}{'EDGES':>9}{'CORPUS':>9}  VERDICT", flush=True)
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for done in concurrent.futures.as_completed([pool.submit(fuzz, target, seconds) for target in chosen]):
            outcome = done.result()
            outcomes.append(outcome)
            print(line(outcome), flush=True)
            if arguments.record:
                record(outcome)
    for outcome in outcomes:
        if outcome.crash:
            print(f"\n{outcome.target} (-seed={outcome.seed}): the end of its output is")
            print("\n".join("  " + text for text in outcome.output.splitlines()[-40:]))
            print(f"again: script/fuzz {outcome.target} {outcome.crash}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(o) | {"rate": o.rate, "output": o.output[-4000:] if o.crash else ""} for o in outcomes], indent=1) + "\n")
    return 1 if any(outcome.crash for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
