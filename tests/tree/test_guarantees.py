"""docs/guarantees.md is what script/guarantees writes, and the tests that it names are there."""
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

import guarantees  # noqa: E402
from suites import SUITES  # noqa: E402

PROMISES = [promise for promises in guarantees.SECTIONS.values() for promise in promises]


def test_the_document_is_what_the_command_writes():
    assert guarantees.DOCUMENT.read_text() == guarantees.document(), "run script/guarantees"


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.text[:40])
def test_every_promise_is_shown_by_tests_that_are_there(promise):
    assert promise.shown
    for suite, test in promise.shown:
        assert suite in {each.name for each in SUITES}
        file, _, name = test.partition("::")
        assert not file or (TESTS / file).is_file()
        assert not name or f"def {name}(" in (TESTS / file).read_text()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.text[:40])
def test_every_promise_has_figures(promise):
    record = guarantees.load("tests/record.json")
    assert guarantees.latest(promise, record), "script/test --record has not run all of its suites"
    wanted = set(promise.figures)
    have = {name for suite in record.values() for name, _ in suite["figures"]}
    assert wanted <= have, f"not counted: {wanted - have}"
