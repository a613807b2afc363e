'use strict';
// Producers: records into a stream. A send copies into the ring at once where there is room; only when the
// ring of a `block` stream is full does it wait, in order, without blocking the event loop.

const native = require('./native.js');
const { AtollError, status, fromStatus, closed, invalid, run } = require('./errors.js');
const { waiting, object, choice, count, describe } = require('./arguments.js');
const { WaitQueue, PENDING, turn } = require('./loop.js');
const { encodeArray } = require('./array.js');
const { kOwner } = require('./message.js');

const kContents = { bytes: 0, text: 1, json: 2, array: 3 };
const kWhenFull = ['block', 'drop-new', 'overwrite'];
const kNotBytes = 1000;  // src/plain.hpp
const kMostRecords = 512;  // src/producer.cpp

// What most sends answer, made once.
const kStored = Promise.resolve(true);
const kDropped = Promise.resolve(false);

const kBytesFix = 'send a Buffer, TypedArray, DataView, ArrayBuffer or string; for other values there are sendJson and sendArray';

class Producer {
  constructor(handle, id, name) {
    this._handle = handle;
    this.name = name;
    this.closed = false;
    this._closing = null;
    this._queue = new WaitQueue(handle, id, name);
    this._loans = new Set();
    this._sends = 0;
    this._dropsNew = this.info().whenFull === 'drop-new';
  }

  send(data, options) {
    if (options === undefined && this._queue.empty) {
      const number = ArrayBuffer.isView(data) ? native.producerSendView(this._handle, data) : this._put(data);
      if (number === undefined || number === status.OK) return (++this._sends & 255) === 0 && turn.overdue() ? turn.next().then(() => true) : kStored;
      if (number === status.DROPPED) return kDropped;
      if (number !== status.TIMED_OUT) return Promise.reject(this._error(number, data));
    }
    return this._wait(() => this._sent(this._put(data), data), options, 'send to');
  }

  trySend(data) {
    if (!this._queue.empty) return false;
    if (ArrayBuffer.isView(data)) {
      const number = native.producerSendView(this._handle, data);
      return number === undefined || this._sent(number, data) === true;
    }
    return this._sent(this._put(data), data) === true;
  }

  sendJson(value, options) {
    let text;
    try {
      text = JSON.stringify(value);
    } catch (cause) {
      return Promise.reject(invalid(`sendJson: ${cause.message}`, 'send what JSON.stringify takes', this.name));
    }
    if (text === undefined) {
      return Promise.reject(invalid(`sendJson: ${describe(value)} has no JSON`, 'send what JSON.stringify takes', this.name));
    }
    return this._wait(() => this._sent(native.producerSendText(this._handle, text, kContents.json), text), options, 'sendJson to');
  }

  sendArray(array, options) {
    let parts;
    try {
      parts = encodeArray(array);
    } catch (error) {
      return Promise.reject(error);
    }
    const [head, data] = parts;
    return this._wait(() => this._sent(native.producerSendTwo(this._handle, head, data, kContents.array), data), options,
      'sendArray to');
  }

  sendMany(records, options) {
    let list = records;
    if (!Array.isArray(records)) {
      return Promise.reject(invalid(`sendMany takes an array of records, not ${describe(records)}`, kBytesFix, this.name));
    }
    let content = kContents.bytes;
    if (typeof records[0] === 'string') {
      content = kContents.text;
      const odd = records.findIndex((record) => typeof record !== 'string');
      if (odd !== -1) {
        return Promise.reject(invalid(`sendMany: record ${odd} is ${describe(records[odd])} among strings`,
          'send strings and bytes in calls of their own', this.name));
      }
      list = records.map((record) => Buffer.from(record));
    }
    let done = 0;
    let dropped = 0;
    const attempt = () => {
      const before = this._dropsNew ? this._dropped() : 0n;
      try {
        while (done < list.length) {
          const some = list.slice(done, done + kMostRecords);
          const sent = native.producerSendMany(this._handle, content, ...some);
          done += sent;
          if (sent === some.length) continue;
          const { code } = native.lastError();
          if (code === status.TIMED_OUT) return PENDING;
          if (code === kNotBytes) throw invalid(`sendMany: record ${done} is ${describe(list[done])}`, kBytesFix, this.name);
          throw fromStatus(code, this.name);
        }
      } finally {
        if (this._dropsNew) dropped += Number(this._dropped() - before);
      }
      return done - dropped;
    };
    return this._wait(attempt, options, 'sendMany to').catch((error) => {
      if (error instanceof AtollError) error.sent = done;
      throw error;
    });
  }

  async loan(length, options) {
    const bytes = count(length, 'loan: length');
    const { content = 'bytes' } = object(options, 'loan: options', ['timeoutMs', 'signal', 'content']);
    const kind = choice(content, 'loan: content', kContents);
    return this._wait(() => this._lend(bytes, kind), options, 'loan of', ['content']);
  }

  tryLoan(length, options) {
    const bytes = count(length, 'tryLoan: length');
    const { content = 'bytes' } = object(options, 'tryLoan: options', ['content']);
    const kind = choice(content, 'tryLoan: content', kContents);
    if (this.closed) throw closed(this.name);
    const loan = this._queue.empty ? this._lend(bytes, kind) : PENDING;
    return loan === PENDING ? null : loan;
  }

  // After the sends that wait.
  finish() {
    return this._wait(() => {
      const number = native.producerFinish(this._handle);
      if (number !== status.OK) throw this._error(number);
    }, undefined, 'finish of');
  }

  info() {
    const info = this.closed ? status.CLOSED : native.producerInfo(this._handle);
    if (typeof info === 'number') throw fromStatus(info, this.name);
    info.whenFull = kWhenFull[info.whenFull];
    return info;
  }

  close() {
    if (this._closing === null) {
      this.closed = true;
      this._queue.close();
      for (const holder of this._loans) endLoan(holder, false);
      this._closing = run(native.closeHandle(this._handle));
    }
    return this._closing;
  }

  // ---- Inside ------------------------------------------------------------------------------------

  _put(data) {
    return typeof data === 'string' ? native.producerSendText(this._handle, data, kContents.text)
      : native.producerSend(this._handle, data, kContents.bytes);
  }

  // true, false (dropped), PENDING, or an exception.
  _sent(number, data) {
    if (number === status.OK) return true;
    if (number === status.DROPPED) return false;
    if (number === status.TIMED_OUT) return PENDING;
    throw this._error(number, data);
  }

  _error(number, data) {
    if (number === kNotBytes) return invalid(`send: this is no record: ${describe(data)}`, kBytesFix, this.name);
    return fromStatus(number, this.name);
  }

  _dropped() {
    return this.info().dropped;
  }

  _lend(length, content) {
    const lent = native.producerLoan(this._handle, length, content);
    return typeof lent === 'number' ? this._lent(lent, length) : new Loan(this, lent);
  }

  _lent(number, length) {
    if (number === status.TIMED_OUT) return PENDING;
    if (number === status.DROPPED) throw fromStatus(number, this.name);
    throw this._error(number, length);
  }

  _wait(attempt, options, what, extra) {
    let limits;
    try {
      limits = waiting(options, what.split(' ')[0], extra);
      if (this.closed) throw closed(this.name);
      if (this._queue.empty) {
        const result = attempt();
        if (result !== PENDING) return turn.overdue() ? turn.next().then(() => result) : Promise.resolve(result);
      }
    } catch (error) {
      return Promise.reject(error);
    }
    return this._queue.wait(attempt, limits, what);
  }
}

if (Symbol.asyncDispose) {
  Producer.prototype[Symbol.asyncDispose] = function dispose() {
    return this.close();
  };
}

// A record's payload to fill in place. Forgotten loans are aborted; the ArrayBuffer keeps its loan.
class Loan {
  constructor(producer, [number, buffer]) {
    buffer[kOwner] = this;
    this.buffer = Buffer.from(buffer);
    this._holder = { producer, number, buffer: new WeakRef(buffer) };
    producer._loans.add(this._holder);
    forgotten.register(this, this._holder, this._holder);
  }

  commit() {
    this._end(true);
  }

  abort() {
    this._end(false);
  }

  _end(commit) {
    const { producer } = this._holder;
    if (producer.closed) throw closed(producer.name);
    if (!producer._loans.has(this._holder)) {
      throw invalid(`this loan of "${producer.name}" was committed or aborted already`, 'ask for another loan', producer.name);
    }
    const number = endLoan(this._holder, commit);
    if (number !== status.OK) throw fromStatus(number, producer.name);
  }
}

const forgotten = new FinalizationRegistry((holder) => endLoan(holder, false));

function endLoan(holder, commit) {
  if (!holder.producer._loans.delete(holder)) return status.OK;
  forgotten.unregister(holder);
  return native.producerEndLoan(holder.producer._handle, holder.number, holder.buffer.deref(), commit);
}

module.exports = { Producer };
