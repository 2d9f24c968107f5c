/**
 * Gradient descent under the unhinged loss, exact at every step (UL Eq. 5 in steps): with `g` the gradient plus weight decay,
 *
 *     v ← μ v + g (v = g at the first step),   x ← x − η f_k v,   Nesterov: x ← x − η f_k (g + μ v)
 *
 * as the usual SGD optimizer steps, `η1` for the features, `η2` for prototypes and biases, `f_k` the schedule's factor. All of it is
 * a function of one 2×2 matrix a mode: two scalar recurrences for each distinct singular value, whatever `n` and `p`.
 */
import { checkState, type State } from '../array/ndarray.js';
import { type Control, controlKeys, run, runSync, type Task } from '../native.js';
import { checkBoolean, checkKeys, checkNumber, inside, option } from '../options.js';
import { checkGamma, fadingOf, settlesAt } from './flow.js';
import { type Course, checkWeightDecay, startTrajectory, type WeightDecay } from './linear.js';
import { type CheckedRate, checkSchedule, type Schedule } from './rates.js';
import type { Trajectory } from './trajectory.js';

export interface GradientDescentOptions extends Control {
  /** Weight `γ` of the other classes' logits, at least 0. */
  readonly gamma: number;
  /** Learning rates of the features, and of prototypes and biases. */
  readonly learningRates: { readonly features: number; readonly prototypes: number };
  /** `λ1` of the features and `λ2` of the prototypes and biases; a number is both. @default 0 */
  readonly weightDecay?: WeightDecay;
  /** `μ`, at least 0 and below 1. @default 0 */
  readonly momentum?: number;
  /** @default false */
  readonly nesterov?: boolean;
  /** Factor of both learning rates at steps 0, 1, … @default 1 at all steps */
  readonly schedule?: Schedule;
}

/**
 * The gradient descent of a state; times are whole numbers of steps. Classes may have any sizes, labels any order.
 * @throws `LP_OPTION`, `LP_SHAPE`, `LP_DTYPE`, `LP_LABEL`, `LP_NOT_FINITE`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function gradientDescent(state: State, options: GradientDescentOptions): Promise<Trajectory> {
  return run(descent(state, options), options);
}

/** `gradientDescent` on the calling thread. */
export function gradientDescentSync(state: State, options: GradientDescentOptions): Trajectory {
  return runSync(descent(state, options));
}

const known = ['gamma', 'learningRates', 'weightDecay', 'momentum', 'nesterov', 'schedule', ...controlKeys];

function descent(state: State, options: GradientDescentOptions): Task<object, Trajectory> {
  checkKeys(options, known, option('options'));
  const place = option('options.learningRates');
  const rates = checkKeys(options.learningRates, ['features', 'prototypes'], place);
  const decay = checkWeightDecay(options.weightDecay, option('options.weightDecay'));
  const schedule = options.schedule === undefined ? undefined : checkSchedule(options.schedule, option('options.schedule'));
  const course: Course = {
    law: {
      kind: 'descent',
      featureRate: checkNumber(rates.features, inside(place, 'features'), { min: 0 }),
      prototypeRate: checkNumber(rates.prototypes, inside(place, 'prototypes'), { min: 0 }),
      featureDecay: decay.features,
      prototypeDecay: decay.prototypes,
      momentum: checkNumber(options.momentum ?? 0, option('options.momentum'), { min: 0, max: 1 - Number.EPSILON / 2 }),
      nesterov: checkBoolean(options.nesterov ?? false, option('options.nesterov')),
      ...endOf(schedule),
    },
    stepwise: true,
    clock: (step) => step,
    drive: schedule ? drivenBy(schedule) : () => undefined,
    per: 'step',
    speed: 1,
    fading: schedule ? fadingOf(schedule) : 0,
  };
  return startTrajectory(checkState(state), checkGamma(options.gamma), course);
}

/** Steps of a fading schedule that are taken to find its end. */
const MOST_STEPS = 2 ** 28;

function endOf(schedule: CheckedRate | undefined): Pick<Course['law'], 'end' | 'endTime' | 'endFactor'> {
  if (!schedule) return { end: 'steady', endTime: 0, endFactor: 1 };
  if (schedule.total === undefined) return { end: 'unknown', endTime: 0, endFactor: 1 };
  const endTime = Math.ceil(settlesAt(schedule));
  if (endTime > MOST_STEPS) return { end: 'unknown', endTime: 0, endFactor: 1 };
  if (schedule.total < Number.POSITIVE_INFINITY) return { end: 'frozen', endTime, endFactor: 0 };
  return { end: 'steady', endTime, endFactor: schedule.steps(endTime, 1)[0] as number };
}

/** Factors from step 0 on; of a function no later ones than asked for. */
function drivenBy(schedule: CheckedRate): Course['drive'] {
  let factors = new Float64Array();
  return (step) => {
    const wanted = schedule.total === undefined ? step : Math.max(step, 2 * factors.length);
    const longer = new Float64Array(wanted);
    longer.set(factors);
    longer.set(schedule.steps(factors.length, wanted - factors.length), factors.length);
    factors = longer;
    return [factors];
  };
}
