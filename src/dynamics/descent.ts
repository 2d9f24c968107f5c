/**
 * Gradient descent under the unhinged loss, exact at every step (UL Eq. 5 in steps): with `g` the gradient plus weight decay,
 *
 *     v ← μ v + g (v = g at the first step),   x ← x − η f_k v,   Nesterov: x ← x − η f_k (g + μ v)
 *
 * as the usual SGD optimizer steps, `η1` for the features, `η2` for prototypes and biases, `f_k` the schedule's factor. While `η1`
 * and `η2` are proportional, all of it is a function of one 2×2 matrix a mode: two scalar recurrences for each distinct singular
 * value, whatever `n` and `p`. Where they are not, the 2×2 propagators themselves are iterated.
 */

import { allocate, checkState, type State } from '../array/ndarray.js';
import { atOnce, type Turns } from '../array/rows.js';
import { type Control, checkOptions } from '../check/control.js';
import { checkBoolean, inside, option } from '../check/options.js';
import { checkGamma, checkMomentum, checkWeightDecay } from '../check/quantities.js';
import { drive, driveSync, type Steps } from '../engine/run.js';
import type { ComputedTrajectory } from './computed.js';
import { fadingOf, settlesAt } from './flow.js';
import { sides, startTrajectory, type WeightDecay } from './linear.js';
import { type CheckedRate, checkRates, checkSchedule, type EngineRate, proportion, type Rate, type Schedule } from './rates.js';
import type { Dynamics, ScheduledDynamics } from './scheduled.js';
import type { Trajectory } from './trajectory.js';

export interface GradientDescentOptions extends Control {
  /** Weight `γ` of the other classes' logits, at least 0. */
  readonly gamma: number;
  /** Learning rates of the features, and of prototypes and biases: numbers, functions of the step or rate objects. */
  readonly learningRates: { readonly features: Rate; readonly prototypes: Rate };
  /** `λ1` of the features and `λ2` of the prototypes and biases; a number is both. @default 0 */
  readonly weightDecay?: WeightDecay | undefined;
  /** `μ`, at least 0 and below 1. @default 0 */
  readonly momentum?: number | undefined;
  /** @default false */
  readonly nesterov?: boolean | undefined;
  /** Factor of both learning rates at the steps 0, 1, … @default 1 at all steps */
  readonly schedule?: Schedule | undefined;
}

/**
 * The gradient descent of a state; times are whole numbers of steps. Classes may have any sizes, labels any order.
 * @throws `LP_OPTION`, `LP_SHAPE`, `LP_DTYPE`, `LP_LABEL`, `LP_NOT_FINITE`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function gradientDescent(state: State, options: GradientDescentOptions): Promise<Trajectory> {
  return drive(startDescent(state, options), options);
}

/** `gradientDescent` on the calling thread. */
export function gradientDescentSync(state: State, options: GradientDescentOptions): Trajectory {
  return driveSync(startDescent(state, options));
}

const keys = ['gamma', 'learningRates', 'weightDecay', 'momentum', 'nesterov', 'schedule'];

/** `gradientDescent` as a part of a longer computation, its options standing at a place of their own. */
export function startDescent(state: State, options: GradientDescentOptions, place = option('options')): Steps<ComputedTrajectory> {
  checkOptions(options, keys, place);
  const { features, prototypes } = checkRates(options.learningRates, sides, inside(place, 'learningRates'));
  const decay = checkWeightDecay(options.weightDecay, sides, inside(place, 'weightDecay'));
  const schedule = checkSchedule(options.schedule ?? { kind: 'constant' }, inside(place, 'schedule'));
  const momenta = {
    featureDecay: decay.features,
    prototypeDecay: decay.prototypes,
    momentum: checkMomentum(options.momentum, inside(place, 'momentum')),
    nesterov: checkBoolean(options.nesterov ?? false, inside(place, 'nesterov')),
  };
  const gamma = checkGamma(options.gamma, inside(place, 'gamma'));
  const scheduledDescent = proportion(features, prototypes) === undefined ? stepped : common;
  return startTrajectory(checkState(state), gamma, scheduledDescent(features, prototypes, schedule, momenta));
}

type Momenta = Pick<Dynamics, 'featureDecay' | 'prototypeDecay' | 'momentum' | 'nesterov'>;

/** Learning rates `value_i f_k`, all modes moved by the one factor. */
function common(rate1: CheckedRate, rate2: CheckedRate, schedule: CheckedRate, momenta: Momenta): ScheduledDynamics {
  const shape = rate2.value > 0 ? rate2 : rate1;
  const factors = new Factors([shape, schedule], shape.value || 1);
  const { end, time: endTime, last: endFactor } = factors.end();
  return {
    dynamics: { ...momenta, kind: 'descent', featureRate: rate1.value, prototypeRate: rate2.value, end, endTime, endFactor },
    ...inSteps,
    prepare: (step) => factors.prepare(step),
    rates: factors.constant ? () => undefined : (step) => ({ features: factors.upTo(step) }),
    fading: factors.fading(),
  };
}

/** Learning rates that are not proportional. */
function stepped(rate1: CheckedRate, rate2: CheckedRate, schedule: CheckedRate, momenta: Momenta): ScheduledDynamics {
  const sides = [new Factors([rate1, schedule]), new Factors([rate2, schedule])] as const;
  const ends = [sides[0].end(), sides[1].end()] as const;
  const frozen = ends.every(({ end }) => end === 'frozen');
  // Velocities remember the learning rates before: with momentum the end is no new start.
  const known = ends.every(({ end }) => end !== 'unknown') && (frozen || momenta.momentum === 0);
  return {
    dynamics: {
      ...momenta,
      kind: 'stepped',
      featureRate: ends[0].last,
      prototypeRate: ends[1].last,
      end: !known ? 'unknown' : frozen ? 'frozen' : 'steady',
      endTime: Math.max(ends[0].time, ends[1].time),
      endFactor: 1,
    },
    ...inSteps,
    *prepare(step) {
      for (const side of sides) yield* side.prepare(step);
    },
    rates: (step) => ({ features: sides[0].upTo(step), prototypes: sides[1].upTo(step) }),
    fading: Math.min(sides[0].fading(), sides[1].fading()),
  };
}

const inSteps = { stepwise: true, tau: (step: number) => step, per: 'step', speed: 1 } as const;

/** Steps for which functions are asked in one turn of the event loop. */
const STEPS_PER_TURN = 2 ** 15;

/** Steps that are taken at most to find the end of what fades. */
const MOST_STEPS = 2 ** 28;

/** The product of rates at the steps 0, 1, …, over `value`. */
class Factors {
  readonly constant: boolean;
  /** What the product is made of, where no factor is a function. */
  private readonly forms: EngineRate[] | undefined;
  private values: Float64Array = new Float64Array();
  private known = 0;

  constructor(
    private readonly rates: readonly CheckedRate[],
    private readonly value = 1,
  ) {
    this.constant = rates.every(({ total, breakPoints }) => total === Number.POSITIVE_INFINITY && breakPoints.length === 0);
    const forms = rates.flatMap(({ engineRate }) => engineRate ?? []);
    this.forms = forms.length === rates.length ? forms.map((form, i) => (i === 0 ? over(form, value) : form)) : undefined;
  }

  /** All of it where it is described; else the values before `step` and no later ones, which a function may not have. */
  upTo(step: number): readonly EngineRate[] | Float64Array {
    if (this.forms) return this.forms;
    atOnce(this.prepare(step));
    return this.values.subarray(0, this.known);
  }

  /** Asks functions for their values before `step`, and lets the event loop turn now and then. */
  *prepare(step: number): Turns<void> {
    if (this.forms || step <= this.known) return;
    this.reserve(step);
    while (this.known < step) {
      const to = Math.min(step, this.known + STEPS_PER_TURN);
      this.values.set(this.between(this.known, to), this.known);
      this.known = to;
      yield;
      this.reserve(step);
    }
  }

  /** Room for the values before `step`, some of which may be there. */
  private reserve(step: number): void {
    if (step <= this.values.length) return;
    const longer = allocate('float64', step, 'Learning rates given by a function') as Float64Array;
    longer.set(this.values);
    this.values = longer;
  }

  end(): { end: Dynamics['end']; time: number; last: number } {
    const fading = this.rates.filter(({ total }) => total !== Number.POSITIVE_INFINITY);
    if (fading.some(({ total }) => total === undefined)) return { end: 'unknown', time: 0, last: 1 };
    if (fading.length > 0) {
      const time = Math.ceil(Math.min(...fading.map(settlesAt)));
      return time > MOST_STEPS ? { end: 'unknown', time: 0, last: 1 } : { end: 'frozen', time, last: 0 };
    }
    const time = Math.ceil(Math.max(...this.rates.map(settlesAt)));
    return { end: 'steady', time, last: this.between(time, time + 1)[0] as number };
  }

  /** The exponent at which they vanish, if they do: that of the product; Infinity where one is zero from some step on. */
  fading(): number {
    return this.rates.filter(({ total }) => total !== Number.POSITIVE_INFINITY).reduce((sum, rate) => sum + fadingOf(rate), 0);
  }

  private between(from: number, to: number): Float64Array {
    const [first, ...others] = this.rates.map((rate) => rate.steps(from, to - from)) as [Float64Array, ...Float64Array[]];
    return first.map((factor, i) => others.reduce((product, other) => product * (other[i] as number), factor) / this.value);
  }
}

const over = (rate: EngineRate, value: number): EngineRate => ({ ...rate, value: rate.value / value });
