/**
 * What is known of the values of the unhinged loss `L_γ(z, y) = −z_y + γ Σ_{j≠y} z_j`: its minimum under bounds of norms
 * (UL Lemma 1), the losses that bound it from above, and the value below which a sample is on its side (UL App. A).
 */

import { most } from '../array/extremes.js';
import { matmul, matmulSync } from '../array/matmul.js';
import { checkState, type Float, type NDArray, type State } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, checkNumber, option } from '../check/options.js';

export interface NormBounds {
  readonly gamma: number;
  /** Bound of the norm of each prototype. @default 1 */
  readonly prototypeNorm?: number;
  /** Bound of the norm of each feature. @default 1 */
  readonly featureNorm?: number;
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
 * @throws `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_OPTION`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function unhingedBounds(state: State, options: UpperBoundOptions): Promise<UpperBounds> {
  const [features, prototypes, bound] = bounds(state, options);
  return bound((await matmul(features, prototypes, { signal: options.signal, transposeB: true })).data);
}

/** `unhingedBounds` on the calling thread. */
export function unhingedBoundsSync(state: State, options: UpperBoundOptions): UpperBounds {
  const [features, prototypes, bound] = bounds(state, options);
  return bound(matmulSync(features, prototypes, { transposeB: true }).data);
}

function bounds(state: State, options: UpperBoundOptions): [NDArray, NDArray, (logits: Float) => UpperBounds] {
  checkOptions(options, ['gamma']);
  const gamma = checkNumber(options.gamma, option('options.gamma'), { min: 0 });
  const { features, prototypes, biases, labels, samples, classes, dim } = checkState(state);
  const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const bound = (logits: Float): UpperBounds => {
    const result = {
      values: new Float64Array(samples),
      binary: new Float64Array(samples),
      crossEntropy: new Float64Array(samples),
    };
    let holds = true;
    for (let i = 0; i < samples; i++) {
      const y = labels[i] as number;
      const z = Float64Array.from(
        { length: classes },
        (_, c) => (logits[i * classes + c] as number) + ((biases?.[c] as number) ?? 0),
      );
      const own = z[y] as number;
      const top = most(z);
      const logSum = top + Math.log(z.reduce((sum, x) => sum + Math.exp(x - top), 0));
      const others = z.reduce((sum, x) => sum + x, 0) - own;
      const value = -own + gamma * others;
      const binary = softplus(-own) + gamma * (z.reduce((sum, x) => sum + softplus(x), 0) - softplus(own));
      const crossEntropy = -own + gamma * (classes - 1) * logSum;
      const rounding = 1e-12 * (Math.abs(own) + gamma * z.reduce((sum, x) => sum + Math.abs(x), 0));
      holds &&= value <= binary + rounding && value <= crossEntropy + rounding;
      result.values[i] = value;
      result.binary[i] = binary;
      result.crossEntropy[i] = crossEntropy;
    }
    return { ...result, holds };
  };
  return [{ shape: [samples, dim], data: features }, { shape: [classes, dim], data: prototypes }, bound];
}
