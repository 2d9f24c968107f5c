// Flow, descent and anchored flow against golden cases and brute force: states and every measured quantity.
import fc from 'fast-check';
import {
  anchoredFlow,
  anchoredFlowSync,
  gradientDescent,
  gradientDescentSync,
  gradientFlow,
  gradientFlowSync,
  iteratedDescent,
  OverflowError,
  randomState,
  seededRandom,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { distance, golden, refuses, shuffle, stateOf } from '../helpers.js';
import * as brute from './reference.js';

const closeTo = (actual, expected, tolerance, what) =>
  assert.ok(
    Math.abs(actual - expected) <= tolerance * (1 + Math.abs(expected)),
    `${what}: ${actual} is not ${expected} within ${tolerance}`,
  );

/** The largest difference to lists of numbers, over one plus the largest of these. */
function error(array, expected) {
  const flat = Array.isArray(expected) ? expected.flat() : expected;
  return distance(array.data, flat) / (1 + flat.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0));
}

function checkState(state, expected, tolerance, what) {
  for (const name of ['features', 'prototypes', 'biases']) {
    if (expected[name] && state[name]) assert.ok(error(state[name], expected[name]) < tolerance, `${what}: ${name}`);
  }
}

const decays = (features, prototypes) => ({ features, prototypes });

for (const given of golden('flow')) {
  const options = {
    gamma: given.gamma,
    rates: { features: given.rate1, prototypes: given.rate2 },
    weightDecay: decays(given.lambda1, given.lambda2),
  };
  test(`golden flow: ${given.name}`, async () => {
    const trajectory = await gradientFlow(stateOf(given), options);
    const single = gradientFlowSync(stateOf(given, Float32Array), options);
    for (const expected of given.at) {
      checkState(await trajectory.at(expected.t), expected, 2e-12, `t = ${expected.t}`);
      checkState(trajectory.atSync(expected.t), expected, 2e-12, `t = ${expected.t}`);
      const rounded = single.atSync(expected.t);
      assert.instance(rounded.features.data, Float32Array);
      checkState(rounded, expected, 1e-5, `float32, t = ${expected.t}`);
    }
  });
}

const scheduleOf = ({ cosinePeriod }) => (cosinePeriod ? { schedule: { kind: 'cosine', period: cosinePeriod } } : {});

for (const given of golden('descent')) {
  const options = {
    gamma: given.gamma,
    learningRates: decays(given.learningRate1, given.learningRate2),
    weightDecay: decays(given.weightDecay1, given.weightDecay2),
    momentum: given.momentum,
    nesterov: given.nesterov,
    ...scheduleOf(given),
  };
  test(`golden descent: ${given.name}`, async () => {
    const trajectory = await gradientDescent(stateOf(given), options);
    const single = gradientDescentSync(stateOf(given, Float32Array), options);
    for (const expected of given.at) {
      checkState(await trajectory.at(expected.step), expected, 1e-12, `step ${expected.step}`);
      checkState(single.atSync(expected.step), expected, 1e-4, `float32, step ${expected.step}`);
    }
    checkState(trajectory.atSync(given.at[0].step), given.at[0], 1e-12, 'back');
  });
}

for (const given of golden('anchored').filter(({ lam }) => lam !== undefined)) {
  test(`golden anchored flow: ${given.name}`, async () => {
    const options = { gamma: given.gamma, rate: given.rate, weightDecay: given.lam };
    const trajectory = await anchoredFlow(stateOf(given), options);
    for (const expected of given.at) {
      const state = await trajectory.at(expected.t);
      checkState(state, expected, 1e-12, `t = ${expected.t}`);
      assert.equal(state.prototypes.data, stateOf(given).prototypes.data);
      checkState(anchoredFlowSync(stateOf(given, Float32Array), options).atSync(expected.t), expected, 1e-5, 'float32');
    }
  });
}

/** A random state of unequal, perhaps empty classes, its labels in any order. */
function randomCase(seed, { biases = true, balanced = false } = {}) {
  const random = seededRandom(seed);
  const pick = (low, high) => low + Math.floor(random.uniform() * (high - low + 1));
  const classes = pick(2, 5);
  const dim = pick(1, 6);
  const perClass = pick(1, 4);
  const counts = Array.from({ length: classes }, () => (balanced ? perClass : pick(1, 5)));
  const state = randomState({ counts, dim, seed });
  if (!balanced && random.uniform() < 0.2) state.labels.fill(0, 0, counts[0] + counts[1]);
  shuffle(state.labels, seed);
  const data = random.fillNormal(new Float64Array(classes));
  return { random, state: biases ? { ...state, biases: { shape: [classes], data } } : state, classes };
}

const gammas = fc.constantFrom(0, 0.05, 0.3, 1 / 3, 1, 2.5);
const decay = fc.constantFrom(0, 0, 0.03, 0.2);

test('descent equals the iterated optimizer in every option', () => {
  const factors = [
    [undefined, () => 1],
    [{ kind: 'cosine', period: 30 }, (k) => (k < 30 ? (1 + Math.cos((Math.PI * k) / 30)) / 2 : 0)],
    [{ kind: 'steps', milestones: [5, 12], factor: 0.3 }, (k) => 0.3 ** ((k >= 5) + (k >= 12))],
    [{ kind: 'exponential', timescale: 8, warmup: 6 }, (k) => Math.exp(-k / 8) * Math.min(1, (k + 1) / 6)],
    [(k) => 1 / (1 + k), (k) => 1 / (1 + k)],
  ];
  fc.assert(
    fc.property(
      fc.nat(),
      gammas,
      fc.record({ features: decay, prototypes: decay }),
      fc.constantFrom(0, 0.5, 0.9),
      fc.boolean(),
      fc.constantFrom(...factors),
      fc.boolean(),
      (seed, gamma, weightDecay, momentum, nesterov, [schedule, factor], biases) => {
        const { random, state } = randomCase(seed, { biases });
        const learningRates = decays(random.uniform(), random.uniform());
        const options = { gamma, learningRates, weightDecay, momentum, nesterov };
        const trajectory = gradientDescentSync(state, { ...options, ...(schedule && { schedule }) });
        for (const steps of [0, 1, 2, 40]) {
          const expected = brute.descend(state, { ...options, factor }, steps);
          checkState(trajectory.atSync(steps), expected, 1e-12, `${steps} steps`);
        }
      },
    ),
    { numRuns: 150 },
  );
});

test('descent with learning rates that are not proportional equals the iterated optimizer', () => {
  const rates = [
    [0.7, () => 0.7],
    [{ kind: 'cosine', value: 0.6, period: 25 }, (k) => (k < 25 ? 0.3 * (1 + Math.cos((Math.PI * k) / 25)) : 0)],
    [
      { kind: 'steps', value: 0.5, milestones: [4], factor: 0.2, warmup: 3 },
      (k) => 0.5 * (k >= 4 ? 0.2 : 1) * Math.min(1, (k + 1) / 3),
    ],
    [(k) => 1 / (1 + k), (k) => 1 / (1 + k)],
    [0, () => 0],
  ];
  const rate = fc.constantFrom(...rates);
  fc.assert(
    fc.property(
      fc.nat(),
      rate,
      rate,
      fc.constantFrom(0, 0.9),
      fc.boolean(),
      fc.boolean(),
      (seed, first, second, momentum, nesterov, halved) => {
        const { state } = randomCase(seed);
        const options = { gamma: 0.3, weightDecay: { features: 0.1, prototypes: 0.02 }, momentum, nesterov };
        const schedule = halved ? { kind: 'steps', milestones: [7], factor: 0.5 } : undefined;
        const trajectory = gradientDescentSync(state, {
          ...options,
          learningRates: decays(first[0], second[0]),
          ...(schedule && { schedule }),
        });
        const factor = (k, name) => (name === 'features' ? first[1](k) : second[1](k)) * (halved && k >= 7 ? 0.5 : 1);
        for (const steps of [0, 1, 40, 5]) {
          const expected = brute.descend(state, { ...options, learningRates: decays(1, 1), factor }, steps);
          checkState(trajectory.atSync(steps), expected, 1e-12, `${steps} steps`);
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('exact descent equals 10 000 iterated steps in every option', async () => {
  const state = randomState({ counts: [4, 7, 4, 2], dim: 9, seed: 6 });
  const biases = { shape: [4], data: Float64Array.of(0.5, -1, 0, 2) };
  for (const momentum of [0, 0.9]) {
    for (const nesterov of momentum > 0 ? [false, true] : [false]) {
      for (const weightDecay of [decays(0, 0), decays(0.01, 0.02)]) {
        for (const schedule of [{ kind: 'constant' }, { kind: 'cosine', period: 9000, warmup: 50 }]) {
          for (const learningRates of [decays(0.02, 0.01), decays(0.02, { kind: 'exponential', value: 0.02, timescale: 3000 })]) {
            const options = { gamma: 0.2, learningRates, weightDecay, momentum, nesterov, schedule };
            const trajectory = await gradientDescent({ ...state, biases }, options);
            const expected = await iteratedDescent({ ...state, biases }, { ...options, steps: 10_000 });
            const exact = await trajectory.at(10_000);
            for (const name of ['features', 'prototypes', 'biases']) {
              assert.ok(error(exact[name], expected[name].data) < 1e-11, `${name}: ${error(exact[name], expected[name].data)}`);
            }
          }
        }
      }
    }
  }
});

test('flow equals Runge–Kutta steps, proportional rates or not', () => {
  const rates = [
    [0.6, () => 0.6],
    [{ kind: 'constant', value: 0.9, warmup: 1 }, (t) => 0.9 * Math.min(1, t)],
    [{ kind: 'cosine', value: 1.1, period: 2 }, (t) => (t < 2 ? 0.55 * (1 + Math.cos((Math.PI * t) / 2)) : 0)],
    [{ kind: 'exponential', value: 0.8, timescale: 1.5 }, (t) => 0.8 * Math.exp(-t / 1.5)],
    [(t) => 1 / (1 + t), (t) => 1 / (1 + t)],
    [0, () => 0],
  ];
  const rate = fc.constantFrom(...rates);
  fc.assert(
    fc.property(
      fc.nat(),
      gammas,
      fc.record({ features: decay, prototypes: decay }),
      rate,
      rate,
      (seed, gamma, weightDecay, first, second) => {
        const { state } = randomCase(seed);
        const trajectory = gradientFlowSync(state, { gamma, rates: decays(first[0], second[0]), weightDecay });
        for (const time of [0.5, 1, 2, 4]) {
          const expected = brute.flow(state, { gamma, eta1: first[1], eta2: second[1], weightDecay }, time, 400 * time);
          checkState(trajectory.atSync(time), expected, 2e-9, `t = ${time}`);
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('every measured quantity equals the definition on the state', async () => {
  const names = [
    'loss',
    'logAbsLoss',
    'lossSign',
    'accuracy',
    'minMargin',
    'meanMargin',
    'logNorm',
    'logFeatureNorm',
    'logPrototypeNorm',
    'featureNorm',
    'prototypeNorm',
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.nat(),
      gammas,
      fc.record({ features: decay, prototypes: decay }),
      fc.boolean(),
      async (seed, gamma, weightDecay, biases) => {
        const { state } = randomCase(seed, { biases, balanced: seed % 3 === 0 });
        const trajectory = await gradientFlow(state, { gamma, rates: decays(0.7, 0.4), weightDecay });
        const times = [3, 0, 0.5, 20, 3];
        const columns = await trajectory.measure(times, names);
        assert.equal(Object.keys(columns), names);
        const of = brute.model(state, gamma);
        for (const [i, time] of times.entries()) {
          const x = brute.parametersOf(trajectory.atSync(time));
          const loss = brute.loss(of, x);
          const margins = brute.margins(of, x);
          const size = 1e-12 * (1 + brute.norm(x.features, x.prototypes) ** 2 + brute.norm(x.biases));
          const expect = (name, expected) =>
            assert.ok(Math.abs(columns[name][i] - expected) < size, `${name} at ${time}: ${columns[name][i]}, ${expected}`);
          expect('loss', loss);
          if (Math.abs(loss) > 1e-6) {
            closeTo(columns.logAbsLoss[i], Math.log(Math.abs(loss)), 1e-6, 'logAbsLoss');
            assert.is(columns.lossSign[i], Math.sign(loss));
          }
          if (margins.every(({ margin }) => Math.abs(margin) > size)) {
            expect('accuracy', margins.filter(({ correct }) => correct).length / of.n);
          }
          expect('minMargin', Math.min(...margins.map(({ margin }) => margin)));
          expect('meanMargin', margins.reduce((sum, { margin }) => sum + margin, 0) / of.n);
          expect('featureNorm', brute.norm(x.features));
          expect('prototypeNorm', brute.norm(x.prototypes));
          closeTo(columns.logNorm[i], Math.log(brute.norm(x.features, x.prototypes)), 1e-12, 'logNorm');
          closeTo(columns.logFeatureNorm[i], Math.log(brute.norm(x.features)), 1e-12, 'logFeatureNorm');
          closeTo(columns.logPrototypeNorm[i], Math.log(brute.norm(x.prototypes)), 1e-12, 'logPrototypeNorm');
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('a tie goes to the lowest class', async () => {
  const features = { shape: [2, 1], data: new Float64Array(2) };
  const prototypes = { shape: [2, 1], data: new Float64Array(2) };
  const trajectory = await gradientFlow({ features, prototypes, labels: Int32Array.of(0, 1) }, { gamma: 0, rates: decays(1, 1) });
  const { accuracy } = await trajectory.measure([0, 5], ['accuracy']);
  assert.equal([...accuracy], [0.5, 0.5]);
});

test('large times: directions, norms, losses and accuracies where the norm is e^5000', async () => {
  const state = randomState({ classes: 5, perClass: 3, dim: 7, seed: 4 });
  const gamma = 0.1;
  const trajectory = await gradientFlow(state, { gamma, rates: decays(1, 1) });
  const sigma = 1.1 / (5 * Math.sqrt(3));
  const time = 5000 / sigma;
  const direction = await trajectory.directionAt(time);
  assert.ok(Math.abs(brute.norm(direction.features.data, direction.prototypes.data) - 1) < 1e-12);
  const { logNorm, logAbsLoss, lossSign, accuracy, loss, distanceToLimit, distanceToAligned, minMargin } = await trajectory.measure(
    [time, 10 * time],
    ['logNorm', 'logAbsLoss', 'lossSign', 'accuracy', 'loss', 'distanceToLimit', 'distanceToAligned', 'minMargin'],
  );
  assert.is(direction.logNorm, logNorm[0]);
  const start = trajectory.measureSync([0], ['logNorm']).logNorm[0];
  assert.ok(Math.abs(logNorm[0] - 5000 - start) < 2, `${logNorm[0]}`);
  closeTo(logNorm[1] - logNorm[0], 45000, 1e-13, 'growth');
  // In the end L = −σ‖H‖‖W‖ with ‖H‖ = ‖W‖ = ‖Z‖/√2.
  closeTo(logAbsLoss[0], 2 * logNorm[0] + Math.log(sigma / 2), 1e-13, 'logAbsLoss');
  assert.equal([...lossSign], [-1, -1]);
  assert.equal([...loss], [-Infinity, -Infinity]);
  assert.equal([...minMargin], [Infinity, Infinity]);
  assert.equal([...accuracy], [1, 1]);
  assert.ok(distanceToLimit[0] < 1e-300 && distanceToAligned[0] < 1e-300);
  try {
    await trajectory.at(time);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, OverflowError);
    assert.instance(error, RangeError);
    assert.is(error.code, 'LP_OVERFLOW');
    assert.match(error.message, new RegExp(`At time ${time} .*float64.*directionAt`));
  }
  const single = gradientFlowSync(randomState({ classes: 5, perClass: 3, dim: 7, seed: 4, dtype: 'float32' }), {
    gamma,
    rates: decays(1, 1),
  });
  assert.throws(() => single.atSync(100 / sigma), /float32/);
  assert.ok(single.atSync(80 / sigma).features.data.every(Number.isFinite));
});

test('bad input', async () => {
  const state = randomState({ classes: 3, perClass: 2, dim: 4 });
  const flow = (more, of = state) => gradientFlow(of, { gamma: 0.1, rates: decays(1, 1), ...more });
  const descent = (more) => gradientDescent(state, { gamma: 0.1, learningRates: decays(1, 1), ...more });
  await refuses('LP_OPTION', /options\.gama.*gamma/, () => flow({ gama: 1 }));
  await refuses('LP_OPTION', /options\.gamma/, () => flow({ gamma: -1 }));
  await refuses('LP_OPTION', /options\.rates\.features/, () => flow({ rates: { features: -1, prototypes: 1 } }));
  await refuses('LP_OPTION', /options\.rates\.features\.kind.*cosine/, () =>
    flow({ rates: { features: { kind: 'cosin' }, prototypes: 1 } }),
  );
  await refuses('LP_OPTION', /options\.weightDecay\.prototypes/, () => flow({ weightDecay: decays(1, -1) }));
  await refuses('LP_OPTION', /options\.weightDecay\.prototype.*prototypes/, () =>
    flow({ weightDecay: { features: 1, prototype: 1 } }),
  );
  await refuses('LP_OPTION', /options\.momentum/, () => descent({ momentum: 1 }));
  await refuses('LP_OPTION', /options\.learningRates\.prototypes/, () =>
    descent({ learningRates: { features: 1, prototypes: -1 } }),
  );
  await refuses('LP_OPTION', /options\.schedule\.kind/, () => descent({ schedule: { kind: 'kosine' } }));
  const features = { ...state.features, data: state.features.data.map((x, i) => (i === 6 ? Number.NaN : x)) };
  await refuses('LP_NOT_FINITE', /features\[1, 2\] is NaN/, () => flow({}, { ...state, features }));
  const biases = { shape: [3], data: Float64Array.of(0, Infinity, 0) };
  await refuses('LP_NOT_FINITE', /biases\[1\] is Infinity/, () => flow({}, { ...state, biases }));

  const trajectory = await flow({});
  const steps = await descent({});
  await refuses('LP_OPTION', /time is -1/, () => trajectory.at(-1));
  await refuses('LP_OPTION', /time is NaN/, () => trajectory.directionAt(Number.NaN));
  await refuses('LP_OPTION', /time is 1\.5.*integer/, () => steps.at(1.5));
  await refuses('LP_OPTION', /times\[1\]/, () => trajectory.measure([1, -2], ['loss']));
  await refuses('LP_OPTION', /names\[0\].*did you mean 'logNorm'/, () => trajectory.measure([1], ['lognorm']));
  trajectory.dispose();
  trajectory.dispose();
  await refuses('LP_OPTION', /disposed/, () => trajectory.at(1));
});

test('a trajectory does not see later changes of its start', async () => {
  const state = randomState({ classes: 3, perClass: 2, dim: 4 });
  const trajectory = await gradientFlow(state, { gamma: 0.1, rates: decays(1, 1) });
  const before = await trajectory.at(2);
  state.features.data.fill(0);
  state.prototypes.data.fill(0);
  state.labels.fill(0);
  assert.equal(await trajectory.at(2), before);
});

test.run();
