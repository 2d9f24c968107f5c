/**
 * The arrays of an evaluation, in memory and in files, and in run folders: `arrays/<name>.npy`, where training leaves those of the test set
 * at its end. The names are those of the command line's options.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { textIfAny } from '../array/files.js';
import { fromJson } from '../array/json.js';
import { dtypeOf, type NDArray, showShape, withDtype } from '../array/ndarray.js';
import { readArray, readFloats, readLabels } from '../array/open.js';
import { LayerpeelError } from '../check/errors.js';
import { checkText, inside, type Place, show } from '../check/options.js';
import type { TrainingSet } from './trained.js';

/** What is evaluated. */
export interface EvaluationInput {
  /** `[n, C]`. @default `⟨w_c, h_i⟩ + b_c` from features, prototypes and biases */
  readonly logits?: NDArray | undefined;
  /** `[n, p]`. */
  readonly features?: NDArray | undefined;
  /** `[C, p]`; with them and features the decision rules are compared. */
  readonly prototypes?: NDArray | undefined;
  /** `[C]`. @default 0 */
  readonly biases?: NDArray | undefined;
  /** `h̄ [p]` of the training set, for centred features. @default the mean of the features given */
  readonly featureMean?: NDArray | undefined;
  /** `[n]`, values `0 … C−1`. */
  readonly labels: Int32Array;
  /** Training samples of each class, `[C]`, for many, medium and few. */
  readonly counts?: ArrayLike<number> | undefined;
  /** Features of the training set and their labels, for the scores that take them. */
  readonly training?: TrainingSet | undefined;
  /** Logits `[m, C]` and labels `[m]` of a validation set, to which the temperature is fitted. @default the test set itself */
  readonly validation?: { readonly logits: NDArray; readonly labels: Int32Array } | undefined;
  /** Samples of kinds that the network was not trained on: one set, or a list of sets with names. */
  readonly outOfDistribution?: OutOfDistributionArrays | readonly OutOfDistributionSet[] | undefined;
}

/** Samples out of distribution, by their logits, their features, or both. */
export interface OutOfDistributionArrays {
  /** `[m, C]`. */
  readonly logits?: NDArray | undefined;
  /** `[m, p]`. */
  readonly features?: NDArray | undefined;
}

/** Whether a set is close to the training set in kind, such as CIFAR-100 to CIFAR-10, or far from it, such as MNIST. */
export type Distance = 'near' | 'far';

export interface OutOfDistributionSet extends OutOfDistributionArrays {
  /** Letters, digits, `-` and `_`. */
  readonly name: string;
  readonly distance?: Distance | undefined;
}

export const distances: readonly Distance[] = ['near', 'far'];

/** @throws `LP_OPTION` for a name that could not be that of a file, or of another set too */
export function checkSetNames(names: readonly unknown[], place: Place): readonly string[] {
  return names.map((given, i) => {
    const at = inside({ ...place, path: `${place.path}[${i}]` }, 'name');
    const name = checkText(given, at, 'the name of a set');
    if (!/^[\p{L}\p{N}_-]{1,64}$/u.test(name)) {
      throw new LayerpeelError(place.code, `${at.path} is ${show(name)}; expected letters, digits, - and _, at most 64.`);
    }
    if (names.indexOf(name) !== i) {
      throw new LayerpeelError(place.code, `${at.path} is ${show(name)}, the name of another set; give each its own.`);
    }
    return name;
  });
}

/** Options that are numbers, by their names on the command line and in `EvaluationOptions`. */
export const evaluationNumbers = {
  temperature: 'temperature',
  'energy-temperature': 'energyTemperature',
  'adjustment-tau': 'adjustmentTau',
  'normalization-tau': 'normalizationTau',
  neighbors: 'neighbors',
  'vim-dim': 'vimDim',
  'neco-dim': 'necoDim',
  'nci-alpha': 'nciAlpha',
  bins: 'bins',
  resamples: 'resamples',
  confidence: 'confidence',
  seed: 'seed',
} as const;

export const evaluationFiles = [
  'logits',
  'features',
  'prototypes',
  'biases',
  'feature-mean',
  'labels',
  'counts',
  'train-features',
  'train-labels',
  'fit-logits',
  'fit-labels',
  'ood-logits',
  'ood-features',
] as const;

/** Paths of files by the names of what they hold. */
export type EvaluationFiles = Readonly<Partial<Record<(typeof evaluationFiles)[number], string | undefined>>>;

/** A named set out of distribution by its files, or its arrays. */
export interface SetFiles {
  readonly name: string;
  readonly distance?: Distance | undefined;
  readonly logits?: string | NDArray | undefined;
  readonly features?: string | NDArray | undefined;
}

/** @throws `LP_FILE` for a folder without labels, or without logits and without features and prototypes */
export async function filesOfRun(run: string): Promise<EvaluationFiles> {
  const folder = join(run, 'arrays');
  const found: readonly string[] = await readdir(folder).catch(() => []);
  const files = Object.fromEntries(
    evaluationFiles.flatMap((name) => (found.includes(`${name}.npy`) ? [[name, join(folder, `${name}.npy`)]] : [])),
  ) as EvaluationFiles;
  if (files.labels && (files.logits || (files.features && files.prototypes))) return files;
  throw new LayerpeelError(
    'LP_FILE',
    `${run} is no run folder that can be evaluated; expected arrays/labels.npy in it, and arrays/logits.npy or features.npy with prototypes.npy.`,
  );
}

/** Files of a run folder beside its arrays, `<name>.json`: the names of its classes, and its sets out of distribution. */
export const classNamesFile = 'classes';
export const setsFile = 'out-of-distribution';

/** What JSON of a file gives where it is there and fits; else undefined. */
async function jsonIn<T>(path: string, fits: (value: unknown) => value is T): Promise<T | undefined> {
  const value = fromJson(await textIfAny(path).catch(() => ''));
  return fits(value) ? value : undefined;
}

/** Names of classes in a file; undefined where there is no such list. */
export const readClassNames = (path: string): Promise<readonly string[] | undefined> =>
  jsonIn(path, (value): value is string[] => Array.isArray(value) && value.every((name) => typeof name === 'string'));

/** Names of a run's classes. */
export const classNamesOf = (run: string): Promise<readonly string[] | undefined> =>
  readClassNames(join(run, `${classNamesFile}.json`));

/** The sets out of distribution that a training kept, and with them what it held out; undefined where it had none with names. */
export async function setsOfRun(run: string): Promise<SetFiles[] | undefined> {
  const named = await jsonIn(
    join(run, `${setsFile}.json`),
    (value): value is Pick<SetFiles, 'name' | 'distance'>[] =>
      Array.isArray(value) && value.every((set) => typeof set?.name === 'string'),
  );
  const file = (name: string) => join(run, 'arrays', `${name}.npy`);
  const found: readonly string[] = await readdir(join(run, 'arrays')).catch(() => []);
  const heldOut = found.includes('ood-logits.npy') ? [{ name: 'held-out', ending: '' }] : [];
  const sets = named?.map((set) => ({ ...set, ending: `-${set.name}` }));
  return sets
    ?.concat(heldOut)
    .map(({ ending, ...set }) => ({ ...set, logits: file(`ood-logits${ending}`), features: file(`ood-features${ending}`) }));
}

/** @param sets out of distribution, in place of `ood-logits` and `ood-features` */
export async function readEvaluation(files: EvaluationFiles, sets?: readonly SetFiles[]): Promise<EvaluationInput> {
  const floats = async (from: string | NDArray | undefined) => (typeof from === 'string' ? readFloats(from) : from);
  const features = await floats(files.features);
  const like = async (from: string | NDArray | undefined): Promise<NDArray | undefined> => {
    const array = await floats(from);
    return array && features ? withDtype(array, dtypeOf(features.data)) : array;
  };
  const outside = { logits: await floats(files['ood-logits']), features: await like(files['ood-features']) };
  const named: OutOfDistributionSet[] = [];
  for (const set of sets ?? []) named.push({ ...set, logits: await floats(set.logits), features: await like(set.features) });
  return {
    logits: await floats(files.logits),
    features,
    prototypes: await like(files.prototypes),
    biases: await like(files.biases),
    featureMean: await like(files['feature-mean']),
    labels: await readLabels(files.labels as string),
    counts: files.counts === undefined ? undefined : await readLabels(files.counts),
    training: await readTraining(files),
    validation: await readValidation(files),
    outOfDistribution: sets ? named : outside.logits || outside.features ? outside : undefined,
  };
}

async function readTraining(files: EvaluationFiles): Promise<TrainingSet | undefined> {
  const { 'train-features': features, 'train-labels': labels } = files;
  if (features === undefined || labels === undefined) return undefined;
  return { features: await readFloats(features), labels: await readLabels(labels) };
}

async function readValidation(files: EvaluationFiles): Promise<EvaluationInput['validation']> {
  const { 'fit-logits': logits, 'fit-labels': labels } = files;
  if (logits === undefined || labels === undefined) return undefined;
  return { logits: await readFloats(logits), labels: await readLabels(labels) };
}

/** Scores `[n]` or `[n, 1]` of any number type. */
export async function readScores(path: string): Promise<Float64Array> {
  const { shape, data } = await readArray(path);
  if (shape.length === 1 || (shape.length === 2 && shape[1] === 1)) return Float64Array.from(data, Number);
  throw new LayerpeelError('LP_FILE', `${path}: its shape is ${showShape(shape)}; scores are of shape [n], one a sample.`);
}
