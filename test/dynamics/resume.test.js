// What may change when a descent goes on: how far, how often and what is told of.
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
