/**
 * Labelled images in memory: 8 bits a value, pixels row by row, channels last. Every loader gives this, and training takes it.
 */
import { types } from 'node:util';
import { checkLabelVector, checkRoom, countLabels, showShape, sizeOf } from '../array/ndarray.js';
import { type ErrorCode, LayerpeelError } from '../check/errors.js';
import { checkList, checkNumbers, checkObject, checkText, entry, option } from '../check/options.js';

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
  readonly skipped?: readonly string[] | undefined;
}

/** Of images `[count, height, width, channels]`. */
export interface ImageSizes {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/** Images as native functions take them. */
export interface EngineImages extends ImageSizes {
  readonly data: Uint8Array;
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
  const { images, shape, labels, classes, source, skipped } = checkObject(set, option(name)) as Partial<ImageSet>;
  if (!types.isUint8Array(images) || !types.isInt32Array(labels)) {
    throw new LayerpeelError('LP_DTYPE', `${name} needs images as Uint8Array and labels as Int32Array; expected an ImageSet.`);
  }
  if (!Array.isArray(shape) || shape.length !== 4) {
    throw new LayerpeelError('LP_SHAPE', `${name} needs shape [n, height, width, channels].`);
  }
  checkClassNames(classes, name);
  checkText(source, option(`${name}.source`), 'where the images come from, in words');
  if (skipped !== undefined) checkList(skipped, option(`${name}.skipped`), 'a list of paths');
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
  checkLabelVector(labels, (classes as readonly string[]).length);
  return { count, height, width, channels };
}

/** Number of images of each class, `[classes.length]`. @throws LP_LABEL, LP_OPTION */
export function classCounts(set: Pick<ImageSet, 'labels' | 'classes'>): Int32Array {
  const { labels, classes } = checkObject(set, option('images'));
  const { length } = checkClassNames(classes, 'images');
  return countLabels(checkLabelVector(labels, length), length);
}

function checkClassNames(classes: unknown, name: string): readonly string[] {
  const place = option(`${name}.classes`);
  for (const [c, one] of checkList(classes, place, 'a list of names').entries())
    checkText(one, entry(place, c), 'the name of a class');
  return classes as readonly string[];
}

/** The images at these indices, in this order. @throws LP_SHAPE where an index leaves the set */
export function imageSubset(set: ImageSet, indices: ArrayLike<number>): ImageSet {
  const { count, height, width, channels } = checkImages(set);
  const size = height * width * channels;
  const chosen = checkIndices(indices, count, 'LP_SHAPE');
  const images = sharedBytes(chosen.length * size, 'A subset of the images');
  for (const [to, from] of chosen.entries()) images.set(set.images.subarray(from * size, (from + 1) * size), to * size);
  const labels = Int32Array.from(chosen, (from) => set.labels[from] as number);
  return { ...set, images, labels, shape: [chosen.length, height, width, channels] };
}

/** The images of several sets, one set after another. @throws LP_SHAPE for sizes, LP_LABEL for classes that differ; LP_MEMORY */
export function joinImages(sets: readonly ImageSet[]): ImageSet {
  const [first, ...others] = checkList(sets, option('sets'), 'a list of image sets') as [ImageSet, ...ImageSet[]];
  if (first === undefined) throw new LayerpeelError('LP_OPTION', 'sets is empty; expected at least one image set.');
  const counts = [first, ...others].map((set, i) => checkImages(set, `sets[${i}]`).count);
  for (const [i, { shape, classes }] of others.entries()) {
    if (String(shape.slice(1)) !== String(first.shape.slice(1))) {
      throw new LayerpeelError(
        'LP_SHAPE',
        `sets[${i + 1}] has images of ${shape.slice(1).join('×')}, the first of ${first.shape.slice(1).join('×')}; expected one size.`,
      );
    }
    if (classes.length !== first.classes.length || classes.some((name, c) => name !== first.classes[c])) {
      throw new LayerpeelError(
        'LP_LABEL',
        `sets[${i + 1}] has other classes than the first; expected the same, in the same order.`,
      );
    }
  }
  const bytes = first.images.length / (counts[0] as number);
  const total = counts.reduce((sum, count) => sum + count);
  const images = sharedBytes(total * bytes, 'The images of all sets');
  const labels = new Int32Array(total);
  let at = 0;
  for (const [i, set] of [first, ...others].entries()) {
    images.set(set.images, at * bytes);
    labels.set(set.labels, at);
    at += counts[i] as number;
  }
  const skipped = [first, ...others].flatMap((set) => set.skipped ?? []);
  const source = [first, ...others].map((set) => set.source).join('; ');
  const [, height, width, channels] = first.shape;
  return { ...first, images, labels, source, shape: [total, height, width, channels], ...(skipped.length > 0 && { skipped }) };
}

/** Indices of images, each in `0 … count − 1`. */
export const checkIndices = (indices: unknown, count: number, code: ErrorCode): Int32Array =>
  Int32Array.from(checkNumbers(indices, { path: 'indices', code }, { min: 0, max: count - 1, integer: true }));
