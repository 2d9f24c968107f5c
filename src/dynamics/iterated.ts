/**
 * Gradient descent under the unhinged loss, step by step: what `gradientDescent` computes exactly, iterated. For each of
 * features, prototypes and biases `x` with gradient `g` (a mean over samples; see `structuredProducts`), from `v = 0`,
 *
 *     d = λ x + g      v ← μ v + d      x ← x − η_k v      (Nesterov: x ← x − η_k (d + μ v)),
 *
 * the update rule of the usual SGD optimizer. The rates of prototypes also move the biases, and so does their decay.
 */

import { checkState, type State } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { checkBoolean, inside, option } from '../check/options.js';
import { checkGamma, checkMomentum, checkSteps, checkWeightDecay } from '../check/quantities.js';
import type { RawArrays } from '../engine/load.js';
import { run, runSync, type Task } from '../engine/run.js';
import { sides, type WeightDecay } from './linear.js';
import { checkRates, checkSchedule, type Rate, type Schedule } from './rates.js';

export interface IteratedDescentOptions extends Control {
  /** Weight of the other classes' logits in the loss, at least 0. */
  readonly gamma: number;
  /** Learning rates, a step. */
  readonly learningRates: { readonly features: Rate; readonly prototypes: Rate };
  /** Weight decay, `λ/2 ‖x‖²` added to the loss; a number is that of both. @default 0 */
  readonly weightDecay?: WeightDecay | undefined;
  /** `μ`, at least 0 and below 1. @default 0 */
  readonly momentum?: number | undefined;
  /** Whether the momentum is Nesterov's. @default false */
  readonly nesterov?: boolean | undefined;
  /** Factor of both learning rates at a step. @default 1 */
  readonly schedule?: Schedule | undefined;
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

const keys = ['gamma', 'learningRates', 'weightDecay', 'momentum', 'nesterov', 'schedule', 'steps'];

/** `Descent` of native/ops/descent/fused: learning rates of every step, and what else a descent is told. */
interface FusedDescentPlan {
  readonly gamma: number;
  readonly featureRates: Float64Array;
  readonly prototypeRates: Float64Array;
  readonly featureDecay: number;
  readonly prototypeDecay: number;
  readonly momentum: number;
  readonly nesterov: boolean;
}

declare module '../engine/load.js' {
  interface Engine {
    /** The state after all steps. */
    descend(mode: Mode, state: EngineState, plan: FusedDescentPlan): Result<RawArrays>;
  }
}

function descend(state: State, options: IteratedDescentOptions): Task<RawArrays, State> {
  checkOptions(options, keys);
  const place = option('options');
  const steps = checkSteps(options.steps, inside(place, 'steps'), 1e7);
  const rates = checkRates(options.learningRates, sides, inside(place, 'learningRates'));
  const decay = checkWeightDecay(options.weightDecay, sides, inside(place, 'weightDecay'));
  const factors =
    options.schedule === undefined ? undefined : checkSchedule(options.schedule, inside(place, 'schedule')).steps(0, steps);
  const ratesOf = (side: (typeof sides)[number]) => {
    const own = rates[side].steps(0, steps);
    return factors ? own.map((rate, k) => rate * (factors[k] as number)) : own;
  };
  const plan = {
    gamma: checkGamma(options.gamma, inside(place, 'gamma')),
    featureRates: ratesOf('features'),
    prototypeRates: ratesOf('prototypes'),
    featureDecay: decay.features,
    prototypeDecay: decay.prototypes,
    momentum: checkMomentum(options.momentum, inside(place, 'momentum')),
    nesterov: checkBoolean(options.nesterov ?? false, inside(place, 'nesterov')),
  };
  const checked = checkState(state);
  const { labels, samples, classes, dim } = checked;
  return {
    call: (engine, mode) => engine.descend(mode, checked, plan),
    wrap: ({ features, prototypes, biases }) => ({
      features: { shape: [samples, dim], data: features },
      prototypes: { shape: [classes, dim], data: prototypes },
      ...(biases && { biases: { shape: [classes], data: biases } }),
      labels,
    }),
  };
}
