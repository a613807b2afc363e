"""The kernel, not politeness, keeps a consumer from changing a payload."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from support.broker import start_broker, stop_broker

INTRUDER = pathlib.Path(__file__).with_name("intruder.py")
ORDINARY_USERS = (65531, 65532)


def run_as(user, script, *arguments):
    """Runs a Python program as an ordinary user, from a folder that this user can read."""
    folder = pathlib.Path(arguments[0]).parent
    folder.chmod(0o711)
    program = shutil.copy(script, folder / script.name)
    os.chmod(program, 0o644)
    prefix = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    python = sys.executable if user is None else "/usr/bin/python3"
    done = subprocess.run([*prefix, python, program, *arguments], capture_output=True, text=True, timeout=60)
    os.unlink(program)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("backing", ["shm", "memfd"])
def test_a_consumer_of_another_user_cannot_get_a_lane_writable(runtime, agents, backing):
    if os.geteuid() != 0:
        pytest.skip("needs root to be two other users")
    owner, other = ORDINARY_USERS
    os.chown(runtime.directory, owner, owner)
    runtime.directory.chmod(0o711)
    as_owner = ["setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups"]
    broker = start_broker(runtime.socket, "--allow-other-users", prefix=as_owner)
    try:
        producer = agents("C++", prefix=as_owner)
        producer.call("create", name="s", kind="stream", backing=backing, access=f"{other}:c")
        producer.call("open_producer", h="p", name="s")
        producer.call("send", h="p", data=b"payload")
        got = run_as(other, INTRUDER, str(runtime.socket), "s")
        producer.close()
    finally:
        stop_broker(broker)
    assert got["read"] == "allowed"
    assert (got["map for writing"], got["mprotect"], got["reopen"], got["store"]) == ("EACCES", "EACCES", "EACCES", "SIGSEGV")
    assert got["truncate"] != "allowed" and got["write"] != "allowed"


def test_a_consumer_of_the_same_user_has_a_read_only_mapping(runtime, agents):
    producer = agents("C++")
    producer.call("create", name="s", kind="stream")
    producer.call("open_producer", h="p", name="s")
    producer.call("send", h="p", data=b"payload")
    got = run_as(None, INTRUDER, str(runtime.socket), "s")
    assert (got["map for writing"], got["mprotect"], got["store"]) == ("EACCES", "EACCES", "SIGSEGV")


def test_a_user_without_a_right_gets_no_descriptor(runtime, agents):
    if os.geteuid() != 0:
        pytest.skip("needs root to be another user")
    broker = start_broker(runtime.socket, "--allow-other-users")
    try:
        producer = agents("C++")
        producer.call("create", name="s", kind="stream")
        with pytest.raises(AssertionError, match="NotPermitted"):
            run_as(ORDINARY_USERS[0], INTRUDER, str(runtime.socket), "s")
        producer.close()
    finally:
        stop_broker(broker)
