/**
 * Where a measure crosses a value along an axis of numbers: between two of its values at which `m − value` has other signs it is
 * bisected, for every combination of the other axes by itself.
 */
import { type Cell, type Level, levelOf, type Plan } from './config.js';
import type { Outcome } from './numerical.js';

export interface Crossing {
  /** Labels of the other axes. */
  readonly levels: Readonly<Record<string, string>>;
  /** The middle of what is left; NaN where there is no crossing between the axis's ends. */
  readonly at: number;
  /** Ends of what is left. */
  readonly from: number;
  readonly to: number;
  /** Whether the measure grows there. */
  readonly rising: boolean;
}

interface Bracket {
  readonly others: readonly Level[];
  /** Values of the axis, and the measure there less the value. */
  low: readonly [number, number];
  high: readonly [number, number];
  /** Width at which it is narrow enough. */
  readonly width: number;
  closed: boolean;
}

interface Looked {
  readonly plan: Plan;
  readonly cells: readonly Cell[];
  making(levels: readonly Level[]): Cell;
}

/** @param run gives the outcomes of cells, in their order */
export async function crossings(
  { plan, cells, making }: Looked,
  outcomes: ReadonlyMap<string, Outcome>,
  run: (cells: readonly Cell[]) => Promise<readonly (Outcome | undefined)[]>,
): Promise<Crossing[] | undefined> {
  const { boundary } = plan;
  if (!boundary) return undefined;
  const { at, axis, measure, value, tolerance } = boundary;
  const beyond = (outcome: Outcome | undefined) => (outcome?.measures[measure] ?? Number.NaN) - value;
  const lines = new Map<string, { others: readonly Level[]; points: [number, number][] }>();
  for (const cell of cells) {
    const others = cell.levels.filter((_, i) => i !== at);
    const key = JSON.stringify(others.map(({ label }) => label));
    const line = lines.get(key) ?? { others, points: [] };
    lines.set(key, line);
    line.points.push([(cell.levels[at] as Level).number as number, beyond(outcomes.get(cell.id))]);
  }
  const brackets: Bracket[] = [];
  const without: (readonly Level[])[] = [];
  for (const { others, points } of lines.values()) {
    const known = points.filter(([, y]) => !Number.isNaN(y)).sort(([a], [b]) => a - b);
    const found = known.slice(1).flatMap((high, i) => {
      const low = known[i] as [number, number];
      const crosses = low[1] < 0 !== high[1] < 0;
      return crosses ? [{ others, low, high, width: tolerance * (high[0] - low[0]), closed: false }] : [];
    });
    if (found.length === 0) without.push(others);
    brackets.push(...found);
  }
  for (;;) {
    const open = brackets.filter((bracket) => !bracket.closed && bracket.high[0] - bracket.low[0] > bracket.width);
    if (open.length === 0) break;
    const middles = open.map(({ low, high }) => low[0] + (high[0] - low[0]) / 2);
    const found = await run(open.map(({ others }, i) => making(others.toSpliced(at, 0, levelOf(axis, middles[i])))));
    for (const [i, bracket] of open.entries()) {
      const [middle, y] = [middles[i] as number, beyond(found[i])];
      // A run that failed, or no number between the ends: nothing more is to be learnt.
      if (Number.isNaN(y) || middle <= bracket.low[0] || middle >= bracket.high[0]) bracket.closed = true;
      else if (y < 0 === bracket.low[1] < 0) bracket.low = [middle, y];
      else bracket.high = [middle, y];
    }
  }
  const names = plan.axes.map(({ name }) => name).filter((_, i) => i !== at);
  const labels = (others: readonly Level[]) => Object.fromEntries(names.map((name, i) => [name, (others[i] as Level).label]));
  return [
    ...brackets.map(({ others, low, high }) => ({
      ...{ levels: labels(others), at: low[0] + (high[0] - low[0]) / 2, from: low[0], to: high[0], rising: high[1] >= low[1] },
    })),
    ...without.map((others) => ({ levels: labels(others), at: Number.NaN, from: Number.NaN, to: Number.NaN, rising: false })),
  ];
}
