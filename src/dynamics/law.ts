/**
 * What moves linear dynamics, on both sides of the binding: a law, whose rates are per unit of its clock, and how the clock and the
 * rates follow the caller's times.
 */
import type { Limit } from './trajectory.js';

/** How the parameters of linear dynamics move: `Law` of native/ops/exact/propagator. Rates are per unit of its clock. */
export interface Law {
  readonly kind: 'flow' | 'descent' | 'integrated' | 'stepped';
  readonly featureRate: number;
  readonly prototypeRate: number;
  readonly featureDecay: number;
  readonly prototypeDecay: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  /** From `endTime` on rates are constant (a descent's times `endFactor`), or zero; or nobody knows. */
  readonly end: 'steady' | 'frozen' | 'unknown';
  readonly endTime: number;
  readonly endFactor: number;
}

/** What drives a law from time 0 on: `Drive` of native/ops/exact/propagator. */
export interface Drive {
  /** Of a descent's steps: factors of both learning rates; or the learning rates of features, and of prototypes. */
  readonly factors?: Float64Array;
  readonly factors2?: Float64Array;
  /** Of a flow: two rates in pieces. */
  readonly rate1?: Float64Array;
  readonly rate2?: Float64Array;
}

/** How a law is driven through time. */
export interface Course {
  readonly law: Law;
  readonly stepwise: boolean;
  /** What the law's clock shows at a time: itself, or the integral of what the rates are proportional to. */
  clock(time: number): number;
  /** What drives the law up to a time; undefined where nothing does. */
  drive(time: number): Drive | undefined;
  readonly per: Limit['per'];
  /** Units of the law's clock in a unit of `per`, in the end. */
  readonly speed: number;
  /** Where rates vanish in the end: the exponent at which they do, Infinity if at a time. */
  readonly fading: number;
}
