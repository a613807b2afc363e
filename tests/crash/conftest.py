import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support.fixtures import agents, refused, runtime  # noqa: E402, F401
from support.figures import pytest_terminal_summary  # noqa: E402, F401
