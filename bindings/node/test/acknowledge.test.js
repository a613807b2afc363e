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

// After this the library has been told what is dealt with.
async function turns() {
  for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve));
}

test('a record that one iterator holds comes again after a SIGKILL, those that another one moved past do not', async () => {
  const { segment, producer } = await stream({}, { group: 'idle', ephemeral: true });
  await producer.sendMany(['1', '2', '3', '4', '5']);
  const run = child(`
    const consumer = await client.openConsumer('${segment}', { group: 'work' });
    const [a, b] = [consumer[Symbol.asyncIterator](), consumer[Symbol.asyncIterator]()];
    const seen = [await a.next(), await b.next(), await b.next(), await b.next()];
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    console.log(seen.map(({ value }) => value.text()).join());
    await new Promise((resolve) => setTimeout(resolve, 1e9));`);
  assert.strictEqual(await run.line(), '1,2,3,4');
  run.process.kill('SIGKILL');
  await run.done();
  const heir = await reopen(segment, { group: 'work' });
  const again = [];
  while (texts(again).at(-1) !== '5') again.push(await heir.receive({ timeoutMs: 10000 }));
  assert.deepStrictEqual(texts(again), ['1', '4', '5']);
  assert.deepStrictEqual([again[0].redelivered, again[1].redelivered], [true, true]);
});

for (const options of [{}, { exclusive: true }, { zeroCopy: true }]) {
  test(`only what iterators hold is not done, however else the consumer receives: ${JSON.stringify(options)}`, async () => {
    const kRecords = 5000;  // desks are replaced several times
    const { segment, producer, consumer } = await stream({ capacity: 1 << 20 }, options);
    await producer.sendMany(Array.from({ length: kRecords }, (_, i) => `record ${i}`.padEnd(100)));
    const [a, b, c] = Array.from({ length: 3 }, () => consumer[Symbol.asyncIterator]());
    const seen = [];
    const taken = (message) => {
      seen.push(message.text());
      message.release();
    };
    const next = async (iterator) => {
      const { value } = await iterator.next();
      seen.push(value.text());
      return value;
    };
    const held = [await next(a), await next(b), null];
    for (let i = 0; seen.length < kRecords; i++) {
      if (i % 5 === 0) held[2] = await next(c);
      else if (i % 5 === 1) taken(await consumer.receive());
      else if (i % 5 === 2) (await consumer.receiveMany(10)).forEach(taken);
      else if (i % 5 === 3) taken(consumer.receiveSync());
      else if (options.zeroCopy === undefined) for (const message of await consumer.receiveBatch(10)) seen.push(message.text());
      if (i === 600) held[1] = await next(b);  // lets go on another desk of what it got on the first one
      if (i % 7 === 0) await turns();
    }
    assert.deepStrictEqual(seen.map((text) => Number(text.slice(7))), Array.from({ length: kRecords }, (_, i) => i));
    await turns();
    assert.strictEqual(consumer.info().outstanding, 3n);
    const kept = texts(held);
    await consumer.close();
    const again = texts(await (await reopen(segment, options)).receiveMany(10, { timeoutMs: 10000 }));
    // An exclusive group has a position and no more: all from the first one on comes again.
    assert.deepStrictEqual(options.exclusive ? again.slice(0, 1) : again, options.exclusive ? kept.slice(0, 1) : kept);
  });
}

test('leaving a loop acknowledges the record of that loop alone', async () => {
  const { segment, producer, consumer } = await stream();
  await producer.sendMany(['1', '2', '3']);
  for await (const outer of consumer) {
    for await (const inner of consumer) {
      assert.deepStrictEqual(texts([outer, inner]), ['1', '2']);
      break;
    }
    assert.strictEqual((await consumer.receive()).text(), '3');
    await consumer.close();
    break;
  }
  const again = await (await reopen(segment)).receiveMany(10, { timeoutMs: 10000 });
  assert.deepStrictEqual(texts(again), ['1']);
});

test('an iterator asked for two records at once is past the first when it gets the second', async () => {
  const { producer, consumer } = await stream();
  const iterator = consumer[Symbol.asyncIterator]();
  const both = Promise.all([iterator.next(), iterator.next()]);
  await producer.sendMany(['1', '2']);
  assert.deepStrictEqual(texts((await both).map(({ value }) => value)), ['1', '2']);
  await turns();
  assert.strictEqual(consumer.info().outstanding, 1n);
});

test('other loops go on beside one that sits on its record, and the ring has room again when it moves on', async () => {
  const { producer, consumer } = await stream({ capacity: 4096 });
  let sent = 0;
  while (producer.trySend(Buffer.alloc(200, sent))) sent += 1;
  const [a, b] = [consumer[Symbol.asyncIterator](), consumer[Symbol.asyncIterator]()];
  assert.strictEqual((await a.next()).value.data[0], 0);
  for (let i = 1; i < sent; i++) assert.strictEqual((await b.next()).value.data[0], i);
  let stored = false;
  const waiting = producer.send(Buffer.alloc(200, sent)).then(() => { stored = true; });
  const next = b.next();
  await turns();
  assert.strictEqual(stored, false);
  const last = a.next();
  await waiting;
  assert.strictEqual((await next).value.data[0], sent);
  await producer.finish();
  assert.strictEqual((await last).done, true);
});

test('a next() that still waits when its iterator is left takes no record', async () => {
  const { segment, producer, consumer } = await stream();
  const iterator = consumer[Symbol.asyncIterator]();
  const waiting = iterator.next();
  await iterator.return();
  assert.deepStrictEqual(await waiting, { done: true, value: undefined });
  assert.deepStrictEqual(await iterator.next(), { done: true, value: undefined });
  await producer.send('for another');
  const other = await reopen(segment);
  await consumer.close();
  const message = await other.receive({ timeoutMs: 10000 });
  assert.deepStrictEqual([message.text(), message.redelivered], ['for another', false]);
});
