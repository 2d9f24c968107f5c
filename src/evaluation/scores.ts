/**
 * Scores of samples, large for those of the kind a network was trained on. From logits `z` and features `h`:
 *
 *     maxSoftmax    max_j p_j                    Hendrycks and Gimpel, 2016
 *     maxLogit      max_j z_j                    Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", 2022
 *     energy        T log Σ_j e^{z_j/T}          Liu et al., "Energy-based Out-of-distribution Detection", 2020
 *     featureNorm   ‖h‖                          UL Section 4.2
 *
 * With the training set `knn` (neighbors.ts), `mahalanobis` and `relativeMahalanobis` (gaussians.ts) and `neco` (subspaces.ts), and
 * with prototypes too `residual` and `vim` (subspaces.ts) and `nci` (alignment.ts).
 */
import {
  type CheckedArray,
  checkFinite,
  checkOptional,
  type Float,
  isLeftOut,
  type NDArray,
  shared,
  showShape,
} from '../array/ndarray.js';
import { keep, norms } from '../array/rows.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, checkNumber, inside, option, type Place } from '../check/options.js';
import { drive, driveSync, type Steps } from '../engine/run.js';
import { alignment } from './alignment.js';
import { checkTemperature, inverse } from './calibration.js';
import { classifierSteps } from './decision.js';
import { fitGaussians } from './gaussians.js';
import { fitNeighbors } from './neighbors.js';
import { checkLogits, type Logits, type Rows, softmaxRows } from './rows.js';
import { fitNeco, fitResiduals, usualNecoDim, usualVimDim } from './subspaces.js';
import {
  type CheckedTraining,
  checkDim,
  checkFeatures,
  checkTraining,
  type Features,
  type TrainingSet,
  trainedOf,
} from './trained.js';

/** Scores of samples, `[n]` each, large for those in distribution. */
export interface Scores {
  readonly maxSoftmax?: Float64Array | undefined;
  readonly maxLogit?: Float64Array | undefined;
  readonly energy?: Float64Array | undefined;
  readonly featureNorm?: Float64Array | undefined;
  /** Minus the distance of the unit feature to the k-th nearest of the training set. */
  readonly knn?: Float64Array | undefined;
  readonly mahalanobis?: Float64Array | undefined;
  readonly relativeMahalanobis?: Float64Array | undefined;
  /** Minus the length of what the principal directions of the training set leave of a feature. */
  readonly residual?: Float64Array | undefined;
  /** Absent where they leave nothing of the training set itself. */
  readonly vim?: Float64Array | undefined;
  readonly neco?: Float64Array | undefined;
  readonly nci?: Float64Array | undefined;
}

export interface ScoreInput {
  /** `[n, C]`. @default `⟨w_c, h_i⟩ + b_c` where features and prototypes are given */
  readonly logits?: NDArray | undefined;
  /** `[n, p]`, for the feature norm and all that takes the training set. */
  readonly features?: NDArray | undefined;
  /** `[C, p]`, for residual, ViM and NCI. */
  readonly prototypes?: NDArray | undefined;
  /** `[C]`. @default 0 */
  readonly biases?: NDArray | undefined;
  /** Features of the training set and their labels. */
  readonly training?: TrainingSet | undefined;
}

/** Parameters of scores that take the training set. */
export interface TrainedScoreOptions {
  /** KNN's `k`. @default 50, or as many as the training set has */
  readonly neighbors?: number | undefined;
  /** Principal directions of residual and ViM, 0 … p. @default 1000 from 2048 dimensions on, 512 from 768 on, else half of them */
  readonly vimDim?: number | undefined;
  /** Principal directions of NECO, 1 … p. @default C − 1, or half of the dimensions where these are fewer */
  readonly necoDim?: number | undefined;
  /** NCI's `α`, the weight of `‖h‖₁`. @default 0 */
  readonly nciAlpha?: number | undefined;
}

export interface ScoreOptions extends Control, TrainedScoreOptions {
  /** Temperature of the energy; max softmax is taken at 1. @default 1 */
  readonly temperature?: number | undefined;
}

export const trainedScoreKeys = ['neighbors', 'vimDim', 'necoDim', 'nciAlpha'] as const;

/** Their domains, as far as these do not depend on arrays. */
export function checkTrainedScores(options: Readonly<Record<string, unknown>>, place: Place): TrainedScoreOptions {
  const least = { neighbors: 1, vimDim: 0, necoDim: 1, nciAlpha: 0 };
  const given = trainedScoreKeys.filter((key) => options[key] !== undefined);
  return Object.fromEntries(
    given.map((key) => [key, checkNumber(options[key], inside(place, key), { min: least[key], integer: key !== 'nciAlpha' })]),
  );
}

/**
 * The scores that the input allows, `[n]` each. What they take from the training set is computed anew by every call; `evaluate`
 * does so once for all its sets.
 * @throws `LP_NOT_FINITE`, `LP_SHAPE`, `LP_DTYPE`, `LP_LABEL`, `LP_DETACHED`, `LP_OPTION`, `LP_OVERFLOW`, `LP_MEMORY`, `LP_ABORTED`
 */
export async function outOfDistributionScores(input: ScoreInput, options: ScoreOptions = {}): Promise<Scores> {
  return drive(scoreSteps(input, options, keep), { signal: options?.signal });
}

/** `outOfDistributionScores` on the calling thread. */
export function outOfDistributionScoresSync(input: ScoreInput, options: ScoreOptions = {}): Scores {
  return driveSync(scoreSteps(input, options));
}

type Keep = <T extends Float | Int32Array>(data: T) => T;

function* scoreSteps(input: ScoreInput, options: ScoreOptions, copy: Keep = (data) => data): Steps<Scores> {
  checkOptions(options, ['temperature', ...trainedScoreKeys]);
  checkKeys(input, ['logits', 'features', 'prototypes', 'biases', 'training'], { path: 'input', code: 'LP_OPTION' });
  const temperature = checkTemperature(options.temperature, option('options.temperature'));
  const given = checkTrainedScores({ ...options }, option('options'));
  if (isLeftOut(input.logits) && isLeftOut(input.features)) {
    throw new LayerpeelError('LP_OPTION', 'There is nothing to score: pass logits [n, C], features [n, p], or both.');
  }
  const own = <A extends { readonly data: Float }>(array: A | undefined): A | undefined =>
    array && { ...array, data: copy(array.data) };
  const features = own(isLeftOut(input.features) ? undefined : checkFeatures(input.features, 'features'));
  const prototypes = own(checkOptional(input.prototypes, 'prototypes', 2));
  const biases = own(checkOptional(input.biases, 'biases', 1));
  let logits = own(isLeftOut(input.logits) ? undefined : checkLogits(input.logits, 'logits'));
  const classes = prototypes?.shape[0] ?? logits?.classes;
  const training = isLeftOut(input.training)
    ? undefined
    : ownTraining(checkTraining(input.training, classes, { path: 'training', code: 'LP_OPTION' }), copy);
  if (!logits && features && prototypes) {
    const classifier = { features: { shape: [features.samples, features.dim], data: features.data }, prototypes, biases };
    logits = checkLogits(yield* classifierSteps(classifier, {}), 'logits');
  }
  if (training && !features) {
    throw new LayerpeelError('LP_OPTION', 'training is given without features; pass the features [n, p] that are scored.');
  }
  const score = yield* fitScores({ training, prototypes, biases }, given, option('options'));
  return yield* score({
    features,
    ...(logits && (yield* softmaxOf(logits, temperature, 'logits'))),
    temperature,
  });
}

export const ownTraining = (training: CheckedTraining, copy: Keep): CheckedTraining => ({
  ...training,
  features: { ...training.features, data: copy(training.features.data) },
  labels: copy(training.labels),
});

/** Rows of logits as scores take them. */
export interface ScoredRows {
  /** At temperature 1. */
  readonly rows: Rows;
  /** At that of the energy. */
  readonly warm: Rows;
}

/** @param known rows at temperature 1 where these are known already */
export function* softmaxOf(logits: Logits, temperature: number, name: string, known?: Rows): Steps<ScoredRows> {
  const rows = known ?? (yield* softmaxRows(logits, 1, name));
  return { rows, warm: temperature === 1 ? rows : yield* softmaxRows(logits, inverse(temperature), name) };
}

/** `T log Σ_j e^{z_j/T}` from rows at `β = 1/T`. */
const energiesOf = ({ largest, logOdds }: Rows, temperature: number): Float64Array =>
  largest.map((z, i) => z + temperature * Math.log1p(Math.exp(-(logOdds[i] as number))));

/** Samples that are scored. */
export interface Sample extends Partial<ScoredRows> {
  readonly features: Features | undefined;
  readonly temperature: number;
}

/** What was trained. */
export interface Fitted {
  readonly training?: CheckedTraining | undefined;
  readonly prototypes?: CheckedArray | undefined;
  readonly biases?: CheckedArray | undefined;
}

/** Takes from the training set what scores need; the result scores samples. */
export function* fitScores(
  { training, prototypes, biases }: Fitted,
  options: TrainedScoreOptions,
  place: Place,
): Steps<(sample: Sample) => Steps<Scores>> {
  const fitted = training && (yield* fitTraining({ training, prototypes, biases }, options, place));
  if (!training) {
    const [key] = Object.keys(options);
    if (key !== undefined) {
      throw new LayerpeelError(
        place.code,
        `${inside(place, key).path} is given without training; pass the training set's features and labels.`,
      );
    }
  }
  return function* (sample) {
    const { features, rows, warm, temperature } = sample;
    return {
      ...(rows && { maxSoftmax: rows.confidence, maxLogit: rows.largest }),
      ...(warm && { energy: energiesOf(warm, temperature) }),
      ...(features && { featureNorm: yield* norms(features.data, [features.samples, features.dim], features.name) }),
      ...(fitted && features && (yield* fitted(features, rows))),
    };
  };
}

function* fitTraining(
  { training, prototypes, biases }: Fitted & { readonly training: CheckedTraining },
  options: TrainedScoreOptions,
  place: Place,
): Steps<(features: Features, rows: Rows | undefined) => Steps<Scores>> {
  const { dim, samples } = training.features;
  const at = (key: keyof TrainedScoreOptions, usual: number, max: number) =>
    checkNumber(options[key] ?? usual, inside(place, key), { max });
  const neighbors = at('neighbors', Math.min(50, samples), samples);
  const vimDim = at('vimDim', usualVimDim(dim), dim);
  const necoDim = at('necoDim', usualNecoDim(training.classes, dim), dim);
  const head = prototypes && headOf(prototypes, biases, training.features);
  const trained = yield* trainedOf(training);
  const nearest = yield* fitNeighbors(trained, neighbors);
  const distances = yield* fitGaussians(trained);
  const neco = yield* fitNeco(trained, necoDim);
  const residuals = head && (yield* fitResiduals(trained, head, vimDim));
  return function* (features, rows) {
    checkDim(features, training.features);
    const lengths = residuals && (yield* residuals.of(features));
    const weight = residuals?.weight;
    const energy = rows && energiesOf(rows, 1);
    return {
      knn: yield* nearest(features),
      ...(yield* distances(features)),
      ...(lengths && { residual: lengths.map((length) => -length) }),
      ...(lengths && energy && weight !== undefined && { vim: energy.map((value, i) => value - weight * (lengths[i] as number)) }),
      neco: yield* neco(features),
      ...(head &&
        rows && {
          nci: yield* alignment(features, rows.predicted, {
            mean: trained.mean,
            prototypes: head.prototypes,
            weight: options.nciAlpha ?? 0,
          }),
        }),
    };
  };
}

/** The last layer in double. */
function headOf(prototypes: CheckedArray, biases: CheckedArray | undefined, { dim, name }: Features) {
  const [classes, columns] = prototypes.shape as [number, number];
  if (columns !== dim || (biases && biases.shape[0] !== classes)) {
    const given = biases ? ` and biases ${showShape(biases.shape)}` : '';
    throw new LayerpeelError(
      'LP_SHAPE',
      `prototypes are ${showShape(prototypes.shape)}${given}, but ${name} have ${dim} columns; expected [C, ${dim}] and [C].`,
    );
  }
  checkFinite(prototypes.data, 'prototypes');
  if (biases) checkFinite(biases.data, 'biases');
  return {
    prototypes: shared(Float64Array.from(prototypes.data)),
    biases: biases ? Float64Array.from(biases.data) : new Float64Array(classes),
  };
}
