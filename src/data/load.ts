/**
 * Labelled images from files, whatever their format: one entry for all, one module a format, loaded when first used.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import {
  checkBoolean,
  checkChoice,
  checkKeys,
  checkNumber,
  checkPath,
  checkText,
  inside,
  option,
  type Place,
  show,
} from '../check/options.js';
import type { AnyImages, ImageFiles, ImageSet } from './images.js';
import type { Listing } from './listed.js';
import { type CheckedSource, checkSignal, type LoadControl } from './reading.js';

export interface ImageSource {
  /**
   * `cifar10`, `cifar100`: the binary version. `idx`: MNIST and all of its form, plain or `.gz`. `svhn`: `train_32x32.mat`.
   * `stl10`: `train_X.bin`, `train_y.bin`. `folder`: images in `<path>/<split>/<class>/`, of any format that sharp reads. `list`: such
   * images named in `<path>/<split>` or `<path>/<split>.txt`, a line each: a path and a label, with a blank between.
   * `npz`: arrays of one file, such as MedMNIST's; `npy`: of files, such as those of CIFAR-10-C: images `[n, height, width]` or
   * `[n, height, width, channels]` of uint8, labels `[n]` or `[n, 1]`.
   */
  readonly kind: 'cifar10' | 'cifar100' | 'folder' | 'idx' | 'list' | 'npy' | 'npz' | 'stl10' | 'svhn';
  /** The folder that holds the files (of a `folder`: its splits, of a `list`: the lists); of `npz` the file. */
  readonly path: string;
  /**
   * `train` or `test`; of SVHN also `extra`; of a `folder` the name of any folder in it, or `false` where its classes stand in `path`
   * itself, or images alone, which are one class then; of a `list` its name; of `npy` and `npz` what the names of arrays begin with.
   * @default 'train'
   */
  readonly split?: string | false | undefined;
  /**
   * Compares the checksums of files that have a published file's name and size. What a format checks in itself (sizes, counts,
   * labels, checksums of compressed data) is always checked. Not for `folder`, `list`, `npy`, `npz`. @default true
   */
  readonly verify?: boolean | undefined;
  /**
   * Names of the classes in the order of their numbers, for `idx`, `list`, `npy`, `npz` (@default '0', '1', … up to the largest label) and
   * `folder` (@default all class folders, sorted). A label or a class folder beyond them is an error: load a test set with the
   * training set's `classes`, so that both are numbered alike. A `folder` of another split than `train` may lack some of them.
   */
  readonly classes?: readonly string[] | undefined;
  /**
   * Of a `folder`: class folders that are taken, in the order of their numbers, or a file that names one a line; the others are left
   * alone. @default all
   */
  readonly take?: string | readonly string[] | undefined;
  /** Of a `list`: the folder that its paths begin at. @default that of the list */
  readonly root?: string | undefined;
  /**
   * Of a `folder` or `list`: leaves the images in their files, and decodes them whenever a network takes them. For `train`; `loadImages`
   * has no use for it, `streamImages` needs none. @default false
   */
  readonly stream?: boolean | undefined;
  /** Of a `folder` or `list`: `[height, width]` that every image is stretched to. @default their own, if all are of one */
  readonly size?: readonly [height: number, width: number] | undefined;
  /** Of a `folder` or `list`: an unreadable image is an error that names it, or left out and named in the set's `skipped`. @default 'refuse' */
  readonly onUnreadable?: 'refuse' | 'skip' | undefined;
  /** Of a `folder`: what is no image by its name (`.csv`) is read as one all the same, or left out and named in `skipped`. @default 'refuse' */
  readonly onOther?: 'refuse' | 'skip' | undefined;
  /** Of a `folder` or `list`: turns images as their EXIF orientation says. Otherwise pixels are as they are stored, as in torchvision. @default false */
  readonly orient?: boolean | undefined;
  /**
   * Of a `folder` or `list`: where its decoded images are kept for the next time, in one file for each split and size, which is made anew when
   * an image changes; `false` keeps none. Where it cannot be written, none is kept. @default `<path>/.layerpeel-cache`
   */
  readonly cache?: string | false | undefined;
  /** Of `idx`: what the files' names begin with: `emnist-letters-`. @default '' */
  readonly prefix?: string | undefined;
  /** Of `idx`, `npy`, `npz`: exchanges rows and columns of the images, as EMNIST's need it. @default false */
  readonly transpose?: boolean | undefined;
  /** Of `idx`, `list`, `npy`, `npz`: the label of the first class: 1 for EMNIST's letters. @default 0 */
  readonly firstLabel?: number | undefined;
  /**
   * Of `idx`, `list`, `npy`, `npz`: with 'leave out' classes without images have no number, and those after them smaller ones; every class keeps
   * its label as its name, by which `classes` of a training set number a test set too. @default 'keep'
   */
  readonly emptyClasses?: 'keep' | 'leave out' | undefined;
  /** Of `npz` the name of the array of images, of `npy` the file. @default `<split>_images`, or `x_<split>`, whichever is there */
  readonly images?: string | undefined;
  /** The same of labels. @default `<split>_labels`, or `y_<split>` */
  readonly labels?: string | undefined;
}

type Loader<T> = () => Promise<(source: CheckedSource, control: LoadControl) => Promise<T>>;

interface Kind {
  readonly load: Loader<ImageSet>;
  /** Of image files: which there are. */
  readonly list?: Loader<Listing> | undefined;
  /** Undefined where any name is one. */
  readonly splits?: readonly string[] | undefined;
  readonly keys: readonly string[];
}

const cifar: Kind = { load: async () => (await import('./cifar.js')).loadCifar, splits: ['train', 'test'], keys: ['verify'] };
const labelKeys = ['classes', 'transpose', 'firstLabel', 'emptyClasses'];
const arrays: Kind = { load: async () => (await import('./arrays.js')).loadArrays, keys: [...labelKeys, 'images', 'labels'] };

/** Image files, which are listed before they are loaded. */
const listed = (list: Loader<Listing>, keys: readonly string[]): Kind => ({
  list,
  load: async () => {
    const [names, { loadListed }] = [await list(), await import('./listed.js')];
    return async (source, control) => loadListed(await names(source, control), source, control);
  },
  keys: ['classes', 'size', 'onUnreadable', 'orient', 'cache', 'stream', ...keys],
});

const KINDS: Readonly<Record<ImageSource['kind'], Kind>> = {
  cifar10: cifar,
  cifar100: cifar,
  folder: listed(async () => (await import('./folder.js')).listFolder, ['onOther', 'take']),
  idx: {
    load: async () => (await import('./idx.js')).loadIdx,
    splits: ['train', 'test'],
    keys: ['verify', 'prefix', ...labelKeys],
  },
  list: listed(async () => (await import('./list.js')).listLines, ['root', 'firstLabel', 'emptyClasses']),
  npy: arrays,
  npz: arrays,
  stl10: { load: async () => (await import('./stl10.js')).loadStl10, splits: ['train', 'test'], keys: ['verify'] },
  svhn: { load: async () => (await import('./svhn.js')).loadSvhn, splits: ['train', 'test', 'extra'], keys: ['verify'] },
};

const COMMON = ['kind', 'path', 'split'];

/** What a source may say, of any kind. */
export const sourceKeys: readonly string[] = [...COMMON, ...new Set(Object.values(KINDS).flatMap(({ keys }) => keys))];

/**
 * Loads a labelled set of images: `[n, height, width, channels]`, 8 bit, in shared memory.
 * @param control `signal` stops it, `onProgress` is told the share done
 * @throws LP_FILE naming the file and what was expected, for what is missing, truncated, damaged, mislabelled or unreadable;
 * LP_OPTION for the source, LP_MEMORY, LP_ABORTED
 */
export async function loadImages(source: ImageSource, control: LoadControl = {}): Promise<ImageSet> {
  return loadImagesAt(option('source'), source, control);
}

/**
 * Labelled images of a `folder` or `list` that stay in their files: for sets larger than memory. `train` and `outputs` take them.
 * @throws LP_FILE for what is missing or no list, LP_OPTION for the source, LP_ABORTED; a file that cannot be read is an error of
 * whoever takes its image
 */
export async function streamImages(source: ImageSource, control: LoadControl = {}): Promise<ImageFiles> {
  const place = option('source');
  checkSource(source, place);
  return (await openImagesAt(place, { ...source, stream: true }, control)) as ImageFiles;
}

/** How published data sets are known by their files, those of test splits. */
const PUBLISHED: readonly (readonly [ImageSource['kind'], RegExp])[] = [
  ['cifar10', /^test_batch\.bin$/],
  ['cifar100', /^test\.bin$/],
  ['idx', /^t10k-images[-.]idx3-ubyte(\.gz)?$/],
  ['stl10', /^test_X\.bin$/],
  ['svhn', /^test_32x32\.mat$/],
];

/**
 * The source of images at a path, by what lies there: the test split of a published data set, a `.npz`, or else a folder of class
 * folders or of images.
 * @param size that images of a folder are stretched to
 */
export function sourceAt(path: string, size: readonly [height: number, width: number]): ImageSource {
  if (/\.npz$/i.test(path)) return { kind: 'npz', path, split: 'test' };
  let names: readonly string[] = [];
  try {
    names = readdirSync(path);
  } catch {} // its loader says what is wrong
  const [kind] = PUBLISHED.find(([, pattern]) => names.some((name) => pattern.test(name))) ?? [];
  return kind ? { kind, path, split: 'test' } : { kind: 'folder', path, split: false, size, cache: false };
}

/** `loadImages` of a source that stands at a place of its own. */
export async function loadImagesAt(place: Place, source: ImageSource, control: LoadControl): Promise<ImageSet> {
  if (checkSource(source, place).stream) {
    const at = inside(place, 'stream');
    throw wrong(at, true, 'false where images are loaded; train leaves them in their files, as streamImages does');
  }
  return (await openImagesAt(place, source, control)) as ImageSet;
}

/** The images of a source that stands at a place of its own: loaded, or left in their files where it says so. */
export async function openImagesAt(place: Place, source: ImageSource, control: LoadControl): Promise<AnyImages> {
  const checked = checkSource(source, place);
  checkOptions(control, [], option('control'));
  checkSignal(control);
  const { load, list } = KINDS[source.kind];
  if (!checked.stream || !list) return (await load())(checked, control);
  const { leaveListed } = await import('./listed.js');
  return leaveListed(await (await list())(checked, control), checked);
}

/** Checks a source without looking at its files. */
export function checkSource(source: ImageSource, place: Place): CheckedSource {
  checkKeys(source, sourceKeys, place);
  const kind = checkChoice(source.kind, Object.keys(KINDS) as ImageSource['kind'][], inside(place, 'kind'));
  const { splits, keys } = KINDS[kind];
  checkKeys(source, [...COMMON, ...keys], place);
  const at = (key: keyof ImageSource) => inside(place, key);
  const {
    path,
    split = 'train',
    verify = true,
    classes,
    size,
    onUnreadable = 'refuse',
    onOther = 'refuse',
    orient = false,
  } = source;
  const {
    prefix = '',
    transpose = false,
    firstLabel = 0,
    emptyClasses = 'keep',
    images,
    labels,
    take,
    root,
    stream = false,
  } = source;
  if (splits) checkChoice(split, splits, at('split'));
  const { cache = join(checkPath(path, at('path'), 'a path'), '.layerpeel-cache') } = source;
  const name = (value: string | undefined, key: 'images' | 'labels') => {
    if (value === undefined) return undefined;
    return kind === 'npz' ? checkText(value, at(key), 'the name of an array') : checkPath(value, at(key));
  };
  if (checkBoolean(stream, at('stream')) && onUnreadable === 'skip') {
    throw wrong(at('onUnreadable'), 'skip', "'refuse' with stream, which meets an image when it is its turn");
  }
  return {
    kind,
    path,
    stream,
    take: take === undefined ? take : typeof take === 'string' ? checkPath(take, at('take')) : checkClasses(take, at('take')),
    root: root === undefined ? path : checkPath(root, at('root'), 'the path of a folder'),
    split: splits || (split === false && kind === 'folder') ? split : checkName(split, at('split')),
    verify: checkBoolean(verify, at('verify')),
    classes: classes === undefined ? undefined : checkClasses(classes, at('classes')),
    size: size === undefined ? undefined : checkSize(size, at('size')),
    onUnreadable: checkChoice(onUnreadable, ['refuse', 'skip'], at('onUnreadable')),
    onOther: checkChoice(onOther, ['refuse', 'skip'], at('onOther')),
    orient: checkBoolean(orient, at('orient')),
    cache: cache === false ? cache : checkPath(cache, at('cache'), 'the path of a folder, or false'),
    prefix: prefix === '' ? prefix : checkName(prefix, at('prefix')),
    transpose: checkBoolean(transpose, at('transpose')),
    firstLabel: checkNumber(firstLabel, at('firstLabel'), { min: -(2 ** 31), max: 2 ** 31 - 1, integer: true }),
    emptyClasses: checkChoice(emptyClasses, ['keep', 'leave out'], at('emptyClasses')),
    images: name(images, 'images'),
    labels: name(labels, 'labels'),
  };
}

const wrong = ({ path, code }: Place, value: unknown, wanted: string) =>
  new LayerpeelError(code, `${path} is ${show(value)}; expected ${wanted}.`);

/** A name that leads nowhere else. */
function checkName(value: unknown, place: Place): string {
  if (typeof value === 'string' && /^[^/\\\0]+$/.test(value) && !/^\.\.?$/.test(value)) return value;
  throw wrong(place, value, 'a name without folders in it');
}

function checkClasses(value: unknown, place: Place): readonly string[] {
  const sound = Array.isArray(value) && value.length >= 1 && value.every((name) => typeof name === 'string' && name !== '');
  if (sound && new Set(value).size === value.length) return value;
  throw wrong(place, value, 'a list of different names');
}

function checkSize(value: unknown, place: Place): readonly [number, number] {
  if (!Array.isArray(value) || value.length !== 2) throw wrong(place, value, '[height, width]');
  const bounds = { min: 1, max: 4096, integer: true };
  return value.map((extent, k) => checkNumber(extent, { ...place, path: `${place.path}[${k}]` }, bounds)) as unknown as [
    number,
    number,
  ];
}
