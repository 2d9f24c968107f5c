/**
 * Out-of-distribution detection: how well a score, large for samples of the kind a network was trained on, tells them from
 * others. Measures, with a named positive class (`P` positives, `N` negatives) and samples of equal score always taken together:
 *
 *     FPR95   share of negatives taken for positive at the strictest threshold that takes at least 95% of positives so
 *     AUROC   share of (positive, negative) pairs that the score puts in order, ties by half: the same either way round
 *     AUPR    average precision Σ_k (R_k − R_{k−1}) P_k over distinct thresholds; `auprTrapezoid` joins the points (R_k, P_k),
 *             begun at (0, 1), by straight lines instead
 *
 * The literature uses both conventions: with in-distribution samples as the positive class FPR95 is the share of the others
 * accepted (UL Table 3, Liu et al.); with the others as the positive class, of in-distribution samples rejected (OpenOOD).
 * They differ widely.
 */

import { describe } from '../array/ndarray.js';
import { atOnce, eachRow, type Turns } from '../array/rows.js';
import { LayerpeelError } from '../check/errors.js';
import { checkChoice, checkKeys, option, show } from '../check/options.js';

export type Positive = 'in-distribution' | 'out-of-distribution';

export interface DetectionOptions {
  /** The class that is looked for. */
  readonly positive: Positive;
}

export interface Detection {
  readonly positive: Positive;
  /** Share of negatives taken for positive where 95% of positives are found. */
  readonly fpr95: number;
  /** The score at that threshold, which itself counts as positive. */
  readonly threshold: number;
  readonly auroc: number;
  /** Average precision. */
  readonly aupr: number;
  /** Area under the precision-recall curve by trapezoids. */
  readonly auprTrapezoid: number;
}

/**
 * FPR95, AUROC and AUPR of any score that is large in distribution (negate one that is small there).
 * @param options whose `positive` class must be named
 * @throws `LP_OPTION` without it; `LP_SHAPE` for a side without samples; `LP_NOT_FINITE` for NaN (infinite scores rank like others); `LP_DTYPE`
 */
export function detection(
  inDistribution: ArrayLike<number>,
  outOfDistribution: ArrayLike<number>,
  options: DetectionOptions,
): Detection {
  const positive = checkChoice(
    checkKeys(options, ['positive'], option('options')).positive,
    ['in-distribution', 'out-of-distribution'],
    option('options.positive'),
  );
  const sides = [checkScores(inDistribution, 'inDistribution'), checkScores(outOfDistribution, 'outOfDistribution')] as const;
  return atOnce(detectionOf(rank(sides), positive));
}

export function checkScores(scores: ArrayLike<number>, name: string): Float64Array {
  if (!(Array.isArray(scores) || (ArrayBuffer.isView(scores) && !(scores instanceof DataView)))) {
    throw new LayerpeelError('LP_DTYPE', `${name} is ${describe(scores)}; expected a typed array or a list of numbers.`);
  }
  const odd = Array.prototype.findIndex.call(scores, (value) => typeof value !== 'number');
  if (odd !== -1) throw new LayerpeelError('LP_DTYPE', `${name}[${odd}] is ${show(scores[odd])}; expected a number.`);
  const values = Float64Array.from(scores);
  if (values.length === 0) throw new LayerpeelError('LP_SHAPE', `${name} has no scores; expected at least one.`);
  const bad = values.findIndex(Number.isNaN);
  if (bad !== -1)
    throw new LayerpeelError('LP_NOT_FINITE', `${name}[${bad}] is NaN; expected numbers (infinite ones rank like others).`);
  return values;
}

/** Scores of both sides in one ascending order. */
export interface Ranking {
  /** Samples by their score, those in distribution first: `i < inside` is one of them. */
  readonly order: Int32Array;
  /** How many samples of the order come before the end of each group of equal scores. */
  readonly ends: Int32Array;
  /** By samples: the score that thresholds are given in. */
  readonly shown: Float64Array;
  readonly inside: number;
}

/** Both sides' scores, those in distribution first. */
export type Sides = readonly [inDistribution: Float64Array, outOfDistribution: Float64Array];

/** @param shown scores in the same order in which thresholds are given */
export function rank(sides: Sides, shown: Sides = sides): Ranking {
  const [scores, inside] = [joined(sides), sides[0].length];
  // Equal infinities have no difference; NaN leaves their order as it is.
  const order = Int32Array.from(scores.keys()).sort((a, b) => (scores[a] as number) - (scores[b] as number));
  const ends = order
    .map((_, i) => i + 1)
    .filter((end) => end === order.length || scores[order[end] as number] !== scores[order[end - 1] as number]);
  return { order, ends, shown: joined(shown), inside };
}

function joined([inDistribution, outOfDistribution]: Sides): Float64Array {
  const both = new Float64Array(inDistribution.length + outOfDistribution.length);
  both.set(inDistribution);
  both.set(outOfDistribution, inDistribution.length);
  return both;
}

/** @param weights how often each sample counts, those in distribution first. @default once */
export function* detectionOf({ order, ends, shown, inside }: Ranking, positive: Positive, weights?: Int32Array): Turns<Detection> {
  const outside = order.length - inside;
  const [positives, negatives] = positive === 'in-distribution' ? [inside, outside] : [outside, inside];
  const needed = Math.ceil((19 * positives) / 20);
  let [found, taken] = [0, 0]; // positives and negatives at or beyond the threshold
  let [fpr95, threshold] = [Number.NaN, Number.NaN];
  let [pairs, aupr, trapezoid, precision] = [0, 0, 0, 1];
  yield* eachRow(ends.length, Math.ceil(order.length / ends.length), (k) => {
    // From the end that speaks for the positive class.
    const group = positive === 'in-distribution' ? ends.length - 1 - k : k;
    let [more, others] = [0, 0];
    for (let i = group === 0 ? 0 : (ends[group - 1] as number); i < (ends[group] as number); i++) {
      const sample = order[i] as number;
      const weight = weights ? (weights[sample] as number) : 1;
      if (sample < inside === (positive === 'in-distribution')) more += weight;
      else others += weight;
    }
    if (more + others === 0) return;
    pairs += others * (found + more / 2);
    found += more;
    taken += others;
    const before = precision;
    precision = found / (found + taken);
    aupr += (more / positives) * precision;
    trapezoid += (more / positives) * ((before + precision) / 2);
    if (found >= needed && Number.isNaN(fpr95)) {
      fpr95 = taken / negatives;
      threshold = shown[order[(ends[group] as number) - 1] as number] as number;
    }
  });
  return { positive, fpr95, threshold, auroc: pairs / positives / negatives, aupr, auprTrapezoid: trapezoid };
}

export interface ScoreHistogram {
  /** `[bins + 1]`, of equal width. */
  readonly edges: Float64Array;
  /** Samples of each bin, `[bins]`. */
  readonly inDistribution: Int32Array;
  readonly outOfDistribution: Int32Array;
}

/** Both sides' scores in common bins, for figures as UL Figs. 3 and 16–18; infinite ones are in the outermost. */
export function histogramOf([inDistribution, outOfDistribution]: Sides, bins: number): ScoreHistogram {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const values of [inDistribution, outOfDistribution]) {
    for (const value of values) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) [low, high] = [0, 0]; // none is finite
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const width = (high - low) / bins;
  const count = (values: Float64Array) => {
    const counts = new Int32Array(bins);
    for (const value of values) {
      const bin = Math.max(0, Math.min(bins - 1, Math.floor((value - low) / width)));
      counts[bin] = (counts[bin] as number) + 1;
    }
    return counts;
  };
  return {
    edges: Float64Array.from({ length: bins + 1 }, (_, k) => (k === bins ? high : low + k * width)),
    inDistribution: count(inDistribution),
    outOfDistribution: count(outOfDistribution),
  };
}
