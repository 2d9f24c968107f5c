/**
 * Eigen-decomposition of a symmetric positive semidefinite matrix, by LAPACK.
 *
 * The engine decomposes where it solves the flow under a constant kernel: for one sample of each of `m` classes and `γ = 0` the
 * matrix of that flow is `K/m²` (native/ops/kernel_flow), whose eigenvectors are those of `K`.
 */
import { makeError } from '../check/errors.js';
import { type Steps, step } from '../engine/run.js';
import { checkRoom, shared } from './ndarray.js';

export interface Eigen {
  /** `[m]`, ascending; what is below the rounding of the largest is 0. */
  readonly values: Float64Array;
  /** `[m, m]`, one a row, in shared memory. */
  readonly vectors: Float64Array;
}

/**
 * @param matrix `[m, m]`
 * @param what it is, for messages
 * @throws `LP_OVERFLOW` where entries are not finite, `LP_MEMORY`
 */
export function* eigen(matrix: Float64Array, m: number, what: string): Steps<Eigen> {
  if (!matrix.every(Number.isFinite)) {
    throw makeError('LP_OVERFLOW', `The squares in ${what} leave the range of a double; scale the features down.`);
  }
  if (m === 1) return { values: matrix.slice(), vectors: shared(Float64Array.of(1)) };
  checkRoom(40 * m * m, `The eigenvectors of ${what}`);
  // Squares of entries neither overflow nor vanish on the way.
  const most = matrix.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  const unit = most > 0 ? 2 ** Math.floor(Math.log2(most)) : 1;
  const kernel = matrix.map((value) => value / unit);
  const state = {
    features: new Float64Array(m),
    prototypes: new Float64Array(m),
    biases: undefined,
    labels: Int32Array.from({ length: m }, (_, i) => i),
    ...{ samples: m, classes: m, dim: 1 },
  };
  return yield* step({
    call: (engine, mode) => engine.kernelModes(mode, state, { kernel, rows: m, gamma: 0 }),
    wrap: ({ values, vectors }: { values: Float64Array; vectors: Float64Array }) => ({
      values: values.map((value) => value * m * m * unit),
      vectors: shared(vectors),
    }),
  });
}
