/**
 * Learning features towards a fixed simplex-ETF classifier (ETF). With `K` prototypes of squared length `E_W` and features in
 * the ball `‖h‖² ≤ E_H`, dot regression and cross-entropy have the same optimum whatever the class sizes (Theorem 1),
 *
 *     h* = √(E_H/E_W) w_y,
 *
 * and projected SGD, `h⁺ = Proj(h − γ ∂ℓ/∂h)`, comes closer to it by at least `(1+cos∠(h, w_y))/2` a step in the squared
 * distance: dot regression at the constant rate `γ = √(E_H/E_W)`, cross-entropy only at `γ = (K−1)/K √(E_H/E_W)
 * (1−cos∠)/(1−p_y)`, which is another one at every step and for every sample (Theorem 2).
 */

import { most } from '../array/extremes.js';
import { matmulSync } from '../array/matmul.js';
import {
  allocate,
  checkArray,
  checkFinite,
  checkLabels,
  checkState,
  dtypeOf,
  type Float,
  type NDArray,
  type State,
  scales,
} from '../array/ndarray.js';
import { LayerpeelError, OverflowError } from '../check/errors.js';
import { checkChoice, checkKeys, checkNumber, checkNumbers, inside, option } from '../check/options.js';
import { normOf } from '../state/states.js';

export interface Energies {
  /** `E_W`, the squared length of prototypes: read from them, and compared where it is given. @default theirs */
  readonly prototypeEnergy?: number | undefined;
  /** `E_H`, the squared radius of the features' ball. @default 1 */
  readonly featureEnergy?: number | undefined;
}

/** The optimal features `[n, p]` of these labels (ETF Theorem 1): `h* = √(E_H/E_W) w_y`. @throws `LP_SHAPE`, `LP_LABEL`, `LP_OPTION` */
export function etfOptimum(prototypes: NDArray, labels: Int32Array, energies: Energies = {}): NDArray {
  checkKeys(energies, ['prototypeEnergy', 'featureEnergy'], option('energies'));
  const { shape, data } = checkArray(prototypes, 'prototypes', 2);
  const [classes, dim] = shape as [number, number];
  const samples = labels?.length ?? 0;
  const checked = checkLabels(labels, samples, classes).labels;
  checkFinite(data, 'prototypes');
  const { root } = roots(energies, data, dim);
  const out = allocate(dtypeOf(data), samples * dim, 'The optimum') as Float;
  for (let i = 0; i < samples; i++) {
    const y = checked[i] as number;
    for (let j = 0; j < dim; j++) out[i * dim + j] = root * (data[y * dim + j] as number);
  }
  return { shape: [samples, dim], data: out };
}

export interface Contraction {
  /** `cos∠(h, w_y)` of each sample. */
  readonly cosines: Float64Array;
  /** The rate that was taken for each sample. */
  readonly rates: Float64Array;
  /** `‖h⁺ − h*‖²/‖h − h*‖²` of one step of projected SGD; 0 where the sample is at its optimum. */
  readonly ratios: Float64Array;
  /** `(1 + cos∠)/2` (Theorem 2). */
  readonly bounds: Float64Array;
}

export interface ContractionOptions extends Energies {
  readonly loss: 'dot-regression' | 'cross-entropy';
  /** The rate of every sample. @default that of Theorem 2: of cross-entropy another one for each sample */
  readonly rate?: number | undefined;
}

/**
 * How much closer to its optimum one step of projected SGD, each sample by its own gradient, takes the features of a state
 * with fixed prototypes: Theorem 2, measured.
 *
 * @throws `LP_OPTION`, `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_OVERFLOW`
 */
export function contraction(state: State, options: ContractionOptions): Contraction {
  const place = option('options');
  checkKeys(options, ['prototypeEnergy', 'featureEnergy', 'loss', 'rate'], place);
  const kind = checkChoice(options.loss, ['dot-regression', 'cross-entropy'] as const, inside(place, 'loss'));
  const fixed = options.rate === undefined ? undefined : checkNumber(options.rate, inside(place, 'rate'), { above: 0 });
  const { features, prototypes, labels, samples, classes, dim } = checkState(state);
  for (const [name, data] of Object.entries({ features, prototypes })) checkFinite(data, name);
  const { root, lengths, radius } = roots(options, prototypes, dim);
  const logits = matmulSync(
    { shape: [samples, dim], data: Float64Array.from(features) },
    { shape: [classes, dim], data: Float64Array.from(prototypes) },
    { transposeB: true },
  ).data;
  if (!logits.every(Number.isFinite)) {
    throw new OverflowError('The logits leave the range of a double; scale the state down.');
  }
  const result = {
    cosines: new Float64Array(samples),
    rates: new Float64Array(samples),
    ratios: new Float64Array(samples),
    bounds: new Float64Array(samples),
  };
  const gradient = new Float64Array(dim);
  for (let i = 0; i < samples; i++) {
    const y = labels[i] as number;
    const h = features.subarray(i * dim, (i + 1) * dim);
    const w = prototypes.subarray(y * dim, (y + 1) * dim);
    const z = Float64Array.from(logits.subarray(i * classes, (i + 1) * classes));
    const along = z[y] as number;
    const [length, target] = [normOf(h), normOf(w)];
    let cosine = 0;
    for (let j = 0; j < dim; j++) cosine += ((h[j] as number) / length) * ((w[j] as number) / target);
    gradient.fill(0);
    let natural = root;
    if (kind === 'dot-regression') {
      for (let j = 0; j < dim; j++) gradient[j] = (along / lengths - 1) * (w[j] as number);
    } else {
      const top = most(z);
      const shares = z.map((x) => Math.exp(x - top));
      const sum = shares.reduce((total, x) => total + x, 0);
      let wrong = 0; // 1 − p_y
      for (let c = 0; c < classes; c++) {
        const share = (shares[c] as number) / sum;
        if (c !== y) wrong += share;
        for (let j = 0; j < dim; j++)
          gradient[j] = (gradient[j] as number) + (share - (c === y ? 1 : 0)) * (prototypes[c * dim + j] as number);
      }
      natural = ((classes - 1) / classes) * root * ((1 - cosine) / wrong);
    }
    const rate = fixed ?? natural;
    const moved = Float64Array.from(h, (x, j) => x - rate * (gradient[j] as number));
    const norm = normOf(moved);
    const shrink = norm > radius ? radius / norm : 1;
    const distance = (x: ArrayLike<number>, scale: number) =>
      normOf(Float64Array.from(w, (optimum, j) => scale * (x[j] as number) - root * optimum));
    const before = distance(h, 1);
    result.cosines[i] = cosine;
    result.rates[i] = rate;
    result.ratios[i] = before > 0 ? (distance(moved, shrink) / before) ** 2 : 0;
    result.bounds[i] = (1 + cosine) / 2;
  }
  return result;
}

/** Rounding of a squared length, over it: of a frame in float32, or printed with seven digits. */
const ROUNDING = 1e-5;

function roots(given: Energies, prototypes: Float, dim: number) {
  const prototype = commonEnergy(prototypes, dim);
  const said = checkNumber(given.prototypeEnergy ?? prototype, option('prototypeEnergy'), scales.float64);
  if (Math.abs(said - prototype) > ROUNDING * prototype) {
    throw new LayerpeelError(
      'LP_OPTION',
      `prototypeEnergy is ${said}, but the squared length of these prototypes is ${prototype}; leave it out, or scale them.`,
    );
  }
  const feature = checkNumber(given.featureEnergy ?? 1, option('featureEnergy'), scales.float64);
  return { root: Math.sqrt(feature / prototype), lengths: Math.sqrt(feature * prototype), radius: Math.sqrt(feature) };
}

/** The squared length that all prototypes have. @throws `LP_OPTION` where there is none: Theorems 1 and 2 are of a simplex ETF */
function commonEnergy(prototypes: Float, dim: number): number {
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  for (let at = 0; at < prototypes.length; at += dim) {
    const energy = normOf(prototypes.subarray(at, at + dim)) ** 2;
    [least, most] = [Math.min(least, energy), Math.max(most, energy)];
  }
  if (!(most > 0 && most - least <= ROUNDING * most)) {
    throw new LayerpeelError(
      'LP_OPTION',
      `The prototypes have squared lengths from ${least} to ${most}; expected one length above 0, as of simplexETF.`,
    );
  }
  return (least + most) / 2;
}

/**
 * Lengths of prototypes that weigh classes alike (ETF §3.3), one a class. `paper`: `√E_k = N/(K n_k)` over the whole set.
 * `released`: `√(γ_B/n_k)` as the released code has it, with the counts of a batch and `γ_B` its size over the number of
 * classes in it; a class that the batch lacks has the length 1. Pass them to dot regression as `prototypeEnergy` (squared)
 * or, of its convention `lengths`, as `prototypeLength`.
 *
 * @throws `LP_OPTION`, `LP_BALANCE` (an empty class, in the paper's convention)
 */
export function balancedLengths(
  counts: ArrayLike<number>,
  options: { readonly convention?: 'paper' | 'released' } = {},
): Float64Array {
  checkKeys(options, ['convention'], option('options'));
  const convention = checkChoice(options.convention ?? 'paper', ['paper', 'released'] as const, option('options.convention'));
  const sizes = Array.from(checkNumbers(counts, option('counts'), { min: 0, integer: true }));
  const total = sizes.reduce((sum, count) => sum + count, 0);
  const present = sizes.filter((count) => count > 0).length;
  if (total === 0) throw new LayerpeelError('LP_BALANCE', 'All counts are 0; expected at least one sample.');
  return Float64Array.from(sizes, (count, c) => {
    if (convention === 'released') return count === 0 ? 1 : Math.sqrt(total / present / count);
    if (count === 0)
      throw new LayerpeelError('LP_BALANCE', `Class ${c} has no samples; its balanced length N/(K n_c) is infinite.`);
    return total / (sizes.length * count);
  });
}
