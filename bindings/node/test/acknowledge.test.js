'use strict';
// When a record counts as dealt with, and who gets it again.
const { test } = require('node:test');
const assert = require('node:assert');
const { withBroker, keep, stream, child } = require('./support.js');

const context = withBroker();
const texts = (messages) => messages.map((message) => message.text());
const reopen = async (segment, options) => keep(await context.client.openConsumer(segment, options));

test('what a manual consumer did not acknowledge comes again after it closes, marked', async () => {
  const { segment, producer, consumer } = await stream({}, { manual: true });
  await producer.sendMany(['a', 'b', 'c']);
  const [, b] = await consumer.receiveMany(3);
  b.acknowledge();
  await consumer.close();
  assert.throws(() => b.acknowledge(), { code: 'CLOSED' });
  const again = await (await reopen(segment)).receiveMany();
  assert.deepStrictEqual(texts(again), ['a', 'c']);
  assert.deepStrictEqual(again.map((m) => [m.deliveries, m.redelivered]), [[2, true], [2, true]]);
});

test('a rejected record comes again, marked', async () => {
  const { producer, consumer } = await stream({}, { manual: true });
  await producer.send('a');
  const message = await consumer.receive();
  message.reject();
  const again = await consumer.receive({ timeoutMs: 10000 });
  assert.deepStrictEqual([again.text(), again.deliveries], ['a', 2]);
  again.acknowledge();
  assert.strictEqual(consumer.tryReceive(), null);
});

test('acknowledgeUpTo covers all that was received before', async () => {
  const { segment, producer, consumer } = await stream({}, { manual: true });
  await producer.sendMany(['a', 'b', 'c', 'd']);
  const messages = await consumer.receiveMany(4);
  messages[2].acknowledgeUpTo();
  await consumer.close();
  assert.deepStrictEqual(texts(await (await reopen(segment)).receiveMany()), ['d']);
});

test('acknowledging in automatic mode is refused', async () => {
  const { producer, consumer } = await stream();
  await producer.send('a');
  const message = await consumer.receive();
  for (const call of ['acknowledge', 'acknowledgeUpTo', 'reject']) assert.throws(() => message[call](), { code: 'INVALID_ARGUMENT' });
  message.release();
  assert.strictEqual(message.text(), 'a');
});

test('after a SIGKILL the unacknowledged records come again, marked', async () => {
  const { segment, producer } = await stream({}, { group: 'idle', ephemeral: true });
  await producer.sendMany(['a', 'b', 'c']);
  const run = child(`
    const consumer = await client.openConsumer('${segment}', { group: 'work', manual: true });
    const messages = [];
    while (messages.length < 3) messages.push(await consumer.receive());
    messages[0].acknowledge();
    console.log('holding');
    await consumer.receive();`);
  assert.strictEqual(await run.line(), 'holding');
  run.process.kill('SIGKILL');
  await run.done();
  const heir = await reopen(segment, { group: 'work' });
  const again = [];
  while (again.length < 2) again.push(await heir.receive({ timeoutMs: 30000 }));
  assert.deepStrictEqual(again.map((m) => [m.text(), m.redelivered]), [['b', true], ['c', true]]);
});

test('a record that the iteration has not moved past is not done when the process is killed', async () => {
  const { segment, producer } = await stream({}, { group: 'idle', ephemeral: true });
  await producer.sendMany(['a', 'b', 'c', 'd']);
  const run = child(`
    const consumer = await client.openConsumer('${segment}', { group: 'work' });
    for await (const message of consumer) {
      await new Promise((resolve) => setImmediate(resolve));
      await new Promise((resolve) => setImmediate(resolve));
      if (message.text() !== 'c') continue;
      console.log('at c');
      await new Promise((resolve) => setTimeout(resolve, 1e9));
    }`);
  assert.strictEqual(await run.line(), 'at c');
  run.process.kill('SIGKILL');
  await run.done();
  const heir = await reopen(segment, { group: 'work' });
  const again = [];
  while (again.length < 2) again.push(await heir.receive({ timeoutMs: 30000 }));
  assert.deepStrictEqual(texts(again), ['c', 'd']);
  assert.strictEqual(again[0].redelivered, true);
});

test('an exclusive consumer frees the room of records that the iteration is past, before the batch ends', async () => {
  const { producer, consumer } = await stream({ capacity: 4096 }, { exclusive: true });
  let sent = 0;
  while (producer.trySend(Buffer.alloc(200, sent))) sent += 1;
  let waiting;
  let count = 0;
  for await (const message of consumer) {
    assert.strictEqual(message.data[0], count);
    if (count === 0) waiting = producer.send(Buffer.alloc(200, sent));
    // Without the room of the record before, this would wait for ever: the batch holds all of the ring.
    if (++count === sent - 1) await waiting;
    if (count === sent + 1) break;
  }
});
