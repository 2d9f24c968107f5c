/**
 * Decoded images kept in a file: a `.safetensors` with the one tensor `images`, `[n, height, width, 3]` of bytes, and in its metadata
 * what they were decoded from. It appears whole or not at all, and is ignored where anything of it is not as expected.
 */

import { join } from 'node:path';
import { makeFolder, withFile, writeFileAtomic } from '../array/files.js';
import { showShape } from '../array/ndarray.js';
import { bytesHeader, locateBytes } from '../array/safetensors.js';
import { PIECE } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';
import { CHANNELS, type Decoded } from './decode.js';
import { sharedBytes } from './images.js';
import { type CheckedSource, checkSignal, type LoadControl, Progress } from './reading.js';

const KIND = 'layerpeel decoded images';

const cachePath = (folder: string, { kind, split, size }: CheckedSource): string =>
  join(folder, `${kind === 'list' ? 'list-' : ''}${split || 'all'}${size ? `-${size.join('x')}` : ''}.safetensors`);

/** The `count` images of the files with this digest, if they are kept and are what the source wants. @throws LP_ABORTED, LP_MEMORY */
export async function readCache(
  source: CheckedSource,
  digest: string,
  count: number,
  control: LoadControl,
): Promise<Decoded | undefined> {
  if (source.cache === false) return undefined;
  try {
    return await withFile(cachePath(source.cache, source), async (file) => {
      const { shape, metadata, position } = await locateBytes(file, 'images');
      const [height, width] = source.size ?? (shape.slice(1) as [number, number]);
      const unreadable = parseNumbers(metadata.unreadable, count);
      if (metadata.kind !== KIND || metadata.digest !== digest || !unreadable) return undefined;
      if (showShape(shape) !== showShape([count, height, width, CHANNELS])) return undefined;
      if (unreadable.length > 0 && source.onUnreadable === 'refuse') return undefined;
      const images = sharedBytes(count * height * width * CHANNELS, `The images of ${file.path}`);
      const progress = new Progress(control, images.length);
      const fill = file.from(position);
      for (const piece of piecesOf(images)) {
        await fill(piece);
        progress.advance(piece.length);
      }
      return { images, size: [height, width], unreadable };
    });
  } catch (error) {
    if (error instanceof LayerpeelError && (error.code === 'LP_FILE' || error.code === 'LP_OPTION')) return undefined;
    throw error;
  }
}

/** Ascending numbers below `count`, separated by blanks. */
function parseNumbers(text: string | undefined, count: number): number[] | undefined {
  if (text === undefined) return undefined;
  const values = text.split(' ').filter(Boolean).map(Number);
  return values.every((value, k) => Number.isInteger(value) && value < count && value > (values[k - 1] ?? -1)) ? values : undefined;
}

/** Keeps images; where the disk refuses, the next load decodes again. @throws LP_ABORTED */
export async function writeCache(source: CheckedSource, digest: string, decoded: Decoded, control: LoadControl): Promise<void> {
  if (source.cache === false) return;
  const { images, size, unreadable } = decoded;
  const count = images.length / (size[0] * size[1] * CHANNELS);
  const metadata = { kind: KIND, digest, unreadable: unreadable.join(' ') };
  function* content(): Generator<Uint8Array> {
    yield bytesHeader('images', [count, ...size, CHANNELS], metadata);
    for (const piece of piecesOf(images)) {
      checkSignal(control);
      yield piece;
    }
  }
  try {
    await makeFolder(source.cache);
    await writeFileAtomic(cachePath(source.cache, source), content());
  } catch {
    checkSignal(control); // what was stopped; a read-only or full disk is no reason not to go on
  }
}

function* piecesOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += PIECE) yield bytes.subarray(start, start + PIECE);
}
