/**
 * How the images of a set reach the network. Those in memory are all there at once; those in files, and crops of either, come some batches
 * at a time, made ahead (src/data/stream.ts). What the network makes of them is the same to the bit.
 */
import { types } from 'node:util';
import type { Control } from '../check/control.js';
import { type ChannelStatistics, channelStatistics, statisticsOver } from '../data/augment.js';
import { type CheckedCrop, centreCut, croppedView } from '../data/crop.js';
import { type AnyImages, checkAnyImages, type ImageSizes, inFiles, sharedBytes } from '../data/images.js';
import { decodedAhead, type Pieces, stretchesOf, type ViewOf, wholeOf } from '../data/stream.js';
import { type EngineSamples, EVALUATED, type Order } from './engine.js';
import type { Stretch } from './run-theory.js';

/** Images in memory that go through the network in one call: whole batches. */
const CHUNK = 16 * EVALUATED;

type Stoppable = Pick<Control, 'signal'>;

export class Feed {
  /** Of the images as the network is given them. */
  readonly sizes: ImageSizes;
  private shared: Uint8Array | undefined;

  /**
   * @param labels as the network numbers classes @default zeros, which stand for nothing
   * @param crop what it is given of the images @default all of them
   * @param seed of the crops
   */
  constructor(
    readonly set: AnyImages,
    readonly labels: Int32Array = new Int32Array(set.labels.length),
    private readonly crop?: CheckedCrop | undefined,
    private readonly seed = 0,
  ) {
    const sizes = checkAnyImages(set);
    this.sizes = crop ? { ...sizes, height: crop.size[0], width: crop.size[1] } : sizes;
  }

  /** The samples of an epoch in its order, in whole steps of so many samples but for the last. */
  async *epoch(epoch: number, { indices, partners }: Order, step: number, control: Stoppable): AsyncGenerator<EngineSamples> {
    const { set, sizes, crop, seed } = this;
    const samplesOf = (begin: number, end: number) => ({
      indices: indices.subarray(begin, end),
      labels: this.labelsOf(indices.subarray(begin, end)),
      ...(partners && { partnerLabels: this.labelsOf(partners.subarray(begin, end)) }),
    });
    if (!inFiles(set) && !crop) {
      this.shared ??= inShared(set.images);
      yield { data: this.shared, ...sizes, of: 0, ...samplesOf(0, indices.length) };
      return;
    }
    const span = (piece: number) => [piece * step, Math.min((piece + 1) * step, indices.length)] as const;
    const pieces = {
      count: Math.ceil(indices.length / step),
      most: Math.min(step, indices.length) * (partners ? 2 : 1),
      samples: (piece: number) => {
        const [begin, end] = span(piece);
        const all = new Int32Array((end - begin) * (partners ? 2 : 1));
        all.set(indices.subarray(begin, end));
        if (partners) all.set(partners.subarray(begin, end), end - begin);
        return all;
      },
    };
    const view: ViewOf | undefined = crop && ((sample) => croppedView(crop, seed, epoch, sample));
    let piece = 0;
    for await (const data of this.made(pieces, control, view)) yield this.part(data, samplesOf(...span(piece++)));
  }

  /** Samples that follow one another, in parts of so many @default as many as go through the network in one call */
  async *stretch(
    { first, count }: Stretch,
    control: Stoppable,
    part = inFiles(this.set) || this.crop ? EVALUATED : CHUNK,
  ): AsyncGenerator<EngineSamples> {
    const { set, sizes, crop } = this;
    const size = sizes.height * sizes.width * sizes.channels;
    const pieces = stretchesOf(first, count, part);
    const samplesOf = (piece: number) => {
      const indices = pieces.samples(piece);
      return { indices, labels: this.labelsOf(indices) };
    };
    let piece = 0;
    if (inFiles(set) || crop) {
      for await (const data of this.made(pieces, control)) yield this.part(data, samplesOf(piece++));
      return;
    }
    for (; piece < pieces.count; piece++) {
      const samples = samplesOf(piece);
      const begin = (first + piece * part) * size;
      yield this.part(set.images.subarray(begin, begin + samples.indices.length * size), samples);
    }
  }

  /** Mean and standard deviation of each channel, of what evaluation sees. */
  async statistics(control: Control): Promise<ChannelStatistics> {
    const { set, sizes, crop } = this;
    if (!crop) return channelStatistics(set, control);
    return statisticsOver(this.made(stretchesOf(0, sizes.count, EVALUATED), control), sizes, control);
  }

  /** @param view @default what evaluation sees of an image */
  private made(pieces: Pieces, control: Stoppable, view?: ViewOf): AsyncGenerator<Uint8Array> {
    const { set, sizes, crop } = this;
    const plain = (): ViewOf => {
      const centre = crop && { cut: centreCut(crop) };
      return centre ? () => centre : inFiles(set) ? wholeOf(set) : () => ({});
    };
    return decodedAhead(set, pieces, control, view ?? plain(), [sizes.height, sizes.width]);
  }

  private part(data: Uint8Array, samples: Pick<EngineSamples, 'indices' | 'labels' | 'partnerLabels'>): EngineSamples {
    const { count, height, width, channels } = this.sizes;
    return { data, height, width, channels, count: data.length / (height * width * channels), of: count, ...samples };
  }

  private labelsOf(indices: Int32Array): Int32Array {
    return indices.map((i) => this.labels[i] as number);
  }
}

/** Where native jobs read it without a copy. */
function inShared(images: Uint8Array): Uint8Array {
  if (types.isSharedArrayBuffer(images.buffer)) return images;
  const shared = sharedBytes(images.length, 'The images, where the network reads them,');
  shared.set(images);
  return shared;
}
