/**
 * Images as a network takes them: augmented at random, normalized, float32, channels first (see native/ops/augment), and the
 * statistics that they are normalized with.
 */

import type { NDArray } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { type Complete, checkBoolean, checkKeys, checkNumber, inside, option, type Place, show } from '../check/options.js';
import { checkSeed } from '../check/quantities.js';
import { run, runSync, type Task } from '../engine/run.js';
import {
  type AnyImages,
  checkAnyImages,
  checkImages,
  checkIndices,
  type EngineImages,
  type ImageSet,
  type ImageSizes,
  inFiles,
} from './images.js';

/** What is done to every training image, drawn from the seed, the epoch and the image's index alone. */
export interface Augmentation {
  /** Zeros around an image, in pixels, before a window of its own size is cut at random. @default 0 */
  readonly padding?: number | undefined;
  /** Largest translation in either direction, in pixels; edges are repeated. @default 0 */
  readonly shift?: number | undefined;
  /** Mirrors left and right, every other time. @default false */
  readonly flip?: boolean | undefined;
  /** `α` of the share `λ ~ Beta(α, α)` of an image that is mixed with another; 0 mixes none. @default 0 */
  readonly mixup?: number | undefined;
}

export interface AugmentOptions extends Augmentation, Control {
  /** Subtracted from pixels in 0 … 1, for each channel. @default 0 */
  readonly mean?: readonly number[] | undefined;
  /** What they are then divided by. @default 1 */
  readonly std?: readonly number[] | undefined;
  /** From 0. @default 0 */
  readonly epoch?: number | undefined;
  /** @default 0 */
  readonly seed?: number | undefined;
}

export interface Augmented {
  /** `[count, channels, height, width]` */
  readonly images: NDArray<Float32Array>;
  /** With which image of the set each is mixed: its own index without mixup. `[count]` */
  readonly partners: Int32Array;
  /** Own share `λ` of each, a multiple of 2⁻¹⁶; its label is `λ` its own and `1 − λ` its partner's. `[count]` */
  readonly shares: Float64Array;
}

/**
 * The images at `indices`, as training sees them in this epoch: the same bits on any number of threads.
 * @throws LP_SHAPE, LP_LABEL, LP_DTYPE, LP_OPTION, LP_ABORTED
 */
export async function augment(set: ImageSet, indices: ArrayLike<number>, options: AugmentOptions = {}): Promise<Augmented> {
  return run(augmenting(set, indices, options), options);
}

/** `augment` on the calling thread (its loops still use every compute thread). */
export function augmentSync(set: ImageSet, indices: ArrayLike<number>, options: AugmentOptions = {}): Augmented {
  return runSync(augmenting(set, indices, options));
}

export const augmentationParts = ['padding', 'shift', 'flip', 'mixup'] as const;

/** Checks an augmentation and fills in the defaults. */
export function checkAugmentation(given: unknown, place: Place): Complete<Augmentation> {
  const { padding, shift, flip, mixup } = checkKeys(given, augmentationParts, place);
  const pixels = { min: 0, max: 4096, integer: true };
  return {
    padding: checkNumber(padding ?? 0, inside(place, 'padding'), pixels),
    shift: checkNumber(shift ?? 0, inside(place, 'shift'), pixels),
    flip: checkBoolean(flip ?? false, inside(place, 'flip')),
    // From so small a parameter on every share is 0 or 1, and smaller ones leave the range of doubles.
    mixup: mixup
      ? checkNumber(mixup, inside(place, 'mixup'), { min: 1e-6, max: 1e6 })
      : checkNumber(mixup ?? 0, inside(place, 'mixup')),
  };
}

/** `Augmentation` of native/ops/augment. */
export interface AugmentationPlan extends Complete<Augmentation> {
  readonly mean: Float64Array;
  readonly std: Float64Array;
  readonly seed: number;
}

interface AugmentPlan extends AugmentationPlan {
  readonly indices: Int32Array;
  readonly epoch: number;
}

interface RawAugmented extends Omit<Augmented, 'images'> {
  readonly images: Float32Array;
}

/** How often each channel has each value, `[channels, 256]`. */
interface RawHistogram {
  readonly counts: Float64Array;
}

declare module '../engine/load.js' {
  interface Engine {
    augment(mode: Mode, images: EngineImages, plan: AugmentPlan): Result<RawAugmented>;
    histogram(mode: Mode, images: EngineImages): Result<RawHistogram>;
  }
}

function augmenting(set: ImageSet, indices: ArrayLike<number>, options: AugmentOptions): Task<RawAugmented, Augmented> {
  const sizes = checkImages(set);
  const { count, height, width, channels } = sizes;
  checkOptions(options, [...augmentationParts, 'mean', 'std', 'epoch', 'seed']);
  const { padding, shift, flip, mixup } = options;
  const how = checkAugmentation({ padding, shift, flip, mixup }, option('options'));
  const epoch = checkNumber(options.epoch ?? 0, option('options.epoch'), { min: 0, integer: true });
  const seed = checkSeed(options.seed, option('options.seed'));
  const mean = checkChannels(options.mean ?? new Array(channels).fill(0), channels, option('options.mean'), -1e6);
  const std = checkChannels(options.std ?? new Array(channels).fill(1), channels, option('options.std'), 1e-6);
  const chosen = checkIndices(indices, count, 'LP_OPTION');
  const plan = { ...how, mean, std, seed, indices: chosen, epoch };
  return {
    call: (engine, mode) => engine.augment(mode, { data: set.images, ...sizes }, plan),
    wrap: (raw) => ({ ...raw, images: { shape: [chosen.length, channels, height, width], data: raw.images } }),
  };
}

function checkChannels(values: unknown, channels: number, place: Place, min: number): Float64Array {
  if (!Array.isArray(values) || values.length !== channels) {
    throw new LayerpeelError(place.code, `${place.path} is ${show(values)}; expected a list of ${channels}, one a channel.`);
  }
  return Float64Array.from(values, (value, c) => checkNumber(value, { ...place, path: `${place.path}[${c}]` }, { min, max: 1e6 }));
}

/** Mean and standard deviation (over all pixels, divided by their number) of each channel, of values in 0 … 1. */
export interface ChannelStatistics {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/**
 * The statistics of a set, from exact counts: one pass over images that stay in their files.
 * @throws LP_SHAPE, LP_LABEL, LP_DTYPE, LP_ABORTED; LP_FILE for what cannot be read
 */
export async function channelStatistics(set: AnyImages, control: Control = {}): Promise<ChannelStatistics> {
  checkOptions(control);
  const sizes = checkAnyImages(set);
  if (!inFiles(set)) return statisticsOf(await run(counting(set.images, sizes), control));
  const { decodedAhead, stretchesOf, wholeOf } = await import('./stream.js');
  const pieces = stretchesOf(0, sizes.count, 256);
  return statisticsOver(decodedAhead(set, pieces, control, wholeOf(set), [sizes.height, sizes.width]), sizes, control);
}

/** The statistics of images of these sizes that come in pieces. */
export async function statisticsOver(
  pieces: AsyncIterable<Uint8Array>,
  sizes: ImageSizes,
  control: Control,
): Promise<ChannelStatistics> {
  const all = new Float64Array(256 * sizes.channels);
  let done = 0;
  for await (const images of pieces) {
    const count = images.length / (sizes.height * sizes.width * sizes.channels);
    const counts = await run(counting(images, { ...sizes, count }), control.signal ? { signal: control.signal } : {});
    for (const [k, value] of counts.entries()) all[k] = (all[k] as number) + value;
    done += count;
    control.onProgress?.(done / sizes.count);
  }
  return statisticsOf(all);
}

/** `channelStatistics` on the calling thread. */
export function channelStatisticsSync(set: ImageSet): ChannelStatistics {
  const sizes = checkImages(set);
  return statisticsOf(runSync(counting(set.images, sizes)));
}

const counting = (data: Uint8Array, sizes: ImageSizes): Task<RawHistogram, Float64Array> => ({
  call: (engine, mode) => engine.histogram(mode, { data, ...sizes }),
  wrap: ({ counts }) => counts,
});

function statisticsOf(counts: Float64Array): ChannelStatistics {
  const channels = Array.from({ length: counts.length / 256 }, (_, c) => moments(counts.subarray(256 * c, 256 * (c + 1))));
  return { mean: channels.map(({ mean }) => mean), std: channels.map(({ std }) => std) };
}

function moments(counts: Float64Array): { mean: number; std: number } {
  let [number, sum, square] = [0, 0, 0];
  for (const [value, count] of counts.entries()) {
    number += count;
    sum += count * value;
  }
  const mean = sum / number;
  for (const [value, count] of counts.entries()) square += count * (value - mean) ** 2;
  return { mean: mean / 255, std: Math.sqrt(square / number) / 255 };
}
