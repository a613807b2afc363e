"""put and get: the content as a whole, byte for byte."""
from __future__ import annotations

import base64
import hashlib
import json


def test_get_prints_what_was_put_and_nothing_more(shell):
    shell("atoll create note --kind bytes --size 4096", check=True)
    payload = bytes(range(256)) * 16
    shell("atoll put note", check=True, input=payload)
    done = shell("atoll get note", check=True)
    assert done.out.encode(errors="surrogateescape") == payload
    told = json.loads(shell("atoll get note --json", check=True).out)
    assert (told["name"], told["version"], told["length"]) == ("note", 1, 4096) and base64.b64decode(told["base64"]) == payload


def test_put_takes_a_file_or_a_text_and_the_new_content_may_be_shorter(shell):
    shell("atoll create note --kind bytes --size 4096", check=True)
    path = shell.directory / "content"
    path.write_text("from a file")
    assert json.loads(shell(f"atoll put note --file {path} --json", check=True).out) == {"name": "note", "length": 11}
    assert shell("atoll get note", check=True).out == "from a file"
    shell("atoll put note --text hi", check=True)
    assert shell("atoll get note", check=True).out == "hi"
    shell("atoll put note < /dev/null", check=True)
    assert shell("atoll get note", check=True).out == ""
    path.unlink()


def test_get_without_content_says_so_and_can_wait(shell):
    shell("atoll create note --kind bytes --size 4096", check=True)
    empty = shell("atoll get note")
    assert empty.status == 4 and "nothing was put" in empty.err and "--wait" in empty.err
    waiting = shell.start("get", "note", "--wait")
    shell("atoll put note --text now", check=True)
    assert waiting.communicate(timeout=20) == (b"now", b"") and waiting.returncode == 0
    assert shell("atoll get note --after 1").status == 4
    assert shell("atoll get note --after 1 --wait --timeout 0.1").status == 4
    assert shell("atoll get note --after 0", check=True).out == "now"


def test_get_can_wait_for_the_segment_too(shell):
    waiting = shell.start("get", "later", "--wait")
    shell("atoll create later --kind bytes --size 64 && atoll put later --text there", check=True)
    assert waiting.communicate(timeout=20) == (b"there", b"")


def test_a_put_longer_than_the_segment_is_refused_and_changes_nothing(shell):
    shell("atoll create note --kind bytes --size 4096 && atoll put note --text old", check=True)
    refused = shell("head -c 4097 /dev/zero | atoll put note")
    assert refused.status == 6 and "4096" in refused.err
    refused = shell("atoll put note < /dev/zero")
    assert refused.status == 6
    assert shell("atoll get note", check=True).out == "old"


def test_a_large_content_passes_unharmed(shell):
    shell("atoll create model --kind bytes --size 8MiB", check=True)
    path = shell.directory / "weights"
    path.write_bytes(hashlib.shake_256(b"weights").digest(8 << 20))
    shell(f"atoll put model --file {path} && atoll get model | cmp - {path}", check=True)
    path.unlink()
