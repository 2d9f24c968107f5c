/**
 * Gradient flow under the unhinged loss, in closed form (UL Thms 2, 4; Thm 6 with fixed prototypes):
 *
 *     H' = η1(t) (MᵀW − λ1 H),   W' = η2(t) (M H − λ2 W),   b' = η2(t) (m − λ2 b)
 *
 * Rates that are proportional, `η1 = s η2`, move every mode by the exponential of a constant 2×2 matrix times `∫η`. Rates that are
 * not are integrated, two scalars for each distinct singular value, to rounding.
 */

import { checkState, type State } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { checkNumber, inside, option } from '../check/options.js';
import { checkGamma, checkWeightDecay } from '../check/quantities.js';
import { drive, driveSync, type Steps } from '../engine/run.js';
import type { ComputedTrajectory } from './computed.js';
import { sides, startTrajectory, type WeightDecay } from './linear.js';
import { type CheckedRate, checkRate, checkRates, proportion, type Rate } from './rates.js';
import type { ScheduledDynamics } from './scheduled.js';
import type { Trajectory } from './trajectory.js';

export interface GradientFlowOptions extends Control {
  /** Weight `γ` of the other classes' logits, at least 0; `1/(C−1)` averages the margins. */
  readonly gamma: number;
  /** `η1` of the features and `η2` of the prototypes and biases. */
  readonly rates: { readonly features: Rate; readonly prototypes: Rate };
  /** `λ1` of the features and `λ2` of the prototypes and biases; a number is both. @default 0 */
  readonly weightDecay?: WeightDecay | undefined;
}

export interface AnchoredFlowOptions extends Control {
  readonly gamma: number;
  /** `η` of the features. */
  readonly rate: Rate;
  /** `λ` of the features. @default 0 */
  readonly weightDecay?: number | undefined;
}

/**
 * The gradient flow of a state: features, prototypes and biases (if there are any) all move. Classes may have any sizes, labels any
 * order.
 * @throws `LP_OPTION`, `LP_SHAPE`, `LP_DTYPE`, `LP_LABEL`, `LP_NOT_FINITE`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function gradientFlow(state: State, options: GradientFlowOptions): Promise<Trajectory> {
  return drive(startFlow(state, options), options);
}

/** `gradientFlow` on the calling thread. */
export function gradientFlowSync(state: State, options: GradientFlowOptions): Trajectory {
  return driveSync(startFlow(state, options));
}

/**
 * The gradient flow of features under fixed prototypes and biases (UL Thm 6):
 * `H(t) = e^{−λζ} H0 + (1 − e^{−λζ})/λ · MᵀW`, `ζ = ∫η`.
 * @throws as `gradientFlow`
 */
export async function anchoredFlow(state: State, options: AnchoredFlowOptions): Promise<Trajectory> {
  return drive(startAnchoredFlow(state, options), options);
}

/** `anchoredFlow` on the calling thread. */
export function anchoredFlowSync(state: State, options: AnchoredFlowOptions): Trajectory {
  return driveSync(startAnchoredFlow(state, options));
}

/** `gradientFlow` as a part of a longer computation, its options standing at a place of their own. */
export function startFlow(state: State, options: GradientFlowOptions, place = option('options')): Steps<ComputedTrajectory> {
  checkOptions(options, ['gamma', 'rates', 'weightDecay'], place);
  const rates = checkRates(options.rates, sides, inside(place, 'rates'));
  const decay = checkWeightDecay(options.weightDecay, sides, inside(place, 'weightDecay'));
  const gamma = checkGamma(options.gamma, inside(place, 'gamma'));
  return startTrajectory(checkState(state), gamma, scheduledFlow(rates.features, rates.prototypes, decay));
}

/** `anchoredFlow`, as `startFlow`. */
export function startAnchoredFlow(
  state: State,
  options: AnchoredFlowOptions,
  place = option('options'),
): Steps<ComputedTrajectory> {
  checkOptions(options, ['gamma', 'rate', 'weightDecay'], place);
  const rate = checkRate(options.rate, inside(place, 'rate'));
  const features = checkNumber(options.weightDecay ?? 0, inside(place, 'weightDecay'), { min: 0 });
  const gamma = checkGamma(options.gamma, inside(place, 'gamma'));
  const fixed = checkRate(0, inside(place, 'rate'));
  return startTrajectory(checkState(state), gamma, scheduledFlow(rate, fixed, { features, prototypes: 0 }));
}

function scheduledFlow(rate1: CheckedRate, rate2: CheckedRate, decay: { features: number; prototypes: number }): ScheduledDynamics {
  return proportion(rate1, rate2) === undefined ? integrated(rate1, rate2, decay) : closed(rate1, rate2, decay);
}

/** What all flows have in common. */
const flowDynamics = (decay: { features: number; prototypes: number }) => ({
  featureDecay: decay.features,
  prototypeDecay: decay.prototypes,
  momentum: 0,
  nesterov: false,
  endFactor: 1,
});

/** Rates `η_i(t) = value_i g(t)`: their own time is `∫g`. */
function closed(rate1: CheckedRate, rate2: CheckedRate, decay: { features: number; prototypes: number }): ScheduledDynamics {
  const common = rate2.value > 0 ? rate2 : rate1;
  const { value, total } = common;
  const tau = value > 0 ? (time: number) => common.integral(time) / value : (time: number) => time;
  const fades = value > 0 && total !== undefined && total < Number.POSITIVE_INFINITY;
  const dynamics = { ...flowDynamics(decay), kind: 'flow', featureRate: rate1.value, prototypeRate: rate2.value } as const;
  return {
    dynamics: { ...dynamics, end: fades ? 'frozen' : 'steady', endTime: fades ? total / value : 0 },
    stepwise: false,
    tau,
    prepare: (time) => common.prepare(time),
    rates: () => undefined,
    per: total === undefined ? 'zeta' : 'time',
    speed: value > 0 && total === Number.POSITIVE_INFINITY ? common.valueAt(settlesAt(common)) / value : 1,
    fading: fades ? fadingOf(common) : 0,
  };
}

/** Any two rates. */
function integrated(rate1: CheckedRate, rate2: CheckedRate, decay: { features: number; prototypes: number }): ScheduledDynamics {
  const known = rate1.total !== undefined && rate2.total !== undefined;
  const endTime = known ? Math.max(settlesAt(rate1), settlesAt(rate2)) : 0;
  const last = (rate: CheckedRate) => (known && rate.total === Number.POSITIVE_INFINITY ? rate.valueAt(endTime) : 0);
  const [featureRate, prototypeRate] = [last(rate1), last(rate2)];
  const dynamics = { ...flowDynamics(decay), kind: 'integrated', featureRate, prototypeRate, endTime } as const;
  let horizon = 0;
  return {
    dynamics: { ...dynamics, end: !known ? 'unknown' : featureRate === 0 && prototypeRate === 0 ? 'frozen' : 'steady' },
    stepwise: false,
    tau: (time) => time,
    *prepare(time) {
      for (const rate of [rate1, rate2]) yield* rate.prepare(time);
    },
    rates(time) {
      if (known && horizon >= endTime) return undefined;
      // Functions are asked for no later times than their caller is.
      horizon = known ? Math.min(Math.max(time, 2 * horizon), endTime) : time;
      return { featureRate: rate1.pieces(horizon), prototypeRate: rate2.pieces(horizon) };
    },
    per: 'time',
    speed: 1,
    fading: Math.min(...[rate1, rate2].map(fadingOf)),
  };
}

/** The time from which on a rate is constant, or from which on its integral changes no more. */
export function settlesAt(rate: CheckedRate): number {
  let time = rate.breakPoints.at(-1) ?? 0;
  const total = rate.total as number;
  if (total === Number.POSITIVE_INFINITY || total === 0) return time;
  time = Math.max(time, Number.MIN_VALUE);
  const left = (t: number) => total - rate.integral(t);
  for (let step = 1; left(time) > 0; step *= 1.25) time += step;
  return time;
}

/** The exponent at which a rate of finite integral vanishes in the end; Infinity where it is zero from some time on. */
export function fadingOf(rate: CheckedRate): number {
  if (rate.total === Number.POSITIVE_INFINITY || rate.total === undefined) return Number.POSITIVE_INFINITY;
  const end = settlesAt(rate);
  const [middle, last] = [rate.valueAt(end / 2), rate.valueAt(end)];
  return last > 0 ? Math.log(middle / last) / (end / 2) : Number.POSITIVE_INFINITY;
}
