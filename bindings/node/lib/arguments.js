'use strict';
// Checks of what callers pass: everything wrong is an AtollError INVALID_ARGUMENT that names the argument. Whether a
// name is one (INVALID_NAME) is the library's to say.

const { AtollError, invalid } = require('./errors.js');

function describe(value) {
  if (value === null) return 'null';
  if (typeof value === 'object') return `an object (${value.constructor ? value.constructor.name : 'no prototype'})`;
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'symbol' || typeof value === 'function') return `a ${typeof value}`;
  return String(value);
}

function object(value, what, known) {
  if (value === undefined) return {};
  if (value === null || typeof value !== 'object') throw invalid(`${what} must be an object, not ${describe(value)}`);
  for (const name of Object.keys(value)) {
    if (!known.includes(name)) throw invalid(`${what} has no option "${name}"`, `the options are ${known.join(', ')}`);
  }
  return value;
}

function string(value, what) {
  if (typeof value !== 'string') throw invalid(`${what} must be a string, not ${describe(value)}`);
  if (value.includes('\0')) throw invalid(`${what} must not contain a NUL character`);
  return value;
}

// Of a segment or a group. The library would see a name that ends before the NUL, and take that one.
function nameOf(value, what) {
  if (typeof value === 'string' && value.includes('\0')) {
    throw new AtollError('INVALID_NAME', `${what} must not contain a NUL character, as in ${describe(value)}`, {
      segment: value, fix: 'use letters, digits and . _ - only, and / between parts',
    });
  }
  return string(value, what);
}

function boolean(value, what) {
  if (typeof value !== 'boolean') throw invalid(`${what} must be true or false, not ${describe(value)}`);
  return value;
}

function choice(value, what, choices) {
  if (typeof value !== 'string' || !Object.hasOwn(choices, value)) {
    throw invalid(`${what} must be one of ${Object.keys(choices).join(', ')}, not ${describe(value)}`);
  }
  return choices[value];
}

// A number of bytes or records, at least `least`: a BigInt, or a whole number. Numbers that are not exact any
// more become the BigInt that they are.
function count(value, what, least = 0) {
  const good = typeof value === 'bigint' ? value >= BigInt(least) && value < 2n ** 64n
    : Number.isInteger(value) && value >= least && value < 2 ** 64;
  if (!good) throw invalid(`${what} must be a whole number, at least ${least}, not ${describe(value)}`);
  return typeof value === 'bigint' || Number.isSafeInteger(value) ? value : BigInt(value);
}

// The same where a small number is wanted.
function small(value, what, least, most) {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw invalid(`${what} must be a whole number of ${least} to ${most}, not ${describe(value)}`);
  }
  return value;
}

function milliseconds(value, what) {
  if (typeof value !== 'number' || Number.isNaN(value) || value < 0) {
    throw invalid(`${what} must be a number of milliseconds, at least 0, not ${describe(value)}`);
  }
  return value;
}

const kNoWait = Object.freeze({ timeoutMs: Infinity, signal: undefined });

// {timeoutMs, signal} of a call that may wait. Throws the signal's reason if it is aborted already.
function waiting(options, what, extra = []) {
  if (options === undefined) return kNoWait;
  const { timeoutMs, signal } = object(options, what, ['timeoutMs', 'signal', ...extra]);
  if (timeoutMs !== undefined) milliseconds(timeoutMs, `${what}.timeoutMs`);
  if (signal !== undefined) {
    if (signal === null || typeof signal.addEventListener !== 'function') {
      throw invalid(`${what}.signal must be an AbortSignal, not ${describe(signal)}`);
    }
    if (signal.aborted) throw signal.reason;
  }
  return { timeoutMs: timeoutMs === undefined ? Infinity : timeoutMs, signal };
}

module.exports = { describe, object, string, nameOf, boolean, choice, count, small, milliseconds, waiting };
