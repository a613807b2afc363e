"""A model that answers the web server web.mjs: one stream brings questions, one takes answers. In README.md, too."""
import atoll

with atoll.connect() as client:
    client.create("model/requests"); client.create("model/replies")
    with client.open_consumer("model/requests", group="workers") as requests, client.open_producer("model/replies") as replies:
        for request in requests:
            question = request.json()
            replies.send_json({"id": question["id"], "answer": question["x"] * 2})
