// Adds up the prices of producer.py. Both are in README.md.
import { connect } from 'atoll-ipc';            // npm install ./bindings/node

const client = await connect();
const consumer = await client.openConsumer('prices', { group: 'web', waitMs: 10_000 });
let sum = 0;
for await (const message of consumer) sum += message.json().price;   // ends when the producer has finished
console.log(sum);
