"""Makes docs/errors.md: case, code, and the test that shows it, language by language."""
from __future__ import annotations

from cases import CASES
from control_cases import CASES as CONTROL_CASES
from support.agents import LANGUAGES

HEAD = """# Errors

What Atoll answers to bad input, in every language. Made from the tests that ran (`WRITE_DOCS=1 script/test --only
'bad input'`): do not edit. A cell names the error that the language's own interface gave; `script/test` fails when one is
empty or another error comes out. The codes, what each means and how to mend it are in `protocol/errors.json`.

"""

SOCKET_HEAD = """## At the broker's socket

What `atolld` answers to messages that no library sends (tests/errors/test_control_socket.py::test_control_message). After
each of them it goes on serving others.
"""


def render(shown: dict[tuple[str, str], str], at_socket: dict[str, str]) -> str:
    """The document; fails if a case was not shown in a language."""
    missing = [case.id for case in CONTROL_CASES if case.id not in at_socket]
    assert not missing, f"not shown at the control socket: {', '.join(missing)}"
    empty = [f"{case.id} in {language}" for case in CASES for language in LANGUAGES if (case.id, language) not in shown]
    assert not empty, f"not shown: {', '.join(empty)}"
    lines = [f"| case | {' | '.join(LANGUAGES)} | test (tests/errors/test_bad_input.py::test_bad_input) |",
             "| --- |" + " --- |" * (len(LANGUAGES) + 1)]
    notes = []
    for case in CASES:
        cells = []
        for language in LANGUAGES:
            code = shown[case.id, language]
            if not code and case.why_not not in notes:
                notes.append(case.why_not)
            cells.append(f"`{code}`" if code else f"not possible ({notes.index(case.why_not) + 1})")
        lines.append(f"| {case.title} | {' | '.join(cells)} | `{case.id}` |")
    foot = "".join(f"\n{number}. {note}." for number, note in enumerate(notes, start=1))
    lines += [foot, "", SOCKET_HEAD, "| message | error |", "| --- | --- |"]
    lines += [f"| {case.title} | `{at_socket[case.id]}` |" for case in CONTROL_CASES]
    return HEAD + "\n".join(lines) + "\n"
