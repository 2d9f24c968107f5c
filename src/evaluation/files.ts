/**
 * The arrays of an evaluation, in memory and in files, and in run folders: `arrays/<name>.npy`, where training leaves those of the test set
 * at its end. The names are those of the command line's options.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { dtypeOf, type NDArray, showShape, withDtype } from '../array/ndarray.js';
import { readArray, readFloats, readLabels } from '../array/open.js';
import { LayerpeelError } from '../check/errors.js';

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
  /** Samples of kinds that the network was not trained on. */
  readonly outOfDistribution?: { readonly logits?: NDArray | undefined; readonly features?: NDArray | undefined } | undefined;
}

export const evaluationFiles = [
  'logits',
  'features',
  'prototypes',
  'biases',
  'feature-mean',
  'labels',
  'counts',
  'ood-logits',
  'ood-features',
] as const;

/** Paths of files by the names of what they hold. */
export type EvaluationFiles = Readonly<Partial<Record<(typeof evaluationFiles)[number], string | undefined>>>;

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

export async function readEvaluation(files: EvaluationFiles): Promise<EvaluationInput> {
  const floats = async (name: keyof EvaluationFiles) => {
    const path = files[name];
    return path === undefined ? undefined : readFloats(path);
  };
  const features = await floats('features');
  const like = async (name: keyof EvaluationFiles): Promise<NDArray | undefined> => {
    const array = await floats(name);
    return array && features ? withDtype(array, dtypeOf(features.data)) : array;
  };
  const outside = { logits: await floats('ood-logits'), features: await like('ood-features') };
  return {
    logits: await floats('logits'),
    features,
    prototypes: await like('prototypes'),
    biases: await like('biases'),
    featureMean: await like('feature-mean'),
    labels: await readLabels(files.labels as string),
    counts: files.counts === undefined ? undefined : await readLabels(files.counts),
    outOfDistribution: outside.logits || outside.features ? outside : undefined,
  };
}

/** Scores `[n]` or `[n, 1]` of any number type. */
export async function readScores(path: string): Promise<Float64Array> {
  const { shape, data } = await readArray(path);
  if (shape.length === 1 || (shape.length === 2 && shape[1] === 1)) return Float64Array.from(data, Number);
  throw new LayerpeelError('LP_FILE', `${path}: its shape is ${showShape(shape)}; scores are of shape [n], one a sample.`);
}
