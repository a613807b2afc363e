"""Bad input for each command: its own message, a fix, and the documented exit status."""
from __future__ import annotations

import json

import pytest

from support.broker import broker_pids

WRONG_USE = [  # nothing is asked of a broker, so none is started
    "atoll",
    "atoll nonsense",
    "atoll --nonsense",
    "atoll ls --nonsense",
    "atoll ls a b",
    "atoll create",
    "atoll create prices --kind table",
    "atoll create prices --capacity",
    "atoll create prices --capacity lots",
    "atoll create prices --capacity -1",
    "atoll create prices --capacity 1.0001K",
    "atoll create prices --capacity 99999999999999999999",
    "atoll create prices --capacity 99999999999G",
    "atoll create prices --when-full explode",
    "atoll create prices --alignment 32",
    "atoll create prices --size 4096",
    "atoll create prices --put-size 1",
    "atoll create note --kind bytes",
    "atoll create note --kind bytes --size 4096 --capacity 4096",
    "atoll create note --kind bytes --size 4096 --when-full block",
    "atoll create note --kind bytes --size 4096 --alignment 16",
    "atoll create note --kind bytes --size 4096 --backing tape",
    "atoll create prices --backing file",
    "atoll create prices --backing shm --directory /tmp",
    "atoll show",
    "atoll manifest",
    "atoll send",
    "atoll send prices --file /does/not/exist",
    "atoll send prices --file /tmp",
    "atoll send prices --text a --lines",
    "atoll send prices --text a --file b",
    "atoll send prices --content html --text a",
    "atoll recv",
    "atoll recv prices --count 0",
    "atoll recv prices --count -1",
    "atoll recv prices --count many",
    "atoll recv prices --from yesterday",
    "atoll recv prices --timeout soon",
    "atoll recv prices --timeout -1",
    "atoll recv prices --timeout nan",
    "atoll tail",
    "atoll tail prices --count 0",
    "atoll tail prices --from -1",
    "atoll put",
    "atoll put note --file /does/not/exist",
    "atoll put note --text a --file b",
    "atoll get",
    "atoll get note --after old",
    "atoll rm",
    "atoll gc everything",
    "atoll stop now",
    "atoll get note --after -1",
    "atoll get note --after 18446744073709551616",
    "atoll status now",
]


@pytest.mark.parametrize("line", WRONG_USE)
def test_wrong_use_is_2_with_a_message_and_a_fix_and_starts_nothing(shell, line):
    done = shell(line)
    assert (done.status, done.out) == (2, "")
    message, fix = done.err.splitlines()
    assert message.startswith("atoll: ") and fix.startswith("  fix: ")
    assert not broker_pids(shell.directory)
    as_json = shell(line + " --json")
    error = json.loads(as_json.err)["error"]
    assert (as_json.status, as_json.out, error["exit_status"]) == (2, "", 2) and error["message"] and error["fix"]


REFUSED = [  # by the broker or the library; `prices` is a stream and `note` bytes
    ("atoll create ../etc/passwd", 2, "invalid_name"),
    ("atoll create a//b", 2, "invalid_name"),
    ("atoll create 'a b'", 2, "invalid_name"),
    ("atoll create .hidden", 2, "invalid_name"),
    ("atoll create $(printf 'x%.0s' {1..129})", 2, "invalid_name"),
    ("atoll create ''", 2, "invalid_name"),
    ("atoll create prices --capacity 2MiB", 8, "exists_with_other_options"),
    ("atoll create note", 8, "exists_with_other_options"),
    ("atoll create huge --capacity 8G", 2, "invalid_geometry"),
    ("atoll create none --capacity 0", 2, "invalid_geometry"),
    ("atoll create prices --size 5", 2, "invalid_argument"),
    ("atoll create huge --kind bytes --size 1000T", 2, "invalid_geometry"),
    ("atoll create empty --kind bytes --size 0", 2, "invalid_geometry"),
    ("atoll create x --directory /does/not/exist", None, None),
    ("atoll create x --access nonsense", 2, "invalid_argument"),
    ("atoll create x --access root:z", 2, "invalid_argument"),
    ("atoll create x --access no-such-user-here:c", 2, "invalid_argument"),
    ("atoll show nothing", 3, "unknown_segment"),
    ("atoll show ../x", 2, "invalid_name"),
    ("atoll manifest nothing", 3, "unknown_segment"),
    ("atoll send nothing --text x", 3, "unknown_segment"),
    ("atoll send note --text x", 2, "wrong_kind"),
    ("head -c 600000 /dev/zero | atoll send prices", 6, "too_large"),
    ("head -c 600000 /dev/zero | atoll send prices --lines", 6, "too_large"),
    ("atoll send prices < /dev/zero", 6, "too_large"),
    ("atoll recv nothing", 3, "unknown_segment"),
    ("atoll recv note", 2, "wrong_kind"),
    ("atoll recv prices --group a/b", 2, "invalid_name"),
    ("atoll recv prices --group ''", 2, "invalid_name"),
    ("atoll recv prices --timeout 0", 4, "timed_out"),
    ("atoll tail nothing", 3, "unknown_segment"),
    ("atoll tail note", 2, "wrong_kind"),
    ("atoll put nothing --text x", 3, "unknown_segment"),
    ("atoll put prices --text x", 2, "wrong_kind"),
    ("atoll get nothing", 3, "unknown_segment"),
    ("atoll get prices", 2, "wrong_kind"),
    ("atoll get note", 4, "timed_out"),
    ("atoll rm nothing", 3, "unknown_segment"),
    ("atoll rm prices --group nothing", 3, "unknown_group"),
    ("atoll rm prices --group ''", None, None),
    ("{ sleep 1; } | atoll send prices --timeout 0.1", 4, "timed_out"),
    ("{ sleep 1; } | atoll send prices --lines --timeout 0.1", 4, "timed_out"),
    ("{ sleep 1; } | atoll put note --timeout 0.1", 4, "timed_out"),
    ("atoll send prices <&-", 1, "system_error"),
    ("atoll put note <&-", 1, "system_error"),
    ("atoll ls >&-", 1, "system_error"),
    ("atoll rm note --group g", 2, "wrong_kind"),
]


@pytest.fixture
def two_segments(shell):
    shell("atoll create prices && atoll create note --kind bytes --size 4096", check=True)
    return shell


@pytest.mark.parametrize("line, status, name", REFUSED, ids=[line for line, _, _ in REFUSED])
def test_what_cannot_be_done_has_its_own_error(two_segments, line, status, name):
    done = two_segments(line)
    assert done.out == "" and (done.status == status if status else done.status not in (0, 1)), done
    lines = done.err.splitlines()
    assert lines[0].startswith("atoll: ") and lines[1].startswith("  fix: ") and len(lines) == 2, done
    error = json.loads(two_segments(line + " --json").err)["error"]
    assert (name is None or error["name"] == name) and error["exit_status"] == done.status
    assert error["code"] > 0 and error["message"] and error["fix"]
    if name == "unknown_segment":
        assert error["segment"] == "nothing" and "nothing" in done.err


def test_an_empty_group_is_no_group_and_leaves_the_stream(two_segments):
    assert two_segments("atoll rm prices --group ''").status != 0
    assert two_segments("atoll ls prices").status == 0


def test_exists_with_other_options_names_both(two_segments):
    done = two_segments("atoll create prices --capacity 2MiB")
    assert "1048576" in done.err and "2097152" in done.err, done.err


def test_rm_of_something_in_use_needs_force(two_segments):
    reader = two_segments.start("recv", "prices", "-f")
    try:
        two_segments("atoll send prices --text x", check=True)
        assert reader.stdout.readline() == b"x\n"
        refused = two_segments("atoll rm prices")
        assert refused.status == 8 and "--force" in refused.err
        two_segments("atoll rm prices --force", check=True)
        out, err = reader.communicate(timeout=20)
        assert (reader.returncode, out) == (3, b"") and b"removed" in err
    finally:
        reader.kill()
        reader.communicate()


def test_rm_goes_on_with_the_others_after_one_that_failed(two_segments):
    done = two_segments("atoll rm nothing prices note --json")
    assert done.status == 3 and json.loads(done.out) == {"removed": ["prices", "note"]}
    assert json.loads(two_segments("atoll ls --json").out) == []


@pytest.mark.parametrize("line, name", [
    ("atoll status --socket /$(printf 'x%.0s' {1..120})", "socket_path_too_long"),
    ("atoll create x --socket /proc/none/atoll.sock", "bad_runtime_directory"),
    ("ATOLLD=/does/not/exist atoll create x", "no_broker"),
    ("ATOLLD=/bin/false atoll create x --timeout 1", "no_broker"),
])
def test_a_broker_that_cannot_be_reached_is_7(shell, line, name):
    done = shell(line)
    assert done.status == 7 and done.err.splitlines()[1].startswith("  fix: "), done
    assert json.loads(shell(line + " --json").err)["error"]["name"] == name
