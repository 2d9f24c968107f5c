/**
 * One pass over rows of logits `z` at an inverse temperature `β`: of `p = softmax(βz)` what decisions, calibration and scores
 * are made of.
 *
 * All of it comes from the log-odds of the prediction, `log(p_max / (1 − p_max)) = β(z₁ − z₂) − log Σ_{j≠1} e^{β(z_j − z₂)}`
 * with the two largest logits `z₁ ≥ z₂`, which neither overflow nor saturate: where `p_max` rounds to 1 they still tell which
 * of two samples is the more certain one.
 */
import { checkArray, checkLabels, type Float, type NDArray, showShape } from '../array/ndarray.js';
import { LayerpeelError } from '../errors.js';
import type { Steps } from '../tasks.js';

export interface Logits {
  readonly data: Float;
  readonly samples: number;
  readonly classes: number;
}

/** By samples. */
export interface Rows {
  /** The class of the largest logit, the first of several. */
  readonly predicted: Int32Array;
  /** The largest logit. */
  readonly largest: Float64Array;
  /** `p_max`. */
  readonly confidence: Float64Array;
  /** `log(p_max / (1 − p_max))`. */
  readonly logOdds: Float64Array;
}

/** What labels add to them. */
export interface LabelledRows extends Rows {
  /** `−log p_y`. */
  readonly nll: Float64Array;
  /** `Σ_j (p_j − 1{j = y})²`. */
  readonly brier: Float64Array;
}

/** Logits of one turn of the event loop: a millisecond or two. */
const ELEMENTS_PER_TURN = 2 ** 17;

export function checkLogits(logits: unknown, name: string): Logits {
  const { shape, data } = checkArray(logits, name, 2);
  const [samples, classes] = shape as [number, number];
  if (samples < 1 || classes < 2) {
    throw new LayerpeelError('LP_SHAPE', `${name} are ${showShape(shape)}; expected at least one sample and two classes.`);
  }
  return { data, samples, classes };
}

export function checkLabelled(logits: NDArray, labels: Int32Array): Logits & { labels: Int32Array; counts: Int32Array } {
  const checked = checkLogits(logits, 'logits');
  return { ...checked, ...checkLabels(labels, checked.samples, checked.classes, 'logits') };
}

/** A copy of a caller's array that later turns of the event loop find as it is now; shared memory is read in place. */
export const keep = <T extends Float | Int32Array>(data: T): T =>
  data.buffer instanceof SharedArrayBuffer ? data : (data.slice() as T);

/** Calls `body` with each row's offset, and lets the event loop turn now and then. */
export function* eachRow(samples: number, columns: number, body: (row: number, offset: number) => void): Steps<void> {
  const most = Math.max(1, Math.floor(ELEMENTS_PER_TURN / Math.max(1, columns)));
  for (let first = 0; first < samples; first += most) {
    if (first > 0) yield;
    for (let row = first; row < Math.min(samples, first + most); row++) body(row, row * columns);
  }
}

/** @throws `LP_NOT_FINITE` naming the first entry of a row that is not a finite number */
export function refuseRow(data: Float, row: number, columns: number, name: string): never {
  const column = data.subarray(row * columns, (row + 1) * columns).findIndex((value) => !Number.isFinite(value));
  if (column === -1)
    throw new LayerpeelError('LP_NOT_FINITE', `Row ${row} of ${name} spans more than a double holds; scale it down.`);
  throw new LayerpeelError(
    'LP_NOT_FINITE',
    `${name}[${row}, ${column}] is ${data[row * columns + column]}; expected finite numbers. Leave out such samples, or look where they come from.`,
  );
}

export function* labelledRows(logits: Logits, labels: Int32Array, beta: number): Steps<LabelledRows> {
  const { samples } = logits;
  const [nll, brier] = [new Float64Array(samples), new Float64Array(samples)];
  const rows = yield* softmaxRows(logits, beta, 'logits', (row, offset, { top, first, second, sum, squares, rest }) => {
    const label = labels[row] as number;
    const z = logits.data[offset + label] as number;
    const others = rest / (1 + rest); // 1 − p_max
    const sumOfSquares = squares * (others / sum) ** 2;
    nll[row] = Math.log1p(rest) + (beta === 0 ? 0 : beta * (first - z));
    if (label === top) {
      brier[row] = others ** 2 + sumOfSquares;
    } else {
      const p = (Math.exp(beta * (z - second)) / sum) * others;
      brier[row] = (1 / (1 + rest)) ** 2 + sumOfSquares - p ** 2 + (1 - p) ** 2;
    }
  });
  return { ...rows, nll, brier };
}

interface Row {
  /** The column of the largest logit, it, and the largest of the others. */
  readonly top: number;
  readonly first: number;
  readonly second: number;
  /** `Σ_{j≠top} e^{β(z_j − second)}` and the same of squares. */
  readonly sum: number;
  readonly squares: number;
  /** `(1 − p_max) / p_max`. */
  readonly rest: number;
}

type FloatTriple = [Float64Array, Float64Array, Float64Array];

export function* softmaxRows(
  logits: Logits,
  beta: number,
  name: string,
  visit?: (row: number, offset: number, of: Row) => void,
): Steps<Rows> {
  const { data, samples, classes } = logits;
  const predicted = new Int32Array(samples);
  const [largest, confidence, logOdds] = Array.from({ length: 3 }, () => new Float64Array(samples)) as FloatTriple;
  yield* eachRow(samples, classes, (row, offset) => {
    let [top, first, second, zeros] = [0, Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
    for (let j = 0; j < classes; j++) {
      const z = data[offset + j] as number;
      zeros += 0 * z;
      if (z > first) {
        second = first;
        first = z;
        top = j;
      } else if (z > second) {
        second = z;
      }
    }
    if (zeros !== 0) refuseRow(data, row, classes, name);
    let [sum, squares] = [0, 0];
    for (let j = 0; j < classes; j++) {
      if (j === top) continue;
      const share = Math.exp(beta * ((data[offset + j] as number) - second));
      sum += share;
      squares += share * share;
    }
    const lead = beta === 0 ? 0 : beta * (first - second);
    const rest = Math.exp(-lead) * sum;
    predicted[row] = top;
    largest[row] = first;
    confidence[row] = 1 / (1 + rest);
    logOdds[row] = lead - Math.log(sum);
    visit?.(row, offset, { top, first, second, sum, squares, rest });
  });
  return { predicted, largest, confidence, logOdds };
}
