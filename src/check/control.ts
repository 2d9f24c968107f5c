/** What every asynchronous function takes beside its own options: how it is stopped, and who hears how far it is. */
import { LayerpeelError } from './errors.js';
import { checkKeys, inside, option, type Place, show } from './options.js';

/** Options that every asynchronous function takes. */
export interface Control {
  /** Stops the operation, which then rejects with `LP_ABORTED`. */
  readonly signal?: AbortSignal | undefined;
  /** Called on the event loop with the share of the work done, 0 … 1, now and then. */
  readonly onProgress?: ((share: number) => void) | undefined;
}

const controlKeys = ['signal', 'onProgress'] as const;

/** Checks the options of a function: its own keys, and `Control`. Returns them. */
export function checkOptions(options: unknown, keys: readonly string[] = [], place: Place = option('options')) {
  const given = checkKeys(options, [...keys, ...controlKeys], place);
  const { signal, onProgress } = given;
  if (signal !== undefined && !isSignal(signal)) {
    throw new LayerpeelError(
      place.code,
      `${inside(place, 'signal').path} is ${show(signal)}; expected an AbortSignal, such as that of an AbortController.`,
    );
  }
  checkCallback(onProgress, inside(place, 'onProgress'));
  return given as Record<string, unknown> & Control;
}

/** An AbortSignal, of whatever realm: test runners have their own. */
const isSignal = (value: unknown): boolean => {
  const { aborted, addEventListener } = Object(value) as Partial<AbortSignal>;
  return typeof aborted === 'boolean' && typeof addEventListener === 'function';
};

/** Checks a function that may be left out. */
export function checkCallback(value: unknown, place: Place): void {
  if (value === undefined || typeof value === 'function') return;
  throw new LayerpeelError(place.code, `${place.path} is ${show(value)}; expected a function.`);
}
