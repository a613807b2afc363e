'use strict';
// Loans: records filled in the ring's own memory.
const { test } = require('node:test');
const assert = require('node:assert');
const { withBroker, stream } = require('./support.js');

withBroker();

test('a loan is filled in place, seen once committed, and detached', async () => {
  const { producer, consumer } = await stream();
  const loan = await producer.loan(8, { content: 'bytes' });
  loan.buffer.writeDoubleLE(2.5, 0);
  const { buffer } = loan;
  assert.strictEqual(consumer.tryReceive(), null);
  loan.commit();
  assert.strictEqual(buffer.length, 0);
  assert.strictEqual((await consumer.receive()).data.readDoubleLE(0), 2.5);
});

test('several loans end in any order, and keep theirs', async () => {
  const { producer, consumer } = await stream();
  const loans = [];
  for (const text of ['a', 'b', 'c', 'd']) {
    const loan = await producer.loan(1, { content: 'text' });
    loan.buffer.write(text);
    loans.push(loan);
  }
  loans[3].commit();
  loans[1].commit();
  assert.strictEqual(consumer.tryReceive(), null);
  loans[0].commit();
  loans[2].abort();
  assert.deepStrictEqual((await consumer.receiveMany()).map((m) => m.text()), ['a', 'b', 'd']);
});

test('a loan is ended once', async () => {
  const { producer } = await stream();
  const loan = await producer.loan(4);
  loan.commit();
  assert.throws(() => loan.commit(), { code: 'INVALID_ARGUMENT' });
  assert.throws(() => loan.abort(), { code: 'INVALID_ARGUMENT' });
});

test('an empty loan is an empty record', async () => {
  const { producer, consumer } = await stream();
  (await producer.loan(0)).commit();
  assert.strictEqual((await consumer.receive()).length, 0);
});

test('closing the producer detaches and aborts its open loans', async () => {
  const { producer, consumer } = await stream();
  const loan = await producer.loan(16);
  await producer.close();
  assert.strictEqual(loan.buffer.length, 0);
  assert.throws(() => loan.commit(), { code: 'CLOSED' });
  assert.strictEqual(consumer.tryReceive(), null);
});

test('a full ring makes a loan wait, and tryLoan answer null', async () => {
  const { producer, consumer } = await stream({ capacity: 4096 });
  for (let loan = producer.tryLoan(1000); loan !== null; loan = producer.tryLoan(1000)) loan.commit();
  await assert.rejects(producer.loan(1000, { timeoutMs: 5 }), { code: 'TIMED_OUT' });
  const waiting = producer.loan(1000);
  await consumer.receiveMany();
  (await waiting).abort();
  await assert.rejects(producer.loan(1 << 20), { code: 'TOO_LARGE' });
  for (const wrong of [-1, 1.5, NaN, '8', null]) await assert.rejects(producer.loan(wrong), { code: 'INVALID_ARGUMENT' });
  await assert.rejects(producer.loan(8, { content: 'image' }), { code: 'INVALID_ARGUMENT' });
});
