// The Node operations whose instructions bench/instructions/run counts: the twin of operations.cpp.
//
// Run by it under callgrind with ATOLL_SOCKET set to a broker of its own, and with flags that make V8 do the same
// twice: no compiler (so a count holds V8's interpreter), no thread beside this one, room enough that nothing is
// collected while counting. The group is shared, the default.
import os from 'node:os';
import { connect } from '../../bindings/node/lib/index.mjs';

const COUNT = 12_000; // nearly a ring of 1 MiB: each phase crosses its end once
const BATCH = 60;
const record = Buffer.alloc(64);
const batch = Array(BATCH).fill(record);

// Callgrind ends a phase when this calls libc's getpriority (--dump-before).
const mark = () => os.getPriority();

const client = await connect();
await client.create('node', { capacity: 1 << 20 });
const consumer = await client.openConsumer('node', { group: 'g' });
const producer = await client.openProducer('node');

const operations = {
  'Node trySend': async () => { for (let i = 0; i < COUNT; i++) if (!producer.trySend(record)) throw new Error('no room'); },
  'Node tryReceive': async () => { for (let i = 0; i < COUNT; i++) if (consumer.tryReceive() === null) throw new Error('nothing there'); },
  'Node sendMany': async () => { for (let i = 0; i < COUNT; i += BATCH) await producer.sendMany(batch); },
  'Node receiveMany': async () => { for (let i = 0; i < COUNT;) i += (await consumer.receiveMany(BATCH)).length; },
  'Node receiveBatch': async () => {
    for (let i = 0; i < COUNT;) {
      const received = await consumer.receiveBatch(BATCH);
      i += received.lengths.length;
      received.release();
    }
  },
};
for (let round = 0; round < 2; round++) { // the second one counts
  for (const [name, operation] of Object.entries(operations)) {
    if (name === 'Node receiveBatch') await operations['Node sendMany'](); // fills the ring again
    mark();
    console.log('0 -');
    await operation();
    mark();
    console.log(COUNT, name);
  }
}
await client.close();
