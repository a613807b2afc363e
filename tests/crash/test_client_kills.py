"""A client is killed with -9 at each named point of its code, in C++, Python and Node; the others go on, and nothing is lost.

What clients do and what must hold afterwards is in works.py. When the tests are collected each work is done once in each
language by a victim that lists the points it passes, and how often; then there is a test for each of those: work, language,
point, and the first, third or eighth time that it gets there (in C++; elsewhere the first). How often it gets there can hang
on who runs when: a victim that does not get there so often in a few tries is killed at its first time. A point that no work
passes fails the last test here. ATOLL_KILL_LANGUAGES leaves languages out.
"""
from __future__ import annotations

import os
import pathlib
import tempfile

import pytest
from scenes import nobody_and_nothing_is_left, scene, until_dealt_with
from support.figures import figure
from support.kill_points import points_of
from support.victims import Died, Victim, passed
from works import works

POINTS = points_of("client")
PASSAGES = {"C++": (1, 3, 8), "Python": (1,), "Node": (1,)}
LANGUAGES = os.environ.get("ATOLL_KILL_LANGUAGES", ",".join(PASSAGES)).split(",")
TRIES = 8  # a wake-up, say, may not be needed this time


def points_passed() -> dict[tuple[str, str], dict[str, int]]:
    """For each work and language, how often it passes which points."""
    found = {}
    for language in LANGUAGES:
        with scene() as (runtime, agents):
            names = list(works(agents, runtime))
        for name in names:
            with scene() as (runtime, agents), tempfile.TemporaryDirectory() as folder:
                work = works(agents, runtime)[name]
                work.prepare()
                listing = pathlib.Path(folder) / "points"
                victim = Victim(language, stop=work.stop, listing=listing)
                work.act(victim)
                victim.end()
                found[name, language] = {point: times for point, times in passed(listing).items() if (not work.only or point in work.only) and point not in work.elsewhere}
                work.check()
    return found


PASSED = points_passed()
KILLS = [(work, language, point, passage) for (work, language), points in PASSED.items()
         for point, times in sorted(points.items()) for passage in PASSAGES[language] if passage <= times]


@pytest.mark.parametrize("name,language,point,passage", KILLS, ids=lambda value: str(value))
def test_killed(name, language, point, passage):
    for attempt in range(TRIES):
        with scene() as (runtime, agents):
            work = works(agents, runtime)[name]
            work.prepare()
            victim = Victim(language, at=f"{point}:{passage if attempt < TRIES // 2 else 1}", stop=work.stop)
            died = False
            try:
                work.act(victim)
            except Died:
                died = True
            finally:
                victim.end()
            operator = agents("C++")
            until_dealt_with(operator, victim.pid)
            work.check()
            nobody_and_nothing_is_left(runtime, operator, victim.pid)
        if died:
            return
    raise AssertionError(f"{name} did not get to {point} in {TRIES} tries")


def test_every_point_of_the_client_is_passed_in_one_of_the_works():
    everywhere = {point for points in PASSED.values() for point in points}
    missing = set(POINTS) - everywhere
    # What the packages do not do: C++ passes all that they pass, and more.
    assert not missing or "C++" not in LANGUAGES, f"never passed: {sorted(missing)}"
    assert len(everywhere) > 60


def test_there_are_as_many_points_as_the_guarantees_say():
    assert len(POINTS) >= 80
    for language in LANGUAGES:
        kills = [kill for kill in KILLS if kill[1] == language]
        figure("kills", f"{language} clients at {len({kill[2] for kill in kills})} of {len(POINTS)} points, {len(kills)} kills in {len({kill[0] for kill in kills})} works")
