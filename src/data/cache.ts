/**
 * Decoded images kept in a file: a `.safetensors` with the one tensor `images`, `[n, height, width, 3]` of bytes, and in its metadata
 * what they were decoded from. It appears whole or not at all, and is ignored where anything of it is not as expected.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { withFile, writeFileAtomic } from '../array/files.js';
import { bytesPieces, locateBytes } from '../array/safetensors.js';
import { LayerpeelError } from '../errors.js';
import type { Decoded } from './folder.js';
import { sharedBytes } from './images.js';
import type { CheckedSource } from './reading.js';

const KIND = 'layerpeel decoded images';

const cachePath = (folder: string, { split, size }: CheckedSource): string =>
  join(folder, `${split}${size ? `-${size.join('x')}` : ''}.safetensors`);

/** The images of the files with this digest, if they are kept. */
export async function readCache(source: CheckedSource, digest: string, count: number): Promise<Decoded | undefined> {
  if (source.cache === false) return undefined;
  try {
    return await withFile(cachePath(source.cache, source), async (file) => {
      const { shape, metadata, position } = await locateBytes(file, 'images');
      const [n, height, width, channels] = shape as [number, number, number, number];
      if (metadata.kind !== KIND || metadata.digest !== digest || shape.length !== 4 || n !== count || channels !== 3)
        return undefined;
      const unreadable = parseNumbers(metadata.unreadable, n);
      if (!unreadable) return undefined;
      const images = sharedBytes(n * height * width * channels, `The images of ${file.path}`);
      await file.readAt(position, images);
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

/** Keeps images; where that is refused, the next load decodes again. */
export async function writeCache(source: CheckedSource, digest: string, count: number, decoded: Decoded): Promise<void> {
  if (source.cache === false) return;
  const { images, size, unreadable } = decoded;
  const metadata = { kind: KIND, digest, unreadable: unreadable.join(' ') };
  try {
    await mkdir(source.cache, { recursive: true });
    await writeFileAtomic(cachePath(source.cache, source), bytesPieces('images', [count, ...size, 3], images, metadata));
  } catch {
    // A read-only or full disk is no reason not to go on.
  }
}
