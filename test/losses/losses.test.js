// Losses and gradients: golden cases, finite differences of plain loops, and what is refused.
import { lossAndGradient, lossAndGradientSync, lossKinds, randomState, seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, golden, near, refuses, shuffle, stateOf } from '../helpers.js';
import { startNode } from '../process.js';
import { randomTargets, value } from './plain.js';

const settings = {
  unhinged: ({ gamma }) => [{ kind: 'unhinged', gamma }],
  'cross-entropy': () => [{ kind: 'cross-entropy' }],
  'weighted cross-entropy': ({ classWeights }) => [{ kind: 'cross-entropy', classWeights }],
  mse: () => [{ kind: 'mse' }],
  hinge: ({ margin }) => [{ kind: 'hinge', margin }],
  'dot-regression (features normalized to sqrt(E_H), prototypes fixed at sqrt(E_W))': ({ EW, EH }) => [
    { kind: 'dot-regression', prototypeEnergy: EW, featureEnergy: EH },
    { normalizeFeatures: true },
  ],
  'unhinged, features normalized': ({ gamma }) => [{ kind: 'unhinged', gamma }, { normalizeFeatures: true }],
};

for (const kase of golden('losses')) {
  test(`golden case: ${kase.name}`, async () => {
    const state = stateOf(kase);
    const [loss, options] = settings[kase.name](kase);
    const result = await lossAndGradient(loss, state, options);
    near(result.value, kase.value, 1e-10, 'value');
    assert.ok(distance(result.features.data, array(kase.gradFeatures).data) < 1e-10, 'features');
    assert.ok(distance(result.prototypes.data, array(kase.gradPrototypes).data) < 1e-10, 'prototypes');
    assert.ok(distance(result.biases.data, array(kase.gradBiases).data) < 1e-10, 'biases');
    assert.equal(lossAndGradientSync(loss, state, options), result);
  });
}

const random = seededRandom(5);
function sample(n, classes, p) {
  const normal = (size) => Float64Array.from({ length: size }, () => random.normal());
  return {
    features: { shape: [n, p], data: normal(n * p) },
    prototypes: { shape: [classes, p], data: normal(classes * p) },
    biases: { shape: [classes], data: normal(classes) },
    labels: Int32Array.from({ length: n }, () => Math.floor(random.uniform() * classes)),
  };
}
const softLabels = (n, classes) => randomTargets(n, classes, random);

test('gradients equal finite differences, every loss and option, sizes odd, prime and one', () => {
  for (const [n, classes, p] of [
    [1, 2, 1],
    [7, 3, 5],
    [5, 11, 2],
    [13, 4, 17],
  ]) {
    const perClass = Array.from({ length: classes }, (_, c) => 0.5 + c / 3);
    const losses = [
      { kind: 'unhinged', gamma: 0.2 },
      { kind: 'cross-entropy', classWeights: perClass },
      { kind: 'cross-entropy', labelSmoothing: 0.1 },
      { kind: 'cross-entropy', softLabels: softLabels(n, classes) },
      { kind: 'mse' },
      { kind: 'hinge', margin: 0.6 },
      { kind: 'dot-regression', prototypeEnergy: perClass, featureEnergy: 1.7 },
      { kind: 'dot-regression', prototypes: 'learnable', convention: 'lengths', prototypeLength: perClass, featureLength: 0.8 },
    ];
    for (const loss of losses) {
      for (const options of [
        {},
        { normalizeFeatures: true, reduction: 'sum', regularization: { weight: 0.3 } },
        { regularization: { weight: 0.3, normalization: 'half-mean' } },
        { reduction: 'sum', regularization: { weight: 0.2, normalization: 'mean' } },
      ]) {
        const state = sample(n, classes, p);
        const result = lossAndGradientSync(loss, state, options);
        near(result.value, value(loss, state, options), 1e-11 * (1 + Math.abs(result.value)), `value of ${loss.kind}`);
        const fixed = loss.kind === 'dot-regression' && loss.prototypes !== 'learnable';
        for (const part of fixed ? ['features', 'biases'] : ['features', 'prototypes', 'biases']) {
          if (loss.kind === 'dot-regression' && part === 'biases') {
            assert.ok(result.biases.data.every((x) => x === 0));
            continue;
          }
          const { data } = state[part];
          for (let k = 0; k < data.length; k += 1 + Math.floor(data.length / 9)) {
            const kept = data[k];
            const h = 1e-6;
            data[k] = kept + h;
            const up = value(loss, state, options);
            data[k] = kept - h;
            const down = value(loss, state, options);
            data[k] = kept;
            const what = `${loss.kind} ${JSON.stringify(options)}: ${part}[${k}]`;
            near(result[part].data[k], (up - down) / (2 * h), 2e-8 * (1 + Math.abs(value(loss, state, options))), what);
          }
        }
      }
    }
  }
});

test('the released length convention holds the length of each feature fixed', () => {
  const state = sample(4, 3, 5);
  const loss = { kind: 'dot-regression', convention: 'lengths', prototypes: 'learnable' };
  const { value: total, features } = lossAndGradientSync(loss, state);
  let expected = 0;
  for (let i = 0; i < 4; i++) {
    const h = state.features.data.subarray(5 * i, 5 * i + 5);
    const w = state.prototypes.data.subarray(5 * state.labels[i], 5 * state.labels[i] + 5);
    const dot = h.reduce((sum, x, j) => sum + x * w[j], 0);
    const length = Math.hypot(...h);
    expected += (dot - length) ** 2 / (2 * length) / 4;
    for (let j = 0; j < 5; j++) near(features.data[5 * i + j], ((dot - length) / length / 4) * w[j], 1e-13, 'gradient');
  }
  near(total, expected, 1e-13, 'value');
});

test('the adjusted margin turns opposite prototypes to the cosine −1 + ε, and leaves others alone', () => {
  const loss = { kind: 'adjusted-margin', gamma: 0.3, epsilon: 0.2 };
  for (let run = 0; run < 20; run++) {
    const state = sample(6, 3, 4);
    // Half of the samples are set against their prototypes, some of them exactly.
    for (const i of [0, 1, 2]) {
      for (let j = 0; j < 4; j++) {
        const w = state.prototypes.data[4 * state.labels[i] + j];
        state.features.data[4 * i + j] = -2 * w + (i === 0 ? 0 : 0.05 * random.normal());
      }
    }
    const { features } = lossAndGradientSync(loss, state, { normalizeFeatures: true });
    const plain = lossAndGradientSync({ kind: 'unhinged', gamma: 0.3 }, state, { normalizeFeatures: true }).features;
    for (let i = 0; i < 6; i++) {
      const h = state.features.data.subarray(4 * i, 4 * i + 4);
      const w = state.prototypes.data.subarray(4 * state.labels[i], 4 * state.labels[i] + 4);
      const cosine = h.reduce((sum, x, j) => sum + x * w[j], 0) / Math.hypot(...h) / Math.hypot(...w);
      const g = features.data.subarray(4 * i, 4 * i + 4);
      if (cosine >= -0.8) {
        assert.ok(distance(g, plain.data.subarray(4 * i, 4 * i + 4)) < 1e-14);
        continue;
      }
      // ‖(1 − ĥĥᵀ)(w + δ)‖ = |ŵᵀĥ| ‖w‖ √(1 − (1−ε)²)/(1−ε).
      const aside = ((1.3 / 6) * Math.abs(cosine) * Math.hypot(...w) * Math.sqrt(1 - 0.64)) / 0.8 / Math.hypot(...h);
      near(Math.hypot(...g), aside, 1e-12, 'length of the gradient');
      near(
        g.reduce((sum, x, j) => sum + x * h[j], 0),
        0,
        1e-12,
        'along the feature',
      );
    }
  }
});

test('float32 differs from float64 by rounding; labels lie in any order; empty classes are no matter', () => {
  const state = randomState({ classes: 7, perClass: 90, dim: 33, seed: 3 });
  shuffle(state.labels, 4);
  const half = {
    features: { shape: state.features.shape, data: Float32Array.from(state.features.data) },
    prototypes: { shape: [9, 33], data: new Float32Array(9 * 33) },
    labels: state.labels,
  };
  half.prototypes.data.set(state.prototypes.data);
  const full = {
    features: { ...half.features, data: Float64Array.from(half.features.data) },
    prototypes: { ...half.prototypes, data: Float64Array.from(half.prototypes.data) },
    labels: state.labels,
  };
  half.prototypes.data.fill(0.1, 7 * 33);
  full.prototypes.data.set(Float64Array.from(half.prototypes.data));
  for (const loss of [
    { kind: 'unhinged', gamma: 0.1 },
    { kind: 'cross-entropy' },
    { kind: 'mse' },
    { kind: 'hinge' },
    { kind: 'dot-regression' },
  ]) {
    const [a, b] = [lossAndGradientSync(loss, half), lossAndGradientSync(loss, full)];
    near(a.value, b.value, 2e-6 * (1 + Math.abs(b.value)), loss.kind);
    for (const part of ['features', 'prototypes', 'biases']) {
      const largest = b[part].data.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
      assert.instance(a[part].data, Float32Array);
      assert.ok(distance(a[part].data, b[part].data) < 5e-6 * largest, `${loss.kind} ${part}`);
    }
    near(a.minMargin, b.minMargin, 1e-4, 'margin');
  }
});

const everyLoss = [
  { kind: 'unhinged', gamma: 0.1 },
  { kind: 'cross-entropy', labelSmoothing: 0.1 },
  { kind: 'mse' },
  { kind: 'hinge' },
  { kind: 'dot-regression' },
  { kind: 'adjusted-margin', gamma: 0.2, epsilon: 0.5 },
];

test('the same bits for any number of threads, and another instruction set to rounding', async () => {
  // Several tiles of rows, and several blocks of logits.
  const code = `
    import { createHash } from 'node:crypto';
    import { lossAndGradientSync, randomState } from 'layerpeel';
    const out = [];
    for (const dtype of ['float32', 'float64']) {
      for (const [classes, perClass, dim] of [[7, 190, 33], [4001, 1, 5]]) {
        const state = randomState({ classes, perClass, dim, dtype });
        state.biases = { shape: [classes], data: state.prototypes.data.slice(0, classes) };
        for (const loss of ${JSON.stringify(everyLoss)}) {
          const { value, minMargin, accuracy, ...gradients } = lossAndGradientSync(loss, state);
          const hash = createHash('sha256').update(JSON.stringify([value, minMargin, accuracy]));
          const numbers = [value, minMargin, accuracy];
          for (const { data } of Object.values(gradients)) {
            hash.update(data);
            const size = Math.max(1e-300, ...data.map(Math.abs));
            for (let i = 0; i < data.length; i += 41) numbers.push(data[i] / size);
          }
          out.push({ name: [loss.kind, dtype, classes].join(' '), dtype, hash: hash.digest('hex'), numbers });
        }
      }
    }
    console.log(JSON.stringify(out));`;
  const [first, ...others] = await Promise.all(
    [
      { LAYERPEEL_THREADS: '1' },
      { LAYERPEEL_THREADS: '2' },
      { LAYERPEEL_THREADS: '5' },
      { LAYERPEEL_ISA: 'baseline' },
      { LAYERPEEL_ISA: 'avx2' },
    ].map(async (env) => {
      const { code: exit, stdout, stderr } = await startNode(['--input-type=module', '-e', code], { env }).ended;
      assert.is(exit, 0, stderr);
      return { ...env, losses: JSON.parse(stdout) };
    }),
  );
  for (const { losses, LAYERPEEL_ISA: isa, LAYERPEEL_THREADS: threads } of others) {
    for (const [k, { name, dtype, hash, numbers }] of losses.entries()) {
      if (threads) assert.is(hash, first.losses[k].hash, `${name}, ${threads} threads`);
      const bound = dtype === 'float32' ? 2e-5 : 1e-12;
      for (const [i, x] of numbers.entries()) {
        const expected = first.losses[k].numbers[i];
        near(x, expected, bound * (1 + Math.abs(expected)), `${name}, ${isa ?? threads}, number ${i}`);
      }
    }
  }
});

test('all samples are the sum of any two parts', () => {
  const state = randomState({ classes: 13, perClass: 101, dim: 17 });
  shuffle(state.labels, 7);
  for (const loss of everyLoss) {
    const whole = lossAndGradientSync(loss, state, { reduction: 'sum' });
    for (const cut of [1, 255, 256, 257, 1000]) {
      const parts = [
        [0, cut],
        [cut, 1313],
      ].map(([from, to]) =>
        lossAndGradientSync(
          loss,
          {
            features: { shape: [to - from, 17], data: state.features.data.slice(17 * from, 17 * to) },
            prototypes: state.prototypes,
            labels: state.labels.slice(from, to),
          },
          { reduction: 'sum' },
        ),
      );
      near(parts[0].value + parts[1].value, whole.value, 1e-12 * Math.abs(whole.value), `${loss.kind} cut at ${cut}`);
      const sum = parts[0].prototypes.data.map((x, i) => x + parts[1].prototypes.data[i]);
      const size = Math.max(...whole.prototypes.data.map(Math.abs));
      assert.ok(distance(sum, whole.prototypes.data) < 1e-12 * (1 + size), `${loss.kind} cut at ${cut}`);
      const rows = [...parts[0].features.data, ...parts[1].features.data];
      assert.ok(distance(rows, whole.features.data) < 1e-12 * (1 + size), `${loss.kind} cut at ${cut}`);
    }
  }
});

test('soft labels that were rounded to float32 add up to 1', () => {
  const state = sample(4, 3, 2);
  const rows = [
    [1, 1, 1],
    [1, 2, 4],
    [0, 1, 9],
    [3, 5, 3],
  ].map((row) => row.map((x) => x / row.reduce((a, b) => a + b)));
  // Σ_c ∂ℓ/∂b_c = Σ_c (p_c − t_c) = 0.
  const { biases } = lossAndGradientSync({ kind: 'cross-entropy', softLabels: array(rows, Float32Array) }, state);
  near(
    biases.data.reduce((sum, x) => sum + x, 0),
    0,
    1e-15,
    'sum of the gradient by biases',
  );
});

/** A state of rows that are given, with biases 0. */
const stateOfRows = (features, prototypes, labels, Type, biases) => ({
  features: array(features, Type),
  prototypes: array(prototypes, Type),
  biases: array(biases ?? prototypes.map(() => 0), Type),
  labels: Int32Array.from(labels),
});

/** As many columns and classes as it takes for prototypes of more than 2¹⁶ numbers, whose logits are made by another path. */
const widened = (rows, count) => [
  ...rows.map((row) => [...row, ...new Array(300 - row.length).fill(0)]),
  ...Array.from({ length: count - rows.length }, () => [-1000, ...new Array(299).fill(0)]),
];

test('hinge: a class exactly at the margin neither pulls nor is pushed', () => {
  for (const Type of [Float32Array, Float64Array]) {
    const features = [[1], [3]];
    const prototypes = [[1], [0], [-1]];
    // Of the first sample the classes are 1 and 2 behind, of the second 3 and 6.
    for (const state of [
      stateOfRows(features, prototypes, [0, 0], Type),
      stateOfRows(widened(features, 2), widened(prototypes, 300), [0, 0], Type),
    ]) {
      const result = lossAndGradientSync({ kind: 'hinge', margin: 1 }, state);
      assert.is(result.value, 0);
      for (const part of ['features', 'prototypes', 'biases'])
        assert.ok(
          result[part].data.every((x) => x === 0),
          part,
        );
    }
  }
});

test('margins are those of the features as they enter; dot regression knows no biases', () => {
  const state = sample(30, 4, 6);
  state.biases.data.set([50, -50, 20, 0]);
  const loss = { kind: 'dot-regression', prototypes: 'learnable', featureEnergy: 4 };
  const margins = Array.from(state.labels, (y, i) => {
    const h = state.features.data.subarray(6 * i, 6 * i + 6);
    const z = [0, 1, 2, 3].map(
      (c) => (2 / Math.hypot(...h)) * h.reduce((sum, x, j) => sum + x * state.prototypes.data[6 * c + j], 0),
    );
    return z[y] - Math.max(...z.filter((_, c) => c !== y));
  });
  const { accuracy, minMargin } = lossAndGradientSync(loss, state, { normalizeFeatures: true });
  near(minMargin, Math.min(...margins), 1e-13, 'margin');
  near(accuracy, margins.filter((margin) => margin > 0).length / 30, 1e-15, 'accuracy');
});

test('refuses what makes no loss', async () => {
  const state = sample(6, 3, 4);
  const bad = (loss, options, code, pattern) => refuses(code, pattern, () => lossAndGradientSync(loss, state, options));
  await bad({ kind: 'cross-entropie' }, {}, 'LP_OPTION', /did you mean 'cross-entropy/);
  await bad(undefined, {}, 'LP_OPTION', /loss\.kind is missing/);
  await bad({ kind: 'unhinged' }, {}, 'LP_OPTION', /loss\.gamma is missing/);
  await bad({ kind: 'hinge', gamma: 1 }, {}, 'LP_OPTION', /loss/);
  await bad({ kind: 'cross-entropy', classWeights: [1, 2] }, {}, 'LP_OPTION', /has 2 numbers; expected 3/);
  await bad({ kind: 'cross-entropy', classWeights: [1, -2, 1] }, {}, 'LP_OPTION', /loss\.classWeights\[1\] is -2/);
  await bad({ kind: 'cross-entropy', labelSmoothing: 2 }, {}, 'LP_OPTION', /loss\.labelSmoothing is 2/);
  await bad({ kind: 'cross-entropy', softLabels: array([[1, 0]]) }, {}, 'LP_SHAPE', /expected \[6, 3\]/);
  const rows = Array.from({ length: 6 }, () => [0.5, 0.5, 0.5]);
  await bad({ kind: 'cross-entropy', softLabels: array(rows) }, {}, 'LP_OPTION', /softLabels\[0\] adds up to 1\.5/);
  await bad({ kind: 'adjusted-margin', gamma: 0, epsilon: 1 }, {}, 'LP_OPTION', /epsilon is 1/);
  await bad({ kind: 'dot-regression', prototypeLength: 2 }, {}, 'LP_OPTION', /give prototypeEnergy/);
  await bad({ kind: 'dot-regression', prototypeEnergy: 0 }, {}, 'LP_OPTION', /loss\.prototypeEnergy is 0/);
  await bad({ kind: 'mse' }, { reduction: 'max' }, 'LP_OPTION', /options\.reduction/);
  await bad({ kind: 'mse' }, { regularization: { weight: -1 } }, 'LP_OPTION', /options\.regularization\.weight is -1/);
  await bad({ kind: 'mse' }, { normaliseFeatures: true }, 'LP_OPTION', /normalizeFeatures/);
  state.features.data.fill(0, 8, 12);
  await bad({ kind: 'mse' }, { normalizeFeatures: true }, 'LP_OPTION', /features\[2\] is zero/);
  state.features.data[9] = Number.NaN;
  for (const loss of everyLoss) await bad(loss, {}, 'LP_NOT_FINITE', /features\[2, 1\] is NaN/);
  state.features.data[9] = 1;
  state.labels[4] = 3;
  for (const loss of everyLoss) await bad(loss, {}, 'LP_LABEL', /labels\[4\] is 3/);
  assert.is(lossKinds.length, 6);
});

test.run();
