"""Makes the first inputs of the fuzz targets from protocol/vectors: seeds.py DIRECTORY writes DIRECTORY/<target>/<name>.

Called by tests/fuzz/fuzz.py before each run. The formats are those that tests/fuzz/targets/<target>.cpp states at its top;
a target that changes its format changes its function here. Nothing is kept that can be made again.
"""
from __future__ import annotations

import json
import pathlib
import struct
import sys
import zlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT / "protocol/vectors"
WHEN_FULL = ("block", "drop-new", "overwrite")
PAGE = 128  # the header page's own words are the target's to write


def vectors(prefix: str) -> Iterator[tuple[str, dict]]:
    for path in sorted(VECTORS.glob(f"{prefix}*.json")):
        yield path.stem, json.loads(path.read_text())


def file_of(vector: dict, role: str) -> dict:
    return next(file for file in vector["files"] if file["role"] == role)


def patches(file: dict, skip: int = PAGE) -> bytes:
    """The file's bytes as u16 offset / 4, u8 length, bytes."""
    whole = bytearray(file["size"])
    for offset, text in file["bytes"].items():
        data = bytes.fromhex(text)
        whole[int(offset):int(offset) + len(data)] = data
    words = [i for i in range(skip, len(whole), 8) if any(whole[i:i + 8])]
    out, i = b"", 0
    while i < len(words):
        begin = end = words[i]
        while i < len(words) and words[i] == end and end - begin < 240:
            end, i = end + 8, i + 1
        out += struct.pack("<HB", begin // 4, end - begin) + whole[begin:end]
    return out


def hostile_lane() -> Iterator[tuple[str, bytes]]:
    for name, vector in vectors("lane_"):
        for options in range(3):
            first = options | (4 if vector["alignment"] == 64 else 0) | options << 5 | (128 if options == 1 else 0)
            seed = struct.pack("<BBH", first, 3, 500 * options) + patches(file_of(vector, "lane"))
            yield f"{name}-{options}", seed
            # All of it after the published tail, and no byte permitted behind the last record.
            yield f"{name}-{options}-unpublished", seed + struct.pack("<HBQ", 256 // 4, 8, vector["expect"]["tail"]) + struct.pack("<HBQQ", 384 // 4, 16, 0, 0)


def hostile_group() -> Iterator[tuple[str, bytes]]:
    everything = bytes([5 + 8 * 2, 0, 9, 18, 7, 27, 4 + 8 * 9, 10, 1, 5, 3 + 8 * 6, 255, 2, 0, 8, 16, 24])
    for name, vector in vectors("group_"):
        for options in (0, 2, 8, 16, 40, 49):
            seed = struct.pack("<BBB", options, 0, len(everything)) + everything + patches(file_of(vector, "group"))
            yield f"{name}-{options}", seed
            acked = b"".join(struct.pack("<HBQ", (8192 + 64 * claim + 40) // 4, 8, 2**64 - 1) for claim in range(3))
            yield f"{name}-{options}-acknowledged", seed + acked


def hostile_bell() -> Iterator[tuple[str, bytes]]:
    data, room = 1024, 1792
    lists = [[], [(data, 0)], [(data, 0), (data, 1)], [(room, 5), (data, 5)], [(data, 64), (room, 4095)]]
    for options in range(0, 64, 5):
        for number, slots in enumerate(lists):
            found = b""
            for base, slot in slots:
                found += struct.pack("<HBQ", base // 4, 8, 1 << slot // 64)
                found += struct.pack("<HBQ", (base + 128 + slot // 64 * 8) // 4, 8, 1 << slot % 64)
            slot = slots[0][1] if slots else 5
            yield f"{options}-{number}", struct.pack("<BHB", options, slot, 2 * len(slots)) + found + bytes([255, 1, 3, 0] * 8)


def manifest() -> Iterator[tuple[str, bytes]]:
    """u8 options, u8 patches of a header page, those, then the manifest's text."""
    files = {
        "stream": [{"role": "header", "size": 4096}, {"role": "bell", "size": 4096}, {"role": "lane", "lane": 0, "incarnation": 1, "size": 8192},
                   {"role": "group", "group": "g", "id": 0, "exclusive": False, "ephemeral": True, "incarnation": 2, "size": 40960}],
        "bytes": [{"role": "data", "size": 4096 + 4096 + 4096}, {"role": "bell", "size": 4096}],
    }
    for kind, backing in (("stream", "shm"), ("stream", "memfd"), ("bytes", "file"), ("bytes", "memfd")):
        text = {"manifest_version": 1, "layout_version": 1, "min_reader_version": 1, "byte_order": "little", "required_features": 0,
                "optional_features": 0, "name": "a/b", "kind": kind, "backing": backing, "generation": 7,
                "uuid": "00000000-0000-0000-0000-000000000000", "uid": 0, "created_ns": 1, "granule": 65536, "alignment": 16}
        if backing == "file":
            text["directory"] = "/d"
        text |= {"capacity": 4096, "when_full": "block", "lane_max": 64, "group_max": 16} if kind == "stream" else {"size": 4096, "put_size": 4096}
        text["access"] = [{"user": "*", "rights": ["consume", "observe"]}]
        text["files"] = [file | {"path": None if backing == "memfd" else "/d/" + file["role"]} for file in files[kind]]
        text["layout"] = {"header": {"magic": "\"AATOLL01\""}}
        for indent in (None, 1):
            yield f"{kind}-{backing}-{indent}", struct.pack("<BB", 0, 0) + json.dumps(text, indent=indent).encode()
        (pages,) = [vector for name, vector in vectors("header_pages")]
        for page in pages["pages"]:
            data = bytes.fromhex(page["bytes"])[:104]
            yield f"{kind}-{backing}-{page['name'].replace(' ', '_')}", (
                struct.pack("<BB", 1, 1) + struct.pack("<HB", 0, len(data)) + data + json.dumps(text).encode())


def call(method: str, **parameters) -> bytes:
    return json.dumps({"method": f"dev.atoll.Broker.{method}", "parameters": parameters}).encode() + b"\0"


HELLO = {"interface_version": 1, "library": "l", "language": "C++"}


def control_frames() -> Iterator[tuple[str, bytes]]:
    """u8 options, then the bytes of a connection."""
    create = call("Create", name="s", options={"kind": "stream", "capacity": 4096, "when_full": "block", "access": [{"user": "*", "rights": ["consume"]}]})
    calls = [
        call("Create", name="b/c", options={"kind": "bytes", "size": 4096, "backing": "memfd", "put_size": 64}),
        call("Create", name="f", options={"kind": "stream", "capacity": 8192, "backing": "file", "directory": "@DIRECTORY@", "alignment": 64}),
        create + call("Attach", name="s", role="produce"),
        create + call("Attach", name="s", role="consume", group="g", group_options={"start": "back", "start_back": 3, "ephemeral": True}),
        create + call("Attach", name="s", role="consume", group="g", group_options={"exclusive": True}) + call("Refresh", attachment=1025, lanes=[[0, 1]], groups=[])
        + call("Detach", attachment=1025),
        create + call("Attach", name="s", role="observe") + call("Attach", name="s", role="produce") + call("Remove", name="s", force=True),
        create + call("Attach", name="s", role="consume", group="g") + call("Remove", name="s", group="g", force=True),
        call("Create", name="b", options={"kind": "bytes", "size": 100}) + call("Attach", name="b", role="map", writable=True),
        create + call("Show", name="s") + call("Manifest", name="s") + call("List", prefix="s") + call("Status") + call("Gc", apply=True),
        call("Await", name="later", wait_ms=5), call("Attach", name="later", role="observe", wait_ms=1), call("Await", name="later", wait_ms=0) + create,
        call("Stop"),
        json.dumps({"method": "org.varlink.service.GetInfo"}).encode() + b"\0",
        json.dumps({"method": "org.varlink.service.GetInterfaceDescription", "parameters": {"interface": "dev.atoll.Broker"}}).encode() + b"\0",
        b'{"method":"dev.atoll.Broker.List","oneway":true,"parameters":null}\0' + b'{"method":1}\0{"parameters":[]}\0',
        b'{"a":' * 20 + b"1" + b"}" * 20 + b"\0", b'{"a":1,"a":2}\0', b'{"a":"\\ud800"}\0', b'{"a":"\xff"}\0', b"[]\0", b"\0\0", b"{" * 5000,
    ]
    for number, frames in enumerate(calls):
        for options in (0, 7, 128):
            yield f"{number}-{options}", bytes([options]) + (b"" if options == 128 else call("Hello", **HELLO)) + frames


def hello_and_readopt() -> Iterator[tuple[str, bytes]]:
    """u8 options (1: restart first), u8 which descriptors are offered, then frames. @TOKEN@ stands for the slot's token."""
    held = [{"attachment": 1025, "name": "s", "generation": 1, "role": "produce", "lane": 0}, {"attachment": 1026, "name": "s", "generation": 1, "role": "consume", "group": "g"},
            {"attachment": 1027, "name": "b", "generation": 2, "role": "map"}, {"attachment": 1028, "name": "m", "generation": 3, "role": "produce", "lane": 0}]
    back = {"token": "@TOKEN@", "slot": 0, "slot_generation": 1025}
    for number, more in enumerate(({}, back, back | {"attachments": held}, back | {"attachments": held[:2]}, back | {"attachments": [held[0] | {"role": "map"}]},
                                   {"attachments": held}, back | {"token": "0", "attachments": held})):
        for options, offered in ((0, 0), (1, 0), (1, 255), (1, 7)):
            yield f"{number}-{options}-{offered}", bytes([options, offered]) + call("Hello", **HELLO, **more) + (
                call("Refresh", attachment=1025, lanes=[], groups=[]) + call("Show", name="m") + call("Attach", name="s", role="produce") if number % 2 else b"")


def journal_line(entry: dict) -> bytes:
    text = json.dumps(entry, separators=(",", ":"), sort_keys=True).encode()
    return b"%08x " % zlib.crc32(text) + text + b"\n"


def journal() -> Iterator[tuple[str, bytes]]:
    """u8 options (1: the text has no checksums, they are put before each line), u16 where it is cut, then the text."""
    entries = [
        {"t": "journal", "version": 1, "epoch": 3}, {"t": "counters", "generation": 9, "slot_generation": 5, "producer": 4, "attachment": 7},
        {"t": "creating", "name": "s", "generation": 10, "directory": ""}, {"t": "created", "name": "s", "generation": 10},
        {"t": "slot", "slot": 0, "generation": 6, "pid": 1, "uid": 0, "start": 1, "token": "00ff", "command": "c", "library": "l/C++"},
        {"t": "attached", "id": 8, "slot": 0, "slot_generation": 6, "name": "s", "generation": 1, "role": "produce", "writable": False, "lane": 0, "producer": 5, "uid": 7},
        {"t": "attached", "id": 9, "slot": 0, "slot_generation": 6, "name": "s", "generation": 1, "role": "consume", "writable": False, "group": 0,
         "incarnation": 2, "group_name": "g"},
        {"t": "detached", "id": 8}, {"t": "gone", "slot": 0, "generation": 6}, {"t": "removing", "name": "x", "generation": 11, "directory": "@DIRECTORY@"},
        {"t": "removed", "name": "x", "generation": 11}, {"t": "creating", "name": "y", "generation": 12, "directory": ""},
        {"t": "lane", "name": "s", "generation": 1, "lane": 0, "uid": 8},
        {"t": "memory", "name": "s", "generation": 1, "role": "lane", "index": 0, "device": 1, "inode": 99, "boot": "b"},
        {"t": "aside", "name": "s", "generation": 1, "role": "lane", "index": 0, "incarnation": 1}]
    for count in range(1, len(entries) + 1):
        text = b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries[:count])
        yield f"plain-{count}", struct.pack("<BH", 1, 7 * count) + text
    yield "one-each", struct.pack("<BH", 1, 0) + b"".join(json.dumps(entry).encode() + b"\n" for entry in entries[4:7] * 2)
    yield "summed", struct.pack("<BH", 0, 100) + b"".join(journal_line(entry) for entry in entries)
    for number, entry in enumerate(entries):
        for strange in (1, None, [], "x", 2**64 - 1, -1):
            fields = {field: strange for field in entry}
            text = b"".join(json.dumps(row).encode() + b"\n" for row in (entries[4], fields, fields | {"t": entry["t"]}))
            yield f"strange-{number}-{str(strange)[:3]}", struct.pack("<BH", 1, 0) + text
    yield "newer", struct.pack("<BH", 1, 0) + b'{"t":"journal","version":2}\n'
    yield "damaged", struct.pack("<BH", 0, 0) + journal_line(entries[0]) + b"00000000 {}\n" + journal_line(entries[1])[:-9]


TARGETS = {function.__name__: function for function in (control_frames, manifest, hello_and_readopt, journal, hostile_lane, hostile_group, hostile_bell)}


def write(target: str, directory: pathlib.Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in TARGETS[target]():
        (directory / name).write_bytes(data)


if __name__ == "__main__":
    for target_name in TARGETS:
        write(target_name, pathlib.Path(sys.argv[1]) / target_name)
