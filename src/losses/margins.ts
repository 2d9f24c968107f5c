/**
 * The cross-entropy layer-peeled model as a max-margin problem (LP). With `s_ij = (w_y − w_j)ᵀ h_i` for the classes `j ≠ y` of
 * sample `i`, its margin is `q_i = min_j s_ij`, and with `L = Σ_i log(1 + Σ_j e^{−s_ij})` (the loss summed over samples)
 *
 *     q_min ≤ (‖W‖²_F + ‖H‖²_F) / (2(K−1)√N)        equality at neural collapse with ‖W‖_F = ‖H‖_F alone (Theorem 3.1)
 *     γ̃ = −log(e^L − 1)/ρ²,  ρ² = ‖W‖² + ‖H‖²        never decreases along the flow once L < log 2, and γ̃ ≤ q_min/ρ²
 *     θ/√q_min is an (ε, δ)-KKT point of min ½‖W‖² + ½‖H‖² s.t. s_ij ≥ 1 (Theorem 3.2, Lemma B.1),
 *       ε = √(2(1−β)/γ̃),  δ = n K(K−1)/(2e γ̃ q_min) of n samples,  β = cos∠(θ, −∇L).
 *
 * Everything is kept in logarithms, so that it holds long after `L` has left the range of a double.
 */

import { checkState, type NDArray, type State } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { checkBoolean, option } from '../check/options.js';
import { run, runSync, type Task } from '../engine/run.js';

export interface Margins {
  /** `q_i = min_{j≠y} (w_y − w_j)ᵀ h_i`, `[n]`. */
  readonly margins: Float64Array;
  /** `q_min` */
  readonly smallest: number;
  /** `q_min/(‖W‖² + ‖H‖²)` */
  readonly normalized: number;
  /** The bound of Theorem 3.1 on `q_min`, and how far below it is; of balanced classes, else undefined. */
  readonly bound: number | undefined;
  readonly gap: number | undefined;
}

/** How far a state is from a KKT point of the minimum-norm separation problem (LP Eq. 3.1). */
export interface KktCertificate {
  /** `log L`, the loss summed over samples. */
  readonly logLoss: number;
  /** `γ̃`; NaN unless `L < log 2`. */
  readonly smoothedMargin: number;
  readonly smallestMargin: number;
  /** `β`, the cosine between the state and the negative gradient. */
  readonly gradientAlignment: number;
  /** `ε` and `δ` of Lemma B.1; NaN unless `L < log 2`. */
  readonly epsilon: number;
  readonly delta: number;
  /** What `ε` and `δ` bound, for `θ/√q_min` with these multipliers: `‖θ − Σ λ_ij ∇s_ij‖` and `Σ λ_ij (s_ij − 1)`. */
  readonly stationarity: number;
  readonly complementarity: number;
  /** `λ_ij ≥ 0`, `[n, K]`; those of a sample's own class are 0. Of shape `[0, K]` where they are not wanted. */
  readonly multipliers: NDArray;
}

export interface CertificateOptions extends Control {
  /** Whether `multipliers` are wanted, an array as large as all logits; else it is empty. @default true */
  readonly multipliers?: boolean | undefined;
}

/**
 * The margins of a state (biases play no part), and the bound of LP Theorem 3.1.
 *
 * @throws `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_OVERFLOW`, `LP_MEMORY`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function margins(state: State, options: Control = {}): Promise<Margins> {
  checkOptions(options);
  return run(measure(state), options);
}

/** `margins` on the calling thread. */
export function marginsSync(state: State): Margins {
  return runSync(measure(state));
}

/** All margins; the smallest of them and `‖W‖² + ‖H‖²`. All of them are `4^−exponent` times what they are. */
interface RawMargins {
  readonly exponent: number;
  readonly margins: Float64Array;
  readonly smallest: number;
  readonly square: number;
}

/** `Certificate` of native/ops/cross_entropy/margins, and its multipliers `[n, C]` where wanted. */
interface RawCertificate {
  readonly logLoss: number;
  readonly smallest: number;
  readonly square: number;
  readonly alignment: number;
  readonly apart: number;
  readonly slack: number;
  readonly multipliers?: Float64Array | undefined;
}

declare module '../engine/load.js' {
  interface Engine {
    margins(mode: Mode, state: EngineState): Result<RawMargins>;
    kktCertificate(mode: Mode, state: EngineState, plan: { readonly multipliers: boolean }): Result<RawCertificate>;
  }
}

function measure(state: State): Task<RawMargins, Margins> {
  const checked = checkState(state);
  const { counts, classes } = checked;
  const perClass = counts[0] as number;
  const balanced = counts.every((count) => count === perClass);
  return {
    call: (engine, mode) => engine.margins(mode, checked),
    wrap: ({ margins, smallest, square, exponent }) => {
      const bound = balanced ? square / (2 * (classes - 1) * Math.sqrt(perClass)) : undefined;
      const sized = (x: number) => x * 2 ** exponent * 2 ** exponent;
      return {
        margins: exponent === 0 ? margins : margins.map(sized),
        smallest: sized(smallest),
        normalized: smallest / square,
        bound: bound && sized(bound),
        gap: bound === undefined ? undefined : sized(bound - smallest),
      };
    },
  };
}

/**
 * The (ε, δ)-KKT certificate of a state that separates its samples (LP Lemma B.1): multipliers from the softmax weights.
 *
 * @throws as `margins`, and `LP_OPTION` where a margin is not positive
 */
export async function kktCertificate(state: State, options: CertificateOptions = {}): Promise<KktCertificate> {
  return run(certify(state, options), options);
}

/** `kktCertificate` on the calling thread. */
export function kktCertificateSync(state: State, options: CertificateOptions = {}): KktCertificate {
  return runSync(certify(state, options));
}

function certify(state: State, options: CertificateOptions): Task<RawCertificate, KktCertificate> {
  checkOptions(options, ['multipliers']);
  const wanted = checkBoolean(options.multipliers ?? true, option('options.multipliers'));
  const checked = checkState(state);
  const { samples, classes } = checked;
  return {
    call: (engine, mode) => engine.kktCertificate(mode, checked, { multipliers: wanted }),
    wrap: ({ logLoss, smallest: smallestMargin, square, alignment, apart, slack, multipliers = new Float64Array() }) => {
      const smoothed = smoothedMargin(logLoss, square);
      return {
        logLoss,
        smoothedMargin: smoothed,
        smallestMargin,
        gradientAlignment: alignment,
        epsilon: Math.sqrt(apart / smoothed),
        delta: (samples * classes * (classes - 1)) / (2 * Math.E * smoothed * smallestMargin),
        stationarity: Math.sqrt((apart * square) / smallestMargin),
        complementarity: slack,
        multipliers: { shape: [wanted ? samples : 0, classes], data: multipliers },
      };
    },
  };
}

/** `−log(e^L − 1)/ρ²` from `log L`; NaN unless `L < log 2`. */
export function smoothedMargin(logLoss: number, square: number): number {
  const loss = Math.exp(logLoss);
  if (!(loss < Math.LN2)) return Number.NaN;
  return -(loss < 1e-8 ? logLoss + loss / 2 : Math.log(Math.expm1(loss))) / square;
}
