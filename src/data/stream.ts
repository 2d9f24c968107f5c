/**
 * Images made ahead of whoever takes them, piece by piece: decoded from their files, or cut out of what is in memory. Beside the piece that is in use there are up to
 * three more, decoded or being decoded; fewer, but one, where three would take more than 256 MiB.
 */
import type { Control } from '../check/control.js';
import { aborted, LayerpeelError } from '../check/errors.js';
import { cutting, decoder, loadSharp } from './decode.js';
import { type AnyImages, type ImageFiles, type ImageSet, inFiles, sharedBytes } from './images.js';
import { AT_ONCE, unreadable } from './listed.js';
import { stretched, type View } from './view.js';

const [MOST_AHEAD, MOST_BYTES] = [3, 2 ** 28];

/** Lists of samples, whose images are wanted together, in their order. */
export interface Pieces {
  readonly count: number;
  /** Samples of the largest one. */
  readonly most: number;
  samples(piece: number): Int32Array;
}

/** Samples that follow one another, in pieces of so many. */
export const stretchesOf = (first: number, count: number, most: number): Pieces => ({
  count: Math.ceil(count / most),
  most: Math.min(most, count),
  samples: (piece) => Int32Array.from({ length: Math.min(most, count - piece * most) }, (_, i) => first + piece * most + i),
});

/** What of its image a sample is. */
export type ViewOf = (sample: number) => View;

/**
 * Yields the images of one piece after another, `[samples, height, width, channels]`, in shared memory that is used again when the next
 * but so many is asked for.
 * @param size of each image that a view makes
 * @throws LP_FILE with the name of a file that cannot be read, LP_MEMORY, LP_ABORTED
 */
export async function* decodedAhead(
  set: AnyImages,
  pieces: Pieces,
  { signal }: Pick<Control, 'signal'>,
  view: ViewOf,
  [height, width]: readonly [height: number, width: number],
): AsyncGenerator<Uint8Array, void, undefined> {
  const bytes = height * width * set.shape[3];
  const pixels = inFiles(set) ? await fromFiles(set) : await fromMemory(set);
  const ahead = Math.max(1, Math.min(MOST_AHEAD, Math.floor(MOST_BYTES / (pieces.most * bytes)), pieces.count - 1));
  const advice = 'give a smaller batch';
  const rooms = Array.from({ length: ahead + 1 }, () => sharedBytes(pieces.most * bytes, 'Images decoded ahead', advice));
  const inTurn = queue(AT_ONCE);
  let stopped = false;
  const read = async (sample: number, place: Uint8Array): Promise<void> => {
    if (stopped) return;
    if (signal?.aborted) throw aborted(signal);
    place.set(await pixels(sample, view(sample)));
  };
  const begin = (piece: number): Promise<Uint8Array> => {
    const samples = pieces.samples(piece);
    const room = (rooms[piece % rooms.length] as Uint8Array).subarray(0, samples.length * bytes);
    const reads = Array.from(samples, (sample, i) => inTurn(() => read(sample, room.subarray(i * bytes, (i + 1) * bytes))));
    const all = Promise.all(reads).then(() => room);
    all.catch(() => {}); // heard when its turn comes
    return all;
  };
  const begun: Promise<Uint8Array>[] = [];
  let next = 0;
  try {
    for (let piece = 0; piece < pieces.count; piece++) {
      while (next < Math.min(pieces.count, piece + 1 + ahead)) begun.push(begin(next++));
      yield await (begun.shift() as Promise<Uint8Array>);
    }
  } finally {
    stopped = true;
    await Promise.allSettled(begun);
  }
}

type Read = (sample: number, view: View) => Promise<Uint8Array>;

async function fromFiles({ files, orient }: ImageFiles): Promise<Read> {
  const decode = await decoder(orient);
  return async (sample, view) => {
    const path = files[sample] as string;
    try {
      return (await decode(path, view)).data;
    } catch (error) {
      throw unreadable(path, error as Error);
    }
  };
}

async function fromMemory({ images, shape: [, height, width, channels] }: ImageSet): Promise<Read> {
  if (channels !== 1 && channels !== 3) {
    throw new LayerpeelError('LP_SHAPE', `Images of ${channels} channels cannot be cropped and resized; expected 1 or 3.`);
  }
  const sharp = await loadSharp();
  const size = height * width * channels;
  return async (sample, view) => {
    const own = images.subarray(sample * size, (sample + 1) * size);
    if (!('cut' in view)) return own;
    // Of memory of its own: sharp takes none that is shared.
    const image = sharp(Uint8Array.from(own), { raw: { height, width, channels } });
    if (channels === 1) image.toColourspace('b-w');
    cutting(image, view.cut([height, width]));
    return image.raw({ depth: 'uchar' }).toBuffer();
  };
}

/** The whole of every image, as the set says. */
export function wholeOf({ shape: [, height, width], fit }: ImageFiles): ViewOf {
  const view = fit === 'stretch' ? stretched([height, width]) : { size: [height, width] as const };
  return () => view;
}

/** Runs so many of the calls it is given at once, the others in their turn. */
function queue(atOnce: number): <T>(call: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (call) => {
    if (running === atOnce) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await call();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}
