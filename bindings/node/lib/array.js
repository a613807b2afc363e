'use strict';
// Arrays in records: the encoding of SPEC.md, "Arrays". Encoding is for producers, decoding for messages; a
// decoded payload comes from another process, so everything about it is checked.

const { AtollError, invalid } = require('./errors.js');
const { describe } = require('./arguments.js');

const kMagic = 0x52415441;  // "ATAR", little-endian
const kHead = 16;
const kAlignment = 64;
const kMaxDimensions = 64;
const kMaxDepth = 16;

// kind and size -> what holds it, and the bytes of what is swapped as one. Others come as a Buffer.
const kTypes = {
  b1: [Uint8Array, 1], i1: [Int8Array, 1], u1: [Uint8Array, 1],
  i2: [Int16Array, 2], u2: [Uint16Array, 2], f2: [Uint16Array, 2],
  i4: [Int32Array, 4], u4: [Uint32Array, 4], f4: [Float32Array, 4],
  i8: [BigInt64Array, 8], u8: [BigUint64Array, 8], f8: [Float64Array, 8],
  c8: [Float32Array, 4], c16: [Float64Array, 8],
};
const kOtherNumbers = new Set(['f16', 'c32']);
const kDefaults = new Map([
  [Int8Array, '|i1'], [Uint8Array, '|u1'], [Uint8ClampedArray, '|u1'], [Int16Array, '<i2'], [Uint16Array, '<u2'],
  [Int32Array, '<i4'], [Uint32Array, '<u4'], [BigInt64Array, '<i8'], [BigUint64Array, '<u8'], [Float32Array, '<f4'],
  [Float64Array, '<f8'],
]);
const kZeros = Buffer.alloc(kAlignment);

class Wrong extends Error {}

function whole(value, what) {
  if (!Number.isSafeInteger(value) || value < 0) throw new Wrong(`${what} is not a whole number: ${describe(value)}`);
  return value;
}

// Checks a dtype; gives {itemsize, order, key}: key is of kTypes or undefined.
function readDtype(dtype, depth = 0) {
  if (depth > kMaxDepth) throw new Wrong('the dtype is nested too deeply');
  if (typeof dtype === 'string') {
    const match = /^([<>|])([biufcSUV])(0|[1-9][0-9]{0,9})$/.exec(dtype);
    if (match === null) throw new Wrong(`this is no dtype: ${describe(dtype)}`);
    const [, order, kind, digits] = match;
    const size = Number(digits);
    if ('SUV'.includes(kind)) return { itemsize: kind === 'U' ? 4 * size : size, order, key: undefined };
    const key = kind + digits;
    if (kTypes[key] === undefined && !kOtherNumbers.has(key)) throw new Wrong(`there is no dtype ${describe(dtype)}`);
    if (order === '|' && size > 1) throw new Wrong(`dtype ${describe(dtype)} does not say its byte order`);
    return { itemsize: size, order, key: kTypes[key] === undefined ? undefined : key };
  }
  if (dtype === null || typeof dtype !== 'object' || Array.isArray(dtype)) throw new Wrong(`this is no dtype: ${describe(dtype)}`);
  const { names, formats, offsets, itemsize } = dtype;
  for (const list of [names, formats, offsets]) {
    if (!Array.isArray(list) || list.length !== names.length) throw new Wrong('names, formats and offsets of a dtype must be lists of one length');
  }
  if (Object.keys(dtype).length !== 4) throw new Wrong('a dtype with fields has names, formats, offsets and itemsize');
  whole(itemsize, 'itemsize');
  if (new Set(names).size !== names.length) throw new Wrong('two fields of the dtype have one name');
  formats.forEach((format, i) => {
    if (typeof names[i] !== 'string') throw new Wrong('a field of the dtype has no name');
    const [inner, shape] = Array.isArray(format) ? format : [format, []];
    if (Array.isArray(format) && format.length !== 2) throw new Wrong(`field ${describe(names[i])} has no format`);
    const size = readDtype(inner, depth + 1).itemsize * readShape(shape);
    if (!(whole(offsets[i], 'offset') + size <= itemsize)) throw new Wrong(`field ${describe(names[i])} is not inside the item`);
  });
  return { itemsize, order: '|', key: undefined };
}

// The number of elements.
function readShape(shape) {
  if (!Array.isArray(shape) || shape.length > kMaxDimensions) throw new Wrong(`this is no shape: ${describe(shape)}`);
  return whole(shape.reduce((product, side) => product * whole(side, 'a side of the shape'), 1), 'the number of elements');
}

function readOrder(order) {
  if (order !== 'C' && order !== 'F') throw new Wrong(`order must be "C" or "F", not ${describe(order)}`);
  return order;
}

// {dtype, shape, order, data} as [head, bytes] of a record's payload.
function encodeArray(array) {
  if (array === null || typeof array !== 'object') throw invalid(`sendArray takes {dtype, shape, order, data}, not ${describe(array)}`);
  const { data, order = 'C' } = array;
  if (!ArrayBuffer.isView(data) && !(data instanceof ArrayBuffer)) {
    throw invalid(`sendArray's data must be a TypedArray, DataView, Buffer or ArrayBuffer, not ${describe(data)}`);
  }
  const dtype = array.dtype === undefined ? kDefaults.get(data.constructor) || '|u1' : array.dtype;
  let text;
  try {
    const { itemsize } = readDtype(dtype);
    const shape = array.shape === undefined ? [itemsize === 0 ? 0 : data.byteLength / itemsize] : array.shape;
    const bytes = readShape(shape) * itemsize;
    if (bytes !== data.byteLength) {
      throw new Wrong(`shape ${describe(shape.join('×'))} of ${describe(dtype)} needs ${bytes} bytes, data has ${data.byteLength}`);
    }
    text = JSON.stringify({ dtype, shape, order: readOrder(order) });
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    throw invalid(error.message, 'dtype is as NumPy writes it, e.g. "<f8"; shape times its size must be the bytes of data');
  }
  const json = Buffer.from(text);
  const offset = Math.ceil((kHead + json.length) / kAlignment) * kAlignment;
  const head = Buffer.alloc(offset);
  head.writeUInt32LE(kMagic, 0);
  head.writeUInt32LE(offset, 4);
  head.writeUInt32LE(json.length, 8);
  json.copy(head, kHead);
  return [head, data];
}

function swapped(bytes, unit) {
  const copy = Buffer.from(bytes);
  if (unit === 2) copy.swap16();
  else if (unit === 4) copy.swap32();
  else if (unit === 8) copy.swap64();
  return copy;
}

function decode(payload) {
  if (payload.length < kHead || payload.readUInt32LE(0) !== kMagic) throw new Wrong('it does not begin as an array does');
  const offset = payload.readUInt32LE(4);
  const jsonLength = payload.readUInt32LE(8);
  if (payload.readUInt32LE(12) !== 0) throw new Wrong('a reserved field is set');
  if (offset % kAlignment !== 0 || offset > payload.length || jsonLength > offset - kHead) throw new Wrong('its offsets are wrong');
  for (let at = kHead + jsonLength; at < offset; at += kAlignment) {
    const end = Math.min(offset, at + kAlignment);
    if (payload.compare(kZeros, 0, end - at, at, end) !== 0) throw new Wrong('its padding is not zero');
  }
  let about;
  try {
    about = JSON.parse(utf8(payload.subarray(kHead, kHead + jsonLength)));
  } catch {
    throw new Wrong('its description is not JSON');
  }
  if (about === null || typeof about !== 'object' || Array.isArray(about) || Object.keys(about).length !== 3) {
    throw new Wrong('its description is not {dtype, shape, order}');
  }
  let { dtype } = about;
  const { itemsize, order: byteOrder, key } = readDtype(dtype);
  const order = readOrder(about.order);
  let bytes = payload.subarray(offset);
  if (readShape(about.shape) * itemsize !== bytes.length) throw new Wrong('its shape does not match its bytes');
  if (key === undefined) return { dtype, shape: about.shape, order, data: bytes };
  const [Type, unit] = kTypes[key];
  if (byteOrder === '>' && unit > 1) {
    bytes = swapped(bytes, unit);
    dtype = `<${key}`;
  }
  if (bytes.byteOffset % unit !== 0) bytes = new Uint8Array(bytes);
  return { dtype, shape: about.shape, order, data: new Type(bytes.buffer, bytes.byteOffset, bytes.length / unit) };
}

// A payload as {dtype, shape, order, data}. data is a TypedArray over the payload where JavaScript has one
// for the dtype, else a Buffer. dtype says what data holds: big-endian numbers come swapped, in a copy.
function decodeArray(payload, segment) {
  try {
    return decode(payload);
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    throw new AtollError('BAD_ENCODING', `the record is no array: ${error.message}`, {
      segment, fix: 'check how it was sent; read it as bytes to look at it',
    });
  }
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// The text of UTF-8 bytes. Throws Wrong for other bytes.
function utf8(bytes) {
  const text = bytes.utf8Slice(0, bytes.length);
  // The quick way writes U+FFFD for what is not UTF-8; a text may also hold that character.
  if (text.includes('\ufffd')) {
    try {
      return strict.decode(bytes);
    } catch {
      throw new Wrong('it is not UTF-8');
    }
  }
  return text;
}

module.exports = { encodeArray, decodeArray, utf8 };
