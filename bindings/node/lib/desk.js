'use strict';
// Where a reader's records lie in JavaScript: the memory that src/consumer.hpp calls a desk. Only lib/reader.js
// makes them; messages and batches look at them through a sheet.

const { markAsUntransferable } = require('node:worker_threads');

// What Buffer.prototype.subarray makes, made directly: a third of its time.
const FastBuffer = Buffer[Symbol.species];

// In the ledger a view is 12 words of 32 bits or 6 of 64. The columns are all offsets, then all lengths.
const kWords = 12;
const kWords64 = 6;
const kSequence64 = 2;
const kLost64 = 3;
const kLaneAndContent = 8;
const kDeliveries = 9;

class Desk {
  // Room for `size` records and, unless null, `slabSize` bytes of payload; or that slab beside the ledger of
  // another desk, from the records on that are there. RangeError: more than a Buffer holds.
  constructor(size, slabSize, other = null) {
    this.size = size;
    this.used = other === null ? 0 : other.used;  // records
    this.ledger = other === null ? Buffer.allocUnsafeSlow(size * kWords * 4).buffer : other.ledger;
    this.columns = other === null ? Buffer.allocUnsafeSlow(size * 2 * 4).buffer : other.columns;
    this.slab = slabSize === null ? undefined : Buffer.allocUnsafeSlow(slabSize).buffer;
    this.slabSize = slabSize === null ? 0 : slabSize;
    this.unreleased = 0;  // batches that lie on it
    // Programs see windows on these, and other records lie there too.
    markAsUntransferable(this.columns);
    if (this.slab !== undefined) markAsUntransferable(this.slab);
  }

  // Somebody may have taken the slab away all the same.
  get whole() {
    return this.slab === undefined || this.slab.byteLength === this.slabSize;
  }
}

// What messages see of a desk. `columns` is null when the batch that it was made for is released.
class Sheet {
  constructor(reader, desk) {
    this.reader = reader;
    this.size = desk.size;
    this.ledger = desk.ledger;
    this.slab = desk.slab;
    this.columns = new Uint32Array(desk.columns);
    this._words = null;
    this._words64 = null;
  }

  data(index) {
    return new FastBuffer(this.slab, this.columns[index], this.columns[this.size + index]);
  }

  length(index) {
    return this.columns[this.size + index];
  }

  laneAndContent(index) {
    return this._word(index * kWords + kLaneAndContent);
  }

  deliveries(index) {
    return this._word(index * kWords + kDeliveries) & 0xffff;
  }

  sequence(index) {
    return this._word64(index * kWords64 + kSequence64);
  }

  lost(index) {
    return this._word64(index * kWords64 + kLost64);
  }

  _word(at) {
    if (this._words === null) this._words = new Uint32Array(this.ledger);
    return this._words[at];
  }

  _word64(at) {
    if (this._words64 === null) this._words64 = new BigUint64Array(this.ledger);
    return this._words64[at];
  }
}

module.exports = { Desk, Sheet, FastBuffer };
