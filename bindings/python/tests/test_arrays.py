"""NumPy arrays in records: dtype, shape, order and padding are kept, and hostile records are refused."""
import json
import struct

import pytest

import atoll
from conftest import ENOUGH

np = pytest.importorskip("numpy")
from atoll.arrays import decode, encode  # noqa: E402

PADDED = np.dtype({"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [0, 8], "itemsize": 24})
NESTED = np.dtype([("point", [("x", "<f4"), ("y", "<f4")]), ("matrix", "<i2", (2, 3)), ("name", "S5")], align=True)

ARRAYS = {
    "floats": np.linspace(0, 1, 100),
    "big-endian": np.arange(10, dtype=">i4"),
    "fortran": np.asfortranarray(np.arange(12, dtype="<i2").reshape(3, 4)),
    "three dimensions": np.arange(24, dtype="<u8").reshape(2, 3, 4),
    "strided": np.arange(40, dtype="<f4").reshape(5, 8)[::2, 1::3],
    "reversed": np.arange(10)[::-1],
    "transposed": np.arange(24, dtype="<i4").reshape(2, 3, 4).transpose(1, 0, 2),
    "scalar": np.array(7.5),
    "empty": np.empty((0, 3), "<f8"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j, 3 - 4j], "<c16"),
    "half": np.array([1.5], "<f2"),
    "strings": np.array([b"ab", b"cde"], "S3"),
    "unicode": np.array(["aß", "✓"], "<U2"),
    "void": np.array([b"\x01\x02\x03"], "V3"),
    "structured with padding": np.zeros(3, PADDED),
    "nested": np.zeros((2, 2), NESTED),
    "no itemsize": np.empty(3, "V0"),
}


@pytest.mark.parametrize("alignment", [16, 64])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_an_array_comes_back_as_it_was(stream, array, alignment):
    producer, consumer = stream(alignment=alignment)
    if array.dtype.names:
        array["a" if "a" in array.dtype.names else "point"].flat[:] = 3
    producer.send_array(array)
    got = consumer.receive_array(timeout=ENOUGH)
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(got, array)
    assert got.flags.f_contiguous or not array.flags.f_contiguous
    assert not got.flags.writeable
    assert got.nbytes == 0 or got.ctypes.data % alignment == 0


def test_padding_inside_items_is_kept_byte_for_byte(stream):
    producer, consumer = stream()
    raw = np.frombuffer(bytes(range(24 * 6)), np.uint8).copy()
    for array in (raw.view(PADDED), raw.view(PADDED)[::2], raw.view(PADDED).reshape(2, 3).T):
        producer.send_array(array)
        got = consumer.receive_array(timeout=ENOUGH)
        assert got.dtype == PADDED and got.dtype.itemsize == 24
        want = b"".join(bytes(np.asarray(item).view("V24")) for item in array.ravel(order="K" if array.flags.c_contiguous else "C"))
        assert b"".join(bytes(np.asarray(item).view("V24")) for item in got.ravel()) == want


def test_a_read_only_array_can_be_sent(stream):
    producer, consumer = stream()
    array = np.arange(6.0).reshape(2, 3)[:, ::2]
    array.flags.writeable = False
    producer.send_array(array)
    np.testing.assert_array_equal(consumer.receive_array(timeout=ENOUGH), array)


def test_an_array_is_a_view_that_keeps_the_record_and_its_release_is_refused_meanwhile(stream):
    producer, consumer = stream()
    producer.send_array(np.arange(1000.0))
    message = consumer.receive(timeout=ENOUGH)
    array = message.array()
    assert message.content == "array" and np.shares_memory(array, np.frombuffer(message, np.uint8))
    part = array[10:20]
    del array
    with pytest.raises(BufferError):
        message.release()
    with pytest.raises(BufferError):
        consumer.close(release=True)
    np.testing.assert_array_equal(part, np.arange(10.0, 20.0))
    del part
    message.release()


def test_an_array_received_alone_holds_its_record_until_it_goes(stream):
    producer, consumer = stream()
    producer.send_array(np.arange(10))
    array = consumer.receive_array(timeout=ENOUGH)
    assert consumer.outstanding == 1
    del array
    assert consumer.outstanding == 0


def test_a_large_array_is_sent_whole(stream):
    producer, consumer = stream(capacity=1 << 22)
    array = np.random.default_rng(1).integers(0, 1 << 60, (500, 400))
    producer.send_array(array)
    np.testing.assert_array_equal(consumer.receive_array(timeout=ENOUGH), array)


@pytest.mark.parametrize(
    "array",
    [np.array([object()]), np.zeros(2, [("a", "O")]), np.array(["2020-01-01"], "M8[D]"), np.ma.array([1, 2], mask=[0, 1])],
    ids=["objects", "objects in fields", "dates", "masked"],
)
def test_what_no_other_language_knows_is_a_type_error(stream, array):
    producer, _ = stream()
    with pytest.raises(TypeError):
        producer.send_array(array)


def test_a_loan_can_be_filled_as_an_array(stream):
    producer, consumer = stream()
    with producer.loan(80) as view:
        np.frombuffer(view, "<f8")[:] = np.arange(10.0)
    with consumer.receive(timeout=ENOUGH) as message:
        assert np.frombuffer(message, "<f8").tolist() == list(range(10))


def test_an_array_left_over_a_loan_is_reported(stream):
    producer, _ = stream()
    with pytest.raises(BufferError, match="del array"), producer.loan(80) as view:
        left = np.frombuffer(view, "<f8")
    del left


def record(dtype="<f8", shape=(2,), order="C", body=bytes(16), magic=b"ATAR", offset=None, length=None, zero=0, text=None):
    """An encoded array, right or wrong."""
    text = json.dumps({"dtype": dtype, "shape": list(shape), "order": order}).encode() if text is None else text
    place = -(-(16 + len(text)) // 64) * 64
    head = struct.pack("<4sIII", magic, place if offset is None else offset, len(text) if length is None else length, zero)
    return (head + text).ljust(place, b"\0") + body


def test_the_encoding_is_the_one_of_the_specification():
    assert decode(record()).tolist() == [0.0, 0.0]
    head, body = encode(np.arange(3, dtype=">u2"))
    assert head[:4] == b"ATAR" and len(head) % 64 == 0
    offset, length, zero = struct.unpack_from("<III", head, 4)
    assert (offset, zero) == (len(head), 0) and head[16 + length :].strip(b"\0") == b""
    assert json.loads(head[16 : 16 + length]) == {"dtype": ">u2", "shape": [3], "order": "C"}
    assert bytes(body) == b"\0\0\0\1\0\2"


FIELDS = {"names": ["a"], "formats": ["<f8"], "offsets": [0], "itemsize": 8}
HOSTILE = {
    "nothing": b"",
    "a short head": b"ATAR" + bytes(11),
    "another magic": record(magic=b"RATA"),
    "a word that is not zero": record(zero=1),
    "an offset that is no multiple of 64": record(offset=65),
    "an offset behind the end": record(offset=1 << 31),
    "an offset inside the head": record(offset=0),
    "a length behind the offset": record(length=1 << 31),
    "a length over the data": record(length=80),
    "no JSON": record(text=b"{"),
    "JSON that is no object": record(text=b"[1,2]"),
    "JSON nested deep": record(text=b"[" * 5000),
    "JSON that is not UTF-8": record(text=b'{"dtype":"\xff","shape":[2],"order":"C"}'),
    "no shape": record(text=b'{"dtype":"<f8","order":"C"}'),
    "too few elements": record(body=bytes(8)),
    "too many elements": record(body=bytes(24)),
    "a negative dimension": record(shape=(-2,)),
    "a product that wraps": record(shape=(1 << 62, 4, 2)),
    "a huge dimension": record(shape=(1 << 80,)),
    "a dimension that is true": record(shape=(True, 2)),
    "a dimension that is a fraction": record(shape=(2.0,)),
    "huge dimensions beside none": record(shape=(0, 1 << 62, 1 << 62), body=b""),
    "a hundred dimensions": record(shape=(1,) * 99 + (2,)),
    "an order that is none": record(order="K"),
    "objects": record(dtype="|O"),
    "objects by another name": record(dtype="O8"),
    "code": record(dtype="__import__('os')"),
    "an unknown type": record(dtype="<f3"),
    "a comma list": record(dtype="<f8,<f8"),
    "a date": record(dtype="<M8[D]"),
    "a dtype that is a number": record(dtype=8),
    "a dtype of 2 GiB": record(dtype="|V9999999999"),
    "a list at the top": record(dtype=["<f8", [1]]),
    "a field behind its item": record(dtype=FIELDS | {"offsets": [4]}),
    "a negative offset": record(dtype=FIELDS | {"offsets": [-8]}),
    "a huge itemsize": record(dtype=FIELDS | {"itemsize": 1 << 40}),
    "names too few": record(dtype=FIELDS | {"names": []}),
    "a name twice": record(dtype={"names": ["a", "a"], "formats": ["<f4", "<f4"], "offsets": [0, 4], "itemsize": 8}),
    "a name that is a number": record(dtype=FIELDS | {"names": [1]}),
    "a field of objects": record(dtype=FIELDS | {"formats": ["|O"]}),
    "fields without formats": record(dtype={"names": ["a"], "offsets": [0], "itemsize": 8}),
    "a subarray without end": record(dtype=FIELDS | {"formats": [["<f8", [1 << 40]]]}),
}


def deep(levels):
    dtype = "<f8"
    for _ in range(levels):
        dtype = {"names": ["a"], "formats": [dtype], "offsets": [0], "itemsize": 8}
    return dtype


HOSTILE["dtypes nested deep"] = record(dtype=deep(100))


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_record_is_bad_encoding(stream, payload):
    with pytest.raises(atoll.BadEncoding):
        decode(payload)
    producer, consumer = stream(capacity=1 << 18)
    producer._send(payload, 3, None)
    with pytest.raises(atoll.BadEncoding):
        consumer.receive_array(timeout=ENOUGH)
    assert consumer.outstanding == 0


def test_random_bytes_are_an_array_or_bad_encoding_and_nothing_else():
    random = np.random.default_rng(7)
    good = record(dtype=deep(2))
    for _ in range(3000):
        payload = bytearray(good)
        for place in random.integers(0, len(payload), random.integers(1, 6)):
            payload[place] = random.integers(0, 256)
        try:
            decode(bytes(payload))
        except atoll.BadEncoding:
            pass


def test_what_was_not_sent_as_an_array_is_bad_encoding(stream):
    producer, consumer = stream()
    producer.send(record())
    with pytest.raises(atoll.BadEncoding, match="bytes"):
        consumer.receive_array(timeout=ENOUGH)
