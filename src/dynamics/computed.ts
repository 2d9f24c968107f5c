/**
 * A trajectory whose states are computed by advancing from earlier ones: the twins of its methods, the checks of their
 * arguments, and the search for events. What differs is in a few generators of tasks.
 */

import type { State } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import {
  type Complete,
  checkChoice,
  checkKeys,
  checkNames,
  checkNumber,
  checkNumbers,
  inside,
  option,
  type Place,
} from '../check/options.js';
import { drive, driveSync, type Steps } from '../engine/run.js';
import type { Limit, MeasureName, ScaledDirection, Trajectory, TrajectoryEvent } from './trajectory.js';

export abstract class ComputedTrajectory<End extends Limit = Limit> implements Trajectory {
  private disposed = false;

  /** The measures this trajectory has, and whether its times are whole numbers of steps. */
  protected abstract readonly known: readonly MeasureName[];
  protected abstract readonly stepwise: boolean;

  protected abstract state(time: number): Steps<State>;
  protected abstract direction(time: number): Steps<ScaledDirection>;
  /** Columns of the measures `names`, at ascending times. */
  protected abstract columns(times: Float64Array, names: ReadonlySet<MeasureName>): Steps<Columns>;
  protected abstract ending(): Steps<End>;
  /** Lets go of what was kept. */
  protected abstract release(): void;

  async at(time: number, control: Control = {}): Promise<State> {
    return drive(this.state(this.checkTime(time)), checkControl(control));
  }
  atSync(time: number): State {
    return driveSync(this.state(this.checkTime(time)));
  }

  async directionAt(time: number, control: Control = {}): Promise<ScaledDirection> {
    return drive(this.direction(this.checkTime(time)), checkControl(control));
  }
  directionAtSync(time: number): ScaledDirection {
    return driveSync(this.direction(this.checkTime(time)));
  }

  async measure<const Name extends string>(
    times: ArrayLike<number>,
    names: readonly Name[],
    control: Control = {},
  ): Promise<Record<Name, Float64Array>> {
    return drive(this.table(times, names), checkControl(control));
  }
  measureSync<const Name extends string>(times: ArrayLike<number>, names: readonly Name[]): Record<Name, Float64Array> {
    return driveSync(this.table(times, names));
  }

  async limit(control: Control = {}): Promise<End> {
    this.checkAlive();
    return drive(this.ending(), checkControl(control));
  }
  limitSync(): End {
    this.checkAlive();
    return driveSync(this.ending());
  }

  async when(event: TrajectoryEvent, control: Control = {}): Promise<number | undefined> {
    return drive(this.occurrence(event), checkControl(control));
  }
  whenSync(event: TrajectoryEvent): number | undefined {
    return driveSync(this.occurrence(event));
  }

  dispose(): void {
    if (!this.disposed) this.release();
    this.disposed = true;
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  private checkAlive(): void {
    if (this.disposed) throw new LayerpeelError('LP_OPTION', 'The trajectory has been disposed; make a new one.');
  }

  protected checkTime(time: unknown, place = option('time')): number {
    this.checkAlive();
    return checkNumber(time, place, { min: 0, integer: this.stepwise });
  }

  /** Names of measures that this trajectory has. */
  checkMeasures(names: unknown, place: Place): readonly MeasureName[] {
    return checkNames(names, this.known, place);
  }

  /** An event that can be looked for in this trajectory. */
  checkEvent(given: unknown, place: Place): Complete<Omit<TrajectoryEvent, 'direction'>> & Pick<TrajectoryEvent, 'direction'> {
    const { name, value, direction, from, to } = checkKeys(given, ['name', 'value', 'direction', 'from', 'to'], place);
    const start = this.checkTime(from ?? 0, inside(place, 'from'));
    return {
      name: checkChoice(name, this.known, inside(place, 'name')),
      value: checkNumber(value, inside(place, 'value')),
      from: start,
      to: checkNumber(to, inside(place, 'to'), { min: start, integer: this.stepwise }),
      ...(direction !== undefined && {
        direction: checkChoice<'rising' | 'falling'>(direction, ['rising', 'falling'], inside(place, 'direction')),
      }),
    };
  }

  private *table<Name extends string>(times: ArrayLike<number>, names: readonly Name[]): Steps<Record<Name, Float64Array>> {
    this.checkAlive();
    const asked = checkNumbers(times, option('times'), { min: 0, integer: this.stepwise });
    const wanted = new Set(this.checkMeasures(names, option('names')));
    const sorted = asked.every((time, i) => i === 0 || (asked[i - 1] as number) < time);
    const ascending = sorted ? asked : Float64Array.from(new Set(asked)).sort();
    const columns = asked.length === 0 ? {} : yield* this.columns(ascending, wanted);
    const row = sorted ? undefined : new Map(Array.from(ascending, (time, i) => [time, i]));
    const result = {} as Record<Name, Float64Array>;
    for (const name of names) {
      const column = columns[name as unknown as MeasureName] ?? new Float64Array();
      result[name] = row ? asked.map((time) => column[row.get(time) as number] as number) : column;
    }
    return result;
  }

  /**
   * Of a descent every step is looked at. Of a flow a grid of times, even and geometric, finer where the
   * quantity comes closest to the event, then the first interval in which it happens is narrowed down to rounding. Two crossings
   * between neighbours of the grid go unseen unless the grid shows the peak that makes them.
   */
  private *occurrence(given: TrajectoryEvent): Steps<number | undefined> {
    const { name, value, from, to, ...event } = this.checkEvent(given, option('event'));
    const look = (times: Float64Array) => this.column(times, name as MeasureName);

    const [first] = (yield* look(Float64Array.of(from))) as unknown as [number];
    const direction = event.direction ?? (first < value ? 'rising' : 'falling');
    const happened = (quantity: number) => (direction === 'rising' ? quantity >= value : quantity <= value);
    if (happened(first)) return from;
    return this.stepwise ? yield* firstStep(from, to, look, happened) : yield* firstTime(from, to, first, look, happened);
  }

  private *column(times: Float64Array, name: MeasureName): Steps<Float64Array> {
    return (yield* this.columns(times, new Set([name])))[name] as Float64Array;
  }
}

export const checkControl = (control: unknown): Control => checkOptions(control, [], option('control'));

/** A column for each name that was asked for. */
export type Columns = Partial<Record<MeasureName, Float64Array>>;

type Look = (times: Float64Array) => Steps<Float64Array>;

function* firstStep(from: number, to: number, look: Look, happened: (quantity: number) => boolean): Steps<number | undefined> {
  let size = 64;
  for (let start = from + 1; start <= to; start += size) {
    size = Math.min(2 * size, 8192, to - start + 1);
    const values = yield* look(Float64Array.from({ length: size }, (_, i) => start + i));
    const index = values.findIndex(happened);
    if (index !== -1) return start + index;
  }
  return undefined;
}

function* firstTime(
  from: number,
  to: number,
  first: number,
  look: Look,
  happened: (quantity: number) => boolean,
): Steps<number | undefined> {
  const grid = firstGrid(from, to);
  const values = yield* look(grid);
  const found = yield* narrowToPeaks(Float64Array.of(from, ...grid), Float64Array.of(first, ...values), look, happened);
  if (!found) return undefined;
  let [low, high] = found;
  while (high - low > 4 * Number.EPSILON * high) {
    const inner = evenly(low, high, 16);
    if (!((inner[0] as number) > low)) break;
    const index = (yield* look(inner)).findIndex(happened);
    // Looked at again by another way, the end of the interval may fall short of the event by rounding.
    if (index === -1) break;
    high = inner[index] as number;
    low = index > 0 ? (inner[index - 1] as number) : low;
  }
  return high;
}

/**
 * The first interval of the grid at whose end the event has happened. Before it, wherever the quantity comes closest to the event
 * without reaching it, finer grids look whether it does so in between.
 */
function* narrowToPeaks(
  times: Float64Array,
  values: Float64Array,
  look: Look,
  happened: (quantity: number) => boolean,
): Steps<[number, number] | undefined> {
  const index = values.findIndex(happened);
  const sign = happened(Number.MAX_VALUE) ? 1 : -1;
  const at = (i: number) => sign * (values[i] as number);
  for (let i = 1; i < (index === -1 ? values.length - 1 : index); i++) {
    if (at(i) < at(i - 1) || at(i) < at(i + 1) || (at(i) === at(i - 1) && at(i) === at(i + 1))) continue;
    const around: Around = [times[i - 1] as number, times[i] as number, times[i + 1] as number];
    const found = yield* climb(around, at(i), sign, look, happened);
    if (found) return found;
  }
  return index === -1 ? undefined : [times[index - 1] as number, times[index] as number];
}

/** An interval and its best time so far. */
type Around = [low: number, best: number, high: number];

/** Closes in on a peak of `sign · quantity`, and returns where the event happens on the way, if it does. */
function* climb(
  around: Around,
  height: number,
  sign: number,
  look: Look,
  happened: (quantity: number) => boolean,
): Steps<[number, number] | undefined> {
  let [low, best, high] = around;
  let top = height;
  // The quantity may be a step function, with nothing to be found.
  for (let vain = 0; vain < 3; vain++) {
    const grid = Float64Array.of(...evenly(low, best, 8), ...evenly(best, high, 8));
    if (!((grid[0] as number) > low && (grid[8] as number) > best)) return undefined;
    const values = yield* look(grid);
    const index = values.findIndex(happened);
    if (index !== -1) return [index > 0 ? (grid[index - 1] as number) : low, grid[index] as number];
    const highest = Math.max(...values.map((value) => sign * value));
    const peak = highest > top ? values.findIndex((value) => sign * value === highest) : 7;
    if (highest > top) vain = -1;
    [low, best, high] = [peak > 0 ? (grid[peak - 1] as number) : low, grid[peak] as number, grid[Math.min(peak + 1, 15)] as number];
    top = Math.max(top, highest);
  }
  return undefined;
}

/** Times in `(low, high]`, `count` of them, equally far apart. */
function evenly(low: number, high: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => (i === count - 1 ? high : low + ((high - low) * (i + 1)) / count));
}

function firstGrid(from: number, to: number): Float64Array {
  const geometric = Array.from({ length: 40 }, (_, i) => from + (to - from) * 2 ** (-i / 2));
  return Float64Array.from(new Set([...evenly(from, to, 100), ...geometric])).sort();
}
