"""What README.md shows is what examples/ has, and it runs."""
import json
import os
import pathlib
import re
import subprocess
import urllib.request

import pytest
from support.agents import PYTHON, ROOT

BLOCKS = re.findall(r"```(?:python|js)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
FILES = ["prices/producer.py", "prices/consumer.mjs", "model/model.py", "model/web.mjs"]


def run(name: str, **options) -> subprocess.Popen:
    path = ROOT / "examples" / name
    program = PYTHON if path.suffix == ".py" else "node"
    return subprocess.Popen([str(program), str(path)], stdout=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("block, name", list(zip(BLOCKS, FILES, strict=True)), ids=FILES)
def test_the_code_in_the_readme_is_the_example(block, name):
    assert (ROOT / "examples" / name).read_text().endswith(block)


def test_the_first_example_adds_up_a_thousand_prices(runtime):
    producer, consumer = run("prices/producer.py"), run("prices/consumer.mjs")
    assert consumer.communicate(timeout=60)[0] == f"{sum(100 + i for i in range(1000))}\n"
    assert (producer.wait(60), consumer.returncode) == (0, 0)
    producer.stdout.close()


def test_flights_lose_nothing_when_the_consumer_comes_long_after_the_producer(runtime, tmp_path):
    flights = tmp_path / "flights.json"
    flights.write_text(json.dumps([{"delay": i % 200 - 20, "distance": i % 3000, "time": i % 2400 / 100} for i in range(60_000)]))
    producer = subprocess.Popen([str(PYTHON), str(ROOT / "examples/flights/producer.py"), str(flights), "--events"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in producer.stderr:
        if json.loads(line).get("sent") == 20_000:
            break  # the ring is nearly full, and nobody reads yet
    consumer = run("flights/consumer.mjs")
    out, _ = producer.communicate(timeout=60)
    assert out.endswith("the tables agree\n") and producer.returncode == 0
    assert consumer.wait(60) == 0
    consumer.stdout.close()


def test_a_web_server_asks_two_models(runtime):
    programs = [run("model/model.py"), run("model/model.py"), run("model/web.mjs", env=os.environ | {"PORT": "0"})]
    try:
        port = int(programs[-1].stdout.readline())
        for x in range(20):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/?x={x}", timeout=30) as reply:
                assert reply.read() == b"%d\n" % (2 * x)
    finally:
        for program in programs:
            program.kill()
            program.wait()
            program.stdout.close()
