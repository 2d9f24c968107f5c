// Many classes: whatever is a matrix of all pairs is counted, not kept, and measured in the memory of the means.
import { fileURLToPath } from 'node:url';
import { collapse, collapseSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';
import { startNode } from '../process.js';

/** Counted by hand from a matrix of cosines. */
function countedIn({ data, shape: [classes] }) {
  const histogram = new Float64Array(200);
  let [smallest, largest] = [1, -1];
  for (let c = 0; c < classes; c++) {
    for (let d = 0; d < c; d++) {
      const cosine = data[c * classes + d];
      [smallest, largest] = [Math.min(smallest, cosine), Math.max(largest, cosine)];
      histogram[Math.min(199, Math.floor(100 * (cosine + 1)))]++;
    }
  }
  return { smallest, largest, histogram };
}

for (const [classes, dim, given] of [
  [6, 4, undefined],
  [6, 9, true],
  [2049, 3, true],
]) {
  test(`pairs of ${classes} classes are those of the matrices`, async () => {
    const state = randomState({ classes, perClass: 2, dim, seed: 3, dtype: 'float64' });
    const measured = await collapse(state, given === undefined ? {} : { cosines: given });
    const near = (found, wanted) => {
      assert.ok(Math.abs(found.smallest - wanted.smallest) < 1e-12 && Math.abs(found.largest - wanted.largest) < 1e-12);
      // A cosine at an edge may have been rounded across it.
      const moved = found.histogram.reduce((sum, count, bin) => sum + Math.abs(count - wanted.histogram[bin]), 0);
      assert.ok(moved <= 2 + 1e-5 * classes ** 2, `${moved} pairs`);
    };
    near(measured.featurePairs, countedIn(measured.featureCosines));
    near(measured.centeredPrototypePairs, countedIn(measured.prototypeCosines));
    const rows = Array.from({ length: classes }, (_, c) => state.prototypes.data.subarray(c * dim, (c + 1) * dim));
    const unit = rows.map((row) => row.map((value) => value / Math.hypot(...row)));
    const data = Float64Array.from(unit.flatMap((a) => unit.map((b) => a.reduce((sum, value, k) => sum + value * b[k], 0))));
    near(measured.prototypePairs, countedIn({ data, shape: [classes] }));
  });
}

test('matrices are there up to 2048 classes, or as they are asked for; the measures are the same', async () => {
  const few = randomState({ classes: 5, perClass: 3, dim: 4, seed: 1 });
  const { featureCosines, prototypeCosines, ...rest } = collapseSync(few);
  assert.equal(
    [featureCosines.shape, prototypeCosines.shape],
    [
      [5, 5],
      [5, 5],
    ],
  );
  assert.equal(collapseSync(few, { cosines: false }), rest);
  const many = collapseSync(randomState({ classes: 2049, perClass: 1, dim: 2, seed: 1 }));
  assert.equal([many.featureCosines, many.prototypeCosines], [undefined, undefined]);
  await refuses('LP_OPTION', /options\.cosines is 1; expected true or false/, () => collapseSync(few, { cosines: 1 }));
});

test('a class mean without a direction leaves pairs that are no numbers', () => {
  const features = { shape: [4, 2], data: Float64Array.of(1, 2, 3, 2, 1, 2, 3, 2) };
  const { featurePairs } = collapseSync({ features, labels: Int32Array.of(0, 0, 1, 1) });
  assert.equal(featurePairs, { smallest: Number.NaN, largest: Number.NaN, histogram: new Float64Array(0) });
});

test('10 000 classes are measured in less memory than one matrix of their pairs', async () => {
  const child = fileURLToPath(new URL('children/many.js', import.meta.url));
  const { code, stdout, stderr } = await startNode([child]).ended;
  assert.is(code, 0, stderr);
  const { bytes, pairs, matrices, measures } = JSON.parse(stdout);
  assert.equal([pairs, matrices], [(10_000 * 9_999) / 2, false]);
  for (const [name, value] of Object.entries(measures)) assert.ok(value > 0, `${name} is ${value}`);
  assert.ok(bytes < 8e8, `${bytes} bytes`);
});

test.run();
