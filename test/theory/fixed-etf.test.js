// Theorems 1 and 2 of the fixed classifier, balanced lengths; Lemma 1 and Appendix A of the unhinged loss.
import {
  balancedLengths,
  contraction,
  correctBelow,
  etfOptimum,
  lossAndGradientSync,
  projectedDescentSync,
  randomState,
  seededRandom,
  simplexETF,
  unhingedBounds,
  unhingedBoundsSync,
  unhingedMinimum,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { distance, golden, near, refuses, stateOf } from '../helpers.js';

const random = seededRandom(21);
const row = ({ data, shape }, i) => data.subarray(i * shape[1], (i + 1) * shape[1]);
const last = (iterator) => {
  let snapshot;
  for (snapshot of iterator);
  return snapshot;
};

/** Random features of a length against a simplex ETF, classes of unequal size. */
function sample(classes, dim, EW, EH) {
  const prototypes = simplexETF(classes, dim, { seed: classes, scale: Math.sqrt(EW) });
  const labels = Int32Array.from({ length: 4 * classes }, (_, i) =>
    i < classes ? i : Math.floor(random.uniform() ** 2 * classes),
  );
  const data = Float64Array.from({ length: labels.length * dim }, () => random.normal());
  for (let i = 0; i < labels.length; i++) {
    const h = data.subarray(i * dim, (i + 1) * dim);
    h.set(h.map((x) => (x * Math.sqrt(EH)) / Math.hypot(...h)));
  }
  return { prototypes, features: { shape: [labels.length, dim], data }, labels };
}

test('Theorem 1: projected descent reaches the optimum, dot regression and cross-entropy, any class sizes', () => {
  for (const [classes, dim, EW, EH] of [
    [3, 2, 1, 1],
    [5, 9, 2, 0.5],
  ]) {
    const state = sample(classes, dim, EW, EH);
    const optimum = etfOptimum(state.prototypes, state.labels, { prototypeEnergy: EW, featureEnergy: EH });
    for (const loss of [{ kind: 'dot-regression', prototypeEnergy: EW, featureEnergy: EH }, { kind: 'cross-entropy' }]) {
      const problem = {
        loss,
        state,
        reduction: 'sum',
        moves: { prototypes: false },
        constraints: { features: { kind: 'ball', radius: Math.sqrt(EH) } },
      };
      const run = last(projectedDescentSync(problem, { learningRates: { features: 0.5 * Math.sqrt(EH / EW) }, steps: 30_000 }));
      // Of dot regression the angle falls like 1/√step: its gradient is of second order in it.
      assert.ok(distance(run.state.features.data, optimum.data) < (loss.kind === 'cross-entropy' ? 1e-9 : 1e-2), loss.kind);
    }
  }
});

test('Theorem 2: a step contracts at least as bounded, and agrees with projected descent', () => {
  for (const [classes, dim, EW, EH] of [
    [3, 2, 1, 1],
    [4, 7, 1.7, 0.6],
    [10, 9, 0.3, 4],
  ]) {
    const state = sample(classes, dim, EW, EH);
    const energies = { prototypeEnergy: EW, featureEnergy: EH };
    const optimum = etfOptimum(state.prototypes, state.labels, energies);
    const dr = contraction(state, { loss: 'dot-regression', ...energies });
    assert.ok(dr.rates.every((rate) => Math.abs(rate - Math.sqrt(EH / EW)) < 1e-15));
    for (const [i, ratio] of dr.ratios.entries()) assert.ok(ratio <= dr.bounds[i] + 1e-12, `${ratio} over ${dr.bounds[i]}`);
    const problem = {
      loss: { kind: 'dot-regression', ...energies },
      state,
      reduction: 'sum',
      moves: { prototypes: false },
      constraints: { features: { kind: 'ball', radius: Math.sqrt(EH) } },
    };
    const { state: next } = last(projectedDescentSync(problem, { learningRates: { features: Math.sqrt(EH / EW) }, steps: 1 }));
    for (const i of state.labels.keys()) {
      const gap = (features) => row(features, i).reduce((sum, x, j) => sum + (x - row(optimum, i)[j]) ** 2, 0);
      near(dr.ratios[i], gap(next.features) / gap(state.features), 1e-11, 'ratio');
      const h = row(state.features, i);
      const w = row(state.prototypes, state.labels[i]);
      near(dr.cosines[i], h.reduce((sum, x, j) => sum + x * w[j], 0) / Math.hypot(...h) / Math.hypot(...w), 1e-13, 'cosine');
    }
    const ce = contraction(state, { loss: 'cross-entropy', ...energies });
    assert.ok(new Set(ce.rates).size > 1, 'another rate for each sample');
    for (const [i, y] of state.labels.entries()) {
      // γ = (K−1)/K √(E_H/E_W) (1−cos∠)/(1−p_y), and the step by ∂ℓ/∂h = Σ_c (p_c − 1{c = y}) w_c into the ball.
      const [h, w] = [row(state.features, i), Array.from({ length: classes }, (_, c) => row(state.prototypes, c))];
      const shares = w.map((each) => Math.exp(each.reduce((sum, x, j) => sum + x * h[j], 0)));
      const total = shares.reduce((sum, x) => sum + x, 0);
      const rate = (((classes - 1) / classes) * Math.sqrt(EH / EW) * (1 - dr.cosines[i])) / (1 - shares[y] / total);
      near(ce.rates[i] / rate, 1, 1e-12, 'rate of cross-entropy');
      const moved = h.map((x, j) => x - rate * w.reduce((sum, each, c) => sum + (shares[c] / total - (c === y)) * each[j], 0));
      const shrink = Math.min(1, Math.sqrt(EH) / Math.hypot(...moved));
      const gap = (from) => from.reduce((sum, x, j) => sum + (x - row(optimum, i)[j]) ** 2, 0);
      near(ce.ratios[i], gap(moved.map((x) => shrink * x)) / gap(h), 1e-10, 'ratio of cross-entropy');
    }
    const slow = contraction(state, { loss: 'cross-entropy', ...energies, rate: 1e-3 });
    assert.ok(
      slow.ratios.some((ratio, i) => ratio > slow.bounds[i]),
      'a small constant rate falls short',
    );
  }
  const kase = golden('layer-peeled').find(({ name }) => name.endsWith('dr'));
  const state = stateOf(kase);
  const { ratios } = contraction(state, { loss: 'dot-regression' });
  const optimum = etfOptimum(state.prototypes, state.labels);
  let after = 0;
  for (const i of state.labels.keys()) {
    after += ratios[i] * row(state.features, i).reduce((sum, x, j) => sum + (x - row(optimum, i)[j]) ** 2, 0);
  }
  near(Math.sqrt(after), kase.at[0].distance, 1e-12, 'golden distance after a step');
});

test('a sample is on its side below the value at which it lies between its own prototype and another', () => {
  for (const [classes, gamma] of [
    [3, 0.4],
    [5, 0.1],
    [10, 0],
  ]) {
    const { data } = simplexETF(classes, 12, { seed: 3 });
    const w = Array.from({ length: classes }, (_, c) => data.subarray(12 * c, 12 * c + 12));
    const middle = w[0].map((x, j) => x + w[1][j]);
    const z = w.map((each) => each.reduce((sum, x, j) => sum + x * middle[j], 0) / Math.hypot(...middle));
    near(z[0], z[1], 1e-14, 'a tie');
    const value = -z[0] + gamma * z.slice(1).reduce((sum, x) => sum + x, 0);
    near(correctBelow(classes, gamma), value, 1e-14, `${classes} classes`);
  }
});

test('the minimum of Lemma 1 holds up to γ = 2/(C−2), the end included', async () => {
  near(unhingedMinimum(5, { gamma: 2 / 3, prototypeNorm: 2, featureNorm: 0.5 }), -5 / 3, 1e-15, 'at the end');
  await refuses('LP_OPTION', /at most 2\/\(C−2\)/, () => unhingedMinimum(5, { gamma: 0.67 }));
  near(unhingedMinimum(2, { gamma: 30 }), -31, 1e-15, 'two classes have no end');
});

test('balanced lengths, by both conventions', async () => {
  assert.equal(balancedLengths([10, 30, 20]), Float64Array.of(2, 2 / 3, 1));
  const released = balancedLengths([2, 0, 6], { convention: 'released' });
  near(released[0], Math.sqrt(4 / 2), 1e-15, 'released');
  assert.is(released[1], 1);
  near(released[2], Math.sqrt(4 / 6), 1e-15, 'released');
  await refuses('LP_BALANCE', /Class 1 has no samples/, () => balancedLengths([1, 0]));
  await refuses('LP_OPTION', /counts\[0\] is -1/, () => balancedLengths([-1, 2]));
});

test('Lemma 1: no state within the bounds has a smaller loss, and collapse attains it', async () => {
  for (const [classes, dim, gamma] of [
    [2, 1, 3],
    [4, 5, 0.4],
    [6, 5, 0.2],
  ]) {
    const least = unhingedMinimum(classes, { gamma, prototypeNorm: 1.5, featureNorm: 0.7 });
    near(least, -(1 + gamma) * 1.05, 1e-15, 'minimum');
    const prototypes = simplexETF(classes, dim, { scale: 1.5 });
    const labels = Int32Array.from({ length: 3 * classes }, (_, i) => i % classes);
    const features = etfOptimum(prototypes, labels, { prototypeEnergy: 1.5 ** 2, featureEnergy: 0.7 ** 2 });
    near(lossAndGradientSync({ kind: 'unhinged', gamma }, { features, prototypes, labels }).value, least, 1e-13, 'at collapse');
    const state = randomState({ classes, perClass: 3, dim, seed: dim });
    const problem = {
      loss: { kind: 'unhinged', gamma },
      state,
      constraints: { features: { kind: 'ball', radius: 0.7 }, prototypes: { kind: 'ball', radius: 1.5 } },
    };
    const names = ['loss'];
    const run = last(
      projectedDescentSync(problem, { learningRates: { features: 5, prototypes: 0.5 }, steps: 4000, measure: { names } }),
    );
    assert.ok(run.measures.loss.every((loss) => loss >= least - 1e-12));
    near(run.measures.loss.at(-1), least, 1e-6, 'reached from a random start');
  }
  await refuses('LP_OPTION', /at most 2\/\(C−2\) = 1/, () => unhingedMinimum(4, { gamma: 1.5 }));
});

test('Appendix A: upper bounds hold, and the threshold makes a sample correct', async () => {
  for (const gamma of [0, 0.1, 1, 3]) {
    const state = randomState({ classes: 7, perClass: 30, dim: 4, seed: gamma * 10 });
    state.biases = { shape: [7], data: Float64Array.from({ length: 7 }, () => 3 * random.normal()) };
    const bounds = unhingedBoundsSync(state, { gamma });
    assert.equal(await unhingedBounds(state, { gamma }), bounds);
    assert.ok(bounds.holds);
    const { value } = lossAndGradientSync({ kind: 'unhinged', gamma }, state);
    near(bounds.values.reduce((sum, x) => sum + x, 0) / 210, value, 1e-12, 'values');
    const { value: entropy } = lossAndGradientSync({ kind: 'cross-entropy' }, state);
    if (gamma === 0) continue;
    const at = unhingedBoundsSync(state, { gamma: 1 / 6 });
    near(at.crossEntropy.reduce((sum, x) => sum + x, 0) / 210, entropy, 1e-12, 'cross-entropy');
  }
  for (const classes of [2, 3, 5, 10]) {
    const prototypes = simplexETF(classes, 12, { seed: 1 });
    const gamma = 0.3;
    let seen = 0;
    for (let run = 0; run < 3000; run++) {
      const y = run % classes;
      const w = row(prototypes, y);
      const h = Float64Array.from(w, (x) => x + 0.25 * random.normal());
      const norm = Math.hypot(...h);
      const z = Array.from({ length: classes }, (_, c) => row(prototypes, c).reduce((sum, x, j) => sum + (x * h[j]) / norm, 0));
      const value = -z[y] + gamma * (z.reduce((sum, x) => sum + x, 0) - z[y]);
      if (value >= correctBelow(classes, gamma)) continue;
      seen++;
      assert.ok(z.every((x, c) => c === y || x < z[y]));
    }
    assert.ok(seen > 100);
  }
});

test('the length of the frame is read from it, in both functions; several lengths and another one are refused', async () => {
  const labels = Int32Array.of(0, 1, 2, 3, 3);
  for (const scale of [2, 1e-3]) {
    const prototypes = simplexETF(4, 5, { scale });
    const { data } = etfOptimum(prototypes, labels, { featureEnergy: 9 });
    for (let i = 0; i < labels.length; i++) near(Math.hypot(...data.subarray(5 * i, 5 * i + 5)), 3, 1e-12, 'length of the optimum');
    const { features } = randomState({ counts: [1, 1, 1, 2], dim: 5, scale: 0.1 });
    const { ratios, bounds, rates } = contraction({ features, prototypes, labels }, { loss: 'dot-regression' });
    for (const [i, ratio] of ratios.entries()) {
      assert.ok(ratio <= bounds[i] + 1e-12);
      near(rates[i] * scale, 1, 1e-12, 'rate');
    }
    await refuses('LP_OPTION', /squared length of these prototypes/, () => etfOptimum(prototypes, labels, { prototypeEnergy: 1 }));
  }
  const uneven = { shape: [2, 2], data: Float64Array.of(1, 0, 0, 2) };
  await refuses('LP_OPTION', /from 1 to 4/, () => etfOptimum(uneven, Int32Array.of(0, 1)));
});

test.run();
