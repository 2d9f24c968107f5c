// One quantity has one name: that of another time is answered with the name of now, and two quantities do not share one.
import { collapse, descentMeasures, lossAndGradientSync, projectedDescentSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { trajectoryMeasures } from '../../lib/dynamics/trajectory.js';
import { refuses } from '../helpers.js';

const state = randomState({ classes: 3, perClass: 4, dim: 3, seed: 5 });
const rates = { features: 0.1, prototypes: 0.2 };
const measured = (names, problem = {}) =>
  projectedDescentSync(
    { loss: { kind: 'cross-entropy' }, state, ...problem },
    { learningRates: rates, steps: 3, measure: { names, every: 1 } },
  ).next().value;

test('a name of before is told the name of now', async () => {
  for (const [old, now] of Object.entries({
    featuresNorm: 'featureNorm',
    prototypesNorm: 'prototypeNorm',
    featuresGradientNorm: 'featureGradientNorm',
    prototypesGradientNorm: 'prototypeGradientNorm',
    alignment: 'gradientAlignment',
  })) {
    assert.ok(now in descentMeasures && !(old in descentMeasures));
    const expected = new RegExp(`^options\\.measure\\.names\\[0\\] is "${old}"; it is called '${now}' now\\.`);
    await refuses('LP_OPTION', expected, () => measured([old]));
  }
  // Of collapse it is the name.
  assert.ok(Number.isFinite((await collapse(state, { only: ['alignment'] })).alignment));
});

test('what descents and trajectories both measure is the same quantity by the same name', () => {
  const { measures, state: end } = measured(['loss', 'featureNorm', 'prototypeNorm', 'minMargin', 'accuracy']);
  const norm = ({ data }) => Math.hypot(...data);
  for (const name of Object.keys(measures)) assert.ok(name === 'step' || name in trajectoryMeasures, name);
  assert.ok(Math.abs(measures.featureNorm.at(-1) - norm(end.features)) < 1e-13);
  assert.ok(Math.abs(measures.prototypeNorm.at(-1) - norm(end.prototypes)) < 1e-13);
});

test('the loss is without regularization, the objective with it', () => {
  for (const normalization of ['sum', 'half-mean']) {
    const regularization = { weight: 0.3, normalization };
    const { measures, state: end } = measured(['loss', 'objective'], { regularization });
    const squares = end.features.data.reduce((sum, x) => sum + x * x, 0);
    const loss = lossAndGradientSync({ kind: 'cross-entropy' }, end).value;
    const whole = loss + 0.3 * squares * (normalization === 'sum' ? 1 : 0.5 / 12);
    assert.ok(Math.abs(measures.loss.at(-1) - loss) < 1e-13, `${measures.loss.at(-1)} ${loss}`);
    assert.ok(Math.abs(measures.objective.at(-1) - whole) < 1e-13, `${measures.objective.at(-1)} ${whole}`);
  }
  const { loss, objective } = measured(['loss', 'objective']).measures;
  assert.equal(loss, objective);
});

test.run();
