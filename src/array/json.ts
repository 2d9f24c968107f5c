/**
 * JSON as results are written in it. It has no numbers that are not finite, and makes null of all of them: here they are texts,
 * `"NaN"`, `"Infinity"` and `"-Infinity"`, which `Number` of JavaScript and `float` of Python read as what they are.
 */

/** A value as JSON, in one line unless `indent` says otherwise; arrays of numbers as lists. */
export const toJson = (value: unknown, indent?: number): string =>
  JSON.stringify(
    value,
    (_key, entry) => {
      if (ArrayBuffer.isView(entry)) return Array.from(entry as Float64Array);
      return typeof entry === 'number' && !Number.isFinite(entry) ? String(entry) : entry;
    },
    indent,
  );

/** What a text says as JSON; undefined where it is none. */
export function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
