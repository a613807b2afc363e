// Receives what producer.py sends and answers with a table of delays by hour.
//
//   node consumer.mjs [--json]
//
// Waits for the stream `flights`, reads it to its end, and sends its table back through `delays`.
import { connect } from 'atoll-ipc';

const json = process.argv.includes('--json');
const client = await connect();
const flights = await client.openConsumer('flights', { group: 'consumer', waitMs: 60_000 });

const table = new Map(); // hour -> {hour, count, sum, worst}
for await (const message of flights) {
  const { delay, time } = json
    ? message.json()
    : { delay: message.data.readInt32LE(0), time: message.data.readDoubleLE(8) };
  const hour = Math.floor(time) % 24;
  let row = table.get(hour);
  if (row === undefined) table.set(hour, (row = { hour, count: 0, sum: 0, worst: delay }));
  row.count += 1;
  row.sum += delay;
  row.worst = Math.max(row.worst, delay);
}

const answers = await client.openProducer('delays');
await answers.sendJson([...table.values()]);
await answers.finish();
await answers.close();
await flights.close();
await client.close();
