import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import figures  # noqa: E402
from support.fixtures import agents, runtime  # noqa: E402, F401

import neighbours  # noqa: E402


@pytest.fixture
def neighbourhood(runtime, agents):  # noqa: F811
    """A Neighbourhood; afterwards its broker must be well, whatever was done to it."""
    made = neighbours.Neighbourhood(runtime, agents)
    try:
        yield made
        made.check()
    finally:
        made.close()


def pytest_terminal_summary(terminalreporter):
    figures.figure("attacks", f"{sum(times > 0 for times in neighbours.carried_out.values())} kinds, {sum(neighbours.carried_out.values())} carried out")
    figures.pytest_terminal_summary(terminalreporter)
