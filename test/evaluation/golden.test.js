// The golden cases: ECE, detection, scores.
import { calibration, calibrationSync, detection, outOfDistributionScores, outOfDistributionScoresSync } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, golden } from '../helpers.js';

const [ece, detected, scored] = golden('evaluation');
const close = (actual, expected) => assert.ok(Math.abs(actual - expected) <= 1e-10, `${actual}, not ${expected}`);

test(ece.name, async () => {
  const [logits, labels] = [array(ece.logits), Int32Array.from(ece.labels)];
  for (const found of [calibrationSync(logits, labels, { bins: ece.bins }), await calibration(logits, labels)]) {
    close(found.ece, ece.ece);
    assert.equal([...found.reliability.counts], ece.counts);
  }
});

test(detected.name, () => {
  const found = detection(detected.inDistribution, detected.outOfDistribution, { positive: 'in-distribution' });
  for (const name of ['fpr95', 'auroc', 'aupr']) close(found[name], detected[name]);
});

test(scored.name, async () => {
  const input = { logits: array(scored.logits), features: array(scored.features) };
  for (const found of [outOfDistributionScoresSync(input), await outOfDistributionScores(input)]) {
    assert.ok(distance(found.maxSoftmax, scored.softmax) <= 1e-10);
    assert.ok(distance(found.energy, scored.energy) <= 1e-10);
    assert.ok(distance(found.featureNorm, scored.featureNorm) <= 1e-10);
  }
});

test.run();
