/**
 * Bootstrap percentile intervals (Efron, 1979): every set of samples is drawn anew with replacement, as many as it has, and the
 * interval spans the middle of what a measure becomes. A drawing is the number of times that each sample came up, so that
 * a measure is one function of weights.
 */
import { type SeededRandom, seededRandom } from '../array/random.js';
import { eachPiece, type Turns } from '../array/rows.js';
import type { Steps } from '../engine/run.js';

export type Interval = readonly [low: number, high: number];

export interface BootstrapOptions {
  /** Number of drawings; 0 for no intervals. */
  readonly resamples: number;
  readonly seed: number;
  /** The share of drawings that an interval holds, `0 … 1`. */
  readonly confidence: number;
}

/**
 * @param sizes of the sets, which are drawn each by itself and whose weights follow one another
 * @param measures of weights
 */
export function* bootstrap(
  sizes: readonly number[],
  measures: (weights: Int32Array) => Turns<Readonly<Record<string, number>>>,
  { resamples, seed, confidence }: BootstrapOptions,
): Steps<Record<string, Interval>> {
  const random = seededRandom(seed);
  const weights = new Int32Array(sizes.reduce((sum, size) => sum + size, 0));
  const drawn: Record<string, Float64Array> = {};
  for (let k = 0; k < resamples; k++) {
    yield;
    weights.fill(0);
    let first = 0;
    for (const size of sizes) {
      const set = weights.subarray(first, first + size);
      yield* eachPiece(size, (begin, end) => draw(set, random, end - begin));
      first += size;
    }
    for (const [name, value] of Object.entries(yield* measures(weights))) {
      drawn[name] ??= new Float64Array(resamples);
      drawn[name][k] = value;
    }
  }
  const tail = (1 - confidence) / 2;
  return Object.fromEntries(
    Object.entries(drawn).map(([name, values]) => [name, [quantile(values, tail), quantile(values, 1 - tail)] as const]),
  );
}

function draw(weights: Int32Array, random: SeededRandom, times: number): void {
  const size = weights.length;
  for (let k = 0; k < times; k++) {
    const sample = Math.floor(random.uniform() * size);
    weights[sample] = (weights[sample] as number) + 1;
  }
}

/** The quantile of what is a number, linear between order statistics. */
function quantile(values: Float64Array, share: number): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort();
  if (sorted.length === 0) return Number.NaN;
  const at = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)] as number, sorted[Math.ceil(at)] as number];
  return below + (at - Math.floor(at)) * (above - below);
}
