/**
 * Who moves what: the gradient of a loss by class. The gradient of a prototype is the sum of what its own samples and those of
 * the other classes make of it (ETF §3.2, Remarks 2 and 3, there of cross-entropy, with `p_k` the softmax),
 *
 *     ∂L/∂w_k = Σ_{y_i=k} ∂ℓ_i/∂w_k        pull: Σ −(1 − p_k(h_i)) h_i, towards the features of the class
 *             + Σ_{y_i≠k} ∂ℓ_i/∂w_k        push: Σ p_k(h_i) h_i, away from those of all others
 *
 * Of a class with few samples the push has nearly all: its prototype is moved by others, and prototypes of small classes merge
 * (minority collapse). A fixed classifier has neither. What is left is the gradient of the backbone's parameters `θ`, of which
 * only a bound is known without the network (ETF Appendix C): with `σ` the largest singular value of the Jacobians `∂h_i/∂θ`,
 *
 *     ‖∂L/∂θ‖ ≤ σ Σ_k Σ_{y_i=k} ‖∂L/∂h_i‖,
 *
 * where `‖∂ℓ_i/∂h_i‖ ≤ 2 ‖w_{y_i}‖` under dot regression (by ETF Eq. 15; of cross-entropy Eq. 12), so that a class has at most
 * `2 n_k ‖w_k‖/N`: `2/K`, each the same, at the lengths `N/(K n_k)`.
 */
import { type CheckedState, checkState, type Float, indicesByClass, type NDArray, type State, shared } from '../array/ndarray.js';
import { eachRow } from '../array/rows.js';
import { type Control, checkOptions } from '../check/control.js';
import { OverflowError } from '../check/errors.js';
import { option } from '../check/options.js';
import type { EngineState } from '../engine/load.js';
import { begun, driveSync, type Steps, step } from '../engine/run.js';
import { normOf } from '../state/states.js';
import { checkLoss, type EngineLoss, type Loss, type LossSetting, settingKeys } from './losses.js';

export interface GradientShares {
  /** Samples of each class, `[C]`. */
  readonly counts: Int32Array;
  /** What a class's own samples make of the gradient of its prototype, `[C, p]`; 0 of a class without samples. */
  readonly pull: NDArray<Float64Array>;
  /** What the samples of all other classes make of it; with `pull` it adds up to the gradient. */
  readonly push: NDArray<Float64Array>;
  /** Lengths of these, `[C]`. */
  readonly pullNorms: Float64Array;
  readonly pushNorms: Float64Array;
  /** `‖pull‖/(‖pull‖ + ‖push‖)`, `[C]`: 0 of a class without samples, NaN where a prototype has no gradient at all. */
  readonly pullShares: Float64Array;
  /** `Σ_{y_i=k} ‖∂L/∂h_i‖`, `[C]`: what bounds a class's part in the gradient of the backbone, in units of `σ`; 0 of a class without samples. */
  readonly backbone: Float64Array;
}

export interface GradientSharesOptions extends LossSetting, Control {}

/**
 * The gradient of a loss split by class. It takes every loss and setting of `lossAndGradient`, by a call of it for each class
 * and `C² p` additions; sums over classes are in double. A sample's own class is its label, also under label smoothing and soft
 * labels, whose targets then have a pull in the push. Where features are normalized, `∂L/∂h` is that by features as they are.
 *
 * @throws as `lossAndGradient`
 */
export async function gradientShares(loss: Loss, state: State, options: GradientSharesOptions = {}): Promise<GradientShares> {
  return begun(shareSteps(loss, state, options), { signal: options?.signal })();
}

/** `gradientShares` on the calling thread (its loops still use every compute thread). */
export function gradientSharesSync(loss: Loss, state: State, options: GradientSharesOptions = {}): GradientShares {
  return driveSync(shareSteps(loss, state, options));
}

function* shareSteps(loss: Loss, state: State, options: GradientSharesOptions): Steps<GradientShares> {
  checkOptions(options, settingKeys);
  const checked = checkState(state);
  return yield* splitGradient(checked, checkLoss(loss, options, checked, option('loss'), option('options')), options.onProgress);
}

/** `gradientShares` of what has been checked, as a part of a longer computation. */
export function* splitGradient(checked: CheckedState, plan: EngineLoss, onProgress?: Control['onProgress']): Steps<GradientShares> {
  const { samples, classes, dim, counts } = checked;
  const prototypes = shared(checked.prototypes);
  const biases = checked.biases && shared(checked.biases);
  const members = indicesByClass(checked.labels, classes).map((rows) => ({
    features: rowsOf(checked.features, rows, dim),
    softLabels: plan.softLabels && rowsOf(plan.softLabels, rows, classes),
  }));
  const pull = new Float64Array(classes * dim);
  const push = new Float64Array(classes * dim);
  const backbone = new Float64Array(classes);
  let done = 0;
  for (const [label, { features, softLabels }] of members.entries()) {
    const count = counts[label] as number;
    if (count === 0) continue;
    // The mean over a class weighs in the mean over all as its share of the samples; the regularization is no mean.
    const share = plan.sum ? 1 : count / samples;
    const own = { features, prototypes, biases, labels: new Int32Array(count).fill(label), samples: count, classes, dim };
    const ownPlan = { ...plan, softLabels, regularization: plan.regularization / share };
    const gradient = yield* gradientOf(own, ownPlan, checked, plan);
    for (let c = 0; c < classes; c++) {
      const into = c === label ? pull : push;
      for (let at = c * dim; at < (c + 1) * dim; at++)
        into[at] = (into[at] as number) + share * (gradient.prototypes[at] as number);
    }
    yield* eachRow(count, dim, (_, at) => {
      backbone[label] = (backbone[label] as number) + share * normOf(gradient.features.subarray(at, at + dim));
    });
    done += count;
    onProgress?.(done / samples);
  }
  const [pullNorms, pushNorms] = [lengthsOf(pull, dim), lengthsOf(push, dim)];
  if (![pullNorms, pushNorms, backbone].every((lengths) => lengths.every(Number.isFinite))) {
    throw new OverflowError('The gradient of a class leaves the range of float64; scale features or prototypes down.');
  }
  return {
    counts,
    pull: { shape: [classes, dim], data: pull },
    push: { shape: [classes, dim], data: push },
    ...{ pullNorms, pushNorms, backbone },
    pullShares: pullNorms.map((length, k) => 1 / (1 + (pushNorms[k] as number) / length)),
  };
}

/** The gradient of the samples of one class. What fails is told of the whole state, whose rows the caller knows. */
function* gradientOf(own: EngineState<Float>, ownPlan: EngineLoss, whole: EngineState<Float>, plan: EngineLoss) {
  try {
    return yield* step({
      call: (engine, mode) => engine.lossAndGradient(mode, own, ownPlan, undefined),
      wrap: ({ features, prototypes }) => ({ features: features as Float, prototypes: prototypes as Float }),
    });
  } catch (error) {
    yield* step({ call: (engine, mode) => engine.measureLoss(mode, whole, plan), wrap: () => undefined });
    throw error;
  }
}

/** Some rows, in shared memory, which native jobs read in place. */
function rowsOf<T extends Float>(data: T, rows: Int32Array, columns: number): T {
  const Kind = data.constructor as new (buffer: SharedArrayBuffer) => T;
  const copy = new Kind(new SharedArrayBuffer(data.BYTES_PER_ELEMENT * rows.length * columns));
  for (const [to, from] of rows.entries()) copy.set(data.subarray(from * columns, (from + 1) * columns), to * columns);
  return copy;
}

const lengthsOf = (rows: Float, columns: number): Float64Array =>
  Float64Array.from({ length: rows.length / columns }, (_, i) => normOf(rows.subarray(i * columns, (i + 1) * columns)));
