'use strict';
// Bytes segments: a plain piece of memory, and put/get of a content as one.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { atoll, withBroker, name, keep, child, directory } = require('./support.js');

const context = withBroker();

async function bytes(options = {}, mode = 'write') {
  const segment = name('bytes');
  await context.client.create(segment, { kind: 'bytes', size: 4096, ...options });
  return { segment, handle: keep(await context.client.openBytes(segment, { mode })) };
}

test('what one writes at an offset another reads there', async () => {
  const { segment, handle } = await bytes();
  const reader = keep(await context.client.openBytes(segment));
  handle.writeAt(10, 'hello');
  handle.writeAt(4090n, new Uint16Array([1, 2, 3]));
  assert.strictEqual(reader.readAt(10, 5).toString(), 'hello');
  assert.deepStrictEqual([...reader.readAt(4090, 6)], [1, 0, 2, 0, 3, 0]);
  assert.strictEqual(reader.size, 4096);
});

test('ranges outside are refused', async () => {
  const { handle } = await bytes();
  assert.throws(() => handle.readAt(4096, 1), { code: 'INVALID_ARGUMENT' });
  assert.throws(() => handle.readAt(2n ** 63n, 2n ** 63n), { code: 'INVALID_ARGUMENT' });
  assert.throws(() => handle.writeAt(4090, 'too long'), { code: 'INVALID_ARGUMENT' });
  assert.throws(() => handle.writeAt(-1, 'x'), { code: 'INVALID_ARGUMENT' });
  assert.throws(() => handle.writeAt(0, 5), { code: 'INVALID_ARGUMENT' });
  assert.throws(() => handle.readAt(0, 1.5), { code: 'INVALID_ARGUMENT' });
});

test('mode decides who may write, and what stays private', async () => {
  const { segment, handle } = await bytes();
  handle.writeAt(0, 'shared');
  const reader = keep(await context.client.openBytes(segment, { mode: 'read' }));
  assert.throws(() => reader.writeAt(0, 'x'), { code: 'NOT_PERMITTED' });
  assert.throws(() => reader.buffer, { code: 'INVALID_ARGUMENT' });
  const copy = keep(await context.client.openBytes(segment, { mode: 'copy' }));
  copy.buffer.write('mine  ');
  assert.strictEqual(copy.readAt(0, 6).toString(), 'mine  ');
  assert.strictEqual(reader.readAt(0, 6).toString(), 'shared');
  handle.buffer.write('direct');
  assert.strictEqual(reader.readAt(0, 6).toString(), 'direct');
});

test('closing detaches the memory', async () => {
  const { handle } = await bytes();
  const { buffer } = handle;
  await handle.close();
  assert.strictEqual(buffer.length, 0);
  assert.throws(() => handle.buffer, { code: 'CLOSED' });
  assert.throws(() => handle.readAt(0, 1), { code: 'CLOSED' });
  await assert.rejects(handle.get(), { code: 'CLOSED' });
  await assert.rejects(handle.put('x'), { code: 'CLOSED' });
});

test('memory in use outlives a forgotten handle', async () => {
  const { segment, handle } = await bytes();
  handle.writeAt(0, 'still mapped');
  const run = child(`
    require('v8').setFlagsFromString('--expose-gc');
    const gc = require('vm').runInNewContext('gc');
    const buffer = await (async () => (await client.openBytes('${segment}', { mode: 'copy' })).buffer)();
    for (let i = 0; i < 20; i++) {
      gc();
      await new Promise((resolve) => setImmediate(resolve));
    }
    console.log(buffer.toString('latin1', 0, 12));`);
  assert.strictEqual(await run.line(), 'still mapped');
  assert.deepStrictEqual(await run.done(), { code: 0, signal: null });
});

test('get gives the content last put, whole, with its version', async () => {
  const { segment, handle } = await bytes();
  const reader = keep(await context.client.openBytes(segment));
  assert.strictEqual(reader.tryGet(), null);
  await handle.put('one');
  assert.deepStrictEqual(await reader.get(), { data: Buffer.from('one'), version: 1n });
  await handle.put(Buffer.alloc(4000, 7));
  const { data, version } = await reader.get({ after: 1n });
  assert.strictEqual(version, 2n);
  assert.ok(data.equals(Buffer.alloc(4000, 7)));
  assert.strictEqual(reader.tryGet({ after: 2n }), null);
  assert.strictEqual(reader.info().version, 2n);
  await handle.put('');
  assert.strictEqual((await reader.get({ after: 2 })).data.length, 0);
});

test('get waits for the next put, of another process, too', async () => {
  const { segment, handle } = await bytes();
  const waiting = handle.get({ after: 0n });
  const run = child(`
    const bytes = await client.openBytes('${segment}', { mode: 'write' });
    await bytes.put('from the child');
    await bytes.close();`);
  assert.strictEqual((await waiting).data.toString(), 'from the child');
  assert.deepStrictEqual(await run.done(), { code: 0, signal: null });
  await assert.rejects(handle.get({ after: 1n, timeoutMs: 5 }), { code: 'TIMED_OUT' });
  await assert.rejects(handle.get({ after: 1n, signal: AbortSignal.abort() }), { name: 'AbortError' });
});

test('a get that waits for a later version does not hold up a get of what is there', async () => {
  const { handle } = await bytes();
  await handle.put('one');
  const later = handle.get({ after: 2n });
  const next = handle.get({ after: 1n });
  assert.strictEqual((await handle.get({ timeoutMs: 1000 })).data.toString(), 'one');
  await handle.put('two');
  assert.strictEqual((await next).version, 2n);
  await handle.put('three');
  assert.strictEqual((await later).version, 3n);
});

test('a signal that is given in the same turn ends a get that would wait', async () => {
  const { handle } = await bytes();
  const abort = new AbortController();
  const waiting = handle.get({ after: 0n, signal: abort.signal });
  abort.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
});

test('close waits for every flush that was begun before it', async () => {
  const place = fs.mkdtempSync(path.join(directory, 'files-'));
  const { handle } = await bytes({ size: 64 << 20, backing: 'file', directory: place });
  handle.buffer.fill(1);
  const over = [];
  const first = handle.flush().then(() => over.push('first'));
  const second = handle.flush({ length: 1, wait: false }).then(() => over.push('second'), () => over.push('second'));
  await new Promise(setImmediate);
  await handle.close().then(() => over.push('close'));
  await Promise.all([first, second]);
  assert.deepStrictEqual(over, ['first', 'second', 'close']);
});

test('a put longer than the segment allows says how long one may be', async () => {
  const { handle } = await bytes({ size: 100, putSize: 50 });
  const error = await handle.put(Buffer.alloc(51)).then(() => null, (reason) => reason);
  assert.deepStrictEqual([error.code, error.detail], ['TOO_LARGE', 50]);
  for (const putSize of [null, 0, 0n]) {
    const { handle: none } = await bytes({ putSize });
    assert.strictEqual(none.info().putSize, 0);
    await assert.rejects(none.put('x'), { code: 'TOO_LARGE' });
  }
  await assert.rejects(bytes({ putSize: 2n ** 64n - 1n }), atoll.AtollError);
});

test('backing file: the content is in the directory given', async () => {
  const place = fs.mkdtempSync(path.join(directory, 'files-'));
  const { handle } = await bytes({ backing: 'file', directory: place });
  handle.writeAt(0, 'on disk');
  await handle.flush();
  await Promise.all([handle.flush({ offset: 0, length: 4096 }), handle.put('meanwhile'), handle.get()]);
  assert.ok(fs.readdirSync(place).length > 0);
});
