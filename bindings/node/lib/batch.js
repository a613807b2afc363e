'use strict';
// Records that were received together, as columns: for programs that read numbers out of many small records and
// want no object for each. The memory is a desk of the reader (lib/desk.js), used anew once it is released.

const { Message, released, settle } = require('./message.js');
const { FastBuffer } = require('./desk.js');
const { invalid } = require('./errors.js');

class Batch {
  // desk: which to tell of the release; null for records that lie among others.
  constructor(sheet, desk, start, count) {
    this.length = count;
    this._sheet = sheet;
    this._desk = desk;
    this._start = start;
    this._data = this._offsets = this._lengths = null;
    if (desk !== null) desk.unreleased += 1;
  }

  get data() {
    if (this._data === null) {
      const { slab, columns, size } = this._seen();
      const last = this._start + this.length - 1;
      const begin = columns[this._start];
      this._data = new FastBuffer(slab, begin, columns[last] + columns[size + last] - begin);
    }
    return this._data;
  }

  get offsets() {
    if (this._offsets === null) {
      const { columns } = this._seen();
      const all = columns.subarray(this._start, this._start + this.length);
      const begin = all[0];
      this._offsets = begin === 0 ? all : all.map((offset) => offset - begin);
    }
    return this._offsets;
  }

  get lengths() {
    if (this._lengths === null) {
      const { columns, size } = this._seen();
      this._lengths = columns.subarray(size + this._start, size + this._start + this.length);
    }
    return this._lengths;
  }

  at(index) {
    const at = index < 0 ? index + this.length : index;
    if (!Number.isInteger(at) || at < 0 || at >= this.length) {
      const { name } = this._seen().reader;
      throw invalid(`at: ${String(index)} is no place in a batch of ${this.length}`, 'see batch.length', name);
    }
    return new Message(this._seen(), this._start + at);
  }

  * [Symbol.iterator]() {
    for (let i = 0; i < this.length; i++) yield new Message(this._seen(), this._start + i);
  }

  acknowledge() {
    settle(this._seen(), this._start, 1, this.length);
  }

  release() {
    const sheet = this._sheet;
    if (sheet.columns === null) return;
    sheet.columns = sheet.slab = null;
    this._data = this._offsets = this._lengths = null;
    if (this._desk !== null) this._desk.unreleased -= 1;
  }

  _seen() {
    const sheet = this._sheet;
    if (sheet.columns === null) throw released(sheet.reader.name);
    return sheet;
  }
}

if (Symbol.dispose) {
  Batch.prototype[Symbol.dispose] = function dispose() {
    this.release();
  };
}

module.exports = { Batch };
