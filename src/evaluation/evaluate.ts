/**
 * Evaluation of a trained classifier on a test set: accuracy, calibration, decision rules and out-of-distribution detection,
 * with bootstrap intervals. Formulas and sources are in the files of the parts.
 */

import { types } from 'node:util';
import { checkArray, type Float, isLeftOut, type NDArray } from '../array/ndarray.js';
import { eachRow, keep, type Turns } from '../array/rows.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, checkNumber, checkNumbers, inside, option } from '../check/options.js';
import { checkSeed } from '../check/quantities.js';
import { begun, drive, driveSync, type Steps } from '../engine/run.js';
import {
  type Accuracies,
  accuraciesOf,
  checkLimits,
  type GroupLimits,
  type GroupName,
  type Groups,
  groupsOf,
  type Membership,
  membership,
} from './accuracy.js';
import { bootstrap, type Interval } from './bootstrap.js';
import {
  areCosines,
  areProbabilities,
  type Calibration,
  calibrationOf,
  checkBins,
  checkTemperature,
  cosineAdvice,
  fit,
  inverse,
  PROBABILITIES,
  type TemperatureFit,
} from './calibration.js';
import { classifierSteps } from './decision.js';
import {
  checkScores,
  type Detection,
  detectionOf,
  energiesOf,
  histogramOf,
  norms,
  type Ranking,
  rank,
  type ScoreHistogram,
  type Sides,
} from './detection.js';
import { type EvaluationInput, filesOfRun, readEvaluation } from './files.js';
import { checkLabelled, checkLogits, type LabelledRows, type Logits, labelledRows, type Rows, softmaxRows } from './rows.js';

export interface EvaluationOptions extends Control {
  /** Temperature of `calibration`. @default 1 */
  readonly temperature?: number | undefined;
  /** Bins of the reliability diagram. @default 15 */
  readonly bins?: number | undefined;
  /** Temperature of the energy. @default 1 */
  readonly energyTemperature?: number | undefined;
  /** Which training sizes make a class one of many or of few. @default `{ many: 100, few: 20 }` */
  readonly groups?: GroupLimits | undefined;
  /** Drawings of the bootstrap; 0 for no intervals. @default 1000 */
  readonly resamples?: number | undefined;
  /** Share of the drawings that an interval holds. @default 0.95 */
  readonly confidence?: number | undefined;
  /** Seed of the bootstrap. @default 0 */
  readonly seed?: number | undefined;
}

export type DecisionRule = 'plain' | 'centeredPrototypes' | 'centeredFeatures' | 'centered';

export interface Decision extends Accuracies {
  /** Samples that the plain rule decides otherwise. */
  readonly changed: number;
}

/** `score`: one computed elsewhere. */
export type ScoreName = 'maxSoftmax' | 'energy' | 'featureNorm' | 'score';

/** One score, by either convention of the positive class. */
export interface ScoreEvaluation {
  readonly inDistributionPositive: Detection;
  readonly outOfDistributionPositive: Detection;
  readonly histogram: ScoreHistogram;
}

export interface Evaluation extends Accuracies {
  readonly samples: number;
  readonly classes: number;
  /** Test samples of each class, `[C]`. */
  readonly counts: Int32Array;
  /** `[n]`: the class of the largest logit, the first of several. */
  readonly predicted: Int32Array;
  /** `[n]`: the largest softmax, at `calibration.temperature`. */
  readonly confidences: Float64Array;
  /** With training counts. */
  readonly groups?: Groups | undefined;
  /** With features and prototypes: `argmax ⟨w, h⟩ + b` and what UL Appendix D.2 makes of it. */
  readonly decisions?: Readonly<Record<DecisionRule, Decision>> | undefined;
  /** At the temperature asked for. */
  readonly calibration: Calibration;
  readonly temperature: TemperatureFit;
  /** At the fitted temperature; absent where that is 0. It is fitted to the very samples it is measured on. */
  readonly fitted?: Calibration | undefined;
  /** With samples out of distribution: the scores that logits and features allow. */
  readonly outOfDistribution?: Readonly<Partial<Record<ScoreName, ScoreEvaluation>>> | undefined;
  /** By the path of a measure, such as `calibration.ece` or `outOfDistribution.energy.inDistributionPositive.fpr95`. */
  readonly intervals: Readonly<Record<string, Interval>>;
  /** What a reader should know before trusting a number. */
  readonly warnings: readonly string[];
}

/**
 * Evaluates a classifier on a test set, from logits or from features and prototypes, or from the path of a run folder that
 * holds them (`arrays/logits.npy`, `arrays/labels.npy` and so on). Arrays are copied when it is called.
 *
 * @throws `LP_OPTION` for what is missing; `LP_NOT_FINITE`, `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function evaluate(input: EvaluationInput | string, options: EvaluationOptions = {}): Promise<Evaluation> {
  const { signal } = checkOptions(options, optionKeys);
  if (typeof input !== 'string') return drive(evaluationSteps(input, options, keep), { signal });
  return startEvaluation(await readEvaluation(await filesOfRun(input)), options)();
}

/** `evaluate` of arrays that nobody else writes to, in two: what is checked before anything is computed, and the rest when called. */
export const startEvaluation = (input: EvaluationInput, options: EvaluationOptions): (() => Promise<Evaluation>) =>
  begun(evaluationSteps(input, options), { signal: options.signal });

/** `evaluate` on the calling thread. */
export function evaluateSync(input: EvaluationInput, options: EvaluationOptions = {}): Evaluation {
  return driveSync(evaluationSteps(input, options));
}

const optionKeys = ['temperature', 'bins', 'energyTemperature', 'groups', 'resamples', 'confidence', 'seed'];
const arrayKeys = ['logits', 'features', 'prototypes', 'biases', 'featureMean'] as const;
const BINS_OF_SCORES = 50;

function* evaluationSteps(
  given: EvaluationInput,
  options: EvaluationOptions,
  copy = <T extends Float | Int32Array>(data: T): T => data,
): Steps<Evaluation> {
  const settings = checkSettings(options);
  const input = ownInput(given, copy);
  const { features, prototypes } = input;
  const { onProgress: progress } = settings;
  if (!input.logits && !(features && prototypes)) {
    throw new LayerpeelError(
      'LP_OPTION',
      'logits are missing; pass them, or features with the prototypes (and biases) of their classifier.',
    );
  }
  if (prototypes && !features) {
    throw new LayerpeelError(
      'LP_OPTION',
      'prototypes are given without features; decision rules need both. Pass features, or leave out prototypes.',
    );
  }
  if (options.groups && !input.counts) {
    throw new LayerpeelError(
      'LP_OPTION',
      'options.groups is given without counts; pass the training samples of each class as counts.',
    );
  }
  const classifier = features && prototypes && { ...input, features, prototypes };
  const plain = classifier && (yield* classifierSteps(classifier, {}));
  const { counts, labels, ...logits } = checkLabelled((input.logits ?? plain) as NDArray, input.labels);
  const { classes, samples } = logits;
  const strays = plain && input.logits ? yield* straysOf(logits, plain) : 0;
  const members = input.counts && membership(input.counts, classes, settings.groups);
  progress(0.1);

  const rows = yield* labelledRows(logits, labels, inverse(settings.temperature));
  const { fitted: temperature, rows: fittedRows } = yield* fit(logits, labels);
  progress(0.4);
  const atTest: AtTest = { rows, fittedRows, labels, classes, members, settings, fitted: temperature.temperature };
  const measured = yield* measure(atTest);
  const { calibration, fitted, groups } = measured;
  const decisions = classifier && (yield* decide(classifier, plain as NDArray, labels, classes));
  progress(0.5);
  const scores = yield* outOfDistribution(input, logits, rows, settings);
  progress(0.6);
  const drawn = yield* bootstrap([samples], (weights) => flat(atTest, weights), settings);
  const { detected, intervals } = yield* detectAll(scores, settings, (share) => progress(0.6 + 0.4 * share));
  return {
    samples,
    classes,
    counts,
    predicted: rows.predicted,
    confidences: rows.confidence,
    ...measured.accuracies,
    ...(groups && { groups }),
    ...(decisions && { decisions }),
    calibration,
    temperature,
    ...(fitted && { fitted }),
    ...(Object.keys(detected).length > 0 && { outOfDistribution: detected }),
    intervals: { ...drawn, ...intervals },
    warnings: yield* warningsOf({
      logits,
      rows,
      calibration,
      stated: options.temperature !== undefined,
      temperature,
      counts,
      input,
      strays,
    }),
  };
}

/** Each score by either convention, and the intervals of what is measured. */
function* detectAll(
  scores: Partial<Record<ScoreName, Score>>,
  settings: Settings,
  progress: (share: number) => void,
): Steps<{ detected: Partial<Record<ScoreName, ScoreEvaluation>>; intervals: Record<string, Interval> }> {
  const detected: Partial<Record<ScoreName, ScoreEvaluation>> = {};
  const intervals: Record<string, Interval> = {};
  for (const [name, { ranking, histogram }] of Object.entries(scores)) {
    detected[name as ScoreName] = { ...(yield* detect(ranking)), histogram };
    const sizes = [ranking.inside, ranking.order.length - ranking.inside];
    Object.assign(intervals, yield* bootstrap(sizes, (weights) => flatDetection(name, ranking, weights), settings));
    progress(Object.keys(detected).length / Object.keys(scores).length);
  }
  return { detected, intervals };
}

/** What `evaluate` says of its own scores, of one that was computed elsewhere and is large in distribution. */
export interface ScoresResult {
  readonly outOfDistribution: Readonly<Partial<Record<ScoreName, ScoreEvaluation>>>;
  readonly intervals: Readonly<Record<string, Interval>>;
}

/**
 * Checks scores; what it returns evaluates them.
 * @throws `LP_SHAPE` for a side without samples, `LP_NOT_FINITE` for NaN, `LP_OPTION`; `LP_ABORTED` later
 */
export function startScores(
  inDistribution: ArrayLike<number>,
  outOfDistribution: ArrayLike<number>,
  options: EvaluationOptions,
): () => Promise<ScoresResult> {
  const settings = checkSettings(options);
  const sides: Sides = [checkScores(inDistribution, 'scores'), checkScores(outOfDistribution, 'ood-scores')];
  const score = { ranking: rank(sides), histogram: histogramOf(sides, BINS_OF_SCORES) };
  return async () => {
    const steps = detectAll({ score }, settings, settings.onProgress);
    const { detected, intervals } = await drive(steps, { signal: options.signal });
    return { outOfDistribution: detected, intervals };
  };
}

/** The options of an evaluation with their defaults. */
export function checkSettings(options: EvaluationOptions, place = option('options')) {
  const { onProgress = () => {} } = checkOptions(options, optionKeys, place);
  const at = (key: keyof EvaluationOptions) => inside(place, key);
  return {
    temperature: checkTemperature(options.temperature, at('temperature')),
    energyTemperature: checkTemperature(options.energyTemperature, at('energyTemperature')),
    bins: checkBins(options.bins, at('bins')),
    groups: checkLimits(options.groups, at('groups')),
    resamples: checkNumber(options.resamples ?? 1000, at('resamples'), { min: 0, max: 1e6, integer: true }),
    seed: checkSeed(options.seed, at('seed')),
    confidence: checkNumber(options.confidence ?? 0.95, at('confidence'), { above: 0, max: 1 }),
    onProgress,
  };
}

type Settings = ReturnType<typeof checkSettings>;

/** The input with arrays of its own, so that later turns of the event loop find them as they are now. */
function ownInput(given: EvaluationInput, copy: <T extends Float | Int32Array>(data: T) => T): EvaluationInput {
  const place = { path: 'arrays', code: 'LP_OPTION' } as const;
  checkKeys(given, [...arrayKeys, 'labels', 'counts', 'outOfDistribution'], place);
  const own = (array: NDArray | undefined, name: string, rank: number) => {
    if (isLeftOut(array)) return undefined;
    const { shape, data } = checkArray(array, name, rank);
    return { shape, data: copy(data) };
  };
  const ranks = { logits: 2, features: 2, prototypes: 2, biases: 1, featureMean: 1 };
  const arrays = Object.fromEntries(arrayKeys.map((name) => [name, own(given[name], name, ranks[name])]));
  const others = given.outOfDistribution ?? undefined;
  const labels = (given.labels as { data?: Int32Array } | undefined)?.data ?? given.labels;
  if (others !== undefined) checkKeys(others, ['logits', 'features'], { ...place, path: 'arrays.outOfDistribution' });
  return {
    ...arrays,
    labels: labels?.length > 0 && types.isInt32Array(labels) ? copy(labels) : given.labels,
    counts: isLeftOut(given.counts) ? undefined : checkNumbers(given.counts, option('counts'), { min: 0, integer: true }),
    outOfDistribution: others && {
      logits: own(others.logits, 'outOfDistribution.logits', 2),
      features: own(others.features, 'outOfDistribution.features', 2),
    },
  };
}

/** What is measured on labelled samples, from which the bootstrap draws. */
interface AtTest {
  readonly rows: LabelledRows;
  readonly fittedRows: LabelledRows | undefined;
  readonly labels: Int32Array;
  readonly classes: number;
  readonly members: Membership | undefined;
  readonly settings: Settings;
  readonly fitted: number;
}

function* measure({ rows, fittedRows, labels, classes, members, settings, fitted }: AtTest, weights?: Int32Array) {
  const accuracies = yield* accuraciesOf(rows.predicted, labels, classes, weights);
  return {
    accuracies,
    groups: members && groupsOf(members, accuracies.perClass),
    calibration: yield* calibrationOf(rows, labels, settings.temperature, settings.bins, weights),
    fitted: fittedRows && (yield* calibrationOf(fittedRows, labels, fitted, settings.bins, weights)),
  };
}

/** The single numbers among them, by their path in an evaluation. */
function* flat(atTest: AtTest, weights: Int32Array): Turns<Record<string, number>> {
  const { accuracies, groups, calibration, fitted } = yield* measure(atTest, weights);
  const values: Record<string, number> = { accuracy: accuracies.accuracy, balancedAccuracy: accuracies.balancedAccuracy };
  for (const name of groups ? (Object.keys(groups) as GroupName[]) : []) {
    values[`groups.${name}.accuracy`] = groups?.[name].accuracy as number;
  }
  for (const [part, { ece, mce, nll, brier }] of Object.entries({ calibration, ...(fitted && { fitted }) })) {
    for (const [name, value] of Object.entries({ ece, mce, nll, brier })) values[`${part}.${name}`] = value;
  }
  return values;
}

/** A score by either convention. */
function* detect(ranking: Ranking, weights?: Int32Array) {
  return {
    inDistributionPositive: yield* detectionOf(ranking, 'in-distribution', weights),
    outOfDistributionPositive: yield* detectionOf(ranking, 'out-of-distribution', weights),
  };
}

function* flatDetection(score: string, ranking: Ranking, weights: Int32Array): Turns<Record<string, number>> {
  const values: Record<string, number> = {};
  for (const [convention, { fpr95, auroc, aupr, auprTrapezoid }] of Object.entries(yield* detect(ranking, weights))) {
    const path = `outOfDistribution.${score}.${convention}`;
    for (const [name, value] of Object.entries({ fpr95, auroc, aupr, auprTrapezoid })) values[`${path}.${name}`] = value;
  }
  return values;
}

const RULES = {
  centeredPrototypes: { centerPrototypes: true },
  centeredFeatures: { centerFeatures: true },
  centered: { centerPrototypes: true, centerFeatures: true },
} as const;

function* decide(
  classifier: Parameters<typeof classifierSteps>[0],
  plain: NDArray,
  labels: Int32Array,
  classes: number,
): Steps<Record<DecisionRule, Decision>> {
  const decided = function* (logits: NDArray) {
    const { predicted } = yield* softmaxRows(checkLogits(logits, 'logits'), 1, 'logits');
    return predicted;
  };
  const first = yield* decided(plain);
  const judge = function* (predicted: Int32Array): Turns<Decision> {
    const changed = predicted.reduce((count, each, i) => count + (each === first[i] ? 0 : 1), 0);
    return { ...(yield* accuraciesOf(predicted, labels, classes)), changed };
  };
  const decisions: Partial<Record<DecisionRule, Decision>> = { plain: yield* judge(first) };
  for (const [rule, options] of Object.entries(RULES)) {
    decisions[rule as DecisionRule] = yield* judge(yield* decided(yield* classifierSteps(classifier, options)));
  }
  return decisions as Record<DecisionRule, Decision>;
}

/** In how many rows logits differ from those of the classifier by more than rounding in single precision. */
function* straysOf({ data, samples, classes }: Logits, plain: NDArray): Steps<number> {
  const [rows, columns] = plain.shape as [number, number];
  if (rows !== samples || columns !== classes) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `logits are [${samples}, ${classes}], but features and prototypes make them [${rows}, ${columns}]; both come from one classifier.`,
    );
  }
  let strays = 0;
  yield* eachRow(samples, classes, (_, offset) => {
    let [difference, size] = [0, 0];
    for (let j = offset; j < offset + classes; j++) {
      if (data[j] === Number.NEGATIVE_INFINITY) continue; // masked
      difference = Math.max(difference, Math.abs((data[j] as number) - (plain.data[j] as number)));
      size = Math.max(size, Math.abs(data[j] as number));
    }
    if (!(difference <= 1e-3 * size)) strays++;
  });
  return strays;
}

interface Score {
  readonly ranking: ReturnType<typeof rank>;
  readonly histogram: ScoreHistogram;
}

/** Max softmax is ranked by its log-odds, which tell samples apart where it rounds to 1. */
function* outOfDistribution(
  input: EvaluationInput,
  inside: Logits,
  insideRows: Rows,
  { energyTemperature, temperature }: Settings,
): Steps<Partial<Record<ScoreName, Score>>> {
  const { features, prototypes } = input;
  const others = input.outOfDistribution;
  if (!others) return {};
  const scores: Partial<Record<ScoreName, Score>> = {};
  const add = (name: ScoreName, sides: Sides, shown = sides) => {
    scores[name] = { ranking: rank(sides, shown), histogram: histogramOf(shown, BINS_OF_SCORES) };
  };
  let array = others.logits;
  if (!array && others.features && prototypes) {
    array = yield* classifierSteps({ ...input, features: others.features, prototypes }, {});
  }
  if (array) {
    const name = 'outOfDistribution.logits';
    const outside = checkLogits(array, name);
    if (outside.classes !== inside.classes) {
      throw new LayerpeelError(
        'LP_SHAPE',
        `${name} have ${outside.classes} columns, but logits have ${inside.classes}; both come from one classifier.`,
      );
    }
    const pair = function* (beta: number): Steps<[Rows, Rows]> {
      const known = beta === inverse(temperature) ? insideRows : yield* softmaxRows(inside, beta, 'logits');
      return [known, yield* softmaxRows(outside, beta, name)];
    };
    const [a, b] = yield* pair(1);
    add('maxSoftmax', [a.logOdds, b.logOdds], [a.confidence, b.confidence]);
    const [warmA, warmB] = energyTemperature === 1 ? [a, b] : yield* pair(inverse(energyTemperature));
    add('energy', [energiesOf(warmA, energyTemperature), energiesOf(warmB, energyTemperature)]);
  }
  if (others.features && features) {
    if (features.shape[1] !== others.features.shape[1]) {
      throw new LayerpeelError(
        'LP_SHAPE',
        `outOfDistribution.features have ${others.features.shape[1]} columns, but features have ${features.shape[1]}; both come from one network.`,
      );
    }
    const lengths = function* ({ shape, data }: NDArray, name: string): Steps<Float64Array> {
      return yield* norms(data, shape as [number, number], name);
    };
    add('featureNorm', [yield* lengths(features, 'features'), yield* lengths(others.features, 'outOfDistribution.features')]);
  }
  if (Object.keys(scores).length === 0) {
    throw new LayerpeelError(
      'LP_OPTION',
      'outOfDistribution has nothing to compare with; pass logits on both sides, features on both sides, or prototypes with both features.',
    );
  }
  return scores;
}

function* warningsOf({
  logits,
  rows,
  calibration,
  stated,
  temperature,
  counts,
  input,
  strays,
}: {
  logits: Logits;
  rows: LabelledRows;
  calibration: Calibration;
  /** Whether the caller chose its temperature. */
  stated: boolean;
  temperature: TemperatureFit;
  counts: Int32Array;
  input: EvaluationInput;
  strays: number;
}): Turns<string[]> {
  const warnings: string[] = [];
  if (strays > 0) {
    warnings.push(
      `The logits of ${strays} samples are not ⟨w, h⟩ + b of the features and prototypes given; decision rules are about the latter.`,
    );
  }
  if (yield* areProbabilities(logits)) warnings.push(PROBABILITIES);
  else if (!stated && (yield* areCosines(rows, logits))) warnings.push(cosineAdvice(calibration, rows));
  if (temperature.temperature === 0) {
    warnings.push('Every sample is decided right, so that NLL falls for ever as the temperature goes to 0: none is fitted.');
  }
  if (temperature.temperature === Number.POSITIVE_INFINITY) {
    warnings.push(
      'The logits of the labels are no larger than the others: the fitted temperature is infinite, every class equally likely.',
    );
  }
  const empty = Array.from(counts.keys()).filter((label) => counts[label] === 0);
  if (empty.length > 0) {
    const shown = `${empty.slice(0, 20).join(', ')}${empty.length > 20 ? ', …' : ''}`;
    warnings.push(
      `${empty.length} of ${counts.length} classes ${empty.length === 1 ? 'has' : 'have'} no test sample: ${shown}; balanced accuracy is the mean of the others.`,
    );
  }
  if (input.features && input.prototypes && !input.featureMean) {
    warnings.push(
      'Features are centred by the mean of these same features; give that of the training set (featureMean) to decide each sample by itself.',
    );
  }
  return warnings;
}
