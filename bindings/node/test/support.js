'use strict';
// What the tests share: a broker of their own in a directory of its own, and child processes. Leaves no
// process, file or shared memory behind.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { once } = require('node:events');
const { before, after } = require('node:test');

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-node-'));
process.env.ATOLL_SOCKET = path.join(directory, 'atoll.sock');

const atoll = require('..');

const context = { client: null, directory, atoll };
const opened = [];
let names = 0;

// A name that no other test of this file has.
function name(what = 'segment') {
  names += 1;
  return `${what}-${names}`;
}

// For each test file: connects (that starts the broker), and at the end closes, removes, stops.
function withBroker() {
  before(async () => {
    context.client = await atoll.connect();
  });
  after(async () => {
    for (const handle of opened) await handle.close();
    const client = await atoll.connect();
    for (const segment of await client.list()) await client.remove(segment.name, { force: true });
    const { pid, shm_directory: shared } = await client.status();
    await client.call('Stop');
    await client.close();
    if (context.client !== null) await context.client.close();
    await gone(pid);
    if (typeof shared === 'string' && shared.startsWith('/dev/shm/atoll-')) fs.rmSync(shared, { recursive: true, force: true });
    fs.rmSync(directory, { recursive: true, force: true });
  });
  return context;
}

// Resolves when a process that is no child of ours has ended.
async function gone(pid) {
  const alive = () => {
    try {
      return !fs.readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
    } catch {
      return false;
    }
  };
  while (alive()) await new Promise((resolve) => setImmediate(resolve));
}

function keep(handle) {
  opened.push(handle);
  return handle;
}

// A new stream with a producer and a consumer of it.
async function stream(options = {}, consumerOptions = {}) {
  const { client } = context;
  const segment = name('stream');
  await client.create(segment, { capacity: 65536, ...options });
  const producer = keep(await client.openProducer(segment));
  const consumer = keep(await client.openConsumer(segment, consumerOptions));
  return { segment, producer, consumer };
}

// Runs JavaScript in a process of its own, with `atoll` and `client` defined. Its standard output comes line by
// line from line(); done() gives the exit code and signal.
function child(source, { env = {} } = {}) {
  const program = `
    const atoll = require(${JSON.stringify(path.join(__dirname, '..'))});
    (async () => { const client = await atoll.connect(); ${source} })()
      .catch((error) => { console.error(error); process.exit(70); });`;
  const process_ = spawn(process.execPath, ['-e', program], {
    stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env },
  });
  let text = '';
  let wake = () => {};
  const ended = once(process_, 'close').then(([code, signal]) => {
    wake();
    return { code, signal };
  });
  process_.stdout.on('data', (data) => {
    text += data;
    wake();
  });
  return {
    process: process_,
    async line() {
      while (!text.includes('\n')) {
        if (process_.exitCode !== null || process_.signalCode !== null) throw new Error(`the child ended; it said ${JSON.stringify(text)}`);
        await new Promise((resolve) => { wake = resolve; });
      }
      const end = text.indexOf('\n');
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      return line;
    },
    done: () => ended,
  };
}

module.exports = { atoll, withBroker, name, keep, stream, child, directory };
