/**
 * Images in folders, `<path>/<split>/<class>/<image>`, of any format that sharp decodes: 8-bit sRGB, without transparency. Decoded
 * images are kept in one file (see cache.ts), so that only the first load decodes.
 */
import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileFault } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';
import { nearest } from '../check/options.js';
import { readCache, writeCache } from './cache.js';
import { CHANNELS, type Decoded, decoder, type Pixels, type Size } from './decode.js';
import { classCounts, type ImageSet, sharedBytes } from './images.js';
import { type CheckedSource, checkSignal, type LoadControl, Progress } from './reading.js';

/** Images decoded at once: enough to keep every thread of libuv's pool at work. */
const AT_ONCE = 8;

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

export async function loadFolder(source: CheckedSource, control: LoadControl): Promise<ImageSet> {
  const folder = join(source.path, source.split);
  const listing = await listImages(folder, source.classes, control);
  const kept = await readCache(source, listing.digest, listing.files.length, control);
  if (kept) return assemble(kept, listing, folder);
  const decoded = await decodeAll(listing.files, source, control);
  await writeCache(source, listing.digest, decoded, control);
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
      // Asked on this thread, files answer in a fifth of the time that other threads take; now and then those get a turn.
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

/** Decodes every file, a few at a time; those that cannot be read are refused, or left zero and listed. */
async function decodeAll(files: readonly Listed[], source: CheckedSource, control: LoadControl): Promise<Decoded> {
  const decode = await decoder();
  const unreadable: number[] = [];
  const progress = new Progress(control, files.length);
  /** The file's pixels, or undefined where it is left out. */
  const attempt = async (i: number, size: Size | undefined): Promise<Pixels | undefined> => {
    checkSignal(control);
    const { path } = files[i] as Listed;
    try {
      return await decode(path, size, source.size !== undefined);
    } catch (error) {
      if (error instanceof LayerpeelError) throw error;
      if (source.onUnreadable === 'refuse') throw unreadableFault(path, error as Error);
      unreadable.push(i);
      return undefined;
    } finally {
      progress.advance(1);
    }
  };

  let next = 0;
  let first: Pixels | undefined;
  while (!first && next < files.length) first = await attempt(next++, source.size);
  if (!first) throw fileFault((files[0] as Listed).path, 'neither it nor any other image of this set can be read.');
  const { data, size } = first;
  const images = sharedBytes(files.length * data.length, `The ${files.length} images of ${source.path}`);
  images.set(data, (next - 1) * data.length);
  const worker = async (): Promise<void> => {
    try {
      while (next < files.length) {
        const i = next++;
        const pixels = await attempt(i, size);
        if (pixels) images.set(pixels.data, i * data.length);
      }
    } catch (error) {
      next = files.length; // the others stop
      throw error;
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
  const refused = ended.find((result) => result.status === 'rejected');
  if (refused) throw refused.reason;
  return { images, size, unreadable: unreadable.sort((a, b) => a - b) };
}

function unreadableFault(path: string, cause: Error): LayerpeelError {
  const reason = cause.message.split('\n')[0];
  return new LayerpeelError('LP_FILE', `${path} cannot be read as an image: ${reason}. Mend it, or pass onUnreadable: 'skip'.`, {
    cause,
  });
}
