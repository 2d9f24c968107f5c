/**
 * Images in folders, `<path>/<split>/<class>/<image>` or `<path>/<class>/<image>`, of any format that sharp decodes: 8-bit sRGB,
 * without transparency. Decoded images are kept in one file (see cache.ts), so that only the first load decodes.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileFault } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';
import { nearest } from '../check/options.js';
import { readCache, writeCache } from './cache.js';
import { CHANNELS, type Decoded, decoder, type Pixels, type Size, UnsupportedImage } from './decode.js';
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
  /** What lies beside images and is none, and is passed over. */
  readonly others: readonly string[];
  readonly classes: readonly string[];
  /** Changes when a file comes, goes or changes, or is decoded otherwise. */
  readonly digest: string;
}

export async function loadFolder(source: CheckedSource, control: LoadControl): Promise<ImageSet> {
  const folder = source.split === false ? source.path : join(source.path, source.split);
  if (source.split !== false && !existsSync(folder) && existsSync(source.path)) {
    throw fileFault(
      folder,
      'it does not exist; expected a folder of class folders with images in them. ' +
        "Name one that does as split, or pass split: false where the classes' folders have none above them.",
    );
  }
  const listing = await listImages(folder, source, control);
  const kept = await readCache(source, listing.digest, listing.files.length, control);
  if (kept) return assemble(kept, listing, folder);
  const decoded = await decodeAll(listing.files, source, control);
  await writeCache(source, listing.digest, decoded, control);
  return assemble(decoded, listing, folder);
}

async function listImages(folder: string, source: CheckedSource, control: LoadControl): Promise<Listing> {
  const entries = entriesOf(folder);
  const folders = entries.filter((entry) => isFolder(join(folder, entry))).sort();
  // Images that stand in the folder itself are one class, by the folder's name.
  const flat = source.split === false && !source.classes && folders.length === 0 && entries.some(mayBeImage);
  const found = flat ? [basename(resolve(folder))] : folders;
  if (found.length === 0) throw fileFault(folder, 'it has no folders; expected one for each class, with its images.');
  const classes = source.classes ?? found;
  checkClasses(folder, found, classes);
  // A test set may lack a class of its training set, whose number then stays free.
  const mayLack = source.classes !== undefined && source.split !== 'train';
  const hash = createHash('sha256').update(source.orient ? 'oriented\n' : '');
  const files: Listed[] = [];
  const others: string[] = [];
  for (const [label, name] of classes.entries()) {
    if (!found.includes(name)) {
      if (mayLack) continue;
      throw fileFault(join(folder, name), 'it does not exist; expected the images of this class.');
    }
    const before = files.length;
    const own = flat ? folder : join(folder, name);
    for (const [k, entry] of entriesOf(own).sort().entries()) {
      // Asked on this thread, files answer in a fifth of the time that other threads take; now and then those get a turn.
      if (k % 1000 === 0) {
        await setImmediate();
        checkSignal(control);
      }
      const path = join(own, entry);
      const stat = statSync(path, { throwIfNoEntry: false });
      if (!stat?.isFile()) throw fileFault(path, 'it is no file; expected the images of a class and nothing else.');
      if (source.onOther === 'skip' && !mayBeImage(entry)) {
        others.push(path);
        continue;
      }
      hash.update(`${JSON.stringify([name, entry])} ${stat.size} ${stat.mtimeMs}\n`);
      files.push({ path, label });
    }
    if (files.length > before || mayLack) continue;
    const few = others.length > 0 ? 'it has no image' : 'it is empty';
    throw fileFault(join(folder, name), `${few}; expected the images of a class.`);
  }
  if (files.length === 0) throw fileFault(folder, 'none of its class folders has an image.');
  return { files, others, classes, digest: hash.digest('hex') };
}

/** What systems and programs leave in folders, in small letters; of a `.` at the beginning all that has one. */
const LEFT_BEHIND = new Set([
  ...['thumbs.db', 'ehthumbs.db', 'desktop.ini', 'icon\r', '$recycle.bin', 'system volume information'],
  ...['@eadir', '#recycle', '__macosx', 'lost+found'],
]);

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What a folder holds, but for what is hidden in it. */
function entriesOf(folder: string): string[] {
  let names: Buffer[];
  try {
    names = readdirSync(folder, 'buffer');
  } catch (cause) {
    const fault = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'it does not exist' : (cause as Error).message;
    throw new LayerpeelError('LP_FILE', `${folder}: ${fault}; expected a folder of class folders with images in them.`, { cause });
  }
  return names.flatMap((bytes) => {
    if (bytes[0] === 0x2e) return [];
    let name: string;
    try {
      name = UTF8.decode(bytes);
    } catch {
      throw fileFault(join(folder, bytes.toString('latin1')), 'its name is not in UTF-8 (here shown as Latin-1); rename it.');
    }
    return LEFT_BEHIND.has(name.toLowerCase()) ? [] : [name];
  });
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const fault = code === 'ENOENT' ? 'it is a link to what does not exist' : `it cannot be looked at (${message})`;
    throw new LayerpeelError(
      'LP_FILE',
      `${path}: ${fault}. Mend or remove it: it may be a class, and others would take its number.`,
      {
        cause,
      },
    );
  }
}

const IMAGES = /\.(jpe?g|jpe|jfif|png|apng|webp|gif|tiff?|avif|hei[cf]|svg|bmp|dib|p[bgpna]m|jp2|j2k|jxl|ico|tga|exr|hdr)$/i;

/** Whether a file is an image by its name, or has a name that does not say. */
const mayBeImage = (name: string): boolean => IMAGES.test(name) || !name.includes('.');

function checkClasses(folder: string, found: readonly string[], classes: readonly string[]): void {
  const extra = found.find((name) => !classes.includes(name));
  if (extra === undefined) return;
  const guess = nearest(extra, classes);
  throw fileFault(
    join(folder, extra),
    `it is the folder of none of the ${classes.length} classes; ${guess ? `did you mean ${guess}?` : `expected ${classes.slice(0, 20).join(', ')}.`}`,
  );
}

function assemble({ images, size, unreadable }: Decoded, { files, others, classes }: Listing, folder: string): ImageSet {
  const bytes = size[0] * size[1] * CHANNELS;
  const skip = new Set(unreadable);
  const readable = [...files.keys()].filter((i) => !skip.has(i));
  // Images move down over those left out, in place.
  if (skip.size > 0) for (const [to, from] of readable.entries()) images.copyWithin(to * bytes, from * bytes, (from + 1) * bytes);
  const labels = Int32Array.from(readable, (i) => (files[i] as Listed).label);
  const counts = classCounts({ labels, classes });
  const emptied = files.find(({ label }) => counts[label] === 0);
  if (emptied) throw fileFault(join(folder, classes[emptied.label] as string), 'none of its images can be read.');
  const skipped = [...others, ...unreadable.map((i) => (files[i] as Listed).path)];
  return {
    images: images.subarray(0, readable.length * bytes),
    shape: [readable.length, ...size, CHANNELS],
    labels,
    classes,
    source: `images of ${folder}`,
    ...(skipped.length > 0 && { skipped }),
  };
}

/** Decodes every file, a few at a time; those that cannot be read are refused, or left zero and listed. */
async function decodeAll(files: readonly Listed[], source: CheckedSource, control: LoadControl): Promise<Decoded> {
  const decode = await decoder(source.orient);
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
  const other = mayBeImage(basename(path)) ? '' : " (onOther: 'skip' leaves out what is no image by its name)";
  const reason =
    cause instanceof UnsupportedImage ? `${cause.message}. Convert it to PNG` : `${cause.message.split('\n')[0]}. Mend it`;
  return new LayerpeelError('LP_FILE', `${path} cannot be read as an image: ${reason}, or pass onUnreadable: 'skip'${other}.`, {
    cause,
  });
}
