// Atoll from Node: from connect to the first message received and checked, once. The import is over by then.
import path from 'node:path';
import { connect } from '../../bindings/node/lib/index.mjs';
import { cpuSeconds, fail, messages, parse, report } from '../common/bench.mjs';

const options = parse();

async function main() {
  const name = `bench/${path.basename(options.path)}/first`;
  const message = messages(options.size)[1];
  const cpu = cpuSeconds();
  const begin = process.hrtime.bigint();
  const client = await connect();
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
  await client.close();
  report({ count: 1, errors, seconds: took * 1e-9, cpu_seconds: used, ms: took * 1e-6 });
}

main().catch(fail);
