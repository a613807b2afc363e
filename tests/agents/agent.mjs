// The agent of the Node package. See README.md here.
import { openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../bindings/node/', import.meta.url));
const { connect, AtollError } = require('./lib/index.js');

let client;
const handles = new Map();
const views = new Map();
const loans = new Map();

const hex = (data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');
const bytes = (text) => Buffer.from(text, 'hex');
const limit = (ms = 10000) => ({ timeoutMs: ms < 0 ? Infinity : ms });
const waitMs = (ms = 0) => (ms < 0 ? Infinity : ms);

// An error that the library tells by a return value.
function refusal(name, code) {
  return Object.assign(new Error(`the library answered ${name}`), { refusal: { name, code } });
}

function pattern(seed, largest) {
  const table = Buffer.alloc(4096 + largest);
  for (let k = 0; k < table.length; k++) {
    const t = k % 4096;
    table[k] = (t * 7 + Math.floor(t / 256) * 13) % 256;
  }
  return (i) => {
    const length = Number((BigInt(i) * BigInt(i) * 31n + BigInt(seed) * 17n) % BigInt(largest + 1));
    const from = (i * 37 + seed) % 4096;
    return table.subarray(from, from + length);
  };
}

function start(r) {
  return r.start === 'back' ? { back: r.back } : r.start;
}

async function send(producer, r) {
  const data = bytes(r.data);
  if (r.content === undefined || r.content === 'bytes') {
    if (!(await producer.send(data, limit(r.timeout_ms)))) throw refusal('dropped', 5);
    return {};
  }
  const loan = await producer.loan(data.length, { content: r.content, ...limit(r.timeout_ms) });
  data.copy(loan.buffer);
  loan.commit();
  return {};
}

const plain = (value) => (typeof value === 'bigint' ? Number(value) : value);

const operations = {
  async connect(r) {
    client = await connect({ socket: r.socket, startBroker: r.start_broker });
  },
  async create(r) {
    const created = await client.create(r.name, {
      kind: r.kind, capacity: r.capacity, whenFull: r.when_full, alignment: r.alignment, size: r.size,
      putSize: r.put_size === 0 ? null : r.put_size, backing: r.backing, directory: r.directory, access: r.access,
    });
    return { created };
  },
  remove: (r) => client.remove(r.name, { force: r.force }),
  async call(r) {
    return { reply: await client.call(r.method, r.parameters) };
  },
  async open_producer(r) {
    handles.set(r.h, await client.openProducer(r.name, { waitMs: waitMs(r.wait_ms) }));
  },
  async open_consumer(r) {
    handles.set(r.h, await client.openConsumer(r.name, {
      group: r.group, manual: r.manual, exclusive: r.exclusive, ephemeral: r.ephemeral, spin: r.spin, start: start(r), waitMs: waitMs(r.wait_ms),
    }));
  },
  async open_observer(r) {
    handles.set(r.h, await client.openObserver(r.name, { start: start(r), waitMs: waitMs(r.wait_ms) }));
  },
  async open_bytes(r) {
    handles.set(r.h, await client.openBytes(r.name, { mode: r.mode, waitMs: waitMs(r.wait_ms) }));
  },
  send: (r) => send(handles.get(r.h), r),
  async send_many(r) {
    return { sent: await handles.get(r.h).sendMany(r.records.map(bytes), limit(r.timeout_ms)) };
  },
  async loan(r) {
    const data = bytes(r.data);
    const loan = await handles.get(r.h).loan(data.length, limit(r.timeout_ms));
    data.copy(loan.buffer);
    loans.set(r.v, loan);
  },
  commit: (r) => loans.get(r.v).commit(),
  abort: (r) => loans.get(r.v).abort(),
  finish: (r) => handles.get(r.h).finish(),
  async receive(r) {
    const message = await handles.get(r.h).receive(limit(r.timeout_ms));
    const answer = {
      data: hex(message.data), sequence: Number(message.sequence), lane: message.lane, lost: Number(message.lost),
      content: message.content, deliveries: message.deliveries,
    };
    if (r.v === undefined) message.release();
    else views.set(r.v, message);
    return answer;
  },
  release: (r) => views.get(r.v).release(),
  acknowledge: (r) => views.get(r.v).acknowledge(),
  acknowledge_up_to: (r) => views.get(r.v).acknowledgeUpTo(),
  reject: (r) => views.get(r.v).reject(),
  async send_pattern(r) {
    const record = pattern(r.seed, r.largest);
    const producer = handles.get(r.h);
    for (let i = 0; i < r.count; i++) await producer.send(record(i), limit(r.timeout_ms));
    return { received: r.count };
  },
  async receive_pattern(r) {
    const record = pattern(r.seed, r.largest);
    const consumer = handles.get(r.h);
    for (let i = 0; i < r.count; i++) {
      const message = await consumer.receive(limit(r.timeout_ms));
      if (record(i).compare(message.data) !== 0) throw new Error(`record ${i} differs`);
      message.release();
    }
    return { received: r.count };
  },
  read_at: (r) => ({ data: hex(handles.get(r.h).readAt(r.offset, r.length)) }),
  write_at: (r) => handles.get(r.h).writeAt(r.offset, bytes(r.data)),
  flush: (r) => handles.get(r.h).flush(),
  put: (r) => handles.get(r.h).put(bytes(r.data), limit(r.timeout_ms)),
  async get(r) {
    const { data, version } = await handles.get(r.h).get({ after: r.after, ...limit(r.timeout_ms) });
    return { data: hex(data), version: Number(version) };
  },
  info(r) {
    const answer = {};
    for (const [name, value] of Object.entries(handles.get(r.h).info())) {
      answer[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = plain(value);
    }
    return answer;
  },
  exhaust_descriptors() {
    try {
      for (;;) openSync('/dev/null', 'r');
    } catch (error) {
      if (error.code !== 'EMFILE') throw error;
    }
  },
  async receive_json(r) {
    return { value: await handles.get(r.h).receiveJson(limit(r.timeout_ms)) };
  },
  async send_array(r) {
    await handles.get(r.h).sendArray({ dtype: r.dtype, shape: r.shape, order: r.order, data: bytes(r.data) });
  },
  async receive_array(r) {
    const { dtype, shape, order, data } = await handles.get(r.h).receiveArray(limit(r.timeout_ms));
    return { dtype, shape, order, data: hex(data) };
  },
  close: (r) => handles.get(r.h).close(),
};

function errorOf(error) {
  if (error instanceof AtollError) {
    const name = error.code.toLowerCase();
    return { error: { name, message: error.message, segment: error.segment, fix: error.fix, detail: Number(error.detail) } };
  }
  if (error.refusal) return { error: { ...error.refusal, message: error.message, segment: '', fix: 'read faster', detail: 0 } };
  return { broken: `${error.stack}` };
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = { ok: (await operations[request.op](request)) ?? {} };
  } catch (error) {
    answer = errorOf(error);
  }
  process.stdout.write(`${JSON.stringify(answer, (_, value) => plain(value))}\n`);
}
for (const handle of handles.values()) await handle.close();
if (client) await client.close();
