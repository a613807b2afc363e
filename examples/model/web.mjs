// A web server that asks model.py: http://127.0.0.1:8080/?x=21. In README.md, too.
import { createServer } from 'node:http';
import { connect } from 'atoll-ipc';

const client = await connect();
const requests = await client.openProducer('model/requests', { waitMs: 10_000 });
const replies = await client.openConsumer('model/replies', { group: `web-${process.pid}`, ephemeral: true, start: 'latest', waitMs: 10_000 });
const waiting = new Map();
let next = 0;

createServer(async (request, response) => {
  const id = `${process.pid}-${next++}`;
  waiting.set(id, response);
  await requests.sendJson({ id, x: Number(new URL(request.url, 'http://x').searchParams.get('x')) });
}).listen(process.env.PORT ?? 8080, '127.0.0.1', function () { console.log(this.address().port); });

for await (const message of replies) {
  const { id, answer } = message.json();
  waiting.get(id)?.end(`${answer}\n`);
  waiting.delete(id);
}
