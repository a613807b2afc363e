// Atoll, Node's half: package atoll-ipc, `await consumer.receiveBatch()` in a loop, its columns read (pong:
// `receiveMany()`). It never blocks the event loop, but with --wait spin, where pong waits in `receiveSync()`, which spins before it sleeps, and answers with `trySend`.
import path from 'node:path';
import { connect } from '../../bindings/node/lib/index.mjs';
import { Stopwatch, checker, cpuSeconds, fail, parse, ready, report } from '../common/bench.mjs';

const options = parse();

async function pong(consumer, producer) {
  const checked = checker(options.size);
  const warmUp = Math.floor(options.count / 10);
  const total = options.count + warmUp;
  let cpu = 0;
  while (checked.number < total) {
    for (const { data } of await consumer.receiveMany()) {
      checked.check(data, 0, data.length);
      if (checked.number === warmUp + 1) cpu = cpuSeconds();
      await producer.send(data);
    }
  }
  report({ count: options.count, errors: checked.errors, cpu_seconds: cpuSeconds() - cpu });
}

function pongSync(consumer, producer) {
  const checked = checker(options.size);
  const warmUp = Math.floor(options.count / 10);
  const total = options.count + warmUp;
  let cpu = 0;
  while (checked.number < total) {
    const { data } = consumer.receiveSync();
    checked.check(data, 0, data.length);
    if (checked.number === warmUp + 1) cpu = cpuSeconds();
    while (!producer.trySend(data));
  }
  report({ count: options.count, errors: checked.errors, cpu_seconds: cpuSeconds() - cpu });
}

// A function of its own: loops within async functions are compiled less well.
function checkAll(checked, { length, data, offsets, lengths }) {
  for (let i = 0; i < length; ++i) checked.check(data, offsets[i], lengths[i]);
}

async function receive(consumer) {
  const checked = checker(options.size);
  const stopwatch = new Stopwatch();
  while (checked.number < options.count) {
    const batch = await consumer.receiveBatch();
    if (checked.number === 0) stopwatch.start();
    checkAll(checked, batch);
    batch.release();
  }
  stopwatch.report(checked);
}

async function main() {
  const run = `bench/${path.basename(options.path)}`;
  const client = await connect();
  const stream = { capacity: options.capacity, alignment: options.align };
  await client.create(`${run}/forth`, stream);
  const consumer = await client.openConsumer(`${run}/forth`, { exclusive: true });
  if (options.role === 'pong') {
    await client.create(`${run}/back`, stream);
    const producer = await client.openProducer(`${run}/back`);
    ready();
    if (options.wait === 'spin') pongSync(consumer, producer);
    else await pong(consumer, producer);
    await producer.close();
    await consumer.close();
  } else {
    ready();
    await receive(consumer);
    await consumer.close();
    await client.remove(`${run}/forth`, { force: true });
  }
  await client.close?.();
}

main().catch(fail);
