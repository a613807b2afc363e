"""Arrays between the languages that know them: dtype, shape and order stay, whoever sends."""
import itertools
import struct

import pytest

LANGUAGES = ("Python", "Node")
ARRAYS = [
    ("<f8", [2, 3], "C", struct.pack("<6d", *range(6))),
    ("<f4", [3], "C", struct.pack("<3f", 1.5, -2.25, 1e10)),
    ("<i2", [2, 2], "F", struct.pack("<4h", -1, 2, -3, 4)),
    ("|u1", [], "C", b"\x07"),
    ("<i8", [0, 5], "C", b""),
    ("|b1", [4], "C", b"\1\0\1\1"),
    ("<u4", [1, 1, 1, 2], "C", struct.pack("<2I", 1, 2**32 - 1)),
]


@pytest.mark.parametrize("producer, consumer", list(itertools.product(LANGUAGES, LANGUAGES)), ids=lambda language: language)
@pytest.mark.parametrize("dtype, shape, order, data", ARRAYS, ids=lambda value: value if isinstance(value, str) else None)
def test_an_array_arrives_as_it_was(agents, producer, consumer, dtype, shape, order, data):
    p, c = agents(producer), agents(consumer)
    p.call("create", name="s", kind="stream", alignment=64)
    p.call("open_producer", h="p", name="s")
    p.call("send_array", h="p", dtype=dtype, shape=shape, order=order, data=data)
    c.call("open_consumer", h="c", name="s")
    array = c.call("receive_array", h="c")
    assert (array["dtype"], array["shape"], array["data"]) == (dtype, shape, data)
    if len(shape) > 1 and 0 not in shape:
        assert array["order"] == order
