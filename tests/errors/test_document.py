"""docs/errors.md says what the tests of this folder showed. Runs after them; WRITE_DOCS=1 writes it."""
import os
import pathlib

import pytest
import test_bad_input
import test_control_socket
from document import render

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/errors.md"


def test_the_document_shows_every_case_in_every_language():
    if os.geteuid() != 0:
        pytest.skip("the cases with two users need root")
    text = render(test_bad_input.shown, test_control_socket.shown)
    if os.environ.get("WRITE_DOCS"):
        DOCUMENT.write_text(text)
    assert DOCUMENT.read_text() == text, "docs/errors.md is out of date: WRITE_DOCS=1 script/test --only 'bad input'"
