/**
 * Descent of normalized features under fixed prototypes (UL Thm 7, Lemma 10), exact at every step.
 *
 * The loss is the unhinged loss of `ĥ_i = h_i/‖h_i‖`. With the effective target `u_y = w_y − γ/(1+γ) Σ_c w_c` (the theorem takes
 * `Σ_c w_c = 0`, where `u = w`) and `e = (1+γ) η_k/n` a step is
 *
 *     h_i ← h_i + e/‖h_i‖ (I − ĥĥᵀ) u_{y_i}        rescaled: without 1/‖h_i‖
 *
 * It stays in the plane of `u` and `h(0)`: a cosine, a sine and a norm a sample, `O(1)` a step whatever the dimension
 * (native/ops/spherical). Prototypes and biases stay as they are.
 */

import { type CheckedState, checkState, type State, snapshot } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { checkBoolean, inside, option } from '../check/options.js';
import { checkGamma } from '../check/quantities.js';
import type { Float, Sizes } from '../engine/load.js';
import { drive, driveSync, type Steps, step } from '../engine/run.js';
import { freshState, normOf, ofShape, scaled } from '../state/states.js';
import { type Columns, ComputedTrajectory } from './computed.js';
import { type CheckedRate, checkRate, type Rate } from './rates.js';
import {
  type Direction,
  type Limit,
  type ScaledDirection,
  type Trajectory,
  type TrajectoryMeasure,
  trajectoryMeasureNames,
} from './trajectory.js';

export interface SphericalOptions extends Control {
  /** Weight of the other classes' logits, at least 0. */
  readonly gamma: number;
  /** Learning rate: a number, a function of the step or a rate object. */
  readonly learningRate: Rate;
  /** Multiplies each sample's learning rate by the norm of its feature (UL §4.3). @default false */
  readonly rescaled?: boolean | undefined;
}

/** The limit, and how many samples break the conditions of UL Thm 7. */
export interface SphericalLimit extends Limit {
  /** Samples that start exactly opposite their target, or have none: they never move. */
  readonly still: number;
  /** Samples with `α(0) = e‖u‖/‖h(0)‖² > 1` (rescaled: `e‖u‖/‖h(0)‖`), which the theorem leaves out. */
  readonly overshooting: number;
}

export interface SphericalTrajectory extends Trajectory {
  limit(...args: Parameters<Trajectory['limit']>): Promise<SphericalLimit>;
  limitSync(): SphericalLimit;
}

/**
 * The descent of `features` under normalization, `prototypes` fixed; `at(k)` is the state after `k` steps, with features as they
 * are (not normalized). Logits, and with them the loss, accuracy and margins, are those of the normalized features.
 * `distanceToLimit` is UL Eq. 20, `‖Ĥ − Û‖_F` over the samples that move, whether the learning rates last until there or not;
 * `distanceToAligned` counts those opposite their target too.
 *
 * A feature within rounding (16 ε) of its target's line is taken to lie on it.
 * @throws `LP_OPTION` (a zero feature is named by its index), `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_ABORTED`
 */
export async function sphericalDescent(state: State, options: SphericalOptions): Promise<SphericalTrajectory> {
  return drive(startSphericalDescent(state, options), options);
}

/** `sphericalDescent` on the calling thread. */
export function sphericalDescentSync(state: State, options: SphericalOptions): SphericalTrajectory {
  return driveSync(startSphericalDescent(state, options));
}

/** `sphericalDescent` as a part of a longer computation, its options standing at a place of their own. */
export function* startSphericalDescent(
  state: State,
  options: SphericalOptions,
  place = option('options'),
): Steps<ComputedTrajectory<SphericalLimit>> {
  const checked = checkState(state);
  checkOptions(options, ['gamma', 'learningRate', 'rescaled'], place);
  const gamma = checkGamma(options.gamma, inside(place, 'gamma'));
  const rate = checkRate(options.learningRate, inside(place, 'learningRate'));
  const rescaled = checkBoolean(options.rescaled ?? false, inside(place, 'rescaled'));
  const trajectory = new Spherical(snapshot(checked), gamma, rate, rescaled);
  yield* trajectory.start();
  return trajectory;
}

/** Where the samples are after `step` steps. */
interface Position {
  readonly step: number;
  readonly angles: Float64Array;
}

interface Logits {
  readonly ahead: Float64Array;
  readonly aside: Float64Array;
  readonly biases: Float64Array;
}

/** Cosines, sines and norms of all samples one after the other, their pulls `[n]`, and their unit targets `[C, p]`. */
interface SphericalStart {
  readonly angles: Float64Array;
  readonly pull: Float64Array;
  readonly targets: Float64Array;
}

interface RawPosition {
  readonly angles: Float64Array;
  readonly pull: Float64Array;
  readonly samples: number;
}

interface AdvancePlan {
  readonly rates: Float64Array;
  readonly rescaled: boolean;
}

interface MeasurePlan extends AdvancePlan {
  readonly wanted: Float64Array;
  readonly scale: number;
  readonly logits: (Logits & { readonly labels: Int32Array; readonly classes: number }) | undefined;
}

/** Columns of `SphereMeasure` of native/ops/spherical; the last three where there are logits. */
interface RawMeasures {
  readonly pulled: Float64Array;
  readonly squaredDistance: Float64Array;
  readonly squaredNorm: Float64Array;
  readonly correct?: Float64Array | undefined;
  readonly marginSum?: Float64Array | undefined;
  readonly minMargin?: Float64Array | undefined;
}

declare module '../engine/load.js' {
  interface Engine {
    sphericalStart(mode: Mode, state: EngineState, plan: { readonly gamma: number }): Result<SphericalStart>;
    sphericalAdvance(mode: Mode, position: RawPosition, plan: AdvancePlan): Result<{ readonly angles: Float64Array }>;
    sphericalFeatures(
      mode: Mode,
      state: EngineState,
      plan: {
        readonly targets: Float64Array;
        readonly start: Float64Array;
        readonly now: Float64Array;
        readonly scale: number;
      },
    ): Result<{ readonly features: Float }>;
    sphericalLogits(
      mode: Mode,
      state: EngineState,
      plan: { readonly targets: Float64Array; readonly start: Float64Array },
    ): Result<Omit<Logits, 'biases'>>;
    /** The measures at the wanted steps, and the angles at the last of them. */
    sphericalMeasure(mode: Mode, position: RawPosition, plan: MeasurePlan): Result<RawMeasures & { readonly angles: Float64Array }>;
  }
}

/** The names that need logits. */
const ofLogits: readonly TrajectoryMeasure[] = ['accuracy', 'minMargin', 'meanMargin'];

/** Steps advanced by one native call: bounds the memory of their learning rates. */
const STRETCH = 2 ** 18;
/** `limit` follows the norms until no sine is above this, or for so many steps. */
const ALIGNED = 1e-8;
const LONGEST = 2 ** 20;

class Spherical extends ComputedTrajectory<SphericalLimit> {
  protected readonly known = trajectoryMeasureNames;
  protected readonly stepwise = true;
  private begun: SphericalStart | undefined;
  private latest: Position | undefined;
  private products: Logits | undefined;
  private readonly sizes: Sizes;
  private readonly prototypeNorm: number;

  constructor(
    private readonly initial: CheckedState,
    private readonly gamma: number,
    private readonly rate: CheckedRate,
    private readonly rescaled: boolean,
  ) {
    super();
    const { samples, classes, dim } = initial;
    this.sizes = { samples, classes, dim };
    this.prototypeNorm = normOf(initial.prototypes);
  }

  protected release(): void {
    this.begun = this.latest = this.products = undefined;
  }

  *start(): Steps<SphericalStart> {
    this.begun ??= yield* step({
      call: (engine, mode) => engine.sphericalStart(mode, this.initial, { gamma: this.gamma }),
      wrap: (start: SphericalStart) => start,
    });
    return this.begun;
  }

  /** The latest known position that is not later than `until`. */
  private *positionBefore(until: number): Steps<Position> {
    const { angles } = yield* this.start();
    return this.latest && this.latest.step <= until ? this.latest : { step: 0, angles };
  }

  private *positionAt(wanted: number): Steps<Position> {
    let position = yield* this.positionBefore(wanted);
    while (position.step < wanted) {
      const { angles, step: from } = position;
      const rates = this.rate.steps(from, Math.min(STRETCH, wanted - from));
      const { pull } = yield* this.start();
      const { samples } = this.sizes;
      position = yield* step({
        call: (engine, mode) => engine.sphericalAdvance(mode, { angles, pull, samples }, { rates, rescaled: this.rescaled }),
        wrap: (next: Omit<Position, 'step'>) => ({ ...next, step: from + rates.length }),
      });
    }
    this.latest = position;
    return position;
  }

  private *featuresAt({ angles }: Position, scale: number): Steps<CheckedState['features']> {
    const { targets, angles: start } = yield* this.start();
    return yield* step({
      call: (engine, mode) => engine.sphericalFeatures(mode, this.initial, { targets, start, now: angles, scale }),
      wrap: ({ features }: { readonly features: Float }) => features,
    });
  }

  protected *state(time: number): Steps<State> {
    return freshState(this.initial, yield* this.featuresAt(yield* this.positionAt(time), 1));
  }

  protected *direction(time: number): Steps<ScaledDirection> {
    const position = yield* this.positionAt(time);
    const norm = Math.hypot(this.featureNorm(position), this.prototypeNorm);
    return { ...(yield* this.directionOf(position, norm)), logNorm: Math.log(norm) };
  }

  private *directionOf(position: Position, norm: number): Steps<Direction> {
    const { samples, classes, dim } = this.sizes;
    return {
      features: ofShape([samples, dim], yield* this.featuresAt(position, 1 / norm)),
      prototypes: ofShape([classes, dim], scaled(this.initial.prototypes, 1 / norm)),
    };
  }

  private featureNorm({ angles }: Position): number {
    return normOf(angles.subarray(2 * this.sizes.samples));
  }

  private *logits(): Steps<Logits> {
    const { biases } = this.initial;
    const { targets, angles: start } = yield* this.start();
    this.products ??= yield* step({
      call: (engine, mode) => engine.sphericalLogits(mode, this.initial, { targets, start }),
      wrap: (raw: Omit<Logits, 'biases'>) => ({
        ...raw,
        biases: biases ? Float64Array.from(biases) : new Float64Array(this.sizes.classes),
      }),
    });
    return this.products;
  }

  protected *columns(times: Float64Array, names: ReadonlySet<TrajectoryMeasure>): Steps<Columns> {
    const { samples, classes } = this.sizes;
    const logits = ofLogits.some((name) => names.has(name))
      ? { ...(yield* this.logits()), labels: this.initial.labels, classes }
      : undefined;
    const { angles: first, pull } = yield* this.start();
    const scale = 1 / this.featureNorm({ step: 0, angles: first });
    const parts: RawMeasures[] = [];
    for (let done = 0; done < times.length; ) {
      // Up to the first wanted step at once, then all that lie within a stretch from there.
      const { step: from, angles } = yield* this.positionAt(times[done] as number);
      let end = done;
      while (end < times.length && (times[end] as number) <= from + STRETCH) end++;
      const wanted = times.slice(done, end).map((time) => time - from);
      const rates = this.rate.steps(from, wanted.at(-1) as number);
      const result = yield* step({
        call: (engine, mode) =>
          engine.sphericalMeasure(mode, { angles, pull, samples }, { rates, wanted, rescaled: this.rescaled, scale, logits }),
        wrap: (raw: RawMeasures & Omit<Position, 'step'>) => raw,
      });
      parts.push(result);
      this.latest = { step: times[end - 1] as number, angles: result.angles };
      done = end;
    }
    return this.derive(parts, scale, yield* this.start());
  }

  /** The named measures from the native ones, in parts. */
  private derive(parts: readonly RawMeasures[], scale: number, start: SphericalStart): Columns {
    const { samples, classes } = this.sizes;
    const { biases, counts } = this.initial;
    let ofBiases = 0;
    for (let c = 0; biases && c < classes; c++) {
      ofBiases += (((1 + this.gamma) * (counts[c] as number)) / samples - this.gamma) * (biases[c] as number);
    }
    const get = (name: keyof RawMeasures) => {
      const columns = parts.map((part) => part[name] ?? new Float64Array());
      const all = new Float64Array(columns.reduce((rows, { length }) => rows + length, 0));
      let at = 0;
      for (const column of columns) {
        all.set(column, at);
        at += column.length;
      }
      return all;
    };
    const loss = get('pulled').map((pulled) => -pulled - ofBiases);
    const featureNorm = get('squaredNorm').map((square) => Math.sqrt(square) / scale);
    const opposite = this.stillSamples(start).opposite;
    const constant = (value: number) => loss.map(() => value);
    return {
      loss,
      logAbsLoss: loss.map((value) => Math.log(Math.abs(value))),
      lossSign: loss.map(Math.sign),
      featureNorm,
      logFeatureNorm: featureNorm.map(Math.log),
      prototypeNorm: constant(this.prototypeNorm),
      logPrototypeNorm: constant(Math.log(this.prototypeNorm)),
      logNorm: featureNorm.map((norm) => Math.log(Math.hypot(norm, this.prototypeNorm))),
      distanceToLimit: get('squaredDistance').map(Math.sqrt),
      distanceToAligned: get('squaredDistance').map((square) => Math.sqrt(square + 4 * opposite)),
      accuracy: get('correct').map((correct) => correct / samples),
      meanMargin: get('marginSum').map((sum) => sum / samples),
      minMargin: get('minMargin'),
    };
  }

  /** Samples that never move: opposite their target, or without one. */
  private stillSamples({ angles, pull }: SphericalStart): { opposite: number; without: number } {
    const { samples } = this.sizes;
    let [opposite, without] = [0, 0];
    for (let i = 0; i < samples; i++) {
      if (pull[i] === 0) without++;
      else if (angles[samples + i] === 0 && (angles[i] as number) < 0) opposite++;
    }
    return { opposite, without };
  }

  protected *ending(): Steps<SphericalLimit> {
    const start = yield* this.start();
    const { opposite, without } = this.stillSamples(start);
    const still = opposite + without;
    const overshooting = this.steepness(start, start.angles, this.rate.steps(0, 1)[0] as number).filter(
      (alpha) => alpha > 1,
    ).length;
    const finite = Number.isFinite(this.rate.total ?? Number.POSITIVE_INFINITY);
    const last = finite ? yield* this.positionAt(this.finalStep()) : yield* this.alignedPosition(start);
    const position = finite ? last : { step: last.step, angles: this.aligned(start, last.angles) };
    const norm = Math.hypot(this.featureNorm(position), this.prototypeNorm);
    const common = {
      direction: yield* this.directionOf(position, norm),
      state: freshState(this.initial, yield* this.featuresAt(position, 1)),
      exponent: 0,
      still,
      overshooting,
    };
    if (finite) {
      const statement = 'The learning rates sum to a finite number: the descent comes to rest there, short of its targets.';
      return { ...common, regime: 'stationary', rate: Number.POSITIVE_INFINITY, per: 'step', statement };
    }
    const { rate, per } = this.convergence(start, last.angles);
    const regime = still === 0 ? 'aligned' : still === this.sizes.samples ? 'stationary' : 'mixed';
    return { ...common, regime, rate, per, statement: statementOf(this.sizes.samples, opposite, without, overshooting) };
  }

  /** `α` of each sample at learning rate `rate`. */
  private steepness({ pull }: SphericalStart, angles: Float64Array, rate: number): Float64Array {
    const norms = angles.subarray(2 * this.sizes.samples);
    return pull.map((own, i) => (rate * own) / (norms[i] as number) ** (this.rescaled ? 1 : 2));
  }

  /** The angles with every moving sample put on its target; norms as they are. */
  private aligned({ pull }: SphericalStart, angles: Float64Array): Float64Array {
    const { samples } = this.sizes;
    const result = angles.slice();
    for (let i = 0; i < samples; i++) {
      if (angles[samples + i] === 0 || pull[i] === 0) continue;
      result[i] = 1;
      result[samples + i] = 0;
    }
    return result;
  }

  /** The first step after which the learning rates' sum changes no more. */
  private finalStep(): number {
    const total = this.rate.total as number;
    let k = 1;
    while (total - this.rate.integral(k) > 1e-16 * total) k *= 2;
    return this.rate.breakPoints.reduce((last, time) => Math.max(last, Math.ceil(time)), k);
  }

  /** Follows the norms until alignment, when they no longer change. */
  private *alignedPosition({ pull }: SphericalStart): Steps<Position> {
    const { samples } = this.sizes;
    let position = yield* this.positionAt(256);
    const aligned = () =>
      position.angles.subarray(samples, 2 * samples).every((sine, i) => Math.abs(sine) <= ALIGNED || pull[i] === 0);
    while (!aligned() && position.step < LONGEST) position = yield* this.positionAt(2 * position.step);
    return position;
  }

  /** Near its target a sample's sine shrinks by `1 − α` a step: the slowest sample's rate. */
  private convergence(start: SphericalStart, angles: Float64Array): Pick<Limit, 'rate' | 'per'> {
    const moving = (_: number, i: number) => start.pull[i] !== 0 && angles[this.sizes.samples + i] !== 0;
    const least = (values: Float64Array) =>
      values.filter(moving).reduce((low, value) => Math.min(low, value), Number.POSITIVE_INFINITY);
    if (this.rate.total === undefined) return { rate: least(this.steepness(start, angles, 1)), per: 'zeta' };
    const last = this.rate.valueAt(Number.MAX_VALUE);
    return { rate: least(this.steepness(start, angles, last).map((alpha) => -Math.log(Math.abs(1 - alpha)))), per: 'step' };
  }
}

function statementOf(samples: number, opposite: number, without: number, overshooting: number): string {
  const parts = ['Normalized features tend to their unit targets, and norms to finite values (UL Thm 7).'];
  if (opposite > 0) parts.push(`${opposite} of ${samples} samples start exactly opposite their target and stay.`);
  if (without > 0) parts.push(`${without} of ${samples} samples have no target (γ/(1+γ) Σ_c w_c equals their prototype) and stay.`);
  if (overshooting > 0) parts.push(`${overshooting} of ${samples} start with α(0) > 1, which the theorem leaves out.`);
  return parts.join(' ');
}
