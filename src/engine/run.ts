/**
 * Runs native operations, at once or off the event loop. Computations of several of them are written once for both worlds:
 * a generator yields tasks and gets their results, and either `drive` awaits each of them or `driveSync` runs it on the spot.
 * Between long loops of its own it yields undefined, where `drive` lets the event loop turn.
 */
import { types } from 'node:util';
import type { Control } from '../check/control.js';
import { aborted, type ErrorCode, makeError } from '../check/errors.js';
import { type Engine, engine, type Mode, type Pending, type Result } from './load.js';
import { deviceAt, opening, type Place } from './place.js';

/** An operation whose arguments have been checked: how to run it, and what to make of the result. */
export interface Task<Raw, T> {
  readonly call: (engine: Engine, mode: Mode) => Result<Raw>;
  readonly wrap: (raw: Raw) => T;
  /** Where it runs. @default on the CPU */
  readonly place?: Place | undefined;
}

/** What V8 says of an array that cannot be had. */
const NO_MEMORY = /^(Array buffer allocation failed|Invalid (typed )?array (buffer )?length)/i;

/** The engine throws plain errors that carry a code: the typed error of that code; of memory, LP_MEMORY; anything else as it is. */
function typed(error: unknown): unknown {
  if (types.isNativeError(error) && error.name === 'RangeError' && NO_MEMORY.test(error.message)) {
    return makeError('LP_MEMORY', `There is not enough memory for an array of this computation (${error.message}).`, {
      cause: error,
    });
  }
  const { code, message } = error as Error & { code?: ErrorCode };
  // Of any realm: the addon is loaded in the first, whoever calls it.
  const plain = types.isNativeError(error) && error.name === 'Error';
  return plain && code?.startsWith('LP_') ? makeError(code, message, { cause: error }) : error;
}

/** Runs a task on the calling thread. */
export function runSync<Raw, T>(task: Task<Raw, T>): T {
  try {
    const { place } = task;
    const mode = place && { atOnce: true, device: deviceAt(place).handle, resident: place.resident };
    return task.wrap(task.call(engine(), mode) as Raw);
  } catch (error) {
    throw typed(error);
  }
}

/** What to call when a signal aborts: one listener a signal, however many jobs share it. */
const cancels = new WeakMap<AbortSignal, Set<() => void>>();

function listen(signal: AbortSignal): Set<() => void> {
  const waiting = new Set<() => void>();
  cancels.set(signal, waiting);
  signal.addEventListener('abort', () => {
    for (const cancel of waiting) cancel();
  });
  return waiting;
}

/** Runs a task on the package's threads. */
export async function run<Raw, T>(task: Task<Raw, T>, { signal, onProgress }: Control = {}): Promise<T> {
  if (signal?.aborted) throw aborted(signal);
  let pending: Pending<Raw> | undefined;
  let thrown: { error: unknown } | undefined; // by onProgress
  const cancel = () => pending?.cancel();
  const progress = (share: number) => {
    try {
      onProgress?.(share);
    } catch (error) {
      thrown ??= { error };
      cancel();
    }
  };
  const waiting = signal && (cancels.get(signal) ?? listen(signal));
  waiting?.add(cancel);
  try {
    const { place } = task;
    // A call takes its arrays as they are when it is made: nothing is awaited before it, unless the device is being opened.
    const wait = place && opening(place);
    if (wait) await wait;
    const device = place && { device: deviceAt(place).handle, resident: place.resident };
    if (signal?.aborted) throw aborted(signal);
    const begin = () => {
      pending = task.call(engine(), { ...(onProgress && { progress }), ...device }) as Pending<Raw>;
      return pending.promise;
    };
    const raw = await (device ? withRoom(begin) : begin());
    if (thrown) throw thrown.error;
    return task.wrap(raw);
  } catch (error) {
    if (thrown) throw thrown.error;
    if (signal?.aborted) throw aborted(signal);
    throw typed(error);
  } finally {
    waiting?.delete(cancel);
  }
}

/**
 * Arrays of a device that nobody holds any more are freed by the garbage collector, on the event loop: where a device has
 * no memory, that is given one turn for it.
 */
async function withRoom<T>(begin: () => Promise<T>): Promise<T> {
  try {
    return await begin();
  } catch (error) {
    if ((error as { code?: ErrorCode }).code !== 'LP_MEMORY') throw error;
    await new Promise(setImmediate);
    return begin();
  }
}

export type Steps<T> = Generator<Task<never, unknown> | undefined, T, unknown>;

/** One native operation as a step: `const sums = yield* step(task)`. */
export function* step<Raw, T>(task: Task<Raw, T>): Steps<T> {
  return (yield task as unknown as Task<never, unknown>) as T;
}

/** Runs the steps off the event loop; `signal` stops between and inside of them. What fails is thrown where it was yielded. */
export async function drive<T>(steps: Steps<T>, control?: Control): Promise<T> {
  return begun(steps, control)();
}

/** `drive` in two: up to the first step at once, so that what is checked before it is refused at once; the rest when called. */
export function begun<T>(steps: Steps<T>, control?: Control): () => Promise<T> {
  let next: ReturnType<typeof steps.next>;
  try {
    next = steps.next();
  } catch (error) {
    throw typed(error);
  }
  return async () => {
    try {
      while (!next.done) {
        let result: unknown;
        try {
          result = await (next.value ? run(next.value, control) : turn(control));
        } catch (error) {
          next = steps.throw(error);
          continue;
        }
        next = steps.next(result);
      }
      return next.value;
    } catch (error) {
      throw typed(error);
    }
  };
}

/** Runs the steps on the calling thread. */
export function driveSync<T>(steps: Steps<T>): T {
  try {
    let next = steps.next();
    while (!next.done) {
      let result: unknown;
      try {
        result = next.value && runSync(next.value);
      } catch (error) {
        next = steps.throw(error);
        continue;
      }
      next = steps.next(result);
    }
    return next.value;
  } catch (error) {
    throw typed(error);
  }
}

/** One turn of the event loop. */
async function turn({ signal }: Control = {}): Promise<void> {
  await new Promise(setImmediate);
  if (signal?.aborted) throw aborted(signal);
}
