'use strict';
// Records from a producer to consumers and observers, of every sort of data.
const { test } = require('node:test');
const assert = require('node:assert');
const { withBroker, name, keep, stream } = require('./support.js');

const context = withBroker();

test('every kind of bytes arrives as it was sent', async () => {
  const { producer, consumer } = await stream();
  const whole = new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7]);
  await producer.send(Buffer.from([1, 2, 3]));
  await producer.send(whole.subarray(2, 5));
  await producer.send(new Float64Array([1.5, -2]));
  await producer.send(new BigInt64Array([-1n]));
  await producer.send(new DataView(whole.buffer, 6));
  await producer.send(whole.buffer);
  await producer.send(Buffer.alloc(0));
  const data = (await consumer.receiveMany(7)).map((message) => message.data);
  assert.deepStrictEqual(data[0], Buffer.from([1, 2, 3]));
  assert.deepStrictEqual([...data[1]], [2, 3, 4]);
  assert.deepStrictEqual([data[2].readDoubleLE(0), data[2].readDoubleLE(8)], [1.5, -2]);
  assert.strictEqual(data[3].readBigInt64LE(0), -1n);
  assert.deepStrictEqual([...data[4]], [6, 7]);
  assert.deepStrictEqual([...data[5]], [...whole]);
  assert.strictEqual(data[6].length, 0);
});

test('texts are UTF-8, also long ones and ones cut at any place by the inner buffer', async () => {
  const { producer, consumer } = await stream();
  const texts = ['', 'plain', 'ünïcödé €', '😀'.repeat(2000), 'x'.repeat(4095), 'x'.repeat(4096), `${'x'.repeat(4094)}€`, `${'x'.repeat(4090)}😀😀`];
  for (const text of texts) {
    await producer.send(text);
    const message = await consumer.receive();
    assert.strictEqual(message.text(), text);
    assert.strictEqual(message.content, 'text');
  }
});

test('values come back from JSON', async () => {
  const { producer, consumer } = await stream();
  const value = { a: [1, 2.5, null, true], b: 'ü', c: {} };
  await producer.sendJson(value);
  assert.deepStrictEqual(await consumer.receiveJson(), value);
});

test('records come in order, numbered by BigInts', async () => {
  const { producer, consumer } = await stream();
  for (let i = 0; i < 300; i++) await producer.send(String(i));
  for (let i = 0; i < 300; i++) {
    const message = await consumer.receive();
    assert.strictEqual(message.text(), String(i));
    assert.strictEqual(message.sequence, BigInt(i));
    assert.strictEqual(message.lost, 0n);
    assert.strictEqual(message.deliveries, 1);
    assert.strictEqual(message.redelivered, false);
    assert.strictEqual(message.length, message.data.length);
  }
  assert.strictEqual(consumer.tryReceive(), null);
});

test('messages stay as they were when the ring has gone round many times', async () => {
  const { producer, consumer } = await stream({ capacity: 4096 });
  const kept = [];
  for (let i = 0; i < 2000; i++) {
    await producer.send(Buffer.alloc(100, i));
    kept.push(await consumer.receive());
  }
  kept.forEach((message, i) => assert.ok(message.data.equals(Buffer.alloc(100, i)), `message ${i}`));
});

test('a record as large as the ring allows passes, between small ones', async () => {
  const { producer, consumer } = await stream({ capacity: 1 << 20 });
  const { maxPayload } = producer.info();
  const large = Buffer.alloc(maxPayload, 'large');
  await producer.send('before');
  await producer.send(large);
  const receiving = consumer.receiveMany(3);
  const [before] = await receiving;
  assert.strictEqual(before.text(), 'before');
  await producer.send('after');
  assert.ok((await consumer.receive()).data.equals(large));
  assert.strictEqual((await consumer.receive()).text(), 'after');
  await assert.rejects(producer.send(Buffer.alloc(maxPayload + 1)), { code: 'TOO_LARGE' });
});

test('sendMany sends all in order, also through a ring that they do not fit in', async () => {
  const { producer, consumer } = await stream({ capacity: 4096 });
  const records = Array.from({ length: 1000 }, (_, i) => Buffer.from(`record ${i}`));
  const sending = producer.sendMany(records);
  const received = [];
  while (received.length < 1000) received.push(...await consumer.receiveMany());
  assert.strictEqual(await sending, 1000);
  assert.deepStrictEqual(received.map((message) => message.text()), records.map(String));
  assert.strictEqual(await producer.sendMany([]), 0);
  assert.strictEqual(await producer.sendMany(['a', 'b']), 2);
});

test('receiveMany gives what is there, up to the number asked for', async () => {
  const { producer, consumer } = await stream();
  await producer.sendMany(Array.from({ length: 10 }, (_, i) => String(i)));
  assert.deepStrictEqual((await consumer.receiveMany(4)).map((m) => m.text()), ['0', '1', '2', '3']);
  assert.strictEqual((await consumer.receive()).text(), '4');
  assert.deepStrictEqual((await consumer.receiveMany(100)).map((m) => m.text()), ['5', '6', '7', '8', '9']);
});

test('iteration ends when all producers have finished', async () => {
  const { segment, producer, consumer } = await stream();
  const second = keep(await context.client.openProducer(segment));
  await producer.sendMany(['a', 'b']);
  await second.send('c');
  await producer.finish();
  await second.finish();
  const seen = [];
  for await (const message of consumer) seen.push(message.text());
  assert.deepStrictEqual(seen.sort(), ['a', 'b', 'c']);
  await assert.rejects(consumer.receive(), { code: 'ENDED' });
});

test('leaving a loop leaves the consumer open, and what it saw is done', async () => {
  const { producer, consumer } = await stream();
  await producer.sendMany(Array.from({ length: 100 }, (_, i) => String(i)));
  let count = 0;
  for await (const message of consumer) {
    assert.strictEqual(message.text(), String(count));
    if (++count === 10) break;
  }
  assert.strictEqual((await consumer.receive()).text(), '10');
  for await (const message of consumer) {
    assert.strictEqual(message.text(), '11');
    break;
  }
});

test('each group sees all records, the members of one share them', async () => {
  const { segment, producer, consumer } = await stream({}, { group: 'shared' });
  const second = keep(await context.client.openConsumer(segment, { group: 'shared' }));
  const other = keep(await context.client.openConsumer(segment, { group: 'other' }));
  const sent = Array.from({ length: 500 }, (_, i) => String(i));
  await producer.sendMany(sent);
  await producer.finish();
  const collect = async (reader) => {
    const texts = [];
    for await (const message of reader) texts.push(message.text());
    return texts;
  };
  const [first, rest, all] = await Promise.all([collect(consumer), collect(second), collect(other)]);
  assert.deepStrictEqual([...first, ...rest].sort((a, b) => a - b), sent);
  assert.deepStrictEqual(all, sent);
});

test('a new group starts where it was told to', async () => {
  const { segment, producer } = await stream();
  await producer.sendMany(Array.from({ length: 20 }, (_, i) => String(i)));
  const open = async (group, start) => keep(await context.client.openConsumer(segment, { group, start }));
  const [earliest, back, latest] = [await open('e', 'earliest'), await open('b', { back: 3 }), await open('l', 'latest')];
  await producer.send('20');
  assert.strictEqual((await earliest.receive()).text(), '0');
  assert.strictEqual((await back.receive()).text(), '17');
  assert.strictEqual((await latest.receive()).text(), '20');
});

test('an observer sees records, takes none away and holds nothing back', async () => {
  const { segment, producer, consumer } = await stream({ whenFull: 'overwrite', capacity: 4096 });
  const observer = keep(await context.client.openObserver(segment, { start: 'earliest' }));
  await producer.send('seen by both');
  assert.strictEqual((await observer.receive()).text(), 'seen by both');
  assert.strictEqual((await consumer.receive()).text(), 'seen by both');
  for (let i = 1; i <= 200; i++) await producer.send(Buffer.alloc(200, i));
  const next = await observer.receive();
  assert.ok(next.lost > 0n);
  assert.strictEqual(next.lost, next.sequence - 1n);
  assert.strictEqual(observer.info().lost, next.lost);
  assert.strictEqual(typeof observer.info().received, 'bigint');
});

test('a full drop-new ring answers false and counts', async () => {
  const { producer, consumer } = await stream({ whenFull: 'drop-new', capacity: 4096 });
  let stored = 0;
  while (await producer.send(Buffer.alloc(500, stored))) stored += 1;
  assert.ok(stored >= 2);
  assert.strictEqual(producer.trySend(Buffer.alloc(500)), false);
  assert.strictEqual(producer.info().dropped, 2n);
  assert.strictEqual(await producer.sendMany([Buffer.alloc(500), Buffer.alloc(500)]), 0);
  assert.strictEqual((await consumer.receiveMany()).length, stored);
  assert.strictEqual(await producer.send('room again'), true);
});

test('a full block ring holds send until there is room, in the order of the calls', async () => {
  const { producer, consumer } = await stream({ capacity: 4096 });
  while (producer.trySend(Buffer.alloc(300)));
  const order = [];
  const sends = ['first', 'second', 'third'].map((text) => producer.send(text.padEnd(300)).then(() => order.push(text)));
  assert.strictEqual(producer.trySend('in between'), false);
  const seen = [];
  while (!seen.includes('third')) seen.push((await consumer.receive()).text().trim());
  await Promise.all(sends);
  assert.deepStrictEqual(order, ['first', 'second', 'third']);
  assert.deepStrictEqual(seen.slice(-3), ['first', 'second', 'third']);
  assert.ok(producer.info().blocked > 0n);
});

test('a stream reads its manifest, lists itself and is removed', async () => {
  const { client } = context;
  const segment = name('listed');
  assert.strictEqual(await client.create(segment), true);
  assert.strictEqual(await client.create(segment), false);
  const [listed] = (await client.list()).filter((one) => one.name === segment);
  assert.strictEqual(listed.kind, 'stream');
  assert.strictEqual(typeof listed.created_ns, 'bigint');
  assert.strictEqual((await client.show(segment)).segment.name, segment);
  assert.strictEqual((await client.manifest(segment)).name, segment);
  assert.strictEqual(typeof (await client.status()).pid, 'number');
  assert.ok(Array.isArray((await client.gc()).findings));
  await client.remove(segment);
  await assert.rejects(client.remove(segment), { code: 'UNKNOWN_SEGMENT', segment });
});
