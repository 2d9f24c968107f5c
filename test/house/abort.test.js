// AbortSignals, at every moment of a job's life.
import { getEventListeners } from 'node:events';
import { iteratedDescent, LayerpeelError, matmul, matmulSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { engine } from '../../lib/engine/load.js';
import { run as native } from '../../lib/engine/run.js';
import { startNode } from '../process.js';
import { counting, zeros } from './zeros.js';

/** How a job ended: 'stopped', or 'done' when it was quicker than the signal. */
async function outcome(promise) {
  try {
    await promise;
    return 'done';
  } catch (error) {
    assert.instance(error, LayerpeelError);
    assert.is(error.code, 'LP_ABORTED');
    return 'stopped';
  }
}

/** Jobs that end when their signal fires: `count` descents of more steps than anybody waits for. */
function endless(count, signal) {
  const state = randomState({ classes: 100, perClass: 10, dim: 128 });
  const options = { gamma: 0.1, learningRates: { features: 1e-9, prototypes: 1e-9 }, steps: 1e5, signal };
  return Array.from({ length: count }, () => outcome(iteratedDescent(state, options)));
}

test('a thousand jobs stopped at once, by one signal, without a warning of too many listeners', async () => {
  const warnings = [];
  const keep = (warning) => warnings.push(warning.message);
  process.on('warning', keep);
  const a = zeros(500);
  const controller = new AbortController();
  // The last one is one that cannot be done before.
  const jobs = Array.from({ length: 999 }, () => outcome(matmul(a, a, { signal: controller.signal })));
  jobs.push(...endless(1, controller.signal));
  controller.abort();
  const outcomes = await Promise.all(jobs);
  process.off('warning', keep);
  assert.equal(warnings, []);
  assert.is(outcomes.at(-1), 'stopped');
  const b = counting(9);
  assert.equal((await matmul(b, b)).data, matmulSync(b, b).data);
});

test('a short job is done while long ones are not', async () => {
  const others = new AbortController();
  const busy = endless(3 * engine().info().threads + 4, others.signal);
  let ended = 0;
  for (const each of busy) each.then(() => ended++);
  assert.equal((await matmul(counting(3), counting(3))).data, matmulSync(counting(3), counting(3)).data);
  assert.is(ended, 0);
  others.abort();
  assert.ok((await Promise.all(busy)).every((each) => each === 'stopped'));
});

test('a job that still waits for its turn stops', async () => {
  const others = new AbortController();
  const busy = endless(40, others.signal); // of which 32 run
  const controller = new AbortController();
  const waiting = outcome(matmul(counting(3), counting(3), { signal: controller.signal }));
  await new Promise((resolve) => setTimeout(resolve, 5));
  controller.abort();
  assert.is(await Promise.race([waiting, ...busy]), 'stopped');
  assert.is(await waiting, 'stopped');
  others.abort();
  await Promise.all(busy);
});

test('a signal that fired before, fires again, or fires too late', async () => {
  const a = counting(4);
  assert.is(await outcome(matmul(a, a, { signal: AbortSignal.abort() })), 'stopped');
  const controller = new AbortController();
  const out = await matmul(a, a, { signal: controller.signal });
  controller.abort();
  assert.equal(out.data, matmulSync(a, a).data);
});

test('jobs leave nothing with a signal that outlives them', async () => {
  const a = counting(4);
  const { signal } = new AbortController();
  for (let i = 0; i < 10; i++) await matmul(a, a, { signal });
  assert.is(getEventListeners(signal, 'abort').length, 1);
  // What hears of a job's progress goes with the job: of many only the last few may still be about.
  const code = `
    import { matmul } from 'layerpeel';
    const { signal } = new AbortController();
    const a = { shape: [2, 2], data: Float64Array.of(1, 2, 3, 4) };
    const heard = [];
    for (let i = 0; i < 200; i++) {
      const onProgress = () => i;
      heard.push(new WeakRef(onProgress));
      await matmul(a, a, { signal, onProgress });
    }
    for (let i = 0; i < 3; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      globalThis.gc();
    }
    process.stdout.write(String(heard.filter((one) => one.deref()).length), () => signal.aborted);`;
  const { code: exit, stdout, stderr } = await startNode(['--expose-gc', '--input-type=module', '-e', code]).ended;
  assert.is(exit, 0, stderr);
  assert.ok(Number(stdout) < 20, `${stdout} of 200 are kept`);
});

test("the reason of the signal is the error's cause", async () => {
  const reason = new Error('enough');
  try {
    await matmul(zeros(2000), zeros(2000), { signal: AbortSignal.abort(reason) });
    assert.unreachable();
  } catch (error) {
    assert.is(error.cause, reason);
  }
});

test('an error that onProgress throws stops the job and rejects', async () => {
  const error = new Error('no more');
  const onProgress = () => {
    throw error;
  };
  const job = native(
    {
      call: (_, mode) => {
        mode.progress(0.5);
        return { promise: Promise.resolve(), cancel() {} };
      },
      wrap() {},
    },
    { onProgress },
  );
  assert.is(await job.catch((caught) => caught), error);
});

test.run();
