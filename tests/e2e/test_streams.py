"""send, recv and tail: what counts as a record, what is taken away, and when each ends."""
from __future__ import annotations

import base64
import json

import pytest


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def prices(shell):
    shell("atoll create prices", check=True)
    return shell


@pytest.mark.parametrize("line, records", [
    (r"printf 'a\nb' | atoll send prices --lines", ["a", "b"]),
    (r"printf '\n\na\n' | atoll send prices --lines", ["", "", "a"]),
    (r"printf 'a\nb\n' | atoll send prices", ["a\nb\n"]),
    ("atoll send prices < /dev/null", [""]),
    ("atoll send prices --lines < /dev/null", []),
    ("atoll send prices --text x --text 'y z'", ["x", "y z"]),
    (r"printf 'p\nq\n' > $TMP_FILE; atoll send prices --lines --file $TMP_FILE; rm $TMP_FILE", ["p", "q"]),
    (r"printf 'from stdin' | atoll send prices --file -", ["from stdin"]),
])
def test_what_is_a_record_is_said_by_the_options(prices, line, records):
    prices.environment["TMP_FILE"] = str(prices.directory / "input.txt")
    prices(line, check=True)
    assert [r["text"] for r in lines_of(prices("atoll tail prices --json", check=True).out)] == records


def test_send_counts(prices):
    assert prices(r"printf 'a\nb\n' | atoll send prices --lines --count", check=True).out == "2\n"
    told = json.loads(prices(r"printf 'a\nbc\n' | atoll send prices --lines --finish --json", check=True).out)
    assert told == {"name": "prices", "sent": 2, "dropped": 0, "bytes": 3, "finished": True}


def test_a_line_is_sent_before_the_next_one_is_there(prices):
    sender = prices.start("send", "prices", "--lines", stdin=-1)
    reader = prices.start("recv", "prices", "-f")
    try:
        for word in (b"first\n", b"second\n"):
            sender.stdin.write(word)
            sender.stdin.flush()
            assert reader.stdout.readline() == word
    finally:
        sender.communicate()
        reader.kill()
        reader.communicate()


def test_content_is_text_where_it_is_utf8_and_can_be_said(prices):
    prices(r"printf 'ä\n\xff\n' | atoll send prices --lines", check=True)
    prices("""printf '{"a":1}' | atoll send prices --content json""", check=True)
    prices("atoll send prices --content bytes --text x", check=True)
    records = lines_of(prices("atoll tail prices --json", check=True).out)
    assert [r["content"] for r in records] == ["text", "bytes", "json", "bytes"]
    assert records[0]["text"] == "ä" and base64.b64decode(records[1]["base64"]) == b"\xff" and "text" not in records[1]
    refused = prices("echo nonsense | atoll send prices --lines --content json")
    assert refused.status == 2 and "record 1 is no JSON" in refused.err


def test_recv_takes_one_record_and_the_group_goes_on(prices):
    prices("atoll send prices --text one --text two --text three", check=True)
    assert prices("atoll recv prices", check=True).out == "one\n"
    assert prices("atoll recv prices --count 2", check=True).out == "two\nthree\n"
    assert prices("atoll recv prices --group other --count 3", check=True).out == "one\ntwo\nthree\n"
    late = prices("atoll recv prices --timeout 0.1")
    assert (late.status, late.out) == (4, "")


def test_recv_raw_writes_the_bytes_only(prices):
    prices(r"printf 'a\0b' | atoll send prices; printf 'c\n' | atoll send prices", check=True)
    assert prices("atoll recv prices --raw --count 2", check=True).out == "a\0bc\n"


def test_recv_starts_a_new_group_where_it_is_told(prices):
    prices("atoll send prices --text 1 --text 2 --text 3", check=True)
    assert prices("atoll recv prices --group back --from 1", check=True).out == "3\n"
    assert prices("atoll recv prices --group late --from latest --timeout 0.1").status == 4
    prices("atoll send prices --text 4", check=True)
    assert prices("atoll recv prices --group late", check=True).out == "4\n"


def test_recv_with_too_few_records_says_how_many_there_were(prices):
    prices("atoll send prices --text one", check=True)
    late = prices("atoll recv prices --count 2 --timeout 0.2")
    assert (late.status, late.out) == (4, "one\n") and "after 1 of 2 records" in late.err
    prices("atoll send prices --finish --text last", check=True)
    ended = prices("atoll recv prices --count 2")
    assert (ended.status, ended.out) == (9, "last\n")


def test_follow_ends_with_the_stream(prices):
    prices(r"printf 'a\nb\n' | atoll send prices --lines --finish", check=True)
    assert prices("atoll recv prices -f", check=True).out == "a\nb\n"
    assert prices("atoll tail prices -f", check=True).out == "a\nb\n"
    assert prices("atoll recv prices").status == 9


def test_tail_takes_nothing_away_and_ends_with_what_is_there(prices):
    assert prices("atoll tail prices", check=True).out == ""
    prices("atoll send prices --text one --text two", check=True)
    for _ in range(2):
        assert prices("atoll tail prices", check=True).out == "one\ntwo\n"
    assert prices("atoll tail prices --from 1", check=True).out == "two\n"
    assert prices("atoll tail prices --from latest", check=True).out == ""
    assert prices("atoll tail prices --count 3 --timeout 0.1").status == 4
    assert prices("atoll recv prices --count 2", check=True).out == "one\ntwo\n"
    assert json.loads(prices("atoll show prices --json").out)["groups"][0]["name"] == "default"


def test_tail_follows(prices):
    follower = prices.start("tail", "prices", "-f")
    try:
        prices("atoll send prices --text now", check=True)
        assert follower.stdout.readline() == b"now\n"
        prices("atoll send prices --finish --text end", check=True)
        out, err = follower.communicate(timeout=20)
        assert (follower.returncode, out, err) == (0, b"end\n", b"")
    finally:
        follower.kill()
        follower.communicate()


def test_a_consumer_may_wait_for_the_stream_to_appear(shell):
    assert shell("atoll recv later --timeout 1").status == 3
    reader = shell.start("recv", "later", "--wait")
    shell("atoll create later && atoll send later --text hello", check=True)
    out, err = reader.communicate(timeout=20)
    assert (reader.returncode, out, err) == (0, b"hello\n", b"")
    assert shell("atoll recv never --wait --timeout 0.2").status == 4


def test_two_consumers_of_a_group_share_the_records(prices):
    readers = [prices.start("recv", "prices", "--group", "work", "-f") for _ in range(2)]
    prices("seq 1000 | atoll send prices --lines --finish", check=True)
    outs = [reader.communicate(timeout=30)[0].split() for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    assert sorted(int(word) for out in outs for word in out) == list(range(1, 1001))


def test_dropped_records_are_told(shell):
    shell("atoll create small --capacity 4096 --when-full drop-new", check=True)
    shell("atoll recv small --group g --timeout 0")
    done = shell("seq 1000 | atoll send small --lines --json")
    told = json.loads(done.out)
    assert done.status == 6 and told["dropped"] > 0 and told["sent"] + told["dropped"] == 1000
    assert "records were dropped" in json.loads(done.err)["error"]["message"]
    assert len(shell(f"atoll recv small --group g --count {told['sent']}", check=True).out.splitlines()) == told["sent"]


def test_overwritten_records_are_told(shell):
    shell("atoll create small --capacity 4096 --when-full overwrite", check=True)
    shell("atoll recv small --group g --timeout 0; atoll recv small --group g2 --timeout 0")
    shell("seq 1000 | atoll send small --lines --finish", check=True)
    done = shell("atoll recv small --group g -f --json", check=True)
    records = lines_of(done.out)
    assert records[-1]["text"] == "1000" and len(records) + sum(r["lost"] for r in records) == 1000
    told = shell("atoll recv small --group g2 -f", check=True)
    assert told.err == f"atoll: {1000 - len(records)} records were overwritten before they could be read\n"


def test_block_waits_for_room_as_long_as_the_time_limit_says(shell):
    shell("atoll create small --capacity 4096", check=True)
    shell("atoll recv small --group g --timeout 0")
    done = shell("seq 1000 | atoll send small --lines --timeout 0.3")
    assert done.status == 4 and "records were sent" in done.err
    sender = shell.start("send", "small", "--text", "late")
    first = shell("atoll recv small --group g", check=True).out
    assert first == "1\n"
    shell("atoll recv small --group g -f --timeout 0.2")
    assert sender.wait(20) == 0
    sender.communicate()
