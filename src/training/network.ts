/**
 * A network with its images in the libtorch extension: how it is planned from a configuration, begun, and asked what it makes of images.
 */
import type { Control } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, checkNumber, inside, type Place } from '../check/options.js';
import type { ChannelStatistics } from '../data/augment.js';
import type { ImageSizes } from '../data/images.js';
import { engine } from '../engine/load.js';
import { run } from '../engine/run.js';
import { normOf } from '../state/states.js';
import { tensorsOf } from './checkpoint.js';
import { checkTrainingLoss, type Settings, type TrainingConfig } from './config.js';
import { type RawEvaluation, type Trainer, type TrainerPlan, torchEngine } from './engine.js';
import type { Feed } from './feed.js';
import { checkModel } from './models.js';
import type { Stretch } from './run-theory.js';

/** Where a configuration stands. */
export const place: Place = { path: 'config', code: 'LP_CONFIG' };
/** Images on which every network can be built. */
export const ANY_IMAGES = { count: 1e6, height: 1024, width: 1024, channels: 3 };

/** Whether a classifier of this loss has biases unless told otherwise. */
export const hasBiases = (loss: string | undefined): boolean => loss !== 'dot-regression' && loss !== 'ldam';

/**
 * @param sizes of the images as the network is given them
 * @param statistics of their channels, which normalize where the configuration says nothing
 */
export async function planOf(
  config: TrainingConfig,
  settings: Settings,
  sizes: ImageSizes,
  counts: Int32Array,
  statistics: () => Promise<ChannelStatistics>,
) {
  const { bfloat16, channelsLast, tf32, momentum, nesterov, decay, batch, accumulate, ema, seed, device } = settings;
  const biases = hasBiases((config.loss as { kind?: string } | null)?.kind);
  const { prototypes: beginning, ...model } = checkModel(
    config.model,
    sizes,
    counts.length,
    { seed, biases },
    inside(place, 'model'),
  );
  const loss = checkTrainingLoss(config, counts, place);
  const { mean, std } = checkNormalization(config.data.normalization ?? (await statistics()), sizes.channels);
  const plan: TrainerPlan = {
    ...model,
    classes: counts.length,
    loss,
    ...{ momentum, nesterov, batch, accumulate, ema, seed, device, channelsLast, bfloat16, tf32 },
    ...{ weightDecay: decay.weights, prototypeDecay: decay.prototypes, biasDecay: decay.biases, normDecay: decay.norms },
    augmentation: { ...settings.augmentation, mean, std },
    threads: settings.threads ?? engine().info().threads,
  };
  return { ...plan, beginning };
}

/** Mean and standard deviation of each channel. */
export function checkNormalization(
  given: unknown,
  channels: number,
  here: Place = inside(place, 'data.normalization'),
): { mean: Float64Array; std: Float64Array } {
  const { mean, std } = checkKeys(given, ['mean', 'std'], here);
  const list = (values: unknown, key: string, least: number) => {
    if (!Array.isArray(values) || values.length !== channels) {
      throw new LayerpeelError('LP_CONFIG', `${here.path}.${key} must be a list of ${channels} numbers, one a channel.`);
    }
    return Float64Array.from(values, (value, c) => checkNumber(value, inside(here, `${key}[${c}]`), { min: least, max: 1e6 }));
  };
  // A channel that never changes is only shifted.
  const deviations = Array.isArray(std) ? std.map((value) => (value === 0 ? 1 : value)) : std;
  return { mean: list(mean, 'mean', -1e6), std: list(deviations, 'std', 1e-6) };
}

export const begin = (plan: TrainerPlan, control: Control): Promise<Trainer> =>
  run({ call: (_, mode) => torchEngine().trainerBegin(mode, plan), wrap: (handle: Trainer) => handle }, control);

/** What the network makes of samples that follow one another. */
export interface Passed extends RawEvaluation, Stretch {}

interface Pass {
  readonly epoch: number;
  readonly logits: boolean;
  /** Samples of one part. */
  readonly part?: number | undefined;
}

/** Takes a stretch of samples through the network in evaluation mode, and yields what it makes of them, part by part. */
export async function* passes(
  handle: Trainer,
  feed: Feed,
  stretch: Stretch,
  { epoch, logits, part }: Pass,
  control: Pick<Control, 'signal'>,
): AsyncGenerator<Passed> {
  let { first } = stretch;
  for await (const samples of feed.stretch(stretch, control, part)) {
    const raw = await run(
      {
        call: (_, mode) => torchEngine().trainerEvaluate(mode, handle, { samples, epoch, logits }),
        wrap: (raw: RawEvaluation) => raw,
      },
      control,
    );
    const count = samples.indices.length;
    yield { ...raw, first, count };
    first += count;
  }
}

/** Prototypes and biases as they enter the logits, averaged where `ema` is set. */
export async function classifierOf(handle: Trainer, plan: TrainerPlan) {
  const kind = plan.ema > 0 ? 'average' : 'model';
  const names = [`${kind}.prototypes`, ...(plan.bias ? [`${kind}.biases`] : [])];
  const [prototypes, biases] = await tensorsOf(handle, names);
  const w = plan.loss.cosine ? directions(prototypes as Float32Array, plan.classes) : (prototypes as Float32Array);
  return {
    prototypes: { shape: [plan.classes, w.length / plan.classes], data: w },
    ...(biases && { biases: { shape: [plan.classes], data: biases } }),
  };
}

/** Rows at unit length, as they enter the logits of a cosine classifier. */
function directions(rows: Float32Array, count: number): Float32Array {
  const dim = rows.length / count;
  const norms = Array.from({ length: count }, (_, c) => normOf(rows.subarray(c * dim, (c + 1) * dim)));
  return rows.map((value, at) => value / (norms[Math.floor(at / dim)] as number));
}
