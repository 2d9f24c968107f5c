/**
 * Checks of option objects and configurations: unknown keys are refused with the nearest right name, numbers with
 * their domain. `path` names the place in messages: `options.gamma`, `config.rates.features.kind`.
 */
import { type ErrorCode, LayerpeelError } from './errors.js';

/** Options with all that may be left out filled in. */
export type Complete<T> = { readonly [K in keyof T]-?: Exclude<T[K], undefined> };

/** Where a value stands and which error its faults throw. */
export interface Place {
  readonly path: string;
  readonly code: ErrorCode;
  /** What a key of it is called where that is not `path.key`, as on the command line. */
  readonly called?: ((key: string) => string) | undefined;
}

export const option = (path: string): Place => ({ path, code: 'LP_OPTION' });
export const inside = ({ path, code, called }: Place, key: string): Place => ({
  path: called?.(key) ?? (path ? `${path}.${key}` : key),
  code,
  ...(called && { called }),
});
export const entry = (place: Place, index: number): Place => ({ path: `${place.path}[${index}]`, code: place.code });

/** Names that were others before: old → new. */
const RENAMED: Readonly<Record<string, string>> = {
  alignment: 'gradientAlignment',
  featuresGradientNorm: 'featureGradientNorm',
  featuresNorm: 'featureNorm',
  prototypesGradientNorm: 'prototypeGradientNorm',
  prototypesNorm: 'prototypeNorm',
};

/** What to say of a name that is none of those known: what it is called now, or the one that was probably meant, or all. */
function advice(word: string, known: readonly string[], quote: string): string {
  const now = Object.hasOwn(RENAMED, word) ? (RENAMED[word] as string) : undefined;
  if (now !== undefined && known.includes(now)) return `it is called ${quote}${now}${quote} now.`;
  const guess = nearest(word, known);
  if (guess !== undefined) return `did you mean ${quote}${guess}${quote}?`;
  return `expected one of ${known.map((name) => `${quote}${name}${quote}`).join(', ')}.`;
}

const LONGEST_WORD = 100;

/** The candidate closest to `word` by edit distance, if close enough to be a slip. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (word.length > LONGEST_WORD) return undefined;
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
    throw new LayerpeelError(place.code, `${inside(place, key).path} is not known; ${advice(key, known, '')}`);
  }
  return value as Record<string, unknown>;
}

/** Bounds of a number; all inclusive except `above` and `below`. */
export interface Bounds {
  readonly above?: number | undefined;
  readonly below?: number | undefined;
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  readonly integer?: boolean | undefined;
}

export function checkNumber(value: unknown, place: Place, bounds: Bounds = {}): number {
  if (fits(value, bounds)) return value;
  throw new LayerpeelError(place.code, `${place.path} is ${show(value)}; expected ${wanted(value, bounds)}.`);
}

function fits(value: unknown, { above, below, min, max, integer }: Bounds): value is number {
  return (
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (above === undefined || value > above) &&
    (below === undefined || value < below) &&
    (min === undefined || value >= min) &&
    (max === undefined || value <= max) &&
    (!integer || Number.isSafeInteger(value))
  );
}

/** In words what would have fitted. */
function wanted(value: unknown, { above, below, min, max, integer }: Bounds): string {
  // Beyond it neighbours are no longer told apart.
  const most =
    max ?? (integer && typeof value === 'number' && value > Number.MAX_SAFE_INTEGER ? Number.MAX_SAFE_INTEGER : undefined);
  const least = above !== undefined ? `above ${above}` : min !== undefined ? `of at least ${min}` : '';
  const greatest = below !== undefined ? `below ${below}` : most !== undefined ? `${least ? '' : 'of '}at most ${most}` : '';
  const bounds = [least, greatest].filter((words) => words !== '').join(' and ');
  return `${integer ? 'an integer' : 'a finite number'} ${bounds}`.trim();
}

export function checkChoice<T extends string>(value: unknown, choices: readonly T[], place: Place): T {
  if (choices.includes(value as T)) return value as T;
  const word = typeof value === 'string' ? value : '';
  throw new LayerpeelError(place.code, `${place.path} is ${show(value)}; ${advice(word, choices, "'")}`);
}

export function checkText(value: unknown, place: Place, of = 'a string'): string {
  if (typeof value === 'string') return value;
  throw new LayerpeelError(place.code, `${place.path} is ${show(value)}; expected ${of}.`);
}

/** Half a character, for which the system would be given another one. */
const HALF = /\p{Surrogate}/u;

/** A path: not empty, without the character that ends one in the system's calls, and of whole characters. */
export function checkPath(value: unknown, place: Place = { path: 'path', code: 'LP_FILE' }, of = 'the path of a file'): string {
  const path = checkText(value, place, of);
  if (path !== '' && !path.includes('\0') && !HALF.test(path)) return path;
  throw new LayerpeelError(place.code, `${place.path} is ${show(path)}; expected ${of}.`);
}

export function checkObject(value: unknown, place: Place): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new LayerpeelError(place.code, `${place.path} is ${show(value)}; expected an object.`);
}

/** The entries of a list. */
export function checkList(value: unknown, place: Place, of = 'a list'): readonly unknown[] {
  if (!Array.isArray(value)) throw new LayerpeelError(place.code, `${place.path} is ${show(value)}; expected ${of}.`);
  if (value.length > LONGEST_LIST) {
    throw new LayerpeelError(place.code, `${place.path} has ${value.length} entries; expected at most ${LONGEST_LIST}.`);
  }
  return Array.from(value);
}
const LONGEST_LIST = 1e7;

/** A list of names, each one of the choices. */
export const checkNames = <T extends string>(value: unknown, choices: readonly T[], place: Place): readonly T[] =>
  checkList(value, place, 'a list of names').map((name, i) => checkChoice(name, choices, entry(place, i)));

/** The numbers of a list, a typed array, or anything with a length and entries. */
export function checkNumbers(values: unknown, place: Place, bounds: Bounds = {}): Float64Array {
  const { length } = (typeof values === 'object' && values !== null ? values : {}) as { length?: unknown };
  if (!Number.isSafeInteger(length) || (length as number) < 0) {
    throw new LayerpeelError(place.code, `${place.path} is ${show(values)}; expected a list of numbers or a typed array.`);
  }
  // Entry by entry: an object may claim any length.
  const numbers: number[] = [];
  for (let i = 0; i < (length as number); i++) {
    const value = (values as ArrayLike<unknown>)[i];
    numbers.push(fits(value, bounds) ? value : checkNumber(value, entry(place, i), bounds));
  }
  return Float64Array.from(numbers);
}

export function checkBoolean(value: unknown, place: Place): boolean {
  if (typeof value === 'boolean') return value;
  throw new LayerpeelError(place.code, `${place.path} is ${show(value)}; expected true or false.`);
}
