// What several functions take has one domain in all of them, and a fault is named at its place.
import {
  anchoredFlow,
  gradientDescent,
  gradientFlow,
  iteratedDescent,
  iteratedDescentSync,
  kernelFlow,
  lossAndGradient,
  projectedDescent,
  projectedDescentSync,
  randomState,
  sphericalDescent,
  unhingedBounds,
} from 'layerpeel';
import { train } from 'layerpeel/torch';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';

const state = randomState({ classes: 3, perClass: 4, dim: 3, seed: 5 });
const rates = { features: 0.1, prototypes: 0.2 };
const images = {
  images: new Uint8Array(32),
  shape: [2, 4, 4, 1],
  labels: Int32Array.of(0, 1),
  classes: ['a', 'b'],
  source: 'test',
};
const network = { data: { train: images }, model: { kind: 'mlp', widths: [4] }, loss: { kind: 'mse' }, epochs: 1 };
const first = (iterator) => iterator.next();

/** Functions of a descent by what they are given beside good options. */
const descents = {
  gradientDescent: (more) => gradientDescent(state, { gamma: 0.1, learningRates: rates, ...more }),
  iteratedDescent: (more) => iteratedDescent(state, { gamma: 0.1, learningRates: rates, steps: 3, ...more }),
  projectedDescent: (more) =>
    first(projectedDescent({ loss: { kind: 'mse' }, state }, { learningRates: rates, steps: 3, ...more })),
};

test('momentum is at least 0 and below 1, everywhere', async () => {
  for (const momentum of [1, 1.5, -0.1, Number.NaN, '0.9']) {
    const pattern = /^options\.momentum is .*; expected a finite number of at least 0 and below 1\./;
    for (const descend of Object.values(descents)) await refuses('LP_OPTION', pattern, () => descend({ momentum }));
    const expected = /^config\.optimizer\.momentum is .*; expected a finite number of at least 0 and below 1\./;
    await refuses('LP_CONFIG', expected, () => first(train({ ...network, optimizer: { momentum } })));
  }
  for (const descend of Object.values(descents)) await descend({ momentum: 1 - Number.EPSILON / 2 });
});

test('gamma is at least 0, everywhere', async () => {
  const kernel = { shape: [12, 12], data: Float64Array.from({ length: 144 }, (_, k) => (k % 13 === 0 ? 1 : 0)) };
  for (const gamma of [-1, -1e-300, Number.POSITIVE_INFINITY, '1', undefined]) {
    const calls = [
      () => gradientFlow(state, { gamma, rates }),
      () => anchoredFlow(state, { gamma, rate: 1 }),
      () => sphericalDescent(state, { gamma, learningRate: 1 }),
      () => kernelFlow(state, { gamma, loss: 'unhinged', rate: 1, kernel }),
      () => unhingedBounds(state, { gamma }),
      () => descents.gradientDescent({ gamma }),
      () => descents.iteratedDescent({ gamma }),
    ];
    for (const call of calls) await refuses('LP_OPTION', /^options\.gamma is .*; expected a finite number of at least 0\./, call);
    for (const kind of ['unhinged', 'adjusted-margin']) {
      const loss = { kind, gamma, ...(kind === 'adjusted-margin' && { epsilon: 0.1 }) };
      await refuses('LP_OPTION', /^loss\.gamma is /, () => lossAndGradient(loss, state));
      await refuses('LP_OPTION', /^problem\.loss\.gamma is /, () =>
        first(projectedDescent({ loss, state }, { learningRates: rates, steps: 1 })),
      );
    }
  }
});

test('one weight decay is that of every part', () => {
  const options = { gamma: 0.1, learningRates: rates, momentum: 0.5, steps: 7 };
  const both = iteratedDescentSync(state, { ...options, weightDecay: { features: 0.3, prototypes: 0.3 } });
  assert.equal(iteratedDescentSync(state, { ...options, weightDecay: 0.3 }), both);

  const biases = { shape: [3], data: Float64Array.of(1, -2, 0.5) };
  const end = (weightDecay) => {
    const problem = { loss: { kind: 'cross-entropy' }, state: { ...state, biases }, weightDecay };
    return projectedDescentSync(problem, { learningRates: rates, steps: 5 }).next().value.state;
  };
  assert.equal(end(0.3), end({ features: 0.3, prototypes: 0.3, biases: 0.3 }));
  assert.not.equal(end(0.3), end({ features: 0.3, prototypes: 0.3 }));
});

test('a wrong weight decay is named with its place', async () => {
  const projected = (weightDecay) =>
    first(projectedDescent({ loss: { kind: 'mse' }, state, weightDecay }, { learningRates: rates, steps: 1 }));
  await refuses('LP_OPTION', /^problem\.weightDecay is -1; expected/, () => projected(-1));
  await refuses('LP_OPTION', /^problem\.weightDecay\.biases is -1; expected/, () => projected({ biases: -1 }));
  for (const descend of [descents.gradientDescent, descents.iteratedDescent]) {
    await refuses('LP_OPTION', /^options\.weightDecay is -1; expected/, () => descend({ weightDecay: -1 }));
    await refuses('LP_OPTION', /^options\.weightDecay\.features is "1"; expected/, () =>
      descend({ weightDecay: { features: '1' } }),
    );
    await refuses('LP_OPTION', /^options\.weightDecay\.biases is not known/, () => descend({ weightDecay: { biases: 1 } }));
  }
  const decayed = (weightDecay) => first(train({ ...network, optimizer: { weightDecay } }));
  await refuses('LP_CONFIG', /^config\.optimizer\.weightDecay is -1; expected/, () => decayed(-1));
  await refuses('LP_CONFIG', /^config\.optimizer\.weightDecay\.norms is -1; expected/, () => decayed({ norms: -1 }));
});

test('a device is named where one is used', async () => {
  await refuses('LP_OPTION', /^options\.device is not known; expected/, () => descents.gradientDescent({ device: 'cpu' }));
  await refuses('LP_OPTION', /device is "cup"; did you mean 'cpu'\?/, () => descents.projectedDescent({ device: 'cup' }));
  await refuses('LP_OPTION', /device is "gpu"; expected 'auto', 'cpu', 'cuda'/, () => descents.projectedDescent({ device: 'gpu' }));
  await refuses('LP_OPTION', /devise is not known; expected/, () => descents.gradientDescent({ devise: 'cpu' }));
});

test('a signal is an AbortSignal, a listener a function', async () => {
  const trajectory = await descents.gradientDescent({});
  const calls = [...Object.values(descents), (more) => trajectory.at(3, more), (more) => trajectory.limit(more)];
  for (const signal of [{}, 5, null, { aborted: true }, new AbortController()]) {
    for (const call of calls) await refuses('LP_OPTION', /\.signal is .*; expected an AbortSignal/, () => call({ signal }));
  }
  for (const onProgress of [5, {}, null, 'log']) {
    for (const call of calls) await refuses('LP_OPTION', /\.onProgress is .*; expected a function/, () => call({ onProgress }));
  }
});

test('steps beyond exact integers are told where those end', async () => {
  const expected = /steps is 1e\+300; expected an integer of at least 0 and at most 9007199254740991\./;
  await refuses('LP_OPTION', expected, () => descents.projectedDescent({ steps: 1e300 }));
  const trajectory = await descents.gradientDescent({});
  await refuses('LP_OPTION', /^time is 1e\+300; .*at most 9007199254740991/, () => trajectory.at(1e300));
});

test.run();
