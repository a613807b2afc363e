"""The broker of the machine, /run/atoll, which users share: they trust its owner, and wait for it while it is restarted."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).with_name("machine_broker.py")
BUILD = pathlib.Path(os.environ.get("ATOLL_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build"))
PRIVATELY = ["unshare", "--mount", "--propagation", "private"]


def test_users_of_the_machines_broker_go_on_when_it_is_killed_and_started_again():
    if os.geteuid() != 0 or subprocess.run([*PRIVATELY, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs root and a mount namespace, to have a /run/atoll of its own")
    done = subprocess.run([*PRIVATELY, sys.executable, SCRIPT, BUILD], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["create"][0] == 0, told["create"]
    assert told["by its path"][0] == 0, "its owner is trusted there, also where ATOLL_SOCKET names it"
    assert [status for status, _ in told["by other names"]] == [0, 0], told["by other names"]
    assert told["while it is away"] is None, "what waits goes on waiting"
    assert told["by its path, away"][0] == 7 and "systemctl start atolld" in told["by its path, away"][1], "a service is not started by its clients"
    assert [status for status, _ in told["by other names, away"]] == [7, 7], told["by other names, away"]
    assert told["send"][0] == 0, told["send"]
    assert told["received"].strip() == "hello"
    assert told["own brokers"] == [], "no broker of the user's own was started meanwhile"
