/**
 * Calibration: whether a prediction made with confidence 0.8 is right in 8 of 10 cases.
 *
 * The confidence is the largest entry of `softmax(z/T)` at a stated temperature `T`. Samples are sorted by it into bins of
 * equal width, `(k/B, (k+1)/B]` (the first one also takes 0), and with the accuracy and the mean confidence of a bin
 *
 *     ECE = Σ_b (n_b / n) |acc_b − conf_b|        MCE = max_b |acc_b − conf_b|        (UL Eq. 103, as a share, not in per cent)
 *     NLL = mean −log p_y                         Brier = mean Σ_j (p_j − 1{j = y})², from 0 to 2
 *
 * Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017) takes the `T` of the smallest NLL. In
 * `β = 1/T` the NLL is convex, with the derivative `mean(E_p[z] − z_y)`, whose root is found by Newton's method in `log β`,
 * kept inside a bracket.
 */

import type { NDArray } from '../array/ndarray.js';
import { eachPiece, eachRow, keep, type Turns } from '../array/rows.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkNumber, option, type Place } from '../check/options.js';
import { drive, driveSync, type Steps } from '../engine/run.js';
import { checkLabelled, type LabelledRows, type Logits, labelledRows } from './rows.js';

export interface CalibrationOptions extends Control {
  /** Logits are divided by it. @default 1, which is refused for logits that are cosines (all within [−1, 1]) */
  readonly temperature?: number | undefined;
  /** Number of bins. @default 15 */
  readonly bins?: number | undefined;
}

/** The reliability diagram: bins of equal width `(k/B, (k+1)/B]`. */
export interface Reliability {
  /** `[B + 1]`. */
  readonly edges: Float64Array;
  /** Samples of each bin, `[B]`. */
  readonly counts: Int32Array;
  /** Mean confidence of each bin, NaN where it is empty. */
  readonly confidence: Float64Array;
  /** Accuracy of each bin, NaN where it is empty. */
  readonly accuracy: Float64Array;
}

export interface Calibration {
  readonly temperature: number;
  /** Expected calibration error, 0 … 1. */
  readonly ece: number;
  /** Largest calibration error of a bin, 0 … 1. */
  readonly mce: number;
  /** Mean negative log-likelihood, in nats. */
  readonly nll: number;
  /** Mean Brier score, 0 … 2. */
  readonly brier: number;
  readonly reliability: Reliability;
}

export interface TemperatureFit {
  /**
   * The temperature of the smallest NLL. It is 0 where every sample's own class has the largest logit (the sharper, the
   * better, without end) and infinite where the labels' logits are no larger than the mean ones.
   */
  readonly temperature: number;
  /** The NLL at that temperature. */
  readonly nll: number;
  /** Steps of the search, each a pass over the logits. */
  readonly iterations: number;
}

/**
 * Calibration of logits `[n, C]` with their labels `[n]`.
 *
 * @throws `LP_OPTION` for logits that all lie within [−1, 1] where no temperature is stated: they are cosines of unit vectors,
 * and their softmax at temperature 1 stays near `1/C` however good the classifier; and for probabilities; `LP_NOT_FINITE` (−Infinity is
 * the logit of a masked class, of probability 0, and refused only where it is a sample's own), `LP_SHAPE`, `LP_LABEL`,
 * `LP_DTYPE`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function calibration(logits: NDArray, labels: Int32Array, options: CalibrationOptions = {}): Promise<Calibration> {
  return drive(calibrationSteps(logits, labels, options, keep), { signal: options?.signal });
}

/** `calibration` on the calling thread. */
export function calibrationSync(logits: NDArray, labels: Int32Array, options: CalibrationOptions = {}): Calibration {
  return driveSync(calibrationSteps(logits, labels, options));
}

/**
 * The temperature at which `softmax(z/T)` has the smallest mean negative log-likelihood of the labels.
 * @throws `LP_NOT_FINITE`, `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_DETACHED`, `LP_OPTION`, `LP_ABORTED`
 */
export async function fitTemperature(logits: NDArray, labels: Int32Array, options: Control = {}): Promise<TemperatureFit> {
  return drive(temperatureSteps(logits, labels, options, keep), { signal: options?.signal });
}

/** `fitTemperature` on the calling thread. */
export function fitTemperatureSync(logits: NDArray, labels: Int32Array, options: Control = {}): TemperatureFit {
  return driveSync(temperatureSteps(logits, labels, options));
}

type Keep = <T extends Logits['data'] | Int32Array>(data: T) => T;

function* calibrationSteps(
  logits: NDArray,
  labels: Int32Array,
  options: CalibrationOptions,
  copy: Keep = (data) => data,
): Steps<Calibration> {
  checkOptions(options, ['temperature', 'bins']);
  const temperature = checkTemperature(options.temperature, option('options.temperature'));
  const bins = checkBins(options.bins, option('options.bins'));
  const checked = checkLabelled(logits, labels);
  const [given, own] = [{ ...checked, data: copy(checked.data) }, copy(checked.labels)];
  if (options.temperature === undefined && (yield* areProbabilities(given))) throw new LayerpeelError('LP_OPTION', PROBABILITIES);
  const rows = yield* labelledRows(given, own, inverse(temperature));
  const calibrated = yield* calibrationOf(yield* binned(rows, own, bins), temperature);
  if (options.temperature === undefined && (yield* areCosines(rows, given)))
    throw new LayerpeelError('LP_OPTION', cosineAdvice(calibrated, rows));
  return calibrated;
}

function* temperatureSteps(
  logits: NDArray,
  labels: Int32Array,
  options: Control,
  copy: Keep = (data) => data,
): Steps<TemperatureFit> {
  checkOptions(options);
  const checked = checkLabelled(logits, labels);
  const [given, own] = [{ ...checked, data: copy(checked.data) }, copy(checked.labels)];
  if (yield* areProbabilities(given)) throw new LayerpeelError('LP_OPTION', PROBABILITIES);
  const { fitted } = yield* fit(given, own);
  return fitted;
}

export const checkTemperature = (value: unknown, place: Place): number => checkNumber(value ?? 1, place, { above: 0 });

/** `β = 1/T`, kept within the range of a double. */
export const inverse = (temperature: number): number => Math.min(1 / temperature, Number.MAX_VALUE);

export const checkBins = (bins: unknown, place: Place): number =>
  checkNumber(bins ?? 15, place, { min: 1, max: 1e6, integer: true });

/** Whether logits are cosines of unit vectors: none exceeds 1 beyond rounding, but for classes that are masked. */
export function* areCosines({ largest }: LabelledRows, { data }: Logits): Turns<boolean> {
  const bound = 1 + 1e-4;
  if (!largest.every((value) => value <= bound)) return false;
  let within = true;
  yield* eachPiece(data.length, (begin, end) => {
    within &&= data.subarray(begin, end).every((value) => Math.abs(value) <= bound || value === Number.NEGATIVE_INFINITY);
  });
  return within;
}

/** Whether logits are probabilities: of several samples, none negative, each row of sum 1 to what half precision leaves of it. */
export function* areProbabilities({ data, samples, classes }: Logits): Turns<boolean> {
  let so = samples > 1;
  yield* eachRow(samples, classes, (_, offset) => {
    if (!so) return;
    let sum = 0;
    for (let j = 0; j < classes; j++) {
      const value = data[offset + j] as number;
      so &&= value >= 0;
      sum += value;
    }
    so &&= Math.abs(sum - 1) <= 2e-3;
  });
  return so;
}

export const PROBABILITIES =
  'The logits are probabilities: none is negative, and every row sums to 1. Pass what they were before the softmax, or their ' +
  'logarithms (-Infinity for 0 will do).';

export const cosineAdvice = ({ ece, temperature }: Calibration, { confidence }: LabelledRows): string =>
  `All logits lie within [−1, 1], as cosines do: at temperature ${temperature} no confidence exceeds ` +
  `${confidence.reduce((most, value) => Math.max(most, value), 0).toFixed(3)}, whatever the classifier knows, and ECE ` +
  `(${ece.toFixed(3)}) says nothing. State the temperature (the inverse of the scale the network was trained with), or fit one ` +
  'with fitTemperature.';

/** The bin of a confidence: `(k/B, (k+1)/B]`. */
function binOf(confidence: number, bins: number): number {
  const bin = Math.min(bins - 1, Math.max(0, Math.ceil(confidence * bins) - 1));
  // The product may round across an edge.
  if (bin > 0 && confidence <= bin / bins) return bin - 1;
  if (bin < bins - 1 && confidence > (bin + 1) / bins) return bin + 1;
  return bin;
}

/** What calibration asks of samples, however often each counts. */
export interface Binned extends Pick<LabelledRows, 'confidence' | 'nll' | 'brier'> {
  readonly bins: number;
  /** The bin of each. */
  readonly bin: Int32Array;
  /** Whether each is decided right, 0 or 1. */
  readonly right: Uint8Array;
}

export function* binned(rows: LabelledRows, labels: Int32Array, bins: number): Turns<Binned> {
  const { predicted, confidence, nll, brier } = rows;
  const [bin, right] = [new Int32Array(labels.length), new Uint8Array(labels.length)];
  yield* eachPiece(labels.length, (begin, end) => {
    for (let i = begin; i < end; i++) {
      bin[i] = binOf(confidence[i] as number, bins);
      right[i] = predicted[i] === labels[i] ? 1 : 0;
    }
  });
  return { bins, bin, right, confidence, nll, brier };
}

/** Sums over samples: of each bin, and of all. */
interface Tally {
  readonly counts: Int32Array;
  readonly confidence: Float64Array;
  readonly accuracy: Float64Array;
  samples: number;
  nll: number;
  brier: number;
}

function tally(
  { bin, right, confidence, nll, brier }: Binned,
  weights: Int32Array | undefined,
  begin: number,
  end: number,
  to: Tally,
) {
  const { counts, confidence: confidences, accuracy } = to;
  let { samples, nll: nlls, brier: briers } = to;
  for (let i = begin; i < end; i++) {
    const weight = weights ? (weights[i] as number) : 1;
    if (weight === 0) continue;
    const b = bin[i] as number;
    counts[b] = (counts[b] as number) + weight;
    confidences[b] = (confidences[b] as number) + weight * (confidence[i] as number);
    accuracy[b] = (accuracy[b] as number) + weight * (right[i] as number);
    samples += weight;
    nlls += weight * (nll[i] as number);
    briers += weight * (brier[i] as number);
  }
  Object.assign(to, { samples, nll: nlls, brier: briers });
}

/** @param weights how often each sample counts. @default once */
export function* calibrationOf(samples: Binned, temperature: number, weights?: Int32Array): Turns<Calibration> {
  const { bins, bin } = samples;
  const sums: Tally = {
    counts: new Int32Array(bins),
    confidence: new Float64Array(bins),
    accuracy: new Float64Array(bins),
    ...{ samples: 0, nll: 0, brier: 0 },
  };
  yield* eachPiece(bin.length, (begin, end) => tally(samples, weights, begin, end, sums));
  const { counts, confidence, accuracy } = sums;
  let [ece, mce] = [0, 0];
  for (let bin = 0; bin < bins; bin++) {
    const count = counts[bin] as number;
    const gap = Math.abs((accuracy[bin] as number) - (confidence[bin] as number));
    ece += gap / sums.samples;
    if (count > 0) mce = Math.max(mce, gap / count);
    confidence[bin] = (confidence[bin] as number) / count;
    accuracy[bin] = (accuracy[bin] as number) / count;
  }
  const edges = Float64Array.from({ length: bins + 1 }, (_, k) => k / bins);
  return {
    temperature,
    ece,
    mce,
    nll: sums.nll / sums.samples,
    brier: sums.brier / sums.samples,
    reliability: { edges, counts, confidence, accuracy },
  };
}

/** The largest change of `log β` in a step, and the change after which the search ends (Newton then squares the error). */
const [LONGEST, CLOSE] = [Math.log(16), 1e-8];
const MOST_ITERATIONS = 400;

/** The fit, and the rows at its temperature (at infinite `β`, that is temperature 0, there are none). */
export function* fit(logits: Logits, labels: Int32Array, name = 'logits'): Steps<{ fitted: TemperatureFit; rows?: LabelledRows }> {
  const flat = yield* labelledRows(logits, labels, 0, name);
  if (slope(flat) >= 0)
    return { fitted: { temperature: Number.POSITIVE_INFINITY, nll: mean(flat.nll), iterations: 0 }, rows: flat };
  if (flat.missed.every((value) => value === 0)) {
    return { fitted: { temperature: 0, nll: mean(flat.ties.map(Math.log)), iterations: 0 } };
  }
  let [low, high] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]; // of log β
  let at = -Math.log(-mean(flat.mean));
  for (let iterations = 1; iterations <= MOST_ITERATIONS; iterations++) {
    const rows = yield* labelledRows(logits, labels, Math.exp(at), name);
    const [first, second] = [slope(rows), mean(rows.variance)];
    if (first > 0) high = at;
    else low = at;
    const newton = at + Math.max(-LONGEST, Math.min(LONGEST, -first / second || 0));
    const bracketed = Number.isFinite(low) && Number.isFinite(high);
    const next = bracketed && !(newton >= low && newton <= high) ? (low + high) / 2 : newton;
    const settled = Math.abs(next - at) <= CLOSE;
    at = next;
    if (!settled) continue;
    const last = yield* labelledRows(logits, labels, Math.exp(at), name);
    return { fitted: { temperature: Math.exp(-at), nll: mean(last.nll), iterations }, rows: last };
  }
  throw new LayerpeelError(
    'LP_INTERNAL',
    `The temperature did not settle in ${MOST_ITERATIONS} steps; please report these logits.`,
  );
}

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The derivative of the NLL by `log β` (at `β = 0` by `β`): `mean(E_p[x] − x_y)`. */
const slope = ({ mean: expected, missed }: LabelledRows): number => mean(expected.map((value, i) => value + (missed[i] as number)));
