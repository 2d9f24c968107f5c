/**
 * Labelled images from files, whatever their format: one entry for all, one module a format, loaded when first used.
 */
import { join } from 'node:path';
import { checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import {
  checkBoolean,
  checkChoice,
  checkKeys,
  checkNumber,
  checkPath,
  inside,
  option,
  type Place,
  show,
} from '../check/options.js';
import type { ImageSet } from './images.js';
import { type CheckedSource, checkSignal, type LoadControl } from './reading.js';

export interface ImageSource {
  /**
   * `cifar10`, `cifar100`: the binary version. `idx`: MNIST and all of its form, plain or `.gz`. `svhn`: `train_32x32.mat`.
   * `stl10`: `train_X.bin`, `train_y.bin`. `folder`: images in `<path>/<split>/<class>/`, of any format that sharp reads.
   */
  readonly kind: 'cifar10' | 'cifar100' | 'folder' | 'idx' | 'stl10' | 'svhn';
  /** The folder that holds the files (of a `folder`: its splits). */
  readonly path: string;
  /** `train` or `test`; of SVHN also `extra`; of a `folder` the name of any folder in it. @default 'train' */
  readonly split?: string;
  /**
   * Compares the checksums of files that have a published file's name and size. What a format checks in itself (sizes, counts,
   * labels, checksums of compressed data) is always checked. Not for `folder`. @default true
   */
  readonly verify?: boolean;
  /**
   * Names of the classes in the order of their numbers, for `idx` (@default '0', '1', … up to the largest label) and `folder`
   * (@default all class folders, sorted). A label or a class folder beyond them is an error: load a test set with the training
   * set's `classes`, so that both are numbered alike.
   */
  readonly classes?: readonly string[];
  /** Of a `folder`: `[height, width]` that every image is stretched to. @default their own, if all are of one */
  readonly size?: readonly [height: number, width: number];
  /** Of a `folder`: an unreadable image is an error that names it, or left out and named in the set's `skipped`. @default 'refuse' */
  readonly onUnreadable?: 'refuse' | 'skip';
  /**
   * Of a `folder`: where its decoded images are kept for the next time, in one file for each split and size, which is made anew when
   * an image changes; `false` keeps none. Where it cannot be written, none is kept. @default `<path>/.layerpeel-cache`
   */
  readonly cache?: string | false;
}

interface Kind {
  readonly load: () => Promise<(source: CheckedSource, control: LoadControl) => Promise<ImageSet>>;
  /** Undefined where any name is one. */
  readonly splits?: readonly string[];
  readonly keys: readonly string[];
}

const cifar: Kind = { load: async () => (await import('./cifar.js')).loadCifar, splits: ['train', 'test'], keys: ['verify'] };

const KINDS: Readonly<Record<ImageSource['kind'], Kind>> = {
  cifar10: cifar,
  cifar100: cifar,
  folder: {
    load: async () => (await import('./folder.js')).loadFolder,
    keys: ['classes', 'size', 'onUnreadable', 'cache'],
  },
  idx: { load: async () => (await import('./idx.js')).loadIdx, splits: ['train', 'test'], keys: ['verify', 'classes'] },
  stl10: { load: async () => (await import('./stl10.js')).loadStl10, splits: ['train', 'test'], keys: ['verify'] },
  svhn: { load: async () => (await import('./svhn.js')).loadSvhn, splits: ['train', 'test', 'extra'], keys: ['verify'] },
};

const COMMON = ['kind', 'path', 'split'];

/**
 * Loads a labelled set of images: `[n, height, width, channels]`, 8 bit, in shared memory.
 * @param control `signal` stops it, `onProgress` is told the share done
 * @throws LP_FILE naming the file and what was expected, for what is missing, truncated, damaged, mislabelled or unreadable;
 * LP_OPTION for the source, LP_MEMORY, LP_ABORTED
 */
export async function loadImages(source: ImageSource, control: LoadControl = {}): Promise<ImageSet> {
  return loadImagesAt(option('source'), source, control);
}

/** `loadImages` of a source that stands at a place of its own. */
export async function loadImagesAt(place: Place, source: ImageSource, control: LoadControl): Promise<ImageSet> {
  const checked = checkSource(source, place);
  checkOptions(control, [], option('control'));
  checkSignal(control);
  const load = await KINDS[source.kind].load();
  return load(checked, control);
}

function checkSource(source: ImageSource, place: Place): CheckedSource {
  const kinds = Object.keys(KINDS) as ImageSource['kind'][];
  checkKeys(source, [...COMMON, ...new Set(kinds.flatMap((kind) => KINDS[kind].keys))], place);
  const kind = checkChoice(source.kind, kinds, inside(place, 'kind'));
  const { splits, keys } = KINDS[kind];
  checkKeys(source, [...COMMON, ...keys], place);
  const { path, split = 'train', verify = true, classes, size, onUnreadable = 'refuse' } = source;
  if (splits) checkChoice(split, splits, inside(place, 'split'));
  const { cache = join(checkPath(path, inside(place, 'path'), 'the path of a folder'), '.layerpeel-cache') } = source;
  return {
    kind,
    path,
    split: splits ? split : checkName(split, inside(place, 'split')),
    verify: checkBoolean(verify, inside(place, 'verify')),
    classes: classes && checkClasses(classes, inside(place, 'classes')),
    size: size && checkSize(size, inside(place, 'size')),
    onUnreadable: checkChoice(onUnreadable, ['refuse', 'skip'], inside(place, 'onUnreadable')),
    cache: cache === false ? cache : checkPath(cache, inside(place, 'cache'), 'the path of a folder, or false'),
  };
}

const wrong = ({ path, code }: Place, value: unknown, wanted: string) =>
  new LayerpeelError(code, `${path} is ${show(value)}; expected ${wanted}.`);

/** A name that leads nowhere else. */
function checkName(value: unknown, place: Place): string {
  if (typeof value === 'string' && /^[^/\\\0]+$/.test(value) && !/^\.\.?$/.test(value)) return value;
  throw wrong(place, value, 'the name of a folder in source.path');
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
