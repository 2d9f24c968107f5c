/**
 * What a training run is told: a plain object, so that a run is a JSON file. Every fault is found before training starts and
 * named with its place.
 */
import { resolve } from 'node:path';
import { least } from '../array/extremes.js';
import { LayerpeelError } from '../check/errors.js';
import {
  type Complete,
  checkBoolean,
  checkChoice,
  checkKeys,
  checkList,
  checkNumber,
  entry,
  inside,
  type Place,
  show,
} from '../check/options.js';
import { checkMomentum, checkSeed, checkWeightDecay } from '../check/quantities.js';
import { type Augmentation, augmentationParts, checkAugmentation } from '../data/augment.js';
import { type CheckedCrop, checkCrop, type ResizedCrop } from '../data/crop.js';
import { type AnyImages, checkAnyImages } from '../data/images.js';
import { checkSource, type ImageSource, sourceKeys } from '../data/load.js';
import type { Selection } from '../data/subsets.js';
import { checkRate, type Rate } from '../dynamics/rates.js';
import { checkSetNames, type Distance, distances } from '../evaluation/files.js';
import { checkLoss, type Loss, lossKinds, type Regularization } from '../losses/losses.js';
import { balancedLengths } from '../theory/fixed-etf.js';
import type { NetworkLossPlan } from './engine.js';
import type { Model } from './models.js';

/** Images of kinds that the network is not trained on: files, a source of `loadImages`, or a set in memory. They are made to fit. */
export type OutOfDistribution = {
  /** Letters, digits, `-` and `_`. */
  readonly name: string;
  /** Whether they are close to the training set in kind, such as CIFAR-100 to CIFAR-10, or far from it, such as MNIST. */
  readonly distance?: Distance | undefined;
} & (ImageSource | { readonly set: AnyImages });

/** What is done to every training image. */
export interface TrainingAugmentation extends Augmentation {
  /** A box of the image at random, resized to what the network is given, before all else; in evaluation the centre of the image. @default none */
  readonly resizedCrop?: ResizedCrop | undefined;
}

/** Files of images: a source of `loadImages`, with `test` for the split that is tested on. */
export interface DataFiles extends Omit<ImageSource, 'split'>, Selection {
  /** The training split, or several that are joined, such as SVHN's `['train', 'extra']`. @default 'train' */
  readonly split?: string | readonly string[] | undefined;
  /**
   * The split that is tested on after each epoch; or a source of its own, whose classes are numbered as those of the training images;
   * `false` tests on none. @default 'test'
   */
  readonly test?: string | false | ImageSource | undefined;
  readonly augmentation?: TrainingAugmentation | undefined;
  /** Mean and standard deviation of each channel, of values in 0 … 1. @default those of the training images */
  readonly normalization?: { readonly mean: readonly number[]; readonly std: readonly number[] } | undefined;
  /** What else the network is given at the end. @default none */
  readonly outOfDistribution?: readonly OutOfDistribution[] | undefined;
}

/** Images that are loaded already, or listed by `streamImages`. */
export interface DataSets extends Pick<DataFiles, 'augmentation' | 'normalization' | 'outOfDistribution'> {
  readonly train: AnyImages;
  readonly test?: AnyImages | undefined;
}

export interface WeightDecays {
  /** Of convolutions and linear layers. @default 0 */
  readonly weights?: number | undefined;
  /** @default 0 */
  readonly prototypes?: number | undefined;
  /** @default 0 */
  readonly biases?: number | undefined;
  /** Of BatchNorm's scales and shifts. @default 0 */
  readonly norms?: number | undefined;
}

export interface Optimizer {
  /** A number, or a rate object whose times (`period`, `milestones`, `warmup`) are epochs. @default 0.1 */
  readonly learningRate?: Exclude<Rate, (time: number) => number> | undefined;
  /** Whether the rate changes at every step, or once an epoch, as PyTorch's schedulers do that are stepped so. @default 'step' */
  readonly ratePer?: 'step' | 'epoch' | undefined;
  /** Below 1, at which velocities never fade. @default 0.9 */
  readonly momentum?: number | undefined;
  /** @default false */
  readonly nesterov?: boolean | undefined;
  /** One number is that of every parameter. @default 0 */
  readonly weightDecay?: number | WeightDecays | undefined;
}

/** Losses of networks: those of the layer-peeled model (soft labels come from mixup), and LDAM. */
export type TrainingLoss =
  | Exclude<Loss, { kind: 'dot-regression' }>
  | (Extract<Loss, { kind: 'dot-regression' }> & {
      /**
       * Lengths of prototypes that weigh classes alike, as `balancedLengths` has them: `paper`, `N/(K n_k)` by the counts of the training
       * set; `released`, by those of each batch, of the convention `lengths`, which `true` stands for too. @default false
       */
      readonly balanced?: boolean | 'paper' | 'released';
    })
  | {
      /** Margins by class sizes (Cao et al. 2019); features and prototypes count by their directions. */
      readonly kind: 'ldam';
      /** Of the smallest class. @default 0.5 */
      readonly largestMargin?: number;
      /** @default 30 */
      readonly scale?: number;
    };

/** Weights `(1−β)/(1−β^{n_c})` of the classes, of mean 1 (Cui et al. 2019; deferred: Cao et al. 2019). */
export interface Reweighting {
  /** @default 0.9999 */
  readonly beta?: number | undefined;
  /** The first epoch that has them. @default 0 */
  readonly from?: number | undefined;
  /**
   * What the mean over a batch divides by: `weights`, the sum of its samples' weights, as published; or `samples`, their number,
   * as the mean of `classWeights` does, which on a long-tailed set makes the loss and every gradient several times smaller.
   * @default 'weights'
   */
  readonly mean?: 'weights' | 'samples' | undefined;
}

export interface TrainingConfig {
  readonly data: DataFiles | DataSets;
  readonly model: Model;
  readonly loss: TrainingLoss;
  /** Class weights from an epoch on (deferred re-weighting): for cross-entropy and LDAM. */
  readonly reweighting?: Reweighting | undefined;
  /** Of the features before they are normalized, over a batch. */
  readonly regularization?: Regularization | undefined;
  /** Rescaled learning rates: `‖h‖`, held fixed, multiplies each sample's gradient (UL §4.3). @default false */
  readonly rescaled?: boolean | undefined;
  readonly optimizer?: Optimizer | undefined;
  readonly epochs: number;
  /** @default 128 */
  readonly batch?: number | undefined;
  /** Batches whose mean gradient makes a step. @default 1 */
  readonly accumulate?: number | undefined;
  /** Decay of averaged weights, which then are what is tested and measured; 0 for none. @default 0 */
  readonly ema?: number | undefined;
  /** Of the beginning, the order of samples and augmentation. @default 0 */
  readonly seed?: number | undefined;
  /** `cpu`, `cuda`, `cuda:1`. @default 'cpu' */
  readonly device?: string | undefined;
  /** libtorch's threads within an operation. @default the package's compute threads */
  readonly threads?: number | undefined;
  /** `bfloat16` multiplies in it (autocast) and keeps weights in float32. @default 'float32' */
  readonly precision?: 'float32' | 'bfloat16' | undefined;
  /** Keeps the channels of a pixel together in memory. @default true */
  readonly channelsLast?: boolean | undefined;
  /** Lets CUDA round factors of float32 products to TF32. @default true */
  readonly tf32?: boolean | undefined;
  /** Measures collapse over the training set after every so many epochs, and after the last; 0 never does, and leaves out the theory. @default 1 */
  readonly collapseEvery?: number | undefined;
  /** Of what collapse is measured against: of the class means, or of all samples, as `collapse` has it. @default 'classes' */
  readonly globalMean?: 'classes' | 'samples' | undefined;
  /** Whether `layerpeel train` writes event files for TensorBoard into the run folder. @default false */
  readonly tensorboard?: boolean | undefined;
}

const keys = [
  ...['data', 'model', 'loss', 'reweighting', 'regularization', 'rescaled', 'optimizer', 'epochs', 'batch', 'accumulate'],
  ...['ema', 'seed', 'device', 'threads', 'precision', 'channelsLast', 'tf32', 'collapseEvery', 'globalMean', 'tensorboard'],
];
const dataKeys = ['augmentation', 'normalization', 'outOfDistribution'];
const setKeys = ['train', 'test', ...dataKeys];
const decayed = ['weights', 'prototypes', 'biases', 'norms'] as const;
const fileKeys = [...sourceKeys, 'test', 'heldOut', 'imbalance', 'labelNoise', ...dataKeys];

/** A configuration whose paths, relative to a folder, are found from anywhere; nothing is checked yet. */
export function withPathsFrom(folder: string, config: unknown): unknown {
  const at = (path: unknown) => (typeof path === 'string' ? resolve(folder, path) : path);
  const inEntry = (value: unknown, key: string) => changed(value, key, at);
  const source = (value: unknown) => ['path', 'root', 'take'].reduce(inEntry, value);
  const data = (value: unknown) =>
    changed(changed(source(value), 'test', source), 'outOfDistribution', (sets) => (Array.isArray(sets) ? sets.map(source) : sets));
  const weights = (value: unknown) => (typeof value === 'string' ? at(value) : inEntry(value, 'file'));
  return changed(changed(config, 'data', data), 'model', (model) => changed(model, 'weights', weights));
}

/** An object with one entry made another, where it has it. */
const changed = (value: unknown, key: string, change: (entry: unknown) => unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && key in value
    ? { ...value, [key]: change((value as Record<string, unknown>)[key]) }
    : value;

/** Of a run, by name, with defaults filled in. */
export interface Settings {
  readonly epochs: number;
  readonly batch: number;
  readonly accumulate: number;
  readonly ema: number;
  readonly seed: number;
  readonly device: string;
  readonly threads: number | undefined;
  readonly bfloat16: boolean;
  readonly channelsLast: boolean;
  readonly tf32: boolean;
  readonly collapseEvery: number;
  readonly globalMean: 'classes' | 'samples';
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly decay: Complete<WeightDecays>;
  readonly augmentation: Complete<Augmentation>;
  readonly crop: CheckedCrop | undefined;
  /** Learning rates of an epoch's steps. */
  rates(epoch: number, steps: number): Float64Array;
}

/** Checks all that needs no images. @throws the place's code, with the path to what is wrong */
export function checkSettings(given: unknown, place: Place): Settings {
  const config = checkKeys(given, keys, place) as Partial<TrainingConfig>;
  for (const key of ['data', 'model', 'loss', 'epochs'] as const) {
    if (config[key] !== undefined) continue;
    throw new LayerpeelError(place.code, `${inside(place, key).path} is missing; expected data, model, loss and epochs.`);
  }
  const number = (key: keyof TrainingConfig, fallback: number, bounds: Parameters<typeof checkNumber>[2]) =>
    checkNumber(config[key] ?? fallback, inside(place, key), bounds);
  const flag = (key: keyof TrainingConfig, fallback: boolean) => checkBoolean(config[key] ?? fallback, inside(place, key));
  const count = { min: 1, max: 1e6, integer: true };
  const epochs = checkNumber(config.epochs, inside(place, 'epochs'), count);
  const here = inside(place, 'optimizer');
  const optimizer = checkKeys(
    config.optimizer ?? {},
    ['learningRate', 'ratePer', 'momentum', 'nesterov', 'weightDecay'],
    here,
  ) as Optimizer;
  const momentum = checkMomentum(optimizer.momentum ?? 0.9, inside(here, 'momentum'));
  const nesterov = checkBoolean(optimizer.nesterov ?? false, inside(here, 'nesterov'));
  if (nesterov && momentum === 0) {
    throw new LayerpeelError(place.code, `${here.path}.nesterov needs momentum above 0; leave one of them out.`);
  }
  const device = config.device ?? 'cpu';
  if (typeof device !== 'string' || !/^(cpu|cuda(:\d+)?)$/.test(device)) {
    throw new LayerpeelError(place.code, `${place.path}.device is ${show(device)}; expected cpu, cuda or cuda:1.`);
  }
  flag('tensorboard', false);
  const data = checkData(config.data, inside(place, 'data'));
  return {
    epochs,
    batch: number('batch', 128, count),
    accumulate: number('accumulate', 1, count),
    ema: number('ema', 0, { min: 0, below: 1 }),
    seed: checkSeed(config.seed, inside(place, 'seed')),
    device,
    threads: config.threads === undefined ? undefined : number('threads', 1, { min: 1, max: 1024, integer: true }),
    bfloat16: checkChoice(config.precision ?? 'float32', ['float32', 'bfloat16'], inside(place, 'precision')) === 'bfloat16',
    channelsLast: flag('channelsLast', true),
    tf32: flag('tf32', true),
    collapseEvery: number('collapseEvery', 1, { min: 0, integer: true }),
    globalMean: checkChoice(config.globalMean ?? 'classes', ['classes', 'samples'], inside(place, 'globalMean')),
    momentum,
    nesterov,
    decay: checkWeightDecay(optimizer.weightDecay, decayed, inside(here, 'weightDecay')),
    ...checkTrainingAugmentation(data.augmentation ?? {}, inside(place, 'data.augmentation')),
    rates: checkLearningRate(optimizer, epochs, here),
  };
}

function checkTrainingAugmentation(given: unknown, place: Place): Pick<Settings, 'augmentation' | 'crop'> {
  const { resizedCrop, ...rest } = checkKeys(given, [...augmentationParts, 'resizedCrop'], place);
  return {
    augmentation: checkAugmentation(rest, place),
    crop: resizedCrop === undefined ? undefined : checkCrop(resizedCrop, inside(place, 'resizedCrop')),
  };
}

export const inMemory = (data: DataFiles | DataSets): data is DataSets => 'train' in data;

function checkData(given: unknown, place: Place): DataFiles | DataSets {
  const sets = typeof given === 'object' && given !== null && 'train' in given;
  const data = checkKeys(given, sets ? setKeys : fileKeys, place);
  checkOutside(data.outOfDistribution ?? [], inside(place, 'outOfDistribution'));
  return data as unknown as DataFiles | DataSets;
}

function checkOutside(given: unknown, place: Place): void {
  const list = checkList(given, place).map((each, i) =>
    checkKeys(each, ['name', 'distance', 'set', ...sourceKeys], entry(place, i)),
  );
  checkSetNames(
    list.map(({ name }) => name),
    place,
  );
  for (const [i, { name: _, distance, set, ...source }] of list.entries()) {
    const here = entry(place, i);
    if (distance !== undefined) checkChoice(distance, distances, inside(here, 'distance'));
    if (set === undefined) checkSource(source as unknown as ImageSource, here);
    else {
      checkKeys(source, [], here);
      checkAnyImages(set as AnyImages, inside(here, 'set').path);
    }
  }
}

/** The source of a split, the training splits, and what is selected of these. */
export function partsOf(data: DataFiles): {
  source: (split: string) => ImageSource;
  training: readonly string[];
  selection: Selection;
} {
  const { split = 'train' } = data;
  const take = (names: readonly string[]) => Object.fromEntries(Object.entries(data).filter(([key]) => names.includes(key)));
  return {
    source: (split) => ({ ...take(sourceKeys), split }) as unknown as ImageSource,
    training: Array.isArray(split) ? split : [split as string],
    selection: take(['heldOut', 'imbalance', 'labelNoise']) as Selection,
  };
}

/** Times are in epochs; a schedule that cannot be run as it stands is refused. */
function checkLearningRate({ learningRate: given = 0.1, ratePer }: Optimizer, epochs: number, optimizer: Place): Settings['rates'] {
  const place = inside(optimizer, 'learningRate');
  const each = checkChoice(ratePer ?? 'step', ['step', 'epoch'], inside(optimizer, 'ratePer'));
  if (typeof given === 'function') {
    throw new LayerpeelError(
      place.code,
      `${place.path} is a function; expected a number or a rate object, so that the run is a file.`,
    );
  }
  const checked = checkRate(given, place);
  if (typeof given === 'number') return (_, steps) => new Float64Array(steps).fill(given);
  const rate = given as { kind: string; period?: number; milestones?: number[]; warmup?: number; timescale?: number };
  const late = rate.milestones?.find((epoch) => epoch >= epochs);
  const fault =
    late !== undefined
      ? `has the milestone ${late}, which a run of ${epochs} epochs does not reach`
      : (rate.warmup ?? 0) >= epochs
        ? `warms up for ${rate.warmup} epochs, but the run has ${epochs}`
        : rate.kind === 'cosine' && (rate.period as number) < epochs
          ? `has period ${rate.period}, after which it is 0, but the run has ${epochs} epochs`
          : undefined;
  if (fault) throw new LayerpeelError(place.code, `${place.path} ${fault}.`);
  if (each === 'epoch') return (epoch, steps) => new Float64Array(steps).fill(checked.steps(epoch, 1)[0] as number);
  return (epoch, steps) => {
    const times = Object.fromEntries(
      (['period', 'timescale', 'warmup'] as const).flatMap((key) => (rate[key] === undefined ? [] : [[key, rate[key] * steps]])),
    );
    const milestones = rate.milestones && { milestones: rate.milestones.map((time) => time * steps) };
    return checkRate({ ...rate, ...times, ...milestones }, place).steps(epoch * steps, steps);
  };
}

/** The kinds of losses that networks are trained with. */
const trainingLosses = [...lossKinds, 'ldam'] as const;

/** The loss of a network of so many classes, with `counts` training samples each. @throws the place's code */
export function checkTrainingLoss(config: TrainingConfig, counts: Int32Array, place: Place): NetworkLossPlan {
  const classes = counts.length;
  const here = inside(place, 'loss');
  const kind = checkChoice((config.loss as { kind?: unknown } | null)?.kind, trainingLosses, inside(here, 'kind'));
  const ldam = kind === 'ldam' ? checkLdam(config.loss, counts, here) : undefined;
  const { balanced: given, ...loss } = config.loss as Record<string, unknown>;
  const balanced = kind === 'dot-regression' ? checkBalanced(given ?? false, loss, here) : undefined;
  if (balanced === 'paper') {
    const lengths = balancedLengths(counts);
    if (loss.convention === 'lengths') loss.prototypeLength = lengths;
    else loss.prototypeEnergy = lengths.map((length) => length ** 2);
  }
  if ('softLabels' in loss) {
    throw new LayerpeelError(
      place.code,
      `${here.path}.softLabels is not for training; expected labels, with mixup or labelSmoothing.`,
    );
  }
  const fixed = config.model.classifier?.kind === 'fixed-etf';
  if (config.model.classifier?.bias && (kind === 'dot-regression' || ldam)) {
    throw new LayerpeelError(place.code, `${place.path}.model.classifier.bias is true, but ${kind} has no use for biases.`);
  }
  if (kind === 'dot-regression') {
    if (loss.prototypes === 'fixed' && !fixed) {
      throw new LayerpeelError(
        place.code,
        `${here.path}.prototypes is 'fixed', but the classifier is not; give model.classifier the kind 'fixed-etf', or 'learnable' here.`,
      );
    }
    loss.prototypes ??= fixed ? 'fixed' : 'learnable';
  }
  const { normalize = false, scale = 1 } = config.model.head ?? {};
  const regularization = config.regularization as Regularization | undefined;
  const setting = { normalizeFeatures: normalize || ldam !== undefined, ...(regularization && { regularization }) };
  const plan = checkLoss(ldam ? { kind: 'cross-entropy' } : loss, setting, { samples: 1, classes }, here, place);
  const weights = checkReweighting(config, counts, inside(place, 'reweighting'));
  return {
    ...plan,
    radius: plan.radius * (normalize ? scale : 1),
    ...(weights && { classWeights: weights.values }),
    meanRegularization: (regularization?.normalization ?? 'sum') !== 'sum',
    rescaled: checkBoolean(config.rescaled ?? false, inside(place, 'rescaled')),
    cosine: ldam !== undefined,
    balanced: balanced === 'released',
    ...(ldam && { ldamMargins: ldam.margins }),
    ldamScale: ldam?.scale ?? 1,
    weightsFrom: weights?.from ?? 0,
    meanByWeights: weights?.mean === 'weights',
  };
}

/** How prototypes' lengths weigh classes alike, if they do. */
function checkBalanced(given: unknown, loss: Record<string, unknown>, place: Place): 'paper' | 'released' | undefined {
  if (given === false) return undefined;
  const balanced = given === true ? 'released' : checkChoice(given, ['paper', 'released'] as const, inside(place, 'balanced'));
  if (balanced === 'released' && loss.convention !== 'lengths') {
    throw new LayerpeelError(
      place.code,
      `${place.path}.balanced belongs to the convention 'lengths'; set convention, or balanced to 'paper'.`,
    );
  }
  const odd = ['prototypeEnergy', 'prototypeLength'].find((key) => balanced === 'paper' && loss[key] !== undefined);
  if (odd)
    throw new LayerpeelError(
      place.code,
      `${place.path} has ${odd} and balanced 'paper', which is lengths of prototypes; give one of them.`,
    );
  return balanced;
}

function checkLdam(given: unknown, counts: Int32Array, place: Place): { margins: Float64Array; scale: number } {
  const { largestMargin, scale } = checkKeys(given, ['kind', 'largestMargin', 'scale'], place);
  const largest = checkNumber(largestMargin ?? 0.5, inside(place, 'largestMargin'), { above: 0 });
  const smallest = least(counts);
  return {
    margins: Float64Array.from(counts, (count) => largest * (count / smallest) ** -0.25),
    scale: checkNumber(scale ?? 30, inside(place, 'scale'), { above: 0 }),
  };
}

function checkReweighting(
  config: TrainingConfig,
  counts: Int32Array,
  place: Place,
): { values: Float64Array; from: number; mean: 'weights' | 'samples' } | undefined {
  if (config.reweighting === undefined) return undefined;
  const { beta, from, mean: divisor } = checkKeys(config.reweighting, ['beta', 'from', 'mean'], place);
  if (config.loss.kind !== 'ldam' && (config.loss.kind !== 'cross-entropy' || config.loss.classWeights)) {
    throw new LayerpeelError(place.code, `${place.path} is for cross-entropy without classWeights and for ldam; leave it out.`);
  }
  const b = checkNumber(beta ?? 0.9999, inside(place, 'beta'), { min: 0, max: 1 - 1e-12 });
  const raw = Float64Array.from(counts, (count) => (1 - b) / (1 - b ** count));
  const mean = raw.reduce((sum, weight) => sum + weight) / raw.length;
  const start = checkNumber(from ?? 0, inside(place, 'from'), { min: 0, integer: true });
  if (start >= config.epochs) {
    throw new LayerpeelError(place.code, `${place.path}.from is ${start}, but the run has ${config.epochs} epochs; expected less.`);
  }
  return {
    values: raw.map((weight) => weight / mean),
    from: start,
    mean: checkChoice(divisor ?? 'weights', ['weights', 'samples'] as const, inside(place, 'mean')),
  };
}
