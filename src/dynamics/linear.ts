/**
 * Trajectories of linear dynamics under the unhinged loss: flow, descent, and flow under fixed prototypes. The
 * singular modes of the loss move each by itself (native/ops/exact/propagator), and a state at a time is a few combinations of parts of the start
 * (native/ops/exact/trajectory). Here are their times and rates, the checks, and what their limit means.
 */
import { type CheckedState, checkBalanced, type DType, type State } from '../array/ndarray.js';
import { LayerpeelError, OverflowError } from '../check/errors.js';
import { collapseMeasures } from '../collapse/measures.js';
import { engine, type Handle, type RawArrays } from '../engine/load.js';
import { type Steps, step } from '../engine/run.js';
import { ofShape } from '../state/states.js';
import { type Columns, ComputedTrajectory } from './computed.js';
import { type LimitFacts, type RawLimit, regimeOf, statementOf } from './limits.js';
import type { Dynamics, LearningRates, ScheduledDynamics } from './scheduled.js';
import { type Limit, logMeasures, type MeasureName, type ScaledDirection, trajectoryMeasures } from './trajectory.js';

/** Weight decay of features, and of prototypes and biases; a number is both, what is left out 0. */
export type WeightDecay = number | { readonly features?: number; readonly prototypes?: number };

/** The parts of a state that have rates and decays of their own. */
export const sides = ['features', 'prototypes'] as const;

interface RawState extends RawArrays {
  readonly logNorm: number;
  /** Whether all of it is finite. */
  readonly fits: boolean;
}

type ExactHandle = Handle<'trajectory'>;

interface StartPlan {
  readonly gamma: number;
  readonly dynamics: Dynamics;
}

declare module '../engine/load.js' {
  interface Engine {
    trajectoryStart(mode: Mode, state: EngineState, plan: StartPlan): Result<ExactHandle>;
    trajectoryRates(handle: ExactHandle, rates: LearningRates): void;
    /** At a time of the dynamics' own; over its norm, if it is to have unit norm. */
    trajectoryState(mode: Mode, handle: ExactHandle, plan: { readonly time: number; readonly unit: boolean }): Result<RawState>;
    /** A column by each name. */
    trajectoryMeasure(
      mode: Mode,
      handle: ExactHandle,
      plan: { readonly times: Float64Array; readonly names: readonly MeasureName[] },
    ): Result<Columns>;
    trajectoryLimit(mode: Mode, handle: ExactHandle): Result<RawLimit>;
    trajectoryLimitState(mode: Mode, handle: ExactHandle, plan: { readonly unit: boolean }): Result<RawArrays>;
  }
}

/** Makes a trajectory of a start, which it copies. */
export function startTrajectory(state: CheckedState, gamma: number, scheduled: ScheduledDynamics): Steps<ComputedTrajectory> {
  const { labels, samples, classes, dim, counts, dtype } = state;
  const start = { samples, classes, dim, dtype, labels: labels.slice(), counts, gamma };
  return step({
    call: (engine, mode) => engine.trajectoryStart(mode, state, { gamma, dynamics: scheduled.dynamics }),
    wrap: (handle: ExactHandle) => new LinearTrajectory(handle, start, scheduled),
  });
}

/** What is kept of a start on this side. */
interface Start {
  readonly samples: number;
  readonly classes: number;
  readonly dim: number;
  readonly dtype: DType;
  readonly labels: Int32Array;
  readonly counts: Int32Array;
  readonly gamma: number;
}

class LinearTrajectory extends ComputedTrajectory {
  protected readonly known = [
    ...new Set([trajectoryMeasures, logMeasures, collapseMeasures].flatMap((measures) => Object.keys(measures) as MeasureName[])),
  ];
  protected readonly stepwise: boolean;
  private ratesUntil = 0;

  constructor(
    private readonly handle: ExactHandle,
    private readonly start: Start,
    private readonly scheduled: ScheduledDynamics,
  ) {
    super();
    this.stepwise = scheduled.stepwise;
  }

  protected release(): void {
    engine().dispose(this.handle);
  }

  /** Hands over the rates up to a time; returns the dynamics' own time then. */
  private tauAt(time: number): number {
    if (time > this.ratesUntil) {
      const rates = this.scheduled.rates(time);
      if (rates) engine().trajectoryRates(this.handle, rates);
      this.ratesUntil = time;
    }
    return this.scheduled.tau(time);
  }

  private *evaluate(time: number, unit: boolean): Steps<RawState> {
    yield* this.scheduled.prepare(time);
    const tau = this.tauAt(time);
    return yield* step({
      call: (engine, mode) => engine.trajectoryState(mode, this.handle, { time: tau, unit }),
      wrap: (raw: RawState) => raw,
    });
  }

  protected *state(time: number): Steps<State> {
    const raw = yield* this.evaluate(time, false);
    if (!raw.fits) {
      throw new OverflowError(
        `At ${this.stepwise ? 'step' : 'time'} ${time} the state does not fit ${this.start.dtype} (log ‖Z‖ is ${raw.logNorm.toPrecision(6)}); ` +
          'use directionAt, which never overflows.',
      );
    }
    return this.stateOf(raw);
  }

  protected *direction(time: number): Steps<ScaledDirection> {
    const raw = yield* this.evaluate(time, true);
    return { ...this.directionOf(raw), logNorm: raw.logNorm };
  }

  protected *columns(times: Float64Array, names: ReadonlySet<MeasureName>): Steps<Columns> {
    if (names.has('distanceToLimit') || names.has('logDistanceToLimit')) this.reachEnd();
    if (names.has('distanceToAligned') || names.has('logDistanceToAligned')) this.checkAligned();
    if ([...names].some((name) => !(name in trajectoryMeasures))) this.checkClasses();
    yield* this.scheduled.prepare(times.at(-1) as number);
    this.tauAt(times.at(-1) as number);
    const taus = times.map((time) => this.scheduled.tau(time));
    return yield* step({
      call: (engine, mode) => engine.trajectoryMeasure(mode, this.handle, { times: taus, names: [...names] }),
      wrap: (raw: Columns) => raw,
    });
  }

  protected *ending(): Steps<Limit> {
    this.reachEnd();
    const raw = yield* step({
      call: (engine, mode) => engine.trajectoryLimit(mode, this.handle),
      wrap: (limit: RawLimit) => limit,
    });
    const { dynamics, per, speed, fading } = this.scheduled;
    const facts: LimitFacts = {
      ...raw,
      ...this.start,
      dynamics,
      balanced: this.start.counts.every((n) => n === this.start.counts[0]),
    };
    const regime = regimeOf(facts);
    const limit = {
      regime,
      exponent: raw.exponent * speed,
      rate: raw.kind === 'frozen' ? fading : raw.rate * speed,
      per,
    };
    const arrays = (unit: boolean) =>
      step({
        call: (engine, mode) => engine.trajectoryLimitState(mode, this.handle, { unit }),
        wrap: (arrays: RawArrays) => arrays,
      });
    const moves = raw.logNorm > Number.NEGATIVE_INFINITY;
    const direction = regime === 'oscillating' || !moves ? undefined : this.directionOf(yield* arrays(true));
    const state = regime === 'stationary' ? finite(this.stateOf(yield* arrays(false))) : undefined;
    return {
      ...limit,
      ...(direction && { direction }),
      ...(state && { state }),
      statement: statementOf(facts, limit),
    };
  }

  private reachEnd(): void {
    const { dynamics } = this.scheduled;
    if (dynamics.end === 'unknown') {
      throw new LayerpeelError(
        'LP_OPTION',
        'The limit is not known of learning rates and schedules given as functions, of rates of a flow that are functions and not proportional, with momentum of learning rates that are not proportional, or where finding it takes more than 2^28 steps; give rates and schedules as numbers or plain objects.',
      );
    }
    this.tauAt(dynamics.kind === 'flow' ? 0 : dynamics.endTime);
  }

  private checkClasses(): void {
    const empty = this.start.counts.indexOf(0);
    if (empty === -1) return;
    throw new LayerpeelError(
      'LP_BALANCE',
      `Class ${empty} of ${this.start.classes} has no samples; measures of collapse need one each.`,
    );
  }

  private checkAligned(): void {
    checkBalanced(this.start, 'distanceToAligned');
    const { kind } = this.scheduled.dynamics;
    if (kind === 'integrated' || kind === 'stepped') {
      throw new LayerpeelError('LP_OPTION', 'distanceToAligned needs proportional rates, as UL Cors. 3 and 5 do.');
    }
  }

  private directionOf({ features, prototypes }: RawArrays): { features: State['features']; prototypes: State['prototypes'] } {
    const { samples, classes, dim } = this.start;
    return { features: ofShape([samples, dim], features), prototypes: ofShape([classes, dim], prototypes) };
  }

  private stateOf(raw: RawArrays): State {
    return {
      ...this.directionOf(raw),
      ...(raw.biases && { biases: ofShape([this.start.classes], raw.biases) }),
      labels: this.start.labels.slice(),
    };
  }
}

/** The state, unless its biases have no limit. */
function finite(state: State): State | undefined {
  return state.biases?.data.every(Number.isFinite) === false ? undefined : state;
}
