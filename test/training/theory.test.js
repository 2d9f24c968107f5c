// Theory beside a network: where the "network" is the layer-peeled model itself, at a pace of its own, the curves are its own.
import { projectedDescentSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Theory } from '../../lib/training/theory.js';

const start = randomState({ classes: 5, perClass: 40, dim: 16 });

for (const [name, loss, fixed, weightDecay, statement] of [
  ['unhinged, fixed prototypes, decay', { kind: 'unhinged', gamma: 0.1 }, true, 0.05, /MᵀW\/λ.*UL Thm 6/],
  ['unhinged, fixed prototypes', { kind: 'unhinged', gamma: 0.1 }, true, 0, /UL Thm 6 without weight decay/],
  ['unhinged, learnable prototypes', { kind: 'unhinged', gamma: 0.1 }, false, 0, /UL Cor. 3/],
  ['cross-entropy', { kind: 'cross-entropy' }, false, 0, /LP Theorem 3.2/],
]) {
  test(`the model against itself: ${name}`, async () => {
    const theory = await Theory.begin(start, { loss, fixed, weightDecay });
    await theory.observe(0, start);
    assert.is(await theory.compare(), undefined);
    const problem = { loss, state: start, moves: { prototypes: !fixed }, weightDecay: { features: weightDecay } };
    const options = { learningRates: { features: 0.1, prototypes: 0.1 }, steps: 900, snapshots: 150 };
    // What it calls a unit is three of the model's.
    for (const { step, state } of projectedDescentSync(problem, options)) await theory.observe((step * 0.1) / 3, state);
    const comparison = await theory.compare();
    assert.match(comparison.statement, statement);
    assert.ok(Math.abs(comparison.clock / 3 - 1) < 0.01, `clock ${comparison.clock}`);
    assert.is(comparison.measured.length, 7);
    assert.ok(comparison.measured.at(-1) < 0.85 * comparison.measured[0]);
    for (const [k, value] of comparison.predicted.entries()) {
      assert.ok(Math.abs(value / comparison.measured[k] - 1) < 2e-3, `${k}: ${value}, not ${comparison.measured[k]}`);
    }
  });
}

test('has nothing to say of other losses', async () => {
  assert.is(await Theory.begin(start, { loss: { kind: 'mse' }, fixed: false, weightDecay: 0 }), undefined);
  assert.is(await Theory.begin(start, { loss: { kind: 'cross-entropy' }, fixed: true, weightDecay: 0 }), undefined);
});

test.run();
