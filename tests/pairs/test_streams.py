"""Every language's producer with every language's consumer: records of all sizes, texts, JSON, both ways."""
import itertools
import json

import pytest

LANGUAGES = ("C++", "Python", "Node")
PAIRS = list(itertools.product(LANGUAGES, LANGUAGES))
pytestmark = pytest.mark.parametrize("producer, consumer", PAIRS, ids=lambda language: language)


@pytest.mark.parametrize("alignment", [16, 64])
def test_records_of_all_sizes_arrive_unchanged_and_in_order(agents, producer, consumer, alignment):
    p, c = agents(producer), agents(consumer)
    p.call("create", name="s", kind="stream", capacity=65536, alignment=alignment)
    c.call("open_consumer", h="c", name="s")
    p.call("open_producer", h="p", name="s")
    work = {"count": 3000, "seed": 7, "largest": 3000, "timeout_ms": 20_000}
    reading = c.begin("receive_pattern", h="c", **work)
    p.call("send_pattern", h="p", **work)
    assert reading.result()["received"] == 3000


@pytest.mark.parametrize("content, data", [
    ("text", "Zürich, Łódź, 東京".encode()), ("json", json.dumps({"a": [1, 2.5, None, "é"]}).encode()), ("bytes", bytes(range(256)))])
def test_a_record_arrives_with_what_it_holds(agents, producer, consumer, content, data):
    p, c = agents(producer), agents(consumer)
    p.call("create", name="s", kind="stream")
    p.call("open_producer", h="p", name="s")
    p.call("send", h="p", data=data, content=content)
    c.call("open_consumer", h="c", name="s")
    record = c.call("receive", h="c")
    assert (record["content"], record["data"]) == (content, data)


def test_a_request_is_answered_through_a_second_stream(agents, producer, consumer):
    asker, answerer = agents(producer), agents(consumer)
    for name in ("requests", "replies"):
        asker.call("create", name=name, kind="stream", capacity=4096)
    asker.call("open_producer", h="ask", name="requests")
    asker.call("open_consumer", h="hear", name="replies")
    answerer.call("open_consumer", h="hear", name="requests")
    answerer.call("open_producer", h="answer", name="replies")
    for i in range(50):
        waiting = answerer.begin("receive", h="hear")
        asker.call("send", h="ask", data=b"%d" % i)
        answerer_got = waiting.result()["data"]
        answerer.call("send", h="answer", data=answerer_got + b"!")
        assert asker.call("receive", h="hear")["data"] == b"%d!" % i
