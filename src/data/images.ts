/**
 * Labelled images: in memory, 8 bits a value, pixels row by row, channels last, as every loader gives them; or in their files, from
 * which they are decoded whenever a network takes them. Training takes both.
 */
import { types } from 'node:util';
import { checkLabelVector, checkRoom, countLabels, showShape, sizeOf } from '../array/ndarray.js';
import { type ErrorCode, LayerpeelError } from '../check/errors.js';
import { checkBoolean, checkChoice, checkList, checkNumbers, checkObject, checkText, entry, option } from '../check/options.js';

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

/** Images that stay in their files: what `streamImages` gives. */
export interface ImageFiles {
  /** Paths, one an image. */
  readonly files: readonly string[];
  /** `[n, height, width, 3]`, as they are decoded. */
  readonly shape: readonly [n: number, height: number, width: number, channels: number];
  /** Whether every image is stretched to that size, or must have it. */
  readonly fit: 'stretch' | 'same';
  /** Whether images are turned as their EXIF orientation says. */
  readonly orient: boolean;
  /** `[n]`, values in `0 … classes.length − 1`. */
  readonly labels: Int32Array;
  readonly classes: readonly string[];
  /** Where they come from, as people read it. */
  readonly source: string;
  /** Files that are no images by their names, where these were to be skipped. */
  readonly skipped?: readonly string[] | undefined;
}

export type AnyImages = ImageSet | ImageFiles;

export const inFiles = (set: AnyImages): set is ImageFiles => 'files' in set;

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
export function sharedBytes(bytes: number, what: string, advice = 'load fewer'): Uint8Array {
  checkRoom(bytes, what, advice);
  try {
    return new Uint8Array(new SharedArrayBuffer(bytes));
  } catch (cause) {
    throw new LayerpeelError('LP_MEMORY', `${what} would take ${bytes} bytes, which cannot be had; ${advice}.`, { cause });
  }
}

/** Checks a set's shape, lengths and labels. @throws LP_SHAPE, LP_LABEL, LP_DTYPE */
export function checkImages(set: ImageSet, name = 'images'): ImageSizes {
  const { images } = checkObject(set, option(name)) as Partial<ImageSet>;
  if (!types.isUint8Array(images)) {
    const files = 'files' in set ? '; these stay in their files, as only channelStatistics, train and outputs take them' : '';
    throw new LayerpeelError('LP_DTYPE', `${name} needs images as Uint8Array; expected an ImageSet${files}.`);
  }
  const sizes = checkLabelled(set, name);
  if (sizeOf(set.shape, name) !== images.length || images.length === 0) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `${name}.shape is ${showShape(set.shape)}, but there are ${images.length} values; expected their product, and at least one image.`,
    );
  }
  return sizes;
}

/** `checkImages` of images in memory, or in their files. @throws LP_OPTION too */
export function checkAnyImages(set: AnyImages, name = 'images'): ImageSizes {
  if (!('files' in checkObject(set, option(name)))) {
    const odd = ['fit', 'orient'].find((key) => key in set);
    if (odd === undefined) return checkImages(set as ImageSet, name);
    throw new LayerpeelError('LP_OPTION', `${name}.${odd} is of images in their files, but there are no files; leave it out.`);
  }
  const { files, fit, orient } = set as ImageFiles;
  for (const [i, file] of checkList(files, option(`${name}.files`), 'a list of paths').entries()) {
    if (typeof file !== 'string') checkText(file, entry(option(`${name}.files`), i), 'a path');
  }
  checkChoice(fit, ['stretch', 'same'], option(`${name}.fit`));
  checkBoolean(orient, option(`${name}.orient`));
  const sizes = checkLabelled(set, name);
  if (files.length !== sizes.count || sizeOf(set.shape, name) === 0 || sizes.channels !== 3) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `${name}.shape is ${showShape(set.shape)}, but there are ${files.length} files; expected [files, height, width, 3], and at least one.`,
    );
  }
  return sizes;
}

function checkLabelled(set: AnyImages, name: string): ImageSizes {
  const { shape, labels, classes, source, skipped } = set;
  if (!types.isInt32Array(labels)) {
    throw new LayerpeelError('LP_DTYPE', `${name} needs labels as Int32Array; expected an ImageSet.`);
  }
  if (!Array.isArray(shape) || shape.length !== 4) {
    throw new LayerpeelError('LP_SHAPE', `${name} needs shape [n, height, width, channels].`);
  }
  checkClassNames(classes, name);
  checkText(source, option(`${name}.source`), 'where the images come from, in words');
  if (skipped !== undefined) checkList(skipped, option(`${name}.skipped`), 'a list of paths');
  const [count, height, width, channels] = shape as [number, number, number, number];
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
export function imageSubset<S extends AnyImages>(set: S, indices: ArrayLike<number>): S {
  const { count, height, width, channels } = checkAnyImages(set);
  const size = height * width * channels;
  const chosen = checkIndices(indices, count, 'LP_SHAPE');
  const labels = Int32Array.from(chosen, (from) => set.labels[from] as number);
  const subset = { ...set, labels, shape: [chosen.length, height, width, channels] };
  if (inFiles(set)) return { ...subset, files: Array.from(chosen, (from) => set.files[from] as string) };
  const images = sharedBytes(chosen.length * size, 'A subset of the images');
  for (const [to, from] of chosen.entries()) images.set(set.images.subarray(from * size, (from + 1) * size), to * size);
  return { ...subset, images };
}

/** The images of several sets, one set after another. @throws LP_SHAPE for sizes, LP_LABEL for classes that differ; LP_MEMORY */
export function joinImages<S extends AnyImages>(sets: readonly S[]): S {
  const [first, ...others] = checkList(sets, option('sets'), 'a list of image sets') as [S, ...S[]];
  if (first === undefined) throw new LayerpeelError('LP_OPTION', 'sets is empty; expected at least one image set.');
  const counts = [first, ...others].map((set, i) => checkAnyImages(set, `sets[${i}]`).count);
  const way = (set: S) => (inFiles(set) ? `in files, ${set.fit}, ${set.orient}` : 'in memory');
  const odd = others.findIndex((set) => way(set) !== way(first));
  if (odd >= 0) {
    throw new LayerpeelError(
      'LP_OPTION',
      `sets[${odd + 1}] and the first are not both in memory, or in files to be decoded alike.`,
    );
  }
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
  const total = counts.reduce((sum, count) => sum + count);
  const labels = new Int32Array(total);
  for (const [i, set] of [first, ...others].entries()) labels.set(set.labels, at(i));
  const skipped = [first, ...others].flatMap((set) => set.skipped ?? []);
  const source = [first, ...others].map((set) => set.source).join('; ');
  const [, height, width, channels] = first.shape;
  const joined = { ...first, labels, source, shape: [total, height, width, channels], ...(skipped.length > 0 && { skipped }) };
  if (inFiles(first)) return { ...joined, files: [first, ...others].flatMap((set) => (set as ImageFiles).files) };
  const bytes = height * width * channels;
  const images = sharedBytes(total * bytes, 'The images of all sets');
  for (const [i, set] of [first, ...others].entries()) images.set((set as ImageSet).images, at(i) * bytes);
  return { ...joined, images };

  function at(i: number): number {
    return counts.slice(0, i).reduce((sum, count) => sum + count, 0);
  }
}

/** Indices of images, each in `0 … count − 1`. */
export const checkIndices = (indices: unknown, count: number, code: ErrorCode): Int32Array =>
  Int32Array.from(checkNumbers(indices, { path: 'indices', code }, { min: 0, max: count - 1, integer: true }));
