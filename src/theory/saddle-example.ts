/**
 * LP Example 3.1: four classes of one sample each, separated but far from neural collapse, along the direction of a KKT
 * point of the minimum-norm separation problem. There the gradient is parallel to the state, so that plain descent only
 * grows its norm; yet on the sphere a path leads down: `f(α) = L(W'(α), H'(α))` has `f'(0) = 0` and `f''(0) < 0`, at norms
 * that stay.
 *
 *     W'(α) = H'(α) = (1 + 2α²)^{−1/2} [[1+α, α−1, −α, −α], [α−1, 1+α, −α, −α], [−α, −α, 1+α, α−1], [−α, −α, α−1, 1+α]]
 */
import type { NDArray, State } from '../array/ndarray.js';
import { checkNumber, option } from '../check/options.js';

/** The state at `alpha` of the descending path; at 0 the strict saddle itself. */
export function saddleExample(alpha = 0): State {
  const a = checkNumber(alpha, option('alpha'));
  const scale = 1 / Math.sqrt(1 + 2 * a * a);
  const matrix = (): NDArray => ({
    shape: [4, 4],
    data: Float64Array.from({ length: 16 }, (_, k) => {
      const [i, j] = [Math.floor(k / 4), k % 4];
      if (i === j) return scale * (1 + a);
      return scale * (Math.floor(i / 2) === Math.floor(j / 2) ? a - 1 : -a);
    }),
  });
  return { features: matrix(), prototypes: matrix(), labels: Int32Array.of(0, 1, 2, 3) };
}
