import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { longTailedCounts, stepCounts } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

test('the reference cases', () => {
  const cases = JSON.parse(readFileSync(new URL('../golden/imbalance.json', import.meta.url), 'utf8'));
  for (const { classes, largest, ratio, longTailed, step } of cases) {
    assert.equal(longTailedCounts(classes, largest, ratio), Int32Array.from(longTailed));
    assert.equal(stepCounts(classes, largest, ratio), Int32Array.from(step));
  }
  // The published sizes of the long-tailed CIFAR-10 and CIFAR-100 training sets at ratio 100.
  const total = (counts) => counts.reduce((sum, count) => sum + count, 0);
  assert.is(total(longTailedCounts(10, 5000, 100)), 12406);
  assert.is(total(longTailedCounts(100, 500, 100)), 10847);
});

test('an odd number of classes loses none', () => {
  assert.equal(stepCounts(5, 100, 10), Int32Array.of(100, 100, 10, 10, 10));
  assert.equal(stepCounts(3, 7, 2), Int32Array.of(7, 3, 3));
  assert.equal(longTailedCounts(3, 500, 100), Int32Array.of(500, 50, 5));
});

/** `⌊n ρ^(−c/m)⌋` for whole `n` and `ρ` without rounding: the largest `k` with `k^m ρ^c ≤ n^m`. */
function exactFloor(n, ratio, c, m) {
  const [power, rest] = [BigInt(n) ** BigInt(m), BigInt(ratio) ** BigInt(c)];
  let [low, high] = [0, n];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (BigInt(middle) ** BigInt(m) * rest <= power) low = middle;
    else high = middle - 1;
  }
  return low;
}

test('sizes are the exact floors, also where the formula gives whole numbers', () => {
  const sizes = fc.tuple(fc.integer({ min: 2, max: 30 }), fc.integer({ min: 1, max: 10000 }), fc.integer({ min: 1, max: 1000 }));
  const exact = ([classes, largest, ratio]) => {
    const expected = Int32Array.from({ length: classes }, (_, c) => exactFloor(largest, ratio, c, classes - 1));
    assert.equal(longTailedCounts(classes, largest, ratio), expected);
  };
  fc.assert(
    fc.property(
      sizes.filter(([, largest, ratio]) => ratio <= largest),
      exact,
    ),
    { numRuns: 200 },
  );
  // Powers: every size is whole.
  for (const base of [2, 3, 5, 7, 10]) {
    for (let m = 1; base ** m <= 1e5; m++) exact([m + 1, 2 * base ** m, base ** m]);
  }
});

test('sizes never rise, begin with the largest and end with the smallest', () => {
  // Ratios of two decimals, which doubles mostly only approximate: 3333 / 33.33 is 100 nevertheless.
  const sizes = fc.tuple(fc.integer({ min: 2, max: 300 }), fc.integer({ min: 1, max: 1e6 }), fc.integer({ min: 100, max: 100000 }));
  fc.assert(
    fc.property(
      sizes.filter(([, largest, hundredths]) => hundredths <= 100 * largest),
      ([classes, largest, hundredths]) => {
        for (const make of [longTailedCounts, stepCounts]) {
          const counts = make(classes, largest, hundredths / 100);
          assert.is(counts.length, classes);
          assert.is(counts[0], largest);
          assert.is(counts.at(-1), Number((BigInt(largest) * 100n) / BigInt(hundredths)));
          assert.ok(counts.every((count, c) => c === 0 || count <= counts[c - 1]));
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('arguments are checked', () => {
  for (const counts of [longTailedCounts, stepCounts]) {
    for (const args of [
      [1, 100, 10],
      [2.5, 100, 10],
      [10, 0, 1],
      [10, 99.5, 10],
      [10, 2 ** 31, 10],
      [2 ** 27, 100, 10],
      [10, 100, 0.5],
      [10, 100, 101],
      [10, 100, Number.NaN],
      [10, 100],
      ['10', 100, 10],
    ]) {
      assert.throws(
        () => counts(...args),
        (error) => error.code === 'LP_OPTION',
      );
    }
  }
});

test.run();
