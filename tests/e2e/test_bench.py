"""atoll bench: measures, says what it could not measure, and leaves nothing however it ends."""
from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from support.broker import start_broker, stop_broker, wait_for_end

LATENCY = ["round_trips", "p50_ns", "p99_ns", "p99_9_ns"]
RATE = ["at_once", "records", "records_per_s", "mb_per_s"]


def test_json_has_every_figure_of_every_size(shell):
    told = json.loads(shell("atoll bench --seconds 1 --size 8 --size 1000 --json", check=True).out)
    assert list(told) == ["seconds", "cpus", "sizes", "left_out"]
    assert (told["seconds"], told["cpus"], told["left_out"]) == (1, None, [])
    assert [(s["size"], s["capacity"], s["alignment"]) for s in told["sizes"]] == [(8, 1 << 20, 16), (1000, 1 << 20, 16)]
    for size in told["sizes"]:
        assert list(size) == ["size", "capacity", "alignment", "latency", "rate"]
        assert list(size["latency"]) == ["spinning", "blocking"] and list(size["rate"]) == ["single", "batched"]
        for latency in size["latency"].values():
            assert list(latency) == LATENCY and latency["round_trips"] > 0
            known = [latency[key] for key in LATENCY[1:] if latency[key] is not None]
            assert known == sorted(known)
        for rate in size["rate"].values():
            assert list(rate) == RATE and rate["records"] > 0 and rate["records_per_s"] > 0
        assert size["latency"]["blocking"]["p50_ns"] > 0
    assert [rate["at_once"] for rate in told["sizes"][0]["rate"].values()] == [1, 64]
    assert shell("atoll ls --json", check=True).out == "[]\n"


def test_without_options_it_measures_four_sizes_in_tables_of_80_columns(shell):
    done = shell.on_terminal("atoll bench --seconds 1", NO_COLOR="1")
    assert done.status == 0
    text = done.out.split("\x1b[K")[-1]  # what came after the progress line
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    words = [line.split() for line in lines]
    assert [w[0] for w in words if w[1:2] == ["spinning"]] == ["64", "1K", "64K", "1M"]
    assert [w[0] for w in words if w[1:2] == ["blocking"]] == ["64", "1K", "64K", "1M"]
    assert sum(len(w) == 4 and bool(re.fullmatch(r"[\d,]+", w[2])) for w in words) == 8
    assert shell("atoll ls --json", check=True).out == "[]\n"


def test_a_terminal_sees_how_far_it_is_and_a_pipe_does_not(shell):
    line = "atoll bench --seconds 3 --size 64 --size 1KiB"
    shown = shell.on_terminal(line)
    assert shown.status == 0 and re.search(r"measurement \d of 8: \S+, (latency|rate), ", shown.out)
    assert shell(line, check=True).err == ""


def test_it_runs_where_it_is_told_to(shell):
    cpu = min(os.sched_getaffinity(0))
    told = json.loads(shell(f"atoll bench --seconds 0.4 --size 64 --cpu {cpu},{cpu} --json", check=True).out)
    assert told["cpus"] == [cpu, cpu] and told["sizes"][0]["rate"]["single"]["records"] > 0


@pytest.mark.parametrize("options", ["--size 7", "--size 1GiB", "--size many", "--seconds 0", "--seconds x", "--cpu 0", "--cpu 0,x", "--cpu 0,1023",
                                     "--cpu -1,0", "more"])
def test_wrong_use_is_2_and_starts_nothing(shell, options):
    done = shell(f"atoll bench {options}")
    assert (done.status, done.out) == (2, "") and "fix:" in done.err
    assert not shell.runtime.socket.exists()


def test_a_size_without_room_is_named_and_the_others_are_measured(shell):
    broker = start_broker(shell.runtime.socket, "--max-bytes", "8000000")
    try:
        told = json.loads(shell("atoll bench --seconds 0.5 --size 64 --size 1MiB --json", check=True).out)
        assert [size["size"] for size in told["sizes"]] == [64]
        (left,) = told["left_out"]
        assert left["size"] == 1 << 20 and left["name"] == "limit_reached" and left["reason"] and left["fix"]
        assert "\nleft out: 1M: " in shell("atoll bench --seconds 0.5 --size 64 --size 1MiB", check=True).out
        only = shell("atoll bench --seconds 0.5 --size 1MiB")
        assert (only.status, only.out) == (6, "") and "fix:" in only.err
        assert shell("atoll ls --json", check=True).out == "[]\n"
    finally:
        stop_broker(broker)


def small_dev_shm(size: str) -> list[str]:
    """What a command is started with to see a /dev/shm of that size: a mount of its own, which needs root here or in a
    user namespace."""
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    script = f'mount --make-rprivate / && mount -t tmpfs -o mode=1777,size={size} tmpfs /dev/shm && exec "$@"'
    prefix = [*own, "bash", "-c", script, "bash"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, timeout=60)
    assert tried.returncode == 0, f"no /dev/shm of its own: {tried.stderr.strip()}; fix: run as root, or allow user namespaces"
    return prefix


def test_a_small_dev_shm_is_named_too(shell):
    broker = start_broker(shell.runtime.socket, prefix=small_dev_shm("6m"))
    try:
        told = json.loads(shell("atoll bench --seconds 0.5 --size 64 --size 1MiB --json", check=True).out)
        assert [size["size"] for size in told["sizes"]] == [64]
        assert [(left["size"], left["name"]) for left in told["left_out"]] == [(1 << 20, "no_space")]
    finally:
        stop_broker(broker)


def measuring(shell) -> tuple[subprocess.Popen, int]:
    """`atoll bench` while it measures, and its other half."""
    process = shell.start("bench", "--seconds", "60")
    end = time.monotonic() + 30
    while shell("atoll ls --json").out.count("atoll-bench/") < 2:
        assert process.poll() is None and time.monotonic() < end, "it does not begin"
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    return process, int(children[0])


def gone(shell, other: int) -> None:
    assert wait_for_end(other, 10), "the other half goes on"
    assert shell("atoll ls --json", check=True).out == "[]\n"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_both_halves_and_leaves_nothing(shell, stop):
    process, other = measuring(shell)
    process.send_signal(stop)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (-stop, b"", b"")
    gone(shell, other)


def test_ctrl_c_of_a_terminal_reaches_both_halves(shell):
    process, other = measuring(shell)
    os.kill(other, signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT
    process.communicate()
    gone(shell, other)


def test_killed_the_other_half_removes_the_streams(shell):
    process, other = measuring(shell)
    process.kill()
    process.communicate(timeout=20)
    gone(shell, other)


def test_an_other_half_that_is_killed_is_an_error(shell):
    process, other = measuring(shell)
    os.kill(other, signal.SIGKILL)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, b"") and b"other half" in err and b"fix:" in err
    gone(shell, other)


def test_the_time_limit_ends_it(shell):
    done = shell("atoll bench --seconds 60 --timeout 1")
    assert (done.status, done.out) == (4, "")
    assert shell("atoll ls --json", check=True).out == "[]\n"
