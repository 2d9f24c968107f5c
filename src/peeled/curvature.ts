/**
 * The landscape of the cross-entropy layer-peeled model on the sphere (LP §3.2). At a state `θ = (W, H)` whose gradient is
 * parallel to it, `∇L = −λ θ`, the Riemannian Hessian on the tangent space, the directions orthogonal to `θ` (Definition
 * 3.1), is `∇²L + λ I`. Theorem 3.4: it has a negative eigenvalue, and so a direction down, unless `θ` is a neural collapse
 * solution: all other stationary points are strict saddles.
 *
 * No Hessian is formed. With logits `Z = H Wᵀ`, `P = softmax(Z)` and `G = P − Y`, along a direction `(V_H, V_W)`
 *
 *     Ż = V_H Wᵀ + H V_Wᵀ     Ġ = P∘(Ż − (P∘Ż) 11ᵀ)     ∇²L (V_H, V_W) = (Ġ W + G V_W, Ġᵀ H + Gᵀ V_H)
 *
 * and the lowest eigenpair is found by the Lanczos process with full orthogonalization. All of it is computed over `L`, so
 * that a state is judged rightly where its softmax rounds to the labels; an own class's entries of `G` and `Ġ` are minus
 * the sum of the others, which `P − 1` would lose.
 */
import type { Float, NDArray, State } from '../array/ndarray.js';
import { LayerpeelError } from '../errors.js';
import { type Control, controlKeys } from '../native.js';
import { checkChoice, checkKeys, checkNumber, inside, option } from '../options.js';
import { seededRandom } from '../random.js';
import { drive, driveSync, type Steps, step } from '../tasks.js';
import { dot, type Wide, weigh, widen } from './margins.js';

export interface CurvatureOptions extends Control {
  /** Mean or sum of the losses over samples. @default 'mean' */
  readonly reduction?: 'mean' | 'sum';
  /** The residual of the eigenpair, over the largest eigenvalue in size, at which the search ends. @default 1e-8 */
  readonly tolerance?: number;
  /** Share of the gradient that may lie in the tangent space of a stationary point. @default 1e-6 */
  readonly stationary?: number;
  /** Steps of the Lanczos process, at most. @default 300 */
  readonly steps?: number;
  /** Seed of its start. @default 0 */
  readonly seed?: number;
}

export interface TangentCurvature {
  /**
   * `not-stationary`: the gradient has a part along the sphere. `strict-saddle`: it has none, and a direction leads down.
   * `optimum`: none does, to the tolerance: neural collapse (LP Theorem 3.4). `undecided`: none was found, but the search
   * ended before its residual met the tolerance; allow more steps.
   */
  readonly kind: 'not-stationary' | 'strict-saddle' | 'optimum' | 'undecided';
  /** `∇L`; it, the multiplier and the eigenvalue are 0 where `L` is below the range of a double, and `kind` still holds. */
  readonly gradient: { readonly features: NDArray; readonly prototypes: NDArray };
  /** `λ = −⟨θ, ∇L⟩/‖θ‖²` */
  readonly multiplier: number;
  /** `‖∇L + λθ‖/‖∇L‖`: the part of the gradient along the sphere. */
  readonly tangentGradient: number;
  /** The lowest eigenvalue of `∇²L + λI` on the tangent space, and the norm of `(∇²L + λ − eigenvalue) v` there. */
  readonly eigenvalue: number;
  readonly residual: number;
  /** Its eigenvector, of unit norm: at a strict saddle the direction that escapes. */
  readonly direction: { readonly features: NDArray; readonly prototypes: NDArray };
  /** Steps that the Lanczos process took, and whether the residual met the tolerance. */
  readonly steps: number;
  readonly converged: boolean;
}

/**
 * Gradient and lowest curvature of the cross-entropy layer-peeled model on the sphere through a state, in float64.
 * Biases play no part.
 *
 * @throws `LP_OPTION` (also of a zero state), `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_ABORTED`
 */
export async function tangentCurvature(state: State, options: CurvatureOptions = {}): Promise<TangentCurvature> {
  return drive(analyse(state, options), { signal: options.signal });
}

/** `tangentCurvature` on the calling thread. */
export function tangentCurvatureSync(state: State, options: CurvatureOptions = {}): TangentCurvature {
  return driveSync(analyse(state, options));
}

type Matrix = { readonly shape: number[]; readonly data: Float64Array };

/** A product in float64 as a step: `a b`, transposed where told. */
function* product(a: Matrix, b: Matrix, transposeA = false, transposeB = false): Steps<Float64Array> {
  const [m, k] = (transposeA ? [a.shape[1], a.shape[0]] : a.shape) as [number, number];
  const n = (transposeB ? b.shape[0] : b.shape[1]) as number;
  const plan = { m, n, k, transposeA, transposeB, alpha: 1, beta: 0, batch: new Float64Array() };
  return yield* step({
    call: (engine, mode) => engine.matmul(mode, a.data, a.data.length, b.data, b.data.length, plan),
    wrap: (data: Float) => data as Float64Array,
  });
}

function* analyse(state: State, options: CurvatureOptions): Steps<TangentCurvature> {
  checkKeys(options, ['reduction', 'tolerance', 'stationary', 'steps', 'seed', ...controlKeys], option('options'));
  const place = option('options');
  const reduction = checkChoice(options.reduction ?? 'mean', ['mean', 'sum'] as const, inside(place, 'reduction'));
  const tolerance = checkNumber(options.tolerance ?? 1e-8, inside(place, 'tolerance'), { above: 0 });
  const still = checkNumber(options.stationary ?? 1e-6, inside(place, 'stationary'), { min: 0 });
  const most = checkNumber(options.steps ?? 300, inside(place, 'steps'), { min: 1, integer: true });
  const random = seededRandom(checkNumber(options.seed ?? 0, inside(place, 'seed'), { min: 0, integer: true }));
  const problem = widen(state);
  const { features, prototypes, samples, classes, dim, square } = problem;
  if (square === 0) throw new LayerpeelError('LP_OPTION', 'The state is zero; expected a point of a sphere.');

  const hessian = yield* linearize(problem);
  const unit = Math.exp(hessian.logLoss) / (reduction === 'sum' ? 1 : samples);
  const point = joined(features.data, prototypes.data);
  const gradient = hessian.gradient;
  const multiplier = -dot(point, gradient) / square;
  const along = gradient.map((g, k) => g + multiplier * (point[k] as number));
  const size = Math.sqrt(dot(gradient, gradient));
  const tangentGradient = size > 0 ? Math.sqrt(dot(along, along)) / size : 0;

  const radius = Math.sqrt(square);
  const normal = point.map((x) => x / radius);
  const apply = function* (v: Float64Array): Steps<Float64Array> {
    const curved = yield* hessian.times(v);
    const shifted = curved.map((x, k) => x + multiplier * (v[k] as number));
    return without(shifted, normal);
  };
  const start = without(
    Float64Array.from({ length: point.length }, () => random.normal()),
    normal,
  );
  const found = yield* lanczos(apply, start, normal, Math.min(most, point.length - 1), tolerance);
  const split = (x: Float64Array) => ({
    features: { shape: [samples, dim], data: x.slice(0, samples * dim) },
    prototypes: { shape: [classes, dim], data: x.slice(samples * dim) },
  });
  // What was found is the curvature along its vector, and so an upper bound of the lowest, converged or not. A gradient that
  // is not quite parallel to the state moves eigenvalues as much.
  const down = found.eigenvalue < -Math.max(tolerance, 10 * tangentGradient) * found.scale;
  const converged = found.residual <= tolerance * found.scale;
  return {
    kind: tangentGradient > still ? 'not-stationary' : down ? 'strict-saddle' : converged ? 'optimum' : 'undecided',
    gradient: split(gradient.map((g) => unit * g)),
    multiplier: unit * multiplier,
    tangentGradient,
    eigenvalue: unit * found.eigenvalue,
    residual: unit * found.residual,
    direction: split(found.vector),
    steps: found.steps,
    converged,
  };
}

function joined(features: Float64Array, prototypes: Float64Array): Float64Array {
  const all = new Float64Array(features.length + prototypes.length);
  all.set(features);
  all.set(prototypes, features.length);
  return all;
}

/** `x` without its part along the unit vector `normal`, in place. */
function without(x: Float64Array, normal: Float64Array): Float64Array {
  const along = dot(x, normal);
  for (let k = 0; k < x.length; k++) x[k] = (x[k] as number) - along * (normal[k] as number);
  return x;
}

/** The gradient, and products with the Hessian, both over the summed loss `L`. */
function* linearize(problem: Wide) {
  const { features, prototypes, labels, samples, classes, dim } = problem;
  const { logLoss, shares, pull } = weigh(problem, yield* product(features, prototypes, false, true));
  const loss = Math.exp(logLoss);
  const slope = { shape: [samples, classes], data: pull.map((x) => -x) };
  const gradient = joined(yield* product(slope, prototypes), yield* product(slope, features, true));

  function* times(v: Float64Array): Steps<Float64Array> {
    const vh = { shape: [samples, dim], data: v.subarray(0, samples * dim) };
    const vw = { shape: [classes, dim], data: v.subarray(samples * dim) };
    const change = yield* product(vh, prototypes, false, true); // Ż, then Ġ
    const other = yield* product(features, vw, false, true);
    for (let k = 0; k < change.length; k++) change[k] = (change[k] as number) + (other[k] as number);
    for (let i = 0; i < samples; i++) {
      const row = i * classes;
      const own = row + (labels[i] as number);
      const base = change[own] as number;
      let mean = 0; // of Ż − Ż_y
      for (let k = row; k < row + classes; k++) mean += loss * (shares[k] as number) * ((change[k] as number) - base);
      let sum = 0;
      for (let k = row; k < row + classes; k++) sum += change[k] = (shares[k] as number) * ((change[k] as number) - base - mean);
      change[own] = -sum;
    }
    const turned = { shape: [samples, classes], data: change };
    const h = yield* product(turned, prototypes);
    const w = yield* product(turned, features, true);
    const out = joined(h, w);
    const more = joined(yield* product(slope, vw), yield* product(slope, vh, true));
    for (let k = 0; k < out.length; k++) out[k] = (out[k] as number) + (more[k] as number);
    return out;
  }
  return { logLoss, gradient, times };
}

interface Eigenpair {
  readonly eigenvalue: number;
  readonly vector: Float64Array;
  readonly residual: number;
  /** The largest eigenvalue in size that was seen. */
  readonly scale: number;
  readonly steps: number;
}

/** The lowest eigenpair of a symmetric operator on the vectors orthogonal to `normal`, by Lanczos from `start`. */
function* lanczos(
  apply: (v: Float64Array) => Steps<Float64Array>,
  start: Float64Array,
  normal: Float64Array,
  most: number,
  tolerance: number,
): Steps<Eigenpair> {
  const basis: Float64Array[] = [];
  const diagonal: number[] = [];
  const beside: number[] = [];
  let next = start;
  for (;;) {
    const norm = Math.sqrt(dot(next, next));
    const v = next.map((x) => x / norm);
    basis.push(v);
    next = yield* apply(v);
    diagonal.push(dot(v, next));
    // Twice, since once leaves rounding behind.
    for (let again = 0; again < 2; again++) {
      for (const other of basis) without(next, other);
      without(next, normal);
    }
    const rest = Math.sqrt(dot(next, next));
    const scale = Math.max(
      ...diagonal.map((d, k) => Math.abs(d) + Math.abs(beside[k] ?? 0) + Math.abs(beside[k - 1] ?? 0)),
      Number.MIN_VALUE,
    );
    const exhausted = rest <= 1e-13 * scale || basis.length === most;
    if (exhausted || basis.length % 5 === 0) {
      const { value, weights } = lowest(diagonal, beside);
      const residual = rest * Math.abs(weights.at(-1) as number);
      if (exhausted || residual <= tolerance * scale) {
        const vector = new Float64Array(v.length);
        for (const [k, u] of basis.entries())
          for (let j = 0; j < u.length; j++) vector[j] = (vector[j] as number) + (weights[k] as number) * (u[j] as number);
        return { eigenvalue: value, vector, residual, scale, steps: basis.length };
      }
    }
    beside.push(rest);
  }
}

/** The lowest eigenpair of a symmetric tridiagonal matrix: bisection by Sturm counts, then inverse iteration. */
function lowest(diagonal: readonly number[], beside: readonly number[]): { value: number; weights: Float64Array } {
  const n = diagonal.length;
  const reach = diagonal.map((d, k) => [d, Math.abs(beside[k] ?? 0) * (k < n - 1 ? 1 : 0) + Math.abs(beside[k - 1] ?? 0)] as const);
  let low = Math.min(...reach.map(([d, r]) => d - r));
  let high = Math.min(...diagonal); // the lowest eigenvalue is at most any diagonal entry
  const size = Math.max(Math.abs(low), Math.abs(high), Number.MIN_VALUE);
  const tiny = Number.EPSILON * size;
  const below = (x: number): boolean => {
    let pivot = 1;
    for (let k = 0; k < n; k++) {
      pivot = (diagonal[k] as number) - x - (k > 0 ? (beside[k - 1] as number) ** 2 / pivot : 0);
      if (pivot < 0) return true;
      if (pivot === 0) pivot = tiny;
    }
    return false;
  };
  while (high - low > 2 * tiny) {
    const middle = low + (high - low) / 2;
    if (middle === low || middle === high) break;
    if (below(middle)) high = middle;
    else low = middle;
  }
  const value = low + (high - low) / 2;
  let weights = new Float64Array(n).fill(1 / Math.sqrt(n));
  for (let round = 0; round < 3; round++) {
    weights = solveTridiagonal(diagonal, beside, low - 4 * tiny, weights);
    const norm = Math.sqrt(dot(weights, weights));
    weights = weights.map((x) => x / norm);
  }
  return { value, weights };
}

/** `(T − x)⁻¹ b` of a positive definite `T − x`. */
function solveTridiagonal(
  diagonal: readonly number[],
  beside: readonly number[],
  x: number,
  b: Float64Array,
): Float64Array<ArrayBuffer> {
  const n = diagonal.length;
  const pivots = new Float64Array(n);
  const out = Float64Array.from(b);
  for (let k = 0; k < n; k++) {
    const back = k > 0 ? (beside[k - 1] as number) / (pivots[k - 1] as number) : 0;
    pivots[k] = (diagonal[k] as number) - x - (k > 0 ? back * (beside[k - 1] as number) : 0);
    if (k > 0) out[k] = (out[k] as number) - back * (out[k - 1] as number);
  }
  for (let k = n - 1; k >= 0; k--) {
    out[k] = ((out[k] as number) - (k < n - 1 ? (beside[k] as number) * (out[k + 1] as number) : 0)) / (pivots[k] as number);
  }
  return out;
}
