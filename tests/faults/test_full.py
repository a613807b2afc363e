"""Memory and disk that are really full, on small file systems of their own: a tmpfs at /dev/shm, and a tmpfs and a disk file
system (ext4 in a file) under the runtime directory and the data. Needs root for the mounts; without, and where a loop device is not
to be had, the test says so. Limits of control groups: test_control_group.py.
"""
from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

FULL = pathlib.Path(__file__).parent / "full.py"
NAMESPACE = "set -e; mount --make-rprivate /; "


def inside(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """A shell in a mount namespace of its own: what it mounts ends with it."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    return subprocess.run(["unshare", "--mount", "bash", "-c", NAMESPACE + script, "bash", *arguments], env=os.environ | environment, text=True,
                          capture_output=True, timeout=120)


def well(done: subprocess.CompletedProcess) -> None:
    assert done.returncode == 0 and done.stdout.endswith("well\n"), done.stdout + done.stderr


def test_shared_memory_filled_to_the_last_page_stops_nothing_that_is_established():
    well(inside('mount -t tmpfs -o size=2m,mode=1777 tmpfs /dev/shm; exec "$@"', sys.executable, str(FULL), "shm", "/dev/shm"))


def test_a_full_file_system_under_journal_manifests_and_data_stops_nothing_that_is_established(tmp_path):
    well(inside('mount -t tmpfs -o size=2m tmpfs "$TMPDIR"; exec "$@"', sys.executable, str(FULL), "disk", str(tmp_path), TMPDIR=str(tmp_path)))


def test_a_full_disk_under_journal_manifests_and_data_stops_nothing_that_is_established(tmp_path):
    image, mounted = tmp_path / "image", tmp_path / "m"
    mounted.mkdir()
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    mkfs = shutil.which("mkfs.ext4", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if mkfs is None:
        pytest.skip("there is no mkfs.ext4")
    subprocess.run([mkfs, "-q", "-m", "0", str(image)], check=True, capture_output=True)
    done = inside('mount -o loop "$1" "$TMPDIR" || exit 77; shift; exec "$@"', str(image), sys.executable, str(FULL), "disk", str(mounted),
                  TMPDIR=str(mounted))
    if done.returncode == 77:
        pytest.skip(f"no loop device is to be had here: {done.stderr.strip()}")
    well(done)
