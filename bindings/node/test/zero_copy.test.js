'use strict';
// Zero-copy: data in place, until it is released.
const { test } = require('node:test');
const assert = require('node:assert');
const { withBroker, stream, keep, child } = require('./support.js');

const context = withBroker();

test('data is the record in place until released, then detached', async () => {
  const { producer, consumer } = await stream({}, { zeroCopy: true });
  await producer.send('in place');
  const message = await consumer.receive();
  const { data } = message;
  assert.strictEqual(data.toString(), 'in place');
  assert.strictEqual(message.data, data);
  message.release();
  assert.strictEqual(data.length, 0);
  assert.throws(() => message.data, { code: 'VIEW_RELEASED' });
  assert.throws(() => message.text(), { code: 'VIEW_RELEASED' });
  message.release();
  assert.strictEqual(consumer.info().outstanding, 0n);
});

test('a stray write into data harms nobody else', async () => {
  const { segment, producer, consumer } = await stream({}, { zeroCopy: true, group: 'writer' });
  const other = keep(await context.client.openConsumer(segment, { group: 'reader' }));
  await producer.send('original');
  const message = await consumer.receive();
  message.data.write('scribble');
  assert.strictEqual(message.text(), 'scribble');
  assert.strictEqual((await other.receive()).text(), 'original');
  message.release();
  for (let i = 0; i < 2000; i++) {
    await producer.send(`record ${i}`.padEnd(100));
    const next = await consumer.receive({ timeoutMs: 10000 });
    assert.strictEqual(next.text().trim(), `record ${i}`);
    next.release();
    await other.receive();
  }
});

test('iteration releases a record on the way past it', async () => {
  const { producer, consumer } = await stream({ capacity: 4096 }, { zeroCopy: true });
  const sending = (async () => {
    for (let i = 0; i < 200; i++) await producer.send(Buffer.alloc(100, i));
    await producer.finish();
  })();
  let last = null;
  let count = 0;
  for await (const message of consumer) {
    if (last !== null) assert.strictEqual(last.length, 0);
    last = message.data;
    assert.ok(last.every((byte) => byte === (count & 255)));
    count += 1;
  }
  await sending;
  assert.strictEqual(count, 200);
  assert.strictEqual(consumer.info().outstanding, 0n);
});

test('closing detaches what is in use', async () => {
  const { producer, consumer } = await stream({}, { zeroCopy: true });
  await producer.sendMany(['a', 'b']);
  const messages = await consumer.receiveMany();
  const { data } = messages[0];
  await consumer.close();
  assert.strictEqual(data.length, 0);
  assert.throws(() => messages[1].data, { code: 'VIEW_RELEASED' });
});

test('manual mode: released and acknowledged apart', async () => {
  const { segment, producer, consumer } = await stream({}, { zeroCopy: true, manual: true });
  await producer.sendMany(['a', 'b']);
  const [a, b] = await consumer.receiveMany();
  a.release();
  a.acknowledge();
  b.release();
  await consumer.close();
  const again = keep(await context.client.openConsumer(segment));
  assert.strictEqual((await again.receive()).text(), 'b');
});

test('values outlive the view', async () => {
  const { producer, consumer } = await stream({}, { zeroCopy: true });
  await producer.sendArray({ data: new Float64Array([1, 2]) });
  await producer.sendJson([3]);
  assert.deepStrictEqual((await consumer.receiveArray()).data, new Float64Array([1, 2]));
  assert.deepStrictEqual(await consumer.receiveJson(), [3]);
  assert.strictEqual(consumer.info().outstanding, 0n);
});

test('a forgotten message gives its view back when it is collected', async () => {
  const { segment, producer } = await stream({}, { group: 'idle', ephemeral: true });
  await producer.sendMany(['a', 'b', 'c']);
  const run = child(`
    require('v8').setFlagsFromString('--expose-gc');
    const gc = require('vm').runInNewContext('gc');
    const consumer = await client.openConsumer('${segment}', { zeroCopy: true });
    const kept = await (async () => (await consumer.receiveMany(3))[0].data)();
    while (consumer.info().outstanding !== 1n) {
      gc();
      await new Promise((resolve) => setImmediate(resolve));
    }
    console.log(kept.toString());`);
  assert.strictEqual(await run.line(), 'a');
  assert.deepStrictEqual(await run.done(), { code: 0, signal: null });
});
