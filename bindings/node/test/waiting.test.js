'use strict';
// Waiting: time limits, cancelling, the event loop that goes on, and the process that ends by itself.
const { test } = require('node:test');
const assert = require('node:assert');
const { atoll, withBroker, name, keep, stream, child } = require('./support.js');
const native = require('../lib/native.js');

const context = withBroker();
const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a receive that waits is resolved by the next record, and timers run meanwhile', async () => {
  const { producer, consumer } = await stream();
  let timers = 0;
  const receiving = consumer.receive();
  await new Promise((resolve) => {
    const timer = setInterval(() => {
      if (++timers === 5) resolve(clearInterval(timer));
    }, 1);
  });
  await producer.send('at last');
  assert.strictEqual((await receiving).text(), 'at last');
});

test('a wait that lasts sleeps: it does not keep the event loop busy', async () => {
  const { producer, consumer } = await stream();
  for (let i = 0; i < 50; i++) {  // so that looking again has paid off
    const receiving = consumer.receive();
    await producer.send('x');
    await receiving;
  }
  const receiving = consumer.receive();
  const before = performance.eventLoopUtilization();
  await new Promise((resolve) => setTimeout(resolve, 100));  // what is measured: a tenth of a second of waiting
  const { utilization } = performance.eventLoopUtilization(before);
  assert.ok(utilization < 0.5, `the loop was busy for ${utilization} of the time`);
  await producer.send('awake');
  assert.strictEqual((await receiving).text(), 'awake');
});

test('a reader that is as fast as its producer misses nothing, whichever way it receives', async () => {
  const { segment, producer, consumer: idle } = await stream({}, { group: 'idle', ephemeral: true });
  await idle.close();
  const ways = {
    receiveBatch: async (reader) => {
      const batch = await reader.receiveBatch();
      const numbers = Array.from(batch.offsets, (at) => batch.data.readUInt32LE(at));
      batch.release();
      return numbers;
    },
    receiveMany: async (reader) => (await reader.receiveMany()).map(({ data }) => data.readUInt32LE(0)),
    receive: async (reader) => [(await reader.receive()).data.readUInt32LE(0)],
  };
  const count = 20000;
  const readers = await Promise.all(Object.keys(ways).map(async (way) => keep(await context.client.openConsumer(segment, { group: way }))));
  const reading = Object.values(ways).map(async (way, i) => {
    for (let next = 0; next < count;) {
      for (const number of await way(readers[i])) assert.strictEqual(number, next++);
    }
  });
  const run = child(`
    const producer = await client.openProducer('${segment}');
    const record = Buffer.alloc(16);
    for (let i = 0; i < ${count}; i++) {
      record.writeUInt32LE(i);
      await producer.send(record);
    }
    console.log('sent');`);
  await Promise.all(reading);
  assert.strictEqual(await run.line(), 'sent');
  assert.deepStrictEqual(await run.done(), { code: 0, signal: null });
  await producer.close();
});

test('several receives that wait are served in order', async () => {
  const { producer, consumer } = await stream();
  const receiving = [consumer.receive(), consumer.receiveMany(1), consumer.receive()];
  await producer.sendMany(['1', '2', '3']);
  const [one, [two], three] = await Promise.all(receiving);
  assert.deepStrictEqual([one.text(), two.text(), three.text()], ['1', '2', '3']);
});

test('a time limit ends a wait with TIMED_OUT, and nothing is lost', async () => {
  const { segment, producer, consumer } = await stream();
  const error = await consumer.receive({ timeoutMs: 5 }).then(() => null, (reason) => reason);
  assert.ok(error instanceof atoll.AtollError);
  assert.deepStrictEqual([error.code, error.segment], ['TIMED_OUT', segment]);
  assert.notStrictEqual(error.fix, '');
  await assert.rejects(consumer.receiveMany(5, { timeoutMs: 0 }), { code: 'TIMED_OUT' });
  await producer.send('still here');
  assert.strictEqual((await consumer.receive({ timeoutMs: 10000 })).text(), 'still here');
});

test('an aborted receive rejects with the reason and takes no record', async () => {
  const { producer, consumer } = await stream();
  const controller = new AbortController();
  const aborted = consumer.receive({ signal: controller.signal });
  const other = consumer.receive();
  controller.abort(new Error('changed my mind'));
  await assert.rejects(aborted, { message: 'changed my mind' });
  await assert.rejects(consumer.receive({ signal: controller.signal }), { message: 'changed my mind' });
  await producer.send('for the other');
  assert.strictEqual((await other).text(), 'for the other');
});

test('an abort at the moment of a record loses nothing', async () => {
  const { producer, consumer } = await stream();
  const seen = [];
  for (let i = 0; i < 200; i++) {
    const controller = new AbortController();
    const receiving = consumer.receive({ signal: controller.signal }).then((m) => seen.push(m.text()), () => {});
    await producer.send(String(i));
    if (i % 3 === 0) await turn();
    controller.abort();
    await receiving;
  }
  for (let message = consumer.tryReceive(); message !== null; message = consumer.tryReceive()) seen.push(message.text());
  assert.deepStrictEqual(seen, Array.from({ length: 200 }, (_, i) => String(i)));
});

test('a send to a full ring heeds its limit and its signal, and the next one gets through', async () => {
  const { producer, consumer } = await stream({ capacity: 4096 });
  while (producer.trySend(Buffer.alloc(1000)));
  await assert.rejects(producer.send(Buffer.alloc(1000), { timeoutMs: 5 }), { code: 'TIMED_OUT' });
  const controller = new AbortController();
  const aborted = producer.send(Buffer.alloc(1000), { signal: controller.signal });
  const small = producer.send('small');
  controller.abort();
  await assert.rejects(aborted, { name: 'AbortError' });
  const error = await producer.sendMany(Array(20).fill(Buffer.alloc(1000)), { timeoutMs: 5 }).then(() => null, (reason) => reason);
  assert.strictEqual(error.code, 'TIMED_OUT');
  assert.strictEqual(typeof error.sent, 'number');
  const texts = [];
  while (!texts.includes('small')) texts.push(...(await consumer.receiveMany()).map((message) => message.text()));
  assert.strictEqual(await small, true);
});

test('closing rejects what waits with CLOSED', async () => {
  const { producer, consumer } = await stream({ capacity: 4096 });
  while (producer.trySend(Buffer.alloc(1000)));
  const sending = assert.rejects(producer.send(Buffer.alloc(1000)), { code: 'CLOSED' });
  const { consumer: idle } = await stream();
  const receiving = assert.rejects(idle.receive(), { code: 'CLOSED' });
  await producer.close();
  await producer.close();
  await idle.close();
  await sending;
  await receiving;
  await assert.rejects(producer.send('x'), { code: 'CLOSED' });
  assert.throws(() => producer.trySend('x'), { code: 'CLOSED' });
  assert.throws(() => producer.info(), { code: 'CLOSED' });
  await assert.rejects(idle.receiveMany(), { code: 'CLOSED' });
  assert.throws(() => idle.tryReceive(), { code: 'CLOSED' });
  await consumer.close();
});

test('loops over records that are always there let timers run', async () => {
  const { producer, consumer } = await stream();
  let timers = 0;
  const timer = setInterval(() => { timers += 1; }, 1);
  const end = performance.now() + 200;
  let sent = 0;
  while (performance.now() < end) {
    for (let i = 0; i < 100; i++) await producer.send('x');
    for (let i = 0; i < 100; i++) await consumer.receive();
    sent += 100;
  }
  clearInterval(timer);
  assert.ok(timers >= 3, `${timers} timers in 200 ms and ${sent} records`);
});

test('removing the segment ends a wait with REMOVED', async () => {
  const { segment, producer, consumer } = await stream();
  const receiving = assert.rejects(consumer.receive(), { code: 'REMOVED', segment });
  await producer.close();
  await context.client.remove(segment, { force: true });
  await receiving;
});

test('opening waits for a segment to appear, heeds its limit and its signal', async () => {
  const { client } = context;
  const segment = name('later');
  await assert.rejects(client.openConsumer(segment), { code: 'UNKNOWN_SEGMENT', segment });
  await assert.rejects(client.openProducer(segment, { waitMs: 10 }), { code: 'TIMED_OUT', segment });
  const controller = new AbortController();
  const aborted = assert.rejects(client.openObserver(segment, { waitMs: 60000, signal: controller.signal }), { name: 'AbortError' });
  controller.abort();
  await aborted;
  const opening = client.openConsumer(segment, { waitMs: 60000 });
  await client.create(segment);
  keep(await opening);
});

test('a limit of Infinity in connect is a negative number for the library, its word for none, and 0 is not 0, its word for the default', async (t) => {
  const { mock } = t.mock.method(native, 'connect');
  for (const timeoutMs of [Infinity, 0, 5000, undefined]) await (await atoll.connect({ timeoutMs })).close();
  assert.deepStrictEqual(mock.calls.map((call) => call.arguments[0].timeoutMs), [-1, 1, 5000, 10000]);
});

test('receiveSync blocks for a record, or until its limit', async () => {
  const { producer, consumer } = await stream();
  await producer.send('there');
  assert.strictEqual(consumer.receiveSync().text(), 'there');
  assert.throws(() => consumer.receiveSync({ timeoutMs: 1 }), { code: 'TIMED_OUT' });
});

test('a process ends by itself when nothing is pending, though handles are open', async () => {
  const segment = name('open');
  const run = child(`
    await client.create('${segment}');
    const producer = await client.openProducer('${segment}');
    const consumer = await client.openConsumer('${segment}');
    const waiting = consumer.receive();
    await producer.send('x');
    console.log((await waiting).text());`);
  assert.deepStrictEqual(await run.done(), { code: 0, signal: null });
});

test('a pending receive keeps the process alive', async () => {
  const { segment, producer } = await stream({}, { group: 'parent' });
  const run = child(`
    const consumer = await client.openConsumer('${segment}', { group: 'child' });
    const receiving = consumer.receive();
    setImmediate(() => console.log('waiting'));
    console.log((await receiving).text());`);
  assert.strictEqual(await run.line(), 'waiting');
  await producer.send('come home');
  assert.strictEqual(await run.line(), 'come home');
  assert.deepStrictEqual(await run.done(), { code: 0, signal: null });
});

test('process.exit() at once does not give again what receive() handed out', async () => {
  const { segment, producer } = await stream({}, { group: 'parent' });
  await producer.sendMany(['1', '2', '3']);
  const run = child(`
    const consumer = await client.openConsumer('${segment}', { group: 'child' });
    console.log((await consumer.receive()).text());
    process.exit(0);`);
  assert.strictEqual(await run.line(), '1');
  await run.done();
  const rest = keep(await context.client.openConsumer(segment, { group: 'child' }));
  assert.strictEqual((await rest.receive({ timeoutMs: 10000 })).text(), '2');
});
