"""pyzmq, Python's half of Python to Node over ZeroMQ: a PAIR socket on ipc://, default options.

One send each; ZeroMQ copies the message. The sender keeps its socket open until the receiver has said that
it has everything: zeromq.js 6.8 hangs when the other side closes after many messages.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import bench  # noqa: E402
import zmq  # noqa: E402


def main():
    arguments = bench.parse()
    context = zmq.Context()
    socket = context.socket(zmq.PAIR)
    socket.connect(f"ipc://{arguments.path}/zeromq")
    prepared = bench.messages(arguments.size)
    many = len(prepared)
    if arguments.role == "ping":
        def round_trip(message):
            socket.send(message)
            return socket.recv()

        bench.ping(arguments, round_trip)
        socket.send(b"done")
    else:
        cpu = bench.cpu_seconds()
        send = socket.send
        for number in range(arguments.count):
            send(prepared[number % many])
        used = bench.cpu_seconds() - cpu
        if socket.recv() != b"done":
            raise RuntimeError("the receiver did not say that it is done")
        bench.report(count=arguments.count, cpu_seconds=used)
    socket.close()
    context.term()


main()
