'use strict';
// connect() and Client: the broker, its segments, and opening handles of them. Everything here may wait for
// the broker, so it all runs on other threads and gives promises.

const native = require('./native.js');
const { AtollError, run, invalid } = require('./errors.js');
const { object, string, nameOf, boolean, choice, count, small, milliseconds, describe } = require('./arguments.js');
const { Producer } = require('./producer.js');
const { Consumer, Observer } = require('./reader.js');
const { Bytes } = require('./bytes.js');

const kConnectMs = 10000;
const kWaitSliceMs = 250;  // a thread of the pool is taken for so long at a time
const kKinds = { stream: 1, bytes: 5 };
const kBackings = { shm: 0, file: 1, memfd: 2 };
const kWhenFull = { block: 0, 'drop-new': 1, overwrite: 2 };
const kMapModes = { read: 0, write: 1, copy: 2 };
const kStarts = { earliest: 0, latest: 1 };
const kStartBack = 2;
const kFlags = { manual: 1, exclusive: 2, ephemeral: 4, privateViews: 8, spin: 16 };

// As the library wants it: 0 chooses, -1 is none. What is beyond all memory is refused there.
function putSizeOf(given) {
  if (given === undefined) return 0;
  const size = given === null ? 0 : Number(count(given, 'create: putSize'));
  return size === 0 ? -1 : Math.min(size, 2 ** 62);
}

async function connect(options) {
  const { socket, startBroker = true, timeoutMs = kConnectMs, atolldPath } =
    object(options, 'connect: options', ['socket', 'startBroker', 'timeoutMs', 'atolldPath']);
  boolean(startBroker, 'connect: startBroker');
  milliseconds(timeoutMs, 'connect: timeoutMs');
  const client = await run(native.connect({
    socket: socket === undefined ? undefined : string(socket, 'connect: socket'),
    // The library looks at ATOLLD, and at PATH last.
    atolld: atolldPath !== undefined ? string(atolldPath, 'connect: atolldPath') : process.env.ATOLLD ? undefined : native.atolld,
    start: startBroker ? 1 : 0,
    timeoutMs: timeoutMs === Infinity ? -1 : Math.max(timeoutMs, 1),
  }));
  return new Client(client);
}

class Client {
  constructor(handle) {
    this._handle = handle;
    this.closed = false;
  }

  // True: made now. False: it was there, with the same options.
  async create(name, options) {
    nameOf(name, 'create: name');
    const given = object(options, 'create: options', ['kind', 'capacity', 'whenFull', 'alignment', 'size', 'putSize', 'backing',
      'directory', 'access']);
    const { kind = 'stream', backing = 'shm', capacity = 0, alignment = 0, size = 0, putSize, directory, access } = given;
    const kindNumber = choice(kind, 'create: kind', kKinds);
    const foreign = (kind === 'bytes' ? ['capacity', 'whenFull', 'alignment'] : ['size', 'putSize'])
      .find((option) => given[option] !== undefined);
    if (foreign !== undefined) throw invalid(`create: a segment of kind ${kind} has no ${foreign}`, 'leave it out', name);
    return run(native.create(this._check(), name, {
      kind: kindNumber,
      backing: choice(backing, 'create: backing', kBackings),
      whenFull: given.whenFull === undefined ? 0 : choice(given.whenFull, 'create: whenFull', kWhenFull),
      capacity: count(capacity, 'create: capacity'),
      alignment: small(alignment, 'create: alignment', 0, 2 ** 31),
      size: count(size, 'create: size'),
      putSize: putSizeOf(putSize),
      directory: directory === undefined ? undefined : string(directory, 'create: directory'),
      access: access === undefined ? undefined : string(access, 'create: access'),
    }));
  }

  // A segment; or one group of a stream, with {group}.
  async remove(name, options) {
    nameOf(name, 'remove: name');
    const { force = false, group } = object(options, 'remove: options', ['force', 'group']);
    boolean(force, 'remove: force');
    if (group !== undefined) {
      await this.call('Remove', { name, group: nameOf(group, 'remove: group'), force });
    } else {
      await run(native.remove(this._check(), name, force));
    }
  }

  async list(prefix) {
    const parameters = prefix === undefined ? {} : { prefix: string(prefix, 'list: prefix') };
    return (await this.call('List', parameters)).segments;
  }

  // `manifest` comes parsed, here and in manifest().
  async show(name) {
    const shown = await this.call('Show', { name: nameOf(name, 'show: name') });
    if (typeof shown.manifest === 'string') shown.manifest = native.parseJson(shown.manifest);
    return shown;
  }

  async manifest(name) {
    return native.parseJson((await this.call('Manifest', { name: nameOf(name, 'manifest: name') })).manifest);
  }

  status() {
    return this.call('Status');
  }

  async gc(options) {
    const { apply = false } = object(options, 'gc: options', ['apply']);
    return this.call('Gc', { apply: boolean(apply, 'gc: apply') });
  }

  // Any method of dev.atoll.Broker. Integers of the reply that a number cannot hold are BigInts, and so are
  // all members whose name ends in _ns.
  async call(method, parameters) {
    string(method, 'call: method');
    if (parameters !== undefined && (parameters === null || typeof parameters !== 'object')) {
      throw invalid(`call: parameters must be an object, not ${describe(parameters)}`);
    }
    let text;
    try {
      text = JSON.stringify(parameters === undefined ? {} : parameters, (name, value) => {
        if (typeof value !== 'bigint') return value;
        if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < -BigInt(Number.MAX_SAFE_INTEGER)) {
          throw new RangeError(`${name} is too large: ${value}`);
        }
        return Number(value);
      });
    } catch (cause) {
      throw invalid(`call: ${cause.message}`);
    }
    return run(native.call(this._check(), method, text));
  }

  async openProducer(name, options) {
    nameOf(name, 'openProducer: name');
    object(options, 'openProducer: options', ['waitMs', 'signal']);
    const [handle, id] = await this._open(name, options, (waitMs) => native.openProducer(this._check(), name, waitMs));
    return new Producer(handle, id, name);
  }

  async openConsumer(name, options) {
    nameOf(name, 'openConsumer: name');
    const { group, manual = false, exclusive = false, ephemeral = false, spin = false, prefetch = 0, zeroCopy = false, start } =
      object(options, 'openConsumer: options', ['group', 'start', 'manual', 'exclusive', 'ephemeral', 'spin', 'prefetch', 'zeroCopy',
        'waitMs', 'signal']);
    if (group !== undefined) nameOf(group, 'openConsumer: group');
    const flags = (boolean(manual, 'openConsumer: manual') ? kFlags.manual : 0) |
      (boolean(exclusive, 'openConsumer: exclusive') ? kFlags.exclusive : 0) |
      (boolean(ephemeral, 'openConsumer: ephemeral') ? kFlags.ephemeral : 0) |
      (boolean(spin, 'openConsumer: spin') ? kFlags.spin : 0) |
      (boolean(zeroCopy, 'openConsumer: zeroCopy') ? kFlags.privateViews : 0);
    small(prefetch, 'openConsumer: prefetch', 0, 64);
    const where = startOf(start, 'earliest', 'openConsumer');
    const [handle, id] = await this._open(name, options, (waitMs) =>
      native.openConsumer(this._check(), name, { observer: 0, group, flags, ...where, prefetch, waitMs }));
    return new Consumer(handle, id, name, { manual, zeroCopy, observer: false, prefetch });
  }

  async openObserver(name, options) {
    nameOf(name, 'openObserver: name');
    const { start } = object(options, 'openObserver: options', ['start', 'waitMs', 'signal']);
    const where = startOf(start, 'latest', 'openObserver');
    const [handle, id] = await this._open(name, options, (waitMs) =>
      native.openConsumer(this._check(), name, { observer: 1, flags: 0, ...where, prefetch: 0, waitMs }));
    return new Observer(handle, id, name, { manual: false, zeroCopy: false, observer: true, prefetch: 0 });
  }

  async openBytes(name, options) {
    nameOf(name, 'openBytes: name');
    const { mode = 'read' } = object(options, 'openBytes: options', ['mode', 'waitMs', 'signal']);
    const number = choice(mode, 'openBytes: mode', kMapModes);
    const [handle, id] = await this._open(name, options, (waitMs) => native.openBytes(this._check(), name, number, waitMs));
    return new Bytes(handle, id, name);
  }

  // Handles opened from it go on working.
  async close() {
    if (this.closed) return;
    this.closed = true;
    native.disconnect(this._handle);
  }

  // ---- Inside ------------------------------------------------------------------------------------

  _check() {
    if (this.closed) throw new AtollError('CLOSED', 'this client was closed', { fix: 'connect again' });
    return this._handle;
  }

  // Opens, waiting for the segment to appear for up to waitMs: in slices, so that a signal is heard and no
  // thread of the pool is taken for long.
  async _open(name, options, open) {
    const { waitMs = 0, signal } = options === undefined ? {} : options;
    milliseconds(waitMs, 'open: waitMs');
    const end = performance.now() + waitMs;
    for (;;) {
      if (signal !== undefined && signal.aborted) throw signal.reason;
      const left = Math.max(0, end - performance.now());
      try {
        const opened = await run(open(Math.min(left, kWaitSliceMs)));
        if (signal === undefined || !signal.aborted) return opened;
        await native.closeHandle(opened[0]);
        throw signal.reason;
      } catch (error) {
        const absent = error instanceof AtollError && (error.code === 'TIMED_OUT' || error.code === 'UNKNOWN_SEGMENT');
        if (!absent || waitMs === 0) throw error;
        if (performance.now() < end) continue;
        throw new AtollError('TIMED_OUT', `no segment "${name}" appeared within ${waitMs} ms`, {
          segment: name, fix: 'create it, or wait longer', cause: error,
        });
      }
    }
  }
}

// "earliest", "latest" or {back: n} as the addon's options.
function startOf(start, fallback, what) {
  if (start !== null && typeof start === 'object' && Object.keys(start).join() === 'back') {
    return { start: kStartBack, back: count(start.back, `${what}: start.back`) };
  }
  if (start !== undefined && (typeof start !== 'string' || !Object.hasOwn(kStarts, start))) {
    throw invalid(`${what}: start must be "earliest", "latest" or {back: n}, not ${describe(start)}`);
  }
  return { start: kStarts[start === undefined ? fallback : start], back: 0 };
}

if (Symbol.asyncDispose) {
  Client.prototype[Symbol.asyncDispose] = function dispose() {
    return this.close();
  };
}

module.exports = { connect, Client };
