/**
 * Labelled images in memory: 8 bits a value, pixels row by row, channels last. Every loader gives this, and training takes it.
 */
import { checkRoom, showShape, sizeOf } from '../array/ndarray.js';
import { LayerpeelError } from '../check/errors.js';
import type { ImageSizes } from '../engine/load.js';

export interface ImageSet {
  /** `[n, height, width, channels]`. Loaders put them into shared memory, which native jobs and workers read in place. */
  readonly images: Uint8Array;
  readonly shape: readonly [n: number, height: number, width: number, channels: number];
  /** `[n]`, values in `0 … classes.length − 1`. */
  readonly labels: Int32Array;
  readonly classes: readonly string[];
  /** Where they come from, as people read it. */
  readonly source: string;
  /** Files that were left out because they could not be read, where the loader was told to skip them. */
  readonly skipped?: readonly string[];
}

/** Memory for `bytes` values that every thread may read. @throws LP_MEMORY */
export function sharedBytes(bytes: number, what: string): Uint8Array {
  checkRoom(bytes, what);
  try {
    return new Uint8Array(new SharedArrayBuffer(bytes));
  } catch (cause) {
    throw new LayerpeelError('LP_MEMORY', `${what} would take ${bytes} bytes, which cannot be had; load fewer.`, { cause });
  }
}

/** Checks a set's shape, lengths and labels. @throws LP_SHAPE, LP_LABEL, LP_DTYPE */
export function checkImages(set: ImageSet, name = 'images'): ImageSizes {
  const { images, shape, labels, classes } = (set ?? {}) as Partial<ImageSet>;
  if (!(images instanceof Uint8Array) || !(labels instanceof Int32Array)) {
    throw new LayerpeelError('LP_DTYPE', `${name} needs images as Uint8Array and labels as Int32Array; expected an ImageSet.`);
  }
  if (!Array.isArray(shape) || shape.length !== 4 || !Array.isArray(classes)) {
    throw new LayerpeelError('LP_SHAPE', `${name} needs shape [n, height, width, channels] and a list of classes.`);
  }
  const [count, height, width, channels] = shape as [number, number, number, number];
  if (sizeOf(shape, name) !== images.length || images.length === 0) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `${name}.shape is ${showShape(shape)}, but there are ${images.length} values; expected their product, and at least one image.`,
    );
  }
  if (labels.length !== count) {
    throw new LayerpeelError('LP_LABEL', `${name} has ${labels.length} labels for ${count} images; expected one an image.`);
  }
  const wrong = labels.findIndex((label) => label < 0 || label >= classes.length);
  if (wrong !== -1) {
    throw new LayerpeelError('LP_LABEL', `${name}.labels[${wrong}] is ${labels[wrong]}; expected 0 … ${classes.length - 1}.`);
  }
  return { count, height, width, channels };
}

/** Number of images of each class, `[classes.length]`. */
export function classCounts({ labels, classes }: Pick<ImageSet, 'labels' | 'classes'>): Int32Array {
  const counts = new Int32Array(classes.length);
  for (const label of labels) counts[label] = (counts[label] as number) + 1;
  return counts;
}

/** The images at these indices, in this order. @throws LP_SHAPE where an index leaves the set */
export function imageSubset(set: ImageSet, indices: ArrayLike<number>): ImageSet {
  const { count, height, width, channels } = checkImages(set);
  const size = height * width * channels;
  const images = sharedBytes(indices.length * size, 'A subset of the images');
  const labels = new Int32Array(indices.length);
  for (let to = 0; to < indices.length; to++) {
    const from = indices[to] as number;
    if (!Number.isInteger(from) || from < 0 || from >= count) {
      throw new LayerpeelError('LP_SHAPE', `indices[${to}] is ${from}; expected 0 … ${count - 1}.`);
    }
    images.set(set.images.subarray(from * size, (from + 1) * size), to * size);
    labels[to] = set.labels[from] as number;
  }
  return { ...set, images, labels, shape: [indices.length, height, width, channels] };
}
