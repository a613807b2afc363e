"""multiprocessing's Pipe, both halves of Python to Python: send_bytes and recv_bytes of a Connection.

The two processes are started apart from each other, so the Connection comes from multiprocessing's Listener
and Client on a Unix socket; it is the class that Pipe() returns, and so is what it does with a message.
"""

import os
import sys
from multiprocessing import connection

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import bench  # noqa: E402


def main():
    arguments = bench.parse()
    path = os.path.join(arguments.path, "pipe")
    prepared = bench.messages(arguments.size)
    if arguments.role in ("pong", "receive"):
        listener = connection.Listener(path, "AF_UNIX")
        bench.ready()
        bench.accept_loops(arguments, prepared, *_calls(listener.accept()))
    else:
        bench.start_loops(arguments, prepared, *_calls(connection.Client(path, "AF_UNIX")))


def _calls(pipe):
    return pipe.send_bytes, pipe.recv_bytes


main()
