// What several tests share: golden cases, arrays from nested lists, expectations of errors.
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LayerpeelError, seededRandom } from 'layerpeel';
import * as assert from 'uvu/assert';

/** The cases of `test/golden/<name>.json`. */
export const golden = (name) => JSON.parse(readFileSync(new URL(`golden/${name}.json`, import.meta.url), 'utf8'));

/** An array of one or two dimensions from nested lists. */
export function array(values, Type = Float64Array) {
  const shape = Array.isArray(values[0]) ? [values.length, values[0].length] : [values.length];
  return { shape, data: Type.from(values.flat()) };
}

/** A state from a golden case. */
export const stateOf = ({ features, prototypes, biases, labels }, Type = Float64Array) => ({
  features: array(features, Type),
  prototypes: array(prototypes, Type),
  ...(biases && { biases: array(biases, Type) }),
  labels: Int32Array.from(labels),
});

/** Puts the elements of an array in a random order, in place. */
export function shuffle(values, seed = 0) {
  const random = seededRandom(seed);
  for (let i = values.length - 1; i > 0; i--) {
    const j = Math.floor(random.uniform() * (i + 1));
    [values[i], values[j]] = [values[j], values[i]];
  }
  return values;
}

/** The largest difference between two arrays of numbers, which must be of the same length. */
export function distance(x, y) {
  assert.is(x.length, y.length);
  let largest = 0;
  for (let i = 0; i < x.length; i++) {
    const difference = Math.abs(x[i] - y[i]);
    if (!(difference <= largest)) largest = difference; // NaN stays
  }
  return largest;
}

/** Asserts that a number is another one to within a tolerance; `what` it is. */
export const near = (actual, expected, tolerance, what) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what}: ${actual} is not ${expected} within ${tolerance}`);

/** Gives a new folder, which is removed afterwards. */
export async function inFolder(body) {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  try {
    return await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Asserts that a call throws or rejects with an error of the package that has this code and fits the pattern. */
export async function refuses(code, pattern, body) {
  let thrown;
  try {
    await body();
  } catch (error) {
    thrown = error;
  }
  assert.ok(thrown, `expected ${code}`);
  assert.instance(thrown, LayerpeelError);
  assert.is(thrown.code, code, thrown.message);
  assert.match(thrown.message, pattern);
}
