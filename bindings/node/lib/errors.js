'use strict';
// AtollError, and how the addon's statuses become one.

const codes = require('./error_codes.js');
const native = require('./native.js');

const status = { OK: 0 };
for (const [number, name] of Object.entries(codes)) status[name] = Number(number);

// What went wrong with a call of Atoll. `code` is one of lib/error_codes.js, the same name as in every
// other language; `segment` which one ("" if none); `fix` what to do; `detail` the number that the
// message speaks of, e.g. the bytes needed (0 if none).
class AtollError extends Error {
  constructor(code, message, { segment = '', fix = '', detail = 0, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.segment = segment;
    this.fix = fix;
    this.detail = detail;
  }
}
Object.defineProperty(AtollError.prototype, 'name', { value: 'AtollError', configurable: true, writable: true });

// An error_object() of the addon.
function fromNative({ code, message, segment, fix, detail }) {
  return new AtollError(codes[code] || 'SYSTEM_ERROR', message || `status ${code}`, { segment, fix, detail });
}

function closed(segment) {
  return new AtollError('CLOSED', `this handle of "${segment}" was closed`, { segment, fix: 'open it again' });
}

function invalid(message, fix = 'see the documentation of this call', segment = '') {
  return new AtollError('INVALID_ARGUMENT', message, { segment, fix });
}

// The error of a synchronous call of the addon that returned `number`.
function fromStatus(number, segment) {
  if (number === status.CLOSED) return closed(segment);
  const info = native.lastError();
  if (info.code !== number) info.code = number;
  if (!info.segment) info.segment = segment;
  return fromNative(info);
}

// A promise of the addon, rejected with AtollErrors.
async function run(promise) {
  try {
    return await promise;
  } catch (info) {
    throw info instanceof Error ? info : fromNative(info);
  }
}

module.exports = { AtollError, status, fromNative, fromStatus, closed, invalid, run };
