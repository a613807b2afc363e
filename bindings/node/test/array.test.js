'use strict';
// Arrays in records: there and back, and what is refused when a record does not hold one.
const { test } = require('node:test');
const assert = require('node:assert');
const { withBroker, stream } = require('./support.js');
const { decodeArray } = require('../lib/array.js');

withBroker();

function payload({ magic = 0x52415441, offset, jsonLength, reserved = 0, about, data = Buffer.alloc(0), padding = 0 }) {
  const json = Buffer.from(typeof about === 'string' ? about : JSON.stringify(about));
  const at = Math.ceil((16 + json.length) / 64) * 64;
  const head = Buffer.alloc(at, padding);
  head.writeUInt32LE(magic, 0);
  head.writeUInt32LE(offset === undefined ? at : offset, 4);
  head.writeUInt32LE(jsonLength === undefined ? json.length : jsonLength, 8);
  head.writeUInt32LE(reserved, 12);
  json.copy(head, 16);
  return Buffer.concat([head, data]);
}
const decode = (parts) => decodeArray(payload(parts), 'test');

test('every TypedArray comes back with its dtype, shape and order', async () => {
  const { producer, consumer } = await stream();
  const cases = [
    [new Int8Array([-1, 2]), '|i1'], [new Uint8Array([1, 255]), '|u1'], [new Int16Array([-1, 2]), '<i2'], [new Uint16Array([1, 65535]), '<u2'],
    [new Int32Array([-1, 2]), '<i4'], [new Uint32Array([1, 2 ** 32 - 1]), '<u4'], [new Float32Array([1.5, -0]), '<f4'],
    [new Float64Array([Math.PI, NaN]), '<f8'], [new BigInt64Array([-(2n ** 63n), 1n]), '<i8'], [new BigUint64Array([2n ** 64n - 1n, 1n]), '<u8'],
  ];
  for (const [data, dtype] of cases) {
    await producer.sendArray({ data, shape: [2, 1], order: 'F' });
    assert.deepStrictEqual(await consumer.receiveArray(), { dtype, shape: [2, 1], order: 'F', data });
  }
});

test('a message says that it holds an array, and another one that it does not', async () => {
  const { producer, consumer } = await stream();
  await producer.sendArray({ data: new Float64Array(0), shape: [0, 3] });
  await producer.send('no array');
  const message = await consumer.receive();
  assert.strictEqual(message.content, 'array');
  assert.deepStrictEqual(message.array().shape, [0, 3]);
  await assert.rejects(consumer.receiveArray(), { code: 'BAD_ENCODING' });
});

test('float16, complex numbers and booleans keep their bits', () => {
  assert.deepStrictEqual(decode({ about: { dtype: '<f2', shape: [1], order: 'C' }, data: Buffer.from([0x00, 0x3c]) }).data, new Uint16Array([0x3c00]));
  const complex = Buffer.from(new Float64Array([1, -1]).buffer);
  assert.deepStrictEqual(decode({ about: { dtype: '<c16', shape: [], order: 'C' }, data: complex }).data, new Float64Array([1, -1]));
  assert.deepStrictEqual(decode({ about: { dtype: '|b1', shape: [2], order: 'C' }, data: Buffer.from([1, 0]) }).data, new Uint8Array([1, 0]));
});

test('big-endian numbers come swapped, and the dtype says so', () => {
  const { dtype, data } = decode({ about: { dtype: '>i4', shape: [2], order: 'C' }, data: Buffer.from([0, 0, 0, 1, 255, 255, 255, 254]) });
  assert.strictEqual(dtype, '<i4');
  assert.deepStrictEqual(data, new Int32Array([1, -2]));
});

test('records with fields keep their padding', async () => {
  const { producer, consumer } = await stream();
  const dtype = { names: ['a', 'b'], formats: ['|u1', ['<f8', [2]]], offsets: [0, 8], itemsize: 24 };
  const data = Buffer.from(Array.from({ length: 48 }, (_, i) => i));
  await producer.sendArray({ dtype, shape: [2], data });
  assert.deepStrictEqual(await consumer.receiveArray(), { dtype, shape: [2], order: 'C', data });
});

test('a hostile payload is BAD_ENCODING, whatever is wrong with it', () => {
  const good = { about: { dtype: '<f8', shape: [1], order: 'C' }, data: Buffer.alloc(8) };
  assert.deepStrictEqual(decode(good).data, new Float64Array(1));
  const field = (change) => ({ about: { dtype: { names: ['a'], formats: ['<f8'], offsets: [0], itemsize: 8, ...change }, shape: [1], order: 'C' }, data: Buffer.alloc(8) });
  assert.strictEqual(decode(field({})).data.length, 8);
  let deep = '<f8';
  for (let i = 0; i < 100; i++) deep = { names: ['a'], formats: [deep], offsets: [0], itemsize: 8 };
  const bad = {
    'wrong magic': { ...good, magic: 1 },
    'reserved field': { ...good, reserved: 1 },
    'offset past the end': { ...good, offset: 1 << 30 },
    'offset not aligned': { ...good, offset: 72 },
    'offset inside the JSON': { ...good, offset: 0 },
    'JSON longer than its room': { ...good, jsonLength: 2 ** 31 },
    'JSON cut': { ...good, jsonLength: 10 },
    'padding not zero': { ...good, padding: 1 },
    'no JSON': { about: '{', data: Buffer.alloc(8) },
    'JSON null': { about: 'null', data: Buffer.alloc(8) },
    'JSON array': { about: '[]', data: Buffer.alloc(8) },
    'no shape': { about: { dtype: '<f8', order: 'C' } },
    'one member more': { about: { ...good.about, extra: 1 }, data: Buffer.alloc(8) },
    'shape too large': { about: { ...good.about, shape: [2] }, data: Buffer.alloc(8) },
    'shape too small': { about: { ...good.about, shape: [] }, data: Buffer.alloc(16) },
    'shape that overflows': { about: { ...good.about, shape: [2 ** 31, 2 ** 31, 2 ** 31] }, data: Buffer.alloc(8) },
    'shape negative': { about: { ...good.about, shape: [-1] }, data: Buffer.alloc(8) },
    'shape of fractions': { about: { ...good.about, shape: [0.5, 2] }, data: Buffer.alloc(8) },
    'shape no list': { about: { ...good.about, shape: 1 }, data: Buffer.alloc(8) },
    'shape of many sides': { about: { ...good.about, shape: Array(100).fill(1) }, data: Buffer.alloc(8) },
    'order unknown': { about: { ...good.about, order: 'A' }, data: Buffer.alloc(8) },
    'dtype unknown': { about: { ...good.about, dtype: '<q8' }, data: Buffer.alloc(8) },
    'dtype size unknown': { about: { ...good.about, dtype: '<f3' }, data: Buffer.alloc(3) },
    'dtype of objects': { about: { ...good.about, dtype: '|O8' }, data: Buffer.alloc(8) },
    'dtype without byte order': { about: { ...good.about, dtype: 'f8' }, data: Buffer.alloc(8) },
    'dtype null': { about: { ...good.about, dtype: null }, data: Buffer.alloc(8) },
    'dtype a number': { about: { ...good.about, dtype: 8 }, data: Buffer.alloc(8) },
    'field outside the item': field({ offsets: [1] }),
    'field offset negative': field({ offsets: [-1] }),
    'field lists of two lengths': field({ names: ['a', 'b'] }),
    'field names alike': field({ names: ['a', 'a'], formats: ['|u1', '|u1'], offsets: [0, 1] }),
    'field name no text': field({ names: [1] }),
    'field without names': field({ names: undefined }),
    'field format of three': field({ formats: [['<f8', [1], 1]] }),
    'itemsize huge': field({ itemsize: 1e300 }),
    'nested for ever': { about: { ...good.about, dtype: deep }, data: Buffer.alloc(8) },
  };
  for (const [what, parts] of Object.entries(bad)) {
    assert.throws(() => decode(parts), { name: 'AtollError', code: 'BAD_ENCODING', segment: 'test' }, what);
  }
  for (let length = 0; length < payload(good).length; length++) {
    assert.throws(() => decodeArray(payload(good).subarray(0, length), 'test'), { code: 'BAD_ENCODING' }, `cut to ${length}`);
  }
  const notUtf8 = payload(good);
  notUtf8[18] = 0xff;
  assert.throws(() => decodeArray(notUtf8, 'test'), { code: 'BAD_ENCODING' });
});

test('the golden arrays of the contract are read as they say, and the hostile ones refused', () => {
  const vectors = require('../../../protocol/vectors/arrays.json');
  const bytes = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  const swap = (text, size) => text.replace(new RegExp(`.{${2 * size}}`, 'g'), (one) => one.match(/../g).reverse().join(''));
  for (const one of vectors.good) {
    const got = decodeArray(Buffer.from(one.payload, 'hex'), 'golden');
    const swapped = typeof one.dtype === 'string' && one.dtype[0] === '>';
    assert.deepStrictEqual([got.shape, got.order], [one.shape, one.order], one.about);
    assert.deepStrictEqual(got.dtype, swapped ? `<${one.dtype.slice(1)}` : one.dtype, one.about);
    assert.strictEqual(bytes(got.data).toString('hex'), swapped ? swap(one.data, got.data.BYTES_PER_ELEMENT) : one.data, one.about);
  }
  assert.ok(vectors.hostile.length > 10);
  for (const one of vectors.hostile) {
    assert.throws(() => decodeArray(Buffer.from(one.payload, 'hex'), 'hostile'), { code: 'BAD_ENCODING' }, one.about);
  }
});

test('what is no array cannot be sent as one', async () => {
  const { producer } = await stream();
  const data = new Float64Array(4);
  for (const wrong of [null, 5, {}, { data: [1, 2] }, { data, shape: [3] }, { data, shape: [-4] }, { data, dtype: '<f3' }, { data, order: 'X' },
    { data, dtype: '<f8', shape: 'abc' }, { data: new Uint8Array(3), dtype: '<i2' }]) {
    await assert.rejects(producer.sendArray(wrong), { code: 'INVALID_ARGUMENT' });
  }
});
