"""Help, manual pages and completions agree: each option and each exit status is in all of them."""
from __future__ import annotations

import pathlib
import re
import subprocess

import pytest

from support.broker import ATOLL, ATOLLD, ROOT

COMMANDS = ["status", "create", "ls", "show", "manifest", "send", "recv", "tail", "put", "get", "rm", "gc", "bench", "stop"]
COMPLETIONS = ROOT / "packaging/completions"


def help_of(program: str, *command: str) -> str:
    return subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=True, timeout=20).stdout


def options_of(text: str) -> set[str]:
    """The long options in the first column of a help text."""
    return {name for line in re.findall(r"^  ((?:-\w,? ?)?--\S.*)$", text, re.M) for name in re.findall(r"--[a-z-]+", re.split(r"\s{2,}", line)[0])}


def section(page: str, command: str) -> str:
    """The part of the manual page on one command."""
    found = re.search(rf'^\.SS "{command}[ ".](.*?)(?=^\.S[SH] )', page, re.M | re.S)
    assert found, f"atoll.1 has no section on {command}"
    return found.group(0)


def manual(name: str) -> str:
    return (ROOT / "packaging/man" / name).read_text().replace("\\-", "-")


COMMON = {"--help", "--json", "--timeout", "--socket"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_manual_has_every_option_of_the_command_and_no_other(command):
    written = set(re.findall(r"^\.(?:B|BI|BR|TP).*?(--[a-z-]+)", section(manual("atoll.1"), command), re.M))
    assert written - COMMON == options_of(help_of(ATOLL, command)) - COMMON


def test_the_manual_has_the_common_options():
    page = manual("atoll.1")
    assert options_of(help_of(ATOLL)) == COMMON | {"--version"}
    for option in COMMON | {"--version"}:
        assert re.search(rf"^\.B.*{option}", page, re.M)


def test_the_manual_has_every_option_of_the_broker():
    page = manual("atolld.8")
    documented = set(re.findall(r"--[a-z-]+", "\n".join(re.findall(r"^\.B[IR]? .*--.*$", page, re.M))))
    assert options_of(help_of(ATOLLD)) == documented


def test_help_and_manual_have_the_same_exit_statuses():
    in_help = re.search(r"Exit status:\n(.*)", help_of(ATOLL), re.S).group(1)
    in_page = re.search(r"\.SH EXIT STATUS\n\.nf\n(.*?)\.fi", manual("atoll.1"), re.S).group(1)
    assert [line.strip() for line in in_help.splitlines()] == [line.strip() for line in in_page.splitlines()]


@pytest.mark.parametrize("file", ["atoll.bash", "_atoll", "atoll.fish"])
def test_completions_know_every_command_and_option(file):
    text = (COMPLETIONS / file).read_text()
    wanted = {option for command in COMMANDS for option in options_of(help_of(ATOLL, command))} | {"--version"}
    for command in [*COMMANDS, "inspect"]:
        assert re.search(rf"\b{command}\b", text), f"{file} does not know {command}"
    for option in wanted:
        pattern = rf"-l {option[2:]}\b" if file.endswith(".fish") else rf"{option}\b"
        assert re.search(pattern, text), f"{file} does not know {option}"


def test_bash_completes_commands_options_and_values():
    def complete(*words: str) -> list[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        script = (f". {COMPLETIONS / 'atoll.bash'}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _atoll; "
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=20).stdout.split()

    assert complete("atoll", "st") == ["status", "stop"]
    assert complete("atoll", "create", "--ca") == ["--capacity"]
    assert complete("atoll", "create", "x", "--when-full", "dr") == ["drop-new"]
    assert complete("atoll", "recv", "--fo") == ["--follow"]


def test_bash_completes_names_of_segments(shell):
    shell("atoll create prices && atoll create sensors/one", check=True)
    script = f". {COMPLETIONS / 'atoll.bash'}; COMP_WORDS=(atoll recv se); COMP_CWORD=2; _atoll; echo ${{COMPREPLY[@]}}"
    assert shell(script, check=True).out == "sensors/one\n"


@pytest.mark.parametrize("page", ["atoll.1", "atolld.8"])
def test_manual_pages_can_be_typeset(page):
    path = pathlib.Path(ROOT / "packaging/man" / page)
    assert path.read_text().startswith('.\\"') and ".TH ATOLL" in path.read_text()
    for macro in re.findall(r"^\.(\S+)", path.read_text(), re.M):
        assert macro in {'\\"', "TH", "SH", "SS", "TP", "PP", "B", "BI", "BR", "I", "IR", "RI", "RS", "RE", "nf", "fi"}, macro
