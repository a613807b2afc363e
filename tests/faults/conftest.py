import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import faults  # noqa: E402
from support.fixtures import runtime  # noqa: E402, F401
from world import World  # noqa: E402

_world: list[World] = []


@pytest.fixture
def world():
    """One broker and its clients for as many tests as it stays well."""
    if not _world:
        _world.append(World())
    yield _world[0]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call" and outcome.get_result().failed and _world:
        _world.pop().abandon()  # what is left of it says nothing about the next test


@pytest.fixture(scope="session", autouse=True)
def _ended():
    yield
    if _world:
        _world.pop().close()


def pytest_terminal_summary(terminalreporter):
    """One line for those who collect what the tests did."""
    terminalreporter.write_line(f"faults: {sum(faults.injected.values())} injected in {len(faults.injected)} operations")
