"""The agent of the Python package. See README.md here."""
import json
import os
import signal
import sys

import atoll
import numpy

client = None
handles = {}
views = {}
loans = {}


CONTENTS = {"bytes": 0, "text": 1, "json": 2, "array": 3}
MODES = {"read": "r", "write": "r+", "copy": "c"}
DROPPED = {"name": "dropped", "code": 5, "message": "send answered False", "segment": "", "fix": "read faster", "detail": 0}


class Refusal(Exception):
    """An error that did not come as an exception of the package."""


def limit(request, field="timeout_ms", otherwise=10_000):
    """A time limit in the package's terms: seconds, None for ever."""
    ms = request.get(field, otherwise)
    return None if ms < 0 else ms / 1000


def given(request, *fields, **renamed):
    """Those of the fields that the request has, as keyword arguments."""
    arguments = {field: request[field] for field in fields if field in request}
    return arguments | {new: request[old] for old, new in renamed.items() if old in request}


def pattern(seed, largest):
    table = bytes(((k % 4096) * 7 + (k % 4096) // 256 * 13) % 256 for k in range(4096 + largest))

    def record(i):
        start = (i * 37 + seed) % 4096
        return table[start:start + (i * i * 31 + seed * 17) % (largest + 1)]

    return record


def connect(r):
    global client
    client = atoll.connect(**given(r, "start_broker", "socket"))


def create(r):
    options = given(r, "kind", "capacity", "when_full", "alignment", "size", "put_size", "backing", "directory", "access")
    return {"created": client.create(r["name"], **options)}


def remove(r):
    client.remove(r["name"], **given(r, "force"))


def call(r):
    return {"reply": client.call(r["method"], **r.get("parameters", {}))}


def open_producer(r):
    handles[r["h"]] = client.open_producer(r["name"], wait=limit(r, "wait_ms", 0))


def start(r):
    if r.get("start") == "back":
        return {"start": r["back"]}
    return given(r, "start")


def open_consumer(r):
    handles[r["h"]] = client.open_consumer(r["name"], wait=limit(r, "wait_ms", 0), **start(r),
                                           **given(r, "group", "manual", "exclusive", "ephemeral", "spin"))


def open_observer(r):
    handles[r["h"]] = client.open_observer(r["name"], wait=limit(r, "wait_ms", 0), **start(r))


def open_bytes(r):
    handles[r["h"]] = client.open_bytes(r["name"], MODES[r.get("mode", "read")], wait=limit(r, "wait_ms", 0))


def send(r):
    # With its content said, as the package does for send, send_json and send_array.
    if not handles[r["h"]]._send(bytes.fromhex(r["data"]), CONTENTS[r.get("content", "bytes")], limit(r)):
        raise Refusal(DROPPED)


def send_many(r):
    return {"sent": handles[r["h"]].send_many([bytes.fromhex(data) for data in r["records"]], timeout=limit(r))}


def loan(r):
    data = bytes.fromhex(r["data"])
    loans[r["v"]] = made = handles[r["h"]].loan(len(data), timeout=limit(r))
    made.view[:] = data


def receive(r):
    view = handles[r["h"]].receive(timeout=limit(r))
    answer = {"data": bytes(view).hex(), "sequence": view.sequence, "lane": view.lane, "lost": view.lost,
              "content": view.content, "deliveries": view.deliveries}
    if "v" in r:
        views[r["v"]] = view
    else:
        view.release()
    return answer


def send_pattern(r):
    record, producer = pattern(r["seed"], r["largest"]), handles[r["h"]]
    for i in range(r["count"]):
        producer.send(record(i), timeout=limit(r))
    return {"received": r["count"]}


def receive_pattern(r):
    record, consumer = pattern(r["seed"], r["largest"]), handles[r["h"]]
    for i in range(r["count"]):
        with consumer.receive(timeout=limit(r)) as view:
            assert view.view == record(i), f"record {i} differs"
    return {"received": r["count"]}


def get(r):
    content, version = handles[r["h"]].get_versioned(r.get("after", 0), limit(r))
    return {"data": content.hex(), "version": version}


def send_array(r):
    array = numpy.frombuffer(bytes.fromhex(r["data"]), dtype=r["dtype"]).reshape(r["shape"], order=r["order"])
    handles[r["h"]].send_array(array)


def receive_array(r):
    array = handles[r["h"]].receive_array(timeout=limit(r))
    order = "C" if array.flags.c_contiguous else "F"
    return {"dtype": array.dtype.str, "shape": list(array.shape), "order": order, "data": array.tobytes(order="A").hex()}


def info(r):
    return handles[r["h"]]._info()


def exhaust_descriptors(r):
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass


def fork_and_stay(r):
    child = os.fork()
    while child == 0:
        signal.pause()
    return {"pid": child}


OPERATIONS = {
    function.__name__: function
    for function in (connect, create, remove, call, open_producer, open_consumer, open_observer, open_bytes, send, send_many, loan,
                     receive, send_pattern, receive_pattern, get, send_array, receive_array, info, exhaust_descriptors, fork_and_stay)
} | {
    "commit": lambda r: loans[r["v"]].commit(),
    "abort": lambda r: loans[r["v"]].abort(),
    "finish": lambda r: handles[r["h"]].finish(),
    "release": lambda r: views[r["v"]].release(),
    "acknowledge": lambda r: views[r["v"]].acknowledge(),
    "acknowledge_up_to": lambda r: views[r["v"]].acknowledge_up_to(),
    "reject": lambda r: views[r["v"]].reject(),
    "read_at": lambda r: {"data": bytes(handles[r["h"]].read_at(r["offset"], r["length"])).hex()},
    "write_at": lambda r: handles[r["h"]].write_at(r["offset"], bytes.fromhex(r["data"])),
    "flush": lambda r: handles[r["h"]].flush(),
    "put": lambda r: handles[r["h"]].put(bytes.fromhex(r["data"]), timeout=limit(r)),
    "receive_json": lambda r: {"value": handles[r["h"]].receive_json(timeout=limit(r))},
    "close": lambda r: handles[r["h"]].close(),
}


def facts_of(error):
    return {"name": error.name, "code": error.code, "message": str(error.args[0]), "segment": error.segment, "fix": error.fix,
            "detail": error.detail}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": OPERATIONS[request["op"]](request) or {}}
        except atoll.AtollError as error:
            answer = {"error": facts_of(error)}
        except Refusal as refusal:
            answer = {"error": refusal.args[0]}
        except Exception as error:
            answer = {"broken": repr(error)}
        print(json.dumps(answer), flush=True)
    views.clear()
    for handle in handles.values():
        handle.close()
    if client is not None:
        client.close()


if __name__ == "__main__":
    main()
