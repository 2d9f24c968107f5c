import { readFileSync } from 'node:fs';
import { gradientFlowSync, kernelFlow, kernelFlowSync, LayerpeelError, randomState, seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const goldenCases = (name) => JSON.parse(readFileSync(new URL(`../golden/${name}.json`, import.meta.url)));
const array = (rows, Kind = Float64Array) => ({ shape: [rows.length, rows[0].length], data: Kind.from(rows.flat()) });
const vector = (values) => ({ shape: [values.length], data: Float64Array.from(values) });
const close = (actual, expected, tolerance, message) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${message ?? ''}: ${actual} is not ${expected} within ${tolerance}`);
const largest = (a, b) => a.reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), 0);
const norm = (...arrays) => Math.hypot(...arrays.flatMap((a) => [...a]));
const stateOf = ({ features, prototypes, biases, labels }) => ({
  features: array(features),
  prototypes: array(prototypes),
  ...(biases && { biases: vector(biases) }),
  labels: Int32Array.from(labels),
});

/** B Bᵀ/rank, of a rank that may be less than its order. */
function randomKernel(order, rank, seed) {
  const b = seededRandom(seed).fillNormal(new Float64Array(order * rank));
  const rows = Array.from({ length: order }, (_, i) => b.subarray(i * rank, (i + 1) * rank));
  return array(rows.map((x) => rows.map((y) => x.reduce((sum, value, k) => sum + (value * y[k]) / rank, 0))));
}

const identity = (order) =>
  array(Array.from({ length: order }, (_, i) => Array.from({ length: order }, (_, j) => Number(i === j))));

/** `K ⊗ I_p`. */
function onCoordinates({ shape: [n], data }, p) {
  const rows = Array.from({ length: n * p }, (_, a) =>
    Array.from({ length: n * p }, (_, b) => (a % p === b % p ? data[Math.floor(a / p) * n + Math.floor(b / p)] : 0)),
  );
  return array(rows);
}

function sample({ counts = [3, 1, 4], dim = 3, seed = 1, dtype = 'float64', biased = true } = {}) {
  const state = randomState({ counts, dim, seed, dtype });
  const order = [...state.labels.keys()].sort((a, b) => ((a * 31 + seed) % 7) - ((b * 31 + seed) % 7));
  const labels = Int32Array.from(order, (i) => state.labels[i]);
  return {
    ...state,
    labels,
    ...(biased && { biases: { shape: [counts.length], data: state.features.data.slice(0, counts.length) } }),
  };
}

/** Minus the gradients of the two losses, by their definitions, one logit at a time. */
function descentDirection(loss, gamma, H, W, b, labels, n, C, p) {
  const [dH, dW, db] = [new Float64Array(n * p), new Float64Array(C * p), new Float64Array(C)];
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < C; c++) {
      let z = b[c];
      for (let d = 0; d < p; d++) z += W[c * p + d] * H[i * p + d];
      const own = c === labels[i];
      const slope = (loss === 'mse' ? -2 * (z - Number(own)) : own ? 1 : -gamma) / n;
      for (let d = 0; d < p; d++) {
        dH[i * p + d] += slope * W[c * p + d];
        dW[c * p + d] += slope * H[i * p + d];
      }
      db[c] += slope;
    }
  }
  return [dH, dW, db];
}

/** Runge-Kutta of order 4 on the whole vector, with the kernel as a dense matrix. */
function bruteForce(state, { loss, gamma, kernel, biased = true }, zeta, steps) {
  const [n, p] = state.features.shape;
  const [C] = state.prototypes.shape;
  const K = kernel.shape[0] === n * p ? kernel.data : onCoordinates(kernel, p).data;
  const sizes = [n * p, C * p, C];
  let z = Float64Array.from([...state.features.data, ...state.prototypes.data, ...(state.biases?.data ?? new Float64Array(C))]);
  const cut = (x) => [x.subarray(0, n * p), x.subarray(n * p, n * p + C * p), x.subarray(n * p + C * p)];
  const slope = (x) => {
    const [dH, dW, db] = descentDirection(loss, gamma, ...cut(x), state.labels, n, C, p);
    const moved = dH.map((_, i) => dH.reduce((sum, value, j) => sum + K[i * n * p + j] * value, 0));
    return Float64Array.from([...moved, ...dW, ...(biased ? db : db.fill(0))]);
  };
  assert.is(z.length, sizes[0] + sizes[1] + sizes[2]);
  const h = zeta / steps;
  for (let k = 0; k < steps; k++) {
    const k1 = slope(z);
    const k2 = slope(z.map((x, j) => x + (h / 2) * k1[j]));
    const k3 = slope(z.map((x, j) => x + (h / 2) * k2[j]));
    const k4 = slope(z.map((x, j) => x + h * k3[j]));
    z = z.map((x, j) => x + (h / 6) * (k1[j] + 2 * k2[j] + 2 * k3[j] + k4[j]));
  }
  const [features, prototypes, biases] = cut(z);
  return { features, prototypes, biases };
}

function measuresOf({ features: H, prototypes: W, biases: b }, labels, loss, gamma, n, C, p) {
  const logits = Array.from({ length: n }, (_, i) =>
    Array.from(
      { length: C },
      (_, c) => b[c] + Array.from({ length: p }, (_, d) => W[c * p + d] * H[i * p + d]).reduce((x, y) => x + y, 0),
    ),
  );
  const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;
  const margins = logits.map((z, i) => z[labels[i]] - Math.max(...z.filter((_, c) => c !== labels[i])));
  const losses = logits.map((z, i) =>
    z.reduce((sum, x, c) => sum + (loss === 'mse' ? (x - Number(c === labels[i])) ** 2 : c === labels[i] ? -x : gamma * x), 0),
  );
  return {
    loss: mean(losses),
    logAbsLoss: Math.log(Math.abs(mean(losses))),
    lossSign: Math.sign(mean(losses)),
    accuracy: mean(logits.map((z, i) => Number(z.indexOf(Math.max(...z)) === labels[i]))),
    minMargin: Math.min(...margins),
    meanMargin: mean(margins),
    logNorm: Math.log(norm(H, W)),
    logFeatureNorm: Math.log(norm(H)),
    logPrototypeNorm: Math.log(norm(W)),
    featureNorm: norm(H),
    prototypeNorm: norm(W),
  };
}

for (const kase of goldenCases('ntk')) {
  test(`golden: ${kase.name}`, async () => {
    const { name: loss, gamma, rate, kernel } = kase;
    const trajectory = await kernelFlow(stateOf(kase), { loss, gamma, rate, kernel: array(kernel) });
    for (const { t, features, prototypes, biases } of kase.at) {
      const state = await trajectory.at(t);
      assert.ok(largest(state.features.data, features.flat()) < 1e-12, `features at ${t}`);
      assert.ok(largest(state.prototypes.data, prototypes.flat()) < 1e-12, `prototypes at ${t}`);
      if (biases) assert.ok(largest(state.biases.data, biases) < 1e-12, `biases at ${t}`);
      assert.equal(trajectory.atSync(t), state);
    }
  });
}

test('the identity as kernel is the unconstrained flow: golden cases of equal rates', async () => {
  const cases = goldenCases('flow').filter(
    ({ rate1, rate2, lambda1, lambda2 }) => JSON.stringify(rate1) === JSON.stringify(rate2) && !lambda1 && !lambda2,
  );
  assert.ok(cases.length >= 3);
  for (const kase of cases) {
    const state = stateOf(kase);
    for (const order of [state.labels.length, state.features.data.length]) {
      const trajectory = kernelFlowSync(state, { loss: 'unhinged', gamma: kase.gamma, rate: kase.rate1, kernel: identity(order) });
      for (const { t, ...expected } of kase.at) {
        const at = await trajectory.at(t);
        for (const part of ['features', 'prototypes', 'biases']) {
          assert.ok(largest(at[part].data, expected[part].flat()) < 1e-10, `${kase.name}, ${part} at ${t}`);
        }
      }
    }
  }
});

test('the identity as kernel is gradientFlow: states, measures and limit, classes of any size', () => {
  for (const [counts, gamma] of [
    [[3, 1, 4], 0.4],
    [[2, 2, 2, 2], 0.2],
    [[2, 2, 2, 2], 1.4],
  ]) {
    const state = sample({ counts, dim: 3 });
    const rate = { kind: 'constant', value: 0.6, warmup: 2 };
    const one = kernelFlowSync(state, { loss: 'unhinged', gamma, rate, kernel: identity(8) });
    const other = gradientFlowSync(state, { gamma, rates: { features: rate, prototypes: rate } });
    for (const t of [0, 1, 7]) {
      for (const part of ['features', 'prototypes', 'biases']) {
        assert.ok(largest(one.atSync(t)[part].data, other.atSync(t)[part].data) < 1e-11, `${part} at ${t}`);
      }
    }
    const names = ['loss', 'logAbsLoss', 'accuracy', 'minMargin', 'meanMargin', 'logNorm', 'distanceToLimit'];
    const times = [0, 1, 7, 40];
    const [mine, theirs] = [one.measureSync(times, names), other.measureSync(times, names)];
    for (const name of names) {
      for (const [i, t] of times.entries()) {
        close(mine[name][i], theirs[name][i], 1e-10 * Math.max(1, Math.abs(theirs[name][i])), `${name} at ${t}`);
      }
    }
    const [end, otherEnd] = [one.limitSync(), other.limitSync()];
    assert.is(end.regime, otherEnd.regime);
    close(end.exponent, otherEnd.exponent, 1e-13);
    close(end.rate, otherEnd.rate, 1e-12);
    assert.ok(largest(end.direction.features.data, otherEnd.direction.features.data) < 1e-12);
    assert.is(end.per, otherEnd.per);
  }
});

for (const loss of ['unhinged', 'mse']) {
  test(`${loss}: states and measures agree with brute force, for both forms of kernel`, async () => {
    const options = loss === 'mse' ? { loss } : { loss, gamma: 0.4 };
    for (const [counts, dim, rank] of [
      [[3, 1, 4], 3, 20],
      [[2, 5], 1, 2],
      [[1, 2, 1, 3], 2, 3],
    ]) {
      const state = sample({ counts, dim });
      const n = state.labels.length;
      const C = counts.length;
      for (const kernel of [randomKernel(n * dim, rank, 5), randomKernel(n, Math.min(rank, n), 6)]) {
        const rate = { kind: 'cosine', value: 0.8, period: 5, warmup: 1 };
        const trajectory = kernelFlowSync(state, { ...options, kernel, rate });
        const plain = kernelFlowSync(state, { ...options, kernel, rate: 0.5 });
        for (const t of [0, 0.7, 3]) {
          // ∫ of the cosine with its warm-up, by the midpoint rule.
          const panels = 200_000;
          let zeta = 0;
          for (let k = 0; k < panels; k++) {
            const s = ((k + 0.5) * t) / panels;
            zeta += ((0.4 * (1 + Math.cos((Math.PI * s) / 5)) * Math.min(1, s)) / panels) * t;
          }
          for (const [flow, z] of [
            [trajectory, zeta],
            [plain, 0.5 * t],
          ]) {
            const expected = bruteForce(state, { ...options, kernel }, z, 400);
            const at = await flow.at(t);
            for (const part of ['features', 'prototypes', 'biases']) {
              assert.ok(
                largest(at[part].data, expected[part]) < 1e-9,
                `${part} at ${t}: ${largest(at[part].data, expected[part])}`,
              );
            }
            const named = measuresOf(expected, state.labels, loss, options.gamma, n, C, dim);
            const measured = await flow.measure([t], Object.keys(named));
            for (const [name, value] of Object.entries(named))
              close(measured[name][0], value, 1e-8 * Math.max(1, Math.abs(value)), `${name} at ${t}`);
          }
        }
      }
    }
  });

  test(`${loss}: an [n, n] kernel is that kernel on every coordinate; without biases there are none`, async () => {
    const state = sample({ biased: false });
    const kernel = randomKernel(8, 8, 3);
    const options = { ...(loss === 'unhinged' && { gamma: 0.2 }), loss, rate: 1 };
    const short = await kernelFlowSync(state, { ...options, kernel }).at(2);
    const long = await kernelFlowSync(state, { ...options, kernel: onCoordinates(kernel, 3) }).at(2);
    assert.ok(largest(short.features.data, long.features.data) < 1e-12);
    assert.ok(largest(short.prototypes.data, long.prototypes.data) < 1e-12);
    assert.is(short.biases, undefined);
    const expected = bruteForce(state, { ...options, kernel, biased: false }, 2, 2000);
    assert.ok(largest(short.features.data, expected.features) < 1e-9);
  });

  test(`${loss}: times in any order give the same numbers, synchronously too`, async () => {
    const state = sample();
    const options = { ...(loss === 'unhinged' && { gamma: 0.2 }), loss, rate: 1, kernel: randomKernel(8, 4, 3) };
    const names = ['loss', 'minMargin', 'logNorm', 'distanceToLimit'];
    const times = [3, 0, 1.5, 3, 0.2];
    const flow = kernelFlowSync(state, options);
    const columns = await flow.measure(times, names);
    for (const name of names) {
      assert.ok(largest(flow.measureSync(times, names)[name], columns[name]) < 1e-11);
      for (const [i, t] of times.entries())
        close(columns[name][i], kernelFlowSync(state, options).measureSync([t], [name])[name][0], 1e-10, name);
    }
    assert.equal(flow.measureSync([], names).loss, new Float64Array(0));
  });

  test(`${loss}: float32 in and out`, async () => {
    const state = sample({ dtype: 'float32' });
    const kernel = randomKernel(8, 8, 3);
    const options = { ...(loss === 'unhinged' && { gamma: 0.2 }), loss, rate: 1 };
    const at = await kernelFlowSync(state, { ...options, kernel: { ...kernel, data: Float32Array.from(kernel.data) } }).at(1);
    const expected = bruteForce(state, { ...options, kernel }, 1, 200);
    for (const part of ['features', 'prototypes', 'biases']) {
      assert.instance(at[part].data, Float32Array);
      assert.ok(largest(at[part].data, expected[part]) < 1e-5);
    }
  });
}

test('unhinged: at times where the norm is beyond any float', async () => {
  const state = sample();
  const trajectory = kernelFlowSync(state, { loss: 'unhinged', gamma: 0.4, rate: 0.5, kernel: randomKernel(24, 30, 5) });
  const limit = await trajectory.limit();
  const far = 8000 / limit.exponent;
  const direction = await trajectory.directionAt(far);
  close(norm(direction.features.data, direction.prototypes.data), 1, 1e-14);
  assert.ok(largest(direction.features.data, limit.direction.features.data) < 1e-12);
  assert.ok(direction.logNorm > 5000);
  const { logNorm, accuracy, logAbsLoss, loss, minMargin } = await trajectory.measure(
    [far, far + 10],
    ['logNorm', 'accuracy', 'logAbsLoss', 'loss', 'minMargin'],
  );
  close((logNorm[1] - logNorm[0]) / 10 / limit.exponent, 1, 1e-10);
  close((logAbsLoss[1] - logAbsLoss[0]) / 20 / limit.exponent, 1, 1e-10);
  assert.ok(accuracy[0] < 1 && accuracy[0] === accuracy[1], 'a kernel of no structure separates nothing in the end');
  assert.is(loss[0], Number.NEGATIVE_INFINITY);
  assert.is(minMargin[0], Number.NEGATIVE_INFINITY);
  await trajectory.at(far).then(assert.unreachable, (error) => {
    assert.instance(error, RangeError);
    assert.is(error.code, 'LP_OVERFLOW');
  });
  const times = [20, 22].map((x) => x / limit.rate);
  const { distanceToLimit } = trajectory.measureSync(times, ['distanceToLimit']);
  close(Math.log(distanceToLimit[0] / distanceToLimit[1]) / (times[1] - times[0]) / limit.rate, 1, 1e-2);
});

test('unhinged: how it ends', async () => {
  const balanced = randomState({ classes: 4, perClass: 3, dim: 5, seed: 2 });
  const end = (gamma, rate, kernel = identity(12), state = balanced) =>
    kernelFlowSync(state, { loss: 'unhinged', gamma, rate, kernel }).limitSync();
  const aligned = end(1 / 3, 0.5);
  assert.is(aligned.regime, 'aligned');
  close(aligned.exponent, (0.5 * (4 / 3)) / (4 * Math.sqrt(3)), 1e-14);
  close(aligned.rate, aligned.exponent, 1e-14, 'the common mean does not move at γ = 1/(C−1)');
  assert.is(aligned.per, 'time');
  // UL Cor. 3 with s = 1: Z̄ = (H1⁺, W1⁺), features along their prototypes.
  const { features, prototypes } = aligned.direction;
  for (let i = 0; i < 12; i++) {
    const c = balanced.labels[i];
    for (let d = 0; d < 5; d++) close(features.data[i * 5 + d] * Math.sqrt(3), prototypes.data[c * 5 + d], 1e-13);
  }
  const orthogonal = end(2, 0.5);
  assert.is(orthogonal.regime, 'orthogonal');
  close(orthogonal.exponent, (0.5 * 5) / (4 * Math.sqrt(3)), 1e-13);
  assert.is(end(0.3, 0.5, randomKernel(12, 12, 1)).regime, 'diverging');
  const still = end(0.3, 0.5, { shape: [12, 12], data: new Float64Array(144) });
  assert.is(still.regime, 'diverging');
  assert.is(still.exponent, 0);
  assert.equal(still.direction.features.data, new Float64Array(60));
  const zero = {
    ...balanced,
    features: { shape: [12, 5], data: new Float64Array(60) },
    prototypes: { shape: [4, 5], data: new Float64Array(20) },
  };
  assert.is(end(0.3, 0.5, identity(12), zero).regime, 'stationary');
  assert.is(end(0.3, 0.5, identity(12), zero).direction, undefined);

  const cosine = kernelFlowSync(balanced, {
    loss: 'unhinged',
    gamma: 0.3,
    rate: { kind: 'cosine', value: 2, period: 8 },
    kernel: identity(12),
  });
  assert.is((await cosine.limit()).regime, 'stationary');
  assert.ok(largest((await cosine.limit()).state.features.data, (await cosine.at(100)).features.data) < 1e-14);
  assert.is(end(0.3, (t) => 1 / (1 + t)).per, 'zeta');
});

test('unhinged: modes that are zero but for rounding do not grow', () => {
  const state = sample({ counts: [2, 1, 3, 2], dim: 2 });
  for (let seed = 1; seed <= 8; seed++) {
    // Of rank 1: one mode grows, and beside it three stand, so that the distance to the limit shrinks as fast as the norm grows.
    const flow = kernelFlowSync(state, { loss: 'unhinged', gamma: 0.3, rate: 1, kernel: randomKernel(8, 1, seed) });
    const { exponent, rate } = flow.limitSync();
    close(rate / exponent, 1, 1e-12, `seed ${seed}`);
  }
});

test('unhinged: where only the biases are there, they are what is measured, at any growth of the modes', () => {
  const state = sample({ counts: [2, 2, 2], dim: 2 });
  state.features.data.fill(0);
  state.prototypes.data.fill(0);
  state.biases.data.set([0.5, -1, 2]);
  const gamma = 0.3;
  const flow = kernelFlowSync(state, { loss: 'unhinged', gamma, rate: 1, kernel: identity(6) });
  // The fastest mode, (1 + γ)/(3√2), has grown by 310.
  const t = (310 * 3 * Math.sqrt(2)) / 1.3;
  const biases = [0.5, -1, 2].map((b) => b + (1.3 / 3 - 0.3) * t);
  const { loss, minMargin, meanMargin, accuracy } = flow.measureSync([t], ['loss', 'minMargin', 'meanMargin', 'accuracy']);
  const margins = [biases[0] - biases[2], biases[1] - biases[2], biases[2] - biases[0]];
  close(minMargin[0], Math.min(...margins), 1e-9, 'smallest margin');
  close(meanMargin[0], margins.reduce((a, b) => a + b) / 3, 1e-9, 'mean margin');
  close(accuracy[0], 1 / 3, 1e-15, 'accuracy');
  close(loss[0] / -((1.3 / 3 - 0.3) * biases.reduce((a, b) => a + b)), 1, 1e-9, 'loss');
});

test('mse: comes to rest, at any time however late', async () => {
  const state = sample({ counts: [4, 3, 5], dim: 4 });
  const trajectory = kernelFlowSync(state, { loss: 'mse', rate: 2, kernel: randomKernel(48, 60, 8) });
  const { loss } = await trajectory.measure([0, 1, 10, 100, 1e4, 1e12], ['loss']);
  for (let k = 1; k < loss.length; k++) assert.ok(loss[k] <= loss[k - 1]);
  assert.ok(loss.at(-1) < 1e-25);
  const limit = await trajectory.limit();
  assert.is(limit.regime, 'stationary');
  assert.ok(largest(limit.state.features.data, (await trajectory.at(1e12)).features.data) < 1e-11);
  const times = [10 / limit.rate, 14 / limit.rate];
  const { distanceToLimit } = await trajectory.measure(times, ['distanceToLimit']);
  close(Math.log(distanceToLimit[0] / distanceToLimit[1]) / (times[1] - times[0]) / limit.rate, 1, 0.05);
});

test('when: times of events', async () => {
  const state = sample();
  const trajectory = kernelFlowSync(state, { loss: 'unhinged', gamma: 0.4, rate: 0.5, kernel: randomKernel(24, 30, 5) });
  const time = await trajectory.when({ name: 'logNorm', value: 20, to: 1e4 });
  close((await trajectory.measure([time], ['logNorm'])).logNorm[0], 20, 1e-11);
  assert.is(trajectory.whenSync({ name: 'logNorm', value: 20, to: 1e4 }), time);
  const sure = trajectory.whenSync({ name: 'accuracy', value: 1, direction: 'rising', to: 1e3 });
  const { accuracy } = trajectory.measureSync([sure, sure * (1 - 1e-9)], ['accuracy']);
  assert.ok(accuracy[0] === 1 && accuracy[1] < 1);
  assert.is(trajectory.whenSync({ name: 'logNorm', value: 1e9, to: 10 }), undefined);
  const mse = kernelFlowSync(state, { loss: 'mse', rate: 0.5, kernel: randomKernel(24, 30, 5) });
  const [initial] = (await mse.measure([0], ['loss'])).loss;
  const half = await mse.when({ name: 'loss', value: initial / 2, to: 50 });
  close((await mse.measure([half], ['loss'])).loss[0], initial / 2, 1e-10);
});

test('a trajectory keeps what it was made from, until it is disposed', async () => {
  const state = sample();
  const kernel = randomKernel(8, 8, 3);
  const trajectory = kernelFlowSync(state, { loss: 'mse', rate: 1, kernel });
  kernel.data.fill(7);
  state.features.data.fill(0);
  state.labels.fill(99);
  const fresh = kernelFlowSync(sample(), { loss: 'mse', rate: 1, kernel: randomKernel(8, 8, 3) });
  assert.equal(await trajectory.at(1), await fresh.at(1));
  trajectory.dispose();
  assert.throws(() => trajectory.atSync(1), /disposed/);
});

test('an abort stops a long integration', async () => {
  const state = randomState({ classes: 10, perClass: 30, dim: 16 });
  const trajectory = kernelFlowSync(state, { loss: 'mse', rate: 1, kernel: randomKernel(300, 300, 1) });
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  await trajectory.at(1e5, { signal: controller.signal }).then(assert.unreachable, (error) => assert.is(error.code, 'LP_ABORTED'));
});

test('what is wrong is refused', async () => {
  const good = { loss: 'unhinged', gamma: 0.3, rate: 1, kernel: randomKernel(8, 8, 3) };
  const refuse = (change, code, pattern, state = sample()) =>
    assert.throws(
      () => kernelFlowSync(state, { ...good, ...change }).atSync(1),
      (error) =>
        error instanceof LayerpeelError &&
        error.code === code &&
        (pattern.test(error.message) || assert.unreachable(error.message)),
    );
  refuse({ loss: 'unhinge' }, 'LP_OPTION', /loss is "unhinge"; did you mean 'unhinged'/);
  refuse({ loss: undefined }, 'LP_OPTION', /loss is missing/);
  refuse({ gamma: undefined }, 'LP_OPTION', /gamma is missing/);
  refuse({ loss: 'mse' }, 'LP_OPTION', /gamma belongs to the unhinged loss/);
  refuse({ rate: -1 }, 'LP_OPTION', /rate\.value is -1/);
  refuse({ rate: { kind: 'cosin', value: 1, period: 2 } }, 'LP_OPTION', /did you mean 'cosine'/);
  refuse({ kernell: 1 }, 'LP_OPTION', /kernell is not known; did you mean kernel/);
  refuse({ kernel: undefined }, 'LP_SHAPE', /options\.kernel is undefined/);
  refuse({ kernel: randomKernel(9, 9, 1) }, 'LP_SHAPE', /\[9, 9\]; expected \[24, 24\], or \[8, 8\]/);
  refuse({ kernel: { shape: [8, 3], data: new Float64Array(24) } }, 'LP_SHAPE', /\[8, 3\]/);
  refuse(
    { kernel: { shape: [8, 8], data: new Float32Array(64) } },
    'LP_DTYPE',
    /features is float64 but options\.kernel is float32/,
  );

  for (const loss of ['unhinged', 'mse']) {
    const change = { loss, gamma: loss === 'mse' ? undefined : 0.3 };
    const crooked = randomKernel(8, 8, 3);
    crooked.data[3] += 0.1;
    refuse({ ...change, kernel: crooked }, 'LP_OPTION', /kernel\[3, 0\] is .* but kernel\[0, 3\] is .*; expected a symmetric/);
    const negative = identity(8);
    negative.data[18] = -0.5;
    refuse({ ...change, kernel: negative }, 'LP_OPTION', /1 negative of 8 eigenvalues, the smallest -0.5/);
    const wide = identity(24);
    wide.data[1] = wide.data[24] = 1.5;
    refuse({ ...change, kernel: wide }, 'LP_OPTION', /1 negative of 24 eigenvalues, the smallest -0.5/);
    const broken = randomKernel(8, 8, 3);
    broken.data[17] = Number.NaN;
    refuse({ ...change, kernel: broken }, 'LP_NOT_FINITE', /kernel\[2, 1\] is NaN/);
    for (const part of ['features', 'prototypes', 'biases']) {
      const state = sample();
      state[part].data[1] = Number.POSITIVE_INFINITY;
      refuse(change, 'LP_NOT_FINITE', new RegExp(`${part}\\[.*1\\] is Infinity`), state);
    }
    const huge = sample();
    huge.features.data.fill(1e200);
    if (loss === 'mse') refuse(change, 'LP_OVERFLOW', /leaves the range/, huge);
  }
  // A kernel of full rank but for rounding, and one that is zero, are kernels.
  for (const kernel of [randomKernel(24, 2, 9), { shape: [24, 24], data: new Float64Array(576) }]) {
    await kernelFlowSync(sample(), { ...good, kernel }).at(1);
  }
  const trajectory = kernelFlowSync(sample(), good);
  for (const time of [-1, Number.NaN, Number.POSITIVE_INFINITY, '3', undefined])
    assert.throws(() => trajectory.atSync(time), /time is/);
  assert.throws(() => trajectory.measureSync([1], ['distanceToAlinged']), /names\[0\]/);
});

test('kernels larger than the tiles of the factorization', () => {
  const state = randomState({ classes: 3, perClass: 50, dim: 2 });
  const kernel = randomKernel(150, 40, 4);
  kernelFlowSync(state, { loss: 'unhinged', gamma: 0.1, rate: 1, kernel }).atSync(1);
  for (const i of [3, 70, 149]) {
    const negative = { shape: [150, 150], data: kernel.data.slice() };
    negative.data[i * 151] -= 3;
    assert.throws(
      () => kernelFlowSync(state, { loss: 'unhinged', gamma: 0.1, rate: 1, kernel: negative }).atSync(1),
      /negative of 150 eigenvalues/,
    );
  }
});

test.run();
