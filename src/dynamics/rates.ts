/**
 * Rates of a flow and learning rates of a descent: `η(t) = value · f(t) · w(t)`, with a shape `f` of the given kind, a linear
 * warm-up `w`, and the integral `ζ(t) = ∫₀ᵗ η` on which the closed forms stand (UL Thms 2, 4).
 *
 *     constant     f(t) = 1
 *     cosine       f(t) = ½ (1 + cos(π t/period)) up to `period`, 0 after
 *     exponential  f(t) = e^{−t/timescale}
 *     steps        f(t) = factor^m, m the number of milestones ≤ t
 *
 * The time of `f` starts at 0 with or without a warm-up; the warm-up only multiplies. In a flow `w(t) = min(1, t/warmup)`. Step
 * `k = 0, 1, …` of a descent uses `f(k) · min(1, (k+1)/warmup)`: the first step already moves, and step `warmup − 1` is the first
 * at the full rate (a `LinearLR` with `start_factor = 1/warmup`, `total_iters = warmup − 1`, times the schedule).
 */
import { atOnce, type Turns } from '../array/rows.js';
import { LayerpeelError } from '../check/errors.js';
import { checkChoice, checkKeys, checkList, checkNumber, entry, inside, type Place, show } from '../check/options.js';

interface Warmup {
  /** Length of the linear warm-up from 0, in units of time or steps. @default 0 */
  readonly warmup?: number | undefined;
}
type Shape = Warmup &
  (
    | { readonly kind: 'constant' }
    | { readonly kind: 'cosine'; readonly period: number }
    | { readonly kind: 'exponential'; readonly timescale: number }
    | { readonly kind: 'steps'; readonly milestones: readonly number[]; readonly factor: number }
  );

/** A rate: a number, a function of time (or of the step), or a plain object. Never negative. */
export type Rate = number | ((time: number) => number) | (Shape & { readonly value: number });

/** The factor that multiplies learning rates at a step: a rate object without `value`, or a function of the step. */
export type Schedule = ((step: number) => number) | Shape;

/** `Shape` of native/core/schedule. */
export type EngineRate = { readonly value: number; readonly warmup?: number | undefined } & (
  | { readonly kind: 'constant' }
  | { readonly kind: 'cosine'; readonly period: number }
  | { readonly kind: 'exponential'; readonly timescale: number }
  | { readonly kind: 'steps'; readonly milestones: Float64Array; readonly factor: number }
);

/** A rate whose form has been checked. */
export interface CheckedRate {
  /** Makes what `integral` and `pieces` need up to a time: of a function thousands of calls, between which the event loop turns. */
  prepare(time: number): Turns<void>;
  /** `η(t)` of a flow. At a jump the value after it. */
  valueAt(time: number): number;
  /** The learning rates of the steps `first … first + count − 1` of a descent. */
  steps(first: number, count: number): Float64Array;
  /** `ζ(t) = ∫₀ᵗ η`; in closed form, or for a function to about 1e-13 of its size. `t` may be Infinity except for a function. */
  integral(time: number): number;
  /** `ζ(∞)`, which may be Infinity; undefined for a function, whose tail nobody knows. */
  readonly total: number | undefined;
  /** Times at which the value or its slope jumps, ascending; a function's are not known. */
  readonly breakPoints: readonly number[];
  /** The rate on `[0, horizon]` as the native engine reads it: see `pieces`. */
  pieces(horizon: number): Float64Array;
  /** The rate at the steps of a descent as the native engine works it out by itself; undefined for a function. */
  readonly engineRate: EngineRate | undefined;
  /** What `proportion` compares. */
  readonly value: number;
  readonly form: unknown;
}

const parameters = {
  constant: [],
  cosine: ['period'],
  exponential: ['timescale'],
  steps: ['milestones', 'factor'],
} as const;
type Kind = keyof typeof parameters;
const kinds = Object.keys(parameters) as Kind[];

/** Checks a rate. @throws the place's code, with the path to what is wrong */
export function checkRate(rate: unknown, place: Place): CheckedRate {
  if (typeof rate === 'function') return new FunctionRate(rate as (time: number) => number, place);
  if (typeof rate === 'number') return checkRate({ kind: 'constant', value: rate }, place);
  if (typeof rate !== 'object' || rate === null) {
    throw new LayerpeelError(
      place.code,
      `${place.path} is ${show(rate)}; expected a number, a function of time or an object with kind.`,
    );
  }
  const shape = checkShape(rate, ['value'], place);
  return new ObjectRate(shape, checkNumber((rate as { value?: unknown }).value, inside(place, 'value'), { min: 0 }));
}

/** Checks a rate for each of the parts. */
export function checkRates<Part extends string>(given: unknown, parts: readonly Part[], place: Place): Record<Part, CheckedRate> {
  const rates = checkKeys(given, parts, place);
  return Object.fromEntries(parts.map((part) => [part, checkRate(rates[part], inside(place, part))])) as Record<Part, CheckedRate>;
}

/** Checks a schedule: a rate of value 1. */
export function checkSchedule(schedule: unknown, place: Place): CheckedRate {
  if (typeof schedule === 'function') return new FunctionRate(schedule as (step: number) => number, place);
  return new ObjectRate(checkShape(schedule, [], place), 1);
}

function checkShape(given: unknown, more: readonly string[], place: Place): Shape {
  if (typeof given !== 'object' || given === null) {
    throw new LayerpeelError(place.code, `${place.path} is ${show(given)}; expected an object with kind, or a function.`);
  }
  const kind = checkChoice((given as { kind?: unknown }).kind, kinds, inside(place, 'kind'));
  const shape = checkKeys(given, ['kind', ...more, ...parameters[kind], 'warmup'], place);
  const number = (key: string, bounds: Parameters<typeof checkNumber>[2]) => checkNumber(shape[key], inside(place, key), bounds);
  const warmup = shape.warmup === undefined ? 0 : number('warmup', { min: 0 });
  switch (kind) {
    case 'constant':
      return { kind, warmup };
    case 'cosine':
      return { kind, period: number('period', { above: 0 }), warmup };
    case 'exponential':
      return { kind, timescale: number('timescale', { above: 0 }), warmup };
    case 'steps':
      return {
        kind,
        milestones: checkMilestones(shape.milestones, inside(place, 'milestones')),
        factor: number('factor', { min: 0 }),
        warmup,
      };
  }
}

function checkMilestones(milestones: unknown, place: Place): number[] {
  const times = checkList(milestones, place, 'a list of ascending times');
  return times.map((time, i) => checkNumber(time, entry(place, i), i === 0 ? { min: 0 } : { above: times[i - 1] as number }));
}

/**
 * `s` with `η1(t) = s η2(t)` at all times, or undefined where there is none or it cannot be known: of objects that agree but for
 * `value`, and of one function with itself. A rate that is 0 is proportional to any other; `s` is then 0, or Infinity where only
 * `η2` vanishes.
 */
export function proportion(rate1: CheckedRate, rate2: CheckedRate): number | undefined {
  if (rate1.value === 0 || rate2.value === 0) return rate1.value === rate2.value ? 1 : rate1.value / rate2.value;
  return rate1.form === rate2.form ? rate1.value / rate2.value : undefined;
}

class ObjectRate implements CheckedRate {
  readonly form: string;
  readonly breakPoints: readonly number[];
  readonly total: number;

  constructor(
    private readonly shape: Shape,
    readonly value: number,
  ) {
    this.form = JSON.stringify(shape);
    const { warmup = 0 } = shape;
    const breaks = shape.kind === 'cosine' ? [shape.period] : shape.kind === 'steps' ? shape.milestones : [];
    this.breakPoints = [...new Set([warmup, ...breaks])].filter((time) => time > 0).sort((a, b) => a - b);
    this.total = this.integral(Number.POSITIVE_INFINITY);
  }

  *prepare(): Turns<void> {}

  get engineRate(): EngineRate {
    const { shape, value } = this;
    return shape.kind === 'steps' ? { ...shape, value, milestones: Float64Array.from(shape.milestones) } : { ...shape, value };
  }

  valueAt(time: number): number {
    const { warmup = 0 } = this.shape;
    return this.value * factorAt(this.shape, time) * (time < warmup ? time / warmup : 1);
  }

  steps(first: number, count: number): Float64Array {
    const { warmup = 0 } = this.shape;
    return Float64Array.from({ length: count }, (_, i) => {
      const k = first + i;
      return this.value * factorAt(this.shape, k) * (k + 1 < warmup ? (k + 1) / warmup : 1);
    });
  }

  integral(time: number): number {
    const { warmup = 0 } = this.shape;
    if (this.value === 0 || time === 0) return 0;
    if (warmup === 0) return this.value * area(this.shape, time);
    const warm = firstMoment(this.shape, Math.min(time, warmup)) / warmup;
    return this.value * (time > warmup ? warm + (area(this.shape, time) - area(this.shape, warmup)) : warm);
  }

  pieces(horizon: number): Float64Array {
    const inner = this.breakPoints.filter((time) => time < horizon);
    const series = new Pieces((time) => this.valueAt(time));
    for (const edge of [...inner, horizon]) atOnce(series.append(edge));
    return series.packed();
  }
}

/** The shape `f(t)`. */
function factorAt(shape: Shape, time: number): number {
  switch (shape.kind) {
    case 'constant':
      return 1;
    case 'cosine':
      // cos² of the half angle: exact towards its zero.
      return time < shape.period ? Math.cos((Math.PI * time) / (2 * shape.period)) ** 2 : 0;
    case 'exponential':
      return Math.exp(-time / shape.timescale);
    case 'steps':
      return shape.factor ** shape.milestones.filter((milestone) => milestone <= time).length;
  }
}

/** `∫₀ᵗ f`. */
function area(shape: Shape, time: number): number {
  switch (shape.kind) {
    case 'constant':
      return time;
    case 'cosine': {
      const t = Math.min(time, shape.period);
      return (t + (shape.period / Math.PI) * Math.sin((Math.PI * t) / shape.period)) / 2;
    }
    case 'exponential':
      return -shape.timescale * Math.expm1(-time / shape.timescale);
    case 'steps':
      return sumOfPlateaus(shape, time, (from, to) => to - from);
  }
}

/** `∫₀ᵗ s f(s) ds`. */
function firstMoment(shape: Shape, time: number): number {
  switch (shape.kind) {
    case 'constant':
      return time ** 2 / 2;
    case 'cosine': {
      const t = Math.min(time, shape.period);
      const angle = (Math.PI * t) / shape.period;
      return t ** 2 / 4 + (shape.period / Math.PI) ** 2 * (0.5 * angle * Math.sin(angle) - Math.sin(angle / 2) ** 2);
    }
    case 'exponential':
      return shape.timescale ** 2 * lowerGamma2(time / shape.timescale);
    case 'steps':
      return sumOfPlateaus(shape, time, (from, to) => ((to - from) * (to + from)) / 2);
  }
}

function sumOfPlateaus(
  { milestones, factor }: { milestones: readonly number[]; factor: number },
  time: number,
  weight: (from: number, to: number) => number,
): number {
  let sum = 0;
  let from = 0;
  let height = 1;
  for (const milestone of [...milestones, Number.POSITIVE_INFINITY]) {
    if (height > 0 && time > from) sum += height * weight(from, Math.min(milestone, time));
    from = milestone;
    height *= factor;
  }
  return sum;
}

/** `1 − (1+x) e^{−x} = Σ_{k≥2} (−1)^k (k−1)/k! x^k`; the series where the difference would cancel. */
function lowerGamma2(x: number): number {
  if (x > 1) return 1 - (1 + x) * Math.exp(-x);
  let power = x; // ± x^{k−1}/(k−1)!
  let sum = 0;
  for (let k = 2; k < 22; k++) {
    power *= -x / k;
    sum -= (k - 1) * power;
  }
  return sum;
}

class FunctionRate implements CheckedRate {
  readonly form: unknown;
  readonly value = 1;
  readonly total = undefined;
  readonly engineRate = undefined;
  readonly breakPoints: readonly number[] = [];
  private readonly series: Pieces;

  constructor(
    private readonly rate: (time: number) => number,
    private readonly place: Place,
  ) {
    this.form = rate;
    this.series = new Pieces((time) => this.valueAt(time));
  }

  valueAt(time: number): number {
    const value = this.rate(time);
    if (typeof value === 'number' && value >= 0 && value < Number.POSITIVE_INFINITY) return value;
    throw new LayerpeelError(
      this.place.code,
      `${this.place.path} gave ${show(value)} at ${time}; expected a finite number of at least 0.`,
    );
  }

  steps(first: number, count: number): Float64Array {
    return Float64Array.from({ length: count }, (_, i) => this.valueAt(first + i));
  }

  integral(time: number): number {
    atOnce(this.prepare(time));
    return this.series.integral(time);
  }

  pieces(horizon: number): Float64Array {
    atOnce(this.prepare(horizon));
    return this.series.packed();
  }

  *prepare(time: number): Turns<void> {
    const start = this.series.end;
    for (let i = 1; i <= FIRST_PANELS; i++) {
      yield* this.series.append(i === FIRST_PANELS ? time : start + ((time - start) * i) / FIRST_PANELS, this.place);
    }
  }
}

/** Panels into which a new stretch of a function is cut at least, lest a feature between the points goes unseen. */
const FIRST_PANELS = 8;
/** Chebyshev terms of a piece. */
const TERMS = 16;
/** Numbers of a packed piece: start, end, ζ(start), and the terms of the value. */
export const PIECE_SIZE = 3 + TERMS;
/** Pieces that are fitted in one turn of the event loop: a millisecond. */
const FITS_PER_TURN = 64;
const TOLERANCE = 1e-15;
const MOST_PIECES = 200_000;

/**
 * A function by Chebyshev series on pieces that are halved until their last terms vanish: `η(t) = Σ_j c_j T_j(x)`, `x` running over
 * `[−1, 1]` on a piece, and its running integral. `native/core/rate.h` evaluates the same packed pieces.
 */
class Pieces {
  private readonly packs: Float64Array[] = [];
  private largest = 0;

  constructor(private readonly f: (time: number) => number) {}

  /** Where the series ends. */
  get end(): number {
    return this.packs.at(-1)?.[1] ?? 0;
  }

  /**
   * Continues the series to `to`. The function is taken to be continuous on the right where it goes on. Others may have continued it
   * in the meantime, or have been broken off.
   */
  *append(to: number, place?: Place): Turns<void> {
    const ends = [to]; // of the pieces to come, the next one last
    for (let fits = 1; ends.length > 0; fits++) {
      if (fits % FITS_PER_TURN === 0) yield;
      const [from, end] = [this.end, ends.at(-1) as number];
      const pack = end > from ? this.fit(from, end) : undefined;
      if (pack) this.packs.push(pack);
      if (pack || end <= from) ends.pop();
      else ends.push(from + (end - from) / 2);
      if (this.packs.length > MOST_PIECES) {
        throw new LayerpeelError(
          place?.code ?? 'LP_INTERNAL',
          `${place?.path} jumps too often before ${end} to be integrated; give it as steps.`,
        );
      }
    }
  }

  /** The series on one piece, or undefined where it has to be halved. */
  private fit(from: number, to: number): Float64Array | undefined {
    const middle = from + (to - from) / 2;
    const half = (to - from) / 2;
    const values = nodes.map((x) => this.f(middle + half * x));
    const pack = new Float64Array(PIECE_SIZE);
    const last = this.packs.at(-1);
    pack.set([from, to, last ? pieceIntegral(last, last[1] as number) : 0]);
    for (let j = 0; j < TERMS; j++) {
      let sum = 0;
      for (let i = 0; i < TERMS; i++) sum += (values[i] as number) * Math.cos((Math.PI * j * (i + 0.5)) / TERMS);
      pack[3 + j] = (j === 0 ? 1 : 2) * (sum / TERMS);
    }
    // A jump cannot be resolved, only boxed in: to a width that no integral notices.
    if (half <= 1e-14 * to) return pack;
    this.largest = Math.max(this.largest, ...values);
    const small = 16 * TERMS * TOLERANCE * this.largest;
    const off = (time: number) => Math.abs(this.f(time) - pieceValue(pack, time)) > small;
    const ends = Math.max(...pack.subarray(PIECE_SIZE - 3).map(Math.abs));
    return ends > small || off(from) || off(middle - 0.618 * half) || off(middle + 0.347 * half) ? undefined : pack;
  }

  integral(time: number): number {
    if (this.packs.length === 0) return 0;
    let low = 0;
    let high = this.packs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (((this.packs[middle] as Float64Array)[0] as number) <= time) low = middle;
      else high = middle - 1;
    }
    return pieceIntegral(this.packs[low] as Float64Array, time);
  }

  packed(): Float64Array {
    const all = new Float64Array(this.packs.length * PIECE_SIZE);
    for (const [i, pack] of this.packs.entries()) all.set(pack, i * PIECE_SIZE);
    return all;
  }
}

/** Chebyshev points of the first kind: interior, so that a jump at an end of a piece is not seen. */
const nodes = Array.from({ length: TERMS }, (_, i) => Math.cos((Math.PI * (i + 0.5)) / TERMS));

const place01 = (pack: Float64Array, time: number): number => {
  const [from, to] = pack as unknown as [number, number];
  return (2 * (time - from)) / (to - from) - 1;
};

function pieceValue(pack: Float64Array, time: number): number {
  return clenshaw(place01(pack, time), TERMS, (j) => pack[3 + j] as number);
}

/** `ζ(t)` on a piece: `∫ T_j = ½ (T_{j+1}/(j+1) − T_{j−1}/(j−1))`, shifted to vanish at the piece's start. */
function pieceIntegral(pack: Float64Array, time: number): number {
  const [from, to, before] = pack as unknown as [number, number, number];
  const c = (j: number) => (j < TERMS ? (pack[3 + j] as number) : 0);
  const term = (j: number) => (j === 0 ? 0 : ((j === 1 ? 2 * c(0) : c(j - 1)) - c(j + 1)) / (2 * j));
  const rise = (x: number) => clenshaw(x, TERMS + 1, term);
  return before + ((to - from) / 2) * (rise(place01(pack, time)) - rise(-1));
}

/** `Σ_j c_j T_j(x)`. */
function clenshaw(x: number, terms: number, c: (j: number) => number): number {
  let [b1, b2] = [0, 0];
  for (let j = terms - 1; j > 0; j--) [b1, b2] = [2 * x * b1 - b2 + c(j), b1];
  return x * b1 - b2 + c(0);
}
