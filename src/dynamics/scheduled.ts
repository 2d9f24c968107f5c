/**
 * Linear dynamics, on both sides of the binding: what moves the parameters, and how it follows the caller's times and rates.
 */
import type { Turns } from '../array/rows.js';
import type { EngineRate } from './rates.js';
import type { Limit } from './trajectory.js';

/** How the parameters of linear dynamics move: `Dynamics` of native/ops/exact/propagator. Rates are per unit of `tau`, or step. */
export interface Dynamics {
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

/** The rates that a time needs: `LearningRates` of native/ops/exact/propagator. */
export interface LearningRates {
  /** Of a descent's steps: the factor of both, or the rates of features and of prototypes; a product, or value by value. */
  readonly features?: readonly EngineRate[] | Float64Array | undefined;
  readonly prototypes?: readonly EngineRate[] | Float64Array | undefined;
  /** Of a flow: two rates in pieces. */
  readonly featureRate?: Float64Array | undefined;
  readonly prototypeRate?: Float64Array | undefined;
}

/** Dynamics, and how they follow the caller's times. */
export interface ScheduledDynamics {
  readonly dynamics: Dynamics;
  readonly stepwise: boolean;
  /** The dynamics' own time at a time: itself, or the integral of what the rates are proportional to. */
  tau(time: number): number;
  /** Makes what `tau` and `rates` need up to a time: of functions one call after another, between which the event loop turns. */
  prepare(time: number): Turns<void>;
  /** The rates up to a time; undefined where the dynamics have them all. */
  rates(time: number): LearningRates | undefined;
  readonly per: Limit['per'];
  /** Units of `tau` in a unit of `per`, in the end. */
  readonly speed: number;
  /** Where rates vanish in the end: the exponent at which they do, Infinity if at a time. */
  readonly fading: number;
}
