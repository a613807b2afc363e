"""A process of its own that holds attachments, so that a test can kill it.

Reads one JSON array a line, [operation, arguments...], answers one JSON value a line. Operations: hello,
call METHOD PARAMETERS, attach NAME ROLE PARAMETERS, poke HANDLE ROLE MATCH OFFSET HEX, peek ..., cut HANDLE
ROLE MATCH SIZE, close (the socket only).
"""
import fcntl
import json
import mmap
import os
import struct
import sys

from broker_client import CallError, Connection


def main():
    connection = Connection(sys.argv[1])
    handles = []
    old = []

    def find(handle, role, match):
        for row, fd in handles[handle]:
            if row["role"] == role and all(row.get(key) == value for key, value in match.items()):
                return row, fd
        raise LookupError(role)

    for line in sys.stdin:
        operation, *arguments = json.loads(line)
        answer = None
        try:
            if operation == "hello":
                answer, fds = connection.hello(**(arguments[0] if arguments else {}))
                # The byte that says we live, to a broker that cannot see our pid.
                lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, answer["slot"], 1, 0)
                fcntl.fcntl(fds[1], 37, lock)
                life = fds[1]
            elif operation == "call":
                answer = connection.call(arguments[0], **arguments[1])[0]
            elif operation == "attach":
                answer, files = connection.attach(arguments[0], arguments[1], **arguments[2])
                handles.append(files)
                answer["handle"] = len(handles) - 1
            elif operation == "poke":
                handle, role, match, offset, text = arguments
                row, fd = find(handle, role, match)
                mmap.mmap(fd, row["size"])[offset:offset + len(text) // 2] = bytes.fromhex(text)
            elif operation == "peek":
                handle, role, match, offset, size = arguments
                row, fd = find(handle, role, match)
                answer = mmap.mmap(fd, row["size"], access=mmap.ACCESS_READ)[offset:offset + size].hex()
            elif operation == "cut":
                handle, role, match, size = arguments
                os.ftruncate(find(handle, role, match)[1], size)
            elif operation == "reconnect":
                # Descriptors stay: what is mapped outlives the connection.
                connection.socket.close()
                old.append(connection)
                connection = Connection(sys.argv[1])
            elif operation == "close":
                connection.socket.close()
        except CallError as error:
            answer = {"error": error.name, **error.parameters}
        print(json.dumps(answer), flush=True)


main()
