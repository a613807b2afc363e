// The worker of the Node package. See README.md here.
import { openSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';

const require = createRequire(new URL('../../../bindings/node/', import.meta.url));
const { connect } = require('./lib/index.js');

const kLong = 60000; // ms; so long that a wake-up that is lost is noticed
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
const limit = { timeoutMs: kLong, signal: stop.signal };

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

async function produce(client, stream, id, path) {
  const report = openSync(path, 'r+');
  const number = Buffer.alloc(8);
  const say = (value, at) => {
    number.writeBigUInt64LE(BigInt(value));
    writeSync(report, number, 0, 8, at);
  };
  const producer = await client.openProducer(stream, { waitMs: 20000 });
  for (let next = 0; !stop.signal.aborted; ) {
    const phase = next % 16;
    const count = phase === 13 ? 3 : 1;
    say(next + count, 0);
    if (phase >= 10 && phase < 13) {
      const loan = await producer.loan(lengthOf(id, next), limit);
      record(id, next).copy(loan.buffer);
      loan.commit();
    } else if (count === 1) {
      await producer.send(record(id, next), limit);
    } else {
      await producer.sendMany([record(id, next), record(id, next + 1), record(id, next + 2)], limit);
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
      if (error.code !== 'GROUP_EXCLUSIVE' || Date.now() - begin > 20000) throw error;
    }
  }
  const received = (message) => {
    const data = Buffer.from(message.data.buffer, message.data.byteOffset, message.data.byteLength);
    const id = data.readUInt32LE(0);
    const sequence = data.readBigUInt64LE(8);
    if (!data.equals(record(id, Number(sequence)))) throw new Error(`record ${sequence} of producer ${id} is not what was sent`);
    note(1, id, sequence, message.deliveries, Number(message.lost));
    return { id, sequence };
  };
  if (mode !== 'manual') {
    // receive() would acknowledge what it returns before it is written down; this loop does when it moves on. When the
    // group has heard of that is not told, so nothing is noted as dealt with.
    stop.signal.addEventListener('abort', () => consumer.close());
    for await (const message of consumer) received(message);
    return;
  }
  for (;;) {
    const message = await consumer.receive(limit);
    const { id, sequence } = received(message);
    const { deliveries } = message;
    if (sequence % 50n === 0n && deliveries === 1) {
      message.reject();
      continue;
    }
    message.acknowledge();
    note(2, id, sequence, deliveries, 0);
  }
}

const [role, ...words] = process.argv.slice(2);
const client = await connect();
try {
  if (role === 'produce') await produce(client, words[0], Number(words[1]), words[2]);
  else await consume(client, ...words);
} catch (error) {
  if (!stop.signal.aborted) throw error;
}
await client.close();
