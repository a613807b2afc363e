"""Unix stream socket, Python's half: a 4-byte length before each message, `socket` module, blocking.

Frames are made before the clock starts, so that a send is one call into the kernel. With --batch N, N
messages glued into one write, glued beforehand: the most that a patient programmer gets out of a socket.
"""

import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import bench  # noqa: E402


def main():
    arguments = bench.parse()
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = os.path.join(arguments.path, "socket")
    stream.connect(path)
    os.unlink(path)
    prefix = struct.pack("<I", arguments.size)

    if arguments.role == "ping":
        into = memoryview(bytearray(4 + arguments.size))
        frames = {message: prefix + message for message in bench.messages(arguments.size)}

        def round_trip(message):
            stream.sendall(frames[message])
            have = 0
            while have < len(into):
                n = stream.recv_into(into[have:])
                if n == 0:
                    raise EOFError("the other side closed the socket")
                have += n
            return into[4:]

        bench.ping(arguments, round_trip)
        return

    frames = [prefix + message for message in bench.messages(arguments.size)]
    batch = min(arguments.batch, len(frames))
    writes = [b"".join(frames[i:i + batch]) for i in range(0, len(frames), batch)]
    if len(frames) % batch or arguments.count % batch:
        raise ValueError("--count and the number of messages must be multiples of --batch")
    cpu = bench.cpu_seconds()
    many = len(writes)
    for number in range(arguments.count // batch):
        stream.sendall(writes[number % many])
    bench.report(count=arguments.count, cpu_seconds=bench.cpu_seconds() - cpu)
    stream.close()


main()
