/**
 * What is known of the values of the unhinged loss `L_γ(z, y) = −z_y + γ Σ_{j≠y} z_j`: its minimum under bounds of norms
 * (UL Lemma 1), the losses that bound it from above, and the value below which a sample is on its side (UL App. A).
 */

import { most } from '../array/extremes.js';
import { product } from '../array/matmul.js';
import { type CheckedState, checkFinite, checkState, type Float, type State, snapshot } from '../array/ndarray.js';
import { eachRow } from '../array/rows.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError, OverflowError } from '../check/errors.js';
import { checkKeys, checkNumber, option } from '../check/options.js';
import { checkGamma } from '../check/quantities.js';
import { drive, driveSync, type Steps, step } from '../engine/run.js';

export interface NormBounds {
  readonly gamma: number;
  /** Bound of the norm of each prototype. @default 1 */
  readonly prototypeNorm?: number | undefined;
  /** Bound of the norm of each feature. @default 1 */
  readonly featureNorm?: number | undefined;
}

/**
 * The minimum of the mean unhinged loss over prototypes and features in balls, of balanced classes in at least `C − 1`
 * dimensions (UL Lemma 1): `−(1+γ) E_1 E_2`. For `0 < γ < 2/(C−2)` it is attained where all norms are at their bounds, features
 * lie along their prototypes and `Σ_c w_c = 0`: at a simplex ETF, which for `C ≤ 3` is all there is, but with more classes, other
 * than the lemma has it, at every such set of prototypes, since the loss sees their angles through the sum alone. For `γ = 0`
 * the sum is free too.
 *
 * @throws `LP_OPTION`, also for `γ` beyond `2/(C−2)`, where the common mean does better
 */
export function unhingedMinimum(classes: number, bounds: NormBounds): number {
  checkKeys(bounds, ['gamma', 'prototypeNorm', 'featureNorm'], option('bounds'));
  const count = checkNumber(classes, option('classes'), { min: 2, integer: true });
  const gamma = checkNumber(bounds.gamma, option('bounds.gamma'), { min: 0 });
  if (count > 2 && gamma > 2 / (count - 2)) {
    throw new LayerpeelError(
      'LP_OPTION',
      `bounds.gamma is ${gamma}; the minimum is that of Lemma 1 for at most 2/(C−2) = ${2 / (count - 2)}, beyond which all prototypes agree.`,
    );
  }
  const norm = (key: 'prototypeNorm' | 'featureNorm') => checkNumber(bounds[key] ?? 1, option(`bounds.${key}`), { above: 0 });
  return -(1 + gamma) * norm('prototypeNorm') * norm('featureNorm');
}

/**
 * The value of the unhinged loss of one sample below which its largest logit is its own, for unit features and a simplex ETF
 * of unit prototypes (UL App. A, corrected): `−(1+γ) √((C−2)/(2(C−1)))`. Sufficient, not necessary.
 */
export function correctBelow(classes: number, gamma: number): number {
  const count = checkNumber(classes, option('classes'), { min: 2, integer: true });
  return -(1 + checkNumber(gamma, option('gamma'), { min: 0 })) * Math.sqrt((count - 2) / (2 * (count - 1)));
}

/** The inequality of UL App. A, a number for each sample. */
export interface UpperBounds {
  /** `L_γ(z, y)` */
  readonly values: Float64Array;
  /** `log(1 + e^{−z_y}) + γ Σ_{j≠y} log(1 + e^{z_j})`: the multi-binary cross-entropy. */
  readonly binary: Float64Array;
  /** `(γ(C−1) − 1) z_y − γ(C−1) log softmax(z)_y`: at `γ = 1/(C−1)` the cross-entropy. */
  readonly crossEntropy: Float64Array;
  /** Whether every value is at most both of its bounds, to rounding. */
  readonly holds: boolean;
}

export interface UpperBoundOptions extends Control {
  readonly gamma: number;
}

/**
 * The unhinged loss of each sample of a state beside the losses that bound it (UL App. A).
 *
 * @throws `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_OPTION`, `LP_OVERFLOW`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function unhingedBounds(state: State, options: UpperBoundOptions): Promise<UpperBounds> {
  return drive(bounds(state, options, snapshot), options);
}

/** `unhingedBounds` on the calling thread. */
export function unhingedBoundsSync(state: State, options: UpperBoundOptions): UpperBounds {
  return driveSync(bounds(state, options));
}

const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

function* bounds(state: State, options: UpperBoundOptions, own = (given: CheckedState) => given): Steps<UpperBounds> {
  checkOptions(options, ['gamma']);
  const gamma = checkGamma(options.gamma, option('options.gamma'));
  const { features, prototypes, biases, labels, samples, classes, dim } = own(checkState(state));
  const { data: logits } = yield* step(
    product(
      { shape: [samples, dim], data: Float64Array.from(features) },
      { shape: [classes, dim], data: Float64Array.from(prototypes) },
      { transposeB: true },
    ),
  );
  const [values, binary, crossEntropy] = [new Float64Array(samples), new Float64Array(samples), new Float64Array(samples)];
  const z = new Float64Array(classes);
  let holds = true;
  yield* eachRow(samples, classes * COST, (i) => {
    const row = i * classes;
    for (let c = 0; c < classes; c++) z[c] = (logits[row + c] as number) + ((biases?.[c] as number) ?? 0);
    const own = z[labels[i] as number] as number;
    const top = most(z);
    const logSum = top + Math.log(z.reduce((sum, x) => sum + Math.exp(x - top), 0));
    const others = z.reduce((sum, x) => sum + x, 0) - own;
    const value = -own + gamma * others;
    const sides = softplus(-own) + gamma * (z.reduce((sum, x) => sum + softplus(x), 0) - softplus(own));
    const entropy = -own + gamma * (classes - 1) * logSum;
    if (!Number.isFinite(value + sides + entropy)) blame({ features, prototypes, biases }, i);
    const rounding = 1e-12 * (Math.abs(own) + gamma * z.reduce((sum, x) => sum + Math.abs(x), 0));
    holds &&= value <= sides + rounding && value <= entropy + rounding;
    values[i] = value;
    binary[i] = sides;
    crossEntropy[i] = entropy;
  });
  return { values, binary, crossEntropy, holds };
}

/** A logit costs as much as so many additions. */
const COST = 16;

/** Finds what made the bounds of a sample no finite numbers. */
function blame(arrays: Readonly<Record<string, Float | undefined>>, sample: number): never {
  for (const [name, data] of Object.entries(arrays)) if (data) checkFinite(data, name);
  throw new OverflowError(`The logits of sample ${sample} leave the range of a double; scale the state down.`);
}
