"""A minute of everything at once; script/crash --soak does more."""
import os
import random

from random_kills import run
from soak import Soak
from support.figures import figure

SECONDS = float(os.environ.get("ATOLL_TEST_SOAK_SECONDS", "60"))


def test_a_minute_of_everything_loses_nothing_and_the_broker_stays_as_small_as_it_was():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"script/crash --soak --minutes {SECONDS / 60:g} --seed {seed}")
    summary = run(seed, seconds=SECONDS, kind=Soak)
    figure("soak", f"{summary['seconds']:.0f} s, {summary['records']:,} records, {summary['kills']} kills; the broker had at most "
           f"{summary['peak']['memory'] / (1 << 20):.1f} MiB and {summary['peak']['descriptors']} descriptors")
    assert summary["records"] > 1000
