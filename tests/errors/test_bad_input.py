"""Every case of bad input, in every language: the same error, with what, where and how to mend it."""
import os

import pytest
from cases import CASES, Scene
from support.agents import LANGUAGES, AgentError
from support.broker import stop_broker

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
        runtime.directory.chmod(0o700)  # as_other_user opened it
        # Neither the agent nor the broker was harmed.
        after = agents("C++")
        after.call("create", name="after", kind="stream", capacity=4096)
        after.call("open_producer", h="p", name="after")
        after.call("open_consumer", h="c", name="after")
        after.call("send", h="p", data=b"still here")
        assert after.call("receive", h="c")["data"] == b"still here"
    finally:
        for broker in scene.brokers:
            stop_broker(broker)
    shown[case.id, language] = error.name
