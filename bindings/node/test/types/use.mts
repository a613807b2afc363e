// What TypeScript must accept and refuse, seen through import. Checked by `tsc --noEmit`, never run.
import { connect, AtollError, type Message, type AtollErrorCode, type ReceivedArray } from 'atoll-ipc';

const client = await connect({ socket: '/tmp/x/atoll.sock', startBroker: false, timeoutMs: 100 });
const made: boolean = await client.create('a', { kind: 'stream', capacity: 1 << 20, whenFull: 'drop-new', alignment: 64 });
await client.create('b', { kind: 'bytes', size: 4096, putSize: null, backing: 'file', directory: '/tmp' });
// @ts-expect-error: a bytes segment needs a size
await client.create('b', { kind: 'bytes' });
// @ts-expect-error: no such policy
await client.create('a', { whenFull: 'explode' });

const producer = await client.openProducer('a', { waitMs: 10 });
const stored: boolean = await producer.send(Buffer.from('x'), { timeoutMs: 5, signal: AbortSignal.timeout(5) });
await producer.send(new Float64Array(3));
await producer.send('text');
// @ts-expect-error: numbers are no records
await producer.send(5);
const count: number = await producer.sendMany(['a', 'b']);
await producer.sendArray({ data: new BigInt64Array(2), dtype: '<i8', shape: [2], order: 'F' });
const loan = await producer.loan(8, { content: 'array' });
loan.buffer.writeDoubleLE(1.5, 0);
loan.commit();

const consumer = await client.openConsumer('a', { group: 'g', start: { back: 3n }, manual: true, prefetch: 4, zeroCopy: true });
for await (const message of consumer) {
  const m: Message = message;
  const sequence: bigint = m.sequence;
  // @ts-expect-error: a counter is never a number
  const wrong: number = m.sequence;
  const a: ReceivedArray = m.array();
  if (a.data instanceof BigInt64Array) console.log(a.data[0], sequence, wrong);
  m.acknowledgeUpTo();
}
const batch = await consumer.receiveBatch(100, { timeoutMs: 1 });
let sum: number = batch.data.readUInt8(batch.offsets[batch.length - 1]) + batch.lengths[0];
for (const message of batch) sum += message.length;
batch.at(-1).acknowledge();
batch.release();
// @ts-expect-error: a batch's length is its own
batch.length = 3;
const many: Message[] = await consumer.receiveMany(100, { timeoutMs: 1 });
const maybe: Message | null = consumer.tryReceive();
// @ts-expect-error: handles are opened, not made
new (await import('atoll-ipc')).Consumer();

const observer = await client.openObserver('a', { start: 'earliest' });
for await (const message of observer) console.log(message.text());
const bytes = await client.openBytes('b', { mode: 'write' });
const { data, version } = await bytes.get({ after: 3n });
const v: bigint = version;

try {
  await consumer.receive();
} catch (error) {
  if (error instanceof AtollError) {
    const code: AtollErrorCode = error.code;
    // @ts-expect-error: no such code
    if (code === 'NO_SUCH_CODE') console.log(error.fix, error.segment, error.detail);
  }
}
console.log(made, stored, count, sum, many, maybe, data, v);
