/** Images of another size, made those that a network takes: stretched as sharp does it, grey ones in as many equal channels. */
import { checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, checkNumber, inside, option } from '../check/options.js';
import { loadSharp } from './decode.js';
import { type AnyImages, checkAnyImages, type ImageSet, type ImageSizes, inFiles, sharedBytes } from './images.js';
import { type LoadControl, Progress } from './reading.js';

/** Images stretched at once: enough to keep every thread of libuv's pool at work. */
const AT_ONCE = 8;

/**
 * Stretches images to a size, of files as they are decoded; the set itself where it has it. Grey images become ones of more channels, each of them the same.
 * @throws `LP_SHAPE` for channels that none of this makes, such as grey of colours; `LP_NOT_BUILT` without sharp, `LP_MEMORY`, `LP_ABORTED`
 */
export async function fitImages<S extends AnyImages>(
  set: S,
  size: Omit<ImageSizes, 'count'>,
  control: LoadControl = {},
): Promise<S> {
  const from = checkAnyImages(set);
  checkOptions(control, [], option('control'));
  const to = checkKeys(size, ['height', 'width', 'channels'], option('size'));
  const [height, width, channels] = (['height', 'width', 'channels'] as const).map((name) =>
    checkNumber(to[name], inside(option('size'), name), { min: 1, max: 4096, integer: true }),
  ) as [number, number, number];
  if (from.channels !== channels && from.channels !== 1) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `The images have ${from.channels} channels; expected ${channels}, or 1, which stands for all of them.`,
    );
  }
  if (from.height === height && from.width === width && from.channels === channels) return set;
  if (inFiles(set)) return { ...set, fit: 'stretch', shape: [from.count, height, width, channels] };
  const { images } = set as ImageSet;
  const stretch = from.height === height && from.width === width ? undefined : await stretcher(from, height, width);
  const [before, pixels] = [from.height * from.width * from.channels, height * width];
  const fitted = sharedBytes(from.count * pixels * channels, `Images of ${height}×${width}×${channels}`);
  const progress = new Progress(control, from.count);
  let next = 0;
  const work = async () => {
    for (let i = next++; i < from.count; i = next++) {
      const own = images.subarray(i * before, (i + 1) * before);
      const data = stretch ? await stretch(own) : own;
      const place = fitted.subarray(i * pixels * channels, (i + 1) * pixels * channels);
      if (from.channels === channels) place.set(data);
      else for (let at = 0; at < place.length; at++) place[at] = data[Math.floor(at / channels)] as number;
      progress.advance(1);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return { ...set, images: fitted, shape: [from.count, height, width, channels] };
}

async function stretcher({ height, width, channels }: ImageSizes, toHeight: number, toWidth: number) {
  const sharp = await loadSharp();
  const one = async (data: Uint8Array, raw: { width: number; height: number; channels: 1 | 2 | 3 | 4 }) => {
    // Of memory of its own: sharp takes none that is shared.
    const image = sharp(Uint8Array.from(data), { raw }).resize(toWidth, toHeight, { fit: 'fill' });
    if (raw.channels === 1) image.toColourspace('b-w');
    return image.raw({ depth: 'uchar' }).toBuffer();
  };
  if (channels === 1 || channels === 3) return (data: Uint8Array) => one(data, { width, height, channels });
  // Channels that are no colours are stretched one by one.
  return async (data: Uint8Array) => {
    const out = new Uint8Array(toHeight * toWidth * channels);
    for (let c = 0; c < channels; c++) {
      const plane = await one(
        Uint8Array.from({ length: height * width }, (_, at) => data[at * channels + c] as number),
        { width, height, channels: 1 },
      );
      for (let at = 0; at < plane.length; at++) out[at * channels + c] = plane[at] as number;
    }
    return out;
  };
}
