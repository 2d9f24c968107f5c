/**
 * Checks of option objects and configurations: unknown keys are refused with the nearest right name, numbers with
 * their domain. `path` names the place in messages: `options.gamma`, `config.rates.features.kind`.
 */
import { type ErrorCode, LayerpeelError } from './errors.js';

/** Where a value stands and which error its faults throw. */
export interface Place {
  readonly path: string;
  readonly code: ErrorCode;
}

export const option = (path: string): Place => ({ path, code: 'LP_OPTION' });
export const inside = (place: Place, key: string): Place => ({ path: place.path ? `${place.path}.${key}` : key, code: place.code });

/** The candidate closest to `word` by edit distance, if close enough to be a slip. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

/** A value as messages show it: short, whatever it is. */
export function show(value: unknown): string {
  if (value === undefined) return 'missing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function') return 'a function';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`;
}

/** Throws unless `value` is a plain object whose keys are all in `known`; returns it. */
export function checkKeys(value: unknown, known: readonly string[], place: Place): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new LayerpeelError(place.code, `${place.path} is ${show(value)}; expected an object with ${known.join(', ')}.`);
  }
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    const guess = nearest(key, known);
    throw new LayerpeelError(
      place.code,
      `${inside(place, key).path} is not known; ${guess ? `did you mean ${guess}?` : `expected one of ${known.join(', ')}.`}`,
    );
  }
  return value as Record<string, unknown>;
}

/** Bounds of a number; all inclusive except `above`. */
export interface Bounds {
  readonly above?: number;
  readonly min?: number;
  readonly max?: number;
  readonly integer?: boolean;
}

export function checkNumber(value: unknown, place: Place, bounds: Bounds = {}): number {
  const { above, min, max, integer } = bounds;
  const good =
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (above === undefined || value > above) &&
    (min === undefined || value >= min) &&
    (max === undefined || value <= max) &&
    (!integer || Number.isSafeInteger(value));
  if (good) return value;
  const bounded = [
    above !== undefined && `above ${above}`,
    min !== undefined && `of at least ${min}`,
    max !== undefined && `of at most ${max}`,
  ].filter((words) => typeof words === 'string');
  const wanted = [integer ? 'an integer' : 'a finite number', bounded.join(' and ').replace('and of', 'and')].join(' ').trim();
  throw new LayerpeelError(place.code, `${place.path} is ${show(value)}; expected ${wanted}.`);
}

export function checkChoice<T extends string>(value: unknown, choices: readonly T[], place: Place): T {
  if (choices.includes(value as T)) return value as T;
  const guess = typeof value === 'string' ? nearest(value, choices) : undefined;
  const list = choices.map((choice) => `'${choice}'`).join(', ');
  throw new LayerpeelError(
    place.code,
    `${place.path} is ${show(value)}; ${guess ? `did you mean '${guess}'?` : `expected one of ${list}.`}`,
  );
}

export function checkBoolean(value: unknown, place: Place): boolean {
  if (typeof value === 'boolean') return value;
  throw new LayerpeelError(place.code, `${place.path} is ${show(value)}; expected true or false.`);
}
