import { seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

/** xoshiro128** and splitmix64 as published, in 64-bit integers. */
function* reference(seed) {
  const mask64 = (1n << 64n) - 1n;
  const mask32 = (1n << 32n) - 1n;
  const words = [];
  let state = BigInt(seed);
  for (let i = 0; i < 2; i++) {
    state = (state + 0x9e3779b97f4a7c15n) & mask64;
    let z = state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask64;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask64;
    z ^= z >> 31n;
    words.push(z & mask32, z >> 32n);
  }
  const rotate = (x, k) => ((x << k) | (x >> (32n - k))) & mask32;
  const s = words;
  while (true) {
    yield (rotate((s[1] * 5n) & mask32, 7n) * 9n) & mask32;
    const t = (s[1] << 9n) & mask32;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11n);
  }
}

test('uniform is xoshiro128** seeded through splitmix64', () => {
  for (const seed of [0, 1, 12345, Number.MAX_SAFE_INTEGER]) {
    const random = seededRandom(seed);
    const words = reference(seed);
    for (let i = 0; i < 1000; i++) {
      const high = words.next().value >> 5n;
      const low = words.next().value >> 6n;
      assert.is(random.uniform(), Number((high << 26n) | low) / 2 ** 53);
    }
  }
});

test('normals have the moments of a standard normal', () => {
  const n = 200000;
  const values = seededRandom(3).fillNormal(new Float64Array(n));
  const moment = (k) => values.reduce((sum, x) => sum + x ** k, 0) / n;
  // Five standard errors: the variance of x^k is E x^2k − (E x^k)².
  for (const [k, mean, variance] of [
    [1, 0, 1],
    [2, 1, 2],
    [3, 0, 15],
    [4, 3, 96],
    [6, 15, 10395 - 225],
  ]) {
    assert.ok(Math.abs(moment(k) - mean) < 5 * Math.sqrt(variance / n), `moment ${k}: ${moment(k)}`);
  }
  // Neighbours are uncorrelated, also within a pair of the polar method.
  let product = 0;
  for (let i = 1; i < n; i++) product += values[i] * values[i - 1];
  assert.ok(Math.abs(product / n) < 5 / Math.sqrt(n));
});

test('a seed gives the same numbers again, and float32 their roundings', () => {
  const a = seededRandom(9).fillNormal(new Float64Array(100), 2);
  assert.equal(a, seededRandom(9).fillNormal(new Float64Array(100), 2));
  assert.equal(Float32Array.from(a), seededRandom(9).fillNormal(new Float32Array(100), 2));
  assert.not.equal(a, seededRandom(10).fillNormal(new Float64Array(100), 2));
});

test('seeds are checked', () => {
  for (const seed of [-1, 0.5, Number.NaN, '1', 2 ** 53, undefined]) {
    assert.throws(
      () => seededRandom(seed),
      (error) => error.code === 'LP_OPTION',
    );
  }
});

test.run();
