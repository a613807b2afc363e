"""Writes the files of segments byte by byte, from ../SPEC.md. Used by make.py.

Lane, Group and BytesFile behave as a producer, the consumers of a group and a putter do, and give the file as the
JSON form of README.md: {role, index, size, bytes: {offset: hex}} where every byte not listed is zero.
"""
import struct

PAGE = 4096
UUID = bytes.fromhex("0a701100000040008000c0ffee000001")
EMPTY, CLAIMED, COMMITTED, ABORTED, PADDING = range(5)
ROLES = {"header": 1, "lane": 2, "group": 3, "bell": 4, "data": 5, "bells": 6}
KINDS = {"stream": 1, "bytes": 5}
CONTENT = {0: "bytes", 1: "text", 2: "json", 3: "array"}
UNBOUNDED = 1 << 63


def round_up(n, multiple):
    return (n + multiple - 1) // multiple * multiple


def patched(data, offset, new):
    return data[:offset] + new + data[offset + len(new):]


def array(offset_and_hex):
    return {int(offset): bytes.fromhex(text) for offset, text in offset_and_hex.items()}


def sparse(data):
    """{offset: hex} of what is not zero; runs nearer than 16 bytes are joined."""
    runs, start, end = {}, None, None
    for i, byte in enumerate(data):
        if byte == 0:
            continue
        if start is not None and i - end < 16:
            end = i + 1
            continue
        if start is not None:
            runs[str(start)] = bytes(data[start:end]).hex()
        start, end = i, i + 1
    if start is not None:
        runs[str(start)] = bytes(data[start:end]).hex()
    return runs


def header_page(role, generation=7, kind="stream", capacity=4096, alignment=16, index=0, file_size=8192):
    """The first 128 bytes of a file. SPEC.md, "Header page"."""
    page = b"AATOLL01" + struct.pack("<HHHHQ", 1, 1, KINDS[kind], PAGE, generation) + UUID
    page += struct.pack("<QQIIQ", 0, 0, 65536, alignment, capacity)
    page += struct.pack("<HHHHQQQ", 64, 16, ROLES[role], index, file_size, PAGE, 1_700_000_000_000_000_000)
    return page.ljust(128, b"\0")


class Image:
    """A file of zeros to store little-endian words in."""

    def __init__(self, size):
        self.data = bytearray(size)

    def put(self, offset, fmt, *values):
        struct.pack_into("<" + fmt, self.data, offset, *values)

    def get(self, offset, fmt):
        return struct.unpack_from("<" + fmt, self.data, offset)


class Lane:
    """One producer's ring, written by the rules of SPEC.md, "Writing a record" and "Limit and groups".

    `cursor`: the smallest cursor of the groups, or None: there is no group."""

    def __init__(self, capacity=4096, alignment=16, position=0, sequence=0):
        self.capacity, self.alignment = capacity, alignment
        self.image = Image(PAGE + capacity)
        self.tail, self.sequence, self.limit = position, sequence, position
        self.published = (position, sequence)
        self.finished, self.cursor, self.state = 0, None, 2
        self.checkpoints, self.last_checkpoint = [], 0
        self.log = []
        self.image.put(0, "128s", header_page("lane", capacity=capacity, alignment=alignment, file_size=PAGE + capacity))

    def offset(self, position):
        return PAGE + position % self.capacity

    def commit_word(self, position, state):
        self.image.put(self.offset(position), "I", state + 8 * (position // self.capacity % 2**29))

    def silence(self, position):
        """The word there must not be taken for one of its lap."""
        lap = position // self.capacity % 2**29
        (word,) = self.image.get(self.offset(position), "I")
        if word >> 3 == lap and word & 7 != EMPTY:
            self.commit_word(position, EMPTY)

    def permit(self, at, end):
        if end <= self.limit:
            return
        smallest = UNBOUNDED if self.cursor is None else self.cursor
        smallest = min([smallest] + [entry["position"] for entry in self.log if entry["state"] == CLAIMED])
        assert end <= smallest + self.capacity, "the ring is full"
        if at - self.last_checkpoint >= self.capacity // 16:
            self.checkpoints.append((at, self.sequence))
            self.last_checkpoint = at
        self.limit = min(end + self.capacity // 8, smallest + self.capacity)

    def begin(self, payload, content, loan):
        start = round_up(16, self.alignment)
        span = start + round_up(len(payload), self.alignment)
        assert len(payload) <= self.capacity // 2 - start
        at, left = self.tail, self.capacity - self.tail % self.capacity
        if span > left:
            at += left
        self.permit(at, at + span + 16)
        self.image.put(self.offset(at) + 4, "IIHBB", len(payload), self.sequence % 2**32, content, 0, 1)
        loans = [e for e in self.log if e["state"] == CLAIMED]
        if loans:
            self.commit_word(loans[-1]["position"], CLAIMED)
        self.silence(at + span)
        if at != self.tail:  # padding: a length whose span is what is left
            self.image.put(self.offset(self.tail) + 4, "IIHBB", left - start, self.sequence % 2**32, 0, 0, 2)
            self.commit_word(self.tail, PADDING)
        self.image.put(self.offset(at) + start, f"{len(payload)}s", payload)
        entry = {"position": at, "sequence": self.sequence, "content": content, "payload": payload, "state": CLAIMED}
        self.log.append(entry)
        self.tail, self.sequence = at + span, self.sequence + 1
        return entry

    def settle(self, entry, state):
        entry["state"] = state
        self.commit_word(entry["position"], state)
        open_loans = [e for e in self.log if e["state"] == CLAIMED]
        self.publish(*((open_loans[0]["position"], open_loans[0]["sequence"]) if open_loans else (self.tail, self.sequence)))

    def publish(self, position, sequence):
        self.published = (position, sequence)

    def send(self, payload, content=0):
        self.settle(self.begin(payload, content, loan=False), COMMITTED)

    def loan(self, payload, content=0):
        entry = self.begin(payload, content, loan=True)
        self.state = 1
        return entry

    def commit(self, entry):
        self.settle(entry, COMMITTED)

    def abort(self, entry):
        self.settle(entry, ABORTED)
        self.state = 2

    def finish(self):
        self.finished = self.tail | 1

    def raw_record(self, position, state, lap, length, extension):
        """What no producer writes. The tail stays before it."""
        self.image.put(self.offset(position), "IIIHBB", state + 8 * lap, length, 1, 0, extension, 1)

    def start(self):
        """The earliest boundary: SPEC.md, "Checkpoints"."""
        if self.limit <= self.capacity:
            return 0, 0
        found = self.published
        for checkpoint in reversed(self.checkpoints[-31:]):
            if not self.limit - self.capacity <= checkpoint[0] <= found[0]:
                break
            found = checkpoint
        return found

    def readable(self, until_claimed=False):
        """The records from the earliest boundary on, as a reader must see them."""
        records = []
        for entry in self.log:
            if until_claimed and entry["state"] == CLAIMED:
                break
            if entry["position"] >= self.start()[0] and entry["state"] == COMMITTED:
                records.append({"position": entry["position"], "sequence": entry["sequence"], "content": CONTENT.get(entry["content"], "bytes"),
                                "length": len(entry["payload"]), "payload": entry["payload"].hex()})
        return records

    def file(self):
        put = self.image.put
        # state, owner (of an owned lane), producer id, incarnation
        put(128, "IHHIIQQQ", self.state, 4 if self.state == 1 else 0, 0, 2 if self.state == 1 else 0, 0, 11, 1, 0)
        put(256, "Q", self.limit)
        put(264, "Q", self.finished)
        put(384, "QQ", self.published[0], self.published[1])
        put(640, "Q", len(self.checkpoints))
        for i, (position, sequence) in enumerate(self.checkpoints):
            put(1024 + 16 * (i % 32), "QQ", position, sequence)
        return {"role": "lane", "index": 0, "size": len(self.image.data), "bytes": sparse(self.image.data)}


class Group:
    """A group's file: SPEC.md, "Groups" and "Lock word and redo"."""

    SIZE = 40960
    STATES = {"free": 0, "held": 1, "returned": 2}

    def __init__(self, flags=0):
        self.flags, self.returned, self.lock, self.claims_used = flags, 0, 0, 0
        self.image = Image(self.SIZE)
        self.lanes, self.claims = [], []
        self.image.put(0, "128s", header_page("group", file_size=self.SIZE))

    def position(self, lane, cursor, following, next_sequence, lost=0, redelivered=0):
        self.image.put(PAGE + 64 * lane, "QQQQQQ", cursor, following, next_sequence, lost, 1, redelivered)
        self.lanes.append({"lane": lane, "cursor": cursor, "next": following, "next_sequence": next_sequence, "lost": lost, "incarnation": 1,
                           "redelivered": redelivered})

    def claim(self, number, state, slot=0, slot_generation=0, lane=0, count=0, deliveries=0, begin=0, end=0, begin_sequence=0, acked=0):
        self.image.put(8192 + 64 * number, "HHIHHHHQQQQ", self.STATES.get(state, state), slot, slot_generation, lane, count, deliveries, 0,
                       begin, end, begin_sequence, acked)
        self.claims_used = max(self.claims_used, number + 1)
        self.claims.append({"claim": number, "state": state, "slot": slot, "slot_generation": slot_generation, "lane": lane, "count": count,
                            "deliveries": deliveries, "begin": begin, "end": end, "begin_sequence": begin_sequence,
                            "acknowledged": [i for i in range(64) if acked >> i & 1]})

    def redo(self, count, entries):
        self.image.put(768, "IIQ", count, 0, 0)
        for i, (offset, value) in enumerate(entries):
            self.image.put(784 + 16 * i, "QQ", offset, value)

    def described(self):
        return {"exclusive": bool(self.flags & 1), "ephemeral": bool(self.flags & 2), "returned": self.returned, "lanes": self.lanes,
                "claims": self.claims}

    def file(self):
        self.image.put(128, "IIIIQQ", 0, self.flags, 0, 0, self.returned, self.claims_used)
        self.image.put(512, "I", self.lock)
        return {"role": "group", "index": 0, "size": self.SIZE, "bytes": sparse(self.image.data)}


class BytesFile:
    """The data file of a bytes segment: SPEC.md, "Bytes"."""

    # What a put stores, one after another. The stores of each are one vector of a putter that died after it.
    STEPS = ("taking the lock", "staging the content", "the redo's count", "making change odd", "copying half of the content",
             "copying the content", "length", "version", "setting the redo's count to 0")

    def __init__(self, size=4096, put_size=4096):
        self.size, self.put_size = size, put_size
        self.content, self.staging = bytearray(size), bytearray(put_size)
        self.lock = self.change = self.length = self.version = 0
        self.redo = (0, 0, [])

    def put(self, data, stop_after=None, slot=0, slot_generation=0):
        half = len(data) // 2

        def stage():
            self.staging[:len(data)] = data
            self.redo = (0, len(data), [(648, len(data)), (656, self.version + 1)])

        def copy(start, end):
            self.content[start:end] = data[start:end]

        steps = (lambda: setattr(self, "lock", (slot + 1) | slot_generation << 13), stage,
                 lambda: setattr(self, "redo", (2, *self.redo[1:])), lambda: setattr(self, "change", self.change + 1),
                 lambda: copy(0, half), lambda: copy(half, len(data)), lambda: setattr(self, "length", len(data)),
                 lambda: setattr(self, "version", self.version + 1), lambda: setattr(self, "redo", (0, *self.redo[1:])),
                 lambda: setattr(self, "change", self.change + 1), lambda: setattr(self, "lock", 0))
        for i, step in enumerate(steps):
            step()
            if i == stop_after:
                return

    def file(self):
        staging = PAGE + round_up(self.size, PAGE)
        image = Image(staging + round_up(self.put_size, PAGE))
        image.put(0, "128s", header_page("data", kind="bytes", capacity=self.size, alignment=64, file_size=len(image.data)))
        image.put(256, "IIQQQQQ", 1, 0, 0, 0, 1, self.put_size, staging)
        image.put(512, "I", self.lock)
        image.put(640, "QQQ", self.change, self.length, self.version)
        count, copy_length, entries = self.redo
        image.put(768, "IIQ", count, 0, copy_length)
        for i, entry in enumerate(entries):
            image.put(784 + 16 * i, "QQ", *entry)
        image.put(PAGE, f"{self.size}s", bytes(self.content))
        image.put(staging, f"{self.put_size}s", bytes(self.staging))
        return {"role": "data", "index": 0, "size": len(image.data), "bytes": sparse(image.data)}
