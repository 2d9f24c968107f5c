// The gradient by class: finite differences of plain loops over a class's samples and over the others', the formulas of
// cross-entropy, bounds, scales, and what is refused.
import {
  balancedLengths,
  gradientShares,
  gradientSharesSync,
  lossAndGradientSync,
  randomState,
  seededRandom,
  simplexETF,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { distance, near, refuses, shuffle } from '../helpers.js';
import { randomTargets, value } from './plain.js';

const random = seededRandom(11);
const normal = (size) => Float64Array.from({ length: size }, () => random.normal());

/** Class 1 has no sample where there are more than two. */
function sample(n, classes, p) {
  const labels = Int32Array.from({ length: n }, () => Math.floor(random.uniform() * classes));
  return {
    features: { shape: [n, p], data: normal(n * p) },
    prototypes: { shape: [classes, p], data: normal(classes * p) },
    biases: { shape: [classes], data: normal(classes) },
    labels: classes > 2 ? labels.map((label) => (label === 1 ? 0 : label)) : labels,
  };
}

const rows = ({ shape: [, columns], data }, chosen) => ({
  shape: [chosen.length, columns],
  data: Float64Array.from(chosen.flatMap((i) => Array.from(data.subarray(i * columns, (i + 1) * columns)))),
});

/** The samples that are chosen, and the loss with their soft labels. */
function part(loss, state, chosen) {
  const own = {
    ...state,
    features: rows(state.features, chosen),
    labels: Int32Array.from(chosen, (i) => state.labels[i]),
  };
  return [loss.softLabels ? { ...loss, softLabels: rows(loss.softLabels, chosen) } : loss, own];
}

/** Central differences by every entry of an array. */
function differences(data, of) {
  const h = 1e-6;
  return data.map((kept, at) => {
    const [up, down] = [kept + h, kept - h].map((moved) => {
      data[at] = moved;
      return of();
    });
    data[at] = kept;
    return (up - down) / (2 * h);
  });
}

const length = (data) => Math.hypot(...data);

const softLabels = (n, classes) => randomTargets(n, classes, random);

test('pull is the gradient by the own samples, push that by all others, backbone the lengths of the gradients by features', () => {
  for (const [n, classes, p] of [
    [1, 2, 1],
    [9, 4, 3],
    [11, 5, 2],
  ]) {
    const perClass = Array.from({ length: classes }, (_, c) => 0.5 + c / 3);
    for (const loss of [
      { kind: 'unhinged', gamma: 0.2 },
      { kind: 'cross-entropy', classWeights: perClass },
      { kind: 'cross-entropy', labelSmoothing: 0.1 },
      { kind: 'cross-entropy', softLabels: softLabels(n, classes) },
      { kind: 'mse' },
      { kind: 'hinge', margin: 0.6 },
      { kind: 'dot-regression', prototypes: 'learnable', prototypeEnergy: perClass, featureEnergy: 1.7 },
    ]) {
      for (const options of [
        {},
        { reduction: 'sum', regularization: { weight: 0.3 } },
        { normalizeFeatures: true, regularization: { weight: 0.3, normalization: 'mean' } },
        { normalizeFeatures: true, reduction: 'sum', regularization: { weight: 0.2, normalization: 'half-mean' } },
      ]) {
        const state = sample(n, classes, p);
        const what = `${loss.kind} ${JSON.stringify(options)}`;
        const found = gradientSharesSync(loss, state, options);
        const mean = options.reduction === 'sum' ? 1 : n;
        for (let k = 0; k < classes; k++) {
          const w = state.prototypes.data.subarray(k * p, (k + 1) * p);
          const wanted = [(label) => label === k, (label) => label !== k].map((belongs) => {
            const chosen = Array.from(state.labels.keys()).filter((i) => belongs(state.labels[i]));
            if (chosen.length === 0) return new Float64Array(p);
            const [own, samples] = part(loss, state, chosen);
            return differences(w, () => value(own, samples, { ...options, reduction: 'sum', regularization: undefined }) / mean);
          });
          for (const [name, expected] of [
            ['pull', wanted[0]],
            ['push', wanted[1]],
          ]) {
            assert.ok(distance(found[name].data.subarray(k * p, (k + 1) * p), expected) < 1e-7, `${what}: ${name} of ${k}`);
            near(found[`${name}Norms`][k], length(expected), 1e-7, `${what}: length of the ${name} of ${k}`);
          }
          const lengths = wanted.map(length);
          if (lengths[0] + lengths[1] > 1e-3) {
            near(found.pullShares[k], lengths[0] / (lengths[0] + lengths[1]), 1e-5, `${what}: share of ${k}`);
          }
        }
        const byFeatures = differences(state.features.data, () => value(loss, state, options));
        const backbone = new Float64Array(classes);
        for (const [i, label] of state.labels.entries()) backbone[label] += length(byFeatures.subarray(i * p, (i + 1) * p));
        assert.ok(distance(found.backbone, backbone) < 1e-6, `${what}: backbone`);
        assert.equal(
          Array.from(found.counts),
          perClass.map((_, k) => state.labels.filter((label) => label === k).length),
        );
      }
    }
  }
});

test('of cross-entropy: features pull by 1 − p and push by p', () => {
  const [n, classes, p] = [12, 3, 4];
  const state = sample(n, classes, p);
  const { pull, push, pullNorms, pullShares } = gradientSharesSync({ kind: 'cross-entropy' }, state);
  const expected = { pull: new Float64Array(classes * p), push: new Float64Array(classes * p) };
  for (let i = 0; i < n; i++) {
    const h = state.features.data.subarray(i * p, (i + 1) * p);
    const logits = Array.from(
      { length: classes },
      (_, c) => h.reduce((sum, x, j) => sum + x * state.prototypes.data[c * p + j], 0) + state.biases.data[c],
    );
    const sum = logits.reduce((total, z) => total + Math.exp(z), 0);
    for (let k = 0; k < classes; k++) {
      const probability = Math.exp(logits[k]) / sum;
      const [into, factor] = state.labels[i] === k ? [expected.pull, probability - 1] : [expected.push, probability];
      for (let j = 0; j < p; j++) into[k * p + j] += (factor * h[j]) / n;
    }
  }
  assert.ok(distance(pull.data, expected.pull) < 1e-14);
  assert.ok(distance(push.data, expected.push) < 1e-14);
  // Nobody pulls the prototype of the class without samples.
  assert.is(pullNorms[1], 0);
  assert.is(pullShares[1], 0);
});

test('both add up to the gradient, of every loss, in any order of samples, in either dtype', async () => {
  for (const dtype of ['float32', 'float64']) {
    const state = randomState({ counts: [40, 1, 13, 7], dim: 19, dtype });
    shuffle(state.labels, 3);
    for (const loss of [
      { kind: 'unhinged', gamma: 0.3 },
      { kind: 'cross-entropy' },
      { kind: 'mse' },
      { kind: 'hinge' },
      { kind: 'dot-regression', convention: 'lengths', prototypes: 'learnable' },
      { kind: 'adjusted-margin', gamma: 0.3, epsilon: 0.9 },
    ]) {
      const found = await gradientShares(loss, state);
      assert.equal(gradientSharesSync(loss, state), found);
      const { prototypes } = lossAndGradientSync(loss, state);
      const sum = found.pull.data.map((x, i) => x + found.push.data[i]);
      const size = prototypes.data.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
      assert.ok(distance(sum, Float64Array.from(prototypes.data)) < size * (dtype === 'float32' ? 1e-5 : 1e-13), loss.kind);
    }
  }
});

test('a fixed classifier has neither; a class moves the backbone by no more than 2 n_k √E_W/N, which lengths make 2/K', () => {
  const counts = [60, 20, 3];
  const prototypes = simplexETF(3, 5);
  const { features, labels } = randomState({ counts, dim: 5 });
  const bounds = counts.map((count) => (2 * count) / 83);
  const lengths = balancedLengths(counts);
  for (const [prototypeEnergy, most] of [
    [1, bounds],
    [lengths.map((each) => each ** 2), bounds.map((bound, k) => bound * lengths[k])],
  ]) {
    // Features opposite their prototype, as close to the bound as they come.
    const data = features.data.map((x, at) => 1e-3 * x - prototypes.data[5 * labels[Math.floor(at / 5)] + (at % 5)]);
    const unit = data.map((x, at) => x / length(data.subarray(at - (at % 5), at - (at % 5) + 5)));
    const found = gradientSharesSync(
      { kind: 'dot-regression', prototypeEnergy },
      { features: { shape: features.shape, data: unit }, prototypes, labels },
    );
    assert.ok([...found.pullNorms, ...found.pushNorms].every((x) => x === 0));
    assert.ok(found.pullShares.every(Number.isNaN));
    for (const [k, x] of found.backbone.entries()) {
      assert.ok(x <= most[k] * (1 + 1e-12) && x > 0.99 * most[k], `${x} against ${most[k]}`);
    }
    if (prototypeEnergy !== 1) for (const bound of most) near(bound, 2 / 3, 1e-12, 'balanced');
  }
});

test('powers of two of features and prototypes are powers of two of the result', () => {
  const scaled = ({ shape, data }, exponent) => ({ shape, data: data.map((x) => x * 2 ** exponent) });
  const state = sample(10, 4, 3);
  delete state.biases;
  for (const [loss, up, down, factor, backboneFactor] of [
    [{ kind: 'unhinged', gamma: 0.4 }, 500, 500, 500, 500],
    [{ kind: 'unhinged', gamma: 0.4 }, -500, -500, -500, -500],
    [{ kind: 'cross-entropy' }, 500, -500, 500, -500],
    [{ kind: 'cross-entropy' }, -500, 500, -500, 500],
    [{ kind: 'mse' }, -500, 500, -500, 500],
  ]) {
    const plain = gradientSharesSync(loss, state);
    const moved = gradientSharesSync(loss, {
      ...state,
      features: scaled(state.features, up),
      prototypes: scaled(state.prototypes, down),
    });
    for (const name of ['pullNorms', 'pushNorms']) {
      for (const [k, x] of moved[name].entries())
        near(x / 2 ** factor, plain[name][k], 1e-14 * (1 + plain[name][k]), `${loss.kind} ${name}`);
    }
    for (const [k, x] of moved.backbone.entries()) near(x / 2 ** backboneFactor, plain.backbone[k], 1e-14, `${loss.kind} backbone`);
    for (const [k, x] of moved.pullShares.entries()) near(x, plain.pullShares[k], 1e-14, `${loss.kind} share`);
  }
});

test('arrays are taken as they are when it is called; it tells how far it is and stops', async () => {
  const state = randomState({ classes: 5, perClass: 50, dim: 7 });
  const expected = gradientSharesSync({ kind: 'cross-entropy' }, state);
  const heard = [];
  const running = gradientShares({ kind: 'cross-entropy' }, state, { onProgress: (share) => heard.push(share) });
  state.features.data.fill(Number.NaN);
  state.prototypes.data.fill(Number.NaN);
  state.labels.fill(0);
  assert.equal(await running, expected);
  assert.equal(heard, [0.2, 0.4, 0.6, 0.8, 1]);
  const stop = new AbortController();
  await refuses('LP_ABORTED', /AbortSignal/, () =>
    gradientShares({ kind: 'mse' }, randomState({ classes: 5, perClass: 50, dim: 7 }), {
      signal: stop.signal,
      onProgress: () => stop.abort(),
    }),
  );
});

test('what is wrong is told of the whole state', async () => {
  const state = sample(12, 3, 2);
  const loss = { kind: 'cross-entropy' };
  await refuses('LP_OPTION', /loss\.kind/, () => gradientSharesSync({ kind: 'none' }, state));
  await refuses('LP_OPTION', /options\.out/, () => gradientSharesSync(loss, state, { out: state }));
  await refuses('LP_SHAPE', /features/, () => gradientSharesSync(loss, { ...state, features: state.biases }));
  const last = state.labels.lastIndexOf(2);
  state.features.data.fill(0, 2 * last, 2 * last + 2);
  await refuses('LP_OPTION', new RegExp(`\\b${last}\\b`), () => gradientSharesSync(loss, state, { normalizeFeatures: true }));
  state.features.data[2 * last + 1] = Number.NaN;
  await refuses('LP_NOT_FINITE', new RegExp(`\\b${2 * last + 1}\\b|\\[${last}, 1\\]`), () => gradientShares(loss, state));
  state.features.data[2 * last + 1] = 1e300;
  state.prototypes.data.fill(1e300);
  await refuses('LP_OVERFLOW', /./, () => gradientShares(loss, state));
});

test.run();
