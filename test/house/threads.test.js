// Several JavaScript threads share one pool of compute threads; each loads the addon for itself.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { collapse, lossAndGradient, matmul, matmulSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { preloaded, startNode } from '../process.js';
import { counting, zeros } from './zeros.js';

const near = (actual, expected) => assert.ok(Math.abs(actual - expected) <= 1e-9 * Math.abs(expected), `${actual} ${expected}`);
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

test('where threads cannot be started, fewer do the same; a job that none can run is refused', async () => {
  const state = randomState({ classes: 300, perClass: 20, dim: 128, seed: 1 });
  const product = matmulSync(state.features, state.prototypes, { transposeB: true }).data[7];
  const { value } = await lossAndGradient({ kind: 'cross-entropy' }, state);
  const { nc1: measured } = await collapse(state);
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-threads-'));
  try {
    const before = preloaded(new URL('./children/few-threads.c', import.meta.url), folder);
    for (const most of [0, 1, 3]) {
      const child = fileURLToPath(new URL('./children/few-threads.js', import.meta.url));
      const env = { LAYERPEEL_THREADS: '8', ...before };
      const { code, signal, stdout, stderr } = await startNode([child, String(most)], { env }).ended;
      assert.is(code, 0, `${most} threads: ${signal} ${stderr}`);
      for (const outcome of JSON.parse(stdout)) {
        near(outcome.product, product);
        if (most === 0) assert.equal([outcome.value, outcome.measured], ['LP_MEMORY', 'LP_MEMORY']);
        else {
          near(outcome.value, value);
          near(outcome.measured, measured);
        }
      }
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.run();
