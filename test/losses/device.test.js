// Products and losses on a device, where their arrays lie, against the CPU's: every loss and option, odd sizes, both types, every
// precision. Runs on a GPU, or on the device that `npm run build:emulated` puts on the CPU.
import { lossAndGradient, lossAndGradientSync, matmul, matmulSync, seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { measureLoss } from '../../lib/losses/losses.js';
import { onDevice } from '../device.js';
import { near, refuses } from '../helpers.js';

// What is compared to runs on the CPU, wherever the environment would put it.
const cpu = { device: 'cpu' };
const random = seededRandom(11);
const array = (shape, Type) => ({
  shape,
  data: Type.from({ length: shape.reduce((product, extent) => product * extent, 1) }, () => random.normal()),
});

function sample(n, classes, p, Type) {
  return {
    features: array([n, p], Type),
    prototypes: array([classes, p], Type),
    biases: array([classes], Type),
    labels: Int32Array.from({ length: n }, () => Math.floor(random.uniform() * classes)),
  };
}

const put = async (gpu, { features, prototypes, biases, labels }) => ({
  features: await gpu.put(features),
  prototypes: await gpu.put(prototypes),
  ...(biases && { biases: await gpu.put(biases) }),
  labels,
});

/** Largest difference by the largest number, which is at least `least`. */
function difference(a, b, least = 1e-3) {
  let most = 0;
  let largest = least;
  for (let i = 0; i < b.length; i++) {
    most = Math.max(most, Number.isNaN(a[i]) ? Infinity : Math.abs(a[i] - b[i]));
    largest = Math.max(largest, Math.abs(b[i]));
  }
  return most / largest;
}

const bounds = new Map([
  [Float32Array, 2e-5],
  [Float64Array, 1e-12],
]);

onDevice(test, 'products of every size, transposition and precision', async (gpu) => {
  for (const [m, n, k] of [
    [1, 1, 1],
    [3, 130, 7],
    [65, 33, 129],
    [131, 5, 1500],
  ]) {
    for (const [transposeA, transposeB] of [
      [false, false],
      [true, false],
      [false, true],
      [true, true],
    ]) {
      for (const Type of [Float32Array, Float64Array]) {
        const a = array(transposeA ? [k, m] : [m, k], Type);
        const b = array(transposeB ? [n, k] : [k, n], Type);
        const expected = matmulSync(a, b, { transposeA, transposeB, ...cpu });
        for (const [precision, bound] of [
          ['float32', Type === Float32Array ? 2e-6 : 1e-14],
          // Of each product 2 · 2⁻¹¹ at most, and 2 · 2⁻⁸; of sums of random signs less.
          ['tf32', Type === Float32Array ? 1e-3 : 1e-14],
          ['bf16', Type === Float32Array ? 8e-3 : 1e-14],
        ]) {
          const out = await matmul(await gpu.put(a), await gpu.put(b), { transposeA, transposeB, precision });
          const what = `${m} ${n} ${k} ${transposeA} ${transposeB} ${expected.data.constructor.name} ${precision}`;
          assert.equal(out.shape, expected.shape);
          assert.ok(difference((await out.read()).data, expected.data, Math.sqrt(k)) <= bound, what);
        }
      }
    }
  }
});

onDevice(test, 'a product into an array of the device, alpha and beta', async (gpu) => {
  const [a, b] = [array([5, 3], Float64Array), array([3, 4], Float64Array)];
  const out = await gpu.put({ shape: [5, 4], data: new Float64Array(20).fill(1) });
  assert.is(await matmul(await gpu.put(a), await gpu.put(b), { alpha: 2, beta: -3, out }), out);
  const expected = matmulSync(a, b, { alpha: 2, ...cpu }).data.map((x) => x - 3);
  assert.ok(difference((await out.read()).data, expected) <= 1e-14);
});

const softLabels = (n, classes) => {
  const soft = { shape: [n, classes], data: Float64Array.from({ length: n * classes }, () => random.uniform()) };
  for (let i = 0; i < n; i++) {
    const row = soft.data.subarray(i * classes, (i + 1) * classes);
    const sum = row.reduce((total, x) => total + x, 0);
    for (let c = 0; c < classes; c++) row[c] /= sum;
  }
  return soft;
};

const lossesOf = (n, classes) => {
  const perClass = Array.from({ length: classes }, (_, c) => 0.5 + (c % 7) / 3);
  return [
    { kind: 'unhinged', gamma: 0.2 },
    { kind: 'cross-entropy' },
    { kind: 'cross-entropy', classWeights: perClass, labelSmoothing: 0.1 },
    { kind: 'cross-entropy', softLabels: softLabels(n, classes) },
    { kind: 'mse' },
    { kind: 'hinge', margin: 0.6 },
    { kind: 'dot-regression', prototypeEnergy: perClass, featureEnergy: 1.7 },
    { kind: 'dot-regression', convention: 'lengths' },
    { kind: 'dot-regression', prototypes: 'learnable', convention: 'lengths', prototypeLength: perClass, featureLength: 0.8 },
    { kind: 'adjusted-margin', gamma: 0.3, epsilon: 0.4 },
  ];
};
const settings = [
  {},
  { normalizeFeatures: true, reduction: 'sum', regularization: { weight: 0.3 } },
  { regularization: { weight: 0.3, normalization: 'half-mean' } },
];

onDevice(test, 'every loss and option as on the CPU, where the arrays lie', async (gpu) => {
  for (const [n, classes, p] of [
    [1, 2, 1],
    [70, 10, 3],
    [9, 33, 7],
    [5, 1000, 33],
  ]) {
    for (const Type of [Float32Array, Float64Array]) {
      const bound = bounds.get(Type);
      const state = sample(n, classes, p, Type);
      // Some features against their prototypes, one of them exactly.
      for (let i = 0; i < n; i += 3) {
        for (let j = 0; j < p; j++) {
          const w = state.prototypes.data[state.labels[i] * p + j];
          state.features.data[i * p + j] = -2 * w + (i === 0 ? 0 : 0.1 * random.normal());
        }
      }
      const there = await put(gpu, state);
      for (const loss of lossesOf(n, classes)) {
        for (const setting of settings) {
          const what = `${JSON.stringify({ ...loss, softLabels: undefined })} ${JSON.stringify(setting)} ${[n, classes, p]} ${bound}`;
          const expected = lossAndGradientSync(loss, state, { ...setting, ...cpu });
          const result = await lossAndGradient(loss, there, setting);
          near(result.value, expected.value, bound * (1 + Math.abs(expected.value)), `value of ${what}`);
          near(result.minMargin, expected.minMargin, bound * (1 + Math.abs(expected.minMargin)), `margin of ${what}`);
          assert.is(result.accuracy, expected.accuracy, what);
          for (const part of ['features', 'prototypes', 'biases']) {
            assert.is(result[part].device, gpu);
            const found = (await result[part].read()).data;
            assert.ok(
              difference(found, expected[part].data) <= bound,
              `${part} of ${what}: ${difference(found, expected[part].data)}`,
            );
          }
          const { value, accuracy, minMargin } = result;
          assert.equal(await measureLoss(loss, there, setting), { value, accuracy, minMargin });
        }
      }
    }
  }
});

onDevice(test, 'products of less precision: losses and gradients to their share', async (gpu) => {
  const state = sample(40, 10, 33, Float32Array);
  const there = await put(gpu, state);
  for (const [precision, bound] of [
    ['tf32', 3e-3],
    ['bf16', 2e-2],
  ]) {
    for (const loss of lossesOf(40, 10).slice(1, 6)) {
      const expected = lossAndGradientSync(loss, state, cpu);
      const result = await lossAndGradient(loss, there, { precision });
      near(result.value, expected.value, bound * (1 + expected.value), loss.kind);
      for (const part of ['prototypes', 'biases']) {
        // A hinge's gradient is counts, which an excess near 0 changes by one.
        if (loss.kind === 'hinge') continue;
        assert.ok(difference((await result[part].read()).data, expected[part].data, 1e-2) <= 5 * bound, `${loss.kind} ${part}`);
      }
    }
  }
});

onDevice(test, 'the first of equal logits decides, and results repeat', async (gpu) => {
  const data = new Float64Array([1, 1, 1, 1, 1, 1]);
  const state = {
    features: { shape: [2, 2], data: data.slice(0, 4) },
    prototypes: { shape: [3, 2], data },
    labels: new Int32Array([0, 1]),
  };
  const { accuracy, minMargin } = await measureLoss({ kind: 'cross-entropy' }, await put(gpu, state));
  assert.is(accuracy, 0.5);
  assert.is(minMargin, 0);
  const many = await put(gpu, sample(300, 7, 5, Float32Array));
  for (const loss of lossesOf(300, 7)) {
    const [first, second] = [await lossAndGradient(loss, many), await lossAndGradient(loss, many)];
    assert.is(first.value, second.value);
    for (const part of ['features', 'prototypes', 'biases']) assert.equal(await first[part].read(), await second[part].read());
  }
});

onDevice(test, 'what is not finite, or zero and without a direction, is named as on the CPU', async (gpu) => {
  for (const loss of [{ kind: 'cross-entropy' }, { kind: 'unhinged', gamma: 0.5 }]) {
    for (const part of ['features', 'prototypes']) {
      const state = sample(6, 3, 4, Float32Array);
      state.labels[1] = 1;
      state[part].data[6] = Number.NaN;
      await refuses('LP_NOT_FINITE', new RegExp(`^${part}\\[1, 2\\] is NaN`), async () =>
        lossAndGradient(loss, await put(gpu, state)),
      );
    }
    const biased = sample(6, 3, 4, Float32Array);
    biased.biases.data[2] = Infinity;
    await refuses('LP_NOT_FINITE', /^biases\[2\] is Infinity/, async () => lossAndGradient(loss, await put(gpu, biased)));
    const zero = sample(6, 3, 4, Float64Array);
    zero.features.data.fill(0, 8, 12);
    await refuses('LP_OPTION', /^features\[2\] is zero/, async () =>
      lossAndGradient(loss, await put(gpu, zero), { normalizeFeatures: true }),
    );
  }
  const flat = sample(6, 3, 4, Float64Array);
  flat.prototypes.data.fill(0, 4, 8);
  await refuses('LP_OPTION', /^prototypes\[1\] is zero/, async () =>
    lossAndGradient({ kind: 'dot-regression' }, await put(gpu, flat)),
  );
});

test.run();
