"""NumPy arrays in records: SPEC.md, "Arrays". Imported only when an array is sent or asked for.

    0        4             8             12     16          data_offset
    | "ATAR" | data_offset | json length | 0    | JSON, zeros | elements |

Nothing in a received head is trusted: whatever does not fit is BadEncoding.
"""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any

import numpy as np

from atoll import errors
from atoll._core import Message

_HEAD = struct.Struct("<4sIII")
_MAGIC = b"ATAR"
_MULTIPLE = 64
_SIMPLE = re.compile(r"[<>|][biufcSUV][0-9]{1,10}")
_DEPTH = 32  # of dtypes in dtypes
_DIMENSIONS = 64  # NumPy has no more
_CONTENT = "array"

Array = np.ndarray[Any, np.dtype[Any]]


def encode(array: Array) -> tuple[bytes, Any]:
    """The head and the elements of a record that holds `array`. The elements are copied only if they have gaps."""
    array = np.asanyarray(array)
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("a masked array cannot be sent: send its .data and its .mask")
    dtype = array.dtype
    described = _describe(dtype)
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    text = json.dumps({"dtype": described, "shape": list(array.shape), "order": order}, separators=(",", ":")).encode()
    offset = -(-(_HEAD.size + len(text)) // _MULTIPLE) * _MULTIPLE
    head = _HEAD.pack(_MAGIC, offset, len(text), 0) + text
    return head.ljust(offset, b"\0"), _elements(array, order)


def _elements(array: Array, order: str) -> Any:
    if array.nbytes == 0:
        return b""
    # As raw bytes of the item size, so that padding inside items is copied with them.
    raw = np.asarray(array).view(np.dtype((np.void, array.dtype.itemsize)))
    return np.ascontiguousarray(raw.T if order == "F" else raw).reshape(-1).view(np.uint8)


def _describe(dtype: np.dtype[Any]) -> Any:
    """A dtype as SPEC.md writes it. TypeError for what has no meaning in another process."""
    if dtype.hasobject:
        raise TypeError(f"an array of {dtype} refers to Python objects and cannot be sent; send_json may do")
    if dtype.names is not None:
        fields: Any = dtype.fields
        return {
            "names": list(dtype.names),
            "formats": [_format(fields[name][0]) for name in dtype.names],
            "offsets": [int(fields[name][1]) for name in dtype.names],
            "itemsize": dtype.itemsize,
        }
    if not _SIMPLE.fullmatch(dtype.str) or np.dtype(dtype.str) != dtype:
        raise TypeError(f"an array of {dtype} cannot be sent: other languages do not know this type; a view of it as numbers may do")
    return dtype.str


def _format(dtype: np.dtype[Any]) -> Any:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_describe(base), list(shape)]
    return _describe(dtype)


def _bad(why: str) -> errors.BadEncoding:
    return errors.BadEncoding(f"the record is no array: {why}", fix="check how it was sent; read it as bytes to look at it")


def array_of(message: Message) -> Array:
    """The payload as a read-only array over the record's memory. BadEncoding for whatever is no array."""
    if message.content != _CONTENT:
        raise _bad(f"it was sent as {message.content}")
    return decode(message)


def decode(payload: Any) -> Array:
    """A read-only array over a buffer that holds an encoded one; the array keeps the buffer."""
    view = memoryview(payload).toreadonly()
    total = len(view)
    if total < _HEAD.size:
        raise _bad(f"{total} bytes are shorter than a head")
    magic, offset, length, zero = _HEAD.unpack_from(view)
    if magic != _MAGIC or zero != 0:
        raise _bad("it does not start as one")
    if offset % _MULTIPLE != 0 or _HEAD.size + length > offset or offset > total:
        raise _bad(f"data offset {offset} and JSON length {length} do not fit {total} bytes")
    shape, dtype, order = _parse(bytes(view[_HEAD.size : _HEAD.size + length]))
    count = math.prod(shape)
    if count * dtype.itemsize != total - offset:
        raise _bad(f"{count} elements of {dtype.itemsize} bytes are not the {total - offset} bytes present")
    try:
        if total == offset:
            empty: Array = np.empty(shape, dtype, order)
            empty.flags.writeable = False
            return empty
        array: Array = np.frombuffer(view, dtype, count, offset).reshape(shape, order=order)
        return array
    except (ValueError, TypeError, MemoryError, OverflowError) as error:
        raise _bad(str(error)) from None


def _parse(text: bytes) -> tuple[tuple[int, ...], np.dtype[Any], Any]:
    try:
        head = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(f"its description is not JSON: {error}") from None
    if not isinstance(head, dict) or not {"dtype", "shape", "order"} <= head.keys():
        raise _bad("its description lacks dtype, shape or order")
    if head["order"] not in ("C", "F"):
        raise _bad("order must be C or F")
    shape = _shape(head["shape"])
    dtype = _dtype(head["dtype"], 0)
    return shape, dtype, head["order"]


def _number(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise _bad(f"{what} must be a whole number, not {value!r:.40}")
    return value


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > _DIMENSIONS:
        raise _bad("shape must be a list of at most 64 numbers")
    return tuple(_number(n, "each number of shape") for n in shape)


def _dtype(described: Any, depth: int) -> np.dtype[Any]:
    if depth > _DEPTH:
        raise _bad("its dtype is nested too deep")
    if isinstance(described, str):
        if not _SIMPLE.fullmatch(described):
            raise _bad(f"unknown dtype {described!r:.40}")
        return _make(described)
    if isinstance(described, list):
        if depth == 0 or len(described) != 2:
            raise _bad("a list is a dtype only inside fields, as [dtype, shape]")
        return _make((_dtype(described[0], depth + 1), _shape(described[1])))
    if not isinstance(described, dict):
        raise _bad("dtype must be a string or an object")
    names, formats, offsets = (described.get(key) for key in ("names", "formats", "offsets"))
    itemsize = _number(described.get("itemsize"), "itemsize")
    if not (isinstance(names, list) and isinstance(formats, list) and isinstance(offsets, list)):
        raise _bad("a dtype with fields needs names, formats and offsets")
    if not len(names) == len(formats) == len(offsets) or not all(isinstance(name, str) for name in names):
        raise _bad("names, formats and offsets must be equally many")
    fields = [_dtype(f, depth + 1) for f in formats]
    places = [_number(offset, "each offset") for offset in offsets]
    if any(place + field.itemsize > itemsize for place, field in zip(places, fields)):
        raise _bad("a field reaches over its item's end")
    return _make({"names": names, "formats": fields, "offsets": places, "itemsize": itemsize})


def _make(described: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(described)
    except (ValueError, TypeError, MemoryError, OverflowError) as error:
        raise _bad(f"its dtype is not one: {error}") from None
    if dtype.hasobject:
        raise _bad("its dtype refers to objects")
    return dtype
