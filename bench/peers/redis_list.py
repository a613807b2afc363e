"""Redis, both halves of Python to Python: RPUSH and BLPOP of a list, over redis-server's Unix socket.

The server is the driver's and keeps nothing on disk.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import bench  # noqa: E402
import redis  # noqa: E402


def main():
    arguments = bench.parse()
    server = redis.Redis(unix_socket_path=os.path.join(arguments.path, "redis"))
    prepared = bench.messages(arguments.size)
    accepts = arguments.role in ("pong", "receive")
    into, out = ("forth", "back") if accepts else ("back", "forth")

    def send(message):
        server.rpush(out, message)

    def receive():
        return server.blpop(into)[1]

    server.ping()
    if accepts:
        bench.ready()
        bench.accept_loops(arguments, prepared, send, receive)
    else:
        bench.start_loops(arguments, prepared, send, receive)


main()
