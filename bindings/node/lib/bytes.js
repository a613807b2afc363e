'use strict';
// Bytes segments: a plain piece of shared memory, and put/get of a content as one.

const native = require('./native.js');
const { status, fromStatus, closed, invalid, run } = require('./errors.js');
const { waiting, object, count, boolean, describe } = require('./arguments.js');
const { WaitQueue, PENDING } = require('./loop.js');
const { kOwner } = require('./message.js');

const kModes = ['read', 'write', 'copy'];
const kNotBytes = 1000;  // src/plain.hpp
const kFirstRetryMs = 1;
const kLastRetryMs = 32;

class Bytes {
  constructor(handle, id, name) {
    this._handle = handle;
    this.name = name;
    this.closed = false;
    this._closing = null;
    this._queue = new WaitQueue(handle, id, name, { ordered: false });
    this._memory = null;
    this._flushing = null;  // while a flush is under way on another thread: settles when it is over
    const { size, mode } = this.info();
    this.size = size;
    this.mode = mode;
  }

  // The content in place. A private copy-on-write mapping with mode "copy"; shared with mode "write"; not with
  // mode "read", as JavaScript cannot be kept from writing.
  get buffer() {
    this._check();
    if (this.mode === 'read') {
      throw invalid(`"${this.name}" is mapped read-only, and JavaScript cannot be kept from writing`,
        'open it with mode: "copy" (writes stay private) or "write", or use readAt', this.name);
    }
    if (this._memory === null) {
      const memory = native.bytesMemory(this._handle);
      if (typeof memory === 'number') throw fromStatus(memory, this.name);
      memory[kOwner] = this;  // the mapping lives as long as the Buffer is in use
      this._memory = Buffer.from(memory);
    }
    return this._memory;
  }

  readAt(offset, length) {
    this._check();
    count(offset, 'readAt: offset');
    count(length, 'readAt: length');
    if (BigInt(offset) + BigInt(length) > BigInt(this.size)) {
      throw invalid(`readAt: ${length} bytes from ${offset} are not inside the ${this.size} of "${this.name}"`,
        'read inside the segment', this.name);
    }
    const into = Buffer.allocUnsafe(Number(length));
    this._done(native.bytesTransfer(this._handle, offset, into, false));
    return into;
  }

  writeAt(offset, data) {
    this._check();
    const at = count(offset, 'writeAt: offset');
    this._done(native.bytesTransfer(this._handle, at, bytesOf(data), true), data);
  }

  async flush(options) {
    const { offset = 0, length = 0, wait = true } = object(options, 'flush: options', ['offset', 'length', 'wait']);
    const [from, bytes] = [count(offset, 'flush: offset'), count(length, 'flush: length')];
    boolean(wait, 'flush: wait');
    while (this._flushing !== null) await this._flushing;
    this._check();
    const flush = run(native.bytesFlush(this._handle, from, bytes, wait));
    this._flushing = flush.catch(() => {}).then(() => {
      this._flushing = null;
    });
    return flush;
  }

  // "These are the content now". Another put may hold the lock for the time of a copy: then tries again, ever
  // more slowly, as the library rings for contents, not for the lock.
  async put(data, options) {
    const { timeoutMs, signal } = waiting(options, 'put');
    const bytes = bytesOf(data);
    const end = performance.now() + timeoutMs;
    for (let pause = kFirstRetryMs; ; pause = Math.min(2 * pause, kLastRetryMs)) {
      while (this._flushing !== null) await this._flushing;
      this._check();
      const number = native.bytesPut(this._handle, bytes);
      if (number !== status.TIMED_OUT || performance.now() + pause > end) return this._done(number, data);
      await new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const abort = () => {
          clearTimeout(timer);
          reject(signal.reason);
        };
        const timer = setTimeout(() => {
          if (signal !== undefined) signal.removeEventListener('abort', abort);
          resolve();
        }, pause);
        if (signal !== undefined) signal.addEventListener('abort', abort, { once: true });
      });
    }
  }

  // {data, version} once the version is above `after`.
  async get(options) {
    const limits = waiting(options, 'get', ['after']);
    const { after: given = 0n } = options || {};
    const after = count(given, 'get: after');
    while (this._flushing !== null) await this._flushing;
    this._check();
    const content = this._get(after);
    if (content !== PENDING) return content;
    return this._queue.wait(() => this._get(after), limits, 'get of');
  }

  // The same without waiting: null if there is none.
  tryGet(options) {
    const { after: given = 0n } = object(options, 'tryGet: options', ['after']);
    const after = count(given, 'tryGet: after');
    this._check();
    const content = this._get(after);
    return content === PENDING ? null : content;
  }

  info() {
    this._check();
    const info = native.bytesInfo(this._handle);
    if (typeof info === 'number') throw fromStatus(info, this.name);
    info.mode = kModes[info.mode];
    return info;
  }

  close() {
    if (this._closing === null) {
      this.closed = true;
      this._queue.close();
      if (this._memory !== null) native.detach(this._memory.buffer);
      this._closing = this._close();
    }
    return this._closing;
  }

  // ---- Inside ------------------------------------------------------------------------------------

  // The C handle is one thread's at a time. Who waits for a flush looks again when it is over, for another one may have
  // begun, and goes on without giving way in between: so each says `while (this._flushing ...)` itself.
  async _close() {
    while (this._flushing !== null) await this._flushing;
    return run(native.closeHandle(this._handle));
  }

  _check() {
    if (this.closed) throw closed(this.name);
  }

  _get(after) {
    for (let size = this.info().length; ;) {
      const into = Buffer.allocUnsafe(size);
      const got = native.bytesGet(this._handle, after, into);
      if (typeof got === 'object') return { data: into.subarray(0, got[0]), version: got[1] };
      if (got === status.TIMED_OUT) return PENDING;
      if (got !== status.TOO_LARGE) this._done(got);
      const needed = Number(native.lastError().detail);  // it has grown since info()
      if (!(needed > size)) this._done(got);
      size = needed;
    }
  }

  _done(number, data) {
    if (number === status.OK) return;
    if (number === kNotBytes) {
      throw invalid(`these are no bytes: ${describe(data)}`, 'give a Buffer, TypedArray, DataView, ArrayBuffer or string', this.name);
    }
    throw fromStatus(number, this.name);
  }
}

function bytesOf(data) {
  return typeof data === 'string' ? Buffer.from(data) : data;
}

if (Symbol.asyncDispose) {
  Bytes.prototype[Symbol.asyncDispose] = function dispose() {
    return this.close();
  };
}

module.exports = { Bytes };
