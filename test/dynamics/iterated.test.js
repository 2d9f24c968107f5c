// The iterated descent against golden cases and against the same steps made of structured products.
import { iteratedDescent, iteratedDescentSync, randomState, structuredProductsSync } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, golden, refuses, shuffle, stateOf } from '../helpers.js';

for (const given of golden('descent')) {
  test(`golden case ${given.name}`, async () => {
    const options = {
      gamma: given.gamma,
      learningRates: { features: given.learningRate1, prototypes: given.learningRate2 },
      weightDecay: { features: given.weightDecay1, prototypes: given.weightDecay2 },
      momentum: given.momentum,
      nesterov: given.nesterov,
      ...(given.cosinePeriod > 0 && { schedule: { kind: 'cosine', period: given.cosinePeriod } }),
    };
    const state = stateOf(given);
    for (const expected of given.at) {
      const steps = expected.step;
      for (const end of [await iteratedDescent(state, { ...options, steps }), iteratedDescentSync(state, { ...options, steps })]) {
        for (const side of ['features', 'prototypes', 'biases']) {
          const wanted = array(expected[side]).data;
          const size = wanted.reduce((largest, x) => Math.max(largest, Math.abs(x)), 1);
          assert.ok(distance(end[side].data, wanted) < 1e-10 * size, `${side} after ${steps} steps`);
        }
      }
    }
    assert.equal(state, stateOf(given), 'the given state is untouched');
  });
}

test('many samples in any order equal steps of structured products', async () => {
  const state = randomState({ counts: [600, 3, 41], dim: 70, seed: 2 });
  shuffle(state.labels);
  const steps = 20;
  const end = await iteratedDescent(state, { gamma: 0.1, learningRates: { features: 5, prototypes: 0.2 }, steps });
  const by = { ...state, features: { ...state.features }, prototypes: { ...state.prototypes } };
  for (let k = 0; k < steps; k++) {
    const products = structuredProductsSync(by, { gamma: 0.1 });
    by.features.data = by.features.data.map((x, i) => x + 5 * products.features.data[i]);
    by.prototypes.data = by.prototypes.data.map((x, i) => x + 0.2 * products.prototypes.data[i]);
  }
  assert.ok(distance(end.features.data, by.features.data) < 1e-12);
  assert.ok(distance(end.prototypes.data, by.prototypes.data) < 1e-12);
  assert.is(end.biases, undefined);
});

test('float32 stays close to float64', () => {
  const options = { gamma: 0.01, learningRates: { features: 1, prototypes: 0.1 }, momentum: 0.9, steps: 300 };
  const single = iteratedDescentSync(randomState({ classes: 5, perClass: 6, dim: 33, dtype: 'float32' }), options);
  const double = iteratedDescentSync(randomState({ classes: 5, perClass: 6, dim: 33 }), options);
  assert.instance(single.features.data, Float32Array);
  const size = double.features.data.reduce((largest, x) => Math.max(largest, Math.abs(x)), 1);
  assert.ok(distance(single.features.data, double.features.data) < 1e-5 * size);
});

test('no steps give a copy', () => {
  const state = randomState({ classes: 2, perClass: 3, dim: 4 });
  const end = iteratedDescentSync(state, { gamma: 0, learningRates: { features: 1, prototypes: 1 }, steps: 0 });
  assert.equal(end.features.data, state.features.data);
  assert.is.not(end.features.data, state.features.data);
});

test('reports progress, and a signal stops it', async () => {
  const state = randomState({ classes: 10, perClass: 50, dim: 200 });
  const options = { gamma: 0, learningRates: { features: 0.1, prototypes: 0.1 } };
  const shares = [];
  await iteratedDescent(state, { ...options, steps: 50, onProgress: (share) => shares.push(share) });
  assert.ok(shares.length > 0 && shares.every((share, i) => share >= (shares[i - 1] ?? 0) && share <= 1));
  const signal = AbortSignal.timeout(30);
  await refuses('LP_ABORTED', /AbortSignal/, () => iteratedDescent(state, { ...options, steps: 1e6, signal }));
});

test('a part that outgrows its dtype is refused, whichever it is', async () => {
  for (const dtype of ['float32', 'float64']) {
    const state = randomState({ classes: 3, perClass: 2, dim: 4, dtype });
    const most = dtype === 'float32' ? 1e38 : 1e308;
    for (const part of ['features', 'prototypes']) state[part].data.set(state[part].data.map((x) => 1000 * x));
    for (const learningRates of [
      { features: 0, prototypes: most },
      { features: most, prototypes: 0 },
    ]) {
      await refuses('LP_OVERFLOW', /directionAt/, () => iteratedDescent(state, { gamma: 0.1, learningRates, steps: 1 }));
    }
  }
});

test('refuses bad input', async () => {
  const state = randomState({ classes: 2, perClass: 2, dim: 3 });
  const good = { gamma: 0, learningRates: { features: 1, prototypes: 1 }, steps: 1 };
  const bad = (options, pattern) => refuses('LP_OPTION', pattern, () => iteratedDescent(state, { ...good, ...options }));
  await bad({ learningRate: 1 }, /did you mean learningRates/);
  await bad({ learningRates: { features: 1 } }, /learningRates\.prototypes/);
  await bad({ learningRates: { features: -1, prototypes: 1 } }, /learningRates\.features/);
  await bad({ steps: 1.5 }, /steps is 1\.5/);
  await bad({ steps: undefined }, /steps/);
  await bad({ steps: 1e9 }, /steps is 1000000000/);
  await bad({ momentum: 1.1 }, /momentum/);
  await bad({ weightDecay: { features: -1 } }, /weightDecay\.features/);
  await bad({ schedule: { kind: 'cosin', period: 3 } }, /did you mean 'cosine'/);
  await refuses('LP_OVERFLOW', /directionAt/, () =>
    iteratedDescent(state, { ...good, learningRates: { features: 1e9, prototypes: 1e9 }, steps: 100 }),
  );
});

test.run();
