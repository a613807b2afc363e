'use strict';
// Consumers and observers: records out of a stream.
//
// receive() and iteration hand out records of a batch fetched in one crossing. In automatic mode a record is
// acknowledged when it was handed out by receive(), or when the iterator that gave it moves past it; that is told to
// the library for all at once, with the batch's last record or at the end of this turn of the event loop. A record that
// an iterator still holds by then, while later ones are dealt with, is told of by itself.

const { isMainThread } = require('node:worker_threads');
const native = require('./native.js');
const { AtollError, status, fromStatus, closed, invalid, run } = require('./errors.js');
const { waiting, small } = require('./arguments.js');
const { WaitQueue, PENDING, turn } = require('./loop.js');
const { Desk, Sheet } = require('./desk.js');
const { Message, ViewMessage, detachAll } = require('./message.js');
const { Batch } = require('./batch.js');

const kSlabSize = 128 * 1024;
const kBatchSlabSize = 256 * 1024;
const kDeskSize = 1024;
const kFew = 64;  // records of a fetch, and bytes: see _keepsPace
const kLittle = 32768;
const kPauseMs = 0.01;
const kSome = 256;  // records: not worth a new desk
const kBatch = 64;
const kMostAtOnce = 65536;
// A worker thread blocks for so long at once: between two times V8 hears that it is to be terminated. Nobody
// terminates the main thread, so that one sleeps on.
const kBlockMs = isMainThread ? Infinity : 250;
const kNeedsRoom = 1001;  // src/plain.hpp
const kCopy = 1;  // src/consumer.cpp
const kRelease = 2;
const kRewind = 4;

const kDone = Object.freeze({ done: true, value: undefined });

class Reader {
  // handle, id: of the addon. options: {manual, zeroCopy, observer, prefetch}
  constructor(handle, id, name, { manual, zeroCopy, observer, prefetch }) {
    this._handle = handle;
    this.name = name;
    this.manual = manual;
    this.closed = false;
    this._closing = null;
    this._queue = new WaitQueue(handle, id, name);
    this._attempt = () => this._take();
    this._live = new Set();  // holders of views in use (zero-copy)

    this._batch = prefetch || kBatch;
    this._zeroCopy = zeroCopy;
    if (zeroCopy) native.consumerPrivateViews(handle);
    // Only a group's automatic consumer keeps the library's views until it is past them.
    this._keep = !manual && !zeroCopy && !observer;
    this._mode = zeroCopy ? 0 : this._keep ? kCopy : kCopy | kRelease;

    this._desk = null;
    this._sheet = null;
    this._batchDesk = null;  // of receiveBatch; _desk while that was called last
    // Of the desk: [_released, _passed) is dealt with but for what _holders hold, [_passed, _next) handed out,
    // [_next, _end) fetched.
    this._released = 0;
    this._passed = 0;
    this._next = 0;
    this._end = 0;
    this._holders = [];  // iterators that gave a record of [_released, _next)
    this._flushing = false;
    this._found = 0;  // by the last fetch, unless there was more, or much
    this._inARow = 0;
  }

  // ---- Public ------------------------------------------------------------------------------------

  receive(options) {
    if (options === undefined && this._next !== this._end && this._queue.empty) return Promise.resolve(this._hand());
    return this._wait(options, 'receive', this._attempt);
  }

  receiveMany(max = kDeskSize, options = undefined) {
    try {
      small(max, 'receiveMany: max', 1, kMostAtOnce);
    } catch (error) {
      return Promise.reject(error);
    }
    return this._wait(options, 'receiveMany', () => this._takeMany(max));
  }

  receiveBatch(max = kDeskSize, options = undefined) {
    try {
      small(max, 'receiveBatch: max', 1, kMostAtOnce);
      if (this._zeroCopy) throw invalid('receiveBatch: the consumer gives records in place, one by one', 'open it without zeroCopy', this.name);
    } catch (error) {
      return Promise.reject(error);
    }
    return this._wait(options, 'receiveBatch', () => this._takeBatch(max));
  }

  tryReceive() {
    if (this.closed) throw closed(this.name);
    if (!this._queue.empty) return null;
    const message = this._take();
    return message === PENDING ? null : message;
  }

  receiveSync(options) {
    const { timeoutMs } = waiting(options, 'receiveSync');
    if (this.closed) throw closed(this.name);
    if (!this._queue.empty) throw invalid('receiveSync: another receive waits', 'use one way of receiving at a time', this.name);
    if (this._next === this._end) {
      this._flush();
      this._fetchBlocking(timeoutMs);
    }
    return this._hand();
  }

  async receiveJson(options) {
    const message = await this._receiveWhole(options, 'receiveJson');
    try {
      return message.json();
    } finally {
      message.release();
    }
  }

  async receiveArray(options) {
    const message = await this._receiveWhole(options, 'receiveArray');
    try {
      const array = message.array();
      if (this._zeroCopy) array.data = Buffer.isBuffer(array.data) ? Buffer.from(array.data) : array.data.slice();
      return array;
    } finally {
      message.release();
    }
  }

  [Symbol.asyncIterator]() {
    return new ReaderIterator(this);
  }

  info() {
    if (this.closed) throw closed(this.name);
    const info = native.consumerInfo(this._handle);
    if (typeof info === 'number') throw fromStatus(info, this.name);
    return info;
  }

  close() {
    if (this._closing === null) {
      this._flush();
      this.closed = true;
      this._queue.close();
      detachAll(this);
      this._next = this._end;
      this._closing = run(native.closeHandle(this._handle));
    }
    return this._closing;
  }

  // ---- Waiting -----------------------------------------------------------------------------------

  _wait(options, what, attempt) {
    let limits;
    try {
      limits = waiting(options, what);
      if (this.closed) throw closed(this.name);
      if (this._queue.empty) {
        if (turn.overdue()) return turn.next().then(() => this._queue.wait(attempt, limits, what));
        if (options === undefined && this._keepsPace()) return this._queue.wait(attempt, limits, what, kPauseMs);
        const result = attempt();
        if (result !== PENDING) return Promise.resolve(result);
        this._inARow = 0;
      }
    } catch (error) {
      return Promise.reject(error);
    }
    return this._queue.wait(attempt, limits, what);
  }

  // Is this reader as fast as its producers? Then each look at the ring takes a cache line away from one who writes
  // it, for a few records only, and slows both down. So after fetches in a row that found few at once it looks in
  // the event loop's next turns, and goes on like that as long as more than a handful are there by then.
  _keepsPace() {
    const found = this._found;
    if (this._inARow === 2) this._inARow = found >= 8 ? 2 : 0;
    else this._inARow = found !== 0 && found < kFew ? this._inARow + 1 : 0;
    this._found = 0;
    return this._inARow === 2;
  }

  _noteFound(sheet, start, count, max) {
    const last = start + count - 1;
    const bytes = this._zeroCopy ? kLittle : sheet.columns[last] + sheet.length(last) - sheet.columns[start];
    this._found = count < max && bytes < kLittle ? count : 0;
  }

  _receiveWhole(options, what) {
    if (this.manual) {
      return Promise.reject(invalid(`${what}: in manual mode a record must be acknowledged`,
        'use receive(), then acknowledge()', this.name));
    }
    return this._wait(options, what, this._attempt);
  }

  // ---- Records -----------------------------------------------------------------------------------

  // The next record, PENDING, or an exception.
  _take() {
    if (this._next === this._end && !this._fetch(this._batch, this._mode)) return PENDING;
    return this._hand();
  }

  _takeMany(max) {
    if (this._next === this._end && !this._fetch(max, this._zeroCopy ? 0 : kCopy | kRelease)) return PENDING;
    const messages = new Array(Math.min(max, this._end - this._next));
    for (let i = 0; i < messages.length; i++) messages[i] = this._make();
    this._pass();
    return messages;
  }

  // A batch has a desk that is used anew when all batches on it were released: memory that stays in the cache.
  _takeBatch(max) {
    if (this._next !== this._end) return this._rest(max);
    const mode = kCopy | kRelease;
    this._pass();
    this._flush();
    for (let slabSize = kBatchSlabSize; ;) {
      let desk = this._batchDesk;
      const anew = desk !== null && desk.unreleased === 0;
      if (anew) desk.used = 0;
      if (desk === null || desk.slabSize < slabSize || desk.size < max || desk.size - desk.used < Math.min(max, kSome) || !desk.whole) {
        desk = this._batchDesk = this._newDesk(Math.max(kDeskSize, max), slabSize);
      }
      if (desk !== this._desk) this._setDesk(desk);
      const count = native.consumerFetch(this._handle, max, anew ? mode | kRewind : mode, 0, 0);
      if (count > 0) {
        const start = desk.used;
        const sheet = new Sheet(this, desk);
        this._noteFound(sheet, start, count, max);
        desk.used = this._released = this._passed = this._next = this._end = start + count;
        return new Batch(sheet, desk, start, count);
      }
      if (count === -status.TIMED_OUT) return PENDING;
      if (count !== -kNeedsRoom) throw fromStatus(-count, this.name);
      if (!anew) this._batchDesk = null;  // what is unreleased fills it
      slabSize = Math.max(kBatchSlabSize, native.consumerNeeds(this._handle));
    }
  }

  // What receive() fetched ahead.
  _rest(max) {
    const start = this._next;
    const count = Math.min(max, this._end - start);
    this._next += count;
    this._pass();
    return new Batch(new Sheet(this, this._desk), null, start, count);
  }

  // Hands out the next record and counts it as dealt with.
  _hand() {
    const message = this._make();
    this._pass();
    return message;
  }

  _make() {
    const index = this._next++;
    return this._zeroCopy ? new ViewMessage(this._sheet, index) : new Message(this._sheet, index);
  }

  // All that was handed out is dealt with, but for what iterators hold.
  _pass() {
    if (!this._keep) return;
    this._passed = this._next;
    if (this._passed === this._released) return;
    if (this._passed === this._end) {
      this._flush();
    } else if (!this._flushing) {
      this._flushing = true;
      turn.atEnd(this);
    }
  }

  // Tells the library; called by lib/loop.js at the end of a turn.
  _flush() {
    this._flushing = false;
    if (this.closed || this._passed === this._released) return;
    this._leaveOutHeld();
    this._releaseTo(this._passed);
  }

  _releaseTo(end) {
    if (end !== this._released) native.consumerRelease(this._handle, this._released, end - this._released);
    this._released = end;
  }

  // Whoever holds a record below _passed releases it by itself from here on, so that it keeps no other back and needs
  // no place on this desk.
  _leaveOutHeld() {
    const holders = this._holders.sort((one, other) => one.place - other.place);
    this._holders = [];
    for (const holder of holders) {
      if (holder.place >= this._passed) {
        this._holders.push(holder);
        continue;
      }
      holder.together = false;
      if (holder.place === -1) continue;  // it holds none
      this._releaseTo(holder.place);
      this._released += 1;
    }
  }

  // Fetches up to `max` records. False if there are none now.
  _fetch(max, mode) {
    if (mode !== this._mode) this._pass();  // these views are released at once, so the ones before must be
    for (;;) {
      this._makeRoom(max);
      if (this._passed !== this._released) this._leaveOutHeld();
      const released = this._passed;
      const count = native.consumerFetch(this._handle, max, mode, this._released, released - this._released);
      this._released = released;
      if (count === -status.TIMED_OUT) return false;
      if (this._fetched(max, mode, count)) return true;
    }
  }

  // Fetches a record; blocks the thread until there is one, or the time is over.
  _fetchBlocking(timeoutMs) {
    const end = timeoutMs === Infinity ? Infinity : performance.now() + timeoutMs;  // without a limit no clock is read
    for (let left = timeoutMs; ; left = Math.max(0, end - performance.now())) {
      this._makeRoom(1);
      const count = native.consumerFetchBlocking(this._handle, 1, this._mode, Math.min(left, kBlockMs));
      if (count === -status.TIMED_OUT && left > kBlockMs) continue;
      if (this._fetched(1, this._mode, count)) return;
    }
  }

  // What a fetch gave. False if it has to be done again, with the larger slab that is now there.
  _fetched(max, mode, count) {
    if (count > 0) {
      this._noteFound(this._sheet, this._desk.used, count, max);
      this._next = this._desk.used;
      this._desk.used = this._end = this._next + count;
      if (this._keep && mode !== this._mode) this._released = this._passed = this._end;
      return true;
    }
    if (count !== -kNeedsRoom) throw fromStatus(-count, this.name);
    this._setDesk(this._newDesk(this._desk.size, Math.max(kSlabSize, native.consumerNeeds(this._handle)), this._desk));
    this._sheet = new Sheet(this, this._desk);
    return false;
  }

  // A desk with room for `max` records, or many, and a slab that nobody took away.
  _makeRoom(max) {
    const desk = this._desk;
    if (desk !== null && desk !== this._batchDesk && desk.size >= max && desk.size - desk.used >= Math.min(max, kSome) && desk.whole) return;
    this._pass();
    this._flush();
    this._setDesk(this._newDesk(Math.max(kDeskSize, max), this._zeroCopy ? null : kSlabSize));
    this._sheet = new Sheet(this, this._desk);
    this._released = this._passed = this._next = this._end = 0;
  }

  _newDesk(size, slabSize, other = null) {
    try {
      return new Desk(size, slabSize, other);
    } catch (cause) {
      throw new AtollError('TOO_LARGE', `a record of ${slabSize} bytes is more than a Buffer holds`, {
        segment: this.name, detail: slabSize, fix: 'send it in parts', cause,
      });
    }
  }

  _setDesk(desk) {
    this._desk = desk;
    native.consumerSetDesk(this._handle, desk.ledger, desk.columns, desk.slab, desk.used);
  }
}

// Iteration: ends when all producers have finished. Any number of iterators share a reader; each holds the record that
// it gave last until it moves past it. Leaving the loop counts as that, and leaves the reader open.
class ReaderIterator {
  constructor(reader) {
    this._reader = reader;
    this._current = null;  // the record that it holds
    this._left = false;  // return() was called
    // True: that is released with all others, as this is one of reader._holders, or nothing is ever to be released.
    // False: by this iterator, see reader._leaveOutHeld.
    this.together = !reader._keep && !reader._zeroCopy;
  }

  // Where the record that it holds lies on the desk; -1: it holds none.
  get place() {
    return this._current === null ? -1 : this._current._index;
  }

  next() {
    const reader = this._reader;
    this._passCurrent();
    if (this._left) return Promise.resolve(kDone);
    if (reader._next !== reader._end && reader._queue.empty) return Promise.resolve({ done: false, value: this._make() });
    return reader._wait(undefined, 'receive', this._attempt).then(
      (value) => (value === null ? kDone : { done: false, value }),
      (error) => {
        if (error instanceof AtollError && error.code === 'ENDED') return kDone;
        throw error;
      });
  }

  return(value) {
    this._passCurrent();
    this._left = true;
    this._reader._queue.pump();  // a next() that still waits takes nothing any more
    return Promise.resolve({ done: true, value });
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  _passCurrent() {
    const message = this._current;
    if (message === null) return;
    this._current = null;
    if (this.together) this._reader._pass();
    else if (this._reader._zeroCopy) message.release();
    else native.consumerSettle(this._reader._handle, message._sheet.ledger, message._index, 0, 1);
  }

  // As reader._take, but the record is not dealt with yet. The one before it is: it was given to a next() that this
  // one did not wait for.
  _attempt = () => {
    const reader = this._reader;
    this._passCurrent();
    if (this._left) return null;
    if (reader._next === reader._end && !reader._fetch(reader._batch, reader._mode)) return PENDING;
    return this._make();
  };

  _make() {
    const message = this._reader._make();
    this._current = message;
    if (!this.together && this._reader._keep) {
      this.together = true;
      this._reader._holders.push(this);
    }
    return message;
  }
}

class Consumer extends Reader {}
class Observer extends Reader {}

if (Symbol.asyncDispose) {
  Reader.prototype[Symbol.asyncDispose] = function dispose() {
    return this.close();
  };
}

module.exports = { Consumer, Observer };
