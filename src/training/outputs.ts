/**
 * What a trained network makes of any images: features `h` and logits `W h + b`, in evaluation mode, from a checkpoint or from weights
 * that were trained elsewhere. The images are normalized as those that it was trained on.
 */
import type { NDArray } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, checkList, checkNumber, checkPath, checkText, entry, inside, option } from '../check/options.js';
import type { AnyImages, ImageSizes } from '../data/images.js';
import { type Checkpoint, readTraining, restoreTraining } from './checkpoint.js';
import { checkSettings, type TrainingConfig } from './config.js';
import { type Trainer, type TrainerPlan, torchEngine } from './engine.js';
import { Feed } from './feed.js';
import { checkModel, type Model } from './models.js';
import { ANY_IMAGES, begin, checkNormalization, classifierOf, passes, place, planOf } from './network.js';
import { beginWith, classesOf, readWeights } from './weights.js';

/** A trained network. */
export interface Network {
  /** Of its checkpoint. */
  readonly file: string;
  /** Epochs it was trained for. */
  readonly epochs: number;
  /** Names of its classes. */
  readonly classes: readonly string[];
  /** Training samples of each class, `[C]`. */
  readonly counts: Int32Array;
  /** Size of the images that it takes. */
  readonly images: Omit<ImageSizes, 'count'>;
}

/** A network that was trained elsewhere. */
export interface Pretrained {
  /** With its `weights`. */
  readonly model: Model;
  /** Mean and standard deviation of each channel, of values in 0 … 1, by which the images were normalized that it was trained on. */
  readonly normalization: { readonly mean: readonly number[]; readonly std: readonly number[] };
  /** Names of the classes, where `model.weights.classifier` is true. @default '0', '1', … */
  readonly classes?: readonly string[] | undefined;
}

export interface OutputsOptions extends Control {
  /** Images that go through the network in one part. @default 4096; 256 of those that stay in their files */
  readonly part?: number | undefined;
  /** Threads of libtorch. @default those of the training's configuration, else of this machine */
  readonly threads?: number | undefined;
  /** `cpu` or `cuda`, where libtorch has it. @default that of the training's configuration */
  readonly device?: string | undefined;
}

/** What the network makes of images that follow one another. */
export interface OutputsPart {
  /** Index of the first of them. */
  readonly first: number;
  /** `[k, p]`, as they enter the logits. */
  readonly features: NDArray<Float32Array>;
  /** `[k, C]` */
  readonly logits: NDArray<Float32Array>;
  /** Prototypes `[C, p]` and biases `[C]`, which make the logits of the features. */
  readonly prototypes: NDArray<Float32Array>;
  readonly biases?: NDArray<Float32Array> | undefined;
}

/**
 * What a checkpoint, or the one in a run folder, says of its network.
 * @throws `LP_FILE` where there is none
 */
export async function readNetwork(checkpoint: string): Promise<Network> {
  return networkOf(await readCheckpoint(checkpoint));
}

/** The same, where the classifier may not be known. */
export type FeaturesPart = Pick<OutputsPart, 'first' | 'features'> & Partial<OutputsPart>;

/** A network that is about to be given images. */
interface Planned {
  readonly plan: TrainerPlan;
  /** Epochs that it was trained for. */
  readonly epochs: number;
  /** Whether its classifier is known. */
  readonly classified: boolean;
  restore(handle: Trainer): Promise<void>;
}

/**
 * Yields what a network makes of images, part by part, in their order; of labels nothing is asked. The network is that of a checkpoint, or
 * of the one in a run folder, whose size `fitImages` makes images; or one with weights that were trained elsewhere, of images of any size
 * that it can take. There logits, prototypes and biases come where `model.weights.classifier` is true.
 *
 * @throws `LP_FILE` for the checkpoint or the weights; `LP_SHAPE` for images of another size, and weights; `LP_CONFIG` for the network;
 *   `LP_NOT_BUILT`, `LP_OPTION`, `LP_NOT_FINITE`, `LP_DEVICE`, `LP_MEMORY`, `LP_ABORTED`
 */
export function outputs(network: string, images: AnyImages, options?: OutputsOptions): AsyncGenerator<OutputsPart, void, undefined>;
export function outputs(
  network: string | Pretrained,
  images: AnyImages,
  options?: OutputsOptions,
): AsyncGenerator<FeaturesPart, void, undefined>;
export async function* outputs(
  network: string | Pretrained,
  images: AnyImages,
  options: OutputsOptions = {},
): AsyncGenerator<FeaturesPart, void, undefined> {
  checkOptions(options, ['part', 'threads', 'device']);
  const bounds = { min: 1, max: 1e6, integer: true };
  const part = options.part === undefined ? undefined : checkNumber(options.part, option('options.part'), bounds);
  const feed = new Feed(images);
  const { count } = feed.sizes;
  torchEngine();
  const { plan, epochs, classified, restore } =
    typeof network === 'object' && network !== null
      ? await planPretrained(network, feed, options)
      : await planTrained(network, feed, options);
  const { signal, onProgress } = options;
  const control = signal ? { signal } : {};
  const handle = await begin(plan, control);
  try {
    await restore(handle);
    const classifier = classified ? await classifierOf(handle, plan) : {};
    const asked = { epoch: epochs - 1, logits: classified, part };
    for await (const { first, count: rows, features, logits } of passes(handle, feed, { first: 0, count }, asked, control)) {
      yield {
        first,
        features: { shape: [rows, features.length / rows], data: features },
        ...(logits && { logits: { shape: [rows, plan.classes], data: logits } }),
        ...classifier,
      };
      onProgress?.((first + rows) / count);
    }
  } finally {
    torchEngine().dispose(handle);
  }
}

async function planTrained(checkpoint: string, feed: Feed, options: OutputsOptions): Promise<Planned> {
  const from = await readCheckpoint(checkpoint);
  checkFit(feed.set, networkOf(from));
  const { config, counts, normalization, epochs } = from.progress;
  const { threads = config.threads, device = config.device } = options;
  const whole = { ...config, data: { train: feed.set, normalization }, threads, device } as unknown as TrainingConfig;
  const plan = await planOf(whole, checkSettings(whole, place), feed.sizes, Int32Array.from(counts), async () => normalization);
  return { plan, epochs, classified: true, restore: (handle) => restoreTraining(handle, from) };
}

async function planPretrained(network: Pretrained, feed: Feed, options: OutputsOptions): Promise<Planned> {
  const { model, normalization } = checkPretrained(network);
  const weights = await readWeights(model, inside(place, 'model'));
  if (!weights)
    throw new LayerpeelError('LP_CONFIG', `${place.path}.model.weights is missing; expected what the network is given.`);
  const { architecture } = checkModel(model, feed.sizes, 2, PLAIN, inside(place, 'model'));
  const classes = classesOf(weights, architecture);
  checkClassNames(network.classes, weights.classifier, classes);
  const config = { data: { train: feed.set, normalization }, model, loss: { kind: 'cross-entropy' }, epochs: 1 } as const;
  const { threads, device } = options;
  const settings = checkSettings({ ...config, threads, device }, place);
  const plan = await planOf(
    config,
    settings,
    feed.sizes,
    new Int32Array(Math.max(2, classes ?? 2)).fill(1),
    async () => normalization,
  );
  return { plan, epochs: 1, classified: classes !== undefined, restore: (handle) => beginWith(handle, model, weights) };
}

/** Of a network that is not trained here. */
const PLAIN = { seed: 0, biases: true };

/** Checks a network that was trained elsewhere, whatever its weights and images are. @throws `LP_CONFIG` */
export function checkPretrained(network: unknown): Pretrained {
  const given = checkKeys(network, ['model', 'normalization', 'classes'], place) as unknown as Pretrained;
  const channels = (given.normalization as { mean?: unknown } | undefined)?.mean;
  checkNormalization(given.normalization, Array.isArray(channels) ? channels.length : 3, inside(place, 'normalization'));
  checkModel(given.model, ANY_IMAGES, 2, PLAIN, inside(place, 'model'));
  return given;
}

function checkClassNames(given: unknown, wanted: boolean, count: number | undefined): void {
  if (given === undefined) return;
  const here = inside(place, 'classes');
  const names = checkList(given, here, 'a list of names').map((name, c) => checkText(name, entry(here, c)));
  if (wanted && (count === undefined || names.length === count)) return; // a classifier that is not there is missed by its name
  const fault = wanted ? `but the classifier has ${count}` : 'but model.weights.classifier is not true';
  throw new LayerpeelError('LP_CONFIG', `${here.path} has ${names.length} names, ${fault}.`);
}

async function readCheckpoint(path: unknown): Promise<Checkpoint> {
  const found = await readTraining(checkPath(path, option('checkpoint')));
  const { classes, images, normalization } = found.progress;
  if (classes && images && normalization) return found;
  throw new LayerpeelError(
    'LP_FILE',
    `${found.file} does not say what images its network takes; layerpeel train CONFIG.json --resume RUN writes it anew.`,
  );
}

const networkOf = ({ file, progress: { epochs, classes, counts, images } }: Checkpoint): Network => ({
  ...{ file, epochs, classes, images },
  counts: Int32Array.from(counts),
});

function checkFit({ shape: [, ...own] }: AnyImages, { images: { height, width, channels } }: Network): void {
  const wanted = [height, width, channels];
  if (String(own) === String(wanted)) return;
  throw new LayerpeelError(
    'LP_SHAPE',
    `The images are ${own.join('×')}, those of the network ${wanted.join('×')} (height × width × channels); fitImages stretches them.`,
  );
}
