'use strict';
// Batches: records as columns.
const { test } = require('node:test');
const assert = require('node:assert');
const { withBroker, keep, stream, child } = require('./support.js');

const context = withBroker();
const pieces = (batch) => Array.from(batch.lengths, (length, i) => batch.data.toString('latin1', batch.offsets[i], batch.offsets[i] + length));
const texts = (batch) => Array.from(batch, (message) => message.text());

test('columns and messages of a batch show the same records, in order', async () => {
  const { producer, consumer } = await stream();
  const sent = Array.from({ length: 100 }, (_, i) => 'x'.repeat(i % 40) + i);
  await producer.sendMany(sent);
  const batch = await consumer.receiveBatch();
  assert.strictEqual(batch.length, 100);
  assert.deepStrictEqual(pieces(batch), sent);
  assert.deepStrictEqual(texts(batch), sent);
  assert.strictEqual(batch.at(-1).text(), sent[99]);
  assert.strictEqual(batch.at(7).sequence, 7n);
  assert.strictEqual(batch.at(7).content, 'text');
  assert.strictEqual(batch.at(7).lost, 0n);
  for (const wrong of [100, -101, 0.5, '1', undefined]) assert.throws(() => batch.at(wrong), { code: 'INVALID_ARGUMENT' });
});

test('a batch holds what is there, up to the number asked for, and an empty record too', async () => {
  const { producer, consumer } = await stream();
  await producer.sendMany([Buffer.from('a'), Buffer.alloc(0), Buffer.from('b')]);
  assert.deepStrictEqual(pieces(await consumer.receiveBatch(2)), ['a', '']);
  assert.deepStrictEqual(pieces(await consumer.receiveBatch(2)), ['b']);
  const waiting = consumer.receiveBatch();
  await producer.send('c');
  assert.deepStrictEqual(pieces(await waiting), ['c']);
  await assert.rejects(consumer.receiveBatch(1, { timeoutMs: 1 }), { code: 'TIMED_OUT' });
  await assert.rejects(consumer.receiveBatch(0), { code: 'INVALID_ARGUMENT' });
});

test('all ways of receiving may be mixed, and the order stays', async () => {
  const { producer, consumer } = await stream();
  const sent = Array.from({ length: 1000 }, (_, i) => String(i));
  await producer.sendMany(sent);
  const seen = [];
  const kept = [];
  for (let i = 0; seen.length < 1000; i++) {
    const way = i % 5;
    if (way === 0) kept.push(await consumer.receive());
    const batch = way === 1 || way === 2 ? await consumer.receiveBatch(3) : null;
    const got = way === 0 ? [kept.at(-1)] : way === 3 ? await consumer.receiveMany(5) : way === 4 ? [consumer.tryReceive()] : batch;
    for (const message of got) if (message !== null) seen.push(message.text());
    if (way === 1) batch.release();
  }
  assert.deepStrictEqual(seen, sent);
  for (const message of kept) assert.strictEqual(message.text(), String(message.sequence));
  assert.strictEqual(consumer.info().outstanding, 0n);
});

test('a batch that is not released stays as it was, whatever comes after it', async () => {
  const { producer, consumer } = await stream();
  const kept = [];
  for (let i = 0; i < 600; i++) {
    await producer.sendMany([Buffer.alloc(3000, i), Buffer.alloc(10, i)]);
    const batch = await consumer.receiveBatch();
    if (i % 3 === 0) batch.release();
    else kept.push([i, batch]);
  }
  for (const [i, batch] of kept) {
    assert.ok(batch.at(0).data.equals(Buffer.alloc(3000, i)), `batch ${i}`);
    assert.ok(batch.data.subarray(batch.offsets[1], batch.offsets[1] + batch.lengths[1]).equals(Buffer.alloc(10, i)), `batch ${i}`);
  }
});

test('a released batch and its messages say so, and the memory serves the next one', async () => {
  const { producer, consumer } = await stream();
  await producer.sendMany(['a', 'b']);
  const batch = await consumer.receiveBatch();
  const message = batch.at(0);
  const memory = batch.data.buffer;
  batch.release();
  batch.release();
  for (const look of [() => batch.data, () => batch.offsets, () => batch.lengths, () => batch.at(0), () => [...batch],
    () => message.data, () => message.length, () => message.sequence, () => message.text()]) {
    assert.throws(look, { code: 'VIEW_RELEASED' });
  }
  await producer.send('c');
  assert.strictEqual((await consumer.receiveBatch()).data.buffer, memory);
});

test('records of any size fit into batches, between small ones', async () => {
  const { producer, consumer } = await stream({ capacity: 4 << 20 });
  const sizes = [10, 1 << 20, 3, 300000, 0, 2 << 19, 7];
  const sending = producer.sendMany(sizes.map((size, i) => Buffer.alloc(size, i + 1)));
  const seen = [];
  while (seen.length < sizes.length) {
    const batch = await consumer.receiveBatch();
    for (const { data } of batch) seen.push([data.length, data.every((byte) => byte === seen.length + 1)]);
    if (seen.length % 2 === 0) batch.release();
  }
  await sending;
  assert.deepStrictEqual(seen, sizes.map((size) => [size, true]));
});

test('in automatic mode a batch is done when it was given, in manual mode when acknowledged', async () => {
  const { segment, producer } = await stream({}, { group: 'idle', ephemeral: true });
  await producer.sendMany(['a', 'b', 'c', 'd']);
  const run = child(`
    const automatic = await client.openConsumer('${segment}', { group: 'automatic' });
    await automatic.receiveBatch(3);
    const manual = await client.openConsumer('${segment}', { group: 'manual', manual: true });
    (await manual.receiveBatch(1)).acknowledge();
    const batch = await manual.receiveBatch(2);
    batch.at(1).acknowledge();
    batch.release();
    console.log('holding');
    await new Promise(() => setInterval(() => {}, 1e6));`);
  assert.strictEqual(await run.line(), 'holding');
  run.process.kill('SIGKILL');
  await run.done();
  for (const [group, left] of [['automatic', ['d']], ['manual', ['b', 'd']]]) {
    const heir = keep(await context.client.openConsumer(segment, { group }));
    for (const text of left) assert.strictEqual((await heir.receive({ timeoutMs: 30000 })).text(), text);
  }
});

test('acknowledging a batch in automatic mode, and batches in place, are refused', async () => {
  const { producer, consumer } = await stream();
  await producer.send('a');
  const batch = await consumer.receiveBatch();
  assert.throws(() => batch.acknowledge(), { code: 'INVALID_ARGUMENT' });
  const { consumer: inPlace } = await stream({}, { zeroCopy: true });
  await assert.rejects(inPlace.receiveBatch(), { code: 'INVALID_ARGUMENT' });
});

test('an observer that was lapped is told in the batch how many it lost', async () => {
  const { segment, producer } = await stream({ whenFull: 'overwrite', capacity: 4096 });
  const observer = keep(await context.client.openObserver(segment, { start: 'earliest' }));
  for (let i = 0; i < 200; i++) await producer.send(Buffer.alloc(200, i));
  const batch = await observer.receiveBatch();
  assert.ok(batch.at(0).lost > 0n);
  assert.strictEqual(batch.at(0).lost, batch.at(0).sequence);
  assert.strictEqual(batch.data[batch.offsets[0]], Number(batch.at(0).sequence));
});
