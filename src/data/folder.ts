/**
 * Images in folders, `<path>/<split>/<class>/<image>`, of any format that sharp decodes: 8-bit sRGB, without transparency. Decoded
 * images are kept in one file (see cache.ts), so that only the first load decodes.
 */
import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type Sharp from 'sharp';
import { fileFault } from '../array/stored.js';
import { LayerpeelError } from '../errors.js';
import { nearest } from '../options.js';
import { readCache, writeCache } from './cache.js';
import { classCounts, type ImageSet, sharedBytes } from './images.js';
import { type CheckedSource, checkSignal, type LoadControl, Progress } from './reading.js';

/** Images decoded at once: enough to keep every thread of libuv's pool at work. */
const AT_ONCE = 8;
const CHANNELS = 3;

/** An image file, and the number of its class. */
interface Listed {
  readonly path: string;
  readonly label: number;
}

interface Listing {
  readonly files: readonly Listed[];
  readonly classes: readonly string[];
  /** Changes when a file comes, goes or changes. */
  readonly digest: string;
}

/** Decoded images of all files, those that could not be read left zero. */
export interface Decoded {
  readonly images: Uint8Array;
  readonly size: readonly [height: number, width: number];
  /** Numbers of the files that could not be read, ascending. */
  readonly unreadable: readonly number[];
}

export async function loadFolder(source: CheckedSource, control: LoadControl): Promise<ImageSet> {
  const folder = join(source.path, source.split);
  const listing = await listImages(folder, source.classes, control);
  const count = listing.files.length;
  const kept = await readCache(source, listing.digest, count);
  if (kept && (kept.unreadable.length === 0 || source.onUnreadable === 'skip')) {
    new Progress(control, count).advance(count);
    return assemble(kept, listing, folder);
  }
  const decoded = await decodeAll(listing.files, source, control);
  await writeCache(source, listing.digest, count, decoded);
  return assemble(decoded, listing, folder);
}

async function listImages(folder: string, wanted: readonly string[] | undefined, control: LoadControl): Promise<Listing> {
  const found = entriesOf(folder)
    .filter((entry) => statSync(join(folder, entry), { throwIfNoEntry: false })?.isDirectory())
    .sort();
  if (found.length === 0) throw fileFault(folder, 'it has no folders; expected one for each class, with its images.');
  const classes = wanted ?? found;
  checkClasses(folder, found, classes);
  const hash = createHash('sha256');
  const files: Listed[] = [];
  for (const [label, name] of classes.entries()) {
    const own = entriesOf(join(folder, name)).sort();
    if (own.length === 0) throw fileFault(join(folder, name), 'it is empty; expected the images of a class.');
    for (const [k, entry] of own.entries()) {
      // Asking for all at once on this thread takes a tenth of the time of asking one by one on others; now and then it waits.
      if (k % 1000 === 0) {
        await setImmediate();
        checkSignal(control);
      }
      const path = join(folder, name, entry);
      const stat = statSync(path, { throwIfNoEntry: false });
      if (!stat?.isFile()) throw fileFault(path, 'it is no file; expected the images of a class and nothing else.');
      hash.update(`${JSON.stringify([name, entry])} ${stat.size} ${stat.mtimeMs}\n`);
      files.push({ path, label });
    }
  }
  return { files, classes, digest: hash.digest('hex') };
}

/** What a folder holds, but for what systems hide in it. */
function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder).filter((entry) => !entry.startsWith('.') && entry !== 'Thumbs.db');
  } catch (cause) {
    const fault = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'it does not exist' : (cause as Error).message;
    throw new LayerpeelError('LP_FILE', `${folder}: ${fault}; expected a folder of class folders with images in them.`, { cause });
  }
}

function checkClasses(folder: string, found: readonly string[], classes: readonly string[]): void {
  const extra = found.find((name) => !classes.includes(name));
  const missing = classes.find((name) => !found.includes(name));
  if (extra !== undefined) {
    const guess = nearest(extra, classes);
    throw fileFault(
      join(folder, extra),
      `it is the folder of none of the ${classes.length} classes; ${guess ? `did you mean ${guess}?` : `expected ${classes.slice(0, 20).join(', ')}.`}`,
    );
  }
  if (missing !== undefined) throw fileFault(join(folder, missing), 'it does not exist; expected the images of this class.');
}

function assemble({ images, size, unreadable }: Decoded, { files, classes }: Listing, folder: string): ImageSet {
  const bytes = size[0] * size[1] * CHANNELS;
  const skip = new Set(unreadable);
  const readable = [...files.keys()].filter((i) => !skip.has(i));
  // Images move down over those left out, in place.
  if (skip.size > 0) for (const [to, from] of readable.entries()) images.copyWithin(to * bytes, from * bytes, (from + 1) * bytes);
  const labels = Int32Array.from(readable, (i) => (files[i] as Listed).label);
  const emptied = classCounts({ labels, classes }).indexOf(0);
  if (emptied !== -1) throw fileFault(join(folder, classes[emptied] as string), 'none of its images can be read.');
  return {
    images: images.subarray(0, readable.length * bytes),
    shape: [readable.length, ...size, CHANNELS],
    labels,
    classes,
    source: `images of ${folder}`,
    ...(skip.size > 0 && { skipped: unreadable.map((i) => (files[i] as Listed).path) }),
  };
}

async function decodeAll(files: readonly Listed[], source: CheckedSource, control: LoadControl): Promise<Decoded> {
  const decode = await decoder();
  const unreadable: number[] = [];
  /** The file's pixels, or undefined where it is skipped. */
  const attempt = async (i: number, size: readonly [number, number] | undefined): Promise<Raw | undefined> => {
    checkSignal(control);
    const { path } = files[i] as Listed;
    try {
      return await decode(path, size, source.size !== undefined);
    } catch (cause) {
      if (cause instanceof LayerpeelError) throw cause;
      if (source.onUnreadable === 'refuse') {
        const reason = (cause as Error).message.split('\n')[0];
        throw new LayerpeelError(
          'LP_FILE',
          `${path} cannot be read as an image: ${reason}. Mend it, or pass onUnreadable: 'skip'.`,
          { cause },
        );
      }
      unreadable.push(i);
      return undefined;
    }
  };

  let next = 0;
  let first: Raw | undefined;
  while (!first && next < files.length) first = await attempt(next++, source.size);
  if (!first) throw fileFault((files[0] as Listed).path, 'neither it nor any other image of this set can be read.');
  const { height, width } = first;
  const bytes = height * width * CHANNELS;
  const images = sharedBytes(files.length * bytes, `The ${files.length} images of ${source.path}`);
  images.set(first.data, (next - 1) * bytes);
  const progress = new Progress(control, files.length);
  progress.advance(next);
  let failed = false;
  const worker = async (): Promise<void> => {
    try {
      while (next < files.length && !failed) {
        const i = next++;
        const raw = await attempt(i, [height, width]);
        if (raw) images.set(raw.data, i * bytes);
        progress.advance(1);
      }
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
  const refused = ended.find((result) => result.status === 'rejected');
  if (refused) throw refused.reason;
  return { images, size: [height, width], unreadable: unreadable.sort((a, b) => a - b) };
}

interface Raw {
  readonly data: Uint8Array;
  readonly height: number;
  readonly width: number;
}

type Decode = (path: string, size: readonly [number, number] | undefined, resize: boolean) => Promise<Raw>;

async function decoder(): Promise<Decode> {
  const sharp = await loadSharp();
  return async (path, size, resize) => {
    const file = await readFile(path);
    const limit = size && !resize ? { limitInputPixels: size[0] * size[1] } : {};
    const image = sharp(file, limit).removeAlpha().toColourspace('srgb');
    if (size && resize) image.resize(size[1], size[0], { fit: 'fill' });
    try {
      const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
      if (info.channels !== CHANNELS) throw new Error(`it has ${info.channels} channels`);
      if (!size || (info.height === size[0] && info.width === size[1])) return { data, height: info.height, width: info.width };
    } catch (error) {
      // A header of another size explains the fault better than whatever the decoder met because of it.
      const { height, width } = await sharp(file)
        .metadata()
        .catch(() => ({ height: undefined, width: undefined }));
      if (!size || resize || height === undefined || (height === size[0] && width === size[1])) throw error;
    }
    throw fileFault(
      path,
      `its size is not the ${size?.join('×')} (height × width) of the images before it; pass size: [height, width], to which all are stretched.`,
    );
  };
}

async function loadSharp(): Promise<typeof Sharp> {
  try {
    return (await import('sharp')).default;
  } catch (cause) {
    throw new LayerpeelError(
      'LP_NOT_BUILT',
      `sharp, which decodes images, cannot be loaded (${(cause as Error).message.split('\n')[0]}); run npm install --include=optional sharp.`,
      { cause },
    );
  }
}
