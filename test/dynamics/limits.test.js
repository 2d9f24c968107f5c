// Limits: exponents, rates and directions of UL Cors. 3 and 5 (corrected) from their formulas, and of everything else
// against the trajectory itself at large times.
import fc from 'fast-check';
import {
  anchoredFlowSync,
  gradientDescentSync,
  gradientFlow,
  gradientFlowSync,
  randomState,
  spectralProjectionsSync,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { distance, refuses, shuffle } from '../helpers.js';
import { gradient, model, norm } from './reference.js';

const sides = (features, prototypes) => ({ features, prototypes });
const near = (actual, expected, tolerance = 1e-12) =>
  actual === expected ||
  assert.ok(Math.abs(actual - expected) <= tolerance * Math.max(Math.abs(expected), 1e-300), `${actual} is not ${expected}`);

const flat = ({ features, prototypes }) => Float64Array.of(...features.data, ...prototypes.data);
const unit = (x) => {
  const length = norm(x);
  return x.map((value) => value / length);
};
const apart = (x, y) => norm(x.map((value, i) => value - y[i]));

function state({ classes, perClass, dim, seed = 1 }) {
  const made = randomState({ classes, perClass, dim, seed });
  shuffle(made.labels, seed);
  return made;
}

test('UL Fig. 1: growth and convergence for every γ of the paper', () => {
  const [classes, perClass, eta] = [100, 10, 0.1];
  const start = state({ classes, perClass, dim: 3 });
  const unitRate = eta / (classes * Math.sqrt(perClass));
  for (const gamma of [0.001, 0.005, 1 / (classes - 1)]) {
    const limit = gradientFlowSync(start, { gamma, rates: sides(eta, eta) }).limitSync();
    assert.is(limit.regime, 'aligned');
    assert.is(limit.per, 'time');
    near(limit.exponent, (1 + gamma) * unitRate);
    near(limit.rate, -Math.max(-gamma * classes, (classes - 2) * gamma - 2) * unitRate, 1e-9);
    assert.match(limit.statement, /Cor\. 3/);
  }
  const orthogonal = gradientFlowSync(start, { gamma: 0.05, rates: sides(eta, eta) }).limitSync();
  assert.is(orthogonal.regime, 'orthogonal');
  near(orthogonal.exponent, 3.95 * Math.sqrt(10) * 1e-4, 1e-12);
  near(orthogonal.rate, (3.95 - 1.05) * unitRate, 1e-10);
  const descent = gradientDescentSync(start, { gamma: 0.05, learningRates: sides(eta, eta) });
  near(descent.limitSync().exponent, Math.log1p(3.95 * unitRate));
  near(descent.measureSync([50_000], ['distanceToAligned']).distanceToAligned[0], Math.SQRT2, 1e-9);
  const end = gradientFlowSync(start, { gamma: 0, rates: sides(eta, eta) });
  assert.is(end.limitSync().regime, 'mixed');
  assert.is(gradientFlowSync(start, { gamma: 2 / 98, rates: sides(eta, eta) }).limitSync().regime, 'mixed');
});

/** `Σ coefficients · parts`, on features and prototypes. */
const combine = (plus, minus, [hPlus, hMinus, wPlus, wMinus]) =>
  Float64Array.of(
    ...plus.features.data.map((x, i) => hPlus * x + hMinus * minus.features.data[i]),
    ...plus.prototypes.data.map((x, i) => wPlus * x + wMinus * minus.prototypes.data[i]),
  );

test('the direction of UL Cor. 3 for unequal rates', () => {
  const start = state({ classes: 4, perClass: 3, dim: 5 });
  const { plus1, minus1 } = spectralProjectionsSync(start);
  for (const s of [0.01, 0.25, 1, 9]) {
    const root = Math.sqrt(s);
    const expected = combine(plus1, minus1, [(1 + root) / 2, (1 - root) / 2, (1 + root) / 2 / root, -(1 - root) / 2 / root]);
    const limit = gradientFlowSync(start, { gamma: 0.2, rates: sides(0.5 * s, 0.5) }).limitSync();
    assert.is(limit.regime, 'aligned');
    near(limit.exponent, (1.2 * 0.5 * root) / (4 * Math.sqrt(3)));
    assert.ok(distance(flat(limit.direction), unit(expected)) < 1e-14);
  }
});

test('the three cases of UL Cor. 5', () => {
  const [classes, perClass, gamma] = [4, 3, 0.2];
  const start = state({ classes, perClass, dim: 5 });
  const { plus1, minus1 } = spectralProjectionsSync(start);
  const sigma = (1 + gamma) / (classes * Math.sqrt(perClass));
  for (const [lambda, regime] of [
    [0.4 * sigma, 'diverging'],
    [sigma, 'stationary'],
    [1.5 * sigma, 'vanishing'],
  ]) {
    for (const s of [0.3, 1, 4]) {
      const [rate1, rate2] = [0.6 * s, 0.6];
      const root = Math.sqrt(lambda ** 2 * (s - 1) ** 2 + 4 * s * sigma ** 2);
      const [plus, minus] = [(-lambda * (s + 1) + root) / 2, (-lambda * (s + 1) - root) / 2];
      const pi = [
        (s * sigma - s * lambda - minus) / (plus - minus),
        (-s * sigma - s * lambda - minus) / (plus - minus),
        (s * lambda + plus + sigma) / (plus - minus),
        (s * lambda + plus - sigma) / (plus - minus),
      ];
      const trajectory = gradientFlowSync(start, { gamma, rates: sides(rate1, rate2), weightDecay: lambda });
      const limit = trajectory.limitSync();
      assert.is(limit.regime, regime);
      assert.ok(Math.abs(limit.exponent - plus * rate2) < 1e-15);
      assert.ok(distance(flat(limit.direction), unit(combine(plus1, minus1, pi))) < 1e-14);
      assert.is(limit.state !== undefined, regime === 'stationary');
      if (regime === 'stationary') {
        const share = (1 - s) / (1 + s);
        assert.ok(distance(flat(limit.state), combine(plus1, minus1, [1, share, 1, -share])) < 1e-14);
        assert.is(limit.exponent, 0);
        assert.ok(distance(flat(trajectory.atSync(4000)), flat(limit.state)) < 1e-12);
      }
    }
  }
});

test('limits are where trajectories go, at the rates they say', () => {
  const decay = fc.constantFrom(0, 0.02, 0.3);
  const gammas = fc.constantFrom(0.03, 0.3, 1.4);
  fc.assert(
    fc.property(
      fc.nat(),
      fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 5 }),
      gammas,
      decay,
      decay,
      fc.constantFrom('flow', 'descent', 'heavy ball', 'nesterov', 'milestones', 'integrated', 'stepped'),
      (seed, counts, gamma, features, prototypes, kind) => {
        const start = randomState({ counts, dim: 4, seed });
        shuffle(start.labels, seed);
        const weightDecay = sides(features, prototypes);
        const descent = { gamma, learningRates: sides(0.3, 0.4), weightDecay };
        const schedule = { kind: 'steps', milestones: [3, 20], factor: 0.5, warmup: 5 };
        const made = {
          flow: () => gradientFlowSync(start, { gamma, rates: sides(0.3, 0.4), weightDecay }),
          descent: () => gradientDescentSync(start, descent),
          'heavy ball': () => gradientDescentSync(start, { ...descent, momentum: 0.8 }),
          nesterov: () => gradientDescentSync(start, { ...descent, momentum: 0.8, nesterov: true }),
          milestones: () => gradientDescentSync(start, { ...descent, momentum: 0.5, schedule }),
          stepped: () => gradientDescentSync(start, { ...descent, learningRates: sides({ ...schedule, value: 0.3 }, 0.4) }),
          integrated: () =>
            gradientFlowSync(start, {
              gamma,
              rates: sides({ ...schedule, value: 0.3 }, { kind: 'constant', value: 0.4, warmup: 8 }),
              weightDecay,
            }),
        }[kind]();
        const limit = made.limitSync();
        const name = `${kind} ${limit.regime} ${limit.rate}`;
        if (limit.regime === 'oscillating') return assert.is(limit.direction, undefined);
        near(norm(flat(limit.direction)), 1, 1e-12);
        if (limit.rate === Infinity || limit.rate < 1e-4) return;
        const time = Math.ceil(60 / limit.rate) + 100;
        const { distanceToLimit, logNorm } = made.measureSync([time, 2 * time], ['distanceToLimit', 'logNorm']);
        assert.ok(distanceToLimit[0] < 1e-6, `${name}: ${distanceToLimit[0]}`);
        assert.ok(apart(flat(made.directionAtSync(time)), flat(limit.direction)) < 1e-6, name);
        near((logNorm[1] - logNorm[0]) / time, limit.exponent, 1e-6);
        const slope = Math.log(distanceToLimit[1] / distanceToLimit[0]) / time;
        // Complex or equal next exponents make the distance wiggle or carry a power of t.
        if (distanceToLimit[1] > 0) assert.ok(Math.abs(slope + limit.rate) < 0.1 * limit.rate, `${name}: ${slope}`);
        return undefined;
      },
    ),
    { numRuns: 300 },
  );
});

test('distances equal those of the directions themselves', () => {
  const start = state({ classes: 3, perClass: 4, dim: 6, seed: 8 });
  const { plus1 } = spectralProjectionsSync(start);
  for (const trajectory of [
    gradientFlowSync(start, { gamma: 0.4, rates: sides(0.5, 0.5) }),
    gradientFlowSync(start, { gamma: 2.5, rates: sides(0.5, 0.5), weightDecay: 0.01 }),
    gradientFlowSync(start, { gamma: 0, rates: sides(0.5, 0.5) }),
    gradientDescentSync(start, { gamma: 2.5, learningRates: sides(0.5, 0.5), momentum: 0.5 }),
    gradientDescentSync(start, { gamma: 0.4, learningRates: sides(0.5, 0.5), schedule: { kind: 'cosine', period: 90 } }),
  ]) {
    const limit = flat(trajectory.limitSync().direction);
    const aligned = unit(flat(plus1));
    const times = [0, 3, 10, 60, 200];
    const { distanceToLimit, distanceToAligned } = trajectory.measureSync(times, ['distanceToLimit', 'distanceToAligned']);
    for (const [i, time] of times.entries()) {
      const direction = flat(trajectory.directionAtSync(time));
      assert.ok(Math.abs(distanceToLimit[i] - apart(direction, limit)) < 1e-14);
      assert.ok(Math.abs(distanceToAligned[i] - apart(direction, aligned)) < 1e-14);
    }
  }
});

test('only what the start has can win', () => {
  const [classes, perClass, gamma] = [5, 2, 1.5];
  const parts = spectralProjectionsSync(state({ classes, perClass, dim: 4 }));
  const { labels } = state({ classes, perClass, dim: 4 });
  const limitOf = (part, more) => {
    const trajectory = gradientFlowSync({ ...part, labels }, { gamma, rates: sides(1, 1), ...more });
    return { trajectory, limit: trajectory.limitSync() };
  };
  // γ > 2/(C−2), but there is no common mean beyond rounding.
  const { trajectory, limit } = limitOf(parts.plus1);
  assert.is(limit.regime, 'aligned');
  assert.is(limit.rate, Infinity);
  assert.ok(trajectory.measureSync([1e4], ['distanceToLimit']).distanceToLimit[0] < 1e-14);
  // Features opposite their prototypes shrink for ever.
  const opposite = limitOf(parts.minus1);
  assert.is(opposite.limit.regime, 'vanishing');
  near(opposite.limit.exponent, -(1 + gamma) / (classes * Math.sqrt(perClass)));
  near(
    opposite.trajectory.measureSync([1e4], ['logNorm']).logNorm[0] - Math.log(norm(flat(parts.minus1))),
    1e4 * opposite.limit.exponent,
  );
  const rest = limitOf(parts.rest);
  assert.is(rest.limit.regime, 'stationary');
  assert.ok(distance(flat(rest.limit.state), flat(parts.rest)) < 1e-15);
  near(limitOf(parts.rest, { weightDecay: 0.3 }).limit.exponent, -0.3);
  const zero = limitOf({
    features: { shape: [10, 4], data: new Float64Array(40) },
    prototypes: { shape: [5, 4], data: new Float64Array(20) },
  });
  assert.is(zero.limit.regime, 'stationary');
  assert.is(zero.limit.direction, undefined);
  assert.equal(zero.trajectory.measureSync([3], ['logNorm', 'loss']), {
    logNorm: Float64Array.of(-Infinity),
    loss: Float64Array.of(0),
  });
});

test('prototypes fixed: UL Thm 6', () => {
  const start = state({ classes: 4, perClass: 3, dim: 5 });
  const pull = gradient(model(start, 0.2), { features: start.features.data, prototypes: start.prototypes.data }).features.map(
    (x) => -x,
  );
  const decayed = anchoredFlowSync(start, { gamma: 0.2, rate: 0.5, weightDecay: 0.3 }).limitSync();
  assert.is(decayed.regime, 'stationary');
  near(decayed.rate, 0.15);
  assert.ok(
    distance(
      decayed.state.features.data,
      pull.map((x) => x / 0.3),
    ) < 1e-13,
  );
  assert.ok(distance(decayed.state.prototypes.data, start.prototypes.data) < 1e-15);
  const free = anchoredFlowSync(start, { gamma: 0.2, rate: 0.5 });
  const limit = free.limitSync();
  assert.is(limit.regime, 'diverging');
  assert.is(limit.exponent, 0);
  assert.is(limit.rate, 0);
  assert.ok(distance(limit.direction.features.data, unit(pull)) < 1e-14);
  const { distanceToLimit } = free.measureSync([1e6, 1e7], ['distanceToLimit']);
  near(distanceToLimit[0] / distanceToLimit[1], 10, 1e-4);
});

test('rates of finite integral: the state reached', async () => {
  const start = state({ classes: 3, perClass: 2, dim: 4 });
  const biases = { shape: [3], data: Float64Array.of(1, -2, 0.5) };
  for (const [rate, end, fading] of [
    [{ kind: 'cosine', value: 0.7, period: 6 }, 6, Infinity],
    [{ kind: 'exponential', value: 0.7, timescale: 2 }, 200, 0.5],
    [{ kind: 'steps', value: 0.7, milestones: [2, 5], factor: 0 }, 2, Infinity],
  ]) {
    for (const rates of [sides(rate, rate), sides(rate, { kind: 'exponential', value: 0.3, timescale: 2.5 })]) {
      const trajectory = await gradientFlow({ ...start, biases }, { gamma: 0.2, rates, weightDecay: 0.1 });
      const limit = await trajectory.limit();
      assert.is(limit.regime, 'stationary');
      assert.is(limit.exponent, 0);
      if (rates.features === rates.prototypes) near(limit.rate, fading, 1e-3);
      const last = trajectory.atSync(Math.max(end, 300));
      assert.ok(distance(flat(limit.state), flat(last)) < 1e-13);
      assert.ok(distance(limit.state.biases.data, last.biases.data) < 1e-13);
      assert.ok(trajectory.measureSync([300], ['distanceToLimit']).distanceToLimit[0] < 1e-14);
    }
  }
  const steps = gradientDescentSync(start, {
    gamma: 0.2,
    learningRates: sides(0.5, 0.5),
    momentum: 0.9,
    schedule: { kind: 'exponential', timescale: 7 },
  });
  assert.ok(distance(flat(steps.limitSync().state), flat(steps.atSync(2000))) < 1e-13);
});

test('rates and schedules given as functions', async () => {
  const start = state({ classes: 3, perClass: 2, dim: 4 });
  const rate = (t) => 1 / (1 + t);
  const flow = gradientFlowSync(start, { gamma: 0.4, rates: sides(rate, rate) });
  const limit = flow.limitSync();
  assert.is(limit.per, 'zeta');
  near(limit.exponent, 1.4 / (3 * Math.SQRT2));
  const other = gradientFlowSync(start, { gamma: 0.4, rates: sides(rate, 0.1) });
  await refuses('LP_OPTION', /plain objects/, () => other.limit());
  await refuses('LP_OPTION', /plain objects/, () => other.measure([1], ['distanceToLimit']));
  await refuses('LP_OPTION', /proportional/, () => other.measure([1], ['distanceToAligned']));
  const descent = gradientDescentSync(start, { gamma: 0.4, learningRates: sides(0.1, 0.1), schedule: () => 1 });
  await refuses('LP_OPTION', /plain objects/, () => descent.limit());
  assert.ok(descent.measureSync([10], ['distanceToAligned']).distanceToAligned[0] > 0);
  const uneven = gradientFlowSync({ ...start, labels: Int32Array.of(0, 0, 0, 1, 1, 2) }, { gamma: 0.4, rates: sides(1, 1) });
  await refuses('LP_BALANCE', /distanceToAligned/, () => uneven.measure([1], ['distanceToAligned']));
});

test('steps beyond stability have no limit direction', () => {
  const start = state({ classes: 3, perClass: 2, dim: 4 });
  const trajectory = gradientDescentSync(start, { gamma: 0.4, learningRates: sides(30, 30), weightDecay: 0.2 });
  const limit = trajectory.limitSync();
  assert.is(limit.regime, 'oscillating');
  assert.is(limit.direction, undefined);
  near(limit.exponent, Math.log(30 * (0.2 + 1.4 / (3 * Math.SQRT2)) - 1));
  const { logNorm, distanceToLimit } = trajectory.measureSync([1000, 2000], ['logNorm', 'distanceToLimit']);
  near((logNorm[1] - logNorm[0]) / 1000, limit.exponent, 1e-10);
  assert.ok(Number.isNaN(distanceToLimit[0]));
});

test.run();
