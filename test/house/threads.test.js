// Several JavaScript threads share one pool of compute threads; each loads the addon for itself.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { matmul, matmulSync } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';
import { counting, zeros } from './zeros.js';

const worker = (workerData) => new Worker(new URL('./children/worker.js', import.meta.url), { workerData });

test('workers and the main thread compute at once', async () => {
  const a = counting(97);
  const expected = matmulSync(a, a).data;
  const workers = Array.from({ length: 4 }, () => worker({ task: 'products', count: 20 }));
  const results = workers.map((each) => once(each, 'message'));
  for (let i = 0; i < 20; i++) assert.equal((await matmul(a, a)).data, expected);
  for (const [products] of await Promise.all(results)) {
    for (const product of products) assert.equal(product, expected);
  }
  await Promise.all(workers.map((each) => each.terminate()));
});

test('a worker can be terminated while its jobs run and wait', async () => {
  for (let i = 0; i < 5; i++) {
    const busy = worker({ task: 'endless' });
    await once(busy, 'message');
    assert.is(await busy.terminate(), 1);
  }
  const a = counting(5);
  assert.equal((await matmul(a, a)).data, matmulSync(a, a).data);
});

test('a worker that ends by itself leaves running jobs behind without harm', async () => {
  const leaving = worker({ task: 'leave' });
  const [code] = await once(leaving, 'exit');
  assert.is(code, 3);
});

test('the addon stays loaded when the only worker that loaded it ends', async () => {
  const { code, signal, stderr } = await startNode([fileURLToPath(new URL('./children/borrower.js', import.meta.url))]).ended;
  assert.is(code, 0, `${signal} ${stderr}`);
});

test('the event loop turns while a product is computed', async () => {
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  await matmul(zeros(1500), zeros(1500));
  clearInterval(timer);
  assert.ok(ticks > 0);
});

test.run();
