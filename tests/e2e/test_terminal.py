"""On a terminal: fits 80 columns, shows no control characters of others. Piped: plain and whole."""
from __future__ import annotations

import re
import signal

import pytest

from support.broker import ATOLL

LONG = "sensors/building-7/floor-12/room-1207/temperature/raw-values-of-the-second-thermometer"
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@pytest.fixture
def filled(shell):
    shell(f"atoll create {LONG} && atoll send {LONG} --text one && atoll recv {LONG} --group a-group-with-a-long-name-as-well", check=True)
    shell("atoll create note --kind bytes --size 4096 && atoll put note --text hello", check=True)
    return shell


@pytest.mark.parametrize("command", ["ls", f"show {LONG}", "show note", "status", "ls --bytes", "--help", "recv --help", "create --help"])
def test_every_line_fits_80_columns(filled, command):
    done = filled.on_terminal(f"atoll {command}")
    assert done.status == 0
    lines = ESCAPES.sub("", done.out).splitlines()
    assert lines and max(map(len, lines)) <= 80, max(lines, key=len)


@pytest.mark.parametrize("command", ["status", "create", "ls", "show", "manifest", "send", "recv", "tail", "put", "get", "rm", "gc", "bench", "stop"])
def test_the_help_of_every_command_fits_80_columns_and_has_examples(shell, command):
    help_text = shell(f"atoll {command} --help", check=True).out
    assert max(map(len, help_text.splitlines())) <= 80
    assert help_text.startswith(f"Usage: atoll {command}") and f"\nExamples:\n  " in help_text and f"atoll {command}" in help_text.split("Examples:")[1]


def test_names_are_cut_on_a_terminal_and_whole_in_a_pipe(filled):
    assert LONG in filled("atoll ls | cat", check=True).out
    shown = ESCAPES.sub("", filled.on_terminal("atoll ls").out)
    assert LONG not in shown and re.search(r"^sensors/[^ ]*… ", shown, re.M)
    assert LONG in filled.on_terminal("atoll ls", columns=200).out
    assert re.search(r"^sensors/[^ ]*~ ", filled.on_terminal("atoll ls", LC_ALL="C", NO_COLOR="1").out, re.M)


def test_colours_are_for_terminals_that_want_them(filled):
    assert "\x1b[" in filled.on_terminal("atoll ls").out
    assert "\x1b[" not in filled.on_terminal("atoll ls", NO_COLOR="1").out
    assert "\x1b[" not in filled.on_terminal("atoll ls", TERM="dumb").out
    assert "\x1b[" not in filled("atoll ls", check=True).out
    assert "\x1b[" not in filled("atoll show nothing").err


PAYLOAD = r"printf '\033[31mred\007\tx\n\302\233y\xff\342\200\256z' | atoll send nasty"


def test_control_characters_of_a_payload_are_escaped_on_a_terminal_and_raw_in_a_pipe(shell):
    shell(f"atoll create nasty && {PAYLOAD}", check=True)
    for command in ("atoll tail nasty", "atoll recv nasty"):
        assert shell.on_terminal(command).out == "\\x1b[31mred\\x07\tx\n\\u009by\\xff\\u202ez\n"
    raw = "\x1b[31mred\x07\tx\n\u009by\udcff\u202ez"
    assert shell("atoll tail nasty", check=True).out == raw + "\n"
    assert shell.on_terminal("atoll tail nasty --raw").out == raw
    assert shell.on_terminal("atoll tail nasty --json").out.isascii()


def test_content_of_bytes_is_escaped_on_a_terminal_and_raw_in_a_pipe(shell):
    shell(r"atoll create note --kind bytes --size 64 && printf '\033[2J\r\n' | atoll put note", check=True)
    assert shell.on_terminal("atoll get note").out == "\\x1b[2J\\x0d\n"
    assert shell.on_terminal("atoll get note --raw").out == "\x1b[2J\r\n"
    assert shell("atoll get note", check=True).out == "\x1b[2J\r\n"


def test_a_command_name_with_control_characters_is_escaped(shell):
    shell("atoll create prices && atoll send prices --text x", check=True)
    evil = shell.directory / "\x1b[31mevil"
    evil.symlink_to(ATOLL)
    reader = shell.start("recv", "prices", "-f", executable=str(evil))
    try:
        assert reader.stdout.readline() == b"x\n"
        shown = shell.on_terminal("atoll show prices", NO_COLOR="1").out
        assert "\x1b" not in shown and "[31mevil" in shown
    finally:
        reader.kill()
        reader.communicate()
        evil.unlink()


def test_an_error_names_no_control_characters_on_a_terminal(shell):
    done = shell.on_terminal(r"atoll show $'\033[31mevil'", NO_COLOR="1")
    assert done.status == 2 and "\x1b" not in done.out and "\\x1b[31mevil" in done.out


def test_progress_is_shown_on_a_terminal_after_a_second_and_nowhere_else(shell):
    shell("atoll create prices --capacity 64KiB && atoll recv prices --timeout 0", check=False)
    line = "seq 100000 | atoll send prices --lines --timeout 2"
    shown = shell.on_terminal(line)
    assert shown.status == 4 and "records/s" in shown.out
    assert "records/s" not in shell(line).err


def test_ctrl_c_on_a_terminal_leaves_no_half_line(shell):
    shell("atoll create prices && atoll send prices --text one --text two", check=True)
    done = shell.on_terminal("atoll recv prices -f", interrupt_at=b"two\n")
    assert (done.status, done.out) == (-signal.SIGINT, "one\ntwo\n")
