import { readFileSync } from 'node:fs';
import { LayerpeelError, randomState, sphericalDescent, sphericalDescentSync } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const golden = JSON.parse(readFileSync(new URL('../golden/anchored.json', import.meta.url)));
const array = (rows, Kind = Float64Array) => ({ shape: [rows.length, rows[0].length], data: Kind.from(rows.flat()) });
const close = (actual, expected, tolerance, message) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${message ?? ''}: ${actual} is not ${expected} within ${tolerance}`);
const largest = (a, b) => a.reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), 0);
const dot = (a, b) => a.reduce((sum, x, j) => sum + x * b[j], 0);
const norm = (a) => Math.hypot(...a);

/** Random prototypes whose sum is not zero, labels in no order, classes of different sizes. */
function sample({ classes = 4, counts = [3, 1, 5, 2], dim = 5, seed = 1, dtype = 'float64' } = {}) {
  const state = randomState({ counts, dim, seed, dtype });
  const order = [...state.labels.keys()].sort((a, b) => ((a * 7919 + seed) % 13) - ((b * 7919 + seed) % 13));
  const labels = Int32Array.from(order, (i) => state.labels[i]);
  const biases = { shape: [classes], data: state.features.data.slice(0, classes) };
  return { ...state, biases, labels };
}

const rowsOf = ({ shape: [rows, cols], data }) =>
  Array.from({ length: rows }, (_, i) => [...data.subarray(i * cols, (i + 1) * cols)]);

/** The definition on whole vectors: the gradient through the normalization, written out. */
function bruteForce({ features, prototypes, labels }, gamma, rateAt, rescaled, steps) {
  const H = rowsOf(features);
  const W = rowsOf(prototypes);
  const n = H.length;
  for (let k = 0; k < steps; k++) {
    H.forEach((h, i) => {
      const length = norm(h);
      const unit = h.map((x) => x / length);
      const pull = unit.map((_, j) => W.reduce((sum, w, c) => sum + (c === labels[i] ? 1 : -gamma) * w[j], 0) / n);
      const along = dot(unit, pull);
      H[i] = h.map((x, j) => x + ((rateAt(k) * (rescaled ? length : 1)) / length) * (pull[j] - along * unit[j]));
    });
  }
  return H;
}

/** `w_c − γ/(1+γ) Σ w` of each class. */
function targetsOf({ prototypes }, gamma) {
  const W = rowsOf(prototypes);
  const sum = W[0].map((_, j) => W.reduce((total, w) => total + w[j], 0));
  return { W, targets: W.map((w) => w.map((x, j) => x - (gamma / (1 + gamma)) * sum[j])) };
}

/** Measures by their definitions. */
function measuresOf(H, { prototypes, biases, labels }, gamma) {
  const { W, targets } = targetsOf({ prototypes }, gamma);
  const logits = H.map((h) => W.map((w, c) => dot(w, h) / norm(h) + biases.data[c]));
  const margins = logits.map((z, i) => z[labels[i]] - Math.max(...z.filter((_, c) => c !== labels[i])));
  const mean = (values) => values.reduce((total, x) => total + x, 0) / values.length;
  return {
    loss: mean(logits.map((z, i) => -z[labels[i]] + gamma * z.reduce((total, x, c) => total + (c === labels[i] ? 0 : x), 0))),
    accuracy: mean(logits.map((z, i) => Number(z.indexOf(Math.max(...z)) === labels[i]))),
    minMargin: Math.min(...margins),
    meanMargin: mean(margins),
    featureNorm: Math.hypot(...H.flat()),
    logNorm: Math.log(Math.hypot(...H.flat(), ...W.flat())),
    distanceToLimit: Math.hypot(
      ...H.flatMap((h, i) => h.map((x, j) => x / norm(h) - targets[labels[i]][j] / norm(targets[labels[i]]))),
    ),
  };
}

for (const kase of golden.filter(({ name }) => name.startsWith('spherical'))) {
  test(`golden: ${kase.name}`, async () => {
    const state = { features: array(kase.features), prototypes: array(kase.prototypes), labels: Int32Array.from(kase.labels) };
    const { gamma, learningRate, rescaled } = kase;
    const trajectory = await sphericalDescent(state, { gamma, learningRate, rescaled });
    for (const { step, features } of kase.at) {
      assert.ok(largest((await trajectory.at(step)).features.data, features.flat()) < 1e-11, `step ${step}`);
      assert.equal(trajectory.atSync(step), await trajectory.at(step));
    }
  });
}

test('states and measures agree with the definition, rescaled or not, for prototypes with any sum', async () => {
  const gamma = 0.3;
  const wanted = [0, 1, 2, 17, 60, 300];
  for (const rescaled of [false, true]) {
    for (const learningRate of [1.7, { kind: 'cosine', value: 3, period: 40, warmup: 5 }, (k) => 2 / (1 + k)]) {
      const state = sample();
      const rate = (k) => {
        if (typeof learningRate === 'function') return learningRate(k);
        if (typeof learningRate === 'number') return learningRate;
        return k < 40 ? 1.5 * (1 + Math.cos((Math.PI * k) / 40)) * Math.min(1, (k + 1) / 5) : 0;
      };
      const trajectory = sphericalDescentSync(state, { gamma, learningRate, rescaled });
      for (const steps of wanted) {
        const expected = bruteForce(state, gamma, rate, rescaled, steps);
        const at = await trajectory.at(steps);
        assert.ok(largest(at.features.data, expected.flat()) < 1e-11, `${steps} steps`);
        assert.equal(at.prototypes.data, state.prototypes.data);
        assert.equal(at.biases.data, state.biases.data);
        const names = measuresOf(expected, state, gamma);
        const measured = await trajectory.measure([steps], Object.keys(names));
        for (const [name, value] of Object.entries(names))
          close(measured[name][0], value, 1e-12 * Math.max(1, Math.abs(value)), `${name} after ${steps}`);
      }
      const names = ['loss', 'minMargin', 'distanceToLimit', 'featureNorm'];
      const scrambled = [300, 0, 17, 17, 1];
      const columns = await trajectory.measure(scrambled, names);
      assert.equal(columns, trajectory.measureSync(scrambled, names));
      for (const [i, steps] of scrambled.entries()) {
        const expected = measuresOf(bruteForce(state, gamma, rate, rescaled, steps), state, gamma);
        for (const name of names) close(columns[name][i], expected[name], 1e-11, `${name} in any order`);
      }
    }
  }
});

test('rates go on where a stretch of steps ends, in one call or many', async () => {
  const state = sample({ counts: [2, 1, 1, 1] });
  for (const [steps, period] of [
    [40_000, 50_000],
    [300_000, 400_000],
  ]) {
    const learningRate = { kind: 'cosine', value: 2e-4, period };
    const trajectory = sphericalDescentSync(state, { gamma: 0.3, learningRate });
    const [at] = [(await trajectory.at(steps)).features.data];
    const { loss } = sphericalDescentSync(state, { gamma: 0.3, learningRate }).measureSync([steps], ['loss']);
    const hops = sphericalDescentSync(state, { gamma: 0.3, learningRate });
    for (let k = 9_999; k < steps; k += 9_999) hops.atSync(k);
    assert.ok(largest(hops.atSync(steps).features.data, at) < 1e-12, `${steps} steps`);
    close(hops.measureSync([steps], ['loss']).loss[0], loss[0], 1e-12, `loss after ${steps}`);
    const within = hops.measureSync([steps - 5_000, steps - 2, steps], ['loss']).loss;
    close(within[2], loss[0], 1e-12, 'loss at the last of several');
    assert.ok(within[0] > within[1] && within[1] > within[2]);
  }
});

test('measures of many samples are those of all of them', () => {
  const state = sample({ counts: [4000, 3000, 2000, 1], dim: 3 });
  const names = ['loss', 'accuracy', 'minMargin', 'meanMargin', 'featureNorm', 'distanceToLimit'];
  for (const [steps, measured] of [0, 2].map((k) => [
    k,
    sphericalDescentSync(state, { gamma: 0.3, learningRate: 50 }).measureSync([k], names),
  ])) {
    const expected = measuresOf(
      bruteForce(state, 0.3, () => 50, false, steps),
      state,
      0.3,
    );
    for (const name of names)
      close(measured[name][0], expected[name], 1e-9 * Math.max(1, expected[name]), `${name} after ${steps}`);
  }
});

test('a feature within rounding of the line of its target stays on it', () => {
  const state = sample({ counts: [2, 2, 2, 2] });
  const { targets } = targetsOf(state, 0.3);
  for (let i = 0; i < 8; i += 2) {
    const target = targets[state.labels[i]];
    for (let j = 0; j < 5; j++) state.features.data[i * 5 + j] = ((i % 4 === 0 ? -0.1 : 0.7) / 3) * target[j];
  }
  const trajectory = sphericalDescentSync(state, { gamma: 0.3, learningRate: 1, rescaled: true });
  const at = trajectory.atSync(20_000).features.data;
  for (let i = 0; i < 8; i += 2) assert.equal(at.subarray(5 * i, 5 * i + 5), state.features.data.subarray(5 * i, 5 * i + 5));
  assert.is(trajectory.limitSync().still, 2);
  // Opposite features are 2 from their targets, the others arrive.
  const { distanceToAligned, distanceToLimit } = trajectory.measureSync([20_000], ['distanceToAligned', 'distanceToLimit']);
  close(distanceToAligned[0], Math.sqrt(8), 1e-9, 'distance to the targets');
  close(distanceToLimit[0], 0, 1e-9, 'distance to the limit');
});

test('features whose squares are beyond the range of doubles turn like others', () => {
  for (const scale of [1e-200, 1e200]) {
    const state = sample({ counts: [2, 1, 1, 1] });
    const scaled = { ...state, features: { ...state.features, data: state.features.data.map((x) => scale * x) } };
    const options = { gamma: 0.3, learningRate: 0.5, rescaled: true };
    const [plain, far] = [state, scaled].map((one) => {
      const rate = one === state ? 0.5 : 0.5 * scale;
      return sphericalDescentSync(one, { ...options, learningRate: rate }).atSync(7).features.data;
    });
    assert.ok(
      largest(
        far.map((x) => x / scale),
        plain,
      ) < 1e-13,
      `${scale}`,
    );
  }
});

test('the distance to the limit shrinks by the rate of limit() far below rounding of the state', async () => {
  const state = sample({ counts: [30, 1, 11, 2], dim: 7 });
  const trajectory = sphericalDescentSync(state, { gamma: 0.2, learningRate: 4, rescaled: true });
  const limit = await trajectory.limit();
  assert.is(limit.regime, 'aligned');
  assert.is(limit.per, 'step');
  assert.is(limit.still, 0);
  const { distanceToLimit } = await trajectory.measure([4000, 8000], ['distanceToLimit']);
  assert.ok(distanceToLimit[1] < 1e-30 && distanceToLimit[1] > 0, `it is ${distanceToLimit[1]}`);
  close(Math.log(distanceToLimit[0] / distanceToLimit[1]) / 4000 / limit.rate, 1, 1e-2);
  const direction = await trajectory.directionAt(8000);
  assert.ok(largest(direction.features.data, limit.direction.features.data) < 1e-12);
  assert.ok(largest(direction.prototypes.data, limit.direction.prototypes.data) < 1e-12);
  close(Math.hypot(...direction.features.data, ...direction.prototypes.data), 1, 1e-14);
  const { logNorm } = await trajectory.measure([8000], ['logNorm']);
  close(direction.logNorm, logNorm[0], 1e-13);
  assert.ok(largest(limit.state.features.data, (await trajectory.at(8000)).features.data) < 1e-11);
});

test('norms never decrease', () => {
  const trajectory = sphericalDescentSync(sample(), { gamma: 0.3, learningRate: 5 });
  const { featureNorm } = trajectory.measureSync(
    Array.from({ length: 500 }, (_, k) => k),
    ['featureNorm'],
  );
  for (let k = 1; k < 500; k++) assert.ok(featureNorm[k] >= featureNorm[k - 1]);
});

test('a feature opposite its target stays, and limit() says how many', async () => {
  const state = sample();
  const { data } = state.features;
  const gamma = 0.3;
  const W = rowsOf(state.prototypes);
  const sum = W[0].map((_, j) => W.reduce((total, w) => total + w[j], 0));
  const target = W[state.labels[2]].map((x, j) => x - (gamma / (1 + gamma)) * sum[j]);
  data.set(
    target.map((x) => -3 * x),
    10,
  );
  const trajectory = sphericalDescentSync(state, { gamma, learningRate: 1 });
  const stayed = (await trajectory.at(1000)).features.data;
  for (let j = 10; j < 15; j++) assert.ok(Math.abs(stayed[j] - data[j]) < 1e-14); // a compiler may round once more or less
  const limit = trajectory.limitSync();
  assert.is(limit.still, 1);
  assert.is(limit.regime, 'mixed');
  assert.match(limit.statement, /1 of 11 samples start exactly opposite/);
  const { distanceToLimit, distanceToAligned } = trajectory.measureSync([40000], ['distanceToLimit', 'distanceToAligned']);
  assert.ok(distanceToLimit[0] < 1e-3);
  close(distanceToAligned[0], 2, 1e-6);
});

test('limits: too large steps, rates that end, rates nobody knows', async () => {
  const state = sample();
  const large = await sphericalDescentSync(state, { gamma: 0.3, learningRate: 60 }).limit();
  assert.ok(large.overshooting > 0);
  assert.match(large.statement, /α\(0\) > 1/);
  const ending = sphericalDescentSync(state, { gamma: 0.3, learningRate: { kind: 'cosine', value: 1, period: 30 } });
  const limit = await ending.limit();
  assert.is(limit.regime, 'stationary');
  assert.equal(limit.state.features.data, (await ending.at(30)).features.data);
  const decaying = sphericalDescentSync(state, { gamma: 0.3, learningRate: { kind: 'exponential', value: 1, timescale: 10 } });
  assert.ok(largest((await decaying.limit()).state.features.data, (await decaying.at(5000)).features.data) < 1e-13);
  const unknown = await sphericalDescentSync(state, {
    gamma: 0.3,
    learningRate: (k) => 2 / (1 + k) ** 0.1,
    rescaled: true,
  }).limit();
  assert.is(unknown.per, 'zeta');
  assert.ok(unknown.rate > 0 && Number.isFinite(unknown.rate));
  const still = await sphericalDescentSync(state, { gamma: 0.3, learningRate: 0 }).limit();
  assert.is(still.regime, 'stationary');
});

test('when: the first step of an event', async () => {
  const trajectory = sphericalDescentSync(sample(), { gamma: 0.3, learningRate: 1 });
  const steps = Array.from({ length: 3000 }, (_, k) => k);
  const { distanceToLimit, accuracy } = await trajectory.measure(steps, ['distanceToLimit', 'accuracy']);
  assert.is(
    await trajectory.when({ name: 'distanceToLimit', value: 0.5, to: 3000 }),
    distanceToLimit.findIndex((d) => d <= 0.5),
  );
  assert.is(trajectory.whenSync({ name: 'accuracy', value: 1, direction: 'rising', to: 2999 }) ?? -1, accuracy.indexOf(1));
  assert.is(trajectory.whenSync({ name: 'distanceToLimit', value: 1e-300, to: 100 }), undefined);
  assert.is(trajectory.whenSync({ name: 'distanceToLimit', value: 100, direction: 'falling', from: 7, to: 100 }), 7);
});

test('float32 features give float32 results of double accuracy', async () => {
  const state = sample({ dtype: 'float32' });
  const trajectory = sphericalDescentSync(state, { gamma: 0.3, learningRate: 1 });
  const expected = bruteForce(state, 0.3, () => 1, false, 100).flat();
  const { features } = await trajectory.at(100);
  assert.instance(features.data, Float32Array);
  assert.ok(largest(features.data, Float32Array.from(expected)) < 3e-7);
});

test('a trajectory keeps what it was made from', async () => {
  const state = sample();
  const trajectory = sphericalDescentSync(state, { gamma: 0.3, learningRate: 1 });
  const before = await trajectory.at(10);
  state.features.data.fill(0);
  state.labels.fill(99);
  assert.equal(await trajectory.at(10), before);
  before.features.data.fill(0);
  before.labels.fill(99);
  assert.not.equal(await trajectory.at(10), before);
  trajectory.dispose();
  await trajectory.at(10).then(assert.unreachable, (error) => assert.match(error.message, /disposed/));
  assert.throws(() => trajectory.limitSync(), /disposed/);
});

test('an abort stops long runs', async () => {
  const trajectory = sphericalDescentSync(randomState({ classes: 10, perClass: 100, dim: 4 }), { gamma: 0.3, learningRate: 1 });
  for (const call of [(control) => trajectory.at(1e9, control), (control) => trajectory.measure([0, 1e9], ['accuracy'], control)]) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 20);
    await call({ signal: controller.signal }).then(assert.unreachable, (error) => assert.is(error.code, 'LP_ABORTED'));
  }
});

test('what is wrong is refused', async () => {
  const good = { gamma: 0.3, learningRate: 1 };
  const refuse = (state, options, code, pattern) =>
    assert.throws(
      () => sphericalDescentSync(state, options).atSync(1),
      (error) =>
        error instanceof LayerpeelError &&
        error.code === code &&
        (pattern.test(error.message) || assert.unreachable(error.message)),
    );
  const state = sample();
  refuse(state, { ...good, gama: 1 }, 'LP_OPTION', /gama is not known; did you mean gamma/);
  refuse(state, { ...good, gamma: -0.1 }, 'LP_OPTION', /gamma is -0.1/);
  refuse(state, { gamma: 0.1 }, 'LP_OPTION', /learningRate is missing/);
  refuse(state, { ...good, learningRate: -1 }, 'LP_OPTION', /learningRate\.value is -1/);
  refuse(state, { ...good, rescaled: 1 }, 'LP_OPTION', /rescaled is 1/);
  refuse(state, undefined, 'LP_OPTION', /options/);
  const zero = sample();
  zero.features.data.fill(0, 15, 20);
  refuse(zero, good, 'LP_OPTION', /Feature 3 is zero/);
  const broken = sample();
  broken.features.data[17] = Number.NaN;
  refuse(broken, good, 'LP_NOT_FINITE', /features\[3, 2\] is NaN/);
  const infinite = sample();
  infinite.prototypes.data[3] = Number.POSITIVE_INFINITY;
  refuse(infinite, good, 'LP_NOT_FINITE', /prototypes\[0, 3\] is Infinity/);
  const tiny = sample();
  tiny.features.data.fill(1e-200, 15, 20);
  refuse(tiny, good, 'LP_OVERFLOW', /Feature 3 leaves the range/);

  const trajectory = sphericalDescentSync(state, good);
  for (const step of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, '3', undefined])
    assert.throws(() => trajectory.atSync(step), /time is .*; expected an integer/);
  assert.throws(() => trajectory.measureSync([1], ['los']), /names\[0\] is "los"; did you mean 'loss'/);
  assert.throws(() => trajectory.measureSync([1, -2], ['loss']), /times\[1\] is -2/);
  assert.throws(() => trajectory.whenSync({ name: 'loss', value: 1 }), /event\.to is missing/);
  assert.throws(() => trajectory.whenSync({ name: 'loss', value: 1, to: 10, form: 3 }), /form is not known; did you mean from/);
  assert.throws(() => trajectory.whenSync({ name: 'loss', value: 1, to: 10, direction: 'up' }), /direction is "up"/);
  assert.equal(trajectory.measureSync([], ['loss']), { loss: new Float64Array(0) });
});

test.run();
