// Features that are too many to be kept: measured as they come, with two passes over the images.
import { fileURLToPath } from 'node:url';
import { randomState } from 'layerpeel';
import * as assert from 'uvu/assert';
import { near } from '../helpers.js';
import { startNode } from '../process.js';
import { torchSuite } from './torch.js';

const test = torchSuite('features that are not kept');

test('a network with features of a gigabyte is measured as one that makes the same of few', async () => {
  const child = fileURLToPath(new URL('children/many-features.js', import.meta.url));
  const { stdout, stderr, code } = await startNode([child]).ended;
  assert.is(code, 0, stderr);
  const [many, few] = JSON.parse(stdout);
  // 68 000 × 4096 numbers of 4 bytes, and what the process has besides.
  assert.ok(many.peak < 68000 * 4096 * 4, `it took ${many.peak} bytes`);
  const names = Object.keys(few.measures).filter((name) => !/^(seconds|waited|imagesPer|epoch|learning)/.test(name));
  assert.ok(names.length > 25);
  for (const name of names) near(many.measures[name], few.measures[name], 1e-3 * (1 + Math.abs(few.measures[name])), name);
  for (const [name, values] of Object.entries(few.byClass)) {
    for (const [c, value] of values.entries()) near(many.byClass[name][c], value, 1e-4 * (1 + value), `${name} of class ${c}`);
  }
  for (const [k, value] of few.mean.entries()) near(many.mean[k], value, 1e-4 * (1 + Math.abs(value)), `mean feature ${k}`);
});

test('what there is by class is the same of one part and of several', async () => {
  const { ByClassSums } = await import('../../lib/training/by-class.js');
  const { checkTrainingLoss } = await import('../../lib/training/config.js');
  const { features: all, prototypes, labels } = randomState({ classes: 3, perClass: 20, dim: 5, seed: 3, dtype: 'float32' });
  const counts = Int32Array.of(20, 20, 20);
  const config = { model: {}, loss: { kind: 'cross-entropy', classWeights: [1, 2, 3] }, epochs: 1 };
  const loss = checkTrainingLoss(config, counts, { path: 'config', code: 'LP_CONFIG' });
  const measured = async (rows) => {
    const sums = new ByClassSums({ counts, classifier: { prototypes }, plan: { loss, fixedPrototypes: false }, epoch: 0 });
    for (let first = 0; first < 60; first += rows) {
      const last = Math.min(60, first + rows);
      const part = { shape: [last - first, 5], data: all.data.subarray(5 * first, 5 * last) };
      await sums.add(part, labels.subarray(first, last), {});
    }
    return sums.result();
  };
  const whole = await measured(60);
  for (const rows of [7, 20, 59]) {
    const parts = await measured(rows);
    assert.equal(Object.keys(parts), Object.keys(whole));
    for (const [name, values] of Object.entries(whole)) {
      for (const [c, value] of values.entries())
        near(parts[name][c], value, 1e-6 * (1 + value), `${name} of class ${c} by ${rows}`);
    }
  }
});

test.run();
