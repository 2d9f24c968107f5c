/**
 * Evaluation of a trained classifier on a test set: accuracy, calibration, decision rules and out-of-distribution detection,
 * with bootstrap intervals. Formulas and sources are in the files of the parts.
 */

import { types } from 'node:util';
import { checkArray, checkLabels, type Float, isLeftOut, type NDArray } from '../array/ndarray.js';
import { eachRow, keep, type Turns } from '../array/rows.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkChoice, checkKeys, checkList, checkNumber, checkNumbers, entry, inside, option } from '../check/options.js';
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
  type Binned,
  binned,
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
  histogramOf,
  type Ranking,
  rank,
  type ScoreHistogram,
  type Sides,
} from './detection.js';
import {
  checkSetNames,
  type Distance,
  distances,
  type EvaluationInput,
  filesOfRun,
  type OutOfDistributionArrays,
  type OutOfDistributionSet,
  readEvaluation,
  setsOfRun,
} from './files.js';
import { adjusted, checkTau, nearest, normalized } from './imbalanced.js';
import { checkLabelled, checkLogits, type LabelledRows, type Logits, labelledRows, type Rows, softmaxRows } from './rows.js';
import {
  checkTrainedScores,
  fitScores,
  ownTraining,
  type Scores,
  softmaxOf,
  type TrainedScoreOptions,
  trainedScoreKeys,
} from './scores.js';
import { checkDim, checkFeatures, checkTraining } from './trained.js';

export interface EvaluationOptions extends Control, TrainedScoreOptions {
  /** Temperature of `calibration`. @default 1 */
  readonly temperature?: number | undefined;
  /** Bins of the reliability diagram. @default 15 */
  readonly bins?: number | undefined;
  /** Temperature of the energy. @default 1 */
  readonly energyTemperature?: number | undefined;
  /** `τ` of logit adjustment. @default 1 */
  readonly adjustmentTau?: number | undefined;
  /** `τ` of τ-normalization. @default 1 */
  readonly normalizationTau?: number | undefined;
  /** Which training sizes make a class one of many or of few. @default `{ many: 100, few: 20 }` */
  readonly groups?: GroupLimits | undefined;
  /** Drawings of the bootstrap; 0 for no intervals. @default 1000 */
  readonly resamples?: number | undefined;
  /** Share of the drawings that an interval holds. @default 0.95 */
  readonly confidence?: number | undefined;
  /** Seed of the bootstrap. @default 0 */
  readonly seed?: number | undefined;
}

export type DecisionRule =
  | 'plain'
  | 'centeredPrototypes'
  | 'centeredFeatures'
  | 'centered'
  | 'logitAdjustment'
  | 'tauNormalization'
  | 'nearestClassMean';

/** Decisions by their rules, as far as the arrays allow. */
export type Decisions = { readonly plain: Decision } & Readonly<Partial<Record<DecisionRule, Decision>>>;

export interface Decision extends Accuracies {
  /** With training counts. */
  readonly groups?: Groups | undefined;
  /** Samples that the plain rule decides otherwise. */
  readonly changed: number;
}

/** `score`: one computed elsewhere. */
export type ScoreName = keyof Scores | 'score';

/** One score, by either convention of the positive class. */
export interface ScoreEvaluation {
  readonly inDistributionPositive: Detection;
  readonly outOfDistributionPositive: Detection;
  readonly histogram: ScoreHistogram;
}

/** Scores by their names. */
export type ScoreEvaluations = Readonly<Partial<Record<ScoreName, ScoreEvaluation>>>;

/** What scores make of a named set. */
export interface SetEvaluation {
  readonly distance?: Distance | undefined;
  readonly samples: number;
  readonly scores: ScoreEvaluations;
}

type DetectionMeasure = 'fpr95' | 'auroc' | 'aupr' | 'auprTrapezoid';

/** Means over sets, by either convention. */
export type ScoreMeans = Readonly<
  Partial<
    Record<
      ScoreName,
      Readonly<Record<'inDistributionPositive' | 'outOfDistributionPositive', Readonly<Record<DetectionMeasure, number>>>>
    >
  >
>;

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
  /**
   * The largest logit, and other rules beside it: with features and prototypes what UL Appendix D.2 makes of it and
   * τ-normalization, with training counts logit adjustment, with the training set the nearest class mean.
   */
  readonly decisions?: Decisions | undefined;
  /** At the temperature asked for. */
  readonly calibration: Calibration;
  readonly temperature: TemperatureFit;
  /** What it is fitted to: the very samples that `fitted` measures, or those of `validation`. */
  readonly fittedTo: 'test' | 'validation';
  /** At the fitted temperature; absent where that is 0. */
  readonly fitted?: Calibration | undefined;
  /** With one set out of distribution: the scores that the arrays allow. */
  readonly outOfDistribution?: ScoreEvaluations | undefined;
  /** With a list of sets: each by its name. */
  readonly outOfDistributionSets?: Readonly<Record<string, SetEvaluation>> | undefined;
  /** … and the means over those said to be near, over those said to be far, and over all, every set weighing the same. */
  readonly outOfDistributionMeans?: Readonly<Partial<Record<Distance | 'all', ScoreMeans>>> | undefined;
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
  return startEvaluation(await readEvaluation(await filesOfRun(input), await setsOfRun(input)), options)();
}

/** `evaluate` of arrays that nobody else writes to, in two: what is checked before anything is computed, and the rest when called. */
export const startEvaluation = (input: EvaluationInput, options: EvaluationOptions): (() => Promise<Evaluation>) =>
  begun(evaluationSteps(input, options), { signal: options.signal });

/** `evaluate` on the calling thread. */
export function evaluateSync(input: EvaluationInput, options: EvaluationOptions = {}): Evaluation {
  return driveSync(evaluationSteps(input, options));
}

const optionKeys = [
  ...['temperature', 'bins', 'energyTemperature', 'adjustmentTau', 'normalizationTau'],
  ...['groups', 'resamples', 'confidence', 'seed'],
  ...trainedScoreKeys,
];
const arrayKeys = ['logits', 'features', 'prototypes', 'biases', 'featureMean'];
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
  if (input.training && !features) {
    throw new LayerpeelError('LP_OPTION', 'training is given without features; pass the features [n, p] of the test set.');
  }
  if (options.groups && !input.counts) {
    throw new LayerpeelError(
      'LP_OPTION',
      'options.groups is given without counts; pass the training samples of each class as counts.',
    );
  }
  for (const set of input.sets) checkSet(set, input);
  const classifier = features && prototypes && { ...input, features, prototypes };
  const plain = classifier && (yield* classifierSteps(classifier, {}));
  const { counts, labels, ...logits } = checkLabelled((input.logits ?? plain) as NDArray, input.labels);
  const { classes, samples } = logits;
  const strays = plain && input.logits ? yield* straysOf(logits, plain) : 0;
  const members = input.counts && membership(input.counts, classes, settings.groups);
  progress(0.1);

  const rows = yield* labelledRows(logits, labels, inverse(settings.temperature));
  const { fitted: temperature, rows: fittedRows } = yield* fitTo(input.validation, logits, labels);
  progress(0.4);
  const atTest: AtTest = {
    ...{ predicted: rows.predicted, labels, classes, members, settings, fitted: temperature.temperature },
    binned: yield* binned(rows, labels, settings.bins),
    fittedBinned: fittedRows && (yield* binned(fittedRows, labels, settings.bins)),
  };
  const measured = yield* measure(atTest);
  const { calibration, fitted, groups } = measured;
  const decisions = yield* decide(input, { logits: plain ?? (input.logits as NDArray), labels, classes, members }, settings);
  progress(0.5);
  const sets = yield* outOfDistribution(input, logits, rows, settings);
  progress(0.6);
  const drawn = yield* bootstrap([samples], (weights) => flat(atTest, weights), settings);
  const { detected, intervals } = yield* detectSets(sets, settings, (share) => progress(0.6 + 0.4 * share));
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
    fittedTo: input.validation ? 'validation' : 'test',
    ...(fitted && { fitted }),
    ...detected,
    intervals: { ...drawn, ...intervals },
    warnings: yield* warningsOf({
      sets,
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

/** The temperature of the validation set, or else of the test set, and the test set's rows at it unless it is 0. */
function* fitTo(validation: OwnInput['validation'], logits: Logits, labels: Int32Array): ReturnType<typeof fit> {
  if (!validation) return yield* fit(logits, labels);
  const { fitted } = yield* fit(validation, validation.labels, 'validation.logits');
  if (fitted.temperature === 0) return { fitted };
  return { fitted, rows: yield* labelledRows(logits, labels, inverse(fitted.temperature)) };
}

/** Each score by either convention, and the intervals of what is measured, by paths that begin with `path`. */
function* detectAll(
  scores: ScoreSet,
  path: string,
  settings: Settings,
  progress: (share: number) => void,
): Steps<{ detected: ScoreEvaluations; intervals: Record<string, Interval> }> {
  const detected: Partial<Record<ScoreName, ScoreEvaluation>> = {};
  const intervals: Record<string, Interval> = {};
  for (const [name, { ranking, histogram }] of Object.entries(scores)) {
    detected[name as ScoreName] = { ...(yield* detect(ranking)), histogram };
    const sizes = [ranking.inside, ranking.order.length - ranking.inside];
    Object.assign(intervals, yield* bootstrap(sizes, (weights) => flatDetection(`${path}.${name}`, ranking, weights), settings));
    progress(Object.keys(detected).length / Object.keys(scores).length);
  }
  return { detected, intervals };
}

/** What an evaluation says of sets out of distribution: of one by itself, or of those that have names. */
function* detectSets(
  sets: readonly ScoredSet[],
  settings: Settings,
  progress: (share: number) => void,
): Steps<{
  detected: Pick<Evaluation, 'outOfDistribution' | 'outOfDistributionSets' | 'outOfDistributionMeans'>;
  intervals: Record<string, Interval>;
}> {
  const named: Record<string, SetEvaluation> = {};
  const intervals: Record<string, Interval> = {};
  for (const [k, { name, distance, samples, scores }] of sets.entries()) {
    const path = name === undefined ? 'outOfDistribution' : `outOfDistributionSets.${name}.scores`;
    const found = yield* detectAll(scores, path, settings, (share) => progress((k + share) / sets.length));
    if (name === undefined) return { detected: { outOfDistribution: found.detected }, intervals: found.intervals };
    Object.assign(intervals, found.intervals);
    named[name] = { ...(distance && { distance }), samples, scores: found.detected };
  }
  if (sets.length === 0) return { detected: {}, intervals };
  const all = Object.values(named);
  const groups = { near: all.filter(near('near')), far: all.filter(near('far')), all };
  const means = Object.entries(groups).flatMap(([group, members]) => (members.length > 0 ? [[group, meansOf(members)]] : []));
  return { detected: { outOfDistributionSets: named, outOfDistributionMeans: Object.fromEntries(means) }, intervals };
}

const near =
  (wanted: Distance) =>
  ({ distance }: SetEvaluation): boolean =>
    distance === wanted;

/** Of scores that all of the sets have. */
function meansOf(sets: readonly SetEvaluation[]): ScoreMeans {
  const names = (Object.keys((sets[0] as SetEvaluation).scores) as ScoreName[]).filter((name) =>
    sets.every(({ scores }) => scores[name]),
  );
  const mean = (pick: (set: SetEvaluation) => number) => sets.reduce((sum, set) => sum + pick(set) / sets.length, 0);
  const of = (name: ScoreName, convention: 'inDistributionPositive' | 'outOfDistributionPositive') =>
    Object.fromEntries(
      MEANS.map((measure) => [measure, mean(({ scores }) => (scores[name] as ScoreEvaluation)[convention][measure])]),
    ) as Record<DetectionMeasure, number>;
  return Object.fromEntries(
    names.map((name) => [
      name,
      {
        inDistributionPositive: of(name, 'inDistributionPositive'),
        outOfDistributionPositive: of(name, 'outOfDistributionPositive'),
      },
    ]),
  );
}
const MEANS: readonly DetectionMeasure[] = ['fpr95', 'auroc', 'aupr', 'auprTrapezoid'];

/** What `evaluate` says of its own scores, of one that was computed elsewhere and is large in distribution. */
export interface ScoresResult {
  readonly outOfDistribution: ScoreEvaluations;
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
    const steps = detectAll({ score }, 'outOfDistribution', settings, settings.onProgress);
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
    adjustmentTau: checkTau(options.adjustmentTau, at('adjustmentTau')),
    normalizationTau: checkTau(options.normalizationTau, at('normalizationTau')),
    bins: checkBins(options.bins, at('bins')),
    groups: checkLimits(options.groups, at('groups')),
    resamples: checkNumber(options.resamples ?? 1000, at('resamples'), { min: 0, max: 1e6, integer: true }),
    seed: checkSeed(options.seed, at('seed')),
    confidence: checkNumber(options.confidence ?? 0.95, at('confidence'), { above: 0, max: 1 }),
    trained: checkTrainedScores({ ...options }, place),
    place,
    onProgress,
  };
}

type Settings = ReturnType<typeof checkSettings>;

/** The input with arrays of its own, so that later turns of the event loop find them as they are now. */
function ownInput(given: EvaluationInput, copy: <T extends Float | Int32Array>(data: T) => T) {
  const place = { path: 'arrays', code: 'LP_OPTION' } as const;
  checkKeys(given, [...arrayKeys, 'labels', 'counts', 'training', 'validation', 'outOfDistribution'], place);
  const own = (array: NDArray | undefined, name: string, rank: number) => {
    if (isLeftOut(array)) return undefined;
    const checked = checkArray(array, name, rank);
    return { ...checked, data: copy(checked.data) };
  };
  const arrays = {
    logits: own(given.logits, 'logits', 2),
    features: own(given.features, 'features', 2),
    prototypes: own(given.prototypes, 'prototypes', 2),
    biases: own(given.biases, 'biases', 1),
    featureMean: own(given.featureMean, 'featureMean', 1),
  };
  const labels = (given.labels as { data?: Int32Array } | undefined)?.data ?? given.labels;
  const classes = arrays.prototypes?.shape[0] ?? arrays.logits?.shape[1];
  return {
    ...arrays,
    labels: labels?.length > 0 && types.isInt32Array(labels) ? copy(labels) : given.labels,
    counts: isLeftOut(given.counts) ? undefined : checkNumbers(given.counts, option('counts'), { min: 0, integer: true }),
    training: isLeftOut(given.training)
      ? undefined
      : ownTraining(checkTraining(given.training, classes, { ...place, path: 'training' }), copy),
    validation: isLeftOut(given.validation) ? undefined : ownValidation(given.validation, classes, copy),
    sets: ownSets(given.outOfDistribution, own),
  };
}

function ownValidation(
  given: NonNullable<EvaluationInput['validation']>,
  classes: number | undefined,
  copy: <T extends Float | Int32Array>(data: T) => T,
) {
  const { logits, labels } = checkKeys(given, ['logits', 'labels'], { path: 'arrays.validation', code: 'LP_OPTION' });
  const checked = checkLogits(logits, 'validation.logits');
  if (checked.classes !== classes) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `validation.logits have ${checked.classes} columns, but there are ${classes} classes; both come from one classifier.`,
    );
  }
  const own = checkLabels(labels, checked.samples, checked.classes, 'validation.logits');
  return { ...checked, data: copy(checked.data), labels: copy(own.labels) };
}

type OwnInput = ReturnType<typeof ownInput>;

/** A set out of distribution, and what its arrays are called in messages. */
interface OwnSet {
  readonly name: string | undefined;
  readonly distance: Distance | undefined;
  readonly path: string;
  readonly logits: NDArray | undefined;
  readonly features: NDArray | undefined;
}

function ownSets(
  given: EvaluationInput['outOfDistribution'],
  own: (array: NDArray | undefined, name: string, rank: number) => NDArray | undefined,
): readonly OwnSet[] {
  if (isLeftOut(given)) return [];
  const place = { path: 'arrays.outOfDistribution', code: 'LP_OPTION' } as const;
  const arraysOf = ({ logits, features }: OutOfDistributionArrays, path: string) => ({
    path,
    logits: own(logits, `${path}.logits`, 2),
    features: own(features, `${path}.features`, 2),
  });
  if (!Array.isArray(given)) {
    const arrays = checkKeys(given, ['logits', 'features'], place) as OutOfDistributionArrays;
    return [{ name: undefined, distance: undefined, ...arraysOf(arrays, 'outOfDistribution') }];
  }
  const list = checkList(given, place).map(
    (set, i) => checkKeys(set, ['name', 'distance', 'logits', 'features'], entry(place, i)) as unknown as OutOfDistributionSet,
  );
  const names = checkSetNames(
    list.map(({ name }) => name),
    place,
  );
  return list.map((set, i) => ({
    name: names[i],
    distance: isLeftOut(set.distance)
      ? undefined
      : checkChoice(set.distance, distances, inside({ ...place, path: `${place.path}[${i}]` }, 'distance')),
    ...arraysOf(set, `outOfDistribution.${names[i]}`),
  }));
}

/** What is measured on labelled samples, from which the bootstrap draws. */
interface AtTest {
  readonly predicted: Int32Array;
  readonly binned: Binned;
  readonly fittedBinned: Binned | undefined;
  readonly labels: Int32Array;
  readonly classes: number;
  readonly members: Membership | undefined;
  readonly settings: Settings;
  readonly fitted: number;
}

function* measure({ predicted, binned, fittedBinned, labels, classes, members, settings, fitted }: AtTest, weights?: Int32Array) {
  const accuracies = yield* accuraciesOf(predicted, labels, classes, weights);
  return {
    accuracies,
    groups: members && groupsOf(members, accuracies.perClass),
    calibration: yield* calibrationOf(binned, settings.temperature, weights),
    fitted: fittedBinned && (yield* calibrationOf(fittedBinned, fitted, weights)),
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

function* flatDetection(path: string, ranking: Ranking, weights: Int32Array): Turns<Record<string, number>> {
  const values: Record<string, number> = {};
  for (const [convention, { fpr95, auroc, aupr, auprTrapezoid }] of Object.entries(yield* detect(ranking, weights))) {
    const at = `${path}.${convention}`;
    for (const [name, value] of Object.entries({ fpr95, auroc, aupr, auprTrapezoid })) values[`${at}.${name}`] = value;
  }
  return values;
}

const RULES = {
  centeredPrototypes: { centerPrototypes: true },
  centeredFeatures: { centerFeatures: true },
  centered: { centerPrototypes: true, centerFeatures: true },
} as const;

/** Undefined where the arrays allow the plain rule alone. */
function* decide(
  input: OwnInput,
  { logits, labels, classes, members }: Pick<AtTest, 'labels' | 'classes' | 'members'> & { readonly logits: NDArray },
  { adjustmentTau, normalizationTau }: Settings,
): Steps<Decisions | undefined> {
  const { features, prototypes, counts, training } = input;
  const decided = function* (array: NDArray) {
    const { predicted } = yield* softmaxRows(checkLogits(array, 'logits'), 1, 'logits');
    return predicted;
  };
  const first = yield* decided(logits);
  const judge = function* (predicted: Int32Array): Turns<Decision> {
    const changed = predicted.reduce((count, each, i) => count + (each === first[i] ? 0 : 1), 0);
    const accuracies = yield* accuraciesOf(predicted, labels, classes);
    return { ...accuracies, ...(members && { groups: groupsOf(members, accuracies.perClass) }), changed };
  };
  const others: Partial<Record<DecisionRule, Decision>> = {};
  if (features && prototypes) {
    for (const [rule, options] of Object.entries(RULES)) {
      const centered = yield* classifierSteps({ ...input, features, prototypes }, options);
      others[rule as DecisionRule] = yield* judge(yield* decided(centered));
    }
  }
  if (counts && !counts.includes(0)) {
    const adjustable = checkLogits(logits, 'logits');
    others.logitAdjustment = yield* judge(yield* decided(yield* adjusted(adjustable, counts, adjustmentTau)));
  }
  if (features && prototypes) {
    others.tauNormalization = yield* judge(yield* decided(yield* normalized(features, prototypes, normalizationTau)));
  }
  if (features && training) {
    others.nearestClassMean = yield* judge(yield* decided(yield* nearest(checkFeatures(features, 'features'), training)));
  }
  return Object.keys(others).length > 0 ? { plain: yield* judge(first), ...others } : undefined;
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

type ScoreSet = Readonly<Partial<Record<ScoreName, Score>>>;

/** A set out of distribution by its scores. */
interface ScoredSet extends Pick<OwnSet, 'name' | 'distance'> {
  readonly samples: number;
  readonly scores: ScoreSet;
}

/** Every set beside the test set. */
function* outOfDistribution(
  input: OwnInput,
  inside: Logits,
  insideRows: Rows,
  { energyTemperature, temperature, trained, place }: Settings,
): Steps<readonly ScoredSet[]> {
  const { training, prototypes, biases, features, sets } = input;
  if (sets.length === 0) return [];
  const score = yield* fitScores({ training, prototypes, biases }, trained, place);
  const known = temperature === 1 ? insideRows : undefined;
  const test = {
    features: features && checkFeatures(features, 'features'),
    temperature: energyTemperature,
    ...(yield* softmaxOf(inside, energyTemperature, 'logits', known)),
  };
  const testScores = yield* score(test);
  const scored: ScoredSet[] = [];
  for (const { name, distance, path, logits, features: others } of sets) {
    let array = logits;
    if (!array && others && prototypes) array = yield* classifierSteps({ ...input, features: others, prototypes }, {});
    const rows = array && (yield* softmaxOf(checkLogits(array, `${path}.logits`), energyTemperature, `${path}.logits`));
    const sample = {
      features: others && features && checkFeatures(others, `${path}.features`),
      temperature: energyTemperature,
      ...rows,
    };
    const found = yield* score(sample);
    const scores: Partial<Record<ScoreName, Score>> = {};
    for (const key of Object.keys(testScores) as (keyof Scores)[]) {
      const shown = [testScores[key], found[key]] as const;
      if (!bothThere(shown)) continue;
      // Max softmax is ranked by its log-odds, which tell samples apart where it rounds to 1.
      const sides: Sides = key === 'maxSoftmax' && rows ? [test.rows.logOdds, rows.rows.logOdds] : shown;
      scores[key] = { ranking: rank(sides, shown), histogram: histogramOf(shown, BINS_OF_SCORES) };
    }
    if (Object.keys(scores).length === 0) {
      throw new LayerpeelError(
        'LP_OPTION',
        `${path} has nothing to compare with; pass logits on both sides, features on both sides, or prototypes with both features.`,
      );
    }
    scored.push({ name, distance, samples: (array ?? (others as NDArray)).shape[0] as number, scores });
  }
  return scored;
}

const bothThere = (sides: readonly (Float64Array | undefined)[]): sides is Sides => sides.every((side) => side !== undefined);

/** @throws `LP_SHAPE` naming a set that does not fit the network */
function checkSet({ path, logits, features }: OwnSet, input: OwnInput): void {
  const [, classes] = (input.logits ?? { shape: [0, input.prototypes?.shape[0]] }).shape;
  const columns = logits && checkLogits(logits, `${path}.logits`).classes;
  if (columns !== undefined && columns !== classes) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `${path}.logits have ${columns} columns, but logits have ${classes}; both come from one classifier.`,
    );
  }
  if (features && input.features) {
    checkDim(checkFeatures(features, `${path}.features`), checkFeatures(input.features, 'features'));
  }
}

function* warningsOf({
  sets,
  logits,
  rows,
  calibration,
  stated,
  temperature,
  counts,
  input,
  strays,
}: {
  sets: readonly ScoredSet[];
  logits: Logits;
  rows: LabelledRows;
  calibration: Calibration;
  /** Whether the caller chose its temperature. */
  stated: boolean;
  temperature: TemperatureFit;
  counts: Int32Array;
  input: OwnInput;
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
    const which = input.validation ? 'Every validation sample' : 'Every sample';
    warnings.push(`${which} is decided right, so that NLL falls for ever as the temperature goes to 0: none is fitted.`);
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
  if (input.counts?.includes(0)) {
    warnings.push('A class has no training samples by its count, so that log π of logit adjustment has no value: it is left out.');
  }
  if (sets.some(({ scores }) => scores.residual && !scores.vim)) {
    warnings.push(
      'The principal directions leave nothing of the training features, so that ViM has no weight for it and is left out; take fewer (vimDim).',
    );
  }
  const untrained = input.training?.counts.reduce((count, size) => count + (size === 0 ? 1 : 0), 0) ?? 0;
  if (untrained > 0) {
    warnings.push(
      `${untrained} of the classes ${untrained === 1 ? 'has' : 'have'} no training sample: Mahalanobis distances and nearest class means pass over ${untrained === 1 ? 'it' : 'them'}.`,
    );
  }
  if (input.features && input.prototypes && !input.featureMean) {
    warnings.push(
      'Features are centred by the mean of these same features; give that of the training set (featureMean) to decide each sample by itself.',
    );
  }
  return warnings;
}
