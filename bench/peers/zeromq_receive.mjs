// zeromq.js, Node's half of Python to Node over ZeroMQ: a Pair socket on ipc://, default options, `receive` in a loop.
//
// The package is the one that bench/setup put beside the build, not in the tree.
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Stopwatch, checker, cpuSeconds, fail, parse, ready, report } from '../common/bench.mjs';

const build = process.env.ATOLL_BENCH_BUILD ?? fileURLToPath(new URL('../../build-bench', import.meta.url));
const { Pair } = createRequire(path.join(build, 'peers', 'node', 'package.json'))('zeromq');
const options = parse();

async function main() {
  const socket = new Pair();
  await socket.bind(`ipc://${options.path}/zeromq`);
  ready();
  const checked = checker(options.size);
  if (options.role === 'pong') {
    const warmUp = Math.floor(options.count / 10);
    const total = options.count + warmUp;
    let cpu = 0;
    while (checked.number < total) {
      const [message] = await socket.receive();
      checked.check(message, 0, message.length);
      if (checked.number === warmUp + 1) cpu = cpuSeconds();
      await socket.send(message);
    }
    const used = cpuSeconds() - cpu;
    await socket.receive(); // until it says that it has the last one
    report({ count: options.count, errors: checked.errors, cpu_seconds: used });
  } else {
    const stopwatch = new Stopwatch();
    while (checked.number < options.count) {
      const [message] = await socket.receive();
      if (checked.number === 0) stopwatch.start();
      checked.check(message, 0, message.length);
    }
    stopwatch.report(checked);
    await socket.send('done');
  }
  socket.close();
}

main().catch(fail);
