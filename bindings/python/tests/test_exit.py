"""The end of a program whose daemon threads are inside calls: it ends well and says nothing."""
import os
import signal
import subprocess
import sys

import pytest

from conftest import ENOUGH

PROGRAM = """
import os, signal, sys, threading, time, types
import atoll

kind, ending, name, absent = sys.argv[1:]
client = atoll.connect()
broker = client.status()["pid"]
come, go = os.pipe()


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(condition)
        time.sleep(0.001)


def status(pid, *task):
    # State and number of sleeps so far of a process, or of a thread; None if it is gone.
    try:
        file = os.open("/".join(["/proc", str(pid), *task, "status"]), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fields = dict(line.split(b":", 1) for line in os.read(file, 10000).splitlines())
    except ProcessLookupError:
        return None
    finally:
        os.close(file)
    return fields[b"State"].split()[0], int(fields[b"voluntary_ctxt_switches"])


class Record(bytearray):
    def __del__(self):  # nothing may run this once the thread is not given the GIL any more
        pass


def late_records():
    while True:
        yield Record(100)
        os.read(come, 1)


# What the thread does, and what ends its wait.
if kind == "list":
    block, wake = client.list, lambda: os.kill(broker, signal.SIGCONT)
    os.kill(broker, signal.SIGSTOP)
    until(lambda: status(broker)[0] == b"T")
elif kind == "open":
    block, wake = lambda: client.open_consumer(absent, wait=60), lambda: client.create(absent)
elif kind == "get":
    client.create(name, "bytes", size=100)
    memory, other = client.open_bytes(name), client.open_bytes(name, "r+")
    block, wake = memory.get, lambda: other.put(b"content")
else:
    client.create(name, capacity=4096)
    consumer, producer = client.open_consumer(name), client.open_producer(name)
    if kind == "receive":
        block, wake = consumer.receive, lambda: producer.send(b"x")
    elif kind == "iterate":
        block, wake = lambda: list(consumer), lambda: producer.send(b"x")
    elif kind == "send_many":
        block, wake = lambda: producer.send_many(late_records()), lambda: os.write(go, b"x")
    else:
        record = bytearray(500)
        try:
            while producer.send(record, timeout=0):
                pass
        except atoll.TimedOut:
            pass

        def wake():
            for _ in range(4):
                consumer.receive(timeout=20).release()

        block = {"send": lambda: producer.send(record), "loan": lambda: producer.loan(500)}[kind]

thread = threading.Thread(target=block, daemon=True)
thread.start()
task = ("task", str(thread.native_id))
until(lambda: status("self", *task)[0] == b"S")


class Late:
    # Goes while the interpreter is taken down, when threads are not given the GIL any more: ends the thread's wait,
    # and lets all else go on when the thread has ended or sleeps for good.
    def __del__(self):
        before = status("self", *task)[1]

        def gone_or_asleep_again():
            now = status("self", *task)
            return now is None or now[0] == b"S" and now[1] > before

        wake()
        until(gone_or_asleep_again)


if ending == "late":
    sys.modules["late"] = types.ModuleType("late")
    sys.modules["late"].late = Late()
"""


@pytest.mark.parametrize("ending", ["at once", "late"])
@pytest.mark.parametrize("kind", ["list", "open", "receive", "iterate", "send", "loan", "send_many", "get"])
def test_a_program_ends_well_while_a_daemon_thread_is_inside_a_call(client, names, kind, ending):
    broker = client.status()["pid"]
    for _ in range(3):
        command = [sys.executable, "-c", PROGRAM, kind, ending, names(), names()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=2 * ENOUGH)
        finally:
            os.kill(broker, signal.SIGCONT)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
