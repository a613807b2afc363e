// Unix stream socket, Node's half: module `net`, a 4-byte length before each message.
//
// Messages are checked where they lie in the received chunk; only one that spans chunks is put together.
import net from 'node:net';
import path from 'node:path';
import { Stopwatch, checker, cpuSeconds, fail, parse, ready, report } from '../common/bench.mjs';

const options = parse();
const checked = checker(options.size);
const total = options.role === 'pong' ? options.count + Math.floor(options.count / 10) : options.count;
const stopwatch = new Stopwatch();
let cpu = 0;

// Calls onMessage(buffer, at, length) for each whole message.
function deframe(onMessage) {
  let chunks = [];
  let have = 0;
  let need = 4;
  return (chunk) => {
    chunks.push(chunk);
    have += chunk.length;
    if (have < need) return;
    const data = chunks.length === 1 ? chunk : Buffer.concat(chunks, have);
    let at = 0;
    for (need = 4; data.length - at >= 4; need = 4) {
      const length = data.readUInt32LE(at);
      need = 4 + length;
      if (data.length - at < need) break;
      onMessage(data, at + 4, length);
      at += need;
    }
    chunks = at < data.length ? [data.subarray(at)] : [];
    have = data.length - at;
  };
}

const server = net.createServer((socket) => {
  server.close();
  socket.on('error', fail);
  socket.on('close', () => {
    if (checked.number < total) fail(`the other side closed the socket after ${checked.number} messages`);
  });
  const warmUp = total - options.count;
  socket.on('data', deframe((buffer, at, length) => {
    if (checked.number === 0) stopwatch.start();
    checked.check(buffer, at, length);
    if (options.role === 'pong') {
      if (checked.number === warmUp + 1) cpu = cpuSeconds();
      socket.write(buffer.subarray(at - 4, at + length));
      if (checked.number === total)
        report({ count: options.count, errors: checked.errors, cpu_seconds: cpuSeconds() - cpu });
    } else if (checked.number === total) {
      stopwatch.report(checked);
    }
    if (checked.number === total) socket.end();
  }));
});
server.on('error', fail);
server.listen(path.join(options.path, 'socket'), ready);
