/**
 * Computations of several native operations, written once for both worlds: a generator yields tasks and gets their results,
 * and either `drive` awaits each of them or `driveSync` runs it on the spot. Between long loops of its own it yields
 * undefined, where `drive` lets the event loop turn.
 */
import { aborted } from './errors.js';
import { type Control, run, runSync, type Task } from './native.js';

export type Steps<T> = Generator<Task<never, unknown> | undefined, T, unknown>;

/** One native operation as a step: `const sums = yield* step(task)`. */
export function* step<Raw, T>(task: Task<Raw, T>): Steps<T> {
  return (yield task as unknown as Task<never, unknown>) as T;
}

/** Runs the steps off the event loop; `signal` stops between and inside of them. */
export async function drive<T>(steps: Steps<T>, control?: Control): Promise<T> {
  let next = steps.next();
  while (!next.done) next = steps.next(await (next.value ? run(next.value, control) : turn(control)));
  return next.value;
}

/** Runs the steps on the calling thread. */
export function driveSync<T>(steps: Steps<T>): T {
  let next = steps.next();
  while (!next.done) next = steps.next(next.value && runSync(next.value));
  return next.value;
}

/** One turn of the event loop. */
async function turn({ signal }: Control = {}): Promise<void> {
  await new Promise(setImmediate);
  if (signal?.aborted) throw aborted(signal);
}
