// Atoll from Node: from connect to the first message received and checked, once. The import is over by then.
//
// The broker is the one that runs; --variant none: there is none, and connecting starts it. The driver ends it.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { connect } from '../../bindings/node/lib/index.mjs';
import { cpuSeconds, fail, messages, parse, report } from '../common/bench.mjs';

const options = parse();

async function main() {
  const name = `bench/${path.basename(options.path)}/first`;
  const where = options.variant === 'none' ? { socket: path.join(options.path, 'broker', 'socket') } : {};
  if (where.socket) mkdirSync(path.dirname(where.socket), { mode: 0o700 });
  const message = messages(options.size)[1];
  const cpu = cpuSeconds();
  const begin = process.hrtime.bigint();
  const client = await connect(where);
  await client.create(name, { capacity: 256 << 10 });
  const consumer = await client.openConsumer(name);
  const producer = await client.openProducer(name);
  await producer.send(message);
  const received = await consumer.receive();
  const took = Number(process.hrtime.bigint() - begin);
  const used = cpuSeconds() - cpu;
  const errors = message.equals(received.data) ? 0 : 1;
  await consumer.close();
  await producer.close();
  await client.remove(name, { force: true });
  const broker = where.socket ? (await client.status()).pid : 0;
  await client.close();
  report({ count: 1, errors, seconds: took * 1e-9, cpu_seconds: used, ms: took * 1e-6, broker_pid: broker });
}

main().catch(fail);
