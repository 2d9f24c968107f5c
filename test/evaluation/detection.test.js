import fc from 'fast-check';
import { detection, outOfDistributionScores, outOfDistributionScoresSync } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, refuses } from '../helpers.js';
import * as reference from './reference.js';

const names = ['fpr95', 'auroc', 'aupr', 'auprTrapezoid'];
const close = (found, expected) => {
  for (const name of names) {
    assert.ok(Math.abs(found[name] - expected[name]) <= 1e-12, `${name} is ${found[name]}, not ${expected[name]}`);
  }
};

// Few distinct values: most samples tie, often all of them.
const tied = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 45 });
const free = fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 45 });

for (const [what, scores] of Object.entries({ tied, free })) {
  test(`equals its definition by either convention, ${what} scores`, () => {
    fc.assert(
      fc.property(scores, scores, (inside, outside) => {
        close(detection(inside, outside, { positive: 'in-distribution' }), reference.detect(inside, outside));
        const [a, b] = [outside, inside].map((values) => values.map((value) => -value));
        close(detection(inside, outside, { positive: 'out-of-distribution' }), reference.detect(a, b));
      }),
      { numRuns: 200 },
    );
  });
}

test('the threshold keeps what it says', () => {
  fc.assert(
    fc.property(tied, tied, (inside, outside) => {
      const share = (values, fits) => values.filter(fits).length / values.length;
      const kept = detection(inside, outside, { positive: 'in-distribution' });
      assert.ok(share(inside, (value) => value >= kept.threshold) >= 0.95);
      assert.is(
        share(outside, (value) => value >= kept.threshold),
        kept.fpr95,
      );
      const caught = detection(inside, outside, { positive: 'out-of-distribution' });
      assert.ok(share(outside, (value) => value <= caught.threshold) >= 0.95);
      assert.is(
        share(inside, (value) => value <= caught.threshold),
        caught.fpr95,
      );
    }),
  );
});

test('the conventions share AUROC and nothing else', () => {
  const inside = [3, 4, 5, 6, 7, 8, 9, 10, 11, 0];
  const outside = [1, 2, 2.5];
  const kept = detection(inside, outside, { positive: 'in-distribution' });
  const caught = detection(inside, outside, { positive: 'out-of-distribution' });
  assert.is(kept.auroc, caught.auroc);
  assert.equal([kept.positive, kept.fpr95, kept.threshold], ['in-distribution', 1, 0]);
  assert.equal([caught.positive, caught.fpr95, caught.threshold], ['out-of-distribution', 0.1, 2.5]);
});

test('perfect, constant and single scores', () => {
  const perfect = detection([2, 3], [0, 1], { positive: 'in-distribution' });
  assert.equal([perfect.fpr95, perfect.auroc, perfect.aupr, perfect.auprTrapezoid], [0, 1, 1, 1]);
  const constant = detection([5, 5, 5], [5], { positive: 'in-distribution' });
  assert.equal([constant.fpr95, constant.auroc, constant.aupr], [1, 0.5, 0.75]);
  const one = detection([1], [1], { positive: 'out-of-distribution' });
  assert.equal([one.fpr95, one.auroc, one.aupr], [1, 0.5, 0.5]);
});

test('lists and typed arrays of any kind are taken, and left as they are', () => {
  const inside = Float32Array.of(3, 1, 2);
  const found = detection(inside, [0, 1], { positive: 'in-distribution' });
  close(found, reference.detect([3, 1, 2], [0, 1]));
  assert.equal([...inside], [3, 1, 2]);
});

test('the energy has its temperature; norms do not overflow', () => {
  const z = [1, -2, 0.5];
  for (const temperature of [0.1, 1, 20]) {
    const { energy, maxSoftmax } = outOfDistributionScoresSync({ logits: array([z]) }, { temperature });
    const expected = temperature * Math.log(reference.sum(z.map((value) => Math.exp(value / temperature))));
    assert.ok(Math.abs(energy[0] - expected) <= 1e-12);
    assert.ok(Math.abs(maxSoftmax[0] - Math.max(...reference.softmax(z))) <= 1e-15);
  }
  const { energy } = outOfDistributionScoresSync({ logits: array([[1e5, 1e5 - 1]]) });
  assert.ok(Math.abs(energy[0] - 1e5 - Math.log1p(Math.exp(-1))) <= 1e-10);
  const { featureNorm, maxSoftmax } = outOfDistributionScoresSync({
    features: array([
      [3e200, 4e200],
      [0, 0],
      [3e-200, 4e-200],
    ]),
  });
  assert.equal([featureNorm[0] / 1e200, featureNorm[1]], [5, 0]);
  assert.ok(Math.abs(featureNorm[2] / 5e-200 - 1) <= 1e-15);
  assert.is(maxSoftmax, undefined);
});

test('refuses what it cannot judge', async () => {
  const positive = { positive: 'in-distribution' };
  await refuses('LP_OPTION', /options is missing/, () => detection([1], [0]));
  await refuses('LP_OPTION', /options\.positive is missing.*'in-distribution', 'out-of-distribution'/, () =>
    detection([1], [0], {}),
  );
  await refuses('LP_OPTION', /did you mean 'in-distribution'/, () => detection([1], [0], { positive: 'inDistribution' }));
  await refuses('LP_SHAPE', /outOfDistribution has no scores/, () => detection([1], [], positive));
  await refuses('LP_NOT_FINITE', /inDistribution\[1\] is NaN/, () => detection([1, Number.NaN], [0], positive));
  await refuses('LP_DTYPE', /inDistribution is/, () => detection('123', [0], positive));
  await refuses('LP_DTYPE', /inDistribution is/, () => detection(undefined, [0], positive));
  await refuses('LP_OPTION', /nothing to score/, () => outOfDistributionScores({}));
  await refuses('LP_OPTION', /did you mean features/, () => outOfDistributionScores({ feature: array([[1]]) }));
  await refuses('LP_NOT_FINITE', /features\[0, 1\] is NaN/, () => outOfDistributionScores({ features: array([[1, Number.NaN]]) }));
  await refuses('LP_OPTION', /temperature is -1/, () => outOfDistributionScores({ features: array([[1]]) }, { temperature: -1 }));
});

test.run();
