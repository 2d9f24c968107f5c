/**
 * Exponents of growth and decay, fitted to measured curves, and the verdict on a statement that has a number.
 */
import type { Verdict } from '../report/page.js';
import { formatNumber } from '../report/ticks.js';

/** Least-squares slope of `y` over `x`, of the points that `use` picks (all that are finite when left out). */
export function slope(x: ArrayLike<number>, y: ArrayLike<number>, use: (x: number, y: number) => boolean = () => true): number {
  let [count, sumX, sumY] = [0, 0, 0];
  const taken: [number, number][] = [];
  for (let i = 0; i < x.length; i++) {
    const point: [number, number] = [x[i] as number, y[i] as number];
    if (!Number.isFinite(point[1]) || !use(...point)) continue;
    taken.push(point);
    count++;
    sumX += point[0];
    sumY += point[1];
  }
  const [meanX, meanY] = [sumX / count, sumY / count];
  let [covariance, variance] = [0, 0];
  for (const [xi, yi] of taken) {
    covariance += (xi - meanX) * (yi - meanY);
    variance += (xi - meanX) ** 2;
  }
  return covariance / variance;
}

/** Where a quantity has left its transient and rounding does not reach yet. */
export interface Window {
  /** Values at or below are rounding. @default 1e-11 */
  readonly above?: number | undefined;
  /** The share of the usable times that is left out at the beginning. @default 0.6 */
  readonly skip?: number | undefined;
}

/** Exponent `r` of `value ≈ c · e^{r t}` over the later part of the times at which it stands clear of rounding. */
export function exponentOf(
  times: ArrayLike<number>,
  values: ArrayLike<number>,
  { above = 1e-11, skip = 0.6 }: Window = {},
): number {
  const logs = Array.from(values, (value) => Math.log(value > above ? value : Number.NaN));
  const usable = Array.from(times).filter((_, i) => Number.isFinite(logs[i]));
  const [first = 0, last = 0] = [usable[0], usable.at(-1)];
  return slope(times, logs, (t) => t >= first + skip * (last - first));
}

/** Where a quantity began and where it ended. */
export const course = (from: number, to: number): string => `${formatNumber(from, 3)} → ${formatNumber(to, 3)}`;

/** The value at the end of a run. */
export const last = (column: ArrayLike<number>): number => column[column.length - 1] as number;

/** Measured against stated, within a share of the stated number. */
export function within(claim: string, paper: number, measured: number, tolerance: number): Verdict {
  const difference = Math.abs(measured - paper) / Math.abs(paper);
  return { claim, paper, measured, difference: percent(difference), tolerance: percent(tolerance), holds: difference <= tolerance };
}

/** A quantity that the paper says vanishes: at most `tolerance` is left of it. */
export function vanishes(claim: string, measured: number, tolerance: number): Verdict {
  return { claim, paper: 0, measured, difference: measured, tolerance, holds: Math.abs(measured) <= tolerance };
}

/** A statement that is true or false. */
export function states(claim: string, paper: string, measured: string | number, holds: boolean): Verdict {
  return { claim, paper, measured, difference: '–', tolerance: '–', holds };
}

const percent = (share: number): string => `${formatNumber(100 * share, 2)} %`;
