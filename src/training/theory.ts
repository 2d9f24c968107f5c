/**
 * Theory beside a network: the layer-peeled model from the network's own first features and prototypes, its curves over those
 * that the network takes.
 *
 *     unhinged, prototypes fixed        H(t) = e^{−λζ} H₀ + (1 − e^{−λζ})/λ MᵀW        (UL Theorem 6: to MᵀW/λ, or along MᵀW)
 *     unhinged, prototypes learnable    the coupled flow, with its limit and exponent    (UL Theorem 2, Corollaries 3, 5)
 *     cross-entropy                     the flow of the layer-peeled model               (LP §3)
 *
 * A network moves its features through its weights, at a pace that the model does not know. So its clock, the sum ζ of the
 * learning rates of its steps, is scaled by one factor, fitted to what is compared; all else follows from the start.
 */
import type { State } from '../array/ndarray.js';
import { anchoredFlow, gradientFlow } from '../dynamics/flow.js';
import type { Direction, Trajectory } from '../dynamics/trajectory.js';
import type { Loss } from '../losses/losses.js';
import { lossAndGradient } from '../losses/losses.js';
import { crossEntropyFlow } from '../peeled/flow.js';

/** What the model needs to know of a network. */
export interface TheorySetting {
  readonly loss: Loss;
  /** Whether prototypes stand as they began. */
  readonly fixed: boolean;
  /** `λ` of `λ/2 ‖H‖²` beside the mean loss: of regularization or decay of the features, 0 where there is none. */
  readonly weightDecay: number;
}

/** One quantity of a network and of the model. */
export interface Comparison {
  readonly quantity: 'distanceToLimit' | 'loss';
  /** What is compared, and by which theorem. */
  readonly title: string;
  /** `ζ` of the network after each epoch, 0 first. */
  readonly zeta: readonly number[];
  readonly measured: readonly number[];
  /** The model at the same `ζ`, times the factor of its clock. */
  readonly predicted: readonly number[];
  /** What one unit of `ζ` of the network is in the model's time. */
  readonly clock: number;
  /** The model's limit, in a sentence. */
  readonly statement: string;
}

/** Factors between which a clock is looked for. */
const CLOCKS = [1e-4, 1e4] as const;
/** The model's curve is laid down at so many times, from this share of the last one at the slowest clock. */
const [POINTS, EARLY] = [400, 1e-3];

/** The model from a start, and what has been seen of the network since. */
export class Theory {
  private readonly zeta: number[] = [];
  private readonly measured: number[] = [];

  private constructor(
    private readonly setting: TheorySetting,
    private readonly trajectory: Trajectory,
    private readonly target: Direction | undefined,
    private readonly statement: string,
  ) {}

  /** From features and prototypes before training; undefined for losses that the theory does not cover. */
  static async begin(start: State, setting: TheorySetting): Promise<Theory | undefined> {
    const { loss, fixed, weightDecay } = setting;
    if (loss.kind === 'cross-entropy' && !fixed && weightDecay === 0 && !loss.softLabels) {
      const statement = 'The loss falls like 1/t and the direction tends to that of the largest margin (LP Theorem 3.2).';
      return new Theory(setting, await crossEntropyFlow(start, { loss, tolerance: 1e-6 }), undefined, statement);
    }
    if (loss.kind !== 'unhinged') return undefined;
    const { biases: _, ...state } = start;
    const trajectory = fixed
      ? await anchoredFlow(state, { gamma: loss.gamma, rate: 1, weightDecay })
      : await gradientFlow(state, {
          gamma: loss.gamma,
          rates: { features: 1, prototypes: 1 },
          weightDecay: { features: weightDecay, prototypes: 0 },
        });
    const { direction, statement } = await trajectory.limit();
    return direction && new Theory(setting, trajectory, direction, statement);
  }

  /** Looks at the network where its learning rates add up to `zeta`. */
  async observe(zeta: number, state: State): Promise<void> {
    this.zeta.push(zeta);
    const { target, setting } = this;
    this.measured.push(target ? distanceTo(target, state) : (await lossAndGradient(setting.loss, state)).value);
  }

  /** The curves, once the network has moved. */
  async compare(): Promise<Comparison | undefined> {
    const last = this.zeta.at(-1) ?? 0;
    if (this.zeta.length < 2 || last === 0) return undefined;
    const quantity = this.target ? 'distanceToLimit' : 'loss';
    const [least, most] = [last * CLOCKS[0] * EARLY, last * CLOCKS[1]];
    const times = Float64Array.from({ length: POINTS }, (_, k) =>
      k === 0 ? 0 : least * (most / least) ** ((k - 1) / (POINTS - 2)),
    );
    const values = (await this.trajectory.measure(times, [quantity]))[quantity] as Float64Array;
    const at = (time: number) => interpolate(times, values, time);
    const misfit = (clock: number) =>
      this.zeta.reduce((sum, zeta, k) => sum + Math.log(at(clock * zeta) / (this.measured[k] as number)) ** 2, 0);
    const clock = Math.exp(minimum((x) => misfit(Math.exp(x)), Math.log(CLOCKS[0]), Math.log(CLOCKS[1])));
    return {
      quantity,
      title: this.target ? 'Distance of the direction to its limit' : 'Loss of the probe',
      zeta: this.zeta,
      measured: this.measured,
      predicted: this.zeta.map((zeta) => at(clock * zeta)),
      clock,
      statement: this.statement,
    };
  }
}

/** `‖Z/‖Z‖ − Z∞‖_F` of features and prototypes together. */
function distanceTo({ features, prototypes }: Direction, state: State): number {
  const parts = [
    [state.features.data, features.data],
    [state.prototypes.data, prototypes.data],
  ] as const;
  const sum = (term: (x: number, limit: number) => number) =>
    parts.reduce((all, [own, limit]) => {
      let part = 0;
      for (let i = 0; i < own.length; i++) part += term(own[i] as number, limit[i] as number);
      return all + part;
    }, 0);
  const norm = Math.sqrt(sum((x) => x * x));
  return Math.sqrt(sum((x, limit) => (x / norm - limit) ** 2));
}

/** The value at a time between those of a table, its logarithm in a straight line. */
function interpolate(times: Float64Array, values: Float64Array, time: number): number {
  let [low, high] = [0, times.length - 1];
  if (time >= (times[high] as number)) return values[high] as number;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((times[middle] as number) <= time) low = middle;
    else high = middle;
  }
  const share = (time - (times[low] as number)) / ((times[high] as number) - (times[low] as number));
  return (values[low] as number) ** (1 - share) * (values[high] as number) ** share;
}

/** Where a function is least between two ends: the best of a grid, then by golden sections around it. */
function minimum(of: (x: number) => number, from: number, to: number): number {
  const cells = 200;
  const width = (to - from) / cells;
  const grid = Array.from({ length: cells + 1 }, (_, k) => from + k * width);
  const best = grid.reduce((least, x) => (of(x) < of(least) ? x : least));
  let [low, high] = [best - width, best + width];
  const golden = (Math.sqrt(5) - 1) / 2;
  for (let k = 0; k < 60; k++) {
    const [left, right] = [high - golden * (high - low), low + golden * (high - low)];
    if (of(left) < of(right)) high = right;
    else low = left;
  }
  return Math.min(to, Math.max(from, (low + high) / 2));
}
