/** Image files as 8-bit sRGB pixels without transparency, decoded by sharp, which is loaded when first used. */
import type { Metadata, default as Sharp, Sharp as SharpImage } from 'sharp';
import { readWhole } from '../array/files.js';
import { kindOf } from '../array/kinds.js';
import { fileFault } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';
import type { Cut, Size, View } from './view.js';

export const CHANNELS = 3;

/** Pixels of the largest image that is taken as it is: what a file of a few bytes may claim must not fill the memory. */
const MOST_PIXELS = 2 ** 24;

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
 * @throws LP_FILE for a sound image of a wrong size; what sharp says for one that is unreadable
 */
export type Decode = (path: string, view: View) => Promise<Pixels>;

/** @param orient whether images are turned as their EXIF orientation says, or taken as they are stored */
export async function decoder(orient: boolean): Promise<Decode> {
  const sharp = await loadSharp();
  return async (path, view) => {
    const file = await readWhole(path);
    if (file.length === 0) throw new Error(kindOf(file));
    const [size, cut] = 'cut' in view ? [undefined, view.cut] : [view.size, undefined];
    const limit = cut ? {} : { limitInputPixels: size ? size[0] * size[1] : MOST_PIXELS };
    try {
      const stored = cut || !begins(file, WHOLE_NUMBERS) ? await checkHeader(file) : undefined;
      // Warnings of a decoder are of files that every viewer shows whole; what is cut short is an error.
      const image = sharp(file, { failOn: 'error', ...limit });
      if (orient) image.autoOrient();
      image.removeAlpha().toColourspace('srgb');
      if (cut && stored) cutting(image, cut(stored));
      const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
      if (info.channels !== CHANNELS) throw new Error(`it has ${info.channels} channels`);
      checkSize([info.height, info.width], size, path);
      return { data, size: [info.height, info.width] };
    } catch (error) {
      // A header of another size explains the fault better than what the decoder met because of it.
      const header = await sharp(file, { limitInputPixels: false })
        .metadata()
        .catch(() => undefined);
      if (header && !cut) checkSize(sizeOf(header), size, path);
      throw header ? error : (otherFormat(file) ?? error);
    }
  };

  function sizeOf({ height, width, orientation = 1 }: Metadata): Size {
    return orient && orientation > 4 ? [width, height] : [height, width];
  }

  async function checkHeader(file: Buffer): Promise<Size> {
    const header = await sharp(file, { failOn: 'error', limitInputPixels: false })
      .metadata()
      .catch((error: Error) => {
        // What libvips says of a sound TIFF of 64 bits.
        throw error.message.includes('samples out of range') ? withoutScale('of more than 32 bits') : error;
      });
    const { depth, width, height } = header;
    if (Math.max(width, height) > LONGEST_SIDE) throw new Error(`it claims ${height}×${width} pixels (height × width)`);
    // Only whole numbers of 8 or 16 bits say what is white.
    if (depth === 'uchar' || depth === 'ushort') return sizeOf(header);
    throw withoutScale(`of type ${depth}`);
  }
}

/** Has sharp cut, resize and cut again. */
export function cutting(image: SharpImage, { from, size, kernel, box }: ReturnType<Cut>): void {
  if (from) image.extract(from);
  image.resize(size[1], size[0], { fit: 'fill', ...(kernel && { kernel }) });
  if (box) image.extract(box);
}

/** libvips stretches by factors up to a million, and complains on standard error about greater ones. */
const LONGEST_SIDE = 1e6;

/** An image of a kind that is not read, however sound. */
export class UnsupportedImage extends Error {}

const withoutScale = (what: string): UnsupportedImage =>
  new UnsupportedImage(`its values are ${what}, which have no scale; images are of 8 bits (0 … 255) or 16 (0 … 65535)`);

/** How JPEG, PNG, GIF and WebP begin, whose values are of 8 bits, or 16. */
const WHOLE_NUMBERS = ['\xff\xd8\xff', '\x89PNG', 'GIF8', 'RIFF'];

/** Formats that sharp's binaries do not read, by how they begin. */
const OTHERS: Readonly<Record<string, readonly string[]>> = {
  BMP: ['BM'],
  'of Netpbm (PBM, PGM, PPM)': ['P1', 'P2', 'P3', 'P4', 'P5', 'P6', 'P7'],
  HEIF: ['heic', 'heix', 'mif1', 'msf1'].flatMap((brand) =>
    [0x18, 0x1c, 0x20, 0x24, 0x28].map((size) => `\0\0\0${String.fromCharCode(size)}ftyp${brand}`),
  ),
  'JPEG XL': ['\xff\x0a', '\0\0\0\x0cJXL '],
  'JPEG 2000': ['\0\0\0\x0cjP  ', '\xff\x4f\xff\x51'],
  'of Photoshop': ['8BPS'],
  OpenEXR: ['v/1\x01'],
  'Radiance HDR': ['#?R'],
  'an icon': ['\0\0\x01\0'],
};

const begins = (file: Buffer, beginnings: readonly string[]): boolean => {
  const text = file.toString('latin1', 0, 16);
  return beginnings.some((one) => text.startsWith(one));
};

function otherFormat(file: Buffer): Error | undefined {
  const name = Object.keys(OTHERS).find((one) => begins(file, OTHERS[one] as readonly string[]));
  if (name) return new UnsupportedImage(`it is ${name}, which is not read here; expected JPEG, PNG, WebP, GIF, TIFF or AVIF`);
  const kind = kindOf(file);
  return kind === undefined ? undefined : new Error(kind);
}

function checkSize([height, width]: Size, wanted: Size | undefined, path: string): void {
  if (wanted ? height === wanted[0] && width === wanted[1] : height * width <= MOST_PIXELS) return;
  const fault = wanted ? `not ${wanted.join('×')} as the images before it` : `more than ${MOST_PIXELS} pixels`;
  throw fileFault(
    path,
    `it is ${height}×${width} (height × width), ${fault}; pass size: [height, width], to which all are stretched.`,
  );
}

export async function loadSharp(): Promise<typeof Sharp> {
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
