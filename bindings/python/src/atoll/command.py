"""The commands `atoll` and `atolld` of this package: they run the programs that it carries."""

from __future__ import annotations

import os
import pathlib
import sys


_PROGRAMS = pathlib.Path(__file__).parent / "bin"


def _run(name: str) -> None:
    program = _PROGRAMS / name
    try:
        os.execv(program, [name, *sys.argv[1:]])
    except OSError as error:
        raise SystemExit(f"{name}: {program} cannot be run: {error.strerror}\n  fix: install the package atoll-ipc again") from None


def atoll() -> None:
    """Runs `atoll` with this process's arguments."""
    os.environ.setdefault("ATOLLD", str(_PROGRAMS / "atolld"))
    _run("atoll")


def atolld() -> None:
    """Runs `atolld` with this process's arguments."""
    _run("atolld")
