/**
 * NCI (Liu and Qin, "Detecting Out-of-Distribution Through the Lens of Neural Collapse", 2025): how far a feature, less the
 * training set's mean, points along the prototype of the class that is decided, and how far it is from the origin,
 *
 *     nci = ⟨h − μ, w_c⟩ / ‖h − μ‖ + α ‖h‖₁        c = argmax_j z_j
 *
 * A feature that is the mean has no direction, and 0 in place of the first part.
 */
import { eachRow, norms } from '../array/rows.js';
import type { Steps } from '../engine/run.js';
import { eachBlock, type Features } from './trained.js';

/** @param predicted the class that is decided, of each sample */
export function* alignment(
  features: Features,
  predicted: Int32Array,
  { mean, prototypes, weight }: { readonly mean: Float64Array; readonly prototypes: Float64Array; readonly weight: number },
): Steps<Float64Array> {
  const { dim } = features;
  const scores = new Float64Array(features.samples);
  yield* eachBlock(features, { rows: mean }, dim, function* ({ data, rows, first }) {
    const lengths = yield* norms(data, [rows, dim], features.name);
    yield* eachRow(rows, dim, (row, offset) => {
      const from = (predicted[first + row] as number) * dim;
      let [along, size] = [0, 0];
      for (let j = 0; j < dim; j++) {
        along += (data[offset + j] as number) * (prototypes[from + j] as number);
        size += Math.abs(features.data[first * dim + offset + j] as number);
      }
      scores[first + row] = along / ((lengths[row] as number) || 1) + weight * size;
    });
  });
  return scores;
}
