// Losses of networks against the native engine's, on the same features: values and gradients. And what only networks have
// against formulas written here.
import { lossAndGradientSync, seededRandom } from 'layerpeel';
import * as assert from 'uvu/assert';
import { option } from '../../lib/check/options.js';
import { checkLoss } from '../../lib/losses/losses.js';
import { torchEngine } from '../../lib/training/engine.js';
import { distance } from '../helpers.js';
import { torchSuite } from './torch.js';

const test = torchSuite('losses of networks');
const [samples, classes, dim] = [23, 5, 7];

function state(Type, { biases = true, opposite = false } = {}) {
  const random = seededRandom(3);
  const array = (...shape) => ({ shape, data: Type.from(random.fillNormal(new Float64Array(shape.reduce((a, b) => a * b)))) });
  const labels = Int32Array.from({ length: samples }, () => Math.floor(classes * random.uniform()));
  const features = array(samples, dim);
  const prototypes = array(classes, dim);
  // Some features all but opposite to their prototype, one exactly.
  for (let i = 0; opposite && i < 6; i++) {
    for (let j = 0; j < dim; j++) {
      features.data[i * dim + j] = -2 * prototypes.data[labels[i] * dim + j] + (i === 0 ? 0 : 0.01 * features.data[i * dim + j]);
    }
  }
  return { features, prototypes, ...(biases && { biases: array(classes) }), labels };
}

function ofNetwork(loss, given, options = {}, more = {}) {
  const { features, prototypes, biases, labels } = given;
  const setting = { ...options, ...(options.regularization && { regularization: options.regularization }) };
  const plan = checkLoss(loss, setting, { samples, classes }, option('loss'), option('options'));
  const full = {
    ...{ meanRegularization: false, rescaled: false, cosine: false, balanced: false, ldamScale: 1, weightsFrom: 0 },
    meanByWeights: false,
    ...plan,
    ...more,
  };
  const arrays = { features: features.data, prototypes: prototypes.data, biases: biases?.data, labels };
  return torchEngine().networkLoss(undefined, { ...arrays, samples, classes, dim }, full);
}

const rows = Array.from({ length: samples }, (_, i) => Array.from({ length: classes }, (_, c) => (c === i % classes ? 0.6 : 0.1)));
const cases = {
  unhinged: [{ kind: 'unhinged', gamma: 0.25 }],
  'unhinged, regularized': [{ kind: 'unhinged', gamma: 0.3 }, { regularization: { weight: 0.02 } }],
  'cross-entropy': [{ kind: 'cross-entropy' }],
  'cross-entropy, weighted and smoothed': [{ kind: 'cross-entropy', classWeights: [1, 0.5, 2, 3, 0], labelSmoothing: 0.1 }],
  'cross-entropy of soft labels': [
    { kind: 'cross-entropy', softLabels: { shape: [samples, classes], data: Float64Array.from(rows.flat()) } },
  ],
  'cross-entropy of directions': [{ kind: 'cross-entropy' }, { normalizeFeatures: true, reduction: 'sum' }],
  mse: [{ kind: 'mse' }],
  hinge: [{ kind: 'hinge', margin: 0.7 }],
  'hinge of a negative margin': [{ kind: 'hinge', margin: -0.2 }],
  'dot regression by energies': [{ kind: 'dot-regression', prototypeEnergy: 2, featureEnergy: 3 }, { normalizeFeatures: true }],
  'dot regression by lengths': [{ kind: 'dot-regression', convention: 'lengths', prototypeLength: [1, 2, 3, 1, 0.5] }],
  'dot regression, learnable': [{ kind: 'dot-regression', prototypes: 'learnable' }, { normalizeFeatures: true }],
  'adjusted margin': [{ kind: 'adjusted-margin', gamma: 0.25, epsilon: 0.1 }, {}, { opposite: true }],
  'adjusted margin of directions': [
    { kind: 'adjusted-margin', gamma: 0.25, epsilon: 0.3 },
    { normalizeFeatures: true },
    { opposite: true, biases: false },
  ],
};

for (const [name, [loss, options = {}, how = {}]] of Object.entries(cases)) {
  for (const [Type, tolerance] of [
    [Float32Array, 1e-5],
    [Float64Array, 1e-10],
  ]) {
    test(`${name}, ${Type.name}`, () => {
      const given = state(Type, how);
      const wanted = lossAndGradientSync(loss, given, options);
      const found = ofNetwork(loss, given, options);
      const scale = Math.max(1, Math.abs(wanted.value));
      assert.ok(Math.abs(found.value - wanted.value) <= tolerance * scale, `${found.value}, expected ${wanted.value}`);
      for (const part of ['features', 'prototypes', 'biases']) {
        if (part === 'biases' && !given.biases) continue;
        const off = distance(found[part], wanted[part].data);
        assert.ok(off <= tolerance * scale, `${part} are off by ${off}`);
      }
    });
  }
}

const dot = (x, y) => x.reduce((sum, value, j) => sum + value * y[j], 0);
const row = ({ shape, data }, i) => Array.from(data.subarray(i * shape[1], (i + 1) * shape[1]));

test('LDAM: directions, margins of the own class, scale', () => {
  const given = state(Float64Array, { biases: false });
  const margins = Float64Array.of(0.1, 0.2, 0.3, 0.4, 0.5);
  const found = ofNetwork(
    { kind: 'cross-entropy' },
    given,
    { normalizeFeatures: true },
    { cosine: true, ldamMargins: margins, ldamScale: 30 },
  );
  let sum = 0;
  for (let i = 0; i < samples; i++) {
    const y = given.labels[i];
    const h = row(given.features, i);
    const z = Array.from({ length: classes }, (_, c) => {
      const w = row(given.prototypes, c);
      return 30 * (dot(h, w) / Math.sqrt(dot(h, h) * dot(w, w)) - (c === y ? margins[c] : 0));
    });
    sum += Math.log(z.reduce((total, value) => total + Math.exp(value), 0)) - z[y];
  }
  assert.ok(Math.abs(found.value - sum / samples) < 1e-10);
});

test("rescaled learning rates: the value is the loss's own, gradients are longer by the feature's norm", () => {
  const given = state(Float64Array, { biases: false });
  const loss = { kind: 'unhinged', gamma: 0.25 };
  const plain = lossAndGradientSync(loss, given, { normalizeFeatures: true });
  const found = ofNetwork(loss, given, { normalizeFeatures: true }, { rescaled: true });
  assert.ok(Math.abs(found.value - plain.value) < 1e-12);
  for (let i = 0; i < samples; i++) {
    const h = row(given.features, i);
    const wanted = row(plain.features, i).map((value) => value * Math.sqrt(dot(h, h)));
    assert.ok(distance(found.features.subarray(i * dim, (i + 1) * dim), wanted) < 1e-12);
  }
});

test('re-weighted, the mean divides by the sum of the weights', () => {
  const given = state(Float64Array);
  const loss = { kind: 'cross-entropy', classWeights: [1, 0.5, 2, 3, 0.25] };
  const plain = lossAndGradientSync(loss, given);
  const found = ofNetwork(loss, given, {}, { meanByWeights: true });
  const share = samples / given.labels.reduce((sum, label) => sum + loss.classWeights[label], 0);
  assert.ok(Math.abs(found.value - plain.value * share) < 1e-12);
  for (const part of ['features', 'prototypes', 'biases']) {
    assert.ok(
      distance(
        found[part],
        plain[part].data.map((value) => value * share),
      ) < 1e-12,
      part,
    );
  }
});

test('directions of features and prototypes at any size of a number', () => {
  for (const [Type, sizes, tolerance] of [
    [Float32Array, [1e-30, 1e-24, 1e20, 1e25], 1e-5],
    [Float64Array, [1e-200, 1e-158, 1e155, 1e200], 1e-11],
  ]) {
    const given = state(Type, { biases: false });
    const wanted = ofNetwork({ kind: 'cross-entropy' }, given, { normalizeFeatures: true }, { cosine: true });
    for (const size of sizes) {
      const of = ({ shape, data }) => ({ shape, data: data.map((value) => value * size) });
      const there = { ...given, features: of(given.features), prototypes: of(given.prototypes) };
      const found = ofNetwork({ kind: 'cross-entropy' }, there, { normalizeFeatures: true }, { cosine: true });
      assert.ok(Math.abs(found.value - wanted.value) < tolerance, `${size}: ${found.value}, expected ${wanted.value}`);
      for (const part of ['features', 'prototypes']) {
        const back = Float64Array.from(found[part], (value) => value * size);
        assert.ok(distance(back, wanted[part]) < tolerance, `${part} of ${size}`);
      }
    }
  }
});

test('dot regression balanced by the batch is class-balanced averaging of half the squared distance from 1', () => {
  const given = state(Float64Array, { biases: false });
  const loss = { kind: 'dot-regression', convention: 'lengths' };
  const found = ofNetwork(loss, given, { normalizeFeatures: true }, { balanced: true });
  const counts = new Array(classes).fill(0);
  for (const label of given.labels) counts[label]++;
  let wanted = 0;
  for (let i = 0; i < samples; i++) {
    const y = given.labels[i];
    const [h, w] = [row(given.features, i), row(given.prototypes, y)];
    const cosine = dot(h, w) / Math.sqrt(dot(h, h) * dot(w, w));
    wanted += (cosine - 1) ** 2 / 2 / counts[y] / counts.filter((count) => count > 0).length;
  }
  assert.ok(Math.abs(found.value - wanted) < 1e-12);
});

test.run();
