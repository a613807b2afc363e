"""atolld as a program: where it serves, how it starts and ends, what it refuses."""
import os
import signal
import socket
import stat
import struct
import subprocess
import time

import pytest

from broker_client import *


def start_another(*arguments, **options):
    return subprocess.run([ATOLLD, *arguments], capture_output=True, text=True, timeout=20, **options)


def stop(path):
    connection = Connection(path)
    status, _ = connection.call("Status")
    connection.call("Stop")
    eventually(lambda: not os.path.exists(f"/proc/{status['pid']}"), "it ends")
    return status


def test_a_second_broker_in_a_directory_says_who_is_there(broker):
    second = start_another("--socket", broker.path)
    assert second.returncode == 1 and "broker_running" in second.stderr and str(broker.process.pid) in second.stderr and "fix:" in second.stderr
    other = start_another("--socket", os.path.join(broker.directory, "other.sock"))
    assert other.returncode == 1 and "broker_running" in other.stderr, "two brokers never share a directory"


def test_a_stale_socket_is_replaced_and_anything_else_is_left(broker):
    broker.kill()
    assert os.path.exists(broker.path)
    broker.start()
    broker.kill()
    os.unlink(broker.path)
    with open(broker.path, "w") as file:
        file.write("mine")
    refused = start_another("--socket", broker.path)
    assert refused.returncode == 1 and "not a socket" in refused.stderr
    with open(broker.path) as file:
        assert file.read() == "mine"
    os.unlink(broker.path)


@pytest.mark.parametrize("prepare,said", [
    (lambda d: os.chmod(d, 0o755), "0755"),
    (lambda d: (os.rmdir(d), os.symlink("/tmp", d)), "link"),
    (lambda d: (os.rmdir(d), open(d, "w").close()), "directory"),
])
def test_a_directory_that_others_can_reach_is_refused(tmp_path, prepare, said):
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    prepare(directory)
    refused = start_another("--socket", str(directory / "a.sock"))
    assert refused.returncode == 1 and "bad_runtime_directory" in refused.stderr and said in refused.stderr, refused.stderr


def test_a_directory_that_is_not_there_and_cannot_be_made_is_refused(tmp_path):
    refused = start_another("--socket", str(tmp_path / "no" / "such" / "a.sock"))
    assert refused.returncode == 1 and "bad_runtime_directory" in refused.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount")
@pytest.mark.parametrize("mount,error,said", [
    ("mount --bind {0} {0} && mount -o remount,bind,ro {0}", "bad_runtime_directory", "Read-only"),
    ("mount -t tmpfs -o mode=1777,size=128k tmpfs /dev/shm", "no_space", "bells"),
])
def test_a_place_that_cannot_be_written_or_is_full_is_named(tmp_path, mount, error, said):
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    script = f"mount --make-rprivate / && {mount.format(directory)} && exec {ATOLLD} --socket {directory}/a.sock"
    refused = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=20)
    assert refused.returncode == 1 and error in refused.stderr and said in refused.stderr, refused.stderr


def test_a_socket_path_that_is_too_long_is_refused(tmp_path):
    path = str(tmp_path / ("x" * 108))
    refused = start_another("--socket", path)
    assert refused.returncode == 1 and "socket_path_too_long" in refused.stderr and "107" in refused.stderr


@pytest.mark.parametrize("arguments,said", [
    (["--nonsense"], "--nonsense"), (["--grace", "-1"], "--grace"), (["--log-level", "loud"], "--log-level"),
    (["--user-limit", "root"], "USER:LIMIT=VALUE"), (["--user-limit", "root:colour=3"], "colour"), (["--user-limit", "root:segments=x"], "'x'"),
    (["--config", "/no/such/file"], "/no/such/file"), (["--max-bytes", "-1"], "--max-bytes"), (["--max-segments", "-1"], "--max-segments"),
])
def test_wrong_options_are_named_and_end_with_status_2(arguments, said):
    refused = start_another(*arguments)
    assert refused.returncode == 2 and said in refused.stderr, refused.stderr


@pytest.mark.parametrize("text,said", [("max-segmets = 1", "segmets"), ("[limits]\nmax-segments = 1", "limits"), ("max-segments = -1", "max-segments")])
def test_what_a_configuration_file_says_wrongly_is_named(tmp_path, text, said):
    file = tmp_path / "atolld.conf"
    file.write_text(text + "\n")
    refused = start_another("--config", str(file), "--socket", str(tmp_path / "s"))
    assert refused.returncode == 2 and said in refused.stderr, refused.stderr


def test_version_and_help_are_answered():
    assert start_another("--version").stdout.startswith("atolld 0.")
    text = start_another("--help").stdout
    assert "--socket" in text
    assert [line for line in text.splitlines() if len(line) > 80] == []


def test_a_user_whom_the_options_name_and_nobody_knows_is_warned_of():
    with Broker("--user-limit", "nosuchuser:segments=5", "--name-prefix", "neither:public/", "--name-prefix", "*:all/") as broker:
        warnings = [line for line in broker.log_text().splitlines() if "no user here" in line]
        assert len(warnings) == 2 and "nosuchuser" in warnings[0] and "neither" in warnings[1]


def test_a_configuration_file_sets_what_flags_set(tmp_path):
    file = tmp_path / "atolld.conf"
    file.write_text('max-segments = 1\nuser-limit = ["nobody:segments=5", "12345:bytes=7"]\n')
    with Broker("--config", str(file)) as broker:
        connection = broker.connect()
        connection.call("Create", name="a", options={"kind": "stream", "capacity": 4096})
        with pytest.raises(CallError) as error:
            connection.call("Create", name="b", options={"kind": "stream", "capacity": 4096})
        assert error.value.name == "LimitReached"


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_answers_what_was_asked_and_leaves_segments_for_the_next(broker, ending):
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    waiter = broker.connect()
    waiter.send("Await", {"name": "never", "wait_ms": -1})
    connection.call("Status")
    broker.process.send_signal(signal.SIGSTOP)
    connection.send("List")
    broker.process.send_signal(ending)
    broker.process.send_signal(signal.SIGCONT)
    assert connection.receive()[0]["parameters"]["segments"][0]["name"] == "s"
    assert waiter.receive()[0]["error"].endswith("ShuttingDown")
    assert broker.process.wait(timeout=10) == 0
    assert not os.path.exists(broker.path)
    broker.start()
    assert broker.connect().call("List")[0]["segments"][0]["name"] == "s"


def test_stop_counts_the_clients_and_removes_what_only_lived_in_memory(broker):
    connections = [broker.connect() for _ in range(3)]
    for connection in connections:
        connection.call("Status")
    connections[0].call("Create", name="m", options={"kind": "bytes", "size": 10, "backing": "memfd"})
    connections[0].call("Create", name="s", options={"kind": "bytes", "size": 10})
    assert connections[0].call("Stop")[0] == {"clients": 2}
    assert broker.process.wait(timeout=10) == 0
    broker.start()
    assert [s["name"] for s in broker.connect().call("List")[0]["segments"]] == ["s"]


def autostart(path, *arguments):
    return subprocess.Popen([ATOLLD, "--autostart", "--socket", path, *arguments], stdout=subprocess.PIPE)


def test_one_whose_directory_was_removed_before_it_began_does_not_make_it_again(tmp_path):
    # A client that starts a broker makes the directory first; of many that were started some come late.
    gone = tmp_path / "gone"
    late = autostart(str(gone / "atoll.sock"))
    late.communicate(timeout=20)
    assert late.returncode == 1 and not gone.exists()


def test_twenty_started_at_once_make_one_broker(tmp_path):
    os.chmod(tmp_path, 0o700)
    path = str(tmp_path / "a.sock")
    started = [autostart(path) for _ in range(20)]
    eventually(lambda: os.path.exists(path), "one serves")
    eventually(lambda: sum(process.poll() is not None for process in started) == 19, "the others leave")
    assert all(process.poll() in (0, None) for process in started)
    status = Connection(path).call("Status")[0]
    assert status["autostarted"] and status["log"] == str(tmp_path / "atolld.log") and os.path.exists(status["log"])
    left = next(process for process in started if process.poll() is None)
    assert left.pid == status["pid"]
    assert left.stdout.read() == b"", "it holds its starter's output no longer"
    fds = {os.readlink(f"/proc/{left.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{left.pid}/fd")}
    assert not any(name.startswith("pipe:") for name in fds), fds
    assert os.getsid(left.pid) == left.pid
    Connection(path).call("Stop")
    assert left.wait(timeout=10) == 0
    assert not os.path.exists(status["shm_directory"])


def connected(path):
    """A connection; nothing while the socket is not there or, for an instant, not listened on."""
    try:
        return Connection(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def test_an_idle_broker_leaves_and_one_that_holds_memory_stays(tmp_path):
    os.chmod(tmp_path, 0o700)
    path = str(tmp_path / "a.sock")
    first = autostart(path, "--idle-exit", "0.2")
    connection = eventually(lambda: connected(path), "it serves")
    connection.call("Create", name="m", options={"kind": "bytes", "size": 10, "backing": "memfd"})
    connection.close()
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(timeout=0.6)
    Connection(path).call("Remove", name="m")
    assert first.wait(timeout=10) == 0 and not os.path.exists(path)
    assert "idle" in (tmp_path / "atolld.log").read_text()


def test_systemd_is_told_when_it_serves_and_when_it_ends(tmp_path):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(10)
    with Broker(environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}):
        assert notify.recv(1000).startswith(b"READY=1")
    assert notify.recv(1000) == b"STOPPING=1"


def test_everything_it_makes_is_closed_to_other_users(broker):
    connection = broker.connect()
    connection.hello()
    connection.call("Create", name="s", options={"kind": "stream", "capacity": 4096})
    connection.attach("s", "consume", group="g")
    for top in (broker.directory, broker.shm_directory(), os.path.dirname(broker.shm_directory())):
        assert stat.S_IMODE(os.stat(top).st_mode) == 0o700
    for top in (broker.directory, broker.shm_directory()):
        for directory, inner, files in os.walk(top):
            for name in inner:
                assert stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) == 0o700, name
            for name in files:
                if name != "stderr":
                    assert stat.S_IMODE(os.lstat(os.path.join(directory, name)).st_mode) == 0o600, name


def as_user(uid, work):
    """Runs work() in a child process of another user; its exception comes back as text."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            work()
            os.write(write, b"well")
        except BaseException as exception:
            os.write(write, f"{type(exception).__name__}: {exception}".encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    return text


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as two users")
def test_another_user_may_do_what_the_access_list_says_and_no_more():
    with Broker("--allow-other-users") as broker:
        owner = broker.connect()
        owner.hello()
        rights = [{"user": "1234", "rights": ["consume"]}, {"user": "*", "rights": ["observe"]}]
        owner.call("Create", name="s", options={"kind": "stream", "capacity": 4096, "access": rights})
        owner.call("Create", name="secret", options={"kind": "stream", "capacity": 4096})
        os.chmod(broker.directory, 0o755)

        def consumer():
            connection = Connection(broker.path)
            connection.hello()
            assert [s["name"] for s in connection.call("List")[0]["segments"]] == ["s"]
            for name, role, more in (("s", "produce", {}), ("secret", "observe", {}), ("secret", "consume", {"group": "g"})):
                with pytest.raises(CallError) as error:
                    connection.attach(name, role, **more)
                assert error.value.name == "NotPermitted", error.value
            for method, parameters in (("Remove", {"name": "s"}), ("Stop", {}), ("Show", {"name": "secret"}), ("Manifest", {"name": "secret"}),
                                       ("Remove", {"name": "secret", "force": True})):
                with pytest.raises(CallError) as error:
                    connection.call(method, **parameters)
                assert error.value.name == "NotPermitted", error.value
            _, files = connection.attach("s", "consume", group="g")
            lane = next(fd for row, fd in files if row["role"] == "lane")
            with pytest.raises(PermissionError):
                os.open(f"/proc/self/fd/{lane}", os.O_RDWR)
            with pytest.raises(PermissionError):
                mmap.mmap(lane, 8192)
            connection.call("Create", name="own", options={"kind": "stream", "capacity": 4096})
            assert connection.attach("own", "produce")

        assert as_user(1234, consumer) == "well"

        def stranger():
            connection = Connection(broker.path)
            connection.hello()
            connection.attach("s", "observe")
            with pytest.raises(CallError) as error:
                connection.attach("s", "consume", group="g")
            assert error.value.name == "NotPermitted", error.value

        assert as_user(1235, stranger) == "well"
        assert owner.call("List")[0]["segments"][0]["uid"] == 1234


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as two users")
def test_a_guest_gets_half_of_a_streams_lanes_and_its_owner_the_rest():
    with Broker("--allow-other-users") as broker:
        owner = broker.connect()
        owner.hello()
        owner.call("Create", name="s", options={"kind": "stream", "capacity": 4096, "access": [{"user": "1234", "rights": ["produce"]}]})
        os.chmod(broker.directory, 0o755)

        def guest():
            connection = Connection(broker.path)
            connection.hello()
            held = []
            for _ in range(2):
                with pytest.raises(CallError) as error:
                    while True:
                        held.append(connection.attach("s", "produce")[0]["attachment"])
                assert error.value.name == "LimitReached" and "32 lanes of a guest" in str(error.value) and "1234 has 32" in str(error.value)
                assert len(held) == 32
                # What it has closed is still its own: the others' share does not shrink.
                for attachment in held:
                    connection.call("Detach", attachment=attachment)
                held = []

        assert as_user(1234, guest) == "well"
        for _ in range(32):
            owner.attach("s", "produce")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as two users")
def test_with_prefixes_a_user_creates_what_is_its_own_or_granted_and_may_use_what_it_was_let_into():
    with Broker("--allow-other-users", "--name-prefix", "1234:sensors/") as broker:
        owner = broker.connect()
        owner.call("Create", name="anything", options={"kind": "stream", "capacity": 4096, "access": [{"user": "*", "rights": ["observe"]}]})
        os.chmod(broker.directory, 0o755)

        def creates(*names):
            connection = Connection(broker.path)
            connection.hello()
            for name in names:
                connection.call("Create", name=name, options={"kind": "stream", "capacity": 4096})

        assert as_user(1234, lambda: creates("1234/a", "sensors/a", "anything")) == "well", "what is there is found, not created"
        refused = as_user(1235, lambda: creates("1235/a", "sensors/b"))
        assert "NotPermitted" in refused and "'sensors/b': its names start with one of 1235/" in refused


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as another user")
def test_another_users_directory_is_refused(tmp_path):
    os.chmod(tmp_path, 0o755)
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    os.chown(directory, 1234, 1234)
    refused = start_another("--socket", str(directory / "a.sock"))
    assert refused.returncode == 1 and "bad_runtime_directory" in refused.stderr and "1234" in refused.stderr
