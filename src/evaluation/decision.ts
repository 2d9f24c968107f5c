/**
 * Decision rules (UL Appendix D.2). Descent stopped early leaves a residual `Δ` in all features and `sΔ` in all prototypes,
 * which may turn `argmax_c ⟨w_c, h⟩ + b_c`. Subtracting their means removes it:
 *
 *     argmax_c ⟨w_c − w̄, h − h̄⟩ + b_c
 *
 * Centring prototypes alone turns no decision: `⟨w̄, h⟩` is the same for every class. It is centring features that adds
 * `−⟨w_c, h̄⟩` to the logit of class `c`. Differences are taken before the product, so that a large mean costs no digits.
 */

import { types } from 'node:util';
import { product } from '../array/matmul.js';
import { checkArray, checkOptional, checkSameType, type Float, type NDArray, showShape } from '../array/ndarray.js';
import { eachRow, keep, refuseRow } from '../array/rows.js';
import { PIECE } from '../array/stored.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkBoolean, option } from '../check/options.js';
import { drive, driveSync, type Steps, step } from '../engine/run.js';

export interface Classifier {
  /** `[n, p]`. */
  readonly features: NDArray;
  /** `[C, p]`. */
  readonly prototypes: NDArray;
  /** `[C]`. @default 0 */
  readonly biases?: NDArray | undefined;
  /** `h̄ [p]`, best that of the training set. @default the mean of the features given */
  readonly featureMean?: NDArray | undefined;
}

export interface DecisionOptions extends Control {
  /** Subtracts the mean prototype. @default false */
  readonly centerPrototypes?: boolean | undefined;
  /** Subtracts `featureMean` from every feature. @default false */
  readonly centerFeatures?: boolean | undefined;
}

/**
 * Logits `⟨w_c, h_i⟩ + b_c`, `[n, C]`, of centred prototypes or features where asked for; the decision is the largest one.
 * @throws `LP_NOT_FINITE`, `LP_SHAPE`, `LP_DTYPE`, `LP_DETACHED`, `LP_OPTION`, `LP_ABORTED`
 */
export async function classifierLogits(classifier: Classifier, options: DecisionOptions = {}): Promise<NDArray> {
  return drive(classifierSteps(keepAll(classifier), options), { signal: options?.signal });
}

/** `classifierLogits` on the calling thread. */
export function classifierLogitsSync(classifier: Classifier, options: DecisionOptions = {}): NDArray {
  return driveSync(classifierSteps(classifier, options));
}

function keepAll(classifier: Classifier): Classifier {
  const { features, prototypes, biases, featureMean } = checkClassifier(classifier);
  const own = <T extends NDArray | undefined>(array: T): T => (array && { shape: array.shape, data: keep(array.data) }) as T;
  return { features: own(features), prototypes: own(prototypes), biases: own(biases), featureMean: own(featureMean) };
}

function checkClassifier(given: Classifier) {
  const { features: f, prototypes: w, biases: b, featureMean: m } = (given ?? {}) as Partial<Classifier>;
  const features = checkArray(f, 'features', 2);
  const prototypes = checkArray(w, 'prototypes', 2);
  const biases = checkOptional(b, 'biases', 1);
  const featureMean = checkOptional(m, 'featureMean', 1);
  const [samples, dim] = features.shape as [number, number];
  const [classes, prototypeDim] = prototypes.shape as [number, number];
  if (dim !== prototypeDim || samples < 1 || dim < 1 || classes < 2) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `features are ${showShape(features.shape)} and prototypes ${showShape(prototypes.shape)}; expected [n, p] and [C, p] with at least one sample and two classes.`,
    );
  }
  for (const [name, array, length] of [
    ['biases', biases, classes],
    ['featureMean', featureMean, dim],
  ] as const) {
    if (array && array.shape[0] !== length) {
      throw new LayerpeelError('LP_SHAPE', `${name} are ${showShape(array.shape)}; expected [${length}].`);
    }
  }
  checkSameType({ features, prototypes, biases });
  return { features, prototypes, biases, featureMean, samples, classes, dim };
}

export function* classifierSteps(classifier: Classifier, options: DecisionOptions): Steps<NDArray> {
  checkOptions(options, ['centerPrototypes', 'centerFeatures']);
  const centerPrototypes = checkBoolean(options.centerPrototypes ?? false, option('options.centerPrototypes'));
  const centerFeatures = checkBoolean(options.centerFeatures ?? false, option('options.centerFeatures'));
  const { features, prototypes, biases, featureMean, samples, classes, dim } = checkClassifier(classifier);
  const w = centerPrototypes
    ? yield* centered(prototypes.data, classes, dim, yield* meanRow(prototypes, 'prototypes'))
    : prototypes.data;
  const mean = centerFeatures ? (featureMean?.data ?? (yield* meanRow(features, 'features'))) : undefined;
  const shift = biases?.data;
  const logits = alike(features.data, samples * classes);
  const most = Math.max(1, Math.floor(PIECE / (features.data.BYTES_PER_ELEMENT * Math.max(dim, classes))));
  for (let first = 0; first < samples; first += most) {
    const rows = Math.min(most, samples - first);
    const piece = features.data.subarray(first * dim, (first + rows) * dim);
    const h = mean ? yield* centered(piece, rows, dim, mean) : piece;
    const weights = { shape: [classes, dim], data: w };
    const { data } = yield* step(product({ shape: [rows, dim], data: h }, weights, { transposeB: true }));
    yield* eachRow(rows, classes, (row, offset) => {
      let zeros = 0;
      for (let j = 0; j < classes; j++) {
        const z = (data[offset + j] as number) + (shift ? (shift[j] as number) : 0);
        zeros += 0 * z;
        logits[first * classes + offset + j] = z;
      }
      if (zeros !== 0) blame(features.data, first + row, dim, { prototypes: prototypes.data, biases: shift, featureMean: mean });
    });
  }
  return { shape: [samples, classes], data: logits };
}

const alike = (data: Float, length: number): Float =>
  types.isFloat32Array(data) ? new Float32Array(length) : new Float64Array(length);

function* meanRow({ data, shape }: { data: Float; shape: readonly number[] }, name: string): Steps<Float64Array> {
  const [rows, columns] = shape as [number, number];
  const mean = new Float64Array(columns);
  yield* eachRow(rows, columns, (row, offset) => {
    let zeros = 0;
    for (let j = 0; j < columns; j++) {
      const value = data[offset + j] as number;
      zeros += 0 * value;
      mean[j] = (mean[j] as number) + value;
    }
    if (zeros !== 0) refuseRow(data, row, columns, name);
  });
  return mean.map((sum) => sum / rows);
}

function* centered(data: Float, rows: number, columns: number, mean: Float): Steps<Float> {
  const out = alike(data, data.length);
  yield* eachRow(rows, columns, (_, offset) => {
    for (let j = 0; j < columns; j++) out[offset + j] = (data[offset + j] as number) - (mean[j] as number);
  });
  return out;
}

/** Finds what made a logit no finite number. */
function blame(features: Float, row: number, dim: number, others: Readonly<Record<string, Float | undefined>>): never {
  for (const [name, data] of Object.entries(others)) {
    const bad = data?.findIndex((value) => !Number.isFinite(value)) ?? -1;
    if (bad !== -1) throw new LayerpeelError('LP_NOT_FINITE', `${name}.data[${bad}] is ${data?.[bad]}; expected finite numbers.`);
  }
  refuseRow(features, row, dim, 'features');
}
