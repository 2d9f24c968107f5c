// A descent goes on as it began: each option by itself, changed, is refused; what only says how far, how often and what is told of
// may change.
import { projectedDescent, projectedDescentSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';

const start = { ...randomState({ classes: 3, perClass: 4, dim: 5, seed: 2 }), biases: { shape: [3], data: new Float64Array(3) } };
const problem = {
  ...{ loss: { kind: 'cross-entropy', labelSmoothing: 0.1 }, state: start, regularization: { weight: 0.01 } },
  constraints: { features: { kind: 'ball', radius: 3 }, prototypes: { kind: 'frobenius', radius: 4 } },
  weightDecay: { features: 0.01, prototypes: 0.02, biases: 0.03 },
};
const options = {
  ...{ learningRates: { features: 0.3, prototypes: 0.2, biases: 0.1 }, schedule: { kind: 'cosine', period: 50 } },
  ...{ momentum: 0.5, nesterov: true, batch: { size: 5, seed: 1 }, steps: 6 },
};
const last = (iterator) => [...iterator].at(-1);

test('each option by itself', async () => {
  const { checkpoint } = last(projectedDescentSync(problem, options));
  const go = (other = {}, more = {}) =>
    projectedDescentSync({ ...problem, ...other }, { ...options, steps: 9, resume: checkpoint, ...more });
  const { checkpoint: whole } = last(projectedDescentSync(problem, { ...options, steps: 9 }));
  assert.equal(last(go()).checkpoint, whole);
  const { constraints, weightDecay } = problem;
  const { learningRates } = options;
  const others = {
    'loss.kind': { loss: { kind: 'mse' } },
    'loss.smoothing': { loss: { kind: 'cross-entropy', labelSmoothing: 0.2 } },
    'loss.classWeights': { loss: { ...problem.loss, classWeights: [1, 2, 3] } },
    'loss.regularization': { regularization: { weight: 0.02 } },
    'loss.sum': { reduction: 'sum' },
    'loss.normalized': { normalizeFeatures: true },
    'features.constraint': { constraints: { ...constraints, features: { kind: 'sphere', radius: 3 } } },
    'features.radius': { constraints: { ...constraints, features: { kind: 'ball', radius: 2 } } },
    'prototypes.radius': { constraints: { ...constraints, prototypes: { kind: 'frobenius', radius: 5 } } },
    'prototypes.constraint': { constraints: { ...constraints, prototypes: { kind: 'ball', radius: 4 } } },
    'features.weightDecay': { weightDecay: { ...weightDecay, features: 0 } },
    'prototypes.weightDecay': { weightDecay: { ...weightDecay, prototypes: 0 } },
    'biases.weightDecay': { weightDecay: { ...weightDecay, biases: 0 } },
    'features.moves': { moves: { features: false } },
    'prototypes.moves': { moves: { prototypes: false } },
    'biases.moves': { moves: { biases: false } },
  };
  const rates = {
    'learningRates.features': { learningRates: { ...learningRates, features: 0.31 } },
    'learningRates.prototypes': {
      learningRates: { ...learningRates, prototypes: { kind: 'exponential', value: 0.2, timescale: 9 } },
    },
    'learningRates.biases': { learningRates: { ...learningRates, biases: 0 } },
    schedule: { schedule: { kind: 'cosine', period: 51 } },
    momentum: { momentum: 0.6 },
    nesterov: { nesterov: false },
    rescaled: { rescaled: true },
    batch: { batch: { size: 6, seed: 1 } },
    seed: { batch: { size: 5, seed: 2 } },
  };
  const named = (path) => new RegExp(`options\\.resume is of a run with .*${path.replaceAll('.', '\\.')}`, 'i');
  for (const [path, change] of Object.entries(others)) await refuses('LP_OPTION', named(path.split('.')[0]), () => go(change));
  for (const [path, change] of Object.entries(rates)) await refuses('LP_OPTION', named(path), () => go({}, change));
});

test('how far, how often, and what is told of', () => {
  const { checkpoint } = last(projectedDescentSync(problem, options));
  const { state } = last(projectedDescentSync(problem, { ...options, steps: 9 }));
  const target = { features: start.features, prototypes: start.prototypes };
  for (const change of [
    { snapshots: 1 },
    { measure: { names: ['loss', 'distance'], every: 2 } },
    { stop: { stationary: 0 } },
    { signal: new AbortController().signal },
  ]) {
    const snapshots = [...projectedDescentSync({ ...problem, target }, { ...options, steps: 9, resume: checkpoint, ...change })];
    assert.equal(snapshots.at(-1).state, state, JSON.stringify(change));
    assert.is(snapshots[0].step, change.snapshots ? 7 : 9);
    if (change.measure) assert.equal([...snapshots[0].measures.step], [6, 8, 9]);
  }
});

test('a run that has done its steps does none; more of them go on', async () => {
  const { checkpoint } = last(projectedDescentSync(problem, options));
  const done = [];
  for await (const snapshot of projectedDescent(problem, { ...options, resume: checkpoint })) done.push(snapshot);
  assert.equal(
    done.map(({ step, reason }) => [step, reason]),
    [[6, 'steps']],
  );
  assert.equal(done[0].state, checkpoint.state);
  await refuses('LP_OPTION', /steps/, () => last(projectedDescentSync(problem, { ...options, steps: 5, resume: checkpoint })));
});

test.run();
