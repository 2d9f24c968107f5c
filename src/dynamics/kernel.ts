/**
 * Gradient flow of features under a constant neural tangent kernel `K = ∇H ∇Hᵀ`, with prototypes and biases trained beside them
 * (UL Thm 8). With `ζ(t) = ∫₀ᵗ rate`:
 *
 *     unhinged   vec(H)' = K vec(MᵀW)        W' = M H          b' = m            (per unit of ζ)
 *     mse        vec(H)' = −(2/n) K vec(EW)  W' = −(2/n) EᵀH   b' = −(2/n) Eᵀ1   E = HWᵀ + 1bᵀ − Yᵀ  (UL Eq. 25)
 *
 * The first is linear and solved in closed form through the `C×C` or `Cp×Cp` symmetric eigenproblem of `AᵀKA`, `A = Mᵀ ⊗ I`;
 * the second is integrated to 1e-13 a step. `K = I` is the unconstrained flow (UL Thm 2).
 */

import {
  type CheckedState,
  checkArray,
  checkSameType,
  checkState,
  type Float,
  type NDArray,
  type State,
  shared,
  showShape,
  snapshot,
} from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkChoice, inside, option, type Place } from '../check/options.js';
import { checkGamma } from '../check/quantities.js';
import type { RawArrays, Sizes } from '../engine/load.js';
import { drive, driveSync, type Steps, step } from '../engine/run.js';
import { fit, freshState, normOf, ofShape, scaled } from '../state/states.js';
import { type Columns, ComputedTrajectory } from './computed.js';
import type { FlowState, Followed, FollowPlan } from './followed.js';
import { type CheckedRate, checkRate, type Rate } from './rates.js';
import { type Limit, type ScaledDirection, type Trajectory, type TrajectoryMeasure, trajectoryMeasureNames } from './trajectory.js';

export interface KernelOptions extends Control {
  /** `unhinged`: UL Eq. 1, a mean over samples; `mse`: `‖HWᵀ + 1bᵀ − Yᵀ‖²_F/n`. */
  readonly loss: 'unhinged' | 'mse';
  /** Weight of the other classes' logits in the unhinged loss, at least 0. */
  readonly gamma?: number | undefined;
  /** Rate of features, prototypes and biases alike. */
  readonly rate: Rate;
  /**
   * Symmetric and positive semidefinite, of the state's dtype: `[n·p, n·p]` on the features one sample after the other (row
   * `i·p + d` is coordinate `d` of sample `i`), or `[n, n]`, which acts on every coordinate alike.
   */
  readonly kernel: NDArray;
}

/**
 * The flow under a constant tangent kernel.
 *
 * The kernel may differ from a symmetric positive semidefinite one by 1e-8 of its largest diagonal entry (float32: 1e-5).
 * @throws `LP_OPTION` (the kernel's negative eigenvalue is named), `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_ABORTED`
 */
export async function kernelFlow(state: State, options: KernelOptions): Promise<Trajectory> {
  return drive(startKernelFlow(state, options), options);
}

/** `kernelFlow` on the calling thread. */
export function kernelFlowSync(state: State, options: KernelOptions): Trajectory {
  return driveSync(startKernelFlow(state, options));
}

/** `kernelFlow` as a part of a longer computation, its options standing at a place of their own. */
export function* startKernelFlow(state: State, options: KernelOptions, place = option('options')): Steps<ComputedTrajectory> {
  const flow = flowOf(state, options, place);
  yield* flow.begin();
  return flow;
}

function flowOf(state: State, options: KernelOptions, place: Place): KernelFlow {
  const checked = checkState(state);
  checkOptions(options, ['loss', 'gamma', 'rate', 'kernel'], place);
  const loss = checkChoice(options.loss, ['unhinged', 'mse'], inside(place, 'loss'));
  if (loss === 'mse' && options.gamma !== undefined) {
    throw new LayerpeelError(place.code, `${place.path}.gamma belongs to the unhinged loss; leave it out with loss mse.`);
  }
  const gamma = loss === 'mse' ? 0 : checkGamma(options.gamma, inside(place, 'gamma'));
  const rate = checkRate(options.rate, inside(place, 'rate'));
  const kernelName = inside(place, 'kernel').path;
  const kernel = checkArray(options.kernel, kernelName, 2);
  const { samples, classes, dim } = checked;
  const [rows, cols] = kernel.shape as [number, number];
  if (rows !== cols || (rows !== samples && rows !== samples * dim)) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `${kernelName} is ${showShape(kernel.shape)}; expected [${samples * dim}, ${samples * dim}], or [${samples}, ${samples}] where it acts on every coordinate alike.`,
    );
  }
  checkSameType({ features: checked, [kernelName]: kernel });
  const problem: Problem = {
    initial: snapshot(checked),
    features: doubles(checked.features),
    prototypes: doubles(checked.prototypes),
    biases: checked.biases && doubles(checked.biases),
    kernel: doubles(kernel.data),
    tolerance: checked.dtype === 'float64' ? 1e-8 : 1e-5,
    layout: { samples, classes, dim, rows },
    rate,
  };
  return loss === 'mse' ? new MseFlow(problem) : new UnhingedFlow(problem, gamma);
}

const doubles = (x: Float): Float64Array => shared(new Float64Array(x));

interface Problem {
  readonly initial: CheckedState;
  readonly features: Float64Array;
  readonly prototypes: Float64Array;
  readonly biases: Float64Array | undefined;
  readonly kernel: Float64Array;
  readonly tolerance: number;
  readonly layout: KernelLayout;
  readonly rate: CheckedRate;
}

/** A state in double: features and prototypes are `e^logScale` times these, biases are themselves. */
interface ScaledState {
  readonly features: Float64Array;
  readonly prototypes: Float64Array;
  readonly biases: Float64Array | undefined;
  readonly logScale: number;
}

/** A limit before its arrays have the state's dtype, and its exponents per unit of ζ. */
interface Ending extends Pick<Limit, 'regime' | 'statement' | 'exponent' | 'rate'> {
  /** The direction, of any norm; undefined if there is none. */
  readonly toward: ScaledState | undefined;
  /** Whether the state itself tends to `toward`. */
  readonly reached: boolean;
}

/** Samples, classes, dimensions, and the order of a tangent kernel: samples, or samples · dim. */
interface KernelLayout extends Sizes {
  readonly rows: number;
}

/** `KernelModes` of native/ops/kernel_flow. */
interface KernelModes {
  readonly reach: Float64Array;
  readonly vectors: Float64Array;
  readonly values: Float64Array;
  readonly prototypeParts: Float64Array;
  readonly featureParts: Float64Array;
}

interface CombinePlan extends KernelLayout {
  readonly features: Float64Array;
  readonly initial: number;
  /** Coefficients of each mode. */
  readonly grow: Float64Array;
  readonly rise: Float64Array;
  readonly lift: Float64Array;
}

/** `KernelMeasures` of native/ops/kernel_flow/measure; the distance where it is told to what. */
interface KernelMeasures {
  readonly meanOwn: number;
  readonly meanTotal: number;
  readonly meanSquare: number;
  readonly accuracy: number;
  readonly minMargin: number;
  readonly meanMargin: number;
  readonly featureNorm: number;
  readonly prototypeNorm: number;
  readonly distance?: number | undefined;
}

declare module '../engine/load.js' {
  interface Engine {
    kernelCheck(
      mode: Mode,
      plan: { readonly kernel: Float64Array; readonly rows: number; readonly tolerance: number },
    ): Result<void>;
    kernelModes(
      mode: Mode,
      state: EngineState<Float64Array>,
      plan: { readonly kernel: Float64Array; readonly rows: number; readonly gamma: number },
    ): Result<KernelModes>;
    kernelCombine(mode: Mode, modes: KernelModes, plan: CombinePlan): Result<RawArrays<Float64Array>>;
    kernelMse(
      mode: Mode,
      state: FlowState,
      plan: FollowPlan & { readonly kernel: Float64Array; readonly rows: number },
    ): Result<Followed>;
    kernelMeasure(
      mode: Mode,
      state: EngineState,
      plan: { readonly toward: RawArrays<Float64Array> | undefined },
    ): Result<KernelMeasures>;
  }
}

abstract class KernelFlow extends ComputedTrajectory {
  protected readonly known = trajectoryMeasureNames.filter((name) => name !== 'distanceToAligned');
  protected readonly stepwise = false;
  /** Whether what is measured goes with the size of a state without biases. */
  protected abstract readonly ofAnySize: boolean;
  private checked = false;
  private foundEnding: Ending | undefined;
  private towards: { readonly features: Float64Array; readonly prototypes: Float64Array } | undefined;

  constructor(protected readonly problem: Problem) {
    super();
  }

  /** Checks everything, and does what needs doing once. */
  abstract begin(): Steps<unknown>;
  /** The state at `zeta`, and how it ends as `zeta` grows without bound. */
  protected abstract stateAt(zeta: number): Steps<ScaledState>;
  protected abstract endless(): Steps<Ending>;
  /** The loss of a scaled state, divided by `e^{2 logScale}`, from its evaluation. */
  protected abstract lossOf(measured: KernelMeasures): number;

  protected release(): void {
    this.foundEnding = this.towards = undefined;
  }

  /** The kernel, once it is known to be one. */
  protected *kernel(): Steps<Float64Array> {
    const { kernel, layout, tolerance } = this.problem;
    if (!this.checked) {
      const plan = { kernel, rows: layout.rows, tolerance };
      yield* step({ call: (engine, mode) => engine.kernelCheck(mode, plan), wrap: () => undefined });
      this.checked = true;
    }
    return kernel;
  }

  /** `ζ` at a time. */
  private *zetaAt(time: number): Steps<number> {
    const { rate } = this.problem;
    yield* rate.prepare(time);
    return rate.integral(time);
  }

  protected *state(time: number): Steps<State> {
    return this.inDtype(yield* this.stateAt(yield* this.zetaAt(time)));
  }

  /** A state of the caller's dtype. @throws `LP_OVERFLOW` */
  private inDtype({ features, prototypes, biases, logScale }: ScaledState): State {
    const { initial } = this.problem;
    const grown = (x: Float64Array) =>
      fit(initial, logScale === 0 ? x : scaled(scaled(x, Math.exp(logScale / 2)), Math.exp(logScale / 2)));
    return freshState(initial, grown(features), grown(prototypes), biases && fit(initial, biases));
  }

  protected *direction(time: number): Steps<ScaledDirection> {
    const { features, prototypes, logScale } = yield* this.stateAt(yield* this.zetaAt(time));
    const norm = Math.hypot(normOf(features), normOf(prototypes));
    if (norm === 0) throw new LayerpeelError('LP_OPTION', `The state is zero at time ${time} and has no direction.`);
    return { ...this.unit(features, prototypes, norm), logNorm: logScale + Math.log(norm) };
  }

  private unit(features: Float64Array, prototypes: Float64Array, norm: number) {
    const { initial } = this.problem;
    const { samples, classes, dim } = initial;
    return {
      features: ofShape([samples, dim], fit(initial, scaled(features, 1 / norm))),
      prototypes: ofShape([classes, dim], fit(initial, scaled(prototypes, 1 / norm))),
    };
  }

  protected *columns(times: Float64Array, names: ReadonlySet<TrajectoryMeasure>): Steps<Columns> {
    const { initial } = this.problem;
    const toward = names.has('distanceToLimit') ? yield* this.limitDirection() : undefined;
    const { labels, samples, classes, dim } = initial;
    const sizes = { labels, samples, classes, dim };
    const states: { e: KernelMeasures; logScale: number }[] = [];
    for (const time of times) {
      const state = yield* this.stateAt(yield* this.zetaAt(time));
      const { features, prototypes, biases, logScale } = this.ofAnySize && !state.biases ? moderate(state) : state;
      const small = biases && scaled(biases, Math.exp(-2 * logScale));
      const e = yield* step({
        call: (engine, mode) => engine.kernelMeasure(mode, { features, prototypes, biases: small, ...sizes }, { toward }),
        wrap: (raw: KernelMeasures) => raw,
      });
      states.push({ e, logScale });
    }
    const column = (of: (e: KernelMeasures, logScale: number) => number) =>
      Float64Array.from(states, ({ e, logScale }) => of(e, logScale));
    // 0 · e^∞ is 0 here: a quantity that vanishes does so at any scale.
    const grown = (name: keyof KernelMeasures, power: number) =>
      column((e, logScale) => timesExp(e[name] as number, power * logScale));
    const log = (name: 'featureNorm' | 'prototypeNorm') => column((e, logScale) => Math.log(e[name]) + logScale);
    return {
      loss: column((e, logScale) => timesExp(this.lossOf(e), 2 * logScale)),
      logAbsLoss: column((e, logScale) => Math.log(Math.abs(this.lossOf(e))) + 2 * logScale),
      lossSign: column((e) => Math.sign(this.lossOf(e))),
      accuracy: column((e) => e.accuracy),
      minMargin: grown('minMargin', 2),
      meanMargin: grown('meanMargin', 2),
      featureNorm: grown('featureNorm', 1),
      prototypeNorm: grown('prototypeNorm', 1),
      logFeatureNorm: log('featureNorm'),
      logPrototypeNorm: log('prototypeNorm'),
      logNorm: column((e, logScale) => logScale + Math.log(Math.hypot(e.featureNorm, e.prototypeNorm))),
      distanceToLimit: column((e) => e.distance ?? Number.NaN),
    };
  }

  private *limitDirection() {
    const { toward } = yield* this.end();
    if (!toward) return undefined;
    const norm = Math.hypot(normOf(toward.features), normOf(toward.prototypes));
    this.towards ??= {
      features: shared(scaled(toward.features, 1 / norm)),
      prototypes: shared(scaled(toward.prototypes, 1 / norm)),
    };
    return this.towards;
  }

  private *end(): Steps<Ending> {
    const { total } = this.problem.rate;
    this.foundEnding ??= total !== undefined && total < Number.POSITIVE_INFINITY ? yield* this.endAt(total) : yield* this.endless();
    return this.foundEnding;
  }

  /** Where rates whose integral is finite leave the flow. */
  private *endAt(total: number): Steps<Ending> {
    const statement = `The rate's integral is ${total}: the flow comes to rest there.`;
    return {
      regime: 'stationary',
      statement,
      exponent: 0,
      rate: Number.POSITIVE_INFINITY,
      ...withDirection(yield* this.stateAt(total)),
      reached: true,
    };
  }

  protected *ending(): Steps<Limit> {
    const { regime, statement, exponent, rate, toward, reached } = yield* this.end();
    const given = this.problem.rate;
    // What the rate tends to: per unit of time the exponents are so many times those per unit of ζ.
    const last = given.total === Number.POSITIVE_INFINITY ? given.valueAt(Number.MAX_VALUE) : 1;
    const limit: Limit = {
      regime,
      statement,
      exponent: exponent * last,
      rate: rate * last,
      per: given.total === undefined ? 'zeta' : 'time',
    };
    if (!toward) return limit;
    const norm = Math.hypot(normOf(toward.features), normOf(toward.prototypes));
    return {
      ...limit,
      direction: this.unit(toward.features, toward.prototypes, norm),
      ...(reached && { state: this.inDtype(toward) }),
    };
  }
}

/** `toward`, unless the state is zero. */
const withDirection = (state: ScaledState): Pick<Ending, 'toward'> => ({
  toward: normOf(state.features) + normOf(state.prototypes) > 0 ? state : undefined,
});

const timesExp = (x: number, exponent: number): number => (x === 0 ? 0 : Math.sign(x) * Math.exp(Math.log(Math.abs(x)) + exponent));

/** Products of two numbers of such sizes neither overflow nor vanish. */
const MODERATE = 2 ** 300;

/** The same state in numbers of a moderate size, by a power of two. */
function moderate(state: ScaledState): ScaledState {
  const largest = Math.max(normOf(state.features), normOf(state.prototypes));
  if (largest === 0 || (largest < MODERATE && largest > 1 / MODERATE)) return state;
  const exponent = Math.floor(Math.log2(largest));
  const half = Math.trunc(exponent / 2); // as 2^exponent may be no double
  const less = (x: Float64Array) => scaled(scaled(x, 2 ** -half), 2 ** (half - exponent));
  return {
    ...{ features: less(state.features), prototypes: less(state.prototypes), biases: state.biases },
    logScale: state.logScale + exponent * Math.LN2,
  };
}

/** A group of modes that grow alike, and how fast. */
interface Growth {
  readonly omega: number;
  readonly members: readonly number[];
}

class UnhingedFlow extends KernelFlow {
  protected readonly ofAnySize = true;
  private found: KernelModes | undefined;

  constructor(
    problem: Problem,
    private readonly gamma: number,
  ) {
    super(problem);
  }

  protected override release(): void {
    super.release();
    this.found = undefined;
  }

  begin(): Steps<unknown> {
    return this.modes();
  }

  private *modes(): Steps<KernelModes> {
    const { features, prototypes, biases, initial, layout } = this.problem;
    const { rows, ...sizes } = layout;
    const state = { features, prototypes, biases, labels: initial.labels, ...sizes };
    const kernel = yield* this.kernel();
    this.found ??= yield* step({
      call: (engine, mode) => engine.kernelModes(mode, state, { kernel, rows, gamma: this.gamma }),
      wrap: (modes: KernelModes) => ({
        reach: shared(modes.reach),
        vectors: shared(modes.vectors),
        values: shared(modes.values),
        prototypeParts: shared(modes.prototypeParts),
        featureParts: shared(modes.featureParts),
      }),
    });
    return this.found;
  }

  protected lossOf({ meanTotal, meanOwn }: KernelMeasures): number {
    return this.gamma * meanTotal - (1 + this.gamma) * meanOwn;
  }

  protected *stateAt(zeta: number): Steps<ScaledState> {
    const { values } = yield* this.modes();
    const growth = Math.sqrt(values.at(-1) as number) * zeta;
    const logScale = growth < SAFE_GROWTH ? 0 : growth;
    return yield* this.combine(zeta, logScale, Math.exp(-logScale), (omega) => hyperbolic(omega, zeta, logScale));
  }

  /** `initial · H0 + …`, with the coefficients grow, rise, lift of each mode by its `ω`. */
  private *combine(
    zeta: number,
    logScale: number,
    initial: number,
    coefficientsOf: (omega: number, k: number) => readonly [number, number, number],
  ): Steps<ScaledState> {
    const { features, layout } = this.problem;
    const modes = yield* this.modes();
    const m = modes.values.length;
    const [grow, rise, lift] = [new Float64Array(m), new Float64Array(m), new Float64Array(m)];
    for (let k = 0; k < m; k++) [grow[k], rise[k], lift[k]] = coefficientsOf(Math.sqrt(modes.values[k] as number), k);
    const plan = { ...layout, features, initial, grow, rise, lift };
    return yield* step({
      call: (engine, mode) => engine.kernelCombine(mode, modes, plan),
      wrap: (arrays: RawArrays<Float64Array>) => ({
        ...arrays,
        biases: this.biasesAt(zeta),
        logScale,
      }),
    });
  }

  private biasesAt(zeta: number): Float64Array | undefined {
    const { samples, counts } = this.problem.initial;
    return this.problem.biases?.map((bias, c) => bias + (((1 + this.gamma) * (counts[c] as number)) / samples - this.gamma) * zeta);
  }

  protected *endless(): Steps<Ending> {
    const growths = yield* this.growths();
    const [lead, next] = growths;
    if (!lead) return yield* this.endBounded();
    const members = new Set(lead.members);
    const { omega } = lead;
    const toward = yield* this.combine(0, 0, 0, (_, k) =>
      members.has(k) ? [1 / 2, 1 / (2 * omega), 1 / (2 * omega ** 2)] : [0, 0, 0],
    );
    return {
      regime: this.regimeOf(toward.prototypes),
      toward,
      reached: false,
      exponent: omega,
      rate: omega - (next?.omega ?? 0),
      statement: `The leading modes of the kernel take over: ‖Z‖ grows like e^{${omega.toPrecision(6)} ζ}, ζ the integral of the rate (UL Thm 8).`,
    };
  }

  /** No mode grows exponentially: prototypes grow linearly in ζ, or everything comes to rest. */
  private *endBounded(): Steps<Ending> {
    const { values, featureParts } = yield* this.modes();
    const still = (omega: number) => omega === 0;
    const linear = normOf(featureParts.filter((_, j) => values[Math.floor((j * values.length) / featureParts.length)] === 0));
    if (linear > 0) {
      const toward = yield* this.combine(0, 0, 0, (omega) => (still(omega) ? [0, 1, 0] : [0, 0, 0]));
      const statement =
        'No mode grows exponentially: the kernel does not let the features follow, and the prototypes grow linearly.';
      return { regime: 'diverging', toward, reached: false, exponent: 0, rate: 0, statement };
    }
    const toward = yield* this.combine(0, 0, 1, (omega) => (still(omega) ? [1, 0, 0] : [0, 0, -1 / omega ** 2]));
    const slowest = values.find((value) => value > 0);
    const rate = slowest === undefined ? Number.POSITIVE_INFINITY : Math.sqrt(slowest);
    const statement = 'No mode that grows is in the state: it comes to rest.';
    return { regime: 'stationary', ...withDirection(toward), reached: true, exponent: 0, rate, statement };
  }

  /** The growing modes `½ (w + h/ω)` that are in the state, those with the same `ω` together, fastest first. */
  private *growths(): Steps<Growth[]> {
    const { values, prototypeParts, featureParts } = yield* this.modes();
    const m = values.length;
    const q = prototypeParts.length / m;
    const amplitude = (k: number, sign: number) => {
      const omega = Math.sqrt(values[k] as number);
      const row = prototypeParts.slice(k * q, (k + 1) * q);
      return normOf(row.map((w, j) => w + (sign * (featureParts[k * q + j] as number)) / omega));
    };
    const groups: { omega: number; members: number[] }[] = [];
    for (let k = m - 1; k >= 0 && (values[k] as number) > 0; k--) {
      if (amplitude(k, 1) <= 1e-13 * amplitude(k, -1) || amplitude(k, 1) === 0) continue;
      const omega = Math.sqrt(values[k] as number);
      const group = groups.at(-1);
      if (group && group.omega - omega <= 1e-9 * group.omega) group.members.push(k);
      else groups.push({ omega, members: [k] });
    }
    return groups;
  }

  /** By what the prototypes of the limit are made of; see `Regime`. */
  private regimeOf(prototypes: Float64Array): Limit['regime'] {
    const { classes, dim, counts } = this.problem.initial;
    if (counts.some((count) => count !== counts[0])) return 'diverging';
    const mean = new Float64Array(dim);
    for (let j = 0; j < prototypes.length; j++) mean[j % dim] = (mean[j % dim] as number) + (prototypes[j] as number) / classes;
    const total = normOf(prototypes);
    const common = normOf(mean) * Math.sqrt(classes);
    const centred = normOf(prototypes.map((w, j) => w - (mean[j % dim] as number)));
    if (common <= 1e-9 * total) return 'aligned';
    return centred <= 1e-9 * total ? 'orthogonal' : 'diverging';
  }
}

/** Exponents up to which states, and the squares of their entries, stay far within the range of doubles. */
const SAFE_GROWTH = 300;

/** `cosh x`, `sinh(x)/ω`, `(cosh x − 1)/ω²` of `x = ωζ`, each times `e^{−logScale}`; accurate as `ω → 0`. */
function hyperbolic(omega: number, zeta: number, logScale: number): readonly [number, number, number] {
  const x = omega * zeta;
  const [up, down] = [Math.exp(x - logScale), Math.exp(-x - logScale)];
  const grow = (up + down) / 2;
  if (x > 1) return [grow, (up - down) / (2 * omega), (up + down - 2 * Math.exp(-logScale)) / (2 * omega ** 2)];
  const sinhc = (y: number) => (y === 0 ? 1 : Math.sinh(y) / y);
  const scale = Math.exp(-logScale);
  return [grow, zeta * sinhc(x) * scale, (zeta ** 2 / 2) * sinhc(x / 2) ** 2 * scale];
}

/** A step's tolerance, and how many steps the search of a limit may take. */
const TOLERANCE = 1e-13;
const LIMIT_STEPS = 20_000;
/** More than can be made in anybody's time. */
const ANY_STEPS = 2 ** 31 - 1;

class MseFlow extends KernelFlow {
  protected readonly ofAnySize = false;
  private latest: (Followed & { readonly zeta: number }) | undefined;

  protected override release(): void {
    super.release();
    this.latest = undefined;
  }

  protected lossOf({ meanSquare }: KernelMeasures): number {
    return meanSquare;
  }

  protected *stateAt(zeta: number): Steps<ScaledState> {
    const from = this.latest && this.latest.zeta <= zeta ? this.latest : this.start();
    const outcome = from.zeta === zeta ? from : yield* this.integrate(from, zeta, ANY_STEPS);
    this.latest = { ...outcome, zeta };
    return this.split(outcome.z);
  }

  begin(): Steps<unknown> {
    return this.integrate(this.start(), 0, 0);
  }

  private start(): Followed & { readonly zeta: number } {
    const { features, prototypes, biases } = this.problem;
    const z = new Float64Array(features.length + prototypes.length + (biases?.length ?? 0));
    z.set(features);
    z.set(prototypes, features.length);
    if (biases) z.set(biases, features.length + prototypes.length);
    return { z, zeta: 0, time: 0, step: 0, error: 0, atRest: false, rate: Number.NaN };
  }

  private *integrate({ z, zeta, step: length }: Followed & { zeta: number }, to: number, maxSteps: number): Steps<Followed> {
    const { initial, layout, biases } = this.problem;
    const { rows, ...sizes } = layout;
    const kernel = yield* this.kernel();
    const flow = { from: zeta, to, step: length, tolerance: TOLERANCE, maxSteps };
    const plan = { kernel, rows, biased: biases !== undefined, ...flow };
    return yield* step({
      call: (engine, mode) => engine.kernelMse(mode, { z, labels: initial.labels, ...sizes }, plan),
      wrap: (outcome: Followed) => outcome,
    });
  }

  private split(z: Float64Array): ScaledState {
    const { samples, classes, dim } = this.problem.layout;
    const [features, prototypes] = [samples * dim, classes * dim];
    return {
      features: z.subarray(0, features),
      prototypes: z.subarray(features, features + prototypes),
      biases: this.problem.biases && z.subarray(features + prototypes),
      logScale: 0,
    };
  }

  protected *endless(): Steps<Ending> {
    const { z, atRest, rate } = yield* this.integrate(this.start(), Number.POSITIVE_INFINITY, LIMIT_STEPS);
    return {
      regime: 'stationary',
      ...withDirection(this.split(z)),
      reached: atRest,
      exponent: 0,
      rate: atRest ? (Number.isNaN(rate) ? Number.POSITIVE_INFINITY : rate) : 0,
      statement: atRest
        ? 'The flow comes to rest at a critical point of the loss; the rate is measured over its last stretch.'
        : `The flow still moves after ${LIMIT_STEPS} steps of the integration: the limit is not exponential, or very slow.`,
    };
  }
}
