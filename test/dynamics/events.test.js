// The first time of an event, against looking at every step or at very many times; and what a trajectory's life brings:
// abort, progress, threads of their own, collection.
import { spawnSync } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { collapseSync, gradientDescent, gradientDescentSync, gradientFlow, gradientFlowSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';

const sides = (features, prototypes) => ({ features, prototypes });

test('descents: the first step of all', () => {
  const range = Array.from({ length: 301 }, (_, k) => k);
  fc.assert(
    fc.property(
      fc.nat(),
      fc.constantFrom('loss', 'logNorm', 'accuracy', 'distanceToLimit', 'minMargin'),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.constantFrom('rising', 'falling', undefined),
      fc.nat({ max: 40 }),
      (seed, name, share, direction, from) => {
        const start = randomState({ counts: [3, 2, 4], dim: 3, seed });
        const trajectory = gradientDescentSync(start, {
          gamma: 0.3,
          learningRates: sides(0.2, 0.1),
          momentum: 0.9,
          weightDecay: 0.1,
        });
        const values = trajectory.measureSync(range, [name])[name];
        const [low, high] = [Math.min(...values), Math.max(...values)];
        const value = low + share * (high - low);
        const sense = direction ?? (values[from] < value ? 'rising' : 'falling');
        const found = range.find((k) => k >= from && (sense === 'rising' ? values[k] >= value : values[k] <= value));
        assert.is(trajectory.whenSync({ name, value, from, to: 300, ...(direction && { direction }) }), found);
      },
    ),
    { numRuns: 60 },
  );
});

test('descents: an event at the last step that is looked at, and at the first', () => {
  const options = { gamma: 0.3, learningRates: sides(0.2, 0.1) };
  const trajectory = gradientDescentSync(randomState({ counts: [3, 2, 4], dim: 3, seed: 4 }), options);
  const norms = trajectory.measureSync(
    Array.from({ length: 9000 }, (_, k) => k),
    ['logNorm'],
  ).logNorm;
  for (const k of [1, 64, 128, 129, 192, 8320, 8321, 8999]) {
    for (const [from, to] of [
      [k - 1, k],
      [0, k],
    ]) {
      assert.is(trajectory.whenSync({ name: 'logNorm', value: norms[k], direction: 'rising', from, to }), k, `${from} to ${to}`);
      assert.is(trajectory.whenSync({ name: 'logNorm', value: norms[k], direction: 'rising', from: 0, to: k - 1 }), undefined);
    }
  }
});

test('flows: to rounding', async () => {
  const trajectory = await gradientFlow(randomState({ classes: 4, perClass: 3, dim: 5, seed: 2 }), {
    gamma: 0.2,
    rates: sides(1, 1),
  });
  for (const [name, value] of [
    ['logNorm', 10],
    ['loss', -5],
    ['distanceToLimit', 1e-9],
    ['accuracy', 1],
  ]) {
    const time = await trajectory.when({ name, value, to: 1e3 });
    const before = time * (1 - 1e-14);
    const [early, late] = trajectory.measureSync([before, time], [name])[name];
    assert.ok((early - value) * (late - value) <= 0, `${name}: ${early}, ${late}`);
  }
  assert.is(await trajectory.when({ name: 'logNorm', value: 1e5, to: 1e3 }), undefined);
  assert.is(await trajectory.when({ name: 'logNorm', value: 0, direction: 'rising', from: 3, to: 10 }), 3);
});

test('flows: a peak that the grid does not touch', () => {
  const start = randomState({ classes: 3, perClass: 2, dim: 4, seed: 5 });
  const trajectory = gradientFlowSync(start, { gamma: 0.2, rates: sides(1, 1), weightDecay: sides(0.9, 0.05) });
  const times = Float64Array.from({ length: 200_001 }, (_, i) => i / 10_000);
  const norms = trajectory.measureSync(times, ['logNorm']).logNorm;
  const bottom = norms.reduce((least, value) => Math.min(least, value));
  const at = times[norms.indexOf(bottom)];
  assert.ok(at > 0 && at < 20);
  // So little above the minimum that it is passed within a thousandth of a grid interval.
  const value = bottom + 1e-10;
  const found = trajectory.whenSync({ name: 'logNorm', value, to: 1e3 });
  assert.ok(Math.abs(found - at) < 1e-3, `${found} is not ${at}`);
  assert.ok(found < at);
});

test('events: bad input', async () => {
  const trajectory = await gradientFlow(randomState({ classes: 3, perClass: 2, dim: 4 }), { gamma: 0.2, rates: sides(1, 1) });
  await refuses('LP_OPTION', /event\.to/, () => trajectory.when({ name: 'loss', value: 1 }));
  await refuses('LP_OPTION', /event\.name.*logNorm/, () => trajectory.when({ name: 'lognorm', value: 1, to: 3 }));
  await refuses('LP_OPTION', /event\.direction/, () => trajectory.when({ name: 'loss', value: 1, to: 3, direction: 'up' }));
  await refuses('LP_OPTION', /event\.untill/, () => trajectory.when({ name: 'loss', value: 1, untill: 3 }));
});

test('measures of collapse along a trajectory', async () => {
  const start = randomState({ classes: 4, perClass: 5, dim: 6, seed: 3 });
  const biases = { shape: [4], data: Float64Array.of(0.3, -1, 0.2, 0) };
  const trajectory = await gradientFlow({ ...start, biases }, { gamma: 0.2, rates: sides(1, 0.5), weightDecay: 0.02 });
  const names = ['nc1', 'nc2', 'loss', 'nc3', 'nc4', 'nc4Zhu', 'selfDuality', 'logNorm', 'featureCosine'];
  const times = [5, 0, 20];
  for (const columns of [await trajectory.measure(times, names), trajectory.measureSync(times, names)]) {
    assert.equal(Object.keys(columns), names);
    for (const [i, time] of times.entries()) {
      const expected = collapseSync(trajectory.atSync(time));
      for (const name of names.filter((name) => name in expected)) {
        assert.ok(Math.abs(columns[name][i] - expected[name]) < 1e-11 * (1 + Math.abs(expected[name])), `${name} at ${time}`);
      }
    }
  }
  const far = trajectory.measureSync([1e5], ['nc1', 'alignment']);
  assert.ok(far.nc1[0] < 1e-12 && far.alignment[0] > 0.9);
});

test('AbortSignal stops within 50 ms, and the trajectory still serves', async () => {
  const trajectory = await gradientDescent(randomState({ classes: 100, perClass: 2, dim: 8 }), {
    gamma: 0.01,
    learningRates: sides(0.1, 0.1),
    momentum: 0.9,
    schedule: { kind: 'exponential', timescale: 1e12 }, // no two steps are alike
  });
  const begun = performance.now();
  await refuses('LP_ABORTED', /AbortSignal/, () => trajectory.at(1e10, { signal: AbortSignal.timeout(30) }));
  assert.ok(performance.now() - begun < 1000);
  const controller = new AbortController();
  const steps = Float64Array.from({ length: 20_000 }, (_, k) => k);
  const shares = [];
  const onProgress = (share) => {
    shares.push(share);
    if (share > 0.1) controller.abort();
  };
  await refuses('LP_ABORTED', /AbortSignal/, () =>
    trajectory.measure(steps, ['accuracy'], { signal: controller.signal, onProgress }),
  );
  assert.ok(shares.at(-1) < 1);
  assert.ok((await trajectory.at(3)).features.data.every(Number.isFinite));
});

test('several calls at once give what one after the other does', async () => {
  const trajectory = await gradientDescent(randomState({ classes: 7, perClass: 3, dim: 5 }), {
    gamma: 0.1,
    learningRates: sides(0.3, 0.2),
    schedule: { kind: 'cosine', period: 5000 },
  });
  const steps = [4000, 17, 2500, 0, 6000, 333, 4001];
  const together = await Promise.all(steps.map((step) => trajectory.at(step)));
  const columns = await Promise.all(steps.map((step) => trajectory.measure([step, 1], ['loss', 'accuracy'])));
  for (const [i, step] of steps.entries()) {
    assert.equal(together[i], trajectory.atSync(step));
    assert.equal(columns[i], trajectory.measureSync([step, 1], ['loss', 'accuracy']));
  }
});

test('worker threads', async () => {
  const code = `
    import { gradientFlow, randomState } from 'layerpeel';
    import { parentPort } from 'node:worker_threads';
    const flow = await gradientFlow(randomState({ classes: 5, perClass: 4, dim: 9 }), { gamma: 0.1, rates: { features: 1, prototypes: 1 } });
    const times = Array.from({ length: 50 }, (_, i) => i);
    parentPort.postMessage(await flow.measure(times, ['loss', 'accuracy', 'distanceToLimit']));
    await flow.at(7);
  `;
  const url = new URL(
    `data:text/javascript,${encodeURIComponent(code.replaceAll("'layerpeel'", JSON.stringify(import.meta.resolve('layerpeel'))))}`,
  );
  const results = await Promise.all(
    Array.from(
      { length: 4 },
      () => new Promise((resolve, reject) => new Worker(url).once('message', resolve).once('error', reject)),
    ),
  );
  for (const result of results) assert.equal(result, results[0]);
});

test('trajectories that are let go do not pile up', () => {
  const code = `
    import { gradientFlowSync, randomState } from 'layerpeel';
    const state = randomState({ classes: 10, perClass: 200, dim: 250 });
    const make = (dispose) => {
      const flow = gradientFlowSync(state, { gamma: 0.1, rates: { features: 1, prototypes: 1 } });
      flow.measureSync([1], ['accuracy']);
      if (dispose) flow.dispose();
    };
    const settle = async () => {
      for (let i = 0; i < 3; i++) { globalThis.gc(); await new Promise((resolve) => setImmediate(resolve)); }
      return process.memoryUsage().rss / 2 ** 20;
    };
    for (let i = 0; i < 20; i++) make(i % 2 === 0);
    const before = await settle();
    for (let i = 0; i < 200; i++) { make(i % 2 === 0); if (i % 20 === 0) await settle(); }
    process.stdout.write(String((await settle()) - before));
  `;
  // A start of 4 MB: kept, they would come to 800.
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', code], {
    cwd: new URL('../..', import.meta.url),
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  assert.ok(Number(stdout) < 100, `grew by ${stdout} MB`);
});

test.run();
