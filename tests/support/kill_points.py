"""The named kill points of the sources (protocol/kill_point.hpp), for the tests that kill there."""
from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
POINT = re.compile(r'ATOLL_KILL_POINT\("([^"]+)"\)')


def points_of(*folders: str) -> list[str]:
    """The names of the kill points in the sources of these folders, in order."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.[ch]pp") if path.name != "kill_point.hpp"]
    return sorted({point for path in files for point in POINT.findall(path.read_text())})
