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
 * and the lowest eigenpair is found by the Lanczos process with full orthogonalization and thick restarts. Logits are made a
 * block of samples at a time. All of it is computed over `L`, so that a state is judged rightly where its softmax rounds to the
 * labels; an own class's entries of `G` and `Ġ` are minus the sum of the others, which `P − 1` would lose.
 */

import { checkState, type NDArray, type State } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { checkChoice, checkNumber, inside, option } from '../check/options.js';
import { checkSeed } from '../check/quantities.js';
import type { RawArrays } from '../engine/load.js';
import { run, runSync, type Task } from '../engine/run.js';

export interface CurvatureOptions extends Control {
  /** Mean or sum of the losses over samples. @default 'mean' */
  readonly reduction?: 'mean' | 'sum' | undefined;
  /** The residual of the eigenpair, over the largest eigenvalue in size, at which the search ends. @default 1e-8 */
  readonly tolerance?: number | undefined;
  /** Share of the gradient that may lie in the tangent space of a stationary point. @default 1e-6 */
  readonly stationary?: number | undefined;
  /** Steps of the Lanczos process, at most. @default 300 */
  readonly steps?: number | undefined;
  /** Seed of its start. @default 0 */
  readonly seed?: number | undefined;
}

export interface TangentCurvature {
  /**
   * `not-stationary`: the gradient has a part along the sphere. `strict-saddle`: it has none, and a direction leads down.
   * `optimum`: none does, to the tolerance. Of balanced classes, in more dimensions than its vectors span, that is neural collapse
   * (LP Theorem 3.4); of unequal ones, or in fewer than classes − 1 dimensions, a minimum of another shape. `undecided`: none was found, but the search ended before its residual met the tolerance;
   * allow more steps.
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
 * Biases play no part. The search keeps up to 48 vectors of the size of the state.
 *
 * @throws `LP_OPTION` (also of a zero state), `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_OVERFLOW`, `LP_MEMORY`,
 *   `LP_DETACHED`, `LP_ABORTED`
 */
export async function tangentCurvature(state: State, options: CurvatureOptions = {}): Promise<TangentCurvature> {
  return run(prepare(state, options), options);
}

/** `tangentCurvature` on the calling thread. */
export function tangentCurvatureSync(state: State, options: CurvatureOptions = {}): TangentCurvature {
  return runSync(prepare(state, options));
}

/**
 * The loss, the other numbers of a `Curvature` of native/ops/cross_entropy/curvature over it, and the arrays of the gradient and
 * of the eigenvector.
 */
interface RawCurvature {
  readonly loss: number;
  readonly multiplier: number;
  readonly tangent: number;
  readonly eigenvalue: number;
  readonly residual: number;
  readonly scale: number;
  readonly steps: number;
  readonly gradient: RawArrays<Float64Array>;
  readonly direction: RawArrays<Float64Array>;
}

/** `CurvatureSearch` of native/ops/cross_entropy/curvature, and whether losses are summed. */
interface CurvatureSearch {
  readonly sum: boolean;
  readonly tolerance: number;
  readonly steps: number;
  readonly seed: number;
}

declare module '../engine/load.js' {
  interface Engine {
    tangentCurvature(mode: Mode, state: EngineState, plan: CurvatureSearch): Result<RawCurvature>;
  }
}

function prepare(state: State, options: CurvatureOptions): Task<RawCurvature, TangentCurvature> {
  checkOptions(options, ['reduction', 'tolerance', 'stationary', 'steps', 'seed']);
  const place = option('options');
  const reduction = checkChoice(options.reduction ?? 'mean', ['mean', 'sum'] as const, inside(place, 'reduction'));
  const tolerance = checkNumber(options.tolerance ?? 1e-8, inside(place, 'tolerance'), { above: 0 });
  const still = checkNumber(options.stationary ?? 1e-6, inside(place, 'stationary'), { min: 0 });
  const steps = checkNumber(options.steps ?? 300, inside(place, 'steps'), { min: 1, max: 1e9, integer: true });
  const seed = checkSeed(options.seed, inside(place, 'seed'));
  const checked = checkState(state);
  const { samples, classes, dim } = checked;
  const search = { sum: reduction === 'sum', tolerance, steps, seed };
  const shaped = ({ features, prototypes }: RawArrays<Float64Array>) => ({
    features: { shape: [samples, dim], data: features },
    prototypes: { shape: [classes, dim], data: prototypes },
  });
  return {
    call: (engine, mode) => engine.tangentCurvature(mode, checked, search),
    wrap: ({ loss: unit, tangent: tangentGradient, multiplier, eigenvalue, residual, scale, steps, gradient, direction }) => {
      // What was found is the curvature along its vector, and so an upper bound of the lowest, converged or not. A gradient
      // that is not quite parallel to the state moves eigenvalues as much.
      const down = eigenvalue < -Math.max(tolerance, 10 * tangentGradient) * scale;
      const converged = residual <= tolerance * scale;
      return {
        kind: tangentGradient > still ? 'not-stationary' : down ? 'strict-saddle' : converged ? 'optimum' : 'undecided',
        gradient: shaped(gradient),
        multiplier: unit * multiplier,
        tangentGradient,
        eigenvalue: unit * eigenvalue,
        residual: unit * residual,
        direction: shaped(direction),
        steps,
        converged,
      };
    },
  };
}
