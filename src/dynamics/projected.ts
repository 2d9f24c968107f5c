/**
 * Projected stochastic gradient descent on features, prototypes and biases under any loss: the iterated engine, for what
 * has no closed form. With `x` a part that moves, `g` its gradient (see `lossAndGradient`) and `λ` its decay,
 *
 *     d = g + λ x     v ← μ v + d  (v = 0 at first)     x ← P(x − η_k v)      (Nesterov: x ← P(x − η_k (d + μ v)))
 *
 * where `P` projects onto the constraint of the part (LP §2, ETF Eq. 10). All parts move at once. The loop runs natively;
 * JavaScript is entered for snapshots.
 */

import { createHash } from 'node:crypto';
import { asked, type DeviceOptions, stateBytes } from '../array/device.js';
import { type CheckedState, checkArray, checkState, type Float, type NDArray, type State, showShape } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import {
  checkBoolean,
  checkChoice,
  checkKeys,
  checkList,
  checkNames,
  checkNumber,
  entry,
  inside,
  option,
  type Place,
  show,
} from '../check/options.js';
import { checkMomentum, checkSeed, checkSteps, checkWeightDecay } from '../check/quantities.js';
import { engine, type Handle, type RawArrays } from '../engine/load.js';
import type { Place as Where } from '../engine/place.js';
import { drive, driveSync, runSync, type Steps, step } from '../engine/run.js';
import { checkLoss, type EngineLoss, type Loss, type LossSetting, settingKeys } from '../losses/losses.js';
import { checkCheckpoint, type DescentCheckpoint } from '../state/checkpoint.js';
import { normOf } from '../state/states.js';
import { type CheckedRate, checkRate, checkSchedule, type Rate, type Schedule } from './rates.js';

/** What features or prototypes are held to: each row in a ball or on a sphere, or all together in a Frobenius ball. */
export interface Constraint {
  readonly kind: 'ball' | 'sphere' | 'frobenius';
  readonly radius: number;
}

/** What moves under which loss. */
export interface DescentProblem extends LossSetting {
  readonly loss: Loss;
  readonly state: State;
  /** Which parts move. @default all that the state has */
  readonly moves?:
    | { readonly features?: boolean | undefined; readonly prototypes?: boolean | undefined; readonly biases?: boolean | undefined }
    | undefined;
  /** A start outside is projected first; `Snapshot.projected` says so. @default none */
  readonly constraints?: { readonly features?: Constraint | undefined; readonly prototypes?: Constraint | undefined } | undefined;
  /** Weight decay, `λ/2 ‖x‖²` added to the loss; a number is that of every part. @default 0 */
  readonly weightDecay?:
    | number
    | { readonly features?: number | undefined; readonly prototypes?: number | undefined; readonly biases?: number | undefined }
    | undefined;
  /** Where `distance` is measured to. */
  readonly target?: { readonly features: NDArray; readonly prototypes: NDArray } | undefined;
}

/** What projected descent measures, of all samples. */
export const descentMeasures = {
  loss: 'the loss, without the regularization',
  objective: 'the loss and the regularization, without weight decay: what descends',
  accuracy: 'share of samples whose largest logit is their own',
  minMargin: 'smallest margin q_min = min_i (z_y − max_{j≠y} z_j)',
  featureNorm: '‖H‖_F',
  prototypeNorm: '‖W‖_F',
  gradientNorm: 'norm of the gradient by the parts that move',
  normalizedMargin: 'q_min/(‖W‖² + ‖H‖²)',
  smoothedMargin: '−log(e^L − 1)/(‖W‖² + ‖H‖²) of cross-entropy, L the sum of the losses; NaN unless L < log 2 (LP §3.1)',
  gradientAlignment: 'cosine between the state and the negative gradient (LP Lemma B.1)',
  distance: '‖Z − D‖_F to the target D of the problem',
  featureGradientNorm: 'norm of the gradient by the features, where they move',
  prototypeGradientNorm: 'norm of the gradient by the prototypes, where they move',
  stationarity: 'norm of d of the parts that move, without what their constraints take up: 0 at stationary points',
} as const;

export type DescentMeasure = keyof typeof descentMeasures;

export interface ProjectedDescentOptions extends Control, DeviceOptions {
  /** Learning rates, a step. Biases take that of the prototypes unless they have their own. */
  readonly learningRates: {
    readonly features?: Rate | undefined;
    readonly prototypes?: Rate | undefined;
    readonly biases?: Rate | undefined;
  };
  /** Factor of all learning rates at a step. @default 1 */
  readonly schedule?: Schedule | undefined;
  /** `μ`, at least 0 and below 1. @default 0 */
  readonly momentum?: number | undefined;
  /** @default false */
  readonly nesterov?: boolean | undefined;
  /** Multiplies the learning rate of each feature by its norm (UL §4.3). @default false */
  readonly rescaled?: boolean | undefined;
  /**
   * Samples a step; the rest of an epoch that is smaller is a batch too. The order is a function of the seed and the
   * epoch. A batch moves prototypes, biases and its own features. @default all samples, in order
   */
  readonly batch?: { readonly size: number; readonly seed?: number | undefined } | undefined;
  /** Number of steps in all, those of a resumed run included. */
  readonly steps: number;
  /** Steps between two snapshots. @default `steps` */
  readonly snapshots?: number | undefined;
  /** What is measured, at steps that are multiples of `every` and at the last. @default nothing */
  readonly measure?: { readonly names: readonly DescentMeasure[]; readonly every?: number | undefined } | undefined;
  /** What ends the run early. It is looked at where measures are taken. */
  readonly stop?: {
    /** A measure that reaches a value from above (`below`) or from below (`above`). */
    readonly event?: { readonly measure: DescentMeasure; readonly below?: number | undefined; readonly above?: number | undefined };
    /** The value of `stationarity` that counts as 0. */
    readonly stationary?: number;
  };
  /** Where a run goes on, bit for bit as if it had not been interrupted. */
  readonly resume?: DescentCheckpoint | undefined;
}

/** Measures of some steps: a column each. */
export type DescentColumns = { readonly step: Float64Array } & Readonly<Partial<Record<DescentMeasure, Float64Array>>>;

/** A run after some steps. */
export interface Snapshot {
  readonly step: number;
  readonly state: State;
  /** Measured since the snapshot before. */
  readonly measures: DescentColumns;
  /** Parts of the start that were outside their constraints and have been projected. */
  readonly projected: readonly ('features' | 'prototypes')[];
  /**
   * Why the run ends here; undefined where it goes on. `diverged`: the next step has a loss that is not finite, and this is
   * the last state whose loss is.
   */
  readonly reason?: RawOutcome['reason'] | undefined;
  /** Of a run that diverged: what to do. */
  readonly advice?: string | undefined;
  readonly checkpoint: DescentCheckpoint;
}

/**
 * Iterates a problem: an async iterator of snapshots, the last of which has a `reason`. Leaving the loop ends the run.
 *
 * @throws `LP_OPTION`, `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_DETACHED` at once; `LP_ABORTED` and
 *   `LP_OVERFLOW` (a start whose loss is not finite) in the loop
 */
export function projectedDescent(
  problem: DescentProblem,
  options: ProjectedDescentOptions,
): AsyncGenerator<Snapshot, void, undefined> {
  return startProjectedDescent(problem, options);
}

/** `projectedDescent` of a problem and options that stand at places of their own. */
export function startProjectedDescent(
  problem: DescentProblem,
  options: ProjectedDescentOptions,
  places: Places = PLACES,
): AsyncGenerator<Snapshot, void, undefined> {
  const all = snapshots(new Runs([problem], [options], [places]), options);
  return (async function* () {
    for await (const [snapshot] of all) yield snapshot as Snapshot;
  })();
}

/** `projectedDescent` on the calling thread: an iterator. */
export function projectedDescentSync(
  problem: DescentProblem,
  options: ProjectedDescentOptions,
): Generator<Snapshot, void, undefined> {
  const runs = new Runs([problem], [options], [PLACES]);
  return (function* () {
    try {
      while (!runs.finished) yield driveSync(runs.stretch())[0] as Snapshot;
    } finally {
      runs.end();
    }
  })();
}

/**
 * Iterates many independent problems of one shape and dtype in one native call: seeds, losses, decays, rates or class
 * sizes of a phase diagram. Each run stays in the cache of one thread for many steps, or in the shared memory of a device.
 * Options are common, or one a problem with the same `steps`, `snapshots`, `measure` and `device`. Yields the snapshots of all
 * runs; one that has ended stands still.
 *
 * With `device: 'cuda'` each step is made there, and what is measured is measured on the CPU; results agree to rounding.
 *
 * @throws as `projectedDescent`; `LP_DEVICE` for a device that is not there, and for what devices do not have: batches, soft
 *   labels, dot regression, the adjusted margin, runs that do not fit into 227 KB
 */
export function batchedDescent(
  problems: readonly DescentProblem[],
  options: ProjectedDescentOptions | readonly ProjectedDescentOptions[],
): AsyncGenerator<Snapshot[], void, undefined> {
  const all = checkList(problems, option('problems'), 'a list of problems') as readonly DescentProblem[];
  const own = Array.isArray(options);
  const each: readonly ProjectedDescentOptions[] = own ? options : all.map(() => options);
  if (all.length === 0 || each.length !== all.length) {
    throw new LayerpeelError(
      'LP_OPTION',
      `There are ${each.length} options for ${all.length} problems; expected one each, or one for all.`,
    );
  }
  const places = all.map((_, r) => ({
    problem: entry(option('problems'), r),
    options: own ? entry(PLACES.options, r) : PLACES.options,
  }));
  return snapshots(new Runs(all, each, places), controlOf(each));
}

/** One control of all: any signal stops them, and whoever asks hears of the progress. */
function controlOf(options: readonly Control[]): Control {
  const distinct = <K extends keyof Control>(key: K) =>
    [...new Set(options.map((one) => one[key]))].filter((value) => value !== undefined) as NonNullable<Control[K]>[];
  const [signals, listeners] = [distinct('signal'), distinct('onProgress')];
  const tell = (share: number) => {
    for (const listener of listeners) listener(share);
  };
  return {
    signal: signals.length > 1 ? AbortSignal.any(signals) : signals[0],
    onProgress: listeners.length > 0 ? tell : undefined,
  };
}

async function* snapshots(runs: Runs, { signal, onProgress }: Control): AsyncGenerator<Snapshot[], void, undefined> {
  const progress = onProgress && ((part: number) => onProgress(runs.shareAt(part)));
  try {
    while (!runs.finished) yield await drive(runs.stretch(), { signal, onProgress: progress });
  } finally {
    runs.end();
  }
}

/** Where a problem and its options stand. */
interface Places {
  readonly problem: Place;
  readonly options: Place;
}
const PLACES: Places = { problem: option('problem'), options: option('options') };

/** Steps of one native call: a divergence repeats at most these. */
const MOST_STEPS = 4096;
/** A device takes each run on by one of its hundred and more multiprocessors: fewer than these are no work for it. */
const FEW_RUNS = 64;
/** Numbers that rates of one call may take. */
const MOST_RATES = 1 << 21;

const names = Object.keys(descentMeasures) as DescentMeasure[];

/** How one part of a state moves: `PartPlan` of native/ops/descent/plan. */
interface PartPlan {
  readonly moves: boolean;
  readonly decay: number;
  readonly constraint: 'none' | Constraint['kind'];
  readonly radius: number;
}

/** `ProjectedDescentPlan` of native/ops/descent/plan. */
interface ProjectedDescentPlan {
  readonly loss: EngineLoss;
  readonly features: PartPlan;
  readonly prototypes: PartPlan;
  readonly biases: PartPlan;
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly rescaled: boolean;
  readonly batch: number;
  readonly seed: number;
  readonly asItIs: boolean;
  readonly measures: readonly DescentMeasure[];
  readonly every: number;
  readonly event: { readonly measure: DescentMeasure; readonly below: boolean; readonly value: number } | undefined;
  /** Negative: never. */
  readonly stationary: number;
}

/** How a call of `descentAdvance` ended for one run. Rows of `records` are a step and the measures before it. */
interface RawOutcome {
  readonly reason: 'steps' | 'event' | 'stationary' | 'diverged';
  readonly step: number;
  readonly records: Float64Array;
}

type DescentHandle = Handle<'descent'>;

declare module '../engine/load.js' {
  interface Engine {
    /** Runs of one shape. */
    descentBegin(plan: Sizes & { readonly dtype: DType }): DescentHandle;
    /** Adds a run; whether its features and prototypes had to be projected, and what of it devices do not have, or ''. */
    descentAdd(
      handle: DescentHandle,
      start: EngineState,
      plan: ProjectedDescentPlan,
      target: RawArrays | undefined,
    ): { readonly features: boolean; readonly prototypes: boolean; readonly beyondDevices: string };
    /** Rates are `[3, steps]` for all runs, or `[runs, 3, steps]`; `shown`: whether the state is looked at afterwards. */
    descentAdvance(
      mode: Mode,
      handle: DescentHandle,
      plan: { readonly rates: Float64Array; readonly steps: number; readonly shown: boolean },
    ): Result<RawOutcome[]>;
    /** The step and the measures of each run. */
    descentObserve(mode: Mode, handle: DescentHandle): Result<Float64Array[]>;
    /** The state of a run, or its velocity, where it has one. */
    descentState(handle: DescentHandle, plan: { readonly run: number; readonly velocity: boolean }): RawArrays | undefined;
    descentRestore(
      handle: DescentHandle,
      plan: { readonly run: number; readonly step: number; readonly velocity: RawArrays | undefined },
    ): void;
  }
}

/** One run, checked. */
interface Prepared {
  readonly state: CheckedState;
  readonly plan: ProjectedDescentPlan;
  readonly rates: readonly CheckedRate[];
  readonly schedule: CheckedRate | undefined;
  readonly text: string;
  readonly projected: Snapshot['projected'];
  readonly beyondDevices: string;
  readonly advice: () => string;
  readonly records: { step: number[]; values: number[][] };
  reason: Snapshot['reason'];
  step: number;
}

/** Runs of one shape, and how far they are. */
class Runs {
  private readonly handle: DescentHandle;
  private readonly all: Prepared[];
  private readonly measured: readonly DescentMeasure[];
  private readonly common: boolean;
  private readonly place: Where | undefined;
  private readonly steps: number;
  private readonly interval: number;
  private at: number;
  private count = 0;

  constructor(problems: readonly DescentProblem[], options: readonly ProjectedDescentOptions[], places: readonly Places[]) {
    const first = options[0] as ProjectedDescentOptions;
    const { steps, snapshots, names: measured } = checkLooks(first, (places[0] as Places).options);
    for (const [r, other] of options.entries()) {
      const looks = other === first ? undefined : checkLooks(other, (places[r] as Places).options);
      if (
        looks &&
        (JSON.stringify(looks) !== JSON.stringify({ steps, snapshots, names: measured }) || other.device !== first.device)
      ) {
        throw new LayerpeelError('LP_OPTION', 'Runs of a batch differ in steps, snapshots, measure or device; they must agree.');
      }
    }
    this.steps = steps;
    this.interval = snapshots;
    this.measured = measured;
    this.common = options.every((one) => one === first);
    let shape: CheckedState | undefined;
    const started = problems.map((problem, r) => {
      const where = places[r] as Places;
      const state = checkState(checkKeys(problem, problemKeys, where.problem).state);
      if (shape && !sameShape(shape, state)) {
        throw new LayerpeelError(
          'LP_SHAPE',
          `${where.problem.path}.state is ${showShapeOf(state)}, but the first is ${showShapeOf(shape)}; expected one shape.`,
        );
      }
      shape ??= state;
      return { problem, state, where };
    });
    const { samples, classes, dim, dtype } = shape as CheckedState;
    this.handle = engine().descentBegin({ dtype, samples, classes, dim });
    this.all = started.map(({ problem, state, where }, r) =>
      this.add(problem, state, options[r] as ProjectedDescentOptions, where, r),
    );
    this.place = this.placeOf(first, shape as CheckedState, inside((places[0] as Places).options, 'device'));
    const starts = new Set(this.all.map(({ step }) => step));
    if (starts.size > 1) throw new LayerpeelError('LP_OPTION', 'Runs of a batch are resumed at different steps; they must agree.');
    this.at = (this.all[0] as Prepared).step;
    if (this.at > this.steps) {
      throw new LayerpeelError(
        (places[0] as Places).options.code,
        `${(places[0] as Places).options.path}.steps is ${this.steps}, but the checkpoint is of step ${this.at}; expected at least as many.`,
      );
    }
  }

  private add(problem: DescentProblem, state: CheckedState, options: ProjectedDescentOptions, where: Places, r: number): Prepared {
    const plan = checkPlan(problem, options, state, where);
    const rates = checkLearningRates(options.learningRates, plan, inside(where.options, 'learningRates'));
    const schedule =
      options.schedule === undefined ? undefined : checkSchedule(options.schedule, inside(where.options, 'schedule'));
    const text = describePlan(plan, rates, schedule, state);
    const { resume } = options;
    const start = resume === undefined ? state : checkResume(resume, text, state, inside(where.options, 'resume'));
    const target = checkTarget(problem.target, state, where.problem);
    const outside = typedSync(() => engine().descentAdd(this.handle, start, plan, target));
    const step = resume ? resume.step : 0;
    if (resume) {
      const { features, prototypes, biases } = resume.velocity ?? {};
      const velocity = features && prototypes && { features: features.data, prototypes: prototypes.data, biases: biases?.data };
      typedSync(() => engine().descentRestore(this.handle, { run: r, step, velocity }));
    }
    return {
      state,
      plan,
      rates,
      schedule,
      text,
      projected: (['features', 'prototypes'] as const).filter((part) => outside[part]),
      beyondDevices: outside.beyondDevices,
      advice: () => advise(problem, plan, state),
      records: { step: [], values: this.measured.map(() => []) },
      reason: undefined,
      step,
    };
  }

  /** Where the runs are taken on: a device that does not have all of them is refused where it was asked for, else left. */
  private placeOf(
    options: ProjectedDescentOptions,
    { samples, classes, dim, dtype }: CheckedState,
    place: Place,
  ): Where | undefined {
    const runs = this.all.length;
    const found = asked(options, {
      operations: runs < FEW_RUNS ? 0 : 6 * samples * classes * dim * this.steps * runs,
      bytes: stateBytes({ samples, classes, dim, dtype }) * runs,
    });
    const beyond = this.all.find(({ beyondDevices }) => beyondDevices !== '')?.beyondDevices;
    if (!found || beyond === undefined) return found;
    if (options.device === undefined || options.device === 'auto') return undefined;
    throw new LayerpeelError(
      'LP_DEVICE',
      `${place.path} is ${show(options.device)}, but a device has no ${beyond}; leave device out.`,
    );
  }

  get finished(): boolean {
    return this.all.every(({ reason }) => reason !== undefined);
  }

  /** The share of all steps that is done where `part` of the call at hand is. */
  shareAt(part: number): number {
    return (this.at + part * this.count) / Math.max(1, this.steps);
  }

  /** Gives back the engine's memory. */
  end(): void {
    engine().dispose(this.handle);
  }

  /** Goes on to the next snapshots; after the last ones nothing is left to do. */
  *stretch(): Steps<Snapshot[]> {
    const until = Math.min(this.steps, (Math.floor(this.at / this.interval) + 1) * this.interval);
    while (this.at < until && !this.finished) {
      const count = Math.min(until - this.at, MOST_STEPS, this.common ? MOST_STEPS : Math.ceil(MOST_RATES / 3 / this.all.length));
      this.count = count;
      const rates = this.ratesOf(count);
      const shown = this.at + count === until;
      const outcomes = yield* step({
        place: this.place,
        call: (engine, mode) => engine.descentAdvance(mode, this.handle, { rates, steps: count, shown }),
        wrap: (raw: RawOutcome[]) => raw,
      });
      this.count = 0;
      this.at += count;
      for (const [r, outcome] of outcomes.entries()) this.absorb(this.all[r] as Prepared, outcome);
    }
    for (const one of this.all) if (one.reason === undefined && this.at >= this.steps) one.reason = 'steps';
    if (this.finished && this.measured.length > 0) {
      const rows = yield* step({
        call: (engine, mode) => engine.descentObserve(mode, this.handle),
        wrap: (raw: Float64Array[]) => raw,
      });
      for (const [r, row] of rows.entries()) this.record(this.all[r] as Prepared, row);
    }
    const snapshots = this.all.map((one, r) => this.snapshot(one, r));
    if (this.finished) this.end();
    return snapshots;
  }

  private ratesOf(count: number): Float64Array {
    const runs = this.common ? this.all.slice(0, 1) : this.all;
    const all = new Float64Array(3 * count * runs.length);
    for (const [r, { rates, schedule }] of runs.entries()) {
      const factors = schedule?.steps(this.at, count);
      for (const [part, rate] of rates.entries()) {
        const values = rate.steps(this.at, count);
        all.set(factors ? values.map((value, k) => value * (factors[k] as number)) : values, (3 * r + part) * count);
      }
    }
    return all;
  }

  private absorb(one: Prepared, { reason, step, records }: RawOutcome): void {
    if (one.reason !== undefined) return;
    const width = 1 + this.measured.length;
    for (let row = 0; row < records.length; row += width) this.record(one, records.subarray(row, row + width));
    one.step = step;
    if (reason !== 'steps') one.reason = reason;
    // Of a divergence nothing is told that lies behind the last good state.
    if (reason === 'diverged')
      while ((one.records.step.at(-1) ?? -1) > step) for (const column of [one.records.step, ...one.records.values]) column.pop();
  }

  private record({ records }: Prepared, row: Float64Array): void {
    if (records.step.at(-1) === row[0]) return;
    records.step.push(row[0] as number);
    for (const [k, column] of records.values.entries()) column.push(row[1 + k] as number);
  }

  private snapshot(one: Prepared, r: number): Snapshot {
    const arrays = (velocity: boolean) => {
      const { features, prototypes, biases } = engine().descentState(this.handle, { run: r, velocity }) as RawArrays;
      const { samples, classes, dim } = one.state;
      return {
        features: { shape: [samples, dim], data: features },
        prototypes: { shape: [classes, dim], data: prototypes },
        ...(biases && { biases: { shape: [classes], data: biases } }),
      };
    };
    const state = { ...arrays(false), labels: one.state.labels };
    const { step, values } = one.records;
    const measures = { step: Float64Array.from(step) } as Record<string, Float64Array>;
    for (const [k, name] of this.measured.entries()) measures[name] = Float64Array.from(values[k] as number[]);
    for (const column of [step, ...values]) column.length = 0;
    return {
      step: one.step,
      state,
      measures: measures as DescentColumns,
      projected: one.projected,
      ...(one.reason && { reason: one.reason }),
      ...(one.reason === 'diverged' && { advice: one.advice() }),
      checkpoint: {
        step: one.step,
        state,
        ...(one.plan.momentum !== 0 && { velocity: arrays(true) }),
        plan: one.text,
      },
    };
  }
}

/** Calls the engine at once, with typed errors. */
const typedSync = <T>(call: () => T): T => runSync({ call, wrap: (raw: T) => raw });

const sameShape = (a: CheckedState, b: CheckedState): boolean =>
  a.samples === b.samples && a.classes === b.classes && a.dim === b.dim && a.dtype === b.dtype && !a.biases === !b.biases;

const showShapeOf = ({ samples, classes, dim, dtype, biases }: CheckedState): string =>
  `${showShape([samples, dim])} and ${showShape([classes, dim])}${biases ? ' with biases' : ''} (${dtype})`;

const problemKeys = ['loss', 'state', 'moves', 'constraints', 'weightDecay', 'target', ...settingKeys];
const optionKeys = [
  'learningRates',
  'schedule',
  'momentum',
  'nesterov',
  'rescaled',
  'batch',
  'steps',
  'snapshots',
  'measure',
  'stop',
  'resume',
  'device',
];
const parts = ['features', 'prototypes', 'biases'] as const;
const constraintKinds = ['ball', 'sphere', 'frobenius'] as const;

/** How far a run goes, and when it is looked at. */
function checkLooks(
  options: ProjectedDescentOptions,
  place: Place,
): { steps: number; snapshots: number; names: readonly DescentMeasure[] } {
  checkOptions(options, optionKeys, place);
  const steps = checkSteps(options.steps, inside(place, 'steps'));
  const snapshots = checkNumber(options.snapshots ?? Math.max(1, steps), inside(place, 'snapshots'), { min: 1, integer: true });
  const here = inside(place, 'measure');
  const { names: wanted } = checkKeys(options.measure ?? { names: [] }, ['names', 'every'], here);
  return { steps, snapshots, names: checkNames(wanted, names, inside(here, 'names')) };
}

function checkPlan(
  problem: DescentProblem,
  options: ProjectedDescentOptions,
  state: CheckedState,
  places: Places,
): ProjectedDescentPlan {
  const place = places.problem;
  const { moves = {}, constraints = {} } = problem;
  checkKeys(moves, parts, inside(place, 'moves'));
  checkKeys(constraints, ['features', 'prototypes'], inside(place, 'constraints'));
  const decay = checkWeightDecay(problem.weightDecay, parts, inside(place, 'weightDecay'));
  const partOf = (name: (typeof parts)[number]): PartPlan => {
    const constraint = name === 'biases' ? undefined : constraints[name];
    const where = inside(place, `constraints.${name}`);
    if (constraint !== undefined) checkKeys(constraint, ['kind', 'radius'], where);
    return {
      moves: checkBoolean(moves[name] ?? true, inside(place, `moves.${name}`)),
      decay: decay[name],
      constraint: constraint ? checkChoice(constraint.kind, constraintKinds, inside(where, 'kind')) : 'none',
      radius: constraint ? checkNumber(constraint.radius, inside(where, 'radius'), { above: 0 }) : 1,
    };
  };
  const { options: here } = places;
  const batch = options.batch === undefined ? {} : checkKeys(options.batch, ['size', 'seed'], inside(here, 'batch'));
  const stop = checkKeys(options.stop ?? {}, ['event', 'stationary'], inside(here, 'stop'));
  const event = checkEvent(stop.event, inside(here, 'stop.event'));
  const { names: measured } = checkLooks(options, here);
  const watched = [...measured, ...(event ? [event.measure] : [])];
  const size = { min: 1, max: state.samples, integer: true };
  const intervals = { min: 1, max: 2 ** 31 - 1, integer: true };
  const loss = checkLoss(problem.loss, problem, state, inside(place, 'loss'), place);
  checkMeasurable(watched, problem, place);
  return {
    loss,
    features: partOf('features'),
    prototypes: partOf('prototypes'),
    biases: partOf('biases'),
    momentum: checkMomentum(options.momentum, inside(here, 'momentum')),
    nesterov: checkBoolean(options.nesterov ?? false, inside(here, 'nesterov')),
    rescaled: checkBoolean(options.rescaled ?? false, inside(here, 'rescaled')),
    batch: options.batch === undefined ? 0 : checkNumber(batch.size, inside(here, 'batch.size'), size),
    seed: checkSeed(batch.seed, inside(here, 'batch.seed'), 2 ** 31 - 1),
    asItIs: options.resume !== undefined,
    measures: measured,
    every: checkNumber(options.measure?.every ?? 1, inside(here, 'measure.every'), intervals),
    event,
    stationary: stop.stationary === undefined ? -1 : checkNumber(stop.stationary, inside(here, 'stop.stationary'), { min: 0 }),
  };
}

/** Refuses measures that the problem does not have. */
function checkMeasurable(
  watched: readonly DescentMeasure[],
  { loss, target, state, normalizeFeatures }: DescentProblem,
  place: Place,
): void {
  if (watched.includes('distance') && target === undefined) {
    throw new LayerpeelError(place.code, `${place.path} has no target to measure the distance to; give target.`);
  }
  if (!watched.includes('smoothedMargin')) return;
  if (loss.kind !== 'cross-entropy') {
    throw new LayerpeelError(
      place.code,
      `The smoothed margin is one of cross-entropy, but ${place.path}.loss is '${loss.kind}'; take minMargin or normalizedMargin.`,
    );
  }
  const plain = (loss.classWeights ?? []).every((weight) => weight === 1) && !loss.labelSmoothing && loss.softLabels === undefined;
  if (!plain || state.biases !== undefined || normalizeFeatures) {
    throw new LayerpeelError(
      place.code,
      'The smoothed margin is of plain cross-entropy without biases (LP Lemma B.2): of class weights, label smoothing, soft labels, ' +
        'biases and normalized features it says nothing; take minMargin or normalizedMargin.',
    );
  }
}

function checkEvent(event: unknown, place: Place): ProjectedDescentPlan['event'] {
  if (event === undefined) return undefined;
  const { measure: given, below, above } = checkKeys(event, ['measure', 'below', 'above'], place);
  const measure = checkChoice(given, names, inside(place, 'measure'));
  if ((below === undefined) === (above === undefined)) {
    throw new LayerpeelError(
      place.code,
      `${place.path} has ${below === undefined ? 'neither' : 'both'} below and above; give one of them.`,
    );
  }
  const side = below === undefined ? 'above' : 'below';
  return { measure, below: side === 'below', value: checkNumber(below ?? above, inside(place, side)) };
}

function checkLearningRates(learningRates: unknown, plan: ProjectedDescentPlan, place: Place): CheckedRate[] {
  const given = checkKeys(learningRates, parts, place);
  return parts.map((part) => {
    const rate = given[part] ?? (part === 'biases' ? given.prototypes : undefined);
    // A part that stands needs no rate.
    return checkRate(rate ?? (plan[part].moves && part !== 'biases' ? rate : 0), inside(place, part));
  });
}

function checkTarget(target: DescentProblem['target'], { samples, classes, dim, dtype }: CheckedState, place: Place) {
  if (target === undefined) return undefined;
  checkKeys(target, ['features', 'prototypes'], inside(place, 'target'));
  const arrayOf = (part: 'features' | 'prototypes', rows: number): Float => {
    const { shape, data } = checkArray(target[part], `${place.path}.target.${part}`, 2);
    if (shape[0] !== rows || shape[1] !== dim) {
      throw new LayerpeelError(
        'LP_SHAPE',
        `${place.path}.target.${part} is ${showShape(shape)}; expected ${showShape([rows, dim])}.`,
      );
    }
    return dtype === 'float32' ? Float32Array.from(data) : Float64Array.from(data);
  };
  return { features: arrayOf('features', samples), prototypes: arrayOf('prototypes', classes) };
}

/** Numbers of an array that are compared, and shown, one by one. */
const MOST_LISTED = 1000;

/** A value in the text of a plan: of an array its numbers, or a digest of many. */
function listed(value: unknown): unknown {
  if (!ArrayBuffer.isView(value)) return value;
  const array = value as Float64Array;
  return array.length <= MOST_LISTED ? Array.from(array) : `${array.length} numbers of ${digest(array)}`;
}

function digest(...arrays: readonly Float[]): string {
  const hash = createHash('sha256');
  for (const array of arrays) hash.update(array);
  return `SHA-256 ${hash.digest('hex')}`;
}

/** What makes a run, as text to compare: with defaults filled in, in one order. Functions are named only, the start by a digest. */
function describePlan(
  plan: ProjectedDescentPlan,
  rates: readonly CheckedRate[],
  schedule: CheckedRate | undefined,
  start: CheckedState,
): string {
  const partOf = ({ constraint, ...rest }: PartPlan) => ({ ...rest, constraint });
  const rateOf = ({ value, form }: CheckedRate) =>
    typeof form === 'function' ? 'a function' : { value, ...JSON.parse(form as string) };
  const { momentum, nesterov, rescaled, batch, seed } = plan;
  return JSON.stringify({
    loss: Object.fromEntries(Object.entries(plan.loss).map(([name, value]) => [name, listed(value)])),
    features: partOf(plan.features),
    prototypes: partOf(plan.prototypes),
    biases: partOf(plan.biases),
    learningRates: Object.fromEntries(rates.map((rate, part) => [parts[part], rateOf(rate)])),
    ...(schedule && { schedule: rateOf(schedule) }),
    momentum,
    nesterov,
    rescaled,
    batch,
    seed,
    start: digest(...parts.flatMap((part) => start[part] ?? [])),
  });
}

/** The state of a checkpoint, once it is known to be of the same problem and options. */
function checkResume(resume: DescentCheckpoint, text: string, state: CheckedState, place: Place): CheckedState {
  const saved = checkCheckpoint(resume, place);
  const refuse = (of: string): never => {
    throw new LayerpeelError(place.code, `${place.path} is of a run with ${of}; expected the same start, problem and options.`);
  };
  if (!sameShape(saved, state)) refuse(`a state of ${showShapeOf(saved)}`);
  const other = saved.labels.findIndex((label, i) => label !== state.labels[i]);
  if (other >= 0) refuse(`labels[${other}] ${saved.labels[other]}`);
  if (resume.plan !== text) {
    const { start: then, ...before } = parsePlan(resume.plan, place);
    const { start: now, ...plan } = parsePlan(text, place);
    const start = then === now ? [] : ['another start'];
    refuse([...differences(before, plan, ''), ...start].join(', '));
  }
  return saved;
}

/** Paths at which a plan differs from that of now, with what it has there. */
function differences(then: unknown, now: unknown, path: string): string[] {
  const isGroup = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);
  if (isGroup(then) && isGroup(now)) {
    const [a, b] = [then, now] as Record<string, unknown>[] as [Record<string, unknown>, Record<string, unknown>];
    return Object.keys({ ...a, ...b }).flatMap((key) => differences(a[key], b[key], path ? `${path}.${key}` : key));
  }
  return JSON.stringify(then) === JSON.stringify(now) ? [] : [`${path} ${JSON.stringify(then) ?? 'absent'}`];
}

function parsePlan(text: unknown, place: Place): Record<string, unknown> {
  try {
    const plan = JSON.parse(text as string);
    if (typeof plan === 'object' && plan !== null) return plan;
  } catch {}
  throw new LayerpeelError(place.code, `${place.path}.plan is ${show(text)}; expected that of a checkpoint.`);
}

/**
 * What to say of a divergence. Of fixed prototypes the losses are smooth in the features, with the constant
 * `L = a/n · {κ‖w_y‖², 2‖W‖₂², ½‖W‖₂²}` for dot regression, MSE and cross-entropy, and rates below `2/(L + λ)` are stable;
 * `n` is the size of the smallest batch where there are batches.
 */
function advise(problem: DescentProblem, plan: ProjectedDescentPlan, state: CheckedState): string {
  const { prototypes, labels, samples, classes, dim } = state;
  const { loss } = problem;
  const linear = adviseLinear(loss.kind, plan, labels, classes);
  if (linear) return linear;
  const share = plan.loss.sum ? 1 : 1 / (plan.batch > 0 ? samples % plan.batch || plan.batch : samples);
  const norms = Array.from({ length: classes }, (_, c) =>
    Array.from(prototypes.subarray(c * dim, (c + 1) * dim)).reduce((sum, w) => sum + w * w, 0),
  );
  const all = norms.reduce((sum, square) => sum + square, 0); // ≥ ‖W‖₂²
  const curvature = {
    'dot-regression': () =>
      Math.max(
        ...norms.map((square, c) => (plan.loss.curvatures?.[c] ?? 0) * (plan.loss.prototypeLengths?.[c] ?? Math.sqrt(square)) ** 2),
      ),
    mse: () => 2 * all,
    'cross-entropy': () => all / 2,
  }[loss.kind as 'mse'];
  if (!curvature || plan.prototypes.moves || plan.loss.normalized || plan.momentum !== 0 || plan.rescaled) {
    return 'Take smaller learning rates; of this problem no theory gives the largest that are stable.';
  }
  const weight = Math.max(1, ...(plan.loss.classWeights ?? []));
  const rate = 2 / (share * weight * curvature() + plan.features.decay + 2 * plan.loss.regularization);
  return `Take a smaller learning rate of the features: below ${rate.toPrecision(3)} gradient descent on this loss is stable.`;
}

/**
 * Of the unhinged loss where features and prototypes move freely: a step multiplies the pairs of their modes by
 * `I − η [[λ_H, −s], [−s, λ_W]]`, `s` up to `σ`, the largest singular value of `M/n` (UL Eq. 5 in steps). It is stable below
 * `2/μ`, `μ` the larger eigenvalue at `σ`, and nowhere if `λ_H λ_W ≤ σ²`.
 */
function adviseLinear(kind: Loss['kind'], plan: ProjectedDescentPlan, labels: Int32Array, classes: number): string | undefined {
  const { features, prototypes, momentum, batch, rescaled } = plan;
  const free = features.moves && prototypes.moves && features.constraint === 'none' && prototypes.constraint === 'none';
  if (kind !== 'unhinged' || !free || momentum > 0 || batch > 0 || rescaled) return undefined;
  if (plan.loss.normalized) return undefined;
  const sigma = (plan.loss.sum ? 1 : 1 / labels.length) * largestSingularValue(labels, classes, plan.loss.gamma);
  const [first, second] = [features.decay + 2 * plan.loss.regularization, prototypes.decay];
  if (first * second <= sigma ** 2) {
    return (
      'Under the unhinged loss the norm grows without bound at any learning rate, unless the decays of features and prototypes ' +
      `have a product above ${(sigma ** 2).toPrecision(3)}; hold the state by constraints, or take gradientDescent, which is exact at any norm.`
    );
  }
  const largest = (first + second) / 2 + Math.hypot((first - second) / 2, sigma);
  return `Take smaller learning rates: with both below ${(2 / largest).toPrecision(3)} gradient descent on this loss is stable.`;
}

/** Of `M = (1+γ) Y − γ 1`, by powers of `MᵀM`, which the class sizes give. */
function largestSingularValue(labels: Int32Array, classes: number, gamma: number): number {
  const sizes = new Float64Array(classes);
  for (const label of labels) sizes[label] = (sizes[label] as number) + 1;
  let vector = Float64Array.from(sizes, (_, c) => 1 + c / classes);
  let value = 0;
  for (let k = 0; k < 1000; k++) {
    const sum = vector.reduce((total, x) => total + x, 0);
    const weighted = vector.reduce((total, x, c) => total + x * (sizes[c] as number), 0);
    const next = vector.map(
      (x, c) =>
        (1 + gamma) ** 2 * (sizes[c] as number) * x -
        gamma * (1 + gamma) * ((sizes[c] as number) * sum + weighted) +
        gamma ** 2 * labels.length * sum,
    );
    const length = normOf(next);
    value = length / normOf(vector);
    vector = next.map((x) => x / length);
  }
  return Math.sqrt(value);
}
