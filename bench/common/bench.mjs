// What the Node halves of the contenders share: command line, the check of a message, result.
//
// The command line is that of bench.hpp. Messages are those of bench.py. Of every message the number at
// both ends is compared; all bytes of every 64th below 64 KiB and of each one from there on. (Comparing
// all bytes of a small one costs more in JavaScript than any contender; C++ contenders compare all.)

export function parse() {
  const options = { role: process.argv[2], wait: 'block', batch: 1, capacity: 1 << 20, align: 16, variant: '', touch: 'all' };
  for (let i = 3; i + 1 < process.argv.length; i += 2) {
    const name = process.argv[i].slice(2);
    options[name] = ['path', 'wait', 'variant', 'touch'].includes(name) ? process.argv[i + 1] : Number(process.argv[i + 1]);
  }
  return options;
}

export function distinct(size) {
  return size <= 4096 ? 1024 : size <= 65536 ? 16 : 4;
}

export function messages(size) {
  return Array.from({ length: distinct(size) }, (_, n) => {
    const message = Buffer.alloc(size);
    for (let i = 4; i < size - 4; ++i) message[i] = (7 * (i - 4) + 3) & 255;
    message.writeUInt32LE(n, 0);
    message.writeUInt32LE(n, size - 4);
    return message;
  });
}

// Buffer's readInt32LE, without its check of the offset: outside of the buffer it is 0.
function word(buffer, at) {
  return buffer[at] | (buffer[at + 1] << 8) | (buffer[at + 2] << 16) | (buffer[at + 3] << 24);
}

// check(buffer, at, length): whether the next message stands there, counting the wrong ones.
export function checker(size) {
  const expected = messages(size);
  const many = expected.length;
  const state = { number: 0, errors: 0 };
  state.check = (buffer, at, length) => {
    const n = state.number++ % many;
    if (length !== size || word(buffer, at) !== n || word(buffer, at + size - 4) !== n) ++state.errors;
    else if ((size >= 65536 || (n & 63) === 0) && buffer.compare(expected[n], 0, size, at, at + size) !== 0) ++state.errors;
  };
  return state;
}

export function report(fields) {
  process.stdout.write(`${JSON.stringify(fields)}\n`);
}

export function ready() {
  report({ ready: true });
}

export function cpuSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1e-6;
}

// The time runs from the first message received to the last one checked.
export class Stopwatch {
  start() {
    this.begin = process.hrtime.bigint();
    this.cpu = cpuSeconds();
  }
  report(checked) {
    const seconds = Number(process.hrtime.bigint() - this.begin) * 1e-9;
    const count = checked.number;
    report({ count, errors: checked.errors, seconds, cpu_seconds: cpuSeconds() - this.cpu, rate: (count - 1) / seconds });
  }
}

export function fail(error) {
  process.stderr.write(`${error?.stack ?? ''}\n${process.argv[1]}: ${error?.message ?? error}\n`);  // what is said last is what the driver shows
  process.exit(1);
}
