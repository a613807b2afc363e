"""Two copies of libatoll in one process, as a program gets that uses two packages: the Python package's own
and the shared library, here through ctypes. They share nothing, so each has its own connection."""
import subprocess
import textwrap

from support.agents import PYTHON
from support.broker import BUILD

PROGRAM = textwrap.dedent("""
    import ctypes, os, sys, threading
    import atoll

    class View(ctypes.Structure):
        _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_uint64), ("rest", ctypes.c_uint8 * 256)]

    library = ctypes.CDLL(sys.argv[1])
    pointer = ctypes.c_void_p
    library.atoll_client_close.argtypes = library.atoll_producer_close.argtypes = library.atoll_consumer_close.argtypes = [pointer]
    forever = ctypes.c_int64(-1)

    def ok(status):
        assert status == 0, status

    def opened(function, *arguments):
        out = pointer()
        ok(function(*arguments, None, ctypes.byref(out), None))
        return out

    other = pointer()
    ok(library.atoll_client_connect(None, ctypes.byref(other), None))
    with atoll.connect() as client:
        client.create("there"), client.create("back")
        # Echoed by the other copy, in a thread that sleeps while this one sends and the other way about.
        there = opened(library.atoll_client_open_consumer, other, b"there")
        back = opened(library.atoll_client_open_producer, other, b"back")

        def echo():
            for _ in range(20000):
                view = View()
                ok(library.atoll_consumer_receive(there, forever, ctypes.byref(view), None))
                ok(library.atoll_producer_send(back, pointer(view.data), ctypes.c_uint64(view.length), 0, forever, None))
                ok(library.atoll_consumer_release(there, ctypes.byref(view), None))

        thread = threading.Thread(target=echo)
        thread.start()
        with client.open_producer("there") as producer, client.open_consumer("back") as consumer:
            for batch in range(20):
                producer.send_many([b"%d" % (batch * 1000 + i) for i in range(1000)])
                for i in range(1000):
                    with consumer.receive(timeout=20) as message:
                        assert bytes(message) == b"%d" % (batch * 1000 + i)
            thread.join(20)
            assert [user["pid"] for user in client.show("there")["clients"]] == [os.getpid()] * 2
        library.atoll_consumer_close(there)
        library.atoll_producer_close(back)
    library.atoll_client_close(other)
    print("both agree")
""")


def test_two_copies_of_the_library_in_one_process_do_no_harm(runtime):
    done = subprocess.run([PYTHON, "-c", PROGRAM, str(BUILD / "client/libatoll.so")], capture_output=True, text=True, timeout=90)
    assert (done.stdout, done.stderr, done.returncode) == ("both agree\n", "", 0)
