"""Sends a thousand prices as JSON. Read by consumer.mjs; both are in README.md."""
import atoll                                    # pip install ./bindings/python

with atoll.connect() as client:                 # starts a broker for you if there is none
    client.create("prices", capacity=1 << 20)   # not an error if it is there already
    with client.open_producer("prices") as producer:
        for i in range(1000):
            producer.send_json({"i": i, "price": 100 + i})
        producer.finish()
