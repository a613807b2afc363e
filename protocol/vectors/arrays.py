"""Golden arrays: payloads of content kind "array", good and hostile, from ../SPEC.md, "Content". Used by make.py."""
import json
import struct


def raw(description, data, data_offset=None, json_length=None, magic=b"ATAR", reserved=0, gap=b"\0"):
    """A payload with a description (an object, or bytes as they are) and elements; the rest can be made wrong."""
    text = description if isinstance(description, bytes) else json.dumps(description, separators=(",", ":")).encode()
    offset = (16 + len(text) + 63) // 64 * 64
    head = magic + struct.pack("<III", offset if data_offset is None else data_offset, len(text) if json_length is None else json_length, reserved)
    return (head + text).ljust(offset, gap) + data


def encode(dtype, shape, order, data):
    return raw({"shape": shape, "order": order, "dtype": dtype}, data)


def good():
    yield "float64, two rows", "<f8", [2, 3], "C", struct.pack("<6d", 0, 1, 2, 3, 4, 5), [0, 1, 2, 3, 4, 5]
    yield "Fortran order", "<i4", [2, 3], "F", struct.pack("<6i", 1, 4, 2, 5, 3, 6), [1, 2, 3, 4, 5, 6]
    yield "big-endian", ">u2", [3], "C", struct.pack(">3H", 1, 256, 65535), [1, 256, 65535]
    yield "bytes have no order", "|u1", [4], "C", bytes([0, 1, 254, 255]), [0, 1, 254, 255]
    yield "signed bytes", "|i1", [2], "C", struct.pack("<2b", -128, 127), [-128, 127]
    yield "booleans", "|b1", [3], "C", bytes([1, 0, 1]), [True, False, True]
    yield "half precision", "<f2", [2], "C", struct.pack("<2e", 0.5, -2), [0.5, -2]
    yield "64-bit integers past 2^53", "<i8", [2], "C", struct.pack("<2q", 2**53 + 1, -(2**63)), [str(2**53 + 1), str(-(2**63))]
    yield "complex", "<c16", [1], "C", struct.pack("<2d", 1, -1), [[1, -1]]
    yield "fixed-width text", "<U3", [2], "C", "añ\0".encode("utf-32-le") + "東京都".encode("utf-32-le"), ["añ", "東京都"]
    yield "fixed-width bytes", "|S4", [2], "C", b"ab\0\0wxyz", ["ab", "wxyz"]
    yield "no dimensions: one element", "<f4", [], "C", struct.pack("<f", 1.5), [1.5]
    yield "no elements", "<f4", [0, 7], "C", b"", []
    fields = {"names": ["id", "price"], "formats": ["|u1", "<f8"], "offsets": [0, 8], "itemsize": 16}
    yield "fields with padding", fields, [2], "C", struct.pack("<B7xdB7xd", 1, 1.5, 2, 2.5), [[1, 1.5], [2, 2.5]]
    inner = {"names": ["t", "v"], "formats": ["<i8", ["<f4", [2]]], "offsets": [0, 8], "itemsize": 16}
    yield "fields that are arrays", inner, [1], "C", struct.pack("<qff", -1, 0.5, 0.25), [["-1", [0.5, 0.25]]]


def hostile():
    ok = {"shape": [2], "order": "C", "dtype": "<f4"}
    eight = bytes(8)
    yield "shorter than its header", raw(ok, eight)[:12]
    yield "empty", b""
    yield "another magic", raw(ok, eight, magic=b"ATAX")
    yield "a data offset past the end", raw(ok, eight, data_offset=1 << 20)
    yield "a data offset that is no multiple of 64", raw(ok, eight, data_offset=65)
    yield "a data offset inside the description", raw(ok, eight, data_offset=0)
    yield "a description longer than the payload", raw(ok, eight, json_length=0xFFFFFFFF)
    yield "a description that reaches into the elements", raw(ok, eight, json_length=100)
    yield "no JSON", raw(b"shape: 2", eight)
    yield "JSON that is no object", raw(b"[2]", eight)
    yield "text that is no UTF-8", raw(b'{"shape":[2],"order":"C","dtype":"<f\xff"}', eight)
    yield "no shape", raw({"order": "C", "dtype": "<f4"}, eight)
    yield "no dtype", raw({"shape": [2], "order": "C"}, eight)
    yield "no order", raw({"shape": [2], "dtype": "<f4"}, eight)
    yield "a negative dimension", raw({**ok, "shape": [-2]}, eight)
    yield "a dimension that is no whole number", raw({**ok, "shape": [2.5]}, eight)
    yield "a dimension that is text", raw({**ok, "shape": ["2"]}, eight)
    yield "a shape that is no list", raw({**ok, "shape": 2}, eight)
    yield "dimensions whose product overflows 64 bits", raw({**ok, "shape": [2**32, 2**32, 2]}, eight)
    yield "a dimension past 64 bits", raw(b'{"shape":[18446744073709551618],"order":"C","dtype":"<f4"}', eight)
    yield "fewer elements than the shape says", raw({**ok, "shape": [3]}, eight)
    yield "more bytes than the shape says", raw({**ok, "shape": [1]}, eight)
    yield "an order that is neither C nor F", raw({**ok, "order": "A"}, eight)
    yield "an unknown kind of element", raw({**ok, "dtype": "<z4"}, eight)
    yield "objects of Python", raw({**ok, "shape": [1], "dtype": "|O8"}, eight)
    yield "an element size of 0", raw({**ok, "dtype": "<f0"}, eight)
    yield "a float of 3 bytes", raw({**ok, "shape": [1], "dtype": "<f3"}, bytes(3))
    yield "a dtype with text behind it", raw({**ok, "dtype": "<f4;rm"}, eight)
    fields = {"names": ["a", "b"], "formats": ["<f4", "<f4"], "offsets": [0, 4], "itemsize": 8}
    yield "fewer formats than names", raw({**ok, "shape": [1], "dtype": {**fields, "formats": ["<f4"]}}, eight)
    yield "a field that leaves its element", raw({**ok, "shape": [1], "dtype": {**fields, "offsets": [0, 6]}}, eight)
    yield "a negative offset of a field", raw({**ok, "shape": [1], "dtype": {**fields, "offsets": [-4, 4]}}, eight)
    yield "two fields of one name", raw({**ok, "shape": [1], "dtype": {**fields, "names": ["a", "a"]}}, eight)
    yield "an element size that is too small", raw({**ok, "shape": [2], "dtype": {**fields, "itemsize": 4}}, eight)
    nested = "<f4"
    for _ in range(100):
        nested = {"names": ["a"], "formats": [nested], "offsets": [0], "itemsize": 4}
    yield "fields nested a hundred deep", raw({**ok, "shape": [2], "dtype": nested}, eight)


def vectors():
    return {"about": "Payloads of content kind array. values: in C order (last index fastest), 64-bit integers as text; error: bad_encoding.",
            "good": [{"about": about, "payload": encode(dtype, shape, order, data).hex(), "dtype": dtype, "shape": shape, "order": order,
                      "data": data.hex(), "values": values} for about, dtype, shape, order, data, values in good()],
            "hostile": [{"about": about, "payload": payload.hex(), "error": "bad_encoding"} for about, payload in hostile()]}
