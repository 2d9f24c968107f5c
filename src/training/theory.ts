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
import { least } from '../array/extremes.js';
import type { NDArray, State } from '../array/ndarray.js';
import { crossEntropyFlow } from '../dynamics/cross-entropy.js';
import { anchoredFlow, gradientFlow } from '../dynamics/flow.js';
import type { Direction, Trajectory } from '../dynamics/trajectory.js';
import type { Loss } from '../losses/losses.js';
import { measureLoss } from '../losses/losses.js';
import { normOf } from '../state/states.js';

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
  /** The model's curve between them. */
  readonly curve: { readonly zeta: readonly number[]; readonly predicted: readonly number[] };
  /** What one unit of `ζ` of the network is in the model's time. */
  readonly clock: number;
  /** The model's limit, in a sentence. */
  readonly statement: string;
  /** Under fixed prototypes: features against the model's limit. */
  readonly anchored?: {
    /** Mean over the classes of the cosine between the mean feature of the class and its limit. */
    readonly cosine: readonly number[];
    /** `‖H‖`, and that of the limit `MᵀW/λ` where there is decay. */
    readonly norm: readonly number[];
    readonly limitNorm?: number;
    /** Of the model. */
    readonly predicted: { readonly cosine: readonly number[]; readonly norm: readonly number[] };
  };
}

/** What is kept of the network at a time. */
export interface Observation {
  readonly zeta: number;
  /** The quantity that is compared; NaN where it does not fit a double. */
  readonly measured: number;
  readonly cosine?: number | undefined;
  readonly norm?: number | undefined;
}

/** Factors between which a clock is looked for. */
const CLOCKS = [1e-2, 1e8] as const;
/**
 * The model's curve is laid down at so many times a decade, from this share of the first ζ at the slowest clock on, to where it
 * is this share of the least that was measured: a point costs steps of the flow.
 */
const [DENSITY, EARLY, DEEP] = [24, 1e-2, 0.1];
/** Points of a curve as it is handed out. */
const DRAWN = 100;

interface Model {
  readonly trajectory: Trajectory;
  readonly statement: string;
  /** The limit direction, where the distance to it is compared. */
  readonly direction?: Direction | undefined;
  /** The limit of the features under fixed prototypes, in length where it has one. */
  readonly anchor?: Anchor | undefined;
}

interface Anchor {
  readonly features: NDArray;
  readonly norm?: number | undefined;
}

const anchored = ({ features }: Anchor, state: State) => ({ cosine: cosineTo(features, state), norm: normOf(state.features.data) });

/** The model from a start, and what has been seen of the network since. */
export class Theory {
  /** The model's curve, as far as it has been laid down. */
  private readonly table: { readonly times: number[]; readonly values: number[] } = { times: [0], values: [] };

  private constructor(
    private readonly setting: TheorySetting,
    private readonly model: Model,
    private readonly seen: Observation[],
  ) {}

  /**
   * From features and prototypes before training, and what was seen since by a theory from the same start; undefined for losses
   * that are not covered.
   */
  static async begin(start: State, setting: TheorySetting, seen: readonly Observation[] = []): Promise<Theory | undefined> {
    const model = await modelOf(start, setting);
    return model && new Theory(setting, model, [...seen]);
  }

  get observations(): readonly Observation[] {
    return this.seen;
  }

  /** Looks at the network where its learning rates add up to `zeta`. */
  async observe(zeta: number, state: State): Promise<void> {
    const { direction, anchor } = this.model;
    const measured = direction ? distanceTo(direction, state) : await lossOf(this.setting.loss, state);
    this.seen.push({ zeta, measured, ...(anchor && anchored(anchor, state)) });
  }

  private get quantity(): Comparison['quantity'] {
    return this.model.direction ? 'distanceToLimit' : 'loss';
  }

  /** Lays the model's curve down from a time to another, or to where it has come down to `lowest`. */
  private async layDown(from: number, to: number, lowest: number): Promise<void> {
    const { times, values } = this.table;
    const { quantity } = this;
    const measure = async (list: readonly number[]) =>
      Array.from((await this.model.trajectory.measure(list, [quantity]))[quantity] as Float64Array);
    if (values.length === 0) values.push(...(await measure([0])));
    while ((times.at(-1) as number) < to && !((values.at(-1) as number) <= lowest)) {
      const done = times.length - 1;
      const decade = Array.from({ length: DENSITY }, (_, k) => from * 10 ** ((done + k) / DENSITY));
      values.push(...(await measure(decade)));
      times.push(...decade);
    }
  }

  /** The curves, once the network has moved. */
  async compare(): Promise<Comparison | undefined> {
    const { direction, statement, anchor } = this.model;
    const zeta = this.seen.map((each) => each.zeta);
    const measured = this.seen.map((each) => each.measured);
    const [first, last] = [zeta.find((each) => each > 0), zeta.at(-1)];
    if (first === undefined || last === undefined) return undefined;
    const finite = measured.filter((value) => !Number.isNaN(value));
    await this.layDown(first * CLOCKS[0] * EARLY, last * CLOCKS[1], DEEP * least(finite));
    const at = (time: number) => interpolate(this.table.times, this.table.values, time);
    const misfit = (clock: number) =>
      zeta.reduce((sum, own, k) => {
        const ratio = at(clock * own) / (measured[k] as number);
        return Number.isNaN(ratio) ? sum : sum + Math.log(ratio) ** 2;
      }, 0);
    const clock = Math.exp(minimum((x) => misfit(Math.exp(x)), Math.log(CLOCKS[0]), Math.log(CLOCKS[1])));
    const drawn = Array.from({ length: DRAWN + 1 }, (_, k) => (last * k) / DRAWN);
    const predicted = (of: readonly number[]) => of.map((own) => at(clock * own));
    const model = [];
    for (const own of anchor ? zeta : []) model.push(anchored(anchor as Anchor, await this.model.trajectory.at(clock * own)));
    return {
      quantity: this.quantity,
      title: direction ? 'Distance of the direction to its limit' : 'Loss of the probe',
      zeta,
      measured,
      predicted: predicted(zeta),
      curve: { zeta: drawn, predicted: predicted(drawn) },
      clock,
      statement,
      ...(anchor && {
        anchored: {
          cosine: this.seen.map(({ cosine = Number.NaN }) => cosine),
          norm: this.seen.map(({ norm = Number.NaN }) => norm),
          ...(anchor.norm !== undefined && { limitNorm: anchor.norm }),
          predicted: { cosine: model.map(({ cosine }) => cosine), norm: model.map(({ norm }) => norm) },
        },
      }),
    };
  }
}

async function modelOf(start: State, { loss, fixed, weightDecay }: TheorySetting): Promise<Model | undefined> {
  if (loss.kind === 'cross-entropy' && !fixed && weightDecay === 0 && !loss.softLabels) {
    const statement = 'The loss falls like 1/t and the direction tends to that of the largest margin (LP Theorem 3.2).';
    return { trajectory: await crossEntropyFlow(start, { loss, tolerance: 1e-6 }), statement };
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
  const { direction, state: end, statement } = await trajectory.limit();
  if (!direction) return undefined;
  const model = { trajectory, direction, statement };
  if (!fixed) return model;
  return { ...model, anchor: end ? { features: end.features, norm: normOf(end.features.data) } : { features: direction.features } };
}

/** NaN where the loss has left its range. */
async function lossOf(loss: Loss, state: State): Promise<number> {
  return measureLoss(loss, state).then(
    ({ value }) => value,
    (error) => {
      if (['LP_OVERFLOW', 'LP_NOT_FINITE'].includes(error.code)) return Number.NaN;
      throw error;
    },
  );
}

/** Mean over the classes of the cosine between the mean feature of a class and the row that all its features tend to. */
function cosineTo({ shape, data }: NDArray, { features, labels }: State): number {
  const dim = shape[1] as number;
  const sums = new Map<number, { sum: Float64Array; limit: Float64Array | Float32Array }>();
  for (const [i, label] of labels.entries()) {
    const row = (of: NDArray['data']) => of.subarray(i * dim, (i + 1) * dim);
    const { sum } = sums.get(label) ?? { sum: new Float64Array(dim) };
    for (const [k, value] of row(features.data).entries()) sum[k] = (sum[k] as number) + value;
    sums.set(label, { sum, limit: row(data) });
  }
  const cosines = Array.from(sums.values(), ({ sum, limit }) => {
    const product = sum.reduce((total, value, k) => total + value * (limit[k] as number), 0);
    return product / (normOf(sum) * normOf(limit));
  });
  return cosines.reduce((total, cosine) => total + cosine, 0) / cosines.length;
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
function interpolate(times: readonly number[], values: readonly number[], time: number): number {
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
