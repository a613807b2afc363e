'use strict';
// Several environments in one process: worker threads beside the main one.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const { once } = require('node:events');
const path = require('node:path');
const { Worker } = require('node:worker_threads');
const { withBroker, stream, keep, child } = require('./support.js');

const context = withBroker();

function worker(source) {
  const thread = new Worker(`
    const { parentPort } = require('node:worker_threads');
    const atoll = require(${JSON.stringify(path.join(__dirname, '..'))});
    (async () => { const client = await atoll.connect(); ${source} })();`, { eval: true });
  thread.ended = once(thread, 'exit');  // from the start on: it may end before it is waited for
  return thread;
}

test('a worker receives what the main thread sends, and the other way', async () => {
  const { segment, producer } = await stream({}, { group: 'unused', ephemeral: true });
  const { segment: back, consumer: answers } = await stream();
  const thread = worker(`
    const consumer = await client.openConsumer('${segment}', { group: 'worker' });
    const producer = await client.openProducer('${back}');
    for await (const message of consumer) await producer.send(message.text().toUpperCase());
    await producer.finish();`);
  await producer.sendMany(['a', 'b', 'c']);
  await producer.finish();
  const seen = [];
  for (let i = 0; i < 3; i++) seen.push((await answers.receive()).text());
  assert.deepStrictEqual(seen, ['A', 'B', 'C']);
  assert.deepStrictEqual(await thread.ended, [0]);
});

test('four workers share a group, each record goes to one', async () => {
  const { segment, producer } = await stream({}, { group: 'unused', ephemeral: true });
  const threads = Array.from({ length: 4 }, () => worker(`
    const consumer = await client.openConsumer('${segment}', { group: 'work' });
    const seen = [];
    parentPort.postMessage('ready');
    for await (const message of consumer) seen.push(Number(message.text()));
    parentPort.postMessage(seen);`));
  await Promise.all(threads.map((thread) => once(thread, 'message')));
  const results = threads.map((thread) => once(thread, 'message'));
  for (let i = 0; i < 2000; i++) await producer.send(String(i));
  await producer.finish();
  const seen = (await Promise.all(results)).flatMap(([list]) => list);
  assert.deepStrictEqual(seen.sort((a, b) => a - b), Array.from({ length: 2000 }, (_, i) => i));
  await Promise.all(threads.map((thread) => thread.ended));
});

test('receiveSync in a worker blocks that thread alone', async () => {
  const { segment, producer } = await stream({}, { group: 'unused', ephemeral: true });
  const thread = worker(`
    const consumer = await client.openConsumer('${segment}', { group: 'sync' });
    parentPort.postMessage('blocking');
    parentPort.postMessage(consumer.receiveSync({ timeoutMs: 60000 }).text());`);
  assert.deepStrictEqual(await once(thread, 'message'), ['blocking']);
  const answer = once(thread, 'message');
  await producer.send('wake');
  assert.deepStrictEqual(await answer, ['wake']);
  await thread.ended;
});

test('a worker that is terminated while it waits gives back what it held', async () => {
  const { segment, producer } = await stream({}, { group: 'unused', ephemeral: true });
  await producer.sendMany(['a', 'b']);
  const thread = worker(`
    const consumer = await client.openConsumer('${segment}', { group: 'work', manual: true });
    const zeroCopy = await client.openConsumer('${segment}', { group: 'other', zeroCopy: true });
    const kept = (await zeroCopy.receive()).data;
    const producer = await client.openProducer('${segment}');
    const loan = await producer.loan(10);
    await consumer.receiveMany(2);
    client.openConsumer('never', { waitMs: 60000 }).catch(() => {});
    parentPort.postMessage('holding');
    await consumer.receive();`);
  assert.deepStrictEqual(await once(thread, 'message'), ['holding']);
  await thread.terminate();
  const heir = keep(await context.client.openConsumer(segment, { group: 'work' }));
  const again = [await heir.receive({ timeoutMs: 10000 }), await heir.receive({ timeoutMs: 10000 })];
  assert.deepStrictEqual(again.map((m) => [m.text(), m.redelivered]), [['a', true], ['b', true]]);
});

test('a process whose only user of the package was a worker ends well', async () => {
  const { segment } = await stream();
  const run = child(`
    await client.close();
    const { Worker } = require('node:worker_threads');
    const { once } = require('node:events');
    for (let i = 0; i < 3; i++) {
      const thread = new Worker(\`
        const atoll = require(${JSON.stringify(path.join(__dirname, '..'))});
        (async () => {
          const client = await atoll.connect();
          const consumer = await client.openConsumer('${segment}', { group: 'g' });
          await consumer.receive({ timeoutMs: 20 }).catch(() => {});
        })();\`, { eval: true });
      await once(thread, 'exit');
    }
    console.log('done');`);
  assert.strictEqual(await run.line(), 'done');
  assert.deepStrictEqual(await run.done(), { code: 0, signal: null });
});

test('process.exit() in the midst of it all ends well', async () => {
  const { segment } = await stream();
  const run = child(`
    const consumer = await client.openConsumer('${segment}', { group: 'g', zeroCopy: true });
    const producer = await client.openProducer('${segment}');
    await producer.send('x');
    const view = (await consumer.receive()).data;
    const loan = await producer.loan(5);
    consumer.receive();
    client.openProducer('never', { waitMs: 60000 });
    console.log('leaving');
    setImmediate(() => process.exit(3));`);
  assert.strictEqual(await run.line(), 'leaving');
  assert.deepStrictEqual(await run.done(), { code: 3, signal: null });
});

// Does `rescue` if the promise is not settled in ten seconds; true: it was in time.
async function inTime(promise, rescue) {
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    rescue();
  }, 10000);
  await promise;
  clearTimeout(timer);
  return !late;
}

// Posts the thread's directory in /proc, and blocks.
const kBlocked = (segment, options = '') => `
    const consumer = await client.openConsumer('${segment}', { group: 'sync', ephemeral: true });
    parentPort.postMessage('/proc/' + require('node:fs').readlinkSync('/proc/thread-self'));
    consumer.receiveSync(${options});`;

// Resolves when the thread sleeps.
async function asleep(directory) {
  while (!fs.readFileSync(`${directory}/stat`, 'utf8').includes(') S ')) await new Promise((resolve) => setImmediate(resolve));
}

test('a worker that blocks in receiveSync can be terminated', async () => {
  const { segment, producer } = await stream({}, { group: 'unused', ephemeral: true });
  for (const options of ['', '{ timeoutMs: 60000 }', '{ timeoutMs: Infinity }']) {
    const thread = worker(kBlocked(segment, options));
    await asleep((await once(thread, 'message'))[0]);
    assert.ok(await inTime(thread.terminate(), () => producer.send('rescue')));
    assert.deepStrictEqual(await thread.ended, [1]);
  }
});

test('process.exit() ends a process while workers of it block in receiveSync', async () => {
  const { segment } = await stream({}, { group: 'unused', ephemeral: true });
  const run = child(`
    const { Worker } = require('node:worker_threads');
    const { once } = require('node:events');
    for (let i = 0; i < 2; i++) {
      const thread = new Worker(\`
        const { parentPort } = require('node:worker_threads');
        const atoll = require(${JSON.stringify(path.join(__dirname, '..'))});
        (async () => { const client = await atoll.connect(); ${kBlocked(segment)} })();\`, { eval: true });
      await once(thread, 'message');
    }
    console.log('leaving');
    process.exit(3);`);
  assert.strictEqual(await run.line(), 'leaving');
  assert.ok(await inTime(run.done(), () => run.process.kill('SIGKILL')));
  assert.deepStrictEqual(await run.done(), { code: 3, signal: null });
});

test('the time limit of receiveSync is the same in a worker as in the main thread', async () => {
  const { segment, producer } = await stream({}, { group: 'unused', ephemeral: true });
  const thread = worker(`
    const consumer = await client.openConsumer('${segment}', { group: 'sync' });
    const took = (timeoutMs) => {
      const begin = performance.now();
      try {
        consumer.receiveSync({ timeoutMs });
      } catch ({ code }) {
        return [code, performance.now() - begin];
      }
    };
    parentPort.postMessage([0, 1, 260, 600].map(took));
    parentPort.postMessage(consumer.receiveSync({ timeoutMs: 60000 }).text());`);
  const [[atOnce, soon, later, muchLater]] = await once(thread, 'message');
  for (const [[code, ms], limit] of [[atOnce, 0], [soon, 1], [later, 260], [muchLater, 600]]) {
    assert.strictEqual(code, 'TIMED_OUT');
    assert.ok(ms >= limit && ms < limit + 240, `${ms} ms of ${limit}`);  // less than one slice too many
  }
  const answer = once(thread, 'message');
  await producer.send('still here');
  assert.deepStrictEqual(await answer, ['still here']);
  await thread.ended;
});
