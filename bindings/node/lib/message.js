'use strict';
// A record as a consumer or observer gives it. Made lazily out of the desk it lies on (lib/desk.js): many are
// received only to be counted.

const { inspect } = require('node:util');
const native = require('./native.js');
const { AtollError, fromStatus, closed, invalid } = require('./errors.js');
const { decodeArray, utf8 } = require('./array.js');

const kContents = ['bytes', 'text', 'json', 'array'];
const kOwner = Symbol('atoll.owner');

function badEncoding(message, segment) {
  return new AtollError('BAD_ENCODING', message, {
    segment, fix: 'check how it was sent; read it as bytes to look at it',
  });
}

function released(segment) {
  return new AtollError('VIEW_RELEASED', `this view of a record of "${segment}" was released`, {
    segment, fix: 'copy what you need before releasing it',
  });
}

// Manual mode: acknowledges (1), acknowledges up to (2) or rejects (3) `count` records of a sheet.
function settle(sheet, index, how, count) {
  const { reader } = sheet;
  if (!reader.manual) {
    throw invalid(`the consumer of "${reader.name}" acknowledges by itself`, 'open it with manual: true', reader.name);
  }
  if (reader.closed) throw closed(reader.name);
  const status = native.consumerSettle(reader._handle, sheet.ledger, index, how, count);
  if (status !== 0) throw fromStatus(status, reader.name);
}

class Message {
  constructor(sheet, index) {
    this._sheet = sheet;
    this._index = index;
    this._data = undefined;
  }

  get data() {
    if (this._data === undefined) this._data = this._seen().data(this._index);
    return this._data;
  }

  get length() {
    return this._seen().length(this._index);
  }

  get sequence() {
    return this._seen().sequence(this._index);
  }

  get lost() {
    return this._seen().lost(this._index);
  }

  get lane() {
    return this._seen().laneAndContent(this._index) & 0xffff;
  }

  get content() {
    return kContents[this._seen().laneAndContent(this._index) >>> 16] || 'bytes';
  }

  get deliveries() {
    return this._seen().deliveries(this._index);
  }

  get redelivered() {
    return this.deliveries > 1;
  }

  text() {
    try {
      return utf8(this.data);
    } catch (error) {
      if (error instanceof AtollError) throw error;
      throw badEncoding('the record is not UTF-8', this._sheet.reader.name);
    }
  }

  json() {
    const text = this.text();
    try {
      return JSON.parse(text);
    } catch (error) {
      throw badEncoding(`the record is not JSON: ${error.message}`, this._sheet.reader.name);
    }
  }

  array() {
    if (this.content !== 'array') throw badEncoding(`the record holds ${this.content}, not an array`, this._sheet.reader.name);
    return decodeArray(this.data, this._sheet.reader.name);
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
    settle(this._seen(), this._index, how, 1);
  }

  // The sheet, unless this message is of a batch that was released.
  _seen() {
    const sheet = this._sheet;
    if (sheet.columns === null) throw released(sheet.reader.name);
    return sheet;
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

// A promise that is resolved with a message asks it for `then`. It finds that here, sooner than by looking through
// all of its prototypes: a twentieth of a receive().
Object.defineProperty(Message.prototype, 'then', { value: undefined });

// A message whose data is the record's own memory, until it is released.
//
// What must happen when it is forgotten is in its holder, which does not refer to it. The ArrayBuffer refers
// to the message, so that the view lives as long as either is in use.
class ViewMessage extends Message {
  constructor(sheet, index) {
    super(sheet, index);
    const { reader } = sheet;
    this._holder = { reader, ledger: sheet.ledger, index, buffer: null };
    reader._live.add(this._holder);
    forgotten.register(this, this._holder, this._holder);
  }

  get data() {
    const { reader, ledger } = this._sheet;
    if (!reader._live.has(this._holder)) throw released(reader.name);
    if (this._data === undefined) {
      const buffer = native.consumerView(reader._handle, ledger, this._index);
      if (typeof buffer === 'number') throw fromStatus(buffer, reader.name);
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
  const status = native.consumerSettle(holder.reader._handle, holder.ledger, holder.index, 0, 1);
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

module.exports = { Message, ViewMessage, released, settle, detachAll, kOwner };
