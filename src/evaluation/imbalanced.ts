/**
 * Decisions of a classifier that was trained on classes of unequal size, with the training counts `n_c` or the training set.
 * Each gives logits `[n, C]`, of which the largest decides:
 *
 *     logit adjustment      z_c − τ log π_c, π_c = n_c/Σ n      Menon et al., "Long-tail learning via logit adjustment", 2021
 *     τ-normalization       ⟨w_c, h⟩ / ‖w_c‖^τ, no biases       Kang et al., "Decoupling Representation and Classifier for
 *                                                               Long-Tailed Recognition", 2020
 *     nearest class mean    −‖h − μ_c‖²                         Mensink et al., "Distance-Based Image Classification", 2013
 */
import { allocate, checkArray, checkFinite, type Float, type NDArray } from '../array/ndarray.js';
import { eachRow, keep, norms, refuseRow } from '../array/rows.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError, makeError } from '../check/errors.js';
import { checkNumber, checkNumbers, option, type Place } from '../check/options.js';
import { drive, driveSync, type Steps } from '../engine/run.js';
import { type Classifier, classifierSteps } from './decision.js';
import { checkLogits, type Logits, refuseLogits } from './rows.js';
import { ownTraining } from './scores.js';
import {
  type CheckedTraining,
  checkDim,
  checkFeatures,
  checkTraining,
  eachBlock,
  type Features,
  productOf,
  type TrainingSet,
  trainedOf,
} from './trained.js';

export interface TauOptions extends Control {
  /** How much is made up for; 0 leaves decisions to the logits. @default 1 */
  readonly tau?: number | undefined;
}

/**
 * Logits `[n, C]` less `τ log π_c` of the shares `π` of the training counts `[C]`.
 * @throws `LP_OPTION` for a class without training samples; `LP_NOT_FINITE`, `LP_SHAPE`, `LP_DTYPE`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function logitAdjustment(logits: NDArray, counts: ArrayLike<number>, options: TauOptions = {}): Promise<NDArray> {
  return drive(adjustmentSteps(logits, counts, options, keep), { signal: options?.signal });
}

/** `logitAdjustment` on the calling thread. */
export function logitAdjustmentSync(logits: NDArray, counts: ArrayLike<number>, options: TauOptions = {}): NDArray {
  return driveSync(adjustmentSteps(logits, counts, options));
}

/**
 * Logits `⟨w_c, h_i⟩/‖w_c‖^τ`, `[n, C]`, without biases; those of a prototype of length 0 are 0.
 * @throws `LP_NOT_FINITE`, `LP_SHAPE`, `LP_DTYPE`, `LP_DETACHED`, `LP_OPTION`, `LP_ABORTED`
 */
export async function tauNormalization(
  classifier: Pick<Classifier, 'features' | 'prototypes'>,
  options: TauOptions = {},
): Promise<NDArray> {
  return drive(normalizationSteps(classifier, options, keep), { signal: options?.signal });
}

/** `tauNormalization` on the calling thread. */
export function tauNormalizationSync(classifier: Pick<Classifier, 'features' | 'prototypes'>, options: TauOptions = {}): NDArray {
  return driveSync(normalizationSteps(classifier, options));
}

/**
 * `−‖h_i − μ_c‖²`, `[n, C]` in double, of features and the means of classes of the training set; −Infinity for a class without
 * training samples.
 * @throws `LP_NOT_FINITE`, `LP_OVERFLOW`, `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_DETACHED`, `LP_OPTION`, `LP_ABORTED`
 */
export async function nearestClassMean(features: NDArray, training: TrainingSet, options: Control = {}): Promise<NDArray> {
  return drive(nearestSteps(features, training, options, keep), { signal: options?.signal });
}

/** `nearestClassMean` on the calling thread. */
export function nearestClassMeanSync(features: NDArray, training: TrainingSet, options: Control = {}): NDArray {
  return driveSync(nearestSteps(features, training, options));
}

type Keep = <T extends Float | Int32Array>(data: T) => T;
const asGiven: Keep = (data) => data;

export const checkTau = (tau: unknown, place: Place): number => checkNumber(tau ?? 1, place, { min: 0 });

function* adjustmentSteps(logits: NDArray, counts: ArrayLike<number>, options: TauOptions, copy = asGiven): Steps<NDArray> {
  checkOptions(options, ['tau']);
  const tau = checkTau(options.tau, option('options.tau'));
  const checked = checkLogits(logits, 'logits');
  const sizes = checkNumbers(counts, option('counts'), { min: 0 });
  if (sizes.length !== checked.classes) {
    throw new LayerpeelError('LP_SHAPE', `counts have ${sizes.length} entries; expected ${checked.classes}, one a class.`);
  }
  const empty = sizes.indexOf(0);
  if (empty !== -1) {
    throw new LayerpeelError(
      'LP_OPTION',
      `counts[${empty}] is 0: a class without training samples has no log π to adjust its logit by; leave it out, or count it once.`,
    );
  }
  return yield* adjusted({ ...checked, data: copy(checked.data) }, sizes, tau);
}

/** @param counts none of which is 0 */
export function* adjusted({ data, samples, classes }: Logits, counts: Float64Array, tau: number): Steps<NDArray> {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const shifts = counts.map((count) => tau * Math.log(count / total));
  const out = data.slice();
  yield* eachRow(samples, classes, (row, offset) => {
    let largest = Number.NEGATIVE_INFINITY;
    for (let c = 0; c < classes; c++) {
      const value = data[offset + c] as number;
      largest = Math.max(largest, value);
      out[offset + c] = value - (shifts[c] as number);
    }
    if (!Number.isFinite(largest)) refuseLogits(data.subarray(offset, offset + classes), row, undefined, 'logits');
  });
  return { shape: [samples, classes], data: out };
}

function* normalizationSteps(
  classifier: Pick<Classifier, 'features' | 'prototypes'>,
  options: TauOptions,
  copy = asGiven,
): Steps<NDArray> {
  checkOptions(options, ['tau']);
  const tau = checkTau(options.tau, option('options.tau'));
  const { features, prototypes } = (classifier ?? {}) as Partial<Classifier>;
  const [h, w] = [checkArray(features, 'features', 2), checkArray(prototypes, 'prototypes', 2)];
  checkFinite(w.data, 'prototypes');
  return yield* normalized({ ...h, data: copy(h.data) }, { ...w, data: copy(w.data) }, tau);
}

export function* normalized(features: NDArray, prototypes: NDArray, tau: number): Steps<NDArray> {
  const [classes, dim] = prototypes.shape as [number, number];
  const lengths = yield* norms(prototypes.data, [classes, dim], 'prototypes');
  const data = prototypes.data.slice();
  yield* eachRow(classes, dim, (label, offset) => {
    const divisor = ((lengths[label] as number) || 1) ** tau;
    for (let j = 0; j < dim; j++) data[offset + j] = (data[offset + j] as number) / divisor;
  });
  return yield* classifierSteps({ features, prototypes: { shape: prototypes.shape, data } }, {});
}

function* nearestSteps(features: NDArray, training: TrainingSet, options: Control, copy = asGiven): Steps<NDArray> {
  checkOptions(options);
  const checked = checkFeatures(features, 'features');
  const known = ownTraining(checkTraining(training, undefined, { path: 'training', code: 'LP_OPTION' }), copy);
  return yield* nearest({ ...checked, data: copy(checked.data) }, known);
}

export function* nearest(features: Features, training: CheckedTraining): Steps<NDArray> {
  checkDim(features, training.features);
  const { dim, classes, counts, mean, classMeans } = yield* trainedOf(training);
  const out = allocate('float64', features.samples * classes, 'Distances to the means of classes') as Float64Array;
  // ‖h − μ_c‖² = ‖x‖² − 2⟨x, m_c⟩ + ‖m_c‖² of what is centred by the mean, which costs few digits.
  const means = classMeans.map((value, at) =>
    (counts[Math.floor(at / dim)] as number) > 0 ? value - (mean[at % dim] as number) : 0,
  );
  const squares = (yield* norms(means, [classes, dim], 'the means of classes')).map((length) => length ** 2);
  if (!squares.every(Number.isFinite)) {
    throw makeError('LP_OVERFLOW', 'The squares of the means of classes leave the range of a double; scale the features down.');
  }
  yield* eachBlock(features, { rows: mean }, Math.max(dim, classes), function* ({ data, rows, first }) {
    const products = yield* productOf(data, means, dim);
    const lengths = yield* norms(data, [rows, dim], features.name);
    yield* eachRow(rows, classes, (row, offset) => {
      const own = (lengths[row] as number) ** 2;
      for (let c = 0; c < classes; c++) {
        const square = own - 2 * (products[offset + c] as number) + (squares[c] as number);
        if (!Number.isFinite(square)) refuseRow(features.data, first + row, dim, features.name);
        // Rounding may leave less than 0.
        out[first * classes + offset + c] = (counts[c] as number) > 0 ? -Math.max(0, square) : Number.NEGATIVE_INFINITY;
      }
    });
  });
  return { shape: [features.samples, classes], data: out };
}
