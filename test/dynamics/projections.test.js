// The five parts against golden cases, and what defines them: they add up to the state, are orthogonal and idempotent.
import fc from 'fast-check';
import { randomState, spectralProjections, spectralProjectionsSync } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, golden, refuses, shuffle, stateOf } from '../helpers.js';

const names = ['plus1', 'minus1', 'plus2', 'minus2', 'rest'];

for (const [index, given] of golden('projections').entries()) {
  test(`golden case ${index}`, async () => {
    const state = stateOf(given);
    for (const parts of [spectralProjectionsSync(state), await spectralProjections(state)]) {
      for (const name of names) {
        for (const side of ['features', 'prototypes']) {
          const expected = array(given.projections[name][side]);
          assert.equal(parts[name][side].shape, expected.shape);
          assert.ok(distance(parts[name][side].data, expected.data) < 1e-10, `${name}.${side}`);
        }
      }
    }
  });
}

const inner = (x, y) => {
  let sum = 0;
  for (const side of ['features', 'prototypes']) {
    const [left, right] = [x[side].data, y[side].data];
    for (let i = 0; i < left.length; i++) sum += left[i] * right[i];
  }
  return sum;
};

test('the parts add up to the state, are orthogonal, and are their own projections', () => {
  const extent = fc.integer({ min: 1, max: 20 });
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 9 }), extent, extent, fc.boolean(), fc.nat(), (classes, perClass, dim, single, seed) => {
      const dtype = single ? 'float32' : 'float64';
      const tolerance = single ? 2e-5 : 1e-12;
      const state = randomState({ classes, perClass, dim, dtype, seed });
      shuffle(state.labels, seed);
      const parts = spectralProjectionsSync(state);
      for (const side of ['features', 'prototypes']) {
        const sum = state[side].data.map((_, i) => names.reduce((total, name) => total + parts[name][side].data[i], 0));
        assert.ok(distance(sum, state[side].data) < tolerance);
        assert.instance(parts.plus1[side].data, single ? Float32Array : Float64Array);
      }
      const size = inner(state, state);
      for (const a of names) {
        for (const b of names) if (a < b) assert.ok(Math.abs(inner(parts[a], parts[b])) < tolerance * size, `${a}, ${b}`);
        const again = spectralProjectionsSync({ ...parts[a], labels: state.labels });
        for (const b of names) {
          for (const side of ['features', 'prototypes']) {
            const expected = a === b ? parts[a][side].data : parts[a][side].data.map(() => 0);
            assert.ok(distance(again[b][side].data, expected) < tolerance, `${b} of ${a}`);
          }
        }
      }
    }),
    { numRuns: 40 },
  );
});

test('runs of many samples and many threads give the same bits as few', async () => {
  const state = randomState({ classes: 3, perClass: 700, dim: 37, seed: 5 });
  const once = spectralProjectionsSync(state);
  const again = await spectralProjections(state);
  for (const name of names) assert.equal(again[name].features.data, once[name].features.data);
  const mean = new Float64Array(37);
  for (let i = 0; i < 700; i++) for (let j = 0; j < 37; j++) mean[j] += state.features.data[i * 37 + j] / 700;
  const rest = state.features.data.slice(0, 37).map((x, j) => x - mean[j]);
  assert.ok(distance(once.rest.features.data.slice(0, 37), rest) < 1e-13);
});

test('refuses what it cannot split', async () => {
  const uneven = randomState({ counts: [3, 3, 2], dim: 4 });
  await refuses('LP_BALANCE', /Class 0 has 3 samples but class 2 has 2/, () => spectralProjectionsSync(uneven));
  const state = randomState({ classes: 3, perClass: 2, dim: 4 });
  await refuses('LP_OPTION', /did you mean signal/, () => spectralProjections(state, { sginal: 1 }));
  for (const [side, place] of [
    ['features', /features\[1, 3\] is NaN/],
    ['prototypes', /prototypes\[1, 3\] is NaN/],
  ]) {
    const bad = randomState({ classes: 3, perClass: 2, dim: 4 });
    bad[side].data[7] = Number.NaN;
    await refuses('LP_NOT_FINITE', place, () => spectralProjections(bad));
    bad[side].data[7] = Number.NEGATIVE_INFINITY;
    await refuses('LP_NOT_FINITE', /is -Infinity/, () => spectralProjectionsSync(bad));
  }
});

test.run();
