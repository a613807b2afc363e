'use strict';
// Waiting without a thread, and fairness. Used by producers, readers and bytes segments.
//
// A WaitQueue holds the operations of one handle that could not be done at once, in order. At first they are
// tried again in each turn of the event loop, as long as that has paid off lately: a wake-up costs both sides
// system calls and takes two threads to reach the loop. Then the library is asked to wake the handle. While any
// waits, the process stays alive; else it may exit.
//
// Promises that are resolved already never let the event loop turn. turn.overdue() tells a hot path to wait
// for turn.next() now and then, so that timers and sockets of the same program live.

const native = require('./native.js');
const { AtollError, closed, fromStatus } = require('./errors.js');

const PENDING = Symbol('pending');
const kLongestTimer = 2 ** 31 - 1;  // ms; setTimeout takes no more
const kTurnMs = 8;  // hot paths let the loop turn after this time

// ---- Wake-ups ----------------------------------------------------------------------------------

const woken = new Map();  // number of a handle -> its queue, while something waits
native.setListener((id) => {
  const queue = woken.get(id);
  if (queue !== undefined) queue.wake();
});

// How long to look again before sleeping, in ms: what it begins with, the most, and how many waits that slept
// at once it takes to try the least again.
const kFirstPatience = 0.05;
const kMostPatience = 0.2;
const kLeastPatience = 0.01;
const kWaitsWithoutPatience = 64;

class WaitQueue {
  // handle, id: as the addon gave them. name: the segment's, for errors. ordered: who waits behind another one cannot be
  // done before that one.
  constructor(handle, id, name, { ordered = true } = {}) {
    this._handle = handle;
    this._id = id;
    this._name = name;
    this._ordered = ordered;
    this._first = null;
    this._last = null;
    this._armed = false;  // the library wakes this handle
    this._patience = kFirstPatience;
    this._impatient = 0;  // waits since patience ran out
    this._until = 0;
    this._notBefore = 0;
    this._polling = false;
    this.closed = false;
  }

  get empty() {
    return this._first === null;
  }

  // Tries `attempt` until it returns something other than PENDING or throws; after those that wait
  // already. `what` says what timed out.
  // pause: ms until the first try.
  wait(attempt, { timeoutMs, signal }, what, pause = 0) {
    if (this.closed) return Promise.reject(closed(this._name));
    if (signal?.aborted) return Promise.reject(signal.reason);  // it would not tell again
    return new Promise((resolve, reject) => {
      const entry = { attempt, resolve, reject, what, timeoutMs, signal, timer: null, abort: null, previous: this._last, next: null };
      if (this._last === null) this._first = entry;
      else this._last.next = entry;
      this._last = entry;
      if (entry.previous === null) {
        if (woken.size === 0) native.hold();
        woken.set(this._id, this);
        if (pause > 0) this._pause(pause);
        else this._lookAgain();
      }
      if (entry.attempt === null) return;  // done
      if (timeoutMs !== Infinity) this._startTimer(entry, performance.now() + timeoutMs);
      if (signal !== undefined) {
        entry.abort = () => this._fail(entry, signal.reason);
        signal.addEventListener('abort', entry.abort, { once: true });
      }
    });
  }

  // Tries what waits, in order, until one cannot be done; all of it if the order does not matter.
  pump() {
    for (let entry = this._first, next; entry !== null; entry = next) {
      next = entry.next;
      if (!this._try(entry) && this._ordered) return;
    }
  }

  // The library woke this handle.
  wake() {
    this._arm(false);  // an attempt that finds nothing would ask for the next wake-up at once
    this.pump();
    if (this._first !== null) this._lookAgain();
  }

  // No more: what waits is rejected.
  close() {
    this.closed = true;
    while (this._first !== null) this._fail(this._first, closed(this._name));
  }

  // Something waits: looks again for a while, or sleeps.
  _lookAgain() {
    if (this._patience === 0 && ++this._impatient === kWaitsWithoutPatience) {
      this._impatient = 0;
      this._patience = kLeastPatience;
    }
    if (this._patience === 0) return this._sleep();
    this._arm(false);
    this._until = performance.now() + this._patience;
    if (!this._polling) {
      this._polling = true;
      setImmediate(this._poll);
    }
  }

  // Something waits that need not be tried before so many ms.
  _pause(pause) {
    this._arm(false);
    this._notBefore = performance.now() + pause;
    this._until = this._notBefore + this._patience;
    if (!this._polling) {
      this._polling = true;
      setImmediate(this._poll);
    }
  }

  _poll = () => {
    this._polling = false;
    const first = this._first;
    if (first === null || this._armed) return;
    if (this._notBefore !== 0) {
      if (performance.now() < this._notBefore) {
        this._polling = true;
        setImmediate(this._poll);
        return;
      }
      this._notBefore = 0;
    }
    this.pump();
    if (this._first !== first) {
      this._patience = Math.min(kMostPatience, this._patience * 1.25);
      if (this._first !== null) this._lookAgain();
    } else if (performance.now() < this._until) {
      this._polling = true;
      setImmediate(this._poll);
    } else {
      this._patience = this._patience < 2 * kLeastPatience ? 0 : this._patience / 2;
      this._sleep();
    }
  };

  // Asks to be woken; that takes effect with an attempt that finds nothing.
  _sleep() {
    const status = this._arm(true);
    if (status !== 0) return this._fail(this._first, fromStatus(status, this._name));
    this.pump();
    if (this._first === null) this._arm(false);
  }

  _arm(armed) {
    if (this._armed === armed) return 0;
    const status = native.notify(this._handle, armed);
    if (status === 0) this._armed = armed;
    return status;
  }

  _try(entry) {
    let result;
    try {
      result = entry.attempt();
    } catch (error) {
      this._remove(entry);
      entry.reject(error);
      return true;
    }
    if (result === PENDING) return false;
    this._remove(entry);
    entry.resolve(result);
    return true;
  }

  _fail(entry, reason) {
    const wasFirst = entry === this._first;
    this._remove(entry);
    entry.reject(reason);
    if (wasFirst && !this.closed) this.pump();  // the next one may be able to do what this one could not
  }

  _startTimer(entry, end) {
    const left = Math.max(0, end - performance.now());
    entry.timer = setTimeout(() => {
      if (left > kLongestTimer) return this._startTimer(entry, end);
      if ((entry === this._first || !this._ordered) && this._try(entry)) return this.pump();
      this._fail(entry, new AtollError('TIMED_OUT', `${entry.what} "${this._name}": nothing for ${entry.timeoutMs} ms`, {
        segment: this._name,
        fix: 'wait longer, or check that the other side is running with `atoll show`',
      }));
    }, Math.min(left, kLongestTimer));
  }

  _remove(entry) {
    if (entry.previous === null) this._first = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next === null) this._last = entry.previous;
    else entry.next.previous = entry.previous;
    entry.previous = entry.next = entry.attempt = null;
    if (entry.timer !== null) clearTimeout(entry.timer);
    if (entry.abort !== null) entry.signal.removeEventListener('abort', entry.abort);
    if (this._first === null) {
      woken.delete(this._id);
      if (woken.size === 0) native.letGo();
    }
  }
}

// ---- Turns of the event loop ---------------------------------------------------------------------

const turn = {
  _started: 0,  // when the first hot call of this turn came; 0: none yet
  _next: null,
  _atEnd: new Set(),

  // True when hot calls have kept the event loop from turning for a while. Asked once a batch, not once a
  // record: it reads the clock.
  overdue() {
    if (turn._started === 0) {
      turn._started = performance.now();
      turn._arm();
      return false;
    }
    return performance.now() - turn._started > kTurnMs;
  },

  // Resolved in the next turn.
  next() {
    turn._arm();
    if (turn._next === null) {
      turn._next = {};
      turn._next.promise = new Promise((resolve) => { turn._next.resolve = resolve; });
    }
    return turn._next.promise;
  },

  // Calls reader._flush() before the next turn, or when the process exits.
  atEnd(reader) {
    turn._atEnd.add(reader);
    turn._arm();
  },

  _armed: false,
  _arm() {
    if (turn._armed) return;
    turn._armed = true;
    setImmediate(() => {
      turn._armed = false;
      turn._started = 0;
      turn._flush();
      if (turn._next !== null) {
        const { resolve } = turn._next;
        turn._next = null;
        resolve();
      }
    });
  },

  _flush() {
    if (turn._atEnd.size === 0) return;
    const readers = [...turn._atEnd];
    turn._atEnd.clear();
    for (const reader of readers) reader._flush();
  },
};
process.on('exit', turn._flush);

module.exports = { WaitQueue, PENDING, turn };
