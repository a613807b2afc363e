"""What script/crash --mutants breaks is still there to be broken."""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/crash"))

from mutants import MUTANTS  # noqa: E402


def test_every_mutant_changes_one_place_of_the_tree():
    assert len(MUTANTS) >= 10
    for mutant in MUTANTS:
        assert (ROOT / mutant.file).read_text().count(mutant.old) == 1, mutant.name
        assert mutant.old != mutant.new
