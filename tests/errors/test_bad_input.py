"""Every case of bad input, in every language: the same error, with what, where and how to mend it.

The last test compares docs/errors.md with what the others showed; ATOLL_WRITE_DOCS=1 writes it.
"""
import os
import pathlib

import pytest
from cases import CASES, Scene
from document import render
from support.agents import LANGUAGES, AgentError
from support.broker import wait_for_end

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/errors.md"
shown: dict[tuple[str, str], str] = {}  # (case, language) -> code


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bad_input(runtime, agents, case, language):
    if language not in case.languages:
        assert case.why_not
        shown[case.id, language] = ""
        return
    if case.root and os.geteuid() != 0:
        pytest.skip("needs root to be two users")
    scene = Scene(runtime, agents, language)
    try:
        with pytest.raises(AgentError) as caught:
            case.run(scene)
        error = caught.value
        assert error.name == case.code, error
        assert error.message and error.fix, "an error says what happened and how to mend it"
        # Neither the agent nor the broker was harmed.
        after = agents("C++")
        after.call("create", name="after", kind="stream", capacity=4096)
        after.call("open_producer", h="p", name="after")
        after.call("open_consumer", h="c", name="after")
        after.call("send", h="p", data=b"still here")
        assert after.call("receive", h="c")["data"] == b"still here"
    finally:
        for broker in scene.brokers:
            broker.terminate()
            assert wait_for_end(broker.pid, 10)
            broker.wait()
    shown[case.id, language] = error.name


def test_the_document_shows_every_case_in_every_language():
    text = render(shown)
    if os.environ.get("ATOLL_WRITE_DOCS"):
        DOCUMENT.write_text(text)
    if os.geteuid() == 0:
        assert DOCUMENT.read_text() == text, "docs/errors.md is out of date: ATOLL_WRITE_DOCS=1 script/test --only 'bad input'"
