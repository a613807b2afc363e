'use strict';
// A record as a consumer or observer gives it. Made lazily out of the ledger and the slab that src/consumer.hpp
// describes: many are received only to be counted.

const { inspect } = require('node:util');
const native = require('./native.js');
const { AtollError, fromStatus, closed, invalid } = require('./errors.js');
const { decodeArray, utf8 } = require('./array.js');

// What Buffer.prototype.subarray makes, made directly: a third of its time.
const FastBuffer = Buffer[Symbol.species];

const kContents = ['bytes', 'text', 'json', 'array'];
const kOwner = Symbol('atoll.owner');

// Where things are in a ledger: a view is 12 words of 32 bits or 6 of 64, and the offsets come after all views.
const kWords = 12;
const kWords64 = 6;
const kLengthLow = 2;
const kLengthHigh = 3;
const kSequence64 = 2;
const kLost64 = 3;
const kLaneAndContent = 8;
const kDeliveries = 9;

class Ledger {
  constructor(size) {
    this.size = size;
    this.used = 0;
    this.buffer = Buffer.allocUnsafeSlow(size * (kWords + 1) * 4).buffer;
    this.words = new Uint32Array(this.buffer);
    this._words64 = null;
  }

  get words64() {
    if (this._words64 === null) this._words64 = new BigUint64Array(this.buffer, 0, this.size * kWords64);
    return this._words64;
  }

  length(index) {
    const low = this.words[index * kWords + kLengthLow];
    const high = this.words[index * kWords + kLengthHigh];
    return high === 0 ? low : high * 2 ** 32 + low;
  }
}

function badEncoding(message, segment) {
  return new AtollError('BAD_ENCODING', message, {
    segment, fix: 'check how it was sent; read it as bytes to look at it',
  });
}

class Message {
  // slab: the Buffer that holds the payload, null where it is seen in place.
  constructor(reader, ledger, index, slab) {
    this._reader = reader;
    this._ledger = ledger;
    this._index = index;
    this._slab = slab;
    this._data = undefined;
  }

  get data() {
    if (this._data === undefined) {
      const ledger = this._ledger;
      const offset = ledger.words[ledger.size * kWords + this._index];
      this._data = new FastBuffer(this._slab.buffer, offset, ledger.length(this._index));
    }
    return this._data;
  }

  get length() {
    return this._ledger.length(this._index);
  }

  get sequence() {
    return this._ledger.words64[this._index * kWords64 + kSequence64];
  }

  get lost() {
    return this._ledger.words64[this._index * kWords64 + kLost64];
  }

  get lane() {
    return this._ledger.words[this._index * kWords + kLaneAndContent] & 0xffff;
  }

  get content() {
    return kContents[this._ledger.words[this._index * kWords + kLaneAndContent] >>> 16] || 'bytes';
  }

  get deliveries() {
    return this._ledger.words[this._index * kWords + kDeliveries] & 0xffff;
  }

  get redelivered() {
    return this.deliveries > 1;
  }

  text() {
    try {
      return utf8(this.data);
    } catch (error) {
      if (error instanceof AtollError) throw error;
      throw badEncoding('the record is not UTF-8', this._reader.name);
    }
  }

  json() {
    const text = this.text();
    try {
      return JSON.parse(text);
    } catch (error) {
      throw badEncoding(`the record is not JSON: ${error.message}`, this._reader.name);
    }
  }

  array() {
    if (this.content !== 'array') throw badEncoding(`the record holds ${this.content}, not an array`, this._reader.name);
    return decodeArray(this.data, this._reader.name);
  }

  // A copy is the caller's: nothing to give back.
  release() {}

  acknowledge() {
    this._settle(1);
  }

  acknowledgeUpTo() {
    this._settle(2);
  }

  reject() {
    this._settle(3);
  }

  _settle(how) {
    const reader = this._reader;
    if (!reader.manual) {
      throw invalid(`the consumer of "${reader.name}" acknowledges by itself`, 'open it with manual: true', reader.name);
    }
    if (reader.closed) throw closed(reader.name);
    const status = native.consumerSettle(reader._handle, this._ledger.buffer, this._index, how);
    if (status !== 0) throw fromStatus(status, reader.name);
  }

  [inspect.custom](depth, options) {
    const { lane, sequence, content, deliveries, lost } = this;
    let data;
    try {
      data = this.data;
    } catch {
      data = '(released)';
    }
    return `Message ${inspect({ lane, sequence, content, deliveries, lost, data }, options)}`;
  }
}

// A message whose data is the record's own memory, until it is released.
//
// What must happen when it is forgotten is in its holder, which does not refer to it. The ArrayBuffer refers
// to the message, so that the view lives as long as either is in use.
class ViewMessage extends Message {
  constructor(reader, ledger, index) {
    super(reader, ledger, index, null);
    this._holder = { reader, ledger, index, buffer: null };
    reader._live.add(this._holder);
    forgotten.register(this, this._holder, this._holder);
  }

  get data() {
    if (!this._reader._live.has(this._holder)) {
      throw new AtollError('VIEW_RELEASED', `this view of a record of "${this._reader.name}" was released`, {
        segment: this._reader.name, fix: 'copy what you need before releasing it',
      });
    }
    if (this._data === undefined) {
      const buffer = native.consumerView(this._reader._handle, this._ledger.buffer, this._index);
      if (typeof buffer === 'number') throw fromStatus(buffer, this._reader.name);
      buffer[kOwner] = this;
      this._holder.buffer = new WeakRef(buffer);
      this._data = Buffer.from(buffer);
    }
    return this._data;
  }

  release() {
    releaseView(this._holder);
    this._data = undefined;
  }
}

const forgotten = new FinalizationRegistry((holder) => {
  try {
    releaseView(holder);
  } catch {
    // Nobody is there to be told; the library keeps the view until the consumer is closed.
  }
});

function detach(holder) {
  const buffer = holder.buffer === null ? undefined : holder.buffer.deref();
  holder.buffer = null;
  if (buffer !== undefined) native.detach(buffer);
}

function releaseView(holder) {
  if (!holder.reader._live.delete(holder)) return;
  forgotten.unregister(holder);
  detach(holder);
  const status = native.consumerSettle(holder.reader._handle, holder.ledger.buffer, holder.index, 0);
  if (status !== 0) throw fromStatus(status, holder.reader.name);
}

// All views of a reader that closes: the library takes their memory away.
function detachAll(reader) {
  for (const holder of reader._live) {
    forgotten.unregister(holder);
    detach(holder);
  }
  reader._live.clear();
}

module.exports = { Message, ViewMessage, Ledger, detachAll, kOwner };
