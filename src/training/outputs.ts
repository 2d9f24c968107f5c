/**
 * What a trained network makes of any images: features `h` and logits `W h + b`, in evaluation mode, from a checkpoint. The images are
 * normalized as those that it was trained on.
 */
import type { NDArray } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { aborted, LayerpeelError } from '../check/errors.js';
import { checkNumber, checkPath, option } from '../check/options.js';
import { checkImages, type ImageSet, type ImageSizes } from '../data/images.js';
import { type Checkpoint, readTraining, restoreTraining } from './checkpoint.js';
import { checkSettings, type TrainingConfig } from './config.js';
import { torchEngine } from './engine.js';
import { begin, CHUNK, classifierOf, pass, place, planOf, splitOf } from './network.js';

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

export interface OutputsOptions extends Control {
  /** Images that go through the network in one part. @default 4096 */
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

/**
 * Yields what the network of a checkpoint, or of the one in a run folder, makes of images, part by part, in their order; of labels nothing
 * is asked. `fitImages` makes images of another size those that the network takes.
 *
 * @throws `LP_FILE` for the checkpoint; `LP_SHAPE` for images of another size; `LP_NOT_BUILT`, `LP_OPTION`, `LP_DEVICE`, `LP_MEMORY`,
 *   `LP_ABORTED`
 */
export async function* outputs(
  checkpoint: string,
  images: ImageSet,
  options: OutputsOptions = {},
): AsyncGenerator<OutputsPart, void, undefined> {
  checkOptions(options, ['part', 'threads', 'device']);
  const part = checkNumber(options.part ?? CHUNK, option('options.part'), { min: 1, max: 1e6, integer: true });
  const { count } = checkImages(images);
  torchEngine();
  const from = await readCheckpoint(checkpoint);
  checkFit(images, networkOf(from));
  const { signal, onProgress } = options;
  const control = signal ? { signal } : {};
  const { config, counts, normalization, epochs } = from.progress;
  const { threads = config.threads, device = config.device } = options;
  const whole = { ...config, data: { train: images, normalization }, threads, device } as unknown as TrainingConfig;
  const plan = await planOf(whole, checkSettings(whole, place), images, Int32Array.from(counts));
  const handle = await begin(plan, [splitOf(images)], control);
  try {
    await restoreTraining(handle, from);
    const classifier = await classifierOf(handle, plan);
    for (let first = 0; first < count; first += part) {
      if (signal?.aborted) throw aborted(signal);
      const rows = Math.min(part, count - first);
      const { features, logits } = await pass(handle, 0, { first, count: rows }, epochs - 1, true, control);
      yield {
        first,
        features: { shape: [rows, features.length / rows], data: features },
        logits: { shape: [rows, plan.classes], data: logits as Float32Array },
        ...classifier,
      };
      onProgress?.((first + rows) / count);
    }
  } finally {
    torchEngine().dispose(handle);
  }
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

function checkFit({ shape: [, ...own] }: ImageSet, { images: { height, width, channels } }: Network): void {
  const wanted = [height, width, channels];
  if (String(own) === String(wanted)) return;
  throw new LayerpeelError(
    'LP_SHAPE',
    `The images are ${own.join('×')}, those of the network ${wanted.join('×')} (height × width × channels); fitImages stretches them.`,
  );
}
