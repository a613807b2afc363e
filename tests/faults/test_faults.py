"""The Nth call of the C library fails, once or from then on, for every N that an operation gets to, in its broker and in the client.

Each operation of operations.py, with each shortage of faults.py: the outcome is success or an error that says what to do, soon;
taken away, the shortage leaves nothing: the same broker does the same operation, and everything is whole (world.py).
"""
from __future__ import annotations

import pytest
from faults import KINDS, injected
from operations import OPERATIONS
from support.agents import AgentError
from world import World

WAYS = ("once", "from then on")
MOST = 2000  # more calls of a sort than any operation makes
ALLOCATIONS = [*range(1, 12), *range(12, MOST, 23)]  # there are hundreds: not each of them


def with_failures(world: World, name: str, target: str, shortage: str, way: str) -> int:
    operation = OPERATIONS[name](world)
    faults = world.of_broker if target == "broker" else world.of_client
    operation.prepare()
    operation.act()
    operation.undo()
    before = world.settled_descriptors()
    for at in ALLOCATIONS if shortage == "no memory" else range(1, MOST):
        operation.prepare()
        faults.arm(KINDS[shortage], at, way == "once")
        try:
            world.outcome(operation.act)
        finally:
            failed = faults.disarm()
        injected[name, target] += failed
        try:
            operation.act()
        except AgentError as error:
            assert error.name in operation.settled, f"after call {at} failed: {error}"
        operation.undo()
        world.is_well()
        if failed == 0:
            break
    else:
        raise AssertionError("it never gets through")
    world.has_no_more_descriptors(before)
    world.is_whole()
    return at


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shortage", KINDS)
@pytest.mark.parametrize("target", ("broker", "client"))
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_in_need(world, name, target, shortage, way):
    with_failures(world, name, target, shortage, way)


@pytest.mark.parametrize("name,target,shortage,error", [
    ("connect", "client", "no descriptors", "no_descriptors"), ("create a stream", "broker", "no space", "no_space"),
    ("open a producer", "client", "no kernel memory", "no_space"), ("open a producer", "broker", "no descriptors", "no_descriptors")])
def test_a_shortage_is_felt_and_named(world, name, target, shortage, error):
    """What the tests above would not notice: that nothing fails at all, or that it is called something else."""
    operation = OPERATIONS[name](world)
    faults = world.of_broker if target == "broker" else world.of_client
    outcomes = set()
    for at in range(1, 8):
        operation.prepare()
        faults.arm(KINDS[shortage], at, True)
        outcomes.add(world.outcome(operation.act))
        faults.disarm()
        operation.act()
        operation.undo()
    assert error in outcomes, outcomes
