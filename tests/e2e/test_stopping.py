"""Ctrl-C, a reader that goes away, an output that is full: each ends the command cleanly and loses nothing."""
from __future__ import annotations

import json
import signal

import pytest


@pytest.fixture
def prices(shell):
    shell("atoll create prices", check=True)
    return shell


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [("recv", "-f"), ("recv", "--count", "5"), ("tail", "-f")], ids=" ".join)
def test_a_signal_ends_it_by_that_signal_and_without_a_word(prices, command, stop):
    prices("atoll send prices --text one", check=True)
    process = prices.start(command[0], "prices", *command[1:])
    assert process.stdout.readline() == b"one\n"
    process.send_signal(stop)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (-stop, b"", b"")


@pytest.mark.parametrize("arguments", [("recv", "never", "--wait"), ("get", "never", "--wait"), ("get", "note", "--wait"),
                                       ("recv", "prices"), ("send", "prices")], ids=" ".join)
def test_ctrl_c_ends_every_wait(prices, arguments):
    prices("atoll create note --kind bytes --size 64", check=True)
    process = prices.start(*arguments, stdin=-1)
    # Stopped and continued, so that the signal finds it at any point of its start or of its wait.
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)
    prices("atoll ls", check=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT
    process.communicate()


def test_a_shell_sees_130(prices):
    done = prices("timeout --preserve-status --signal INT 0.5 atoll recv prices -f; echo $?")
    assert done.out == "130\n" and done.err == ""


def test_ctrl_c_leaves_what_was_not_written_to_the_next_consumer(prices):
    prices("seq 200 | atoll send prices --lines", check=True)
    process = prices.start("recv", "prices", "-f")
    taken = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    taken += process.communicate(timeout=20)[0].splitlines(keepends=True)
    rest = 200 - len(taken)
    if rest:
        taken += prices(f"atoll recv prices --count {rest}", check=True).out.encode().splitlines(keepends=True)
    assert b"".join(taken) == b"".join(b"%d\n" % i for i in range(1, 201))
    assert prices("atoll recv prices --timeout 0.1").status == 4


@pytest.mark.parametrize("command", ["atoll tail prices", "atoll recv prices --count 30000", "atoll recv prices -f", "atoll tail prices --json"])
def test_head_may_close_the_pipe(shell, command):
    shell("atoll create prices --capacity 4MiB && seq 30000 | atoll send prices --lines", check=True)
    done = shell(command + " | head -1; echo ${PIPESTATUS[0]}")
    first, status = done.out.splitlines()
    assert first == "1" or json.loads(first)["text"] == "1"
    assert (status, done.err) == ("141", "")


def test_records_that_could_not_be_written_go_back_to_the_group(prices):
    prices("atoll send prices --text one --text two", check=True)
    full = prices("atoll recv prices --count 2 > /dev/full")
    assert full.status == 1 and "No space left" in full.err
    again = [json.loads(line) for line in prices("atoll recv prices --count 2 --json", check=True).out.splitlines()]
    assert [(r["text"], r["redelivered"]) for r in again] == [("one", True), ("two", True)]


@pytest.mark.parametrize("command", ["atoll ls", "atoll ls --json", "atoll show prices", "atoll manifest prices", "atoll --help", "atoll status"])
def test_a_full_output_is_an_error(prices, command):
    done = prices(command + " > /dev/full")
    assert done.status == 1 and "standard output" in done.err


def test_a_killed_consumer_leaves_nothing_lost(prices):
    prices("seq 100 | atoll send prices --lines", check=True)
    process = prices.start("recv", "prices", "-f")
    seen = [int(process.stdout.readline())]
    process.kill()
    seen += [int(word) for word in process.communicate()[0].split()]
    while len(set(seen)) < 100:
        seen.append(int(prices("atoll recv prices --timeout 20", check=True).out))
    assert set(seen) == set(range(1, 101))
