/**
 * The simplex equiangular tight frame, `W = s √(C/(C−1)) (I − 11ᵀ/C) Qᵀ`: `C` rows of length `s` whose pairwise cosines are
 * all `−1/(C−1)`, turned by a random frame `Q` of Haar distribution.
 *
 * `I − 11ᵀ/C = B Bᵀ` with Helmert's orthonormal basis `B [C, C−1]` of the complement of the ones vector, column
 * `b_k = (1, …, 1, −k, 0, …, 0)/√(k(k+1))` with `k` ones; `Q B` is again a Haar frame, of `C−1` columns only, so that
 * `W = s √(C/(C−1)) B Qᵀ` and `p ≥ C−1` dimensions suffice.
 */
import { checkRoom, type DType, type NDArray, scales } from '../array/ndarray.js';
import { type SeededRandom, seededRandom } from '../array/random.js';
import { LayerpeelError } from '../check/errors.js';
import { checkChoice, checkKeys, checkNumber, option } from '../check/options.js';
import { checkSeed } from '../check/quantities.js';

export interface SimplexOptions {
  /** The frame is the same on every machine for the same seed. @default 0 */
  readonly seed?: number | undefined;
  /** Length of each row. @default 1 */
  readonly scale?: number | undefined;
  /** float32 gives the roundings of the float64 entries. @default 'float64' */
  readonly dtype?: DType | undefined;
}

/**
 * A simplex equiangular tight frame `[classes, dim]` in a random orientation. The work grows with `classes² dim`.
 * @param classes at least 2
 * @param dim at least `classes − 1`
 * @throws LP_OPTION; LP_MEMORY where the machine has no room for it
 */
export function simplexETF(classes: number, dim: number, options: SimplexOptions = {}): NDArray {
  checkKeys(options as unknown, ['seed', 'scale', 'dtype'], option('options'));
  const { seed, scale = 1, dtype = 'float64' } = options;
  checkNumber(classes, option('classes'), { min: 2, integer: true });
  checkNumber(dim, option('dim'), { min: 1, integer: true });
  checkChoice(dtype, ['float32', 'float64'], option('options.dtype'));
  checkNumber(scale, option('options.scale'), scales[dtype]);
  if (dim < classes - 1) {
    throw new LayerpeelError(
      'LP_OPTION',
      `dim is ${dim}; a simplex of ${classes} classes needs at least ${classes - 1} dimensions (one fewer than classes).`,
    );
  }
  checkRoom(16 * classes * dim, 'A frame of this size');
  const frame = haarFrame(classes - 1, dim, seededRandom(checkSeed(seed, option('options.seed'))));
  const data = timesHelmert(frame, classes, dim, scale * Math.sqrt(classes / (classes - 1)));
  return { shape: [classes, dim], data: dtype === 'float64' ? data : Float32Array.from(data) };
}

/**
 * `factor · B Qᵀ` from the rows `q_k` of `Qᵀ`: row `i` is `Σ_{k>i} q_k/√(k(k+1)) − q_i √(i/(i+1))`, counting rows and
 * columns from 0 and 1; the sums run from the last row up.
 */
function timesHelmert(frame: Float64Array, classes: number, dim: number, factor: number): Float64Array {
  const result = new Float64Array(classes * dim);
  const sum = new Float64Array(dim);
  for (let i = classes - 1; i >= 0; i--) {
    const row = result.subarray(i * dim, (i + 1) * dim);
    row.set(sum);
    if (i > 0) {
      const q = frame.subarray((i - 1) * dim, i * dim);
      addScaled(row, q, -Math.sqrt(i / (i + 1)));
      addScaled(sum, q, 1 / Math.sqrt(i * (i + 1)));
    }
    for (let j = 0; j < dim; j++) row[j] = (row[j] as number) * factor;
  }
  return result;
}

/**
 * `count` orthonormal rows of length `dim ≥ count` with the Haar distribution: the `Q` of a Gaussian matrix's QR factorization
 * with a positive diagonal of `R`. Householder's reflections of that factorization are those of independent Gaussian
 * vectors of lengths `dim, dim−1, …` (G. W. Stewart, "The efficient generation of random orthogonal matrices", 1980),
 * so `Q = H_1 ⋯ H_count D` is built without the matrix.
 */
export function haarFrame(count: number, dim: number, random: SeededRandom): Float64Array {
  const frame = new Float64Array(count * dim);
  // Applied from the last to the first, reflection k touches only rows k and later, and only their entries from k on.
  for (let k = count - 1; k >= 0; k--) {
    const v = random.fillNormal(new Float64Array(dim - k));
    const length = Math.sqrt(dot(v, v));
    const sign = (v[0] as number) < 0 ? -1 : 1;
    v[0] = (v[0] as number) + sign * length;
    const half = length * Math.abs(v[0]); // = ‖v‖²/2
    frame[k * dim + k] = -sign;
    for (let row = k; row < count; row++) {
      const tail = frame.subarray(row * dim + k, (row + 1) * dim);
      addScaled(tail, v, -dot(tail, v) / half);
    }
  }
  return frame;
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] as number) * (y[i] as number);
  return sum;
}

/** `target += factor · source`. */
function addScaled(target: Float64Array, source: Float64Array, factor: number): void {
  for (let i = 0; i < target.length; i++) target[i] = (target[i] as number) + factor * (source[i] as number);
}
