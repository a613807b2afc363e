// The worker of the Node package. See README.md here.
import { openSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';

const require = createRequire(new URL('../../../bindings/node/', import.meta.url));
const { connect } = require('./lib/index.js');

let stop = false;
process.on('SIGTERM', () => {
  stop = true;
});

const turn = () => new Promise((resolve) => setImmediate(resolve));
const lengthOf = (id, sequence) => 16 + ((sequence * sequence * 31 + id * 17) % 700);

function record(id, sequence) {
  const length = lengthOf(id, sequence);
  const data = Buffer.alloc(length);
  data.writeUInt32LE(id, 0);
  data.writeUInt32LE(length, 4);
  data.writeBigUInt64LE(BigInt(sequence), 8);
  for (let j = 16; j < length; j++) data[j] = (sequence * 37 + id + j) & 255;
  return data;
}

// Until it is done or the worker is to stop; undefined: it is to stop.
async function insist(call) {
  for (;;) {
    try {
      return (await call()) ?? true;
    } catch (error) {
      if (error.code !== 'TIMED_OUT') throw error;
      if (stop) return undefined;
    }
  }
}

async function produce(client, stream, id, path) {
  const report = openSync(path, 'r+');
  const number = Buffer.alloc(8);
  const say = (value, at) => {
    number.writeBigUInt64LE(BigInt(value));
    writeSync(report, number, 0, 8, at);
  };
  const producer = await client.openProducer(stream, { waitMs: 20000 });
  const limit = { timeoutMs: 100 };
  for (let next = 0; !stop; ) {
    const phase = next % 16;
    const count = phase === 13 ? 3 : 1;
    say(next + count, 0);
    if (phase >= 10 && phase < 13) {
      const loan = await insist(() => producer.loan(lengthOf(id, next), limit));
      if (!loan) return;
      record(id, next).copy(loan.buffer);
      loan.commit();
    } else if (count === 1) {
      if (!(await insist(() => producer.send(record(id, next), limit)))) return;
    } else {
      for (let i = 0; i < count; i++) {
        if (!(await insist(() => producer.sendMany([record(id, next + i)], limit)))) return;
        say(next + i + 1, 8);
      }
    }
    next += count;
    say(next, 8);
    if (next % 64 === 0) await pause(2);
  }
}

async function consume(client, stream, group, mode, path) {
  const log = openSync(path, 'a');
  const event = Buffer.alloc(32);
  const note = (kind, id, sequence, deliveries, lost) => {
    event.writeUInt32LE(kind, 0);
    event.writeUInt32LE(id, 4);
    event.writeBigUInt64LE(sequence, 8);
    event.writeUInt32LE(deliveries, 16);
    event.writeUInt32LE(lost, 20);
    event.writeBigUInt64LE(process.hrtime.bigint(), 24);
    writeSync(log, event);
  };
  const begin = Date.now();
  let consumer;
  while (!consumer) {
    try {
      consumer = await client.openConsumer(stream, { group, manual: mode === 'manual', exclusive: mode === 'exclusive', waitMs: 20000 });
    } catch (error) {
      if (error.code !== 'GROUP_EXCLUSIVE' || stop || Date.now() - begin > 20000) throw error;
    }
  }
  while (!stop) {
    let message;
    try {
      message = await consumer.receive({ timeoutMs: 100 });
    } catch (error) {
      if (error.code !== 'TIMED_OUT') throw error;
      continue;
    }
    const data = Buffer.from(message.data.buffer, message.data.byteOffset, message.data.byteLength);
    const id = data.readUInt32LE(0);
    const sequence = data.readBigUInt64LE(8);
    if (!data.equals(record(id, Number(sequence)))) throw new Error(`record ${sequence} of producer ${id} is not what was sent`);
    const { deliveries } = message;
    note(1, id, sequence, deliveries, Number(message.lost));
    if (mode === 'manual' && sequence % 50n === 0n && deliveries === 1) {
      message.reject();
      message.release();
      continue;
    }
    if (mode === 'manual') message.acknowledge();
    message.release();
    if (mode !== 'manual') await turn();  // that is when the library is told
    note(2, id, sequence, deliveries, 0);
  }
}

const [role, ...words] = process.argv.slice(2);
const client = await connect();
if (role === 'produce') await produce(client, words[0], Number(words[1]), words[2]);
else await consume(client, ...words);
await client.close();
