/**
 * Loops over whole arrays on the event loop, in pieces between which it turns: a generator yields undefined where it may, and
 * `drive` (src/engine/run.ts) lets it.
 */
import { types } from 'node:util';
import { LayerpeelError } from '../check/errors.js';
import { type Float, shared } from './ndarray.js';

/** Elements of one turn of the event loop: a millisecond or two. */
export const ELEMENTS_PER_TURN = 2 ** 17;

/** What turns of the event loop interrupt. */
export type Turns<T> = Generator<undefined, T, unknown>;

/** Runs to the end without a turn. */
export function atOnce<T>(turns: Turns<T>): T {
  let next = turns.next();
  while (!next.done) next = turns.next();
  return next.value;
}

/** Calls `body` with each row and the offset of its first element, and lets the event loop turn now and then. */
export function* eachRow(rows: number, columns: number, body: (row: number, offset: number) => void): Turns<void> {
  const most = Math.max(1, Math.floor(ELEMENTS_PER_TURN / Math.max(1, columns)));
  for (let first = 0; first < rows; first += most) {
    if (first > 0) yield;
    for (let row = first; row < Math.min(rows, first + most); row++) body(row, row * columns);
  }
}

/** Calls `body` with the bounds of one piece of an array after another, and lets the event loop turn between them. */
export function* eachPiece(length: number, body: (begin: number, end: number) => void): Turns<void> {
  for (let begin = 0; begin < length; begin += ELEMENTS_PER_TURN) {
    if (begin > 0) yield;
    body(begin, Math.min(length, begin + ELEMENTS_PER_TURN));
  }
}

/** A copy of a caller's array that later turns of the event loop find as it is now; shared memory is read in place. */
export const keep = <T extends Float | Int32Array>(data: T): T => (types.isSharedArrayBuffer(data.buffer) ? data : shared(data));

/** @throws `LP_NOT_FINITE` naming the first entry of a row that is not a finite number, `LP_OVERFLOW` where all of them are */
export function refuseRow(data: Float, row: number, columns: number, name: string): never {
  const column = data.subarray(row * columns, (row + 1) * columns).findIndex((value) => !Number.isFinite(value));
  if (column === -1) throw new LayerpeelError('LP_OVERFLOW', `Row ${row} of ${name} is too large to compute with; scale it down.`);
  throw new LayerpeelError(
    'LP_NOT_FINITE',
    `${name}[${row}, ${column}] is ${data[row * columns + column]}; expected finite numbers.`,
  );
}

/** Lengths of rows. */
export function* norms(data: Float, [samples, dim]: readonly [number, number], name: string): Turns<Float64Array> {
  const lengths = new Float64Array(samples);
  yield* eachRow(samples, dim, (row, offset) => {
    let largest = 0;
    let zeros = 0;
    for (let j = 0; j < dim; j++) {
      const value = data[offset + j] as number;
      zeros += 0 * value;
      largest = Math.max(largest, Math.abs(value));
    }
    if (zeros !== 0) refuseRow(data, row, dim, name);
    let sum = 0; // of squares over the largest: they neither overflow nor vanish
    for (let j = 0; j < dim; j++) sum += ((data[offset + j] as number) / (largest || 1)) ** 2;
    lengths[row] = largest * Math.sqrt(sum);
  });
  return lengths;
}
