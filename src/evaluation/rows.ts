/**
 * One pass over rows of logits `z` at an inverse temperature `β`: of `p = softmax(βz)` what decisions, calibration and scores
 * are made of, by the engine (native/ops/loss/softmax).
 */
import { checkArray, checkLabels, type Float, type NDArray, showShape } from '../array/ndarray.js';
import { LayerpeelError } from '../check/errors.js';
import { type Steps, step } from '../engine/run.js';

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
  /** `log(p_max / (1 − p_max))`, which tells samples apart where `p_max` rounds to 1. */
  readonly logOdds: Float64Array;
  /** `E_p[x] − x_max`, where `x = βz`, or `z` for `β = 0`. */
  readonly mean: Float64Array;
  /** `Var_p[x]`; not for `β = 0`. */
  readonly variance: Float64Array;
  /** How many logits equal the largest one. */
  readonly ties: Float64Array;
}

/** What labels add to them. */
export interface LabelledRows extends Rows {
  /** `−log p_y`. */
  readonly nll: Float64Array;
  /** `Σ_j (p_j − 1{j = y})²`. */
  readonly brier: Float64Array;
  /** `x_max − x_y`. */
  readonly missed: Float64Array;
}

/** What the engine is given, the labels or none. */
interface EngineRows {
  readonly logits: Float;
  readonly labels: Int32Array | undefined;
  readonly samples: number;
  readonly classes: number;
}

declare module '../engine/load.js' {
  interface Engine {
    softmaxRows(mode: Mode, rows: EngineRows, plan: { readonly beta: number }): Result<Rows & Partial<LabelledRows>>;
  }
}

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
  const outside = labels instanceof Int32Array && labels.length > 0 ? labels.indexOf(-1) : -1;
  if (outside !== -1) {
    throw new LayerpeelError(
      'LP_LABEL',
      `labels[${outside}] is -1, as samples out of distribution are marked. Pass the logits of these by themselves, as ` +
        'outOfDistribution: { logits } (on the command line --ood-logits), and the others with labels 0 … C−1.',
    );
  }
  return { ...checked, ...checkLabels(labels, checked.samples, checked.classes, 'logits') };
}

export const softmaxRows = (logits: Logits, beta: number, name: string): Steps<Rows> => pass(logits, undefined, beta, name);

export const labelledRows = (logits: Logits, labels: Int32Array, beta: number, name = 'logits'): Steps<LabelledRows> =>
  pass(logits, labels, beta, name);

function* pass(logits: Logits, labels: Int32Array | undefined, beta: number, name: string): Steps<LabelledRows> {
  const { data, samples, classes } = logits;
  const rows = yield* step({
    call: (engine, mode) => engine.softmaxRows(mode, { logits: data, labels, samples, classes }, { beta }),
    wrap: (raw: Rows & Partial<LabelledRows>) => raw as LabelledRows,
  });
  const bad = rows.confidence.findIndex(Number.isNaN);
  if (bad !== -1) refuseLogits(data.subarray(bad * classes, (bad + 1) * classes), bad, labels?.[bad], name);
  return rows;
}

/** Says what is wrong with a row; −Infinity is that of a masked class, of probability 0. */
export function refuseLogits(row: Float, sample: number, label: number | undefined, name: string): never {
  const odd = row.findIndex((value) => Number.isNaN(value) || value === Number.POSITIVE_INFINITY);
  const fault =
    odd !== -1
      ? `${name}[${sample}, ${odd}] is ${row[odd]}; expected finite numbers, or -Infinity of a class that is masked.`
      : row.every((value) => value === Number.NEGATIVE_INFINITY)
        ? `Row ${sample} of ${name} is -Infinity throughout; expected at least one class that is not masked.`
        : `${name}[${sample}, ${label}] is -Infinity, but ${label} is the label of sample ${sample}: a class that is masked has probability 0.`;
  throw new LayerpeelError('LP_NOT_FINITE', fault);
}
