/**
 * What the loaders of published data sets share: opening the files they expect, published checksums, class names, labels, pixels.
 */

import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Fill, InputFile, isMissing, readWhole } from '../array/files.js';
import { fileFault } from '../array/stored.js';
import type { Control } from '../check/control.js';
import { aborted } from '../check/errors.js';
import type { ImageSet } from './images.js';

export type LoadControl = Pick<Control, 'signal' | 'onProgress'>;

/** What a loader is told, checked. */
export interface CheckedSource {
  readonly kind: string;
  readonly path: string;
  readonly split: string | false;
  readonly stream: boolean;
  readonly take: string | readonly string[] | undefined;
  readonly root: string;
  readonly verify: boolean;
  readonly classes: readonly string[] | undefined;
  readonly size: readonly [height: number, width: number] | undefined;
  readonly onUnreadable: 'refuse' | 'skip';
  readonly onOther: 'refuse' | 'skip';
  readonly orient: boolean;
  readonly cache: string | false;
  readonly prefix: string;
  readonly transpose: boolean;
  readonly firstLabel: number;
  readonly emptyClasses: 'keep' | 'leave out';
  readonly images: string | undefined;
  readonly labels: string | undefined;
}

/** Follows a load of `total` units of work. */
export class Progress {
  private done = 0;
  private told = 0;
  constructor(
    private readonly control: LoadControl,
    private readonly total: number,
  ) {}

  /** @throws LP_ABORTED */
  advance(work: number): void {
    checkSignal(this.control);
    this.done += work;
    // A thousand calls are enough, however small the units are.
    if (this.done < this.total && this.done - this.told < this.total / 1000) return;
    this.told = this.done;
    this.control.onProgress?.(this.done / this.total);
  }
}

export function checkSignal({ signal }: LoadControl): void {
  if (signal?.aborted) throw aborted(signal);
}

/** Opens the files of a data set, hands them to `use` and closes them whatever happens. */
export async function withFiles<T>(
  { path, verify }: CheckedSource,
  names: readonly string[],
  control: LoadControl,
  use: (files: InputFile[]) => Promise<T>,
): Promise<T> {
  const files: InputFile[] = [];
  try {
    for (const name of names) {
      const file = await InputFile.open(join(path, name)).catch((error) => {
        if (!isMissing(error)) throw error;
        return missing(path, name, names);
      });
      files.push(file);
    }
    if (verify) for (const file of files) await checkPublished(file, control);
    return await use(files);
  } finally {
    for (const file of files) await file.close();
  }
}

/** Refuses a folder without one of the files, and says where they are if they are in a folder of it. */
async function missing(path: string, name: string, names: readonly string[]): Promise<never> {
  const beside: readonly string[] = await readdir(path).catch(() => []);
  const python = name.endsWith('.bin') && beside.includes(name.slice(0, -'.bin'.length));
  let advice = python ? ' What is there is the Python version, of pickles, which are never loaded: fetch the binary version.' : '';
  for (const folder of advice ? [] : beside) {
    const inside: readonly string[] = await readdir(join(path, folder)).catch(() => []);
    if (inside.includes(name)) advice = ` It is in ${join(path, folder)}: pass that as path.`;
  }
  throw fileFault(join(path, name), `it does not exist; expected ${names.join(', ')} in the folder of this data set.${advice}`);
}

/**
 * Published files by name: bytes, and the checksum (MD5, or SHA-1 where it is longer) of the file of that many bytes.
 * Sources: torchvision (MD5) and MXNet's Gluon (SHA-1).
 */
const PUBLISHED: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  'data_batch_1.bin': { 30730000: 'aadd24acce27caa71bf4b10992e9e7b2d74c2540' },
  'data_batch_2.bin': { 30730000: 'c0ba65cce70568cd57b4e03e9ac8d2a5367c1795' },
  'data_batch_3.bin': { 30730000: '1dd00a74ab1d17a6e7d73e185b69dbf31242f295' },
  'data_batch_4.bin': { 30730000: 'aab85764eb3584312d3c7f65fd2fd016e36a258e' },
  'data_batch_5.bin': { 30730000: '26e2849e66a845b7f1e4614ae70f4889ae604628' },
  'test_batch.bin': { 30730000: '67eb016db431130d61cd03c7ad570b013799c88c' },
  'train.bin': { 153700000: 'e207cd2e05b73b1393c74c7f5e7bea451d63e08e' },
  'test.bin': { 30740000: '8fb6623e830365ff53cf14adec797474f5478006' },
  'train_32x32.mat': { 182040794: 'e26dedcc434d2e4c54c9b2d4a06d8373' },
  'test_32x32.mat': { 64275384: 'eb5a983be6a315427106f1b164d9cef3' },
  'extra_32x32.mat': { 1329278602: 'a93ce644f1a588dc4d68dda5feec44a7' },
  'train_X.bin': { 138240000: '918c2871b30a85fa023e0c44e0bee87f' },
  'train_y.bin': { 5000: '5a34089d4802c674881badbb80307741' },
  'test_X.bin': { 221184000: '7f263ba9f9e0b06b93213547f721ac82' },
  'test_y.bin': { 8000: '36f9794fa4beb8a2c72628de14fa638e' },
  // MNIST, Fashion-MNIST, KMNIST
  'train-images-idx3-ubyte.gz': {
    9912422: 'f68b3c2dcbeaaa9fbdd348bbdeb94873',
    26421880: '8d4fb7e6c68d591d4c3dfef9ec88bf0d',
    18165135: 'bdb82020997e1d708af4cf47b453dcf7',
  },
  'train-labels-idx1-ubyte.gz': {
    28881: 'd53e105ee54ea40749a09fcbcd1e9432',
    29515: '25c81989df183df01b3e8a0aad5dffbe',
    29497: 'e144d726b3acfaa3e44228e80efcd344',
  },
  't10k-images-idx3-ubyte.gz': {
    1648877: '9fb629c4189551a2d022fa330f9573f3',
    4422102: 'bef4ecab320f06d8554ea6380940ec79',
    3041136: '5c965bf0a639b31b8f53240b1b52f4d7',
  },
  't10k-labels-idx1-ubyte.gz': {
    4542: 'ec29112dd5afa0611ce80d1b7f02629c',
    5148: 'bb300cfdad3c16e7a12a480ee83cd310',
    5120: '7320c461ea6c1c855c0b718fb2a4b134',
  },
};

/** Throws where a file has a published file's name and size, but other bytes. */
async function checkPublished(file: InputFile, control: LoadControl): Promise<void> {
  const expected = PUBLISHED[basename(file.path)]?.[file.size];
  if (expected === undefined) return;
  const algorithm = expected.length === 40 ? 'sha1' : 'md5';
  const hash = createHash(algorithm);
  for await (const { bytes } of records(file.from(0), file.size, 1)) {
    checkSignal(control);
    hash.update(bytes);
  }
  const found = hash.digest('hex');
  if (found === expected) return;
  throw fileFault(
    file.path,
    `its ${algorithm.toUpperCase()} is ${found}, but the published file's is ${expected}; it is damaged (fetch it again), or changed on purpose (verify: false).`,
  );
}

/** Some records of a file; the bytes are valid until the next are asked for. */
export interface Records {
  readonly first: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** Reads `count` records of `size` bytes, about a MiB at a time. */
export async function* records(fill: Fill, count: number, size: number): AsyncGenerator<Records> {
  const atOnce = Math.min(count, Math.max(1, Math.floor(2 ** 20 / size)));
  const buffer = new Uint8Array(atOnce * size);
  for (let first = 0; first < count; first += atOnce) {
    const here = Math.min(atOnce, count - first);
    const bytes = buffer.subarray(0, here * size);
    await fill(bytes);
    yield { first, count: here, bytes };
  }
}

/** Number of records of a file that must hold whole ones, and at least one. */
export function countRecords({ path, size }: InputFile, record: number, what: string): number {
  if (size > 0 && size % record === 0) return size / record;
  const fault =
    size === 0 ? 'it is empty' : `it has ${size} bytes, which is no multiple of ${record}; it is truncated or no such file`;
  throw fileFault(path, `${fault}. Expected images of ${record} bytes each (${what}).`);
}

/** A label as a file has it, `first` standing for class 0. @param image its number, or what it is called */
export function takeLabel(value: number, image: number | string, path: string, classes: number, first = 0): number {
  const label = value - first;
  if (Number.isInteger(label) && label >= 0 && label < classes) return label;
  throw fileFault(path, `the label of ${called(image)} is ${value}; expected ${first} … ${first + classes - 1}.`);
}

/** An image in words. */
export const called = (image: number | string): string => (typeof image === 'number' ? `image ${image}` : image);

/** Height, width, channels. */
export type PixelShape = readonly [height: number, width: number, channels: number];

/**
 * Turns an image that lies channel by channel, each row by row (or column by column), into pixels: row by row, channels last.
 * @param from where it begins in `planes`
 * @param to where it goes in `target`
 */
export function interleave(
  planes: Uint8Array,
  from: number,
  [height, width, channels]: PixelShape,
  byColumns: boolean,
  target: Uint8Array,
  to: number,
): void {
  const [down, right] = byColumns ? [1, height] : [width, 1];
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < height; y++) {
      let source = from + c * height * width + y * down;
      let pixel = to + y * width * channels + c;
      for (let x = 0; x < width; x++, source += right, pixel += channels) target[pixel] = planes[source] as number;
    }
  }
}

/** Exchanges rows and columns of every image. */
export function transpose({ images, shape }: Pick<ImageSet, 'images' | 'shape'>): Pick<ImageSet, 'images' | 'shape'> {
  const [count, height, width, channels] = shape;
  const size = height * width * channels;
  const own = new Uint8Array(size);
  for (let start = 0; start < count * size; start += size) {
    own.set(images.subarray(start, start + size));
    let to = start;
    for (let x = 0; x < width; x++) {
      for (let y = 0; y < height; y++) {
        for (let c = 0; c < channels; c++) images[to++] = own[(y * width + x) * channels + c] as number;
      }
    }
  }
  return { images, shape: [count, width, height, channels] };
}

/** The lines of a text in UTF-8, without blanks around them. @throws LP_FILE */
export async function linesOf(path: string): Promise<string[]> {
  const bytes = await readWhole(path);
  try {
    return new TextDecoder('utf-8', { fatal: true })
      .decode(bytes)
      .split('\n')
      .map((line) => line.trim());
  } catch {
    throw fileFault(path, 'it is no text in UTF-8.');
  }
}

/** Names that stand one a line in a file of the folder; the numbers where there is no such file. */
export async function classNames(folder: string, name: string, count: number): Promise<string[]> {
  const path = join(folder, name);
  const lines = await linesOf(path).catch((error) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
  if (lines === undefined) return numbers(count);
  const names = lines.filter((line) => line !== '');
  if (names.length === count && new Set(names).size === count) return names;
  throw fileFault(path, `it has ${names.length} lines; expected ${count} different class names, one a line.`);
}

/** Names of classes that have none. */
export const numbers = (count: number): string[] => Array.from({ length: count }, (_, c) => String(c));
