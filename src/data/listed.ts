/**
 * Images in files of any format that sharp decodes: 8-bit sRGB, without transparency. Decoded images are kept in one file (see
 * cache.ts), so that only the first load decodes; or they stay where they are, and are decoded when they are wanted.
 */
import { basename } from 'node:path';
import { fileFault } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';
import { readCache, writeCache } from './cache.js';
import { CHANNELS, type Decoded, decoder, type Pixels, UnsupportedImage } from './decode.js';
import { classCounts, type ImageFiles, type ImageSet, sharedBytes } from './images.js';
import { type CheckedSource, checkSignal, type LoadControl, Progress } from './reading.js';
import { stretched, type View } from './view.js';

/** Images decoded at once: enough to keep every thread of libuv's pool at work. */
export const AT_ONCE = 8;

/** An image file, and the number of its class. */
export interface Listed {
  readonly path: string;
  readonly label: number;
}

export interface Listing {
  readonly files: readonly Listed[];
  /** What lies beside images and is none, and is passed over. */
  readonly others: readonly string[];
  readonly classes: readonly string[];
  /** Changes when a file comes, goes or changes, or is decoded otherwise. */
  readonly digest: string;
  /** What was listed: a folder, or a list. */
  readonly where: string;
}

/** Decodes all files of a listing, unless they are kept decoded. */
export async function loadListed(listing: Listing, source: CheckedSource, control: LoadControl): Promise<ImageSet> {
  const kept = await readCache(source, listing.digest, listing.files.length, control);
  if (kept) return assemble(kept, listing);
  const decoded = await decodeAll(listing.files, source, control);
  await writeCache(source, listing.digest, decoded, control);
  return assemble(decoded, listing);
}

/** Leaves all files of a listing where they are. Of images without a size said the first one says it. */
export async function leaveListed({ files, others, classes, where }: Listing, source: CheckedSource): Promise<ImageFiles> {
  const { orient, size } = source;
  const paths = files.map(({ path }) => path);
  const [first] = paths as [string];
  const decode = await decoder(orient);
  const own = size ?? (await decode(first, {}).catch((error) => refuse(first, error))).size;
  return {
    files: paths,
    shape: [files.length, ...own, CHANNELS],
    fit: size ? 'stretch' : 'same',
    orient,
    labels: Int32Array.from(files, ({ label }) => label),
    classes,
    source: `images of ${where}, in their files`,
    ...(others.length > 0 && { skipped: others }),
  };
}

/** Names of images. */
const IMAGES = /\.(jpe?g|jpe|jfif|png|apng|webp|gif|tiff?|avif|hei[cf]|svg|bmp|dib|p[bgpna]m|jp2|j2k|jxl|ico|tga|exr|hdr)$/i;

/** Whether a file is an image by its name, or has a name that does not say. */
export const mayBeImage = (name: string): boolean => IMAGES.test(name) || !name.includes('.');

function assemble({ images, size, unreadable }: Decoded, { files, others, classes, where }: Listing): ImageSet {
  const bytes = size[0] * size[1] * CHANNELS;
  const skip = new Set(unreadable);
  const readable = [...files.keys()].filter((i) => !skip.has(i));
  // Images move down over those left out, in place.
  if (skip.size > 0) for (const [to, from] of readable.entries()) images.copyWithin(to * bytes, from * bytes, (from + 1) * bytes);
  const labels = Int32Array.from(readable, (i) => (files[i] as Listed).label);
  const counts = classCounts({ labels, classes });
  const emptied = files.find(({ label }) => counts[label] === 0);
  if (emptied) throw fileFault(where, `none of the images of ${classes[emptied.label]} can be read.`);
  const skipped = [...others, ...unreadable.map((i) => (files[i] as Listed).path)];
  return {
    images: images.subarray(0, readable.length * bytes),
    shape: [readable.length, ...size, CHANNELS],
    labels,
    classes,
    source: `images of ${where}`,
    ...(skipped.length > 0 && { skipped }),
  };
}

/** Decodes every file, a few at a time; those that cannot be read are refused, or left zero and listed. */
async function decodeAll(files: readonly Listed[], source: CheckedSource, control: LoadControl): Promise<Decoded> {
  const decode = await decoder(source.orient);
  const left: number[] = [];
  const progress = new Progress(control, files.length);
  /** The file's pixels, or undefined where it is left out. */
  const attempt = async (i: number, view: View): Promise<Pixels | undefined> => {
    checkSignal(control);
    const { path } = files[i] as Listed;
    try {
      return await decode(path, view);
    } catch (error) {
      if (error instanceof LayerpeelError || source.onUnreadable === 'refuse') {
        throw unreadable(path, error as Error, ", or pass onUnreadable: 'skip'");
      }
      left.push(i);
      return undefined;
    } finally {
      progress.advance(1);
    }
  };

  let next = 0;
  let first: Pixels | undefined;
  const stretch = source.size && stretched(source.size);
  while (!first && next < files.length) first = await attempt(next++, stretch ?? {});
  if (!first) throw fileFault((files[0] as Listed).path, 'neither it nor any other image of this set can be read.');
  const { data, size } = first;
  const what = `The ${files.length} images of ${source.path}`;
  const images = sharedBytes(files.length * data.length, what, 'load fewer, or leave them in their files (stream: true)');
  images.set(data, (next - 1) * data.length);
  const worker = async (): Promise<void> => {
    try {
      while (next < files.length) {
        const i = next++;
        const pixels = await attempt(i, stretch ?? { size });
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
  return { images, size, unreadable: left.sort((a, b) => a - b) };
}

/** What was thrown at an image, with the file's name. */
export function unreadable(path: string, cause: Error, skip = ''): LayerpeelError {
  if (cause instanceof LayerpeelError) return cause;
  const other = mayBeImage(basename(path)) ? '' : " (onOther: 'skip' leaves out what is no image by its name)";
  const reason =
    cause instanceof UnsupportedImage ? `${cause.message}. Convert it to PNG` : `${cause.message.split('\n')[0]}. Mend it`;
  return new LayerpeelError('LP_FILE', `${path} cannot be read as an image: ${reason}${skip}${other}.`, { cause });
}

function refuse(path: string, cause: Error): never {
  throw unreadable(path, cause);
}
