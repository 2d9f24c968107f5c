/**
 * Mahalanobis distances (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
 * Attacks", 2018) and relative ones (Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", 2021).
 * With one scatter for all classes and one of all samples around their mean,
 *
 *     S = Σ_i (h_i − μ_{y_i})(·)ᵀ + εI        d_c = (h − μ_c)ᵀ S⁻¹ (h − μ_c)        mahalanobis = −½ min_c d_c
 *     T = Σ_i (h_i − μ)(·)ᵀ + εI              d_0 = (h − μ)ᵀ T⁻¹ (h − μ)            relativeMahalanobis = −(min_c d_c − d_0)
 *
 * Sums, not means, the ½ and `ε = 10⁻⁶` are those of pytorch-ood; of the papers' scores these are 1/(2N) and 1/N times. The
 * ridge is what a direction in which the training set does not vary weighs by, as where it has fewer samples than dimensions.
 * A class without samples has no mean and is nobody's nearest.
 */
import { eigen } from '../array/eigen.js';
import { shared } from '../array/ndarray.js';
import { eachRow } from '../array/rows.js';
import type { Steps } from '../engine/run.js';
import { eachBlock, type Features, productOf, scatter, type Trained } from './trained.js';

const RIDGE = 1e-6;

export interface Distances {
  readonly mahalanobis: Float64Array;
  readonly relativeMahalanobis: Float64Array;
}

export function* fitGaussians(trained: Trained): Steps<(features: Features) => Steps<Distances>> {
  const { dim, labels, counts, mean, classMeans } = trained;
  const within = yield* whitening(yield* scatter(trained, { rows: classMeans, of: labels }), dim);
  const around = yield* whitening(yield* scatter(trained, { rows: mean }), dim);
  const known = Array.from(counts.keys()).filter((label) => (counts[label] as number) > 0);
  const means = new Float64Array(known.length * dim);
  for (const [k, label] of known.entries()) {
    for (let j = 0; j < dim; j++) means[k * dim + j] = (classMeans[label * dim + j] as number) - (mean[j] as number);
  }
  const white = yield* productOf(means, within, dim);
  const squares = Float64Array.from(known, (_, k) => squared(white, k * dim, dim));
  return function* (features) {
    const mahalanobis = new Float64Array(features.samples);
    const relativeMahalanobis = new Float64Array(features.samples);
    yield* eachBlock(features, { rows: mean }, known.length, function* ({ data, rows, first }) {
      const whitened = yield* productOf(data, within, dim);
      const products = yield* productOf(whitened, white, dim);
      const background = yield* productOf(data, around, dim);
      yield* eachRow(rows, Math.max(dim, known.length), (row) => {
        // Nearest by products; its distance by differences, which cost no digits.
        let [nearest, least] = [0, Number.POSITIVE_INFINITY];
        for (let k = 0; k < known.length; k++) {
          const key = (squares[k] as number) - 2 * (products[row * known.length + k] as number);
          if (key < least) [nearest, least] = [k, key];
        }
        let distance = 0;
        for (let j = 0; j < dim; j++) {
          distance += ((whitened[row * dim + j] as number) - (white[nearest * dim + j] as number)) ** 2;
        }
        mahalanobis[first + row] = -distance / 2;
        relativeMahalanobis[first + row] = squared(background, row * dim, dim) - distance;
      });
    });
    return { mahalanobis, relativeMahalanobis };
  };
}

/** `A [p, p]` of which `Aᵀ A` is the inverse of a scatter with its ridge. */
function* whitening(sums: Float64Array, dim: number): Steps<Float64Array> {
  const { values, vectors } = yield* eigen(sums, dim, 'the covariance of features');
  return shared(vectors.map((value, at) => value / Math.sqrt((values[Math.floor(at / dim)] as number) + RIDGE)));
}

function squared(data: Float64Array, from: number, length: number): number {
  let sum = 0;
  for (let j = from; j < from + length; j++) sum += (data[j] as number) ** 2;
  return sum;
}
