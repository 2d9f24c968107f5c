/**
 * Figures by class: classes along an axis, those with the most training samples first.
 */
import type { Axis, Series } from '../figure.js';
import { formatNumber } from '../ticks.js';

/** Classes up to which each one is named on its axis. */
const MOST_NAMES = 30;
/** More classes than this are drawn as points, as bars would run into each other. */
const MOST_BARS = 50;

/** What captions say of it. */
export const IN_ORDER = 'Classes stand in the order of their training samples, the largest first.';

/** @param sizes training samples of each class, by which they stand */
export function classAxis(classes: number, names?: readonly string[], sizes?: ArrayLike<number>) {
  const order = Array.from({ length: classes }, (_, label) => label);
  if (sizes) order.sort((a, b) => (sizes[b] as number) - (sizes[a] as number) || a - b);
  const places = new Int32Array(classes);
  for (const [place, label] of order.entries()) places[label] = place;
  const named = (label: number) => `${names?.[label] ?? label}${sizes ? ` (${formatNumber(sizes[label] as number, 12)})` : ''}`;
  const at = (labels: readonly number[]) => labels.map((label) => places[label] as number);
  const axis: Axis = {
    ...{ title: sizes ? 'class, by its training samples' : 'class', domain: [-0.5, classes - 0.5], whole: true },
    ...((names ?? sizes) && classes <= MOST_NAMES && { names: order.map(named) }),
  };
  return {
    axis,
    /** Classes along the axis. */
    order,
    /** Points at some classes. */
    points: (labels: readonly number[]): Pick<Series, 'mark' | 'x'> => ({ mark: 'points', x: at(labels) }),
    /** Bars, or points where there are too many. */
    marks: (labels: readonly number[]): Pick<Series, 'mark' | 'x' | 'right'> =>
      classes > MOST_BARS
        ? { mark: 'points', x: at(labels) }
        : { mark: 'bars', x: at(labels).map((place) => place - 0.4), right: at(labels).map((place) => place + 0.4) },
  };
}
