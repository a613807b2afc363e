"""The session that the README shows, word for word: each line with what it prints and its status.

Once in one shell; then each line in a shell of its own with the broker killed before every line; then
with the broker killed once, between any two lines.
"""
from __future__ import annotations

import json
import re
import subprocess

import pytest

from support.broker import broker_pids

TAIL = "".join(
    json.dumps({"sequence": i, "lane": 0, "content": "text", "length": len(word), "redelivered": False, "lost": 0, "text": word},
               separators=(",", ":")) + "\n"
    for i, word in enumerate(["one", "two", "three"])
)


def is_show(text: str) -> None:
    shown, end = json.JSONDecoder().raw_decode(text)
    assert (shown["name"], shown["kind"]) == ("prices", "stream")
    assert {"name", "size", "resident", "owner", "state", "age", "lanes", "groups", "clients", "files", "manifest"} <= shown.keys()
    manifest, end = json.JSONDecoder().raw_decode(text, end + 1)
    assert manifest == shown["manifest"]
    assert (manifest["name"], manifest["capacity"], manifest["when_full"]) == ("prices", 1 << 20, "block")
    assert text[end:] == "\n"


def is_names(text: str) -> None:
    assert text.splitlines() == ["note", "prices"]


# Each line, and what it prints: text, or a check of it.
SESSION = [
    ("atoll create prices --kind stream --capacity 1MiB --when-full block", ""),
    (r"printf 'one\ntwo\nthree\n' | atoll send prices --lines", ""),
    ("atoll recv prices --group g1 --count 3", "one\ntwo\nthree\n"),
    ("atoll tail prices --from earliest --count 3 --json", TAIL),
    ("atoll create note --kind bytes --size 4096 && printf 'hello' | atoll put note && atoll get note", "hello"),
    ("atoll ls --json | jq -r '.[].name'", is_names),
    ("atoll show prices --json; atoll manifest prices", is_show),
    ("atoll rm prices --group g1", ""),
    ("atoll rm prices", ""),
    # What gc finds may belong to other brokers of this user whose directories are gone (tests run beside
    # each other), so only the form is fixed: all of it is `remove`, none of it is this broker's.
    ("atoll gc", re.compile(r"(nothing to clean up\n)?|ACTION .*\n(keep .*\n)+nothing to clean up\n|ACTION .*\n((remove|keep) .*\n)+would remove .*\n")),
    ("atoll gc --apply", re.compile(r"nothing to clean up\n|ACTION .*\n(keep .*\n)+nothing to clean up\n|ACTION .*\n((remove|keep) .*\n)+removed .*\n")),
]


def check_line(shell, line: str, expected) -> None:
    done = shell(line)
    found_something = line == "atoll gc" and "would remove" in done.out
    assert done.status == (1 if found_something else 0), (line, done)
    if "gc" in line:
        ours = [folder.name for folder in shell.runtime.shared_memory()]
        assert not any(name in done.out for name in ours), (line, done)
    if callable(expected):
        expected(done.out)
    elif isinstance(expected, str):
        assert done.out == expected, (line, done)
    else:
        assert expected.fullmatch(done.out), (line, done)
    if "gc" not in line:
        assert done.err == "", (line, done)


def kill_if_running(shell) -> None:
    if broker_pids(shell.directory):
        shell.runtime.kill_broker()


def test_every_line_does_what_it_says(shell):
    for line, expected in SESSION:
        check_line(shell, line, expected)


def test_one_shell_can_run_it_all(shell):
    lines = [line.replace("atoll gc", "atoll gc || test $? = 1") if line == "atoll gc" else line for line, _ in SESSION]
    done = shell("set -e -o pipefail\n" + "\n".join(lines))
    assert done.status == 0, done
    assert done.out.startswith("one\ntwo\nthree\n" + TAIL + "hellonote\nprices\n")


def test_the_broker_may_be_killed_before_every_line(shell):
    for line, expected in SESSION:
        kill_if_running(shell)
        check_line(shell, line, expected)


@pytest.mark.parametrize("killed_before", range(1, len(SESSION)), ids=lambda i: f"before line {i + 1}")
def test_the_broker_may_be_killed_between_any_two_lines(shell, killed_before):
    for i, (line, expected) in enumerate(SESSION):
        if i == killed_before:
            shell.runtime.kill_broker()
        check_line(shell, line, expected)


def test_ls_has_exactly_the_promised_keys(shell):
    shell("atoll create prices --kind stream && atoll create note --kind bytes --size 4096", check=True)
    for _ in range(2):  # with a broker, and from what it left
        listed = json.loads(shell("atoll ls --json", check=True).out)
        for segment in listed:
            assert list(segment) == ["name", "kind", "size", "resident", "owner", "producers", "consumers", "lanes", "state", "age"]
            assert 0 <= segment["age"] < 60 and segment["size"] > 4096
        kill_if_running(shell)


def test_a_command_substitution_returns_although_it_starts_a_broker(shell):
    done = subprocess.run(["bash", "-c", 'x=$(atoll create prices); echo "made:$x"'], env=shell.environment, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=20)
    assert (done.returncode, done.stdout) == (0, b"made:\n")
    assert broker_pids(shell.directory), "the broker goes on by itself"
