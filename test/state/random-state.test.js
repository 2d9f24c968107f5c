import { randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

test('shapes, labels and independence of the prototypes from the samples', () => {
  const balanced = randomState({ classes: 3, perClass: 2, dim: 4, seed: 1 });
  assert.equal(balanced.features.shape, [6, 4]);
  assert.equal(balanced.prototypes.shape, [3, 4]);
  assert.equal(balanced.labels, Int32Array.of(0, 0, 1, 1, 2, 2));
  const uneven = randomState({ counts: Int32Array.of(3, 1, 4), dim: 4, seed: 1 });
  assert.equal(uneven.labels, Int32Array.of(0, 0, 0, 1, 2, 2, 2, 2));
  assert.equal(uneven.prototypes.data, balanced.prototypes.data);
});

test('the standard deviation is the scale, in both dtypes', () => {
  const wide = randomState({ classes: 10, perClass: 20, dim: 50, seed: 4, scale: 3 });
  const data = wide.features.data;
  const mean = data.reduce((sum, x) => sum + x, 0) / data.length;
  const variance = data.reduce((sum, x) => sum + x * x, 0) / data.length;
  assert.ok(Math.abs(mean) < (5 * 3) / Math.sqrt(data.length));
  assert.ok(Math.abs(variance - 9) < 5 * 9 * Math.sqrt(2 / data.length));
  const single = randomState({ classes: 10, perClass: 20, dim: 50, seed: 4, scale: 3, dtype: 'float32' });
  assert.equal(single.features.data, Float32Array.from(data));
});

test('options are checked', () => {
  for (const options of [
    { classes: 3, dim: 4 },
    { classes: 3, perClass: 2, counts: [2, 2, 2], dim: 4 },
    { classes: 2, counts: [2, 2, 2], dim: 4 },
    { counts: [2], dim: 4 },
    { counts: [2, 0], dim: 4 },
    { classes: 1, perClass: 2, dim: 4 },
    { classes: 3, perClass: 2.5, dim: 4 },
    { classes: 3, perClass: 2 },
    { classes: 3, perClass: 2, dim: 4, scale: 0 },
    { classes: 3, perClass: 2, dim: 4, scale: 1e300, dtype: 'float32' },
    { classes: 3, perClass: 2, dim: 4, scale: 1e308 },
    { classes: 3, perClass: 2, dim: 4, dtype: 'float16' },
    { classes: 3, perclass: 2, dim: 4 },
    undefined,
  ]) {
    assert.throws(
      () => randomState(options),
      (error) => error.code === 'LP_OPTION',
      JSON.stringify(options),
    );
  }
});

test('more than the machine has is refused before memory is asked for', () => {
  for (const options of [
    { classes: 2 ** 30, perClass: 2 ** 30, dim: 1 },
    { classes: 2, perClass: 2, dim: 2 ** 50 },
    { counts: new Array(100).fill(2 ** 31 - 1), dim: 2 ** 20 },
  ]) {
    assert.throws(
      () => randomState(options),
      (error) => error.code === 'LP_MEMORY',
    );
  }
});

test.run();
