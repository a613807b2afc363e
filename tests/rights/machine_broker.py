"""What test_machine_broker.py runs in a mount namespace of its own, as root: the machine's broker, and users of it.

Arguments: build directory. A tmpfs covers /run, so that /run/atoll is nobody else's. Prints what happened as JSON.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

BIN = pathlib.Path(sys.argv[1]) / "bin"
OWNER, USER = 65531, 65532
SOCKET = pathlib.Path("/run/atoll/atoll.sock")
OTHER_NAMES = ["//run/./atoll/atoll.sock", "/run/linked/atoll.sock"]  # the second as /var/run/atoll is one
OWN = pathlib.Path("/run/user")
ENOUGH = 20


def until(what, ready):
    """Asks again until it is so: each question runs a program, or gives the CPU up."""
    end = time.monotonic() + ENOUGH
    while not ready():
        if time.monotonic() > end:
            raise SystemExit(f"not within {ENOUGH} s: {what}")
        os.sched_yield()


def start(user, *words, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATOLL_SOCKET")}
    environment |= {"XDG_RUNTIME_DIR": str(OWN), "ATOLLD": str(BIN / "atolld"), **options.pop("environment", {})}
    return subprocess.Popen(words, user=user, group=user, extra_groups=[], env=environment, cwd="/", text=True, **options)


def broker():
    process = start(OWNER, BIN / "atolld", "--socket", SOCKET, "--allow-other-users", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until("the broker listens", lambda: run(USER, "status")[0] == 0)
    return process


def run(user, *words, **options):
    process = start(user, BIN / "atoll", *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    out, err = process.communicate(timeout=ENOUGH)
    return process.returncode, out + err


def sleeps(process):
    return int(next(line.split()[1] for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("voluntary_ctxt_switches")))


subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
for directory, user, mode in ((SOCKET.parent, OWNER, 0o755), (OWN, USER, 0o700)):
    directory.mkdir()
    os.chown(directory, user, user)
    directory.chmod(mode)
pathlib.Path(OTHER_NAMES[1]).parent.symlink_to(SOCKET.parent)
serving = broker()
try:
    told = {"create": run(USER, "create", "s")}
    told["by its path"] = run(USER, "show", "s", environment={"ATOLL_SOCKET": str(SOCKET)})
    told["by other names"] = [run(USER, "show", "s", environment={"ATOLL_SOCKET": name}) for name in OTHER_NAMES]
    receiver = start(USER, BIN / "atoll", "recv", "s", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until("the receiver is there", lambda: '"consume"' in run(USER, "show", "s", "--json")[1])
    serving.kill()
    serving.wait()
    before = sleeps(receiver)
    until("the receiver has looked for a broker", lambda: receiver.poll() is not None or sleeps(receiver) >= before + 5)
    told["while it is away"] = receiver.poll()
    # As who could start one there.
    told["by its path, away"] = run(OWNER, "create", "t", environment={"ATOLL_SOCKET": str(SOCKET)})
    told["by other names, away"] = [run(OWNER, "create", "t", environment={"ATOLL_SOCKET": name}) for name in OTHER_NAMES]
    serving = broker()
    told["send"] = run(USER, "send", "s", "--text", "hello")
    told["received"] = receiver.communicate(timeout=ENOUGH)[0]
    told["own brokers"] = [str(path) for path in OWN.iterdir()]
    run(USER, "rm", "s", "--force")
finally:
    serving.send_signal(signal.SIGTERM)
    serving.wait()
    if "receiver" in globals() and receiver.poll() is None:
        receiver.kill()
        receiver.wait()
    run(USER, "stop")  # should there be one of the user's own
    for user in (OWNER, USER):
        shutil.rmtree(f"/dev/shm/atoll-{user}", ignore_errors=True)
print(json.dumps(told))
