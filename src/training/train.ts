/**
 * Training of networks on labelled images, an epoch at a time, with neural collapse measured over the training set.
 */
import { least, most } from '../array/extremes.js';
import type { NDArray, State } from '../array/ndarray.js';
import { type Control, checkCallback, checkOptions } from '../check/control.js';
import { aborted, LayerpeelError } from '../check/errors.js';
import { entry, inside, option } from '../check/options.js';
import { collapse, type FeatureSource, type PairCosines } from '../collapse/collapse.js';
import { type CollapseMeasure, collapseMeasures } from '../collapse/measures.js';
import { fitImages } from '../data/fit.js';
import { type AnyImages, checkAnyImages, classCounts, inFiles, joinImages, sharedBytes } from '../data/images.js';
import { checkSource, type ImageSource, openImagesAt } from '../data/load.js';
import { checkSelection, selectImagesAt } from '../data/subsets.js';
import { run } from '../engine/run.js';
import { appendByClass, type ByClass, ByClassSums, beginByClass, type EpochByClass } from './by-class.js';
import { type Checkpoint, readTraining, restoreTraining, saveTraining } from './checkpoint.js';
import {
  checkSettings,
  checkTrainingLoss,
  type DataFiles,
  inMemory,
  partsOf,
  type Settings,
  type TrainingConfig,
} from './config.js';
import { type Order, type RawTrained, type Trainer, type TrainerPlan, torchEngine } from './engine.js';
import { Feed } from './feed.js';
import { checkModel, featureDimension, smallestMap } from './models.js';
import { ANY_IMAGES, begin, checkNormalization, classifierOf, hasBiases, passes, place, planOf } from './network.js';
import { probeOf, RunTheory, theorySetting } from './run-theory.js';
import type { Comparison } from './theory.js';
import { beginWith, describeWeights, readWeights, sameWeights } from './weights.js';

export interface TrainOptions extends Control {
  /** A checkpoint, or a run folder with one, of the same configuration: goes on from there. */
  readonly resume?: string | undefined;
  /** Hears the share of the whole run done, and what is being done. */
  readonly onStage?: ((share: number, doing: string) => void) | undefined;
  /** Called when everything has been checked, before training; a rejection ends the run. */
  readonly onReady?: ((about: Ready) => void | Promise<void>) | undefined;
}

export interface Ready {
  /** Of the network, trained or fixed. */
  readonly parameters: number;
  /** Dimension of the features. */
  readonly dim: number;
  /** Training images. */
  readonly samples: number;
  readonly checkpointBytes: number;
  /** Training samples of each class. */
  readonly counts: Int32Array;
  readonly classes: readonly string[];
  /** Of the epochs before, where a run is resumed. */
  readonly history: Epoch['history'];
  readonly byClass: ByClass;
  theory: Epoch['theory'];
}

/** What the network makes of images, in evaluation mode and without augmentation. */
export interface NetworkOutput {
  /** `[n, p]`, as they enter the logits. */
  readonly features: NDArray<Float32Array>;
  /** `[n, C]` */
  readonly logits: NDArray<Float32Array>;
  readonly labels: Int32Array;
  /** Mean loss, without regularization. */
  readonly loss: number;
}

/** An epoch that is done. Its functions hold until the next one is asked for. */
export interface Epoch {
  /** From 1. */
  readonly epoch: number;
  /** Numbers by name: what a row of `metrics.csv` has. */
  readonly measures: Readonly<Record<string, number>>;
  /** All rows until here, those before a resumed run included. */
  readonly history: readonly Readonly<Record<string, number>>[];
  /** What was measured by class of all epochs until here, `[epochs, C]`: see `classMeasures`. */
  readonly byClass: ByClass;
  /** Training samples of each class, and its name. */
  readonly counts: Int32Array;
  readonly classes: readonly string[];
  /** Writes the state to a `.safetensors` file, whole or not at all. */
  save(path: string): Promise<void>;
  readonly splits: readonly Split[];
  /** The mean of the features of the training images, `[p]`. */
  featureMean(): Promise<NDArray<Float32Array>>;
  /** What the network makes of the images of a split, those of classes held out or out of distribution among them: once an epoch, then the same. */
  output(split: Split): Promise<NetworkOutput>;
  /** The layer-peeled model from the network's own start beside what the network did since; or a sentence why there is none. */
  theory(): Promise<Comparison | string>;
  /** Prototypes `[C, p]` and biases `[C]`, averaged where `ema` is set. */
  classifier(): Promise<{ readonly prototypes: NDArray<Float32Array>; readonly biases?: NDArray<Float32Array> | undefined }>;
}

/** Logits and features of a split are kept up to so many; where there are more, they are made when asked for. */
const [KEPT_LOGITS, KEPT_FEATURES] = [2 ** 26, 2 ** 28];
/** Numbers of features that are heard together, of those that are not kept. */
const BLOCK = 2 ** 24;

/**
 * Trains a network and yields each epoch when it is done; a run that is resumed at its end yields the last one again. Work is off the event loop, on a thread of its own and libtorch's.
 * The same configuration and seed give the same bits on a CPU, with the same number of threads, resumed or not.
 *
 * @throws `LP_CONFIG` for the configuration, before training starts; `LP_FILE` for images and checkpoints; `LP_BALANCE` for class
 *   counts that cannot be met; `LP_NOT_FINITE` with epoch and batch where training diverges; `LP_NOT_BUILT`, `LP_DEVICE`,
 *   `LP_MEMORY`, `LP_ABORTED`
 */
export async function* train(config: TrainingConfig, options: TrainOptions = {}): AsyncGenerator<Epoch, void, undefined> {
  checkOptions(options, ['onStage', 'onReady', 'resume']);
  checkCallback(options.onStage, option('options.onStage'));
  checkCallback(options.onReady, option('options.onReady'));
  const { signal, onStage = () => {} } = options;
  const settings = checkTraining(config);
  torchEngine();
  const from = options.resume === undefined ? undefined : await readTraining(options.resume);
  // A checkpoint has what came of them.
  const weights = from ? undefined : await readWeights(config.model, inside(place, 'model'));
  const images = await loadSets(config, settings, options);
  const feeds = feedsOf(images, settings);
  const train = feedOf(feeds, 'train');
  const counts = classCounts(images.train);
  checkCounts(counts, images.train);
  // A resumed run need not read files for what its checkpoint says.
  const known = inFiles(images.train) || settings.crop ? from?.progress.normalization : undefined;
  const measured = () => train.statistics(controlOf(options, 'channels of train'));
  const plan = await planOf(config, settings, train.sizes, counts, async () => known ?? measured());
  checkVariance(plan, images.train.labels.length, settings.batch);
  const description = describe(config);
  if (from) checkSame(from.progress, description, counts, settings, from.file);
  const control = signal ? { signal } : {};
  const handle = await begin(plan, control);
  try {
    if (from) await restoreTraining(handle, from);
    if (weights) await beginWith(handle, config.model, weights);
    const history = [...(from?.progress.history ?? [])];
    let byClass = beginByClass(history.length, counts.length, from?.byClass);
    const { look, setting, before } = theoryOf({ handle, config, settings, plan, images, feeds, counts, control }, from);
    const theory = await RunTheory.begin(setting, () => look(0), before);
    const begun = { counts, classes: images.train.classes, byClass };
    await options.onReady?.({ ...about(handle, images.train), ...begun, history: [...history], theory: () => theory.compare() });
    const zetaOf = (epoch: number) =>
      settings.rates(epoch, stepsOf(settings, images.train.labels.length)).reduce((a, b) => a + b, 0);
    const first = from?.progress.epochs ?? 0;
    const epochOf = (epoch: number, measures: Epoch['measures'], seen: Evaluations): Epoch => {
      const { start, observations } = theory;
      const own = byClass;
      const progress = {
        ...{ epochs: epoch, config: description, history: [...history], counts: [...counts] },
        ...networkOf(plan, images.train),
        observations: [...observations],
      };
      return {
        ...{ epoch, measures, history: progress.history, byClass: own, counts, classes: images.train.classes },
        save: (path) => saveTraining(path, handle, progress, own, start),
        theory: () => theory.compare(),
        splits: splitsOf(images),
        featureMean: () => seen.featureMean(),
        output: (split) => seen.output(split),
        classifier: () => classifierOf(handle, plan),
      };
    };
    const evaluationsOf = (epoch: number) => new Evaluations({ handle, feeds, plan, epoch, control });
    // Whoever was interrupted after the last checkpoint has not yet made of the last epoch what is to be made of it.
    if (first > 0 && first === settings.epochs) yield epochOf(first, history.at(-1) ?? {}, evaluationsOf(first - 1));
    let [zeta, told] = [0, 0];
    for (let epoch = 0; epoch < first; epoch++) zeta += zetaOf(epoch);
    for (let done = first; done < settings.epochs; done++) {
      if (signal?.aborted) throw aborted(signal);
      const seen = evaluationsOf(done);
      const found = await runEpoch({ handle, plan, settings, feeds, done, seen, onStage, control });
      zeta += zetaOf(done);
      await theory.observe(zeta, () => look(done));
      // With what was drawn of the epochs before.
      const measures = { ...found.measures, secondsTheory: theory.seconds - told };
      told = theory.seconds;
      history.push(measures);
      byClass = appendByClass(byClass, found.byClass);
      yield epochOf(done + 1, measures, seen);
      options.onProgress?.((done + 1) / settings.epochs);
    }
  } finally {
    torchEngine().dispose(handle);
  }
}

function about(handle: Trainer, { labels }: AnyImages) {
  const layout = torchEngine().trainerLayout(handle);
  const sum = (list: typeof layout) => list.reduce((total, { shape }) => total + shape.reduce((n, extent) => n * extent, 1), 0);
  const learned = layout.filter(({ name }) => name.startsWith('model.') && !/running_(mean|var)$/.test(name));
  const dim = layout.find(({ name }) => name === 'model.prototypes')?.shape[1] as number;
  return { parameters: sum(learned), dim, samples: labels.length, checkpointBytes: 4 * sum(layout) };
}

/** What a checkpoint says so that its network can be given other images. */
function networkOf(
  { augmentation: { mean, std }, architecture: { height, width, channels } }: TrainerPlan,
  { classes }: AnyImages,
) {
  const normalization = { mean: Array.from(mean), std: Array.from(std) };
  return { classes, images: { height, width, channels }, normalization };
}

interface Begun {
  readonly handle: Trainer;
  readonly config: TrainingConfig;
  readonly settings: Settings;
  readonly plan: TrainerPlan;
  readonly images: Sets;
  readonly feeds: Feeds;
  readonly counts: Int32Array;
  readonly control: Control;
}

/** What the theory of a run is made of: how to look at the probe, and what is known of it. */
function theoryOf({ handle, config, settings, plan, images, feeds, counts, control }: Begun, from?: Checkpoint) {
  const { labels: all } = images.train;
  const probe = probeOf(all, counts);
  const labels = Int32Array.from(probe.flatMap(({ first, count }) => Array.from(all.subarray(first, first + count))));
  const look = async (epoch: number): Promise<State> => {
    const parts: Float32Array[] = [];
    for (const stretch of probe) {
      for await (const part of passes(handle, feedOf(feeds, 'train'), stretch, { epoch, logits: false }, control)) {
        parts.push(part.features);
      }
    }
    const dim = parts.reduce((sum, { length }) => sum + length, 0) / labels.length;
    const data = new Float32Array(labels.length * dim);
    let at = 0;
    for (const part of parts) {
      data.set(part, at);
      at += part.length;
    }
    return { features: { shape: [labels.length, dim], data }, labels, ...(await classifierOf(handle, plan)) };
  };
  const { features, prototypes, ...rest } = from?.start ?? {};
  return {
    look,
    setting: theorySetting(config, {
      ...{ batch: Math.min(settings.batch, all.length), probe: labels.length },
      ...{ classes: plan.classes, dim: featureDimension(plan.architecture) },
    }),
    ...(from &&
      features &&
      prototypes && { before: { start: { ...rest, features, prototypes, labels }, observations: from.progress.observations } }),
  };
}

/** Checks a configuration, whatever its images are. @throws `LP_CONFIG` with the path to what is wrong */
export function checkTraining(config: TrainingConfig): Settings {
  const settings = checkSettings(config, place);
  if (!inMemory(config.data)) checkBeforehand(config, config.data, settings);
  return settings;
}

/** Finds what is wrong with a configuration whatever its images are, before the first of them is read. */
function checkBeforehand(config: TrainingConfig, data: DataFiles, { seed }: Settings): void {
  const here = inside(place, 'data');
  const { source, training, selection } = partsOf(data);
  if (new Set(training).size < Math.max(1, training.length)) {
    const fault = training.length === 0 ? 'no split' : 'a split twice';
    throw new LayerpeelError('LP_CONFIG', `${here.path}.split names ${fault}; expected a split, or a list of different ones.`);
  }
  for (const split of training) checkSource(source(split), here);
  if (typeof data.test === 'object') checkSource(data.test, inside(here, 'test'));
  else if (data.test !== false) checkSource(source(data.test ?? 'test'), here);
  checkSelection(selection, here);
  const { kind, classWeights } = (config.loss ?? {}) as { kind?: string; classWeights?: { length?: number } };
  const counts = new Int32Array(Math.max(2, Math.min(classWeights?.length ?? 2, 2 ** 16))).fill(ANY_IMAGES.count);
  checkModel(config.model, ANY_IMAGES, counts.length, { seed, biases: hasBiases(kind) }, inside(place, 'model'));
  checkTrainingLoss(config, counts, place);
  const channels = (data.normalization as { mean?: { length?: number } } | undefined)?.mean?.length;
  if (data.normalization !== undefined) checkNormalization(data.normalization, channels ?? ANY_IMAGES.channels);
}

interface Sets {
  readonly train: AnyImages;
  readonly test?: AnyImages | undefined;
  /** Images of classes that are held out: of the test split where there is one. */
  readonly heldOut?: AnyImages | undefined;
  /** Sets out of distribution by their names. */
  readonly outside: ReadonlyMap<string, AnyImages>;
}

/** `ood:` and a name: a set out of distribution. */
export type Split = 'train' | 'test' | 'heldOut' | `ood:${string}`;

const setOf = (sets: Sets, split: Split): AnyImages | undefined =>
  split === 'train' || split === 'test' || split === 'heldOut' ? sets[split] : sets.outside.get(split.slice('ood:'.length));

const splitsOf = (sets: Sets): Split[] => [
  ...(['train', 'test', 'heldOut'] as const).filter((split) => sets[split]),
  ...Array.from(sets.outside.keys(), (name) => `ood:${name}` as const),
];

async function loadSets(config: TrainingConfig, settings: Settings, options: TrainOptions): Promise<Sets> {
  const sets = await loadSplits(config, settings, options);
  const [, height, width, channels] = sets.train.shape;
  const outside = new Map<string, AnyImages>();
  for (const [i, { name, distance: _, ...given }] of (config.data.outOfDistribution ?? []).entries()) {
    const here = entry(inside(inside(place, 'data'), 'outOfDistribution'), i);
    const load = (source: ImageSource) => openImagesAt(here, sized(source, [height, width], settings), controlOf(options, name));
    const images = 'set' in given ? given.set : await load(given);
    // Where the network is given the centre of an image, any size will do.
    const [own, across] = settings.crop ? images.shape.slice(1) : [height, width];
    const size = { height: own as number, width: across as number, channels };
    outside.set(name, await fitImages(images, size, { signal: options.signal }));
  }
  return { ...sets, outside };
}

/** A source of files, each of which may have a size of its own: of this one, unless it says otherwise or is cropped. */
const sized = (source: ImageSource, size: readonly [number, number], { crop }: Settings): ImageSource =>
  ['folder', 'list'].includes(source.kind) && !(crop && source.stream) ? { size, ...source } : source;

const controlOf = ({ signal, onStage }: TrainOptions, what: string) => ({
  ...(signal && { signal }),
  ...(onStage && { onProgress: (share: number) => onStage(0, `reading ${what}: ${Math.round(100 * share)}%`) }),
});

async function loadSplits({ data }: TrainingConfig, settings: Settings, options: TrainOptions): Promise<Omit<Sets, 'outside'>> {
  if (inMemory(data)) {
    checkAnyImages(data.train, 'config.data.train');
    if (data.test) checkAnyImages(data.test, 'config.data.test');
    return matching({ train: data.train, ...(data.test && { test: data.test }) }, settings);
  }
  const { source, training, selection } = partsOf(data);
  const load = (split: string, more: object = {}) =>
    openImagesAt(inside(place, 'data'), { ...source(split), ...more }, controlOf(options, split));
  const [begin, ...more] = training as [string, ...string[]];
  let whole = await load(begin);
  // What comes after is numbered as the first split is.
  const numbered = ({ kind }: Pick<ImageSource, 'kind'>) =>
    ['idx', 'folder', 'list', 'npy', 'npz'].includes(kind) ? { classes: whole.classes } : {};
  for (const split of more) whole = joinImages([whole, await load(split, numbered(data))]);
  const { images: train, heldOut } = selectImagesAt(inside(place, 'data'), whole, selection);
  // Of a class that is held out there may be no image.
  const some = (set: AnyImages | undefined) => (set && set.labels.length > 0 ? { heldOut: set } : {});
  if (data.test === false) return { train, ...some(heldOut) };
  const { test = 'test' } = data;
  const own = [whole.shape[1], whole.shape[2]] as const;
  const other = async (source: ImageSource) =>
    openImagesAt(inside(place, 'data.test'), { ...numbered(source), ...sized(source, own, settings) }, controlOf(options, 'test'));
  const all = await (typeof test === 'object' ? other(test) : load(test, numbered(data)));
  // Without the classes held out.
  const tested = selectImagesAt(inside(place, 'data'), all, { heldOut: selection.heldOut ?? [] });
  return matching({ train, test: tested.images, ...some(tested.heldOut) }, settings);
}

function matching(sets: Omit<Sets, 'outside'>, { crop }: Settings): Omit<Sets, 'outside'> {
  const { train, test } = sets;
  if (test && !crop && String(test.shape.slice(1)) !== String(train.shape.slice(1))) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `Test images are ${test.shape.slice(1).join('×')}, training images ${train.shape.slice(1).join('×')}; expected one size.`,
    );
  }
  if (test && test.classes.length !== train.classes.length) {
    throw new LayerpeelError(
      'LP_LABEL',
      `The test set has ${test.classes.length} classes, the training set ${train.classes.length}; expected the same.`,
    );
  }
  return sets;
}

function checkCounts(counts: Int32Array, { classes }: AnyImages): void {
  const empty = counts.indexOf(0);
  if (empty !== -1) {
    throw new LayerpeelError('LP_BALANCE', `Class ${classes[empty]} has no training image; expected at least one of every class.`);
  }
  if (counts.length < 2) throw new LayerpeelError('LP_BALANCE', 'There is one class; expected at least two to train between.');
}

/** The configuration as a checkpoint keeps it: without images and weights in memory. */
function describe(config: TrainingConfig): Record<string, unknown> {
  const { data, model, ...others } = config;
  const rest = { ...others, model: { ...model, ...(model.weights !== undefined && { weights: describeWeights(model.weights) }) } };
  const outside = data.outOfDistribution?.map((each) => ('set' in each ? { ...each, set: each.set.source } : each));
  const sets = inMemory(data) && { train: data.train.source, test: data.test?.source };
  return JSON.parse(JSON.stringify({ ...rest, data: { ...data, ...(outside && { outOfDistribution: outside }), ...sets } }));
}

/** What may differ when a run goes on: where it stands and runs, how far it goes and what is watched. */
const FREE = ['epochs', 'device', 'threads', 'collapseEvery', 'tensorboard'];

/** What of an entry is compared on its own, or not at all. */
const ELSEWHERE: Readonly<Record<string, readonly string[]>> = {
  data: ['path', 'root', 'cache', 'stream', 'outOfDistribution'],
  model: ['weights'],
};

const without = (value: unknown, keys: readonly string[] = []): unknown => {
  if (keys.length === 0 || typeof value !== 'object') return value;
  const entries = Object.entries(Object(value)).filter(([key]) => !keys.includes(key));
  // A source to test on lies somewhere, too.
  return Object.fromEntries(entries.map(([key, entry]) => [key, key === 'test' ? without(entry, keys) : entry]));
};

function checkSame(
  { config, counts, epochs }: { config: Record<string, unknown>; counts: readonly number[]; epochs: number },
  now: Record<string, unknown>,
  countsNow: Int32Array,
  settings: Settings,
  file: string,
): void {
  const differs = [...new Set([...Object.keys(config), ...Object.keys(now)])].find((key) => {
    if (FREE.includes(key)) return false;
    const [before, after] = [config[key], now[key]].map((value) => JSON.stringify(without(value, ELSEWHERE[key])));
    return before !== after;
  });
  if (differs === 'model') {
    throw new LayerpeelError(
      'LP_FILE',
      `${file} is a checkpoint of another architecture: its model is ${JSON.stringify(config.model)}, the configuration's ${JSON.stringify(now.model)}.`,
    );
  }
  const weights = [config.model, now.model].map((model) => (model as Record<string, unknown>).weights);
  const other = differs ?? (sameWeights(weights[0], weights[1]) ? undefined : 'model.weights');
  if (other) {
    throw new LayerpeelError(
      'LP_CONFIG',
      `config.${other} is not that of ${file}; a run goes on with the configuration it began with.`,
    );
  }
  if (String(counts) !== String(Array.from(countsNow))) {
    throw new LayerpeelError(
      'LP_CONFIG',
      `${file} was trained on classes of ${brief(counts)} images; these have ${brief(Array.from(countsNow))}.`,
    );
  }
  if (epochs > settings.epochs) {
    throw new LayerpeelError(
      'LP_CONFIG',
      `config.epochs is ${settings.epochs}, but ${file} has done ${epochs}; expected at least as many.`,
    );
  }
}

/** The first of some counts. */
const brief = (counts: readonly number[]): string => `${counts.slice(0, 10).join(', ')}${counts.length > 10 ? ', …' : ''}`;

/** BatchNorm in training needs two values a channel: of a batch of one sample it has the pixels of one map. */
function checkVariance({ headNorm, architecture }: Pick<TrainerPlan, 'headNorm' | 'architecture'>, samples: number, batch: number) {
  const last = samples % batch || batch;
  if (Math.min(last, samples) > 1) return;
  const of = headNorm ? 'model.head.batchNorm' : smallestMap(architecture) === 1 ? 'BatchNorm on maps of one pixel' : undefined;
  if (of === undefined) return;
  const [which, way] = batch === 1 ? ['A batch has', 'a larger batch'] : ['The last batch has', 'another batch'];
  throw new LayerpeelError(
    'LP_CONFIG',
    `${which} a single sample (${samples} by config.batch ${batch}), which has no variance for ${of}; choose ${way}${headNorm ? '' : ' or larger images'}.`,
  );
}

/** The images of each split, as they reach the network. */
type Feeds = ReadonlyMap<Split, Feed>;

/** Labels of classes that the network does not have stand for nothing. */
const feedsOf = (sets: Sets, { crop, seed }: Settings): Feeds =>
  new Map(
    splitsOf(sets).map((split) => {
      const set = setOf(sets, split) as AnyImages;
      if (crop && inFiles(set) && set.fit === 'stretch') {
        throw new LayerpeelError(
          'LP_CONFIG',
          `${place.path}.data has a size that ${split} images in their files are stretched to, and a resizedCrop, which says another; leave size out.`,
        );
      }
      const known = split === 'train' || split === 'test';
      return [split, new Feed(set, known ? set.labels : undefined, crop, seed)];
    }),
  );

function feedOf(feeds: Feeds, split: Split): Feed {
  const feed = feeds.get(split);
  if (feed) return feed;
  throw new LayerpeelError('LP_OPTION', `There are no ${split} images; expected config.data to have them.`);
}

interface Running {
  readonly handle: Trainer;
  readonly plan: TrainerPlan;
  readonly settings: Settings;
  readonly feeds: Feeds;
  /** Epochs done before. */
  readonly done: number;
  /** What the network makes of the splits once the epoch is done. */
  readonly seen: Evaluations;
  readonly onStage: (share: number, doing: string) => void;
  readonly control: Control;
}

/** What came of the steps of an epoch. */
interface Trained {
  /** Means over the samples, in training mode. */
  readonly loss: number;
  readonly accuracy: number;
  /** In all, and for images. */
  readonly seconds: number;
  readonly waited: number;
}

/** Takes the steps of an epoch. */
async function descend({ handle, settings, feeds, done, onStage, control }: Running, rates: Float64Array): Promise<Trained> {
  const { epochs, batch, accumulate } = settings;
  const feed = feedOf(feeds, 'train');
  const samples = feed.sizes.count;
  const elapsed = (since: number) => (performance.now() - since) / 1000;
  const began = performance.now();
  const order = await run(
    { call: (_, mode) => torchEngine().trainerOrder(mode, handle, { samples, epoch: done }), wrap: (raw: Order) => raw },
    control,
  );
  let [seen, steps, loss, correct, waited, asked] = [0, 0, 0, 0, 0, performance.now()];
  for await (const part of feed.epoch(done, order, batch * accumulate, control)) {
    waited += elapsed(asked);
    const { length } = part.indices;
    const own = rates.slice(steps, steps + stepsOf(settings, length));
    const before = seen;
    const told = (share: number) =>
      onStage((done + (before + share * length) / samples) / epochs, `epoch ${done + 1} of ${epochs}`);
    const raw = await run(
      {
        call: (_, mode) => torchEngine().trainerTrain(mode, handle, { samples: part, epoch: done, rates: own }),
        wrap: (result: RawTrained) => result,
      },
      { ...control, onProgress: told },
    );
    if (raw.divergedAt >= 0) {
      const at = Math.floor(seen / batch) + raw.divergedAt + 1;
      throw new LayerpeelError(
        'LP_NOT_FINITE',
        `Training diverged in epoch ${done + 1} at batch ${at} of ${Math.ceil(samples / batch)}: the loss or its gradient is not finite. ` +
          `${done > 0 ? `The state after epoch ${done} is the last good one; go` : 'Go'} on with a smaller learning rate, or a regularization.`,
      );
    }
    for (const [k, value] of raw.losses.entries()) loss += value * Math.min(batch, length - k * batch);
    for (const value of raw.correct) correct += value;
    waited += raw.waited;
    seen += length;
    steps += own.length;
    asked = performance.now();
  }
  return { loss: loss / samples, accuracy: correct / samples, seconds: elapsed(began), waited };
}

/** Trains for one epoch and measures what came of it. */
async function runEpoch(running: Running): Promise<Measured> {
  const { settings, feeds, done, seen, onStage } = running;
  const { epochs, collapseEvery } = settings;
  const samples = feedOf(feeds, 'train').sizes.count;
  const tested = feeds.has('test');
  const rates = settings.rates(done, stepsOf(settings, samples));
  const raw = await descend(running, rates);
  const measures: Record<string, number> = {
    epoch: done + 1,
    loss: raw.loss,
    accuracy: raw.accuracy,
    learningRate: rates[rates.length - 1] as number,
  };
  if (tested) {
    onStage((done + 1) / epochs, `testing after epoch ${done + 1}`);
    const { loss, accuracy } = await seen.of('test');
    Object.assign(measures, { testLoss: loss, testAccuracy: accuracy });
  }
  const watched = collapseEvery > 0 && ((done + 1) % collapseEvery === 0 || done + 1 === epochs);
  const began = performance.now();
  let found: Measured = { measures: {} };
  if (collapseEvery > 0) {
    onStage((done + 1) / epochs, `measuring after epoch ${done + 1}`);
    found = watched ? await watch(running, seen, tested) : { measures: unwatched(tested) };
  }
  return {
    measures: {
      ...measures,
      ...found.measures,
      seconds: raw.seconds,
      imagesPerSecond: samples / raw.seconds,
      waitedForImages: raw.waited,
      secondsMeasuring: (performance.now() - began) / 1000,
    },
    byClass: found.byClass,
  };
}

/** Numbers by name, and by class. */
interface Measured {
  readonly measures: Record<string, number>;
  readonly byClass?: EpochByClass | undefined;
}

const stepsOf = ({ batch, accumulate }: Settings, samples: number): number => Math.ceil(Math.ceil(samples / batch) / accumulate);

/** What the network makes of a split, and what that amounts to. */
interface Evaluated {
  /** Where there are not too many. */
  readonly features?: NDArray<Float32Array> | undefined;
  readonly logits?: NDArray<Float32Array> | undefined;
  /** Of features, `[p]`. */
  readonly mean: () => NDArray<Float32Array>;
  readonly loss: number;
  readonly accuracy: number;
  /** Mean length of the features before they are normalized. */
  readonly featureNorm: number;
}

interface EvaluationsOf {
  readonly handle: Trainer;
  readonly feeds: Feeds;
  readonly plan: TrainerPlan;
  readonly epoch: number;
  readonly control: Control;
}

/** What is kept of a pass over a split. */
interface Keep {
  readonly features: boolean;
  readonly logits: boolean;
}

/** Hears the features of samples that follow one another, as a pass makes them. */
type Hear = (features: NDArray<Float32Array>, first: number) => Promise<void>;

/** What the network makes of its splits after an epoch: once, when it is asked for. */
class Evaluations {
  private readonly made = new Map<Split, Evaluated>();

  constructor(private readonly about: EvaluationsOf) {}

  async of(split: Split): Promise<Evaluated> {
    const before = this.made.get(split);
    if (before) return before;
    await ended(this.pass(split, this.keep(split)));
    return this.made.get(split) as Evaluated;
  }

  async output(split: Split): Promise<NetworkOutput> {
    let found = await this.of(split);
    if (!found.features || !found.logits) {
      await ended(this.pass(split, { features: true, logits: true }));
      found = this.made.get(split) as Evaluated;
      // Nobody but who asked for it keeps what is too large.
      const { features, logits, ...rest } = found;
      const keep = this.keep(split);
      this.made.set(split, { ...rest, ...(keep.features && { features }), ...(keep.logits && { logits }) });
    }
    const { features, logits, loss } = found;
    return { ...({ features, logits } as Pick<NetworkOutput, 'features' | 'logits'>), labels: this.feed(split).set.labels, loss };
  }

  async featureMean(): Promise<NDArray<Float32Array>> {
    return (await this.of('train')).mean();
  }

  /**
   * The features of a split: those that are kept; or, of too many, a source that takes the images through the network whenever it is
   * swept.
   * @param hear is told of the features of the first sweep
   */
  async swept(split: Split, hear?: Hear): Promise<NDArray<Float32Array> | FeatureSource> {
    const keep = this.keep(split);
    if (keep.features) return (await this.of(split)).features as NDArray<Float32Array>;
    let first = true;
    const chunks = () => {
      const own = first ? hear : undefined;
      first = false;
      return this.pass(split, { features: false, logits: false }, own);
    };
    return { shape: [this.feed(split).sizes.count, this.dim()], dtype: 'float32', chunks };
  }

  private feed(split: Split): Feed {
    return feedOf(this.about.feeds, split);
  }

  private dim(): number {
    return featureDimension(this.about.plan.architecture);
  }

  private keep(split: Split): Keep {
    const { count } = this.feed(split).sizes;
    return { features: count * this.dim() <= KEPT_FEATURES, logits: count * this.about.plan.classes <= KEPT_LOGITS };
  }

  /** Takes a split through the network, part by part, and keeps of it what is asked, and what it amounts to. */
  private async *pass(split: Split, keep: Keep, hear?: Hear): AsyncGenerator<NDArray<Float32Array>, void, undefined> {
    const { handle, plan, epoch, control } = this.about;
    const feed = this.feed(split);
    const samples = feed.sizes.count;
    const [dim, { classes }] = [this.dim(), plan];
    const features = keep.features ? sharedRows(samples, dim, `The features of ${split}`) : undefined;
    const logits = keep.logits ? sharedRows(samples, classes, `The logits of ${split}`) : undefined;
    const sum = features ? undefined : new Float64Array(dim);
    const block = hear && blocksFor(hear, samples, dim);
    let [loss, norm, correct] = [0, 0, 0];
    for await (const part of passes(handle, feed, { first: 0, count: samples }, { epoch, logits: keep.logits }, control)) {
      const own = { shape: [part.count, dim], data: part.features };
      features?.data.set(part.features, part.first * dim);
      if (part.logits) logits?.data.set(part.logits, part.first * classes);
      if (sum) addRows(own, samples, sum);
      for (const value of part.losses) loss += value;
      for (const value of part.norms) norm += value;
      correct += part.correct;
      await block?.(own, part.first);
      yield own;
    }
    const mean = () => {
      const all = sum ?? new Float64Array(dim);
      if (features) addRows(features, samples, all);
      return { shape: [dim], data: Float32Array.from(all) };
    };
    this.made.set(split, {
      ...(features && { features }),
      ...(logits && { logits }),
      ...{ mean, loss: (loss * weightOf(plan, feed.labels, epoch)) / samples, accuracy: correct / samples },
      featureNorm: norm / samples,
    });
  }
}

/** Waits for a pass of which nothing is heard. */
async function ended(pass: AsyncGenerator<unknown>): Promise<void> {
  while (!(await pass.next()).done);
}

/** An array of zeros, shared, so that what measures it need not copy. @throws LP_MEMORY */
function sharedRows(rows: number, columns: number, what: string): NDArray<Float32Array> {
  const { buffer } = sharedBytes(4 * rows * columns, what, 'give fewer images');
  return { shape: [rows, columns], data: new Float32Array(buffer) };
}

/** Has parts heard in blocks, as few as memory allows. */
function blocksFor(hear: Hear, samples: number, dim: number): Hear {
  const rows = Math.min(samples, Math.max(256, Math.floor(BLOCK / dim)));
  const block = new Float32Array(rows * dim);
  let filled = 0;
  return async ({ shape: [count = 0], data }, first) => {
    for (let row = 0; row < count; ) {
      const take = Math.min(count - row, rows - filled);
      block.set(data.subarray(row * dim, (row + take) * dim), filled * dim);
      filled += take;
      row += take;
      if (filled < rows && first + row < samples) continue;
      await hear({ shape: [filled, dim], data: block.subarray(0, filled * dim) }, first + row - filled);
      filled = 0;
    }
  };
}

/** Adds rows to their mean over so many samples. */
function addRows({ data }: NDArray<Float32Array>, samples: number, mean: Float64Array): void {
  for (let at = 0; at < data.length; ) {
    for (let k = 0; k < mean.length; k++, at++) mean[k] = (mean[k] as number) + (data[at] as number) / samples;
  }
}

/** What makes sums of weighted losses means that the sum of the weights divides, times the samples. */
function weightOf({ loss }: TrainerPlan, labels: Int32Array, epoch: number): number {
  const { classWeights, weightsFrom, meanByWeights } = loss;
  if (!classWeights || !meanByWeights || epoch < weightsFrom) return 1;
  return labels.length / labels.reduce((sum, label) => sum + (classWeights[label] as number), 0);
}

/**
 * Collapse over the training set, in evaluation mode and without augmentation, the norms and angles of UL Figure 19, collapse of the
 * test set about the means of the training set, and what there is by class.
 */
async function watch(
  { handle, plan, settings, feeds, done, control }: Running,
  seen: Evaluations,
  tested: boolean,
): Promise<Measured> {
  const classifier = await classifierOf(handle, plan);
  const { labels, set } = feedOf(feeds, 'train');
  const sums = new ByClassSums({ counts: classCounts(set), classifier, plan, epoch: done });
  const features = await seen.swept('train', (block, first) =>
    sums.add(block, labels.subarray(first, first + (block.shape[0] as number)), control),
  );
  const began = performance.now();
  const options = { ...control, globalMean: settings.globalMean, cosines: false };
  const found = await inRange(collapse({ features, labels, ...classifier }, { ...options, classMeans: true }));
  const { loss, featureNorm } = await seen.of('train');
  if (!found) return { measures: { ...unwatched(tested), trainLoss: loss } };
  const test = tested ? { features: await seen.swept('test'), labels: feedOf(feeds, 'test').labels } : undefined;
  const ofTest = test && (await inRange(collapse({ ...test, ...classifier }, { ...options, reference: found, only: testNames })));
  if ('data' in features) await sums.add(features, labels, control);
  const byClass = sums.result();
  const { accuracy, ...measures } = Object.fromEntries(names.map((name) => [name, found[name] as number]));
  const lengths = found.prototypeNorms as Float64Array;
  return {
    measures: {
      trainLoss: loss,
      trainAccuracy: accuracy as number,
      ...measures,
      ...(tested && Object.fromEntries(testNames.map((name) => [testColumn(name), ofTest?.[name] ?? Number.NaN]))),
      secondsCollapse: (performance.now() - began) / 1000,
      featureNorm,
      smallestPrototypeNorm: least(lengths),
      prototypeNormRatio: most(lengths) / least(lengths),
      smallestPrototypeAngle: smallestAngle(found.prototypePairs as PairCosines),
      smallestCenteredPrototypeAngle: smallestAngle(found.centeredPrototypePairs as PairCosines),
    },
    byClass,
  };
}

/** Of features that have all but left their range there is nothing to measure yet; training finds out itself when they have. */
const inRange = <T>(measured: Promise<T>): Promise<T | undefined> =>
  measured.catch((error) => {
    if (['LP_OVERFLOW', 'LP_NOT_FINITE'].includes(error.code)) return undefined;
    throw error;
  });

/** In degrees. */
const smallestAngle = ({ largest }: PairCosines): number => (Math.acos(Math.min(1, largest)) * 180) / Math.PI;

const names = Object.keys(collapseMeasures) as CollapseMeasure[];
/** Those that are measured of the test features too, about the means of the training features. */
const testNames = ['nc1', 'nc1TraceRatio', 'nc1Cdnv', 'withinClassVariation', 'nc4'] as const;
const testColumn = (name: string): string => `test${name.charAt(0).toUpperCase()}${name.slice(1)}`;
const geometry = [
  ...['secondsCollapse', 'featureNorm', 'smallestPrototypeNorm', 'prototypeNormRatio'],
  ...['smallestPrototypeAngle', 'smallestCenteredPrototypeAngle'],
];

/** The columns of `watch` in an epoch that is not watched. */
const unwatched = (tested: boolean): Record<string, number> =>
  Object.fromEntries(
    [
      ...['trainLoss', 'trainAccuracy', ...names.filter((name) => name !== 'accuracy')],
      ...(tested ? testNames.map(testColumn) : []),
      ...geometry,
    ].map((name) => [name, Number.NaN]),
  );
