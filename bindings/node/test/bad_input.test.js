'use strict';
// Wrong arguments and wrong circumstances: each has its error, with what, where and how to mend it.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { atoll, withBroker, name, keep, stream, directory } = require('./support.js');
const codes = require('../lib/error_codes.js');

const context = withBroker();

async function refused(promise, code) {
  const error = await promise.then(() => null, (reason) => reason);
  assert.ok(error instanceof atoll.AtollError, `not refused with ${code}: ${error && error.stack}`);
  assert.strictEqual(error.code, code, error.message);
  assert.ok(Object.values(codes).includes(error.code));
  assert.notStrictEqual(error.message, '');
  assert.notStrictEqual(error.fix, '');
  return error;
}

test('names that are none', async () => {
  for (const wrong of ['', ' ', '../x', 'a//b', '/a', 'x'.repeat(129), 'ü', 'a\nb', 'a\0b']) {
    await refused(context.client.create(wrong), 'INVALID_NAME');
  }
  for (const wrong of [undefined, null, 5, {}]) await refused(context.client.create(wrong), 'INVALID_ARGUMENT');
});

test('an empty group is not the default one', async () => {
  const { segment } = await stream();
  await refused(context.client.openConsumer(segment, { group: '' }), 'INVALID_NAME');
  await refused(context.client.remove(segment, { group: '' }), 'UNKNOWN_GROUP');
});

test('a NUL character ends no name, and is in none', async () => {
  const { client } = context;
  const { segment } = await stream();
  for (const call of [
    () => client.create(`${segment}\0x`), () => client.create(`${segment}\0x`, { kind: 'bytes', size: 10 }),
    () => client.remove(`${segment}\0x`), () => client.remove(segment, { group: 'default\0x' }), () => client.remove(`${segment}\0x`, { group: 'default' }),
    () => client.show(`${segment}\0x`), () => client.manifest(`${segment}\0x`), () => client.call('Show', { name: `${segment}\0x` }),
    () => client.openProducer(`${segment}\0x`), () => client.openObserver(`${segment}\0x`), () => client.openBytes(`${segment}\0x`),
    () => client.openConsumer(`${segment}\0x`), () => client.openConsumer(segment, { group: 'default\0x' }),
  ]) await refused(call(), 'INVALID_NAME');
  for (const call of [
    () => client.create(name(), { backing: 'file', directory: `${directory}\0x` }), () => client.create(name(), { access: 'root:o\0x' }),
    () => client.list(`${segment}\0x`), () => client.call('List\0x'),
    () => atoll.connect({ socket: `${process.env.ATOLL_SOCKET}\0x` }), () => atoll.connect({ atolldPath: '/nonexistent\0x' }),
  ]) await refused(call(), 'INVALID_ARGUMENT');
  assert.deepStrictEqual((await client.list(segment)).map((row) => row.name), [segment]);
});

test('options that are none', async () => {
  const { client } = context;
  const wrong = [5, null, 'x', { kind: 'table' }, { kind: 'toString' }, { capacity: -1 }, { capacity: 1.5 }, { capacity: '1MiB' }, { capacity: NaN },
    { whenFull: 'explode' }, { backing: 'tape' }, { alignment: -16 }, { size: 5 }, { colour: 'red' }, { kind: 'bytes', size: 10, capacity: 5 },
    { directory: 5 }, { access: 5 }];
  for (const options of wrong) await refused(client.create(name(), options), 'INVALID_ARGUMENT');
  await refused(atoll.connect({ socket: 5 }), 'INVALID_ARGUMENT');
  for (const timeoutMs of [-1, -Infinity, NaN, '5', null, 5n]) await refused(atoll.connect({ timeoutMs }), 'INVALID_ARGUMENT');
  await refused(atoll.connect({ startBroker: 'no' }), 'INVALID_ARGUMENT');
  await refused(client.call(5), 'INVALID_ARGUMENT');
  await refused(client.call('List', 5), 'INVALID_ARGUMENT');
  await refused(client.call('List', { prefix: 2n ** 64n }), 'INVALID_ARGUMENT');
  const { segment } = await stream();
  for (const options of [{ group: 5 }, { start: 'middle' }, { start: { back: -1 } }, { start: null }, { manual: 1 }, { prefetch: 65 }, { waitMs: -1 }, { grup: 'x' }]) {
    await refused(client.openConsumer(segment, options), 'INVALID_ARGUMENT');
  }
  await refused(client.openBytes(segment, { mode: 'execute' }), 'INVALID_ARGUMENT');
});

test('geometry that does not fit', async () => {
  await refused(context.client.create(name(), { capacity: 2n ** 62n }), 'INVALID_GEOMETRY');
  await refused(context.client.create(name(), { alignment: 48 }), 'INVALID_GEOMETRY');
  await refused(context.client.create(name(), { kind: 'bytes', size: 0 }), 'INVALID_GEOMETRY');
});

test('more than there is room for', async () => {
  // 4 GiB is over the limit of a user; where it is not, over what the machine has once there are enough of them.
  const error = await (async () => {
    for (let i = 0; i < 64; i++) await context.client.create(name('huge'), { capacity: 2 ** 32 });
  })().then(() => null, (reason) => reason);
  assert.ok(error instanceof atoll.AtollError);
  assert.ok(['NO_SPACE', 'LIMIT_REACHED'].includes(error.code), error.code);
  assert.notStrictEqual(error.fix, '');
});

test('a segment with other options, of another kind, or not there', async () => {
  const { client } = context;
  const segment = name();
  await client.create(segment, { capacity: 65536 });
  const error = await refused(client.create(segment, { capacity: 131072 }), 'EXISTS_WITH_OTHER_OPTIONS');
  assert.match(error.message, /65536.*131072|131072.*65536/s);
  assert.strictEqual(error.segment, segment);
  await refused(client.openBytes(segment), 'WRONG_KIND');
  await refused(client.openProducer(name('absent')), 'UNKNOWN_SEGMENT');
  await refused(client.show(name('absent')), 'UNKNOWN_SEGMENT');
  await refused(client.remove(segment, { group: 'absent' }), 'UNKNOWN_GROUP');
  const producer = keep(await client.openProducer(segment));
  await refused(client.remove(segment), 'IN_USE');
  await producer.close();
});

test('records that are none', async () => {
  const { producer, consumer } = await stream();
  for (const wrong of [5, null, undefined, {}, [1], true, Symbol('x'), () => {}, new SharedArrayBuffer(8)]) {
    const error = await refused(producer.send(wrong), 'INVALID_ARGUMENT');
    assert.match(error.fix, /sendJson/);
    assert.throws(() => producer.trySend(wrong), { code: 'INVALID_ARGUMENT' });
  }
  await refused(producer.sendMany('text'), 'INVALID_ARGUMENT');
  await refused(producer.sendMany(['text', Buffer.alloc(1)]), 'INVALID_ARGUMENT');
  const error = await refused(producer.sendMany([Buffer.from('a'), 5]), 'INVALID_ARGUMENT');
  assert.strictEqual(error.sent, 1);
  assert.strictEqual((await consumer.receive()).text(), 'a');
  await refused(producer.sendJson(undefined), 'INVALID_ARGUMENT');
  await refused(producer.sendJson(5n), 'INVALID_ARGUMENT');
  assert.strictEqual(consumer.tryReceive(), null);
});

test('limits and signals that are none', async () => {
  const { producer, consumer } = await stream();
  for (const options of [5, null, { timeoutMs: -1 }, { timeoutMs: '5' }, { timeoutMs: NaN }, { signal: {} }, { signal: null }, { timeout: 5 }]) {
    await refused(consumer.receive(options), 'INVALID_ARGUMENT');
    await refused(producer.send('x', options), 'INVALID_ARGUMENT');
  }
  for (const max of [0, -1, 1.5, '5', 65537]) await refused(consumer.receiveMany(max), 'INVALID_ARGUMENT');
  assert.strictEqual(consumer.tryReceive(), null);
});

test('text and JSON that a record does not hold', async () => {
  const { producer, consumer } = await stream();
  await producer.send(Buffer.from([0x61, 0xff, 0x62]));
  await producer.send('\ufffd is a character');
  await producer.send('{"half":');
  const message = await consumer.receive();
  assert.throws(() => message.text(), { code: 'BAD_ENCODING' });
  assert.throws(() => message.json(), { code: 'BAD_ENCODING' });
  assert.throws(() => message.array(), { code: 'BAD_ENCODING' });
  assert.strictEqual((await consumer.receive()).text(), '\ufffd is a character');
  await refused(consumer.receiveJson(), 'BAD_ENCODING');
});

test('no broker, a path too long, a socket that nobody serves', async () => {
  await refused(atoll.connect({ socket: path.join(directory, 'none', 'atoll.sock'), startBroker: false }), 'NO_BROKER');
  await refused(atoll.connect({ socket: `/tmp/${'x'.repeat(120)}/atoll.sock` }), 'SOCKET_PATH_TOO_LONG');
  const stale = path.join(fs.mkdtempSync(path.join(directory, 'stale-')), 'atoll.sock');
  fs.writeFileSync(stale, '');
  await refused(atoll.connect({ socket: stale, startBroker: false }), 'NO_BROKER');
  await refused(atoll.connect({ socket: path.join(fs.mkdtempSync(path.join(directory, 'no-')), 'a.sock'), atolldPath: '/nonexistent/atolld', timeoutMs: 3000 }), 'NO_BROKER');
});

test('a closed client', async () => {
  const client = await atoll.connect();
  const segment = name();
  await client.create(segment);
  const producer = await client.openProducer(segment);
  await client.close();
  await client.close();
  await refused(client.list(), 'CLOSED');
  await refused(client.openProducer(segment), 'CLOSED');
  assert.strictEqual(await producer.send('handles go on'), true);
  await producer.close();
});
