"""Random kills, as many as fit into an ordinary run of the tests; script/crash does more."""
import os
import random

from random_kills import run
from support.figures import figure

KILLS = int(os.environ.get("ATOLL_TEST_KILLS", "2000"))


def test_nothing_is_lost_stuck_or_leaked_whoever_is_killed_whenever():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"script/crash --kills {KILLS} --seed {seed}")
    summary = run(seed, kills=KILLS)
    print(summary)
    figure("random kills", f"{summary['kills']:,} in {summary['seconds']:.0f} s, {summary['records']:,} records, 0 lost, 0 stuck, 0 leaked")
    assert summary["kills"] >= KILLS
    assert summary["records"] > 0
