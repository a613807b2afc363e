"""The fuzz targets: random input finds nothing in them, known crashes stay away, and a crash would be told.

Run by the suite "fuzzing", whose build is build-fuzz. Targets run two at a time: the first test that wants an outcome starts
them all. `ATOLL_FUZZ_SECONDS` says for how long each (20).
"""
import concurrent.futures
import os
import pathlib

import fuzz
import pytest
from support.figures import figure

SECONDS = float(os.environ.get("ATOLL_FUZZ_SECONDS", "20"))


@pytest.fixture(scope="module")
def outcomes():
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        yield {target: pool.submit(fuzz.fuzz, target, SECONDS) for target in fuzz.TARGETS}


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_random_input_finds_nothing_in(target, outcomes, capsys):
    outcome = outcomes[target].result()
    with capsys.disabled():
        print(f"\n  {fuzz.line(outcome)}  -seed={outcome.seed}")
    assert outcome.crash is None, f"script/fuzz {target} {outcome.crash}\n{outcome.output[-6000:]}"
    assert outcome.executions > 100, outcome.output[-6000:]


def test_so_much_was_tried(outcomes):
    done = [outcome.result() for outcome in outcomes.values()]
    assert len(done) >= 7
    figure("fuzzing", f"{len(done)} targets, {sum(outcome.executions for outcome in done):,} executions, {sum(outcome.crash is not None for outcome in done)} crashes")


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_no_input_that_crashed_it_once_crashes_again(target):
    files = sorted((fuzz.HERE / "regressions" / target).glob("*"))
    if files:
        good, output = fuzz.replay(target, files)
        assert good, output[-6000:]


def test_a_broken_promise_is_found_and_told(tmp_path):
    outcome = fuzz.fuzz("hostile_bell", 20, {"ATOLL_FUZZ_PLANTED": "1"}, corpus=tmp_path / "corpus")
    assert outcome.crash is not None and "broken promise: the planted one" in outcome.output
    crash = pathlib.Path(outcome.crash)
    good, output = fuzz.replay("hostile_bell", [crash], {"ATOLL_FUZZ_PLANTED": "1"})
    assert not good and "broken promise: the planted one" in output
    assert fuzz.replay("hostile_bell", [crash])[0], "without the planted break the input is harmless"
    crash.unlink()
