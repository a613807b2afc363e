#!/usr/bin/env python3
"""Makes the golden bytes of this folder: segments as files, and what a reader must see in them.

Usage: make.py [--check]     --check: writes nothing, fails if a file here is not what would be made

Written from ../SPEC.md alone, with Python's standard library: it shares nothing with the C++ headers, so that
each checks the other. README.md describes the format. Read by tests/unit/protocol_vectors_test.cpp (the C++ headers)
and tests/conformance/test_vectors.py (every language, through the library).
"""
import argparse
import json
import pathlib
import struct
import sys

import arrays
from files import COMMITTED, PADDING, BytesFile, Group, Lane, header_page, patched

HERE = pathlib.Path(__file__).resolve().parent


def vector(about, kind, files, expect, **more):
    return {"about": about, "kind": kind, **more, "files": files, "expect": expect}


def lane_vector(about, lane, then, records=None, **more):
    """A stream of one lane. `records`: what must be read from the earliest boundary on; None: all of the lane's."""
    records = lane.readable() if records is None else records
    start = lane.start()
    return vector(about, "stream", [lane.file()],
                  {"start": {"position": start[0], "sequence": start[1]}, "records": records, "then": then,
                   "tail": lane.published[0], "sequence": lane.published[1]},
                  capacity=lane.capacity, alignment=lane.alignment, when_full="block", **more)


# ---- Lanes ------------------------------------------------------------------------------------------

def text(i, length):
    return bytes((i * 7 + j) % 256 for j in range(length))


def lanes():
    yield "lane_empty", lane_vector("A lane that nobody wrote: wait.", Lane(), "nothing")

    for alignment in (16, 64):
        lane = Lane(alignment=alignment)
        for i, length in enumerate((0, 1, 15, 16, 17, 47, 48, 49, 63, 64, 65, 100)):
            lane.send(text(i, length))
        yield f"lane_alignment_{alignment}", lane_vector(
            f"Records of many lengths, alignment {alignment}: payloads and the next record start at multiples of it.", lane, "nothing")

    lane = Lane(alignment=64)
    lane.send("Zürich, 東京, 🪸".encode(), content=1)
    lane.send(b'{"price": 12.5, "tags": ["a", null]}', content=2)
    lane.send(arrays.encode("<f8", [2, 3], "C", struct.pack("<6d", 0, 1, 2, 3, 4, 5)), content=3)
    lane.send(b"\x00\xff\x80", content=0)
    lane.send(b"kept for later", content=9)
    yield "lane_contents", lane_vector("Text, JSON, an array, bytes, and a reserved content kind, which is read as bytes.", lane, "nothing")

    lane = Lane()
    for i in range(9):
        lane.cursor = lane.tail - 1024 if lane.tail > 1024 else 0
        lane.send(text(i, 700 + i))
    yield "lane_second_lap", lane_vector(
        "More than one lap: padding at the end of the first, words of the second lap, remains of the first behind the tail.", lane, "nothing")

    lane = Lane()
    for i in range(3):
        lane.send(text(i, 1320))  # 3 * 1344: 64 bytes are left, too few for the next
        lane.cursor = lane.tail
    lane.send(text(3, 100))
    yield "lane_padding", lane_vector("A record that does not fit before the end of the ring: padding, then the record at the start of the next lap.", lane, "nothing")

    lane = Lane()
    for i in range(3):
        lane.send(text(i, 1008))
        lane.cursor = lane.tail
    lane.send(text(3, 1008))
    lane.send(text(4, 8))
    yield "lane_full_to_the_byte", lane_vector("Records that fill a lap exactly: no padding.", lane, "nothing")

    lane = Lane()
    lane.send(b"first")
    lane.abort(lane.loan(b"never seen, with a word that looks committed: " + struct.pack("<I", COMMITTED)))
    lane.send(b"second")
    yield "lane_aborted", lane_vector("An aborted loan is skipped; it used up a sequence number.", lane, "nothing")

    lane = Lane()
    lane.send(b"before")
    lane.loan(b"being filled")
    late = lane.loan(b"committed early")
    lane.commit(late)
    lane.send(b"behind it")
    yield "lane_claimed_in_the_middle", lane_vector(
        "An open loan holds up what lies behind it, and the published tail stays at it.", lane, "claimed", records=lane.readable(until_claimed=True),
        recovered={"aborted": [1], "tail": lane.tail, "sequence": lane.sequence})

    lane = Lane()
    lane.send(b"one")
    lane.send(b"two")
    lane.publish(position=32, sequence=1)
    yield "lane_tail_lags", lane_vector("The producer died after a commit, before it published the tail: the walk finds the true end.", lane, "nothing",
                                        recovered={"aborted": [], "tail": lane.tail, "sequence": lane.sequence})

    lane = Lane()
    for i in range(600):
        lane.cursor = max(0, lane.tail - 2048)
        lane.send(text(i, 20 + i % 90))
    yield "lane_checkpoints", lane_vector("Many laps and more checkpoints than the table holds: a reader starts at the right one.", lane, "nothing")

    lane.checkpoints[-4] = (2**64 - 1, 0)
    yield "lane_checkpoints_ended", lane_vector("A checkpoint that the broker ended: older ones are not believed.", lane, "nothing")
    lane.checkpoints[-1] = (lane.tail + 32, lane.sequence + 1)
    yield "lane_checkpoint_beyond_tail", lane_vector("A checkpoint above the tail, which no producer leaves: a reader starts at the tail.", lane, "nothing")

    lane = Lane(position=4096 * 5 + 2048, sequence=2**32 - 3)
    for i in range(8):
        lane.cursor = lane.tail
        lane.send(text(i, 300))
    yield "lane_sequence_passes_32_bits", lane_vector("Records carry the low half of their number; the whole one goes on past 2^32.", lane, "nothing")

    lane = Lane(position=4096 * (2**29 - 1) + 3072, sequence=7)
    for i in range(8):
        lane.cursor = lane.tail
        lane.send(text(i, 400))
    yield "lane_lap_passes_29_bits", lane_vector("The lap in the commit word is taken modulo 2^29.", lane, "nothing")

    lane = Lane()
    lane.send(b"last words")
    lane.finish()
    yield "lane_finished", lane_vector("The producer said finish: after the last record the stream has ended.", lane, "ended")

    lane = Lane()
    lane.send(b"good")
    good = lane.readable()
    at = lane.tail
    for name, about, state, lap, length, ext, state_word in (
            ("span", "A length that leads out of the ring.", COMMITTED, 0, 4096, 0, None),
            ("length", "The largest length that 32 bits hold: its span overflows a careless sum.", COMMITTED, 0, 0xFFFFFFF0, 0, None),
            ("state", "A state that layout 1 does not have.", 6, 0, 16, 0, None),
            ("padding", "Padding that ends before the end of the ring.", PADDING, 0, 100, 0, None),
            ("extension", "Extensions that lead out of the ring.", COMMITTED, 0, 3000, 255, None)):
        broken = Lane()
        broken.send(b"good")
        broken.raw_record(at, state, lap, length, ext)
        yield f"lane_damaged_{name}", lane_vector(about + " This lane is not read any more.", broken, "lane_damaged", records=good)


    stale = Lane()
    stale.send(b"good")
    stale.raw_record(at, COMMITTED, 3, 16, 0)
    yield "lane_word_of_another_lap", lane_vector("A committed word of another lap: nothing yet.", stale, "nothing")
    hole = Lane()
    hole.send(b"good")
    hole.send(b"gone")
    hole.raw_record(at, COMMITTED, 3, 4, 0)
    yield "lane_damaged_hole", lane_vector("Below the tail everything is settled: a word of another lap there is damage. This lane is not read any more.",
                                           hole, "lane_damaged", records=good)


# ---- Groups -----------------------------------------------------------------------------------------

def filled_lane(count=10):
    lane = Lane()
    for i in range(count):
        lane.send(b"record %d" % i)
    return lane


def group_vector(about, lane, group, expect, **more):
    return vector(about, "stream", [lane.file(), group.file()], expect, capacity=lane.capacity, alignment=lane.alignment, when_full="block",
                  **more)


def groups():
    lane = filled_lane()
    at = [record["position"] for record in lane.readable()] + [lane.tail]

    group = Group()
    group.position(0, at[2], at[8], 8, redelivered=1)
    group.claim(0, "held", slot=5, slot_generation=3, begin=at[2], end=at[5], count=3, begin_sequence=2, deliveries=1, acked=0b010)
    group.claim(1, "returned", slot=6, slot_generation=1, begin=at[5], end=at[8], count=3, begin_sequence=5, deliveries=2, acked=0b001)
    group.returned = 1
    group.lock = (5 + 1) | 3 << 13 | 1 << 31
    yield "group_claims", group_vector(
        "A held claim with one record acknowledged, a returned one to be given again, records never claimed; the lock held with waiters.",
        lane, group, {"group": group.described(), "lock": {"free": False, "slot": 5, "generation": 3, "needs_repair": False, "waiters": True}, "gives_next": {"sequences": [6, 7, 2, 4, 8, 9], "deliveries": [3, 3, 2, 2, 1, 1]}})

    group = Group(flags=1)
    group.position(0, at[3], at[6], 6)
    yield "group_exclusive", group_vector(
        "An exclusive group: no claims, no lock. The next consumer starts at the cursor; what lies below next is marked redelivered.",
        lane, group, {"group": group.described(), "lock": {"free": True, "slot": 0, "generation": 0, "needs_repair": False, "waiters": False},
                      "gives_next": {"sequences": list(range(3, 10)), "deliveries": [2, 2, 2, 1, 1, 1, 1]}})

    group = Group()
    group.position(0, lane.tail + 4096, lane.tail + 4096, 10)
    yield "group_cursor_beyond_tail", group_vector("A cursor beyond the lane's tail: a producer refuses it and takes tail - capacity.",
                                                   lane, group, {"error": "group_damaged"})

    late = Lane()
    for i in range(40):
        late.cursor = max(0, late.tail - 1024)
        late.send(text(i, 400))
    group = Group()
    group.position(0, 0, 0, 0)
    yield "group_cursor_below_ring", group_vector("A cursor more than a lap behind the tail, in a stream that never overwrites: refused likewise.",
                                                  late, group, {"error": "group_damaged"})

    group = Group()
    group.position(0, at[5], at[2], 2)
    yield "group_cursor_beyond_next", group_vector("A cursor beyond next, which no consumer writes.", lane, group,
                                                   {"error": "group_damaged"})

    group = Group()
    group.position(0, at[2] + 5, at[2] + 5, 2)
    yield "group_cursor_off_alignment", group_vector("A position that is no multiple of the alignment.", lane, group,
                                                     {"error": "group_damaged"})

    for name, about, fields in (
            ("lane", "A claim that names lane 64.", {"lane": 64}),
            ("count", "A claim of 65 records.", {"count": 65}),
            ("order", "A claim that ends before it begins.", {"begin": at[5], "end": at[2]}),
            ("beyond_next", "A claim beyond next.", {"begin": at[8], "end": at[9] + 4096}),
            ("state", "A claim in a state that layout 1 does not have.", {"state": 9})):
        group = Group()
        group.position(0, at[2], at[8], 8)
        group.returned = 1
        group.claim(0, **{"state": "returned", "slot": 5, "slot_generation": 3, "begin": at[2], "end": at[5], "count": 3, "begin_sequence": 2,
                          "deliveries": 1, "acked": 0, **fields})
        yield f"group_wild_claim_{name}", group_vector(about, lane, group, {"error": "group_damaged"})

    # A consumer died in the middle of giving up its claim: the broker does the stores.
    for count, outcome in ((0, "nothing_to_do"), (3, "applied"), (15, "damaged")):
        group = Group()
        group.position(0, at[2], at[8], 8)
        group.claim(0, "held", slot=5, slot_generation=3, begin=at[2], end=at[5], count=3, begin_sequence=2, deliveries=1, acked=0b111)
        group.claim(1, "held", slot=6, slot_generation=1, begin=at[5], end=at[8], count=3, begin_sequence=5, deliveries=1, acked=0)
        group.lock = (5 + 1) | 3 << 13
        group.redo(count, [(4096, at[5]), (8192, 0), (144, 0)])
        after = Group()
        after.position(0, at[5] if count == 3 else at[2], at[8], 8)
        after.claim(0, "free" if count == 3 else "held", **({} if count == 3 else {"slot": 5, "slot_generation": 3}), begin=at[2], end=at[5],
                    count=3, begin_sequence=2, deliveries=1, acked=0b111)
        after.claim(1, "held", slot=6, slot_generation=1, begin=at[5], end=at[8], count=3, begin_sequence=5, deliveries=1, acked=0)
        yield f"group_redo_{outcome}", group_vector(
            {0: "A holder that died before the redo's count: nothing happened.", 3: "A holder that died after the redo's count: the broker does the stores.",
             15: "A redo of more entries than there is room for."}[count], lane, group,
            {"lock": {"free": False, "slot": 5, "generation": 3, "needs_repair": False, "waiters": False},
             "repair": {"outcome": outcome, **({} if outcome == "damaged" else {"group": after.described()})},
             **({} if outcome == "damaged" else {"gives_next": {"sequences": [5, 6, 7, 8, 9], "deliveries": [2, 2, 2, 1, 1]}})})
    for name, offset in (("before_range", 512), ("after_file", 40960), ("off_by_four", 4100)):
        group = Group()
        group.position(0, at[2], at[2], 2)
        group.redo(1, [(offset, 1)])
        yield f"group_redo_{name}", group_vector("A redo that names a place it must not.", lane, group, {"repair": {"outcome": "damaged"}})


# ---- Bytes ------------------------------------------------------------------------------------------

def bytes_vector(about, data, expect):
    return vector(about, "bytes", [data.file()], expect, size=data.size, put_size=data.put_size)


def bytes_segments():
    old, new = b"the old content, which is longer", b"the new one"
    empty = BytesFile()
    yield "bytes_never_put", bytes_vector("Nothing was put yet: get waits.", empty, {"get": "waits", "version": 0})

    data = BytesFile()
    data.put(old)
    yield "bytes_put", bytes_vector("One put.", data, {"get": "content", "version": 1, "content": old.hex()})

    data = BytesFile()
    data.put(old)
    data.put(b"")
    yield "bytes_put_of_nothing", bytes_vector("A put of no bytes is content too, with a version of its own.", data, {"get": "content", "version": 2, "content": ""})

    # A putter that died after each of its stores, in order: SPEC.md, "Bytes".
    for step in range(9):
        data = BytesFile()
        data.put(old)
        data.put(new, stop_after=step, slot=9, slot_generation=70000)
        done = step >= 2
        yield f"bytes_died_at_{step}", bytes_vector(
            f"A putter died after {BytesFile.STEPS[step]}: the {'new' if done else 'old'} content is there after the repair.", data,
            {"get": "waits" if data.change % 2 else "content",
             **({} if data.change % 2 else {"version": data.version, "content": (new if data.version == 2 else old).hex()}),
             "lock": {"free": False, "slot": 9, "generation": 70000, "needs_repair": False, "waiters": False},
             "repaired": {"version": 2 if done else 1, "content": (new if done else old).hex()}})

    data = BytesFile()
    data.put(old)
    data.length = 5000
    yield "bytes_wild_length", bytes_vector("A length beyond the segment's size.", data, {"get": "bad_header"})

    data = BytesFile()
    data.put(old)
    data.redo = (2, 5000, [(648, 5000), (656, 2)])
    yield "bytes_redo_too_long", bytes_vector("A redo that copies more than the staging holds.", data, {"repaired": "damaged"})

    data = BytesFile()
    data.put(old)
    data.redo = (2, 4, [(288, 1 << 40), (656, 2)])
    yield "bytes_redo_wild_entry", bytes_vector("A redo that names a field other than length and version.", data, {"repaired": "damaged"})


# ---- Header pages, lock words, arrays -----------------------------------------------------------------

def header_pages():
    """Pages of a lane of generation 7, number 0, capacity 4096, alignment 16, that a reader must take or refuse."""
    good = header_page("lane", generation=7, capacity=4096, alignment=16, file_size=8192)
    cases = [("good", None, {}, good, 8192)]
    for name, error, offset, fmt, value in (
            ("bad_magic", "bad_header", 0, "<Q", 0x1122334455667788), ("byte_order", "wrong_byte_order", 0, ">Q", 0x31304C4C4F544141),
            ("newer_reader_needed", "wrong_version", 10, "<H", 2), ("unknown_required_feature", "wrong_version", 40, "<Q", 1 << 63),
            ("other_role", "bad_header", 76, "<H", 3), ("other_kind", "bad_header", 12, "<H", 5), ("other_index", "bad_header", 78, "<H", 1),
            ("other_generation", "bad_header", 16, "<Q", 8), ("other_uuid", "bad_header", 24, "<B", 0xEE),
            ("other_file_size", "bad_header", 80, "<Q", 12288), ("huge_file_size", "bad_header", 80, "<Q", 2**64 - 1),
            ("capacity_no_power_of_two", "bad_header", 64, "<Q", 4095), ("capacity_too_small", "bad_header", 64, "<Q", 2048),
            ("capacity_zero", "bad_header", 64, "<Q", 0), ("capacity_larger_than_the_file", "bad_header", 64, "<Q", 8192),
            ("capacity_overflows", "bad_header", 64, "<Q", 1 << 63), ("alignment_24", "bad_header", 60, "<I", 24),
            ("alignment_zero", "bad_header", 60, "<I", 0), ("data_offset", "bad_header", 88, "<Q", 4095),
            ("data_offset_overflows", "bad_header", 88, "<Q", 2**64 - 64)):
        cases.append((name, error, {}, patched(good, offset, struct.pack(fmt, value)), 8192))
    cases.append(("newer_layout_that_can_be_read", None, {}, patched(good, 8, struct.pack("<H", 2)), 8192))
    cases.append(("unknown_optional_feature", None, {}, patched(good, 48, struct.pack("<Q", 1 << 63)), 8192))
    cases.append(("truncated_page", "truncated_file", {}, good[:100], 100))
    cases.append(("page_only", "truncated_file", {}, good, 4096))
    cases.append(("empty_file", "truncated_file", {}, b"", 0))
    return {"about": "Header pages as a client finds them, with the file's real size, and the error that each must be (null: none).",
            "expected_page": {"role": "lane", "kind": "stream", "index": 0, "generation": 7, "uuid": good[24:40].hex(), "file_size": 8192},
            "pages": [{"name": name, "bytes": page.hex(), "real_size": size, "error": error} for name, error, _, page, size in cases]}


def lock_words():
    def word(value, **expect):
        return {"word": value, "expect": {"free": False, "slot": 0, "generation": 0, "needs_repair": False, "waiters": False, **expect}}

    return {"about": "Lock words and who holds them. slot and generation count only if the word is not free.",
            "words": [word(0, free=True), word(1), word(6 | 3 << 13, slot=5, generation=3), word(6 | 3 << 13 | 1 << 31, slot=5, generation=3, waiters=True),
                      word(4096 | 0x1FFFF << 13, slot=4095, generation=0x1FFFF), word(1 << 30, free=True, needs_repair=True),
                      word(1 << 31, free=True, waiters=True), word(8191 | 1 << 31, slot=8190, waiters=True),
                      word(0xFFFFFFFF, slot=8190, generation=0x1FFFF, needs_repair=True, waiters=True)]}


def everything():
    for part in (lanes, groups, bytes_segments):
        yield from part()
    yield "header_pages", header_pages()
    yield "lock_words", lock_words()
    yield "arrays", arrays.vectors()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files here, write nothing")
    check = parser.parse_args().check
    made = {name + ".json": json.dumps(content, indent=1, ensure_ascii=False) + "\n" for name, content in everything()}
    there = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.json")}
    wrong = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
    if not check:
        for name in wrong:
            if name in made:
                (HERE / name).write_text(made[name], encoding="utf-8")
            else:
                (HERE / name).unlink()
        print(f"{len(made)} vectors, {len(wrong)} changed")
        return 0
    for name in wrong:
        print(f"{name}: {'is not what make.py makes' if name in made and name in there else 'is missing' if name in made else 'is made by nobody'}")
    print("fix: protocol/vectors/make.py" if wrong else f"{len(made)} vectors are what make.py makes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
