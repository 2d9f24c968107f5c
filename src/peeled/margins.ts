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
import { type CheckedState, checkState, type NDArray, type State } from '../array/ndarray.js';
import { LayerpeelError } from '../errors.js';
import { matmul, matmulSync } from '../matmul.js';
import { type Control, controlKeys } from '../native.js';
import { checkKeys, option } from '../options.js';

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
  readonly alignment: number;
  /** `ε` and `δ` of Lemma B.1; NaN unless `L < log 2`. */
  readonly epsilon: number;
  readonly delta: number;
  /** What `ε` and `δ` bound, for `θ/√q_min` with these multipliers: `‖θ − Σ λ_ij ∇s_ij‖` and `Σ λ_ij (s_ij − 1)`. */
  readonly stationarity: number;
  readonly complementarity: number;
  /** `λ_ij ≥ 0`, `[n, K]`; those of a sample's own class are 0. */
  readonly multipliers: NDArray;
}

/**
 * The margins of a state (biases play no part), and the bound of LP Theorem 3.1.
 *
 * @throws `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function margins(state: State, options: Control = {}): Promise<Margins> {
  checkKeys(options, controlKeys, option('options'));
  const problem = widen(state);
  return measureMargins(
    problem,
    (await matmul(problem.features, problem.prototypes, { ...options, transposeB: true })).data as Float64Array,
  );
}

/** `margins` on the calling thread. */
export function marginsSync(state: State): Margins {
  const problem = widen(state);
  return measureMargins(problem, matmulSync(problem.features, problem.prototypes, { transposeB: true }).data as Float64Array);
}

/**
 * The (ε, δ)-KKT certificate of a state that separates its samples (LP Lemma B.1): multipliers from the softmax weights.
 *
 * @throws as `margins`, and `LP_OPTION` where a margin is not positive
 */
export async function kktCertificate(state: State, options: Control = {}): Promise<KktCertificate> {
  checkKeys(options, controlKeys, option('options'));
  const problem = widen(state);
  const weights = weigh(
    problem,
    (await matmul(problem.features, problem.prototypes, { ...options, transposeB: true })).data as Float64Array,
  );
  const pull = { shape: [problem.samples, problem.classes], data: weights.pull };
  return certify(problem, weights, {
    features: (await matmul(pull, problem.prototypes, options)).data as Float64Array,
    prototypes: (await matmul(pull, problem.features, { ...options, transposeA: true })).data as Float64Array,
  });
}

/** `kktCertificate` on the calling thread. */
export function kktCertificateSync(state: State): KktCertificate {
  const problem = widen(state);
  const weights = weigh(problem, matmulSync(problem.features, problem.prototypes, { transposeB: true }).data as Float64Array);
  const pull = { shape: [problem.samples, problem.classes], data: weights.pull };
  return certify(problem, weights, {
    features: matmulSync(pull, problem.prototypes).data as Float64Array,
    prototypes: matmulSync(pull, problem.features, { transposeA: true }).data as Float64Array,
  });
}

/** A state in float64, with the squares of its norms. */
export interface Wide extends Pick<CheckedState, 'labels' | 'counts' | 'samples' | 'classes' | 'dim'> {
  readonly features: { readonly shape: number[]; readonly data: Float64Array };
  readonly prototypes: { readonly shape: number[]; readonly data: Float64Array };
  /** `ρ²` */
  readonly square: number;
}

export function widen(state: State): Wide {
  const { features, prototypes, labels, counts, samples, classes, dim } = checkState(state);
  const [h, w] = [Float64Array.from(features), Float64Array.from(prototypes)];
  const square = dot(h, h) + dot(w, w);
  if (!Number.isFinite(square)) {
    throw new LayerpeelError(
      'LP_NOT_FINITE',
      'The state has a NaN or an infinity, or squares beyond float64; expected finite values.',
    );
  }
  return {
    features: { shape: [samples, dim], data: h },
    prototypes: { shape: [classes, dim], data: w },
    labels,
    counts,
    samples,
    classes,
    dim,
    square,
  };
}

export function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] as number) * (y[i] as number);
  return sum;
}

function measureMargins({ labels, counts, samples, classes, square }: Wide, logits: Float64Array): Margins {
  const all = new Float64Array(samples);
  for (let i = 0; i < samples; i++) {
    const y = labels[i] as number;
    let rival = Number.NEGATIVE_INFINITY;
    for (let j = 0; j < classes; j++) if (j !== y) rival = Math.max(rival, logits[i * classes + j] as number);
    all[i] = (logits[i * classes + y] as number) - rival;
  }
  const smallest = all.reduce((least, margin) => Math.min(least, margin), Number.POSITIVE_INFINITY);
  const perClass = counts[0] as number;
  const bound = counts.every((count) => count === perClass) ? square / (2 * (classes - 1) * Math.sqrt(perClass)) : undefined;
  return { margins: all, smallest, normalized: smallest / square, bound, gap: bound === undefined ? undefined : bound - smallest };
}

/** What the softmax weights say, over `L`: of the order of 1 however small `L` is. */
export interface Weights {
  readonly logLoss: number;
  readonly smallest: number;
  /** Softmax weights of the other classes over `L`, `[n, K]`. */
  readonly shares: Float64Array;
  /** `∂/∂z` of `−L/L`: the sums of the shares at the own class, minus the shares elsewhere. */
  readonly pull: Float64Array;
  readonly excess: Float64Array;
}

export function weigh({ labels, samples, classes }: Wide, logits: Float64Array): Weights {
  const excess = new Float64Array(samples * classes); // s_ij
  const logSums = new Float64Array(samples); // log Σ_j e^{−s_ij}
  let smallest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < samples; i++) {
    const row = i * classes;
    const y = labels[i] as number;
    let least = Number.POSITIVE_INFINITY;
    for (let j = 0; j < classes; j++) {
      excess[row + j] = (logits[row + y] as number) - (logits[row + j] as number);
      if (j !== y) least = Math.min(least, excess[row + j] as number);
    }
    let sum = 0;
    for (let j = 0; j < classes; j++) if (j !== y) sum += Math.exp(least - (excess[row + j] as number));
    logSums[i] = Math.log(sum) - least;
    smallest = Math.min(smallest, least);
  }
  // log(1 + x) is x below the rounding of 1, where x itself may be too small for a double.
  const logLosses = logSums.map((log) => (log < -40 ? log : Math.log(softplus(log))));
  const most = logLosses.reduce((top, log) => Math.max(top, log), Number.NEGATIVE_INFINITY);
  const logLoss = most + Math.log(logLosses.reduce((sum, log) => sum + Math.exp(log - most), 0));
  const shares = new Float64Array(samples * classes);
  const pull = new Float64Array(samples * classes);
  for (let i = 0; i < samples; i++) {
    const y = labels[i] as number;
    const logOdds = softplus(logSums[i] as number);
    for (let j = 0; j < classes; j++) {
      if (j === y) continue;
      const share = Math.exp(-(excess[i * classes + j] as number) - logOdds - logLoss);
      shares[i * classes + j] = share;
      pull[i * classes + j] = -share;
      pull[i * classes + y] = (pull[i * classes + y] as number) + share;
    }
  }
  return { logLoss, smallest, shares, pull, excess };
}

/** `log(1 + eˣ)`, of large `x` too. */
function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

/** `−log(e^L − 1)/ρ²` from `log L`; NaN unless `L < log 2`. */
export function smoothedMargin(logLoss: number, square: number): number {
  const loss = Math.exp(logLoss);
  if (!(loss < Math.LN2)) return Number.NaN;
  return -(loss < 1e-8 ? logLoss + loss / 2 : Math.log(Math.expm1(loss))) / square;
}

interface Gradient {
  readonly features: Float64Array;
  readonly prototypes: Float64Array;
}

/** `direction` is `−∇L/L`. */
function certify(problem: Wide, { logLoss, smallest, shares, excess }: Weights, direction: Gradient): KktCertificate {
  const { features, prototypes, samples, classes, square } = problem;
  if (!(smallest > 0)) {
    throw new LayerpeelError(
      'LP_OPTION',
      `The smallest margin is ${smallest}; a KKT certificate needs every sample on its side, with a margin above 0.`,
    );
  }
  const norm = Math.sqrt(dot(direction.features, direction.features) + dot(direction.prototypes, direction.prototypes));
  const radius = Math.sqrt(square);
  const along = dot(features.data, direction.features) + dot(prototypes.data, direction.prototypes);
  const alignment = along / (radius * norm);
  // ‖θ/ρ − g/‖g‖‖ rather than 2 − 2β, which loses its digits.
  let apart = 0;
  for (const part of ['features', 'prototypes'] as const) {
    const [x, g] = [problem[part].data, direction[part]];
    for (let k = 0; k < x.length; k++) apart += ((x[k] as number) / radius - (g[k] as number) / norm) ** 2;
  }
  const smoothed = smoothedMargin(logLoss, square);
  const multipliers = shares.map((share) => (radius / norm) * share);
  let complementarity = 0;
  for (let k = 0; k < multipliers.length; k++) {
    if ((multipliers[k] as number) > 0) complementarity += (multipliers[k] as number) * ((excess[k] as number) / smallest - 1);
  }
  return {
    logLoss,
    smoothedMargin: smoothed,
    smallestMargin: smallest,
    alignment,
    epsilon: Math.sqrt(apart / smoothed),
    delta: (samples * classes * (classes - 1)) / (2 * Math.E * smoothed * smallest),
    stationarity: Math.sqrt((apart * square) / smallest),
    complementarity,
    multipliers: { shape: [samples, classes], data: multipliers },
  };
}
