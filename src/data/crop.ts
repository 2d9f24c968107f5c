/**
 * Random resized crops (Szegedy et al. 2015), by the rule of torchvision's RandomResizedCrop: a box of an image, whose area is uniform in
 * a range of shares and whose ratio of width to height is uniform in its logarithm, anywhere in the image; after ten boxes that do not fit
 * into it the largest one at its centre whose ratio is in range. It is resized to one size. In evaluation the shorter side is resized, and
 * the centre cut out. Resizing is bilinear, over all pixels that a new one covers.
 */
import { randomOf, type SeededRandom } from '../array/random.js';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, checkList, checkNumber, entry, inside, type Place } from '../check/options.js';
import type { Box, Cut, Size, View } from './view.js';

export interface ResizedCrop {
  /** Of what the network is given, in pixels: of both sides, or `[height, width]`. */
  readonly size: number | readonly [height: number, width: number];
  /** Smallest and largest share of the image's area. @default [0.08, 1] */
  readonly scale?: readonly [least: number, most: number] | undefined;
  /** Smallest and largest width over height. @default [3/4, 4/3] */
  readonly ratio?: readonly [least: number, most: number] | undefined;
  /** In evaluation, the shorter side before the centre is cut out. @default `256/224` of the size, rounded */
  readonly resize?: number | undefined;
}

export interface CheckedCrop {
  readonly size: Size;
  readonly scale: readonly [number, number];
  readonly ratio: readonly [number, number];
  readonly resize: number;
}

/** Checks a crop and fills in the defaults. */
export function checkCrop(given: unknown, place: Place): CheckedCrop {
  const { size, scale, ratio, resize } = checkKeys(given, ['size', 'scale', 'ratio', 'resize'], place);
  const pixels = { min: 1, max: 4096, integer: true };
  const at = inside(place, 'size');
  const pair = (value: unknown, here: Place, what: string): readonly unknown[] => {
    const list = checkList(value, here, what);
    if (list.length === 2) return list;
    throw new LayerpeelError(here.code, `${here.path} has ${list.length} entries; expected ${what}.`);
  };
  const sides = Array.isArray(size) ? pair(size, at, '[height, width]') : [size, size];
  const [height, width] = sides.map((side, k) => checkNumber(side, Array.isArray(size) ? entry(at, k) : at, pixels)) as [
    number,
    number,
  ];
  const range = (value: unknown, key: string, max: number): readonly [number, number] => {
    const here = inside(place, key);
    const [least, most] = pair(value, here, '[least, most]');
    const first = checkNumber(least, entry(here, 0), { above: 0, max });
    return [first, checkNumber(most, entry(here, 1), { min: first, max })];
  };
  const longest = Math.max(height, width);
  return {
    size: [height, width],
    scale: range(scale ?? [0.08, 1], 'scale', 1),
    ratio: range(ratio ?? [3 / 4, 4 / 3], 'ratio', 1e3),
    // Less would leave nothing to cut the centre out of.
    resize: checkNumber(resize ?? Math.round((longest * 256) / 224), inside(place, 'resize'), {
      min: longest,
      max: 8192,
      integer: true,
    }),
  };
}

/** The nearest whole number, of two equally near ones the even one, as in Python. */
const rounded = (x: number): number => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/** A box of an image of this size. */
export function randomBox(
  [height, width]: Size,
  { scale, ratio }: Pick<CheckedCrop, 'scale' | 'ratio'>,
  random: Pick<SeededRandom, 'uniform'>,
): Box {
  const between = (least: number, most: number) => least + (most - least) * random.uniform();
  const upTo = (most: number) => Math.floor(random.uniform() * (most + 1));
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = height * width * between(...scale);
    const aspect = Math.exp(between(Math.log(ratio[0]), Math.log(ratio[1])));
    const [h, w] = [rounded(Math.sqrt(area / aspect)), rounded(Math.sqrt(area * aspect))];
    if (h < 1 || h > height || w < 1 || w > width) continue;
    return { top: upTo(height - h), left: upTo(width - w), height: h, width: w };
  }
  const own = width / height;
  const h = own < ratio[0] ? Math.min(height, Math.max(1, rounded(width / ratio[0]))) : height;
  const w = own > ratio[1] ? Math.min(width, Math.max(1, rounded(height * ratio[1]))) : width;
  return { top: Math.floor((height - h) / 2), left: Math.floor((width - w) / 2), height: h, width: w };
}

/** What training sees of a sample in an epoch: it follows from the seed, the epoch and the sample's index alone. */
export const croppedView = (crop: CheckedCrop, seed: number, epoch: number, sample: number): View => ({
  cut: (stored) => ({
    from: randomBox(stored, crop, randomOf(seed, epoch, sample)),
    size: crop.size,
    kernel: 'linear',
  }),
});

/** What evaluation sees of an image: its shorter side resized, and the centre of that. */
export function centreCut({ size: [h, w], resize }: Pick<CheckedCrop, 'size' | 'resize'>): Cut {
  return ([height, width]) => {
    const longer = (side: number, shorter: number) => Math.floor((resize * side) / shorter);
    const resized: Size = height <= width ? [resize, longer(width, height)] : [longer(height, width), resize];
    const box = { top: rounded((resized[0] - h) / 2), left: rounded((resized[1] - w) / 2), height: h, width: w };
    return { size: resized, kernel: 'linear', box };
  };
}
