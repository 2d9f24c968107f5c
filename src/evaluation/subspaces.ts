/**
 * Scores by the principal directions of the training set.
 *
 * Residual and virtual logit (Wang et al., "ViM: Out-Of-Distribution with Virtual-logit Matching", 2022): around the origin
 * `u = −W⁺b`, where logits are 0, features have `D` principal directions; with `R` the others,
 *
 *     residual = −‖R(h − u)‖        vim = log Σ_j e^{z_j} − α ‖R(h − u)‖        α = Σ_i max_j z_ij / Σ_i ‖R(h_i − u)‖ of training
 *
 * Singular values of `W` below `max(C, p)` roundings of single precision of the largest count as 0. Where features of training
 * leave no residual beyond rounding `α` has no value, and there is no `vim`.
 *
 * NECO (Ben Ammar et al., "NECO: NEural Collapse Based Out-of-distribution detection", 2024): of features `s` standardized by
 * the training set's mean and deviation, coordinate by coordinate, as its released code does, with `P` the `d` principal directions,
 *
 *     neco = ‖P s‖ / ‖s‖
 *
 * A coordinate that is constant in training is only centred; a feature that is the mean has a score of 0. For transformers the
 * released code multiplies by the largest logit.
 */
import { eigen } from '../array/eigen.js';
import { shared } from '../array/ndarray.js';
import { eachRow, norms, type Turns } from '../array/rows.js';
import type { Steps } from '../engine/run.js';
import { type Block, eachBlock, type Features, productOf, scatter, type Trained } from './trained.js';

/** The last layer: prototypes `[C, p]` and biases `[C]`. */
export interface Head {
  readonly prototypes: Float64Array;
  readonly biases: Float64Array;
}

export interface Residuals {
  /** Lengths of what the principal directions leave. */
  readonly of: (features: Features) => Steps<Float64Array>;
  /** `α`; undefined where training leaves no residual. */
  readonly weight: number | undefined;
}

/** As many principal directions as ViM's released code takes. */
export const usualVimDim = (dim: number): number => (dim >= 2048 ? 1000 : dim >= 768 ? 512 : Math.floor(dim / 2));

/** As many as centred means of classes span, or half of the dimensions where these are fewer. */
export const usualNecoDim = (classes: number, dim: number): number =>
  Math.max(1, classes - 1 < dim ? classes - 1 : Math.floor(dim / 2));

export function* fitResiduals(trained: Trained, { prototypes, biases }: Head, principal: number): Steps<Residuals> {
  const { dim, samples } = trained;
  const classes = biases.length;
  const origin = yield* originOf(prototypes, biases, dim);
  const { vectors } = yield* eigen(yield* scatter(trained, { rows: origin }), dim, 'the covariance of features');
  const others = vectors.subarray(0, (dim - principal) * dim);
  const lengths = function* (features: Features, seen?: (block: Block) => Steps<void>): Steps<Float64Array> {
    const found = new Float64Array(features.samples);
    yield* eachBlock(features, { rows: origin }, Math.max(dim, classes), function* (block) {
      if (seen) yield* seen(block);
      if (principal === dim) return;
      const left = yield* productOf(block.data, others, dim);
      found.set(yield* norms(left, [block.rows, dim - principal], features.name), block.first);
    });
    return found;
  };
  // z = W(h − u) + (b + Wu)
  const shift = yield* productOf(origin, prototypes, dim);
  for (let c = 0; c < classes; c++) shift[c] = (shift[c] as number) + (biases[c] as number);
  let [largest, total] = [0, 0];
  const residuals = yield* lengths(trained, function* ({ data, rows }) {
    const logits = yield* productOf(data, prototypes, dim);
    const sizes = yield* norms(data, [rows, dim], trained.name);
    yield* eachRow(rows, classes, (row, offset) => {
      let most = Number.NEGATIVE_INFINITY;
      for (let c = 0; c < classes; c++) most = Math.max(most, (logits[offset + c] as number) + (shift[c] as number));
      largest += most / samples;
      total += (sizes[row] as number) / samples;
    });
  });
  const left = residuals.reduce((sum, value) => sum + value / samples, 0);
  const rounding = 16 * Number.EPSILON * dim * total;
  return { of: (features) => lengths(features), weight: left > rounding ? largest / left : undefined };
}

/** `u = −W⁺b`, by the eigenvectors of the smaller of `W Wᵀ` and `Wᵀ W`. */
function* originOf(prototypes: Float64Array, biases: Float64Array, dim: number): Steps<Float64Array> {
  const classes = biases.length;
  const columns = transpose(prototypes, classes, dim);
  const wide = classes <= dim;
  const size = wide ? classes : dim;
  const gram = wide ? yield* productOf(prototypes, prototypes, dim) : yield* productOf(columns, columns, classes);
  const { values, vectors } = yield* eigen(gram, size, 'the products of prototypes');
  const least = (values.at(-1) as number) * (Math.max(classes, dim) * 2 ** -23) ** 2;
  // W⁺b = Wᵀ (W Wᵀ)⁺ b = (Wᵀ W)⁺ Wᵀ b
  const inverse = function* (x: Float64Array): Steps<Float64Array> {
    const parts = (yield* productOf(vectors, x, size)).map((part, k) => {
      const value = values[k] as number;
      return value > least ? part / value : 0;
    });
    return yield* productOf(transpose(vectors, size, size), parts, size);
  };
  const found = wide
    ? yield* productOf(columns, yield* inverse(biases), classes)
    : yield* inverse(yield* productOf(columns, biases, classes));
  return found.map((value) => -value);
}

function transpose(data: Float64Array, rows: number, columns: number): Float64Array {
  const out = new Float64Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j] as number;
  return out;
}

export function* fitNeco(trained: Trained, principal: number): Steps<(features: Features) => Steps<Float64Array>> {
  const { dim, samples, mean } = trained;
  const center = { rows: mean };
  const squares = new Float64Array(dim);
  yield* eachBlock(trained, center, dim, function* ({ data, rows }) {
    yield* eachRow(rows, dim, (_, offset) => {
      for (let j = 0; j < dim; j++) squares[j] = (squares[j] as number) + (data[offset + j] as number) ** 2 / samples;
    });
  });
  // A constant coordinate differs from its mean by rounding.
  const scales = squares.map((square, j) =>
    square > (samples * Number.EPSILON * (mean[j] as number)) ** 2 ? 1 / Math.sqrt(square) : 1,
  );
  const standardize = function* ({ data, rows }: Block): Turns<void> {
    yield* eachRow(rows, dim, (_, offset) => {
      for (let j = 0; j < dim; j++) data[offset + j] = (data[offset + j] as number) * (scales[j] as number);
    });
  };
  const { vectors } = yield* eigen(yield* scatter(trained, center, standardize), dim, 'the covariance of features');
  const directions = shared(vectors.subarray((dim - principal) * dim));
  return function* (features) {
    const scores = new Float64Array(features.samples);
    yield* eachBlock(features, center, dim, function* (block) {
      yield* standardize(block);
      const parts = yield* productOf(block.data, directions, dim);
      const [some, all] = [
        yield* norms(parts, [block.rows, principal], features.name),
        yield* norms(block.data, [block.rows, dim], features.name),
      ];
      scores.set(
        some.map((length, i) => length / (all[i] || 1)),
        block.first,
      );
    });
    return scores;
  };
}
