/**
 * What every dynamics returns: a trajectory `Z(t) = (H(t), W(t))`, asked for states, measured quantities, its limit, and
 * the time of an event. Times are times of a flow, or whole numbers of steps of a descent.
 */

import type { NDArray, State } from '../array/ndarray.js';
import type { Control } from '../check/control.js';
import { type CollapseMeasure, collapseMeasures } from '../collapse/measures.js';

/** The quantities a trajectory measures by itself, and what they are; a dynamics refuses those it does not have. */
export const trajectoryMeasures = {
  loss: 'the training loss, without weight decay; ±Infinity where it leaves the range of a double',
  logAbsLoss: 'log |loss|, at any size',
  lossSign: 'sign of the loss: −1, 0 or 1',
  accuracy: 'share of samples whose label is the class of the largest logit (the lowest class where several tie)',
  minMargin: 'smallest margin z_y − max_{j≠y} z_j over samples',
  meanMargin: 'mean margin over samples',
  logNorm: 'log ‖(H, W)‖_F; biases do not count',
  logFeatureNorm: 'log ‖H‖_F',
  logPrototypeNorm: 'log ‖W‖_F',
  featureNorm: '‖H‖_F',
  prototypeNorm: '‖W‖_F',
  distanceToLimit: '‖Z/‖Z‖ − Z∞/‖Z∞‖‖_F, Z∞ the direction of limit(); of sphericalDescent ‖Ĥ − Û‖_F, rows normalized (UL Eq. 20)',
  distanceToAligned: '‖Z/‖Z‖ − Z̄/‖Z̄‖‖_F, Z̄ the aligned limit of UL Cors. 3 and 5; balanced classes',
} as const;

export type TrajectoryMeasure = keyof typeof trajectoryMeasures;

/** Their names. */
export const trajectoryMeasureNames = Object.keys(trajectoryMeasures) as TrajectoryMeasure[];

/**
 * What linear dynamics measure beside these: logarithms of what goes to zero, which stay numbers where the quantity itself is below
 * the smallest double.
 */
export const logMeasures = {
  logDistanceToLimit: 'log distanceToLimit',
  logDistanceToAligned: 'log distanceToAligned',
  logNc1: 'log nc1',
  logNc1Papyan: 'log nc1Papyan',
  logNc1TraceRatio: 'log nc1TraceRatio',
  logNc1Cdnv: 'log nc1Cdnv',
  logWithinClassVariation: 'log withinClassVariation',
  logDualityFrobenius: 'log dualityFrobenius',
  logSelfDuality: 'log selfDuality',
  logPrototypeNormVariation: 'log prototypeNormVariation',
} as const;

/** What `crossEntropyFlow` measures beside these (LP §3.1); `ρ² = ‖H‖² + ‖W‖²`. */
export const marginMeasures = {
  normalizedMargin: 'q_min/ρ², q_min the smallest margin',
  smoothedMargin: '−log(e^L − 1)/ρ², L the sum of the losses; NaN unless L < log 2; it never decreases along the flow',
} as const;

/** What `measure` and `when` may be asked for, each dynamics those that it has. */
export type MeasureName = TrajectoryMeasure | CollapseMeasure | keyof typeof logMeasures | keyof typeof marginMeasures;

/** What each of them is, in a line. */
export const meanings: Readonly<Record<MeasureName, string>> = {
  ...(Object.fromEntries(Object.entries(collapseMeasures).map(([name, { meaning }]) => [name, meaning])) as Record<
    CollapseMeasure,
    string
  >),
  ...trajectoryMeasures,
  ...logMeasures,
  ...marginMeasures,
};

/** `(H, W)/‖(H, W)‖_F`: at any time, also where the state itself overflows. */
export interface Direction {
  readonly features: NDArray;
  readonly prototypes: NDArray;
}

/** A direction, and the logarithm of the norm it was divided by: the state is `e^logNorm` times the direction. */
export interface ScaledDirection extends Direction {
  readonly logNorm: number;
}

/**
 * How a trajectory ends.
 *
 * Without weight decay (UL Cor. 3): `aligned`, the direction tends to Z̄, features along their prototypes; `orthogonal`, the
 * common mean takes over and the direction tends to one orthogonal to Z̄; `mixed`, both grow alike (γ = 0, γ = 2/(C−2)).
 * Of `sphericalDescent`: `aligned`, all features turn to their targets; `mixed`, some never move; `stationary`, none does.
 * With it, or with classes of unequal size, by the norm (UL Cor. 5): `vanishing`, `stationary`, `diverging`.
 * `oscillating`: a step so large that the leading mode changes sign or turns; there is no limit direction then.
 */
export type Regime = 'aligned' | 'orthogonal' | 'mixed' | 'vanishing' | 'stationary' | 'diverging' | 'oscillating';

export interface Limit {
  readonly regime: Regime;
  /** The limit of `Z/‖Z‖`, of unit joint norm; absent where there is none. */
  readonly direction?: Direction | undefined;
  /** The limit of the state itself, where it is finite and not zero. */
  readonly state?: State | undefined;
  /** `log ‖Z‖` grows by this much per unit of `per` in the end; negative where it shrinks. */
  readonly exponent: number;
  /** The distance to the limit direction shrinks like `e^{−rate·t}`, `t` in units of `per`; Infinity where it is reached. */
  readonly rate: number;
  /**
   * The unit of both: time, steps, or, for rates given as functions, whose future nobody knows, their integral `ζ` (that of the
   * prototypes' rate, or of the features' where prototypes are fixed), taken to grow without bound.
   */
  readonly per: 'time' | 'step' | 'zeta';
  /** The limit in a sentence, with its source. */
  readonly statement: string;
}

/** An event: the quantity `name` reaches `value`. */
export interface TrajectoryEvent {
  /** What `measure` knows by this name. */
  readonly name: MeasureName;
  readonly value: number;
  /**
   * `rising`: the quantity is at least `value`; `falling`: at most.
   * @default the side of `value` on which the quantity is not at `from`
   */
  readonly direction?: 'rising' | 'falling' | undefined;
  /** Where the search begins. @default 0 */
  readonly from?: number | undefined;
  /** Where it ends. */
  readonly to: number;
}

/**
 * A trajectory. It holds memory outside the JavaScript heap, which goes when it is collected or, at once, by `dispose()` (or
 * `using`); afterwards its methods throw. It has copies of what it was made from: changing the arrays later changes nothing.
 */
export interface Trajectory extends Disposable {
  /** The state at a time. @throws `LP_OVERFLOW` (a RangeError) where it does not fit the dtype; `LP_OPTION`, `LP_ABORTED` */
  at(time: number, control?: Control): Promise<State>;
  atSync(time: number): State;

  /** The state divided by its norm, which never overflows. */
  directionAt(time: number, control?: Control): Promise<ScaledDirection>;
  directionAtSync(time: number): ScaledDirection;

  /**
   * Columns of numbers, one for each name, an entry for each time (in any order). Only what is asked for is computed.
   * @throws `LP_OPTION` with the nearest right name
   */
  measure<const Name extends MeasureName>(
    times: ArrayLike<number>,
    names: readonly Name[],
    control?: Control,
  ): Promise<Record<Name, Float64Array>>;
  measureSync<const Name extends MeasureName>(times: ArrayLike<number>, names: readonly Name[]): Record<Name, Float64Array>;

  limit(control?: Control): Promise<Limit>;
  limitSync(): Limit;

  /** The first time or step at which an event has happened; undefined if it does not happen up to `event.to`. */
  when(event: TrajectoryEvent, control?: Control): Promise<number | undefined>;
  whenSync(event: TrajectoryEvent): number | undefined;

  dispose(): void;
}
