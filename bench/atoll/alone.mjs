// Atoll from Node, one side alone: how many messages a second, with nobody else at work.
//
// --variant send, trySend, sendMany: into a ring that overwrites, so that nothing waits. receive, tryReceive,
// receiveMany, receiveBatch, for-await: the ring is filled, then the clock runs while it is emptied, and again;
// every eighth filling is checked message by message and not timed, of the others the length of each message's
// data is looked at (receiveBatch: the column of lengths). empty: a call of an addon's function that does nothing.
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect } from '../../bindings/node/lib/index.mjs';
import { checker, cpuSeconds, fail, messages, parse, report } from '../common/bench.mjs';

const ROUND = 10_240; // messages of a filling or of a look at the clock; a multiple of all batches
const options = parse();

// The function of empty_call_node.c, which the driver built beside the other programs.
function emptyCall() {
  const build = process.env.ATOLL_BENCH_BUILD ?? fileURLToPath(new URL('../../build-bench', import.meta.url));
  return createRequire(import.meta.url)(path.resolve(build, 'bench', 'empty_call.node'));
}

// Repeats prepare() and step() until step() took so long; the first is not counted.
async function timed(step, prepare, check) {
  let count = 0;
  let spent = 0n;
  const enough = BigInt(Math.round(options.seconds * 1e9));
  for (let turn = -1; spent < enough; ++turn) {
    await prepare?.();
    if (check && turn % 8 === 7) {
      await check();
      continue;
    }
    const begin = process.hrtime.bigint();
    await step();
    const took = process.hrtime.bigint() - begin;
    if (turn < 0) continue;
    spent += took;
    count += ROUND;
  }
  return { count, seconds: Number(spent) * 1e-9 };
}

function sending(producer, all) {
  const batches = Array.from({ length: ROUND / options.batch }, (_, i) => all.slice(i * options.batch, (i + 1) * options.batch));
  return {
    send: async () => {
      for (const message of all) await producer.send(message);
    },
    trySend: () => {
      for (const message of all) producer.trySend(message);
    },
    sendMany: async () => {
      for (const batch of batches) await producer.sendMany(batch);
    },
  }[options.variant];
}

function receiving(consumer, checked) {
  const short = (message) => {
    if (message.data.length !== options.size) ++checked.errors;
  };
  return {
    receive: async () => {
      for (let i = 0; i < ROUND; ++i) short(await consumer.receive());
    },
    tryReceive: () => {
      for (let i = 0; i < ROUND; ++i) short(consumer.tryReceive());
    },
    receiveMany: async () => {
      for (let left = ROUND; left > 0;) {
        for (const message of await consumer.receiveMany(Math.min(left, options.batch))) {
          short(message);
          --left;
        }
      }
    },
    receiveBatch: async () => {
      for (let left = ROUND; left > 0;) {
        const batch = await consumer.receiveBatch(Math.min(left, options.batch));
        for (const length of batch.lengths) if (length !== options.size) ++checked.errors;
        left -= batch.length;
        batch.release();
      }
    },
    'for-await': async () => {
      let left = ROUND;
      for await (const message of consumer) {
        short(message);
        if (--left === 0) break;
      }
    },
  }[options.variant];
}

async function main() {
  const name = `bench/${path.basename(options.path)}/alone`;
  const sends = options.variant.toLowerCase().includes('send');
  const prepared = messages(options.size);
  const all = Array.from({ length: ROUND }, (_, i) => prepared[i % prepared.length]);
  const client = await connect();
  await client.create(name, { capacity: options.capacity, alignment: options.align, whenFull: sends ? 'overwrite' : 'block' });
  const producer = await client.openProducer(name);
  const checked = checker(options.size);
  let result;
  const cpu = cpuSeconds();
  if (options.variant === 'empty') {
    const empty = emptyCall();
    result = await timed(() => { for (const message of all) empty(message); });
  } else if (sends) {
    result = await timed(sending(producer, all));
  } else {
    const consumer = await client.openConsumer(name, { exclusive: true });
    result = await timed(receiving(consumer, checked), () => producer.sendMany(all), async () => {
      checked.number = 0;
      for (let i = 0; i < ROUND; ++i) {
        const { data } = await consumer.receive();
        checked.check(data, 0, data.length);
      }
    });
    await consumer.close();
  }
  await producer.close();
  await client.remove(name, { force: true });
  report({ ...result, errors: checked.errors, cpu_seconds: cpuSeconds() - cpu, rate: result.count / result.seconds });
  await client.close();
}

main().catch(fail);
