/** Flows that are integrated, as they cross to the engine: the state is one vector of features, prototypes and biases. */
import type { Sizes } from '../engine/load.js';

export interface FlowState extends Sizes {
  readonly z: Float64Array;
  readonly labels: Int32Array;
}

/** How far to follow a flow, from where, and with which accuracy. */
export interface FollowPlan {
  readonly biased: boolean;
  readonly from: number;
  readonly to: number;
  readonly step: number;
  readonly tolerance: number;
  readonly maxSteps: number;
}

/** Where it has got to: `Integrator::Outcome` of native/core/integrator, and the state. */
export interface Followed {
  readonly z: Float64Array;
  /** Reached; with `to` Infinity where the flow came to rest or the steps ran out. */
  readonly time: number;
  /** Of the next step. */
  readonly step: number;
  /** The sum of the local errors, over the size of the state. */
  readonly error: number;
  readonly atRest: boolean;
  /** `log ‖z'‖` fell by this much per unit of time towards rest; NaN where it was not seen to fall. */
  readonly rate: number;
}
