"""Attaches to a stream as a consumer, with the standard library alone, and tries to get at a lane for writing.

Run by test_rights.py as some user: intruder.py SOCKET STREAM. Prints a JSON object: what each attempt gave,
"allowed" or the name of the error.
"""
import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import sys


def call(connection, method, **parameters):
    connection.sendall(json.dumps({"method": f"dev.atoll.Broker.{method}", "parameters": parameters}).encode() + b"\0")
    data, descriptors = b"", []
    while not data.endswith(b"\0"):
        more, received, _, _ = socket.recv_fds(connection, 65536, 200)
        data += more
        descriptors += received
    reply = json.loads(data[:-1])
    assert "error" not in reply, reply
    return reply["parameters"], descriptors


def attempt(action):
    try:
        action()
        return "allowed"
    except OSError as error:
        return errno.errorcode[error.errno]


def protect_for_writing(descriptor, size):
    """Maps for reading, as a consumer does, and asks the kernel for more."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    assert address != ctypes.c_void_p(-1).value
    if libc.mprotect(address, size, mmap.PROT_READ | mmap.PROT_WRITE) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")


def write_to_mapping(descriptor, size):
    """What a stray write through the read-only mapping does: the signal that ended the child."""
    child = os.fork()
    if child == 0:
        memory = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        view = (ctypes.c_char * 1).from_address(address_of(memory, size))
        view[0] = b"x"
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "allowed"


def address_of(memory, size):
    """Where a read-only mmap object's memory is."""
    class Buffer(ctypes.Structure):
        _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("len", ctypes.c_ssize_t), ("itemsize", ctypes.c_ssize_t),
                    ("readonly", ctypes.c_int), ("ndim", ctypes.c_int), ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p),
                    ("strides", ctypes.c_void_p), ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p)]

    buffer = Buffer()
    assert ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(memory), ctypes.byref(buffer), 0) == 0
    return buffer.buf


def main():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    call(connection, "Hello", interface_version=1, library="test", language="Python")
    reply, descriptors = call(connection, "Attach", name=sys.argv[2], role="consume", group="g")
    lane = next(i for i, fd in enumerate(reply["fds"]) if fd["role"] == "lane")
    descriptor, size = descriptors[lane], reply["fds"][lane]["size"]
    print(json.dumps({
        "map for writing": attempt(lambda: mmap.mmap(descriptor, size, prot=mmap.PROT_READ | mmap.PROT_WRITE)),
        "mprotect": attempt(lambda: protect_for_writing(descriptor, size)),
        "reopen": attempt(lambda: os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)),
        "truncate": attempt(lambda: os.ftruncate(descriptor, 0)),
        "write": attempt(lambda: os.write(descriptor, b"x")),
        "store": write_to_mapping(descriptor, size),
        "read": attempt(lambda: os.pread(descriptor, 16, 0)),
    }))


if __name__ == "__main__":
    main()
