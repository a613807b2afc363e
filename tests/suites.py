"""The test suites: one entry each, run by tests/run.py (script/test).

A suite is one or more commands that run in a fresh private directory with a broker socket of their
own. `needs` are paths of the tree without which the suite is missing, and a missing suite fails.
`counts` says how to read the number of tests from the output, see tests/support/counts.py.
"""
from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = str(ROOT / ".venv/bin/python")


@dataclass(frozen=True)
class Suite:
    name: str
    commands: Callable[[], list[list[str]]]
    counts: str
    needs: tuple[str, ...] = ()
    builds: tuple[str, ...] = ("cpp",)  # parts of script/build
    limit: int = 300  # seconds
    quick: bool = True  # also run by --quick
    alone: bool = False  # not beside other suites: it measures time or needs the machine
    build: str = "build"  # directory whose bin/ the suite uses
    environment: dict[str, str] = field(default_factory=dict)


def pytest(*words: str, before: tuple[str, ...] = ()) -> Callable[[], list[list[str]]]:
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=none"]
    return lambda: [[*before, PYTHON, "-m", "pytest", *options, *(str(ROOT / w) if (ROOT / w).exists() else w for w in words)]]


def programs(build: str, *before: str) -> Callable[[], list[list[str]]]:
    """Every unit test program of a build directory."""
    return lambda: [[*before, str(p)] for p in sorted((ROOT / build / "bin").glob("atoll_units_*"))]


def script(*command: str) -> Callable[[], list[list[str]]]:
    return lambda: [[command[0].replace("python", PYTHON), *command[1:]]]


def in_tree(path: str) -> str:
    return str(ROOT / path)


NO_ADDRESS_RANDOMISATION = ("setarch", "-R")  # ThreadSanitizer of GCC 12 needs its addresses where it expects them

# Two or more run at once, in this order: the longest first.
SUITES = [
    Suite("kills, C++", pytest("tests/crash/test_client_kills.py"), "pytest", builds=("kill",), build="build-kill", needs=("tests/crash/",), limit=900,
          environment={"ATOLL_KILL_LANGUAGES": "C++"}),
    Suite("kills, packages", pytest("tests/crash/test_client_kills.py"), "pytest", builds=("kill",), build="build-kill", needs=("tests/crash/",), limit=900,
          environment={"ATOLL_KILL_LANGUAGES": "Python,Node"}),
    Suite("kills, broker", pytest("tests/crash/test_broker_kills.py"), "pytest", builds=("kill",), build="build-kill", limit=600),
    Suite("errors generated", script("python", in_tree("protocol/generate_errors.py"), "--check"), "one", builds=()),
    Suite("tree", pytest("tests/tree"), "pytest", builds=()),
    Suite("models", script(in_tree("protocol/model/run")), "plain", needs=("protocol/model/run",), builds=(), limit=600),
    Suite("weak memory", script(in_tree("protocol/loom/run")), "plain", needs=("protocol/loom/run",), builds=(), limit=600),
    Suite("units", programs("build"), "catch", needs=("tests/unit",)),
    Suite("install", pytest("tests/install"), "pytest", needs=("client/src/",), limit=600),
    Suite("conformance", pytest("tests/conformance"), "pytest", builds=("cpp", "python", "node"), needs=("tests/conformance/",)),
    Suite("pairs", pytest("tests/pairs"), "pytest", builds=("cpp", "python", "node"), needs=("tests/pairs/",)),
    Suite("bad input", pytest("tests/errors"), "pytest", builds=("cpp", "python", "node"), needs=("tests/errors/",)),
    Suite("command", pytest("tests/e2e"), "pytest", needs=("tests/e2e/",)),
    Suite("broker", pytest("tests/broker", "--ignore", "tests/broker/test_kill_points.py"), "pytest", needs=("tests/broker/",)),
    Suite("random kills", pytest("tests/crash/test_random_kills.py"), "pytest", builds=("kill", "python", "node"), build="build-kill",
          needs=("tests/crash/workers/",)),
    Suite("soak", pytest("tests/crash/test_soak.py"), "pytest", builds=("kill", "python", "node"), build="build-kill", needs=("tests/crash/workers/",)),
    Suite("other deaths", pytest("tests/crash/test_other_deaths.py"), "pytest", builds=("kill",), build="build-kill", alone=True),
    Suite("kills, protocol", pytest("tests/broker/test_kill_points.py"), "pytest", builds=("kill",), build="build-kill"),
    Suite("rights", pytest("tests/rights"), "pytest"),
    Suite("fuzz", pytest("tests/fuzz/test_fuzz.py"), "pytest", builds=("cpp", "python", "node")),
    Suite("fuzzing", pytest("tests/fuzz/test_targets.py"), "pytest", builds=("fuzz",), build="build-fuzz", limit=600, quick=False,
          needs=("tests/fuzz/targets/", "tests/fuzz/regressions/")),
    # Alone: it takes all the memory that it is given.
    Suite("hostile", pytest("tests/hostile"), "pytest", builds=("cpp", "python", "node"), needs=("tests/hostile/",), alone=True),
    Suite("faults", pytest("tests/faults"), "pytest", needs=("tests/faults/",), limit=600),
    Suite("manifest reader", pytest("tests/manifest_reader"), "pytest", needs=("tests/manifest_reader/",)),
    Suite("python", pytest("bindings/python/tests"), "pytest", builds=("cpp", "python"), needs=("bindings/python/tests/",)),
    Suite("node", script("npm", "--prefix", in_tree("bindings/node"), "test"), "node", builds=("cpp", "node"), needs=("bindings/node/test/",)),
    Suite("node types", script("npm", "--prefix", in_tree("bindings/node"), "run", "types"), "one", builds=(), needs=("bindings/node/test/types/",)),
    Suite("restart", pytest("tests/restart"), "pytest", builds=("cpp", "python", "node"), needs=("tests/restart/",)),
    Suite("instructions", script(in_tree("bench/instructions/run")), "plain", builds=("cpp", "python", "node"), needs=("bench/instructions/counts.json",),
          quick=False),
    Suite("units, address", programs("build-address"), "catch", needs=("tests/unit",), builds=("address",), build="build-address", quick=False,
          environment={"ASAN_OPTIONS": "abort_on_error=0:detect_stack_use_after_return=1", "UBSAN_OPTIONS": "print_stacktrace=1"}),
    Suite("conformance, address", pytest("tests/conformance", "-k", "not Python and not Node"), "pytest",
          builds=("address", "python", "node"), build="build-address", quick=False, needs=("tests/conformance/",),
          environment={"ASAN_OPTIONS": "detect_stack_use_after_return=1"}),
    Suite("units, thread", programs("build-thread", *NO_ADDRESS_RANDOMISATION), "catch", needs=("tests/unit",), builds=("thread",),
          build="build-thread", quick=False, environment={"TSAN_OPTIONS": "halt_on_error=1"}),
    Suite("conformance, thread", pytest("tests/conformance", "-k", "not Python and not Node", before=NO_ADDRESS_RANDOMISATION),
          "pytest", builds=("thread", "python", "node"), build="build-thread", quick=False, needs=("tests/conformance/",),
          environment={"TSAN_OPTIONS": "halt_on_error=1"}),
]
