/**
 * Gradient descent under the unhinged loss, step by step: what `gradientDescent` computes exactly, iterated. For each of
 * features, prototypes and biases `x` with gradient `g` (a mean over samples; see `structuredProducts`), from `v = 0`,
 *
 *     d = λ x + g      v ← μ v + d      x ← x − η_k v      (Nesterov: x ← x − η_k (d + μ v)),
 *
 * the update rule of the usual SGD optimizer. The rates of prototypes also move the biases, and so does their decay.
 */
import { checkState, type Float, type State } from '../array/ndarray.js';
import { checkBoolean, checkKeys, checkNumber, inside, option } from '../check/options.js';
import { type Control, controlKeys, run, runSync, type Task } from '../engine/run.js';
import { checkRate, checkSchedule, type Rate, type Schedule } from './rates.js';

export interface IteratedDescentOptions extends Control {
  /** Weight of the other classes' logits in the loss. */
  readonly gamma: number;
  /** Learning rates, a step. */
  readonly learningRates: { readonly features: Rate; readonly prototypes: Rate };
  /** Weight decay, `λ/2 ‖x‖²` added to the loss. @default { features: 0, prototypes: 0 } */
  readonly weightDecay?: { readonly features?: number; readonly prototypes?: number };
  /** `μ`, from 0 up to but without 1. @default 0 */
  readonly momentum?: number;
  /** Whether the momentum is Nesterov's. @default false */
  readonly nesterov?: boolean;
  /** Factor of both learning rates at a step. @default 1 */
  readonly schedule?: Schedule;
  /** Number of steps, at most 1e7; `gradientDescent` takes any number. */
  readonly steps: number;
}

/**
 * The state after `steps` steps of gradient descent, each feature read and written once a step. Rounds as the dtype
 * does at every step; `gradientDescent` gives any step without those before it.
 *
 * @throws `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_OPTION`, `LP_NOT_FINITE`, `LP_DETACHED`, `LP_ABORTED`; `LP_OVERFLOW`
 *   (a `RangeError`) where the state outgrows its dtype
 */
export async function iteratedDescent(state: State, options: IteratedDescentOptions): Promise<State> {
  return run(descend(state, options), options);
}

/** `iteratedDescent` on the calling thread (its loops still use every compute thread). */
export function iteratedDescentSync(state: State, options: IteratedDescentOptions): State {
  return runSync(descend(state, options));
}

const sides = ['features', 'prototypes'] as const;
const knownOptions = ['gamma', 'learningRates', 'weightDecay', 'momentum', 'nesterov', 'schedule', 'steps', ...controlKeys];

function descend(state: State, options: IteratedDescentOptions): Task<Float[], State> {
  checkKeys(options, knownOptions, option('options'));
  const { gamma, learningRates, weightDecay = {}, momentum = 0, nesterov = false, schedule } = options;
  const steps = checkNumber(options.steps, option('options.steps'), { min: 0, max: 1e7, integer: true });
  checkKeys(learningRates, sides, option('options.learningRates'));
  checkKeys(weightDecay, sides, option('options.weightDecay'));
  const factors = schedule === undefined ? undefined : checkSchedule(schedule, option('options.schedule')).steps(0, steps);
  const ratesOf = (side: (typeof sides)[number]) => {
    const rates = checkRate(learningRates[side], inside(option('options.learningRates'), side)).steps(0, steps);
    return factors ? rates.map((rate, k) => rate * (factors[k] as number)) : rates;
  };
  const decayOf = (side: (typeof sides)[number]) =>
    checkNumber(weightDecay[side] ?? 0, inside(option('options.weightDecay'), side), { min: 0 });
  const plan = {
    gamma: checkNumber(gamma, option('options.gamma')),
    featureRates: ratesOf('features'),
    prototypeRates: ratesOf('prototypes'),
    featureDecay: decayOf('features'),
    prototypeDecay: decayOf('prototypes'),
    momentum: checkNumber(momentum, option('options.momentum'), { min: 0, max: 1 }),
    nesterov: checkBoolean(nesterov, option('options.nesterov')),
  };
  const { features, prototypes, biases, labels, samples, classes, dim } = checkState(state);
  return {
    call: (engine, mode) => engine.descend(mode, features, prototypes, biases, labels, samples, classes, dim, plan),
    wrap: ([h, w, b]) => ({
      features: { shape: [samples, dim], data: h as Float },
      prototypes: { shape: [classes, dim], data: w as Float },
      ...(b && { biases: { shape: [classes], data: b } }),
      labels,
    }),
  };
}
