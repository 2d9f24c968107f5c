// The cross-entropy flow: against Runge–Kutta steps of plain gradients, its invariants, and times up to 10¹².
import {
  crossEntropyFlow,
  crossEntropyFlowSync,
  kktCertificateSync,
  lossAndGradientSync,
  marginsSync,
  randomState,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { distance, near, refuses } from '../helpers.js';

const biased = (state) => ({
  ...state,
  biases: { shape: [state.prototypes.shape[0]], data: Float64Array.from({ length: state.prototypes.shape[0] }, (_, c) => c / 5) },
});

/** The classical Runge–Kutta method in time itself. */
function brute(state, { rate = 1, loss = { kind: 'cross-entropy' }, reduction = 'mean' }, time, steps) {
  const parts = Object.keys(state).filter((part) => part !== 'labels');
  const moved = (x, k, h) =>
    Object.fromEntries(parts.map((part) => [part, { ...x[part], data: x[part].data.map((a, i) => a + h * k[part][i]) }]));
  const slope = (x) => {
    const g = lossAndGradientSync(loss, { ...x, labels: state.labels }, { reduction });
    return Object.fromEntries(parts.map((part) => [part, g[part].data.map((a) => -rate * a)]));
  };
  let x = Object.fromEntries(parts.map((part) => [part, state[part]]));
  const h = time / steps;
  for (let k = 0; k < steps; k++) {
    const k1 = slope(x);
    const k2 = slope(moved(x, k1, h / 2));
    const k3 = slope(moved(x, k2, h / 2));
    const k4 = slope(moved(x, k3, h));
    const mean = Object.fromEntries(
      parts.map((part) => [part, k1[part].map((a, i) => (a + 2 * k2[part][i] + 2 * k3[part][i] + k4[part][i]) / 6)]),
    );
    x = moved(x, mean, h);
  }
  return x;
}

test('equals Runge–Kutta steps of plain gradients', async () => {
  for (const [state, options] of [
    [randomState({ classes: 3, perClass: 4, dim: 5, seed: 1 }), {}],
    [
      biased(randomState({ classes: 4, perClass: 3, dim: 2, seed: 2 })),
      { rate: 0.3, loss: { kind: 'cross-entropy', classWeights: [1, 2, 0.5, 1] } },
    ],
    [
      randomState({ classes: 2, perClass: 1, dim: 1, seed: 3 }),
      { reduction: 'sum', loss: { kind: 'cross-entropy', labelSmoothing: 0.2 } },
    ],
  ]) {
    const flow = await crossEntropyFlow(state, options);
    for (const time of [0.5, 7, 3]) {
      const found = await flow.at(time);
      const expected = brute(state, options, time, 800);
      for (const part of ['features', 'prototypes', 'biases']) {
        if (state[part]) assert.ok(distance(found[part].data, expected[part].data) < 2e-9, `${part} at ${time}`);
      }
      assert.equal(flow.atSync(time), found);
    }
    assert.ok(flow.errorAtSync(7) < 1e-8);
    assert.equal(flow.atSync(0), { ...state, ...(state.biases && { biases: state.biases }) });
  }
});

test('up to t = 10¹²: balance stays, the smoothed margin never falls, the loss is of the order of 1/t', () => {
  const state = randomState({ classes: 4, perClass: 5, dim: 7, seed: 8 });
  const flow = crossEntropyFlowSync(state);
  const gram = ({ data, shape: [rows, p] }) => {
    const out = new Float64Array(p * p);
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < p; j++) for (let k = 0; k < p; k++) out[j * p + k] += data[i * p + j] * data[i * p + k];
    return out;
  };
  const balance = ({ features, prototypes }) => gram(prototypes).map((x, k) => x - gram(features)[k]);
  const began = balance(state);
  const times = Array.from({ length: 49 }, (_, k) => 10 ** (k / 4));
  const { loss, smoothedMargin, normalizedMargin, logNorm, accuracy } = flow.measureSync(times, [
    'loss',
    'smoothedMargin',
    'normalizedMargin',
    'logNorm',
    'accuracy',
  ]);
  for (let k = 1; k < times.length; k++) {
    assert.ok(loss[k] < loss[k - 1]);
    if (!Number.isNaN(smoothedMargin[k - 1]))
      assert.ok(smoothedMargin[k] >= smoothedMargin[k - 1] - 1e-12, `smoothed margin at ${times[k]}`);
    if (!Number.isNaN(smoothedMargin[k])) assert.ok(smoothedMargin[k] <= normalizedMargin[k] + 1e-12);
    if (times[k] > 1e3) assert.ok(loss[k] * times[k] < 10 && loss[k] * times[k] > 1e-3, `loss ${loss[k]} at ${times[k]}`);
  }
  const end = flow.atSync(1e12);
  assert.ok(distance(balance(end), began) < 1e-6 * Math.exp(2 * logNorm.at(-1)));
  assert.is(accuracy.at(-1), 1);
  const kkt = kktCertificateSync(end);
  assert.ok(kkt.stationarity <= kkt.epsilon && kkt.complementarity <= kkt.delta);
  near(marginsSync(end).normalized, normalizedMargin.at(-1), 1e-13, 'normalized margin');
  assert.ok(flow.errorAtSync(1e12) < 1e-6);
  // A tighter integration says the same.
  const tighter = crossEntropyFlowSync(state, { tolerance: 1e-12 }).directionAtSync(1e12);
  assert.ok(distance(tighter.features.data, flow.directionAtSync(1e12).features.data) < 1e-6);
  assert.is(flow.limitSync().regime, 'diverging');
  const when = flow.whenSync({ name: 'loss', value: 1e-3, to: 1e6 });
  near(flow.measureSync([when], ['loss']).loss[0], 1e-3, 1e-8, 'event');
});

test('errors add up on the way, in one call and in many; reductions are the same flow at another rate', () => {
  const state = randomState({ classes: 4, perClass: 5, dim: 7, seed: 8 });
  const tolerance = 1e-9;
  const flow = () => crossEntropyFlowSync(state, { tolerance });
  // A local error is at most the tolerance, and there are dozens.
  const whole = flow().errorAtSync(1e6);
  assert.ok(whole > 3 * tolerance && whole < 1e3 * tolerance, `${whole}`);
  const hops = flow();
  let before = 0;
  for (const time of [1, 10, 1e3, 1e6]) {
    const error = hops.errorAtSync(time);
    assert.ok(error > before + 0.1 * tolerance, `${error} at ${time}`);
    before = error;
  }
  assert.ok(before > whole / 3 && before < 3 * whole);
  assert.ok(hops.errorAtSync(1.001e6) >= before, 'a short way further');
  // 20 samples: their sum at rate 1/20 is their mean at rate 1, and so are the measures of the sum.
  const mean = crossEntropyFlowSync(state);
  const sum = crossEntropyFlowSync(state, { reduction: 'sum', rate: 1 / 20 });
  const names = ['loss', 'smoothedMargin', 'normalizedMargin', 'minMargin', 'accuracy'];
  const [a, b] = [mean, sum].map((one) => one.measureSync([3, 2000], names));
  for (const k of [0, 1]) {
    near(b.loss[k] / (20 * a.loss[k]), 1, 1e-8, 'loss');
    for (const name of names.slice(2)) near(b[name][k], a[name][k], 1e-8, name);
    assert.is(Number.isNaN(a.smoothedMargin[k]), 20 * a.loss[k] >= Math.LN2);
    if (k === 1) near(b.smoothedMargin[k], a.smoothedMargin[k], 1e-8, 'smoothed margin');
  }
  const { features, prototypes } = mean.atSync(2000);
  const square = Math.hypot(...features.data, ...prototypes.data) ** 2;
  near(a.smoothedMargin[1], -Math.log(Math.expm1(20 * a.loss[1])) / square, 1e-12, 'smoothed margin of the mean');
});

/** The least that the mean cross-entropy against these targets can be: their mean entropy. */
const entropy = (targets) =>
  targets.reduce((sum, row) => sum - row.reduce((part, t) => part + (t > 0 ? t * Math.log(t) : 0), 0), 0) / targets.length;

test('smoothed and soft labels: the flow comes to rest at the least loss, whatever the time', async () => {
  const [classes, perClass] = [4, 5];
  const state = randomState({ classes, perClass, dim: 10, seed: 1 });
  const smoothed = Array.from(state.labels, (y) => Array.from({ length: classes }, (_, c) => 0.1 / classes + (c === y ? 0.9 : 0)));
  const soft = Array.from(state.labels, (y, i) =>
    Array.from({ length: classes }, (_, c) => (c === y ? 0.55 + (i % 3) / 10 : 0.15 - (i % 3) / 30)),
  );
  const softLabels = { shape: [soft.length, classes], data: Float64Array.from(soft.flat()) };
  for (const [loss, targets] of [
    [{ kind: 'cross-entropy', labelSmoothing: 0.1 }, smoothed],
    [{ kind: 'cross-entropy', softLabels }, soft],
  ]) {
    const flow = await crossEntropyFlow(state, { loss, rate: 3 });
    const { regime, state: rest, direction, rate, exponent } = await flow.limit();
    assert.equal([regime, exponent], ['stationary', 0]);
    near(lossAndGradientSync(loss, rest).value, entropy(targets), 1e-13, 'least loss');
    near(Math.hypot(...direction.features.data, ...direction.prototypes.data), 1, 1e-14, 'unit direction');
    for (const time of [1e5, 1e12, 1e290])
      assert.ok(distance(flow.atSync(time).features.data, rest.features.data) < 1e-8, `at ${time}`);
    assert.ok(flow.errorAtSync(1e290) < 1e-7);
    // The distance to rest falls at the rate.
    const away = (time) => distance(flow.atSync(time).prototypes.data, rest.prototypes.data);
    near(Math.log(away(700) / away(1000)) / 300 / rate, 1, 0.1, 'rate');
  }
});

test('classes that one dimension cannot separate: the limit says that the flow still moves', () => {
  const { regime, statement } = crossEntropyFlowSync(randomState({ classes: 5, perClass: 3, dim: 1, seed: 1 })).limitSync();
  assert.is(regime, 'diverging');
  assert.match(statement, /still moves/);
});

test('a smoothed margin in logarithms, and none where LP Lemma B.2 does not hold', async () => {
  const state = randomState({ classes: 4, perClass: 2, dim: 6, seed: 5 });
  const separated = crossEntropyFlowSync(state).atSync(1e3);
  const large = { ...separated, features: { shape: separated.features.shape, data: separated.features.data.map((x) => 1e3 * x) } };
  for (const reduction of ['mean', 'sum']) {
    const flow = crossEntropyFlowSync(large, { reduction });
    const { smoothedMargin, logAbsLoss, loss } = flow.measureSync([0], ['smoothedMargin', 'logAbsLoss', 'loss']);
    const kkt = kktCertificateSync(large);
    assert.is(loss[0], 0); // far below the range of doubles
    near(smoothedMargin[0], kkt.smoothedMargin, 1e-12, 'smoothed margin');
    near(logAbsLoss[0], kkt.logLoss - (reduction === 'mean' ? Math.log(8) : 0), 1e-9, 'log loss');
  }
  const biases = { shape: [4], data: new Float64Array(4) };
  for (const [start, loss] of [
    [state, { kind: 'cross-entropy', classWeights: [1, 2, 1, 1] }],
    [state, { kind: 'cross-entropy', labelSmoothing: 0.1 }],
    [{ ...state, biases }, { kind: 'cross-entropy' }],
  ]) {
    const flow = await crossEntropyFlow(start, { loss });
    await refuses('LP_OPTION', /Lemma B\.2/, () => flow.measure([1], ['smoothedMargin']));
    assert.ok(Number.isFinite((await flow.measure([1], ['normalizedMargin'])).normalizedMargin[0]));
  }
});

test('float32 states, refusals, and the signal', async () => {
  const state = randomState({ classes: 3, perClass: 2, dim: 4, dtype: 'float32' });
  assert.instance((await crossEntropyFlow(state)).atSync(3).features.data, Float32Array);
  await refuses('LP_OPTION', /rate is 0/, () => crossEntropyFlow(state, { rate: 0 }));
  await refuses('LP_OPTION', /kind is "mse"/, () => crossEntropyFlow(state, { loss: { kind: 'mse' } }));
  await refuses('LP_OPTION', /tolerance is 1/, () => crossEntropyFlow(state, { tolerance: 1 }));
  const flow = await crossEntropyFlow(state);
  await refuses('LP_OPTION', /time is -1/, () => flow.at(-1));
  await refuses('LP_OPTION', /did you mean 'smoothedMargin'/, () => flow.measure([1], ['smoothedMargins']));
  const large = await crossEntropyFlow(randomState({ classes: 50, perClass: 40, dim: 64 }));
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 10);
  await refuses('LP_ABORTED', /stopped/, () => large.at(1e12, { signal: controller.signal }));
  state.features.data[0] = Number.NaN;
  await refuses('LP_NOT_FINITE', /features\[0, 0\] is NaN/, () => crossEntropyFlow(state));
});

test.run();
