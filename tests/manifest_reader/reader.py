"""Reads a segment from its manifest alone: Python's standard library, no Atoll, no broker, no number of the layout.

    python3 reader.py MANIFEST [COUNT]

prints a stream's records, from the earliest on and then live, one JSON object a line, until COUNT have come or all
producers have finished; of a bytes segment the content last put. Everything it knows about the files it takes from
the manifest's `files` and `layout`. It only looks, so it has no bell: it polls.
"""
import json
import mmap
import os
import sys
import time

POLL_SECONDS = 0.002


class Struct:
    """Named unsigned integers of a mapped file, where the manifest says they are."""

    def __init__(self, memory, fields, byte_order, base=0):
        self.memory, self.fields, self.byte_order, self.base = memory, fields, byte_order, base

    def __getattr__(self, name):
        field = self.fields[name]
        start = self.base + field["offset"]
        return int.from_bytes(self.memory[start : start + field["width"]], self.byte_order)

    def raw(self, name):
        field = self.fields[name]
        start = self.base + field["offset"]
        return self.memory[start : start + field["width"]]


def bits(word, place):
    """The part of a word that {shift, bits} names."""
    return word >> place["shift"] & (1 << place["bits"]) - 1


def round_up(number, multiple):
    return -(-number // multiple) * multiple


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def map_file(manifest, file):
    """Maps a file of the segment and checks that it is the one the manifest means."""
    if file["path"] is None:
        raise SystemExit(f"{manifest['name']}: its {file['role']} file has no path (backing {manifest['backing']}): only the broker can hand it out")
    descriptor = os.open(file["path"], os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size < file["size"]:
            raise SystemExit(f"{file['path']}: shorter than the manifest says")
        memory = mmap.mmap(descriptor, file["size"], mmap.MAP_SHARED, mmap.PROT_READ)
    finally:
        os.close(descriptor)
    layout = manifest["layout"]["header_page"]
    page = Struct(memory, layout["fields"], manifest["byte_order"])
    if page.raw("magic") != layout["magic"].encode() or page.raw("uuid").hex() != manifest["uuid"].replace("-", ""):
        raise SystemExit(f"{file['path']}: not a file of this segment")
    if page.min_reader_version > manifest["layout_version"] or page.role != layout["roles"][file["role"]]:
        raise SystemExit(f"{file['path']}: does not fit the manifest")
    return memory


class Lane:
    """One producer's ring, read from the earliest record still there."""

    def __init__(self, manifest, file):
        self.number, self.incarnation = file["lane"], file["incarnation"]
        self.order, self.alignment, self.capacity = manifest["byte_order"], manifest["alignment"], manifest["capacity"]
        self.layout, self.ring = manifest["layout"], manifest["layout"]["lane"]["ring"]
        self.memory = map_file(manifest, file)
        self.header = Struct(self.memory, self.layout["lane"]["fields"], self.order)
        self.position, self.sequence = self.earliest()
        self.missed = self.sequence

    def floor(self):
        limit = self.header.limit
        return limit - self.capacity if limit > self.capacity else 0

    def earliest(self):
        """`ring.start`: the oldest record boundary that may not be written over yet, and its record's number."""
        floor = self.floor()
        if floor == 0:
            return 0, 0
        table = self.layout["lane"]["checkpoints"]
        tail = self.header.tail
        best = tail, self.header.sequence
        count = self.header.checkpoint_count
        for i in range(count - 1, max(0, count - table["count"]) - 1, -1):
            entry = Struct(self.memory, table["fields"], self.order, table["offset"] + i % table["count"] * table["stride"])
            here = entry.position, entry.sequence
            if self.header.checkpoint_count - i >= table["count"] or not floor <= here[0] <= best[0]:
                break
            best = here
        return best

    def look(self):
        """The next record as a dict, or None: nothing there yet."""
        states = self.layout["record"]["states"]
        word = self.layout["record"]["commit"]
        while True:
            start = self.ring["offset"] + self.position % self.capacity
            record = Struct(self.memory, self.layout["record"]["fields"], self.order, start)
            commit = record.commit
            state = bits(commit, word["state"])
            lap = self.position // self.capacity % (1 << word["lap"]["bits"])
            waits = state in (states["empty"], states["claimed"]) or bits(commit, word["lap"]) != lap
            if waits and self.floor() <= self.position:
                return None
            begin = round_up(self.layout["record"]["header_size"] + 8 * record.extension_length, self.alignment)
            span = begin + round_up(record.length, self.alignment)
            inside = self.position % self.capacity + span <= self.capacity
            payload = self.memory[start + begin : start + begin + record.length] if inside else b""
            low, flags = record.sequence, record.flags
            if waits or not inside or record.commit != commit or self.floor() > self.position:
                self.overtaken()
                continue
            self.position += span
            if state == states["padding"]:
                continue
            # The header holds the low half of the number: the whole one is the next that ends so.
            half = 1 << 8 * self.layout["record"]["fields"]["sequence"]["width"]
            sequence = self.sequence + (low - self.sequence) % half
            missed, self.missed, self.sequence = self.missed + sequence - self.sequence, 0, sequence + 1
            if state != states["committed"]:
                self.missed = missed
                continue
            kinds = self.layout["record"]["content"]
            content = next((kind for kind, value in kinds.items() if kind != "mask" and value == flags & kinds["mask"]), "bytes")
            return {"lane": self.number, "sequence": sequence, "missed": missed, "content": content, "data": payload}

    def overtaken(self):
        """The producer wrote over what was to be read next: goes on at the oldest record left."""
        self.position, sequence = self.earliest()
        self.missed += max(0, sequence - self.sequence)
        self.sequence = max(sequence, self.sequence)

    def ended(self):
        return self.header.finished != 0 and self.position >= self.header.tail

    def closed(self):
        return self.header.state == self.layout["lane"]["states"]["closed"] and self.position >= self.header.tail


class Stream:
    """All lanes of a stream; new ones are found when the header says that something changed."""

    def __init__(self, path):
        self.path, self.lanes, self.changes = path, {}, None
        manifest = load(path)
        file = next(file for file in manifest["files"] if file["role"] == "header")
        self.header = Struct(map_file(manifest, file), manifest["layout"]["header"]["fields"], manifest["byte_order"])
        self.states = manifest["layout"]["header"]["states"]

    def refresh(self):
        changes = self.header.changes
        known = sum(1 << number for number in self.lanes)
        if changes == self.changes and self.header.active_lanes & ~known == 0:
            return
        self.changes = changes
        try:
            manifest = load(self.path)
        except FileNotFoundError:
            return  # removed: what is mapped can still be read
        for file in manifest["files"]:
            if file["role"] == "lane":
                lane = self.lanes.get(file["lane"])
                if lane is None or lane.incarnation != file["incarnation"]:
                    self.lanes[file["lane"]] = Lane(manifest, file)

    def records(self):
        """Records of all lanes, until all producers have finished or the segment is removed."""
        while True:
            self.refresh()
            removed = self.header.state != self.states["live"]
            lanes = list(self.lanes.values())
            ends = [(lane.ended(), lane.closed()) for lane in lanes]  # looked at before the records: what comes later keeps it open
            found = False
            for lane in lanes:
                while (record := lane.look()) is not None:
                    found = True
                    yield record
            if not found:
                if removed or (any(end for end, _ in ends) and all(end or closed for end, closed in ends)):
                    return
                time.sleep(POLL_SECONDS)


def content(path):
    """A bytes segment's content last put, and its version: never half of one and half of another."""
    manifest = load(path)
    layout = manifest["layout"]["data"]
    memory = map_file(manifest, next(file for file in manifest["files"] if file["role"] == "data"))
    header = Struct(memory, layout["fields"], manifest["byte_order"])
    start = layout["content"]["offset"]
    while True:
        change = header.change
        length, version = header.length, header.version
        data = memory[start : start + min(length, manifest["size"])]
        if change % 2 == 0 and header.change == change:
            return {"version": version, "data": data}
        time.sleep(POLL_SECONDS)


def main(path, count=None):
    def say(what):
        print(json.dumps({**what, "data": what["data"].hex()}), flush=True)

    if load(path)["kind"] == "bytes":
        say(content(path))
        return
    for number, record in enumerate(Stream(path).records(), start=1):
        say(record)
        if number == count:
            return


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
