// Projected descent whose steps a device makes, against the CPU's. Runs on a GPU, or on the device that
// `npm run build:emulated` puts on the CPU.
import { batchedDescent, projectedDescent, projectedDescentSync, seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lack, onDevice } from '../device.js';
import { distance, refuses } from '../helpers.js';

const random = seededRandom(5);
function sample(n, classes, p, { biased = true, Kind = Float64Array } = {}) {
  const normal = (...shape) => ({
    shape,
    data: Kind.from({ length: shape.reduce((size, extent) => size * extent, 1) }, () => random.normal()),
  });
  return {
    features: normal(n, p),
    prototypes: normal(classes, p),
    ...(biased && { biases: normal(classes) }),
    labels: Int32Array.from({ length: n }, () => Math.floor(random.uniform() * classes)),
  };
}

const last = async (iterator) => {
  let snapshot;
  for await (snapshot of iterator);
  return snapshot;
};

const losses = [
  { kind: 'cross-entropy' },
  { kind: 'cross-entropy', labelSmoothing: 0.1 },
  { kind: 'mse' },
  { kind: 'hinge', margin: 0.5 },
  { kind: 'unhinged', gamma: 0.2 },
];
const settings = [
  {},
  { constraints: { features: { kind: 'ball', radius: 1.1 }, prototypes: { kind: 'frobenius', radius: 2 } } },
  { constraints: { features: { kind: 'sphere', radius: 0.7 }, prototypes: { kind: 'ball', radius: 0.9 } }, weightDecay: 0.1 },
  { normalizeFeatures: true, weightDecay: { features: 0.2, prototypes: 0.1 } },
  { constraints: { features: { kind: 'frobenius', radius: 3 } }, moves: { prototypes: false }, weightDecay: { biases: 0.3 } },
  { moves: { features: false }, reduction: 'sum', regularization: { weight: 0.1, normalization: 'mean' } },
  { moves: { biases: false }, regularization: { weight: 0.2, normalization: 'mean' } },
];
const moments = [{}, { momentum: 0.9 }, { momentum: 0.8, nesterov: true, rescaled: true }, { rescaled: true }];
const learningRates = { features: 0.05, prototypes: { kind: 'constant', value: 0.03, warmup: 4 }, biases: 0.02 };

onDevice(
  test,
  'takes the steps of the CPU: every loss, moment, constraint, part that stands, of either dtype and odd sizes',
  async () => {
    for (const [k, loss] of losses.entries()) {
      for (const [m, moment] of moments.entries()) {
        for (const Kind of [Float32Array, Float64Array]) {
          const [n, classes, p] = [
            [1, 2, 1],
            [7, 3, 5],
            [33, 5, 35],
            [41, 9, 2],
          ][(k + m) % 4];
          const weights = loss.kind === 'cross-entropy' && { classWeights: Array.from({ length: classes }, (_, c) => 1 + c / 4) };
          const problems = settings.map((setting) => ({
            loss: { ...loss, ...weights },
            state: sample(n, classes, p, { biased: m % 2 === 0, Kind }),
            ...setting,
          }));
          const options = { learningRates, steps: 13, ...moment };
          const [there, here] = await Promise.all(
            ['cuda', 'cpu'].map((device) => last(batchedDescent(problems, { ...options, device }))),
          );
          for (const [s, setting] of settings.entries()) {
            for (const part of ['features', 'prototypes', 'biases']) {
              const [a, b] = [there[s].state[part]?.data, here[s].state[part]?.data];
              if (!b) continue;
              const size = b.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
              const tolerance = Kind === Float32Array ? 2e-5 : 1e-12;
              assert.ok(
                distance(a, b) < tolerance * size,
                `${part} of ${loss.kind}, ${n} ${classes} ${p}, ${JSON.stringify({ ...moment, ...setting })}: ${distance(a, b) / size}`,
              );
            }
          }
        }
      }
    }
  },
);

onDevice(test, 'a batch of runs gives each the bits it has alone, wherever it is cut, saved and resumed', async () => {
  const problems = Array.from({ length: 7 }, (_, r) => ({
    loss: r % 2 ? { kind: 'unhinged', gamma: r / 10 } : { kind: 'cross-entropy' },
    state: sample(15, 3, 6, { biased: false, Kind: Float32Array }),
    weightDecay: { features: r / 100 },
    ...(r === 3 && { constraints: { features: { kind: 'frobenius', radius: 4 } } }),
  }));
  const common = { steps: 40, device: 'cuda' };
  const options = problems.map((_, r) => ({
    ...common,
    learningRates: { features: 0.1 * (r + 1), prototypes: 0.1 },
    momentum: r % 3 ? 0.9 : 0,
    snapshots: 15,
    measure: { names: ['loss', 'accuracy'], every: 5 },
  }));
  const alone = problems.map((problem, r) => [...projectedDescentSync(problem, options[r])]);
  const checkpoints = [];
  let k = 0;
  for await (const snapshots of batchedDescent(problems, options)) {
    for (const [r, snapshot] of snapshots.entries()) assert.equal(snapshot, alone[r][k], `run ${r}, snapshot ${k}`);
    if (k === 0) checkpoints.push(...snapshots.map(({ checkpoint }) => checkpoint));
    k++;
  }
  assert.is(k, 3);
  const resumed = await last(
    batchedDescent(
      problems,
      options.map((one, r) => ({ ...one, snapshots: 7, resume: checkpoints[r] })),
    ),
  );
  for (const [r, { state, checkpoint }] of resumed.entries()) {
    assert.equal(state, alone[r][2].state, `run ${r}`);
    assert.equal(checkpoint.velocity, alone[r][2].checkpoint.velocity);
  }
});

onDevice(test, 'measures, events and divergence are those of the CPU', async () => {
  const state = sample(12, 3, 5, { biased: false });
  const names = ['loss', 'accuracy', 'minMargin', 'featureNorm', 'gradientNorm', 'stationarity'];
  const options = { learningRates: { features: 0.5, prototypes: 0.1 }, steps: 300, measure: { names, every: 3 } };
  const both = (problem, more) =>
    Promise.all(['cuda', 'cpu'].map((device) => last(projectedDescent(problem, { ...options, ...more, device }))));
  for (const stop of [{}, { event: { measure: 'loss', below: 0.5 } }, { stationary: 0.05 }]) {
    const [there, here] = await both({ loss: { kind: 'mse' }, state }, { stop });
    assert.equal([there.reason, there.step, there.measures.step], [here.reason, here.step, here.measures.step]);
    for (const name of names) assert.ok(distance(there.measures[name], here.measures[name]) < 1e-10, name);
  }
  for (const Kind of [Float32Array, Float64Array]) {
    const wild = { loss: { kind: 'mse' }, state: sample(12, 3, 5, { Kind }) };
    const [there, here] = await both(wild, { learningRates: { features: 50, prototypes: 1 }, measure: { names: ['loss'] } });
    assert.equal([there.reason, there.step], ['diverged', here.step]);
    assert.is(there.advice, here.advice);
    assert.ok(there.state.features.data.every(Number.isFinite));
    assert.is(there.measures.step.at(-1), there.step);
  }
});

onDevice(test, 'what a device does not have is refused by name where it was asked for, and else left to the CPU', async () => {
  const learningRates = { features: 0.1, prototypes: 0.1 };
  const run = (problem, options) => batchedDescent([problem], { learningRates, steps: 2, ...options });
  const small = { loss: { kind: 'cross-entropy' }, state: sample(6, 3, 4) };
  const rows = { shape: [6, 3], data: new Float64Array(18).fill(1 / 3) };
  const kinds = [
    [{ ...small, loss: { kind: 'dot-regression', prototypes: 'learnable' } }, {}, /device is .cuda.*problem\.loss\)/],
    [{ ...small, loss: { kind: 'cross-entropy', softLabels: rows } }, {}, /softLabels/],
    [small, { batch: { size: 2 } }, /options\.batch/],
    [{ ...small, state: sample(400, 3, 70) }, {}, /227 KB and would take/],
  ];
  for (const [problem, options, pattern] of kinds) {
    await refuses('LP_DEVICE', pattern, () => run(problem, { ...options, device: 'cuda' }));
    const here = await last(run(problem, { ...options, device: 'cpu' }));
    const before = process.env.LAYERPEEL_DEVICE;
    process.env.LAYERPEEL_DEVICE = 'cuda';
    try {
      assert.equal(await last(run(problem, options)), here);
    } finally {
      if (before === undefined) delete process.env.LAYERPEEL_DEVICE;
      else process.env.LAYERPEEL_DEVICE = before;
    }
    assert.equal(await last(run(problem, { ...options, device: 'auto' })), here);
  }
  await refuses('LP_OPTION', /or device; they must agree/, () =>
    batchedDescent(
      [small, small],
      [
        { learningRates, steps: 2, device: 'cuda' },
        { learningRates, steps: 2 },
      ],
    ),
  );
});

onDevice(test, 'is stopped by its signal', async () => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  const options = { learningRates: { features: 0.1, prototypes: 0.1 }, steps: 1e9, signal: controller.signal, device: 'cuda' };
  await refuses('LP_ABORTED', /stopped/, () => last(batchedDescent([{ loss: { kind: 'mse' }, state: sample(3, 2, 2) }], options)));
});

if (lack) {
  test('without a device, LP_DEVICE says why', async () => {
    const problem = { loss: { kind: 'mse' }, state: sample(3, 2, 2) };
    await refuses('LP_DEVICE', /./, () =>
      last(batchedDescent([problem], { learningRates: { features: 0.1, prototypes: 0.1 }, steps: 1, device: 'cuda' })),
    );
  });
}

test.run();
