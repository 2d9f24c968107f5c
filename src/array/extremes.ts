/** The smallest and the largest of any number of values, which `Math.min(...values)` cannot: beyond some 10⁵ its arguments overflow the stack. */

/** `Infinity` of none, NaN where one is NaN. */
export function least(values: Iterable<number>): number {
  let result = Number.POSITIVE_INFINITY;
  for (const value of values) result = Math.min(result, value);
  return result;
}

/** `-Infinity` of none, NaN where one is NaN. */
export function most(values: Iterable<number>): number {
  let result = Number.NEGATIVE_INFINITY;
  for (const value of values) result = Math.max(result, value);
  return result;
}
