/**
 * What decisions and scores take from the training set: features `[N, p]` with their labels, the means of classes and of all
 * samples, and sums of products around them. Everything is in double, whatever the features' dtype.
 */
import { product } from '../array/matmul.js';
import { allocate, checkArray, checkLabels, type Float, type NDArray, showShape } from '../array/ndarray.js';
import { eachRow, refuseRow } from '../array/rows.js';
import { PIECE } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, type Place } from '../check/options.js';
import { type Steps, step } from '../engine/run.js';

export interface TrainingSet {
  /** `[N, p]`. */
  readonly features: NDArray;
  /** `[N]`, values `0 … C−1`. */
  readonly labels: Int32Array;
}

/** Rows of features, and what they are called in messages. */
export interface Features {
  readonly data: Float;
  readonly samples: number;
  readonly dim: number;
  readonly name: string;
}

export function checkFeatures(features: unknown, name: string): Features {
  const { shape, data } = checkArray(features, name, 2);
  const [samples, dim] = shape as [number, number];
  if (samples < 1 || dim < 1) {
    throw new LayerpeelError('LP_SHAPE', `${name} are ${showShape(shape)}; expected at least one sample and one dimension.`);
  }
  return { data, samples, dim, name };
}

/** @throws `LP_SHAPE` naming a set whose features are of another dimension */
export function checkDim({ dim, name }: Features, expected: { readonly dim: number; readonly name: string }): void {
  if (dim === expected.dim) return;
  throw new LayerpeelError(
    'LP_SHAPE',
    `${name} have ${dim} columns, but ${expected.name} have ${expected.dim}; both come from one network.`,
  );
}

export interface Trained extends Features {
  readonly labels: Int32Array;
  readonly classes: number;
  /** `[C]`. */
  readonly counts: Int32Array;
  /** `[p]`, of all samples. */
  readonly mean: Float64Array;
  /** `[C, p]`; of a class without samples NaN. */
  readonly classMeans: Float64Array;
}

/** A training set whose arrays have been checked. */
export interface CheckedTraining {
  readonly features: Features;
  readonly labels: Int32Array;
  readonly classes: number;
  readonly counts: Int32Array;
}

/** @param classes as many as the largest label says where left out */
export function checkTraining(training: unknown, classes: number | undefined, place: Place): CheckedTraining {
  const given = checkKeys(training, ['features', 'labels'], place) as unknown as TrainingSet;
  const features = checkFeatures(given.features, `${place.path}.features`);
  const values = (given.labels as { data?: Int32Array } | undefined)?.data ?? given.labels;
  const largest = classes ?? (values instanceof Int32Array ? values.reduce((most, label) => Math.max(most, label), 0) + 1 : 1);
  return { features, classes: largest, ...checkLabels(given.labels, features.samples, largest, `${place.path}.features`) };
}

/** @throws `LP_NOT_FINITE` */
export function* trainedOf({ features, labels, classes, counts }: CheckedTraining): Steps<Trained> {
  const { data, samples, dim, name } = features;
  const classMeans = allocate('float64', classes * dim, 'The means of classes') as Float64Array;
  yield* eachRow(samples, dim, (row, offset) => {
    const to = (labels[row] as number) * dim;
    let zeros = 0;
    for (let j = 0; j < dim; j++) {
      const value = data[offset + j] as number;
      zeros += 0 * value;
      classMeans[to + j] = (classMeans[to + j] as number) + value;
    }
    if (zeros !== 0) refuseRow(data, row, dim, name);
  });
  const mean = new Float64Array(dim);
  yield* eachRow(classes, dim, (label, offset) => {
    for (let j = 0; j < dim; j++) {
      const sum = classMeans[offset + j] as number;
      mean[j] = (mean[j] as number) + sum / samples;
      classMeans[offset + j] = sum / (counts[label] as number);
    }
  });
  return { ...features, labels, classes, counts, mean, classMeans };
}

/** Rows that are subtracted from features, and which one from which sample; the first from all where left out. */
export interface Center {
  readonly rows: Float64Array;
  readonly of?: Int32Array | undefined;
}

/** A block of features less their centres, in shared memory, which the engine reads in place. */
export interface Block {
  /** `[rows, p]`. */
  readonly data: Float64Array;
  readonly rows: number;
  /** The sample of its first row. */
  readonly first: number;
}

/**
 * Calls `body` with one block of features after another.
 * @param columns numbers that the body makes of a row; as many as fit into 8 MiB are in a block
 * @throws `LP_NOT_FINITE`
 */
export function* eachBlock(
  { data, samples, dim, name }: Features,
  center: Center | undefined,
  columns: number,
  body: (block: Block) => Steps<void>,
): Steps<void> {
  const most = Math.max(1, Math.floor(PIECE / (8 * Math.max(dim, columns))));
  for (let first = 0; first < samples; first += most) {
    const rows = Math.min(most, samples - first);
    const block = new Float64Array(new SharedArrayBuffer(8 * rows * dim));
    yield* eachRow(rows, dim, (row, offset) => {
      const [sample, from] = [first + row, first * dim + offset];
      const shift = (center?.of?.[sample] ?? 0) * dim;
      let zeros = 0;
      for (let j = 0; j < dim; j++) {
        const value = (data[from + j] as number) - (center ? (center.rows[shift + j] as number) : 0);
        zeros += 0 * value;
        block[offset + j] = value;
      }
      if (zeros !== 0) refuseRow(data, sample, dim, name);
    });
    yield;
    yield* body({ data: block, rows, first });
  }
}

/** `Σ_i x_i x_iᵀ [p, p]` of features `x` less their centres, changed by `change` where given. */
export function* scatter(features: Features, center: Center, change?: (block: Block) => Steps<void>): Steps<Float64Array> {
  const { dim } = features;
  const sums = allocate('float64', dim * dim, 'The covariance of features') as Float64Array;
  const out = { shape: [dim, dim], data: sums };
  yield* eachBlock(features, center, dim, function* (block) {
    if (change) yield* change(block);
    const x = { shape: [block.rows, dim], data: block.data };
    yield* step(product(x, x, { transposeA: true, out, beta: 1 }));
  });
  return sums;
}

/** `a bᵀ [rows, m]` for `a [rows, p]` and `b [m, p]`. */
export function* productOf(a: Float64Array, b: Float64Array, dim: number): Steps<Float64Array> {
  const matrix = (data: Float64Array) => ({ shape: [data.length / dim, dim], data });
  return (yield* step(product(matrix(a), matrix(b), { transposeB: true }))).data as Float64Array;
}
