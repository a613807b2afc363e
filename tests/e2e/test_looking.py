"""status, ls, show, manifest and gc only look: they start no broker, and tell what the last one left."""
from __future__ import annotations

import json

import pytest

from support.broker import broker_pids


@pytest.mark.parametrize("line, status, out", [
    ("atoll ls", 0, "NAME  KIND  SIZE  RSS  OWNER  PROD  CONS  LANES  STATE  AGE\n"),
    ("atoll ls --json", 0, "[]\n"),
    ("atoll show prices", 3, ""),
    ("atoll manifest prices", 3, ""),
    ("atoll gc", 0, ""),
    ("atoll stop", 0, ""),
])
def test_without_a_broker_nothing_is_there_and_none_is_started(shell, line, status, out):
    done = shell(line)
    assert (done.status, done.out) == (status, out)
    assert not broker_pids(shell.directory)


def test_status_without_a_broker_says_so_and_is_7(shell):
    done = shell("atoll status")
    assert done.status == 7 and "none is running" in done.out
    done = shell("atoll status --json")
    assert done.status == 7 and json.loads(done.out) == {"running": False, "socket": str(shell.runtime.socket), "segments": 0}
    assert not broker_pids(shell.directory)


def test_gc_in_json_tells_nothing_to_clean_up_from_nobody_to_ask(shell):
    assert json.loads(shell("atoll gc --json", check=True).out)["looked"] is False
    assert not broker_pids(shell.directory)
    shell("atoll create prices", check=True)
    assert json.loads(shell("atoll gc --json").out)["looked"] is True


def test_status_names_process_socket_and_log(shell):
    shell("atoll create prices", check=True)
    status = json.loads(shell("atoll status --json", check=True).out)
    assert status["running"] is True and status["socket"] == str(shell.runtime.socket)
    assert status["pid"] in broker_pids(shell.directory)
    assert status["autostarted"] is True and status["log"].startswith(str(shell.directory))
    text = shell("atoll status", check=True).out
    assert status["log"] in text and f"process {status['pid']}" in text


def test_after_the_broker_was_killed_they_tell_what_it_left(shell):
    shell("atoll create a/b && atoll create note --kind bytes --size 4096", check=True)
    with_broker = shell("atoll manifest a/b", check=True).out
    shell.runtime.kill_broker()
    listed = json.loads(shell("atoll ls --json", check=True).out)
    assert [(s["name"], s["state"], s["producers"]) for s in listed] == [("a/b", "offline", None), ("note", "offline", None)]
    assert [s["name"] for s in json.loads(shell("atoll ls a/ --json", check=True).out)] == ["a/b"]
    assert shell("atoll manifest a/b", check=True).out == with_broker
    shown = json.loads(shell("atoll show a/b --json", check=True).out)
    assert shown["state"] == "offline" and all(file["inode"] for file in shown["files"])
    assert shell("atoll show nothing").status == 3
    assert shell("atoll show ../x").status == 2
    assert not broker_pids(shell.directory)


def test_stop_ends_the_broker_before_it_returns_and_segments_stay(shell):
    shell("atoll create prices", check=True)
    assert shell("atoll stop", check=True).out == ""
    assert not broker_pids(shell.directory)
    assert [s["name"] for s in json.loads(shell("atoll ls --json").out)] == ["prices"]
    assert json.loads(shell("atoll stop --json", check=True).out) == {"stopped": False, "clients": 0}


def test_show_tells_lanes_groups_and_who_uses_the_segment(shell):
    shell("atoll create prices && atoll send prices --text one --text two && atoll recv prices --group g1", check=True)
    reader = shell.start("recv", "prices", "--group", "g2", "-f")
    try:
        assert reader.stdout.readline() == b"one\n"
        shown = json.loads(shell("atoll show prices --json", check=True).out)
        assert [(lane["lane"], lane["sequence"]) for lane in shown["lanes"]] == [(0, 2)]
        assert {group["name"]: group["lag"] for group in shown["groups"]}["g1"] == 1
        client = next(c for c in shown["clients"] if c["group"] == "g2")
        assert (client["pid"], client["role"], client["command"]) == (reader.pid, "consume", "atoll")
        text = shell("atoll inspect prices", check=True).out
        for words in ("LANE", "GROUP", "COMMAND", "INODE", str(reader.pid), "when full: block"):
            assert words in text
    finally:
        reader.kill()
        reader.communicate()
