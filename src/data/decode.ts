/** Image files as 8-bit sRGB pixels without transparency, decoded by sharp, which is loaded when first used. */
import type Sharp from 'sharp';
import { readWhole } from '../array/files.js';
import { fileFault } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';

export const CHANNELS = 3;

/** Pixels of the largest image that is taken as it is: what a file of a few bytes may claim must not fill the memory. */
const MOST_PIXELS = 2 ** 24;

export type Size = readonly [height: number, width: number];

export interface Pixels {
  /** `[height, width, 3]` */
  readonly data: Uint8Array;
  readonly size: Size;
}

/** Images of several files, `[n, height, width, 3]`; those that could not be read left zero. */
export interface Decoded {
  readonly images: Uint8Array;
  readonly size: Size;
  /** Numbers of the files that could not be read, ascending. */
  readonly unreadable: readonly number[];
}

/**
 * Decodes a file.
 * @param size what the image is stretched to, or must have; undefined where any will do
 * @throws LP_FILE for a sound image of a wrong size; what sharp says for one that is unreadable
 */
export type Decode = (path: string, size: Size | undefined, stretch: boolean) => Promise<Pixels>;

export async function decoder(): Promise<Decode> {
  const sharp = await loadSharp();
  return async (path, size, stretch) => {
    const file = await readWhole(path);
    const limitInputPixels = size ? size[0] * size[1] : MOST_PIXELS;
    const image = sharp(file, stretch ? {} : { limitInputPixels })
      .removeAlpha()
      .toColourspace('srgb');
    if (size && stretch) image.resize(size[1], size[0], { fit: 'fill' });
    try {
      const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
      if (info.channels !== CHANNELS) throw new Error(`it has ${info.channels} channels`);
      checkSize([info.height, info.width], size, path);
      return { data, size: [info.height, info.width] };
    } catch (error) {
      // A header of another size explains the fault better than what the decoder met because of it.
      const header = await sharp(file, { limitInputPixels: false })
        .metadata()
        .catch(() => undefined);
      if (header && !stretch) checkSize([header.height, header.width], size, path);
      throw error;
    }
  };
}

function checkSize([height, width]: Size, wanted: Size | undefined, path: string): void {
  if (wanted ? height === wanted[0] && width === wanted[1] : height * width <= MOST_PIXELS) return;
  const fault = wanted ? `not ${wanted.join('×')} as the images before it` : `more than ${MOST_PIXELS} pixels`;
  throw fileFault(
    path,
    `it is ${height}×${width} (height × width), ${fault}; pass size: [height, width], to which all are stretched.`,
  );
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
