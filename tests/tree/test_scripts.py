"""The shell scripts of the tree are clean, and name their interpreter."""
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def shell_scripts():
    found = []
    for folder in ("script", ".ci", "bench", "protocol/model", "tests", "packaging", "examples"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and not path.is_symlink():
                with open(path, "rb") as file:
                    first = file.readline()
                if first.startswith(b"#!") and b"sh" in first.split(b"/")[-1]:
                    found.append(str(path.relative_to(ROOT)))
    return found


@pytest.mark.parametrize("path", shell_scripts())
def test_shellcheck_finds_nothing_in(path):
    result = subprocess.run(["shellcheck", "-x", path], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert (ROOT / path).stat().st_mode & 0o111, f"{path} is not executable"
