/**
 * Class sizes of the usual imbalanced training sets, from the largest size and the ratio `ρ` of the largest to the smallest:
 * long-tailed `n_c = ⌊n_max ρ^(−c/(C−1))⌋` and step (the first `⌊C/2⌋` classes full, the others `⌊n_max/ρ⌋`).
 * Source: Cui et al., "Class-balanced loss based on effective number of samples", and Cao et al., LDAM, as their code has it.
 */
import { checkNumber, option } from '../check/options.js';

/**
 * Above the relative rounding error of `ρ^x`, and below the distance of a quotient from the next whole number: so 5000/100 and
 * 500·100^(−1/2) are floored to the 50 that they are, and nothing else is lifted.
 */
const ROUNDING = 1e-13;

/** What is computed in a tenth of a second. */
const MOST_CLASSES = 2 ** 20;

const floorOf = (value: number): number => Math.floor(value * (1 + ROUNDING));

/**
 * Exponentially falling class sizes `[classes]`, from `largest` to `⌊largest/ratio⌋`.
 * @param classes at least 2
 * @param largest samples of the first class
 * @param ratio largest over smallest size, from 1 to `largest`
 * @throws LP_OPTION
 */
export function longTailedCounts(classes: number, largest: number, ratio: number): Int32Array {
  checkSizes(classes, largest, ratio);
  return Int32Array.from({ length: classes }, (_, c) => floorOf(largest / ratio ** (c / (classes - 1))));
}

/**
 * Class sizes `[classes]` of two kinds: the first `⌊classes/2⌋` have `largest` samples, all the others `⌊largest/ratio⌋`.
 * @param classes at least 2
 * @param largest samples of each class of the first half
 * @param ratio largest over smallest size, from 1 to `largest`
 * @throws LP_OPTION
 */
export function stepCounts(classes: number, largest: number, ratio: number): Int32Array {
  checkSizes(classes, largest, ratio);
  return new Int32Array(classes).fill(floorOf(largest / ratio)).fill(largest, 0, Math.floor(classes / 2));
}

function checkSizes(classes: number, largest: number, ratio: number): void {
  checkNumber(classes, option('classes'), { min: 2, max: MOST_CLASSES, integer: true });
  checkNumber(largest, option('largest'), { min: 1, max: 2 ** 31 - 1, integer: true });
  checkNumber(ratio, option('ratio'), { min: 1, max: largest });
}
