/**
 * Training sets made harder: imbalanced subsets, wrong labels, classes held out for tests of what is out of distribution.
 */

import { least } from '../array/extremes.js';
import { checkLabelVector, indicesByClass } from '../array/ndarray.js';
import { seededRandom } from '../array/random.js';
import { LayerpeelError } from '../check/errors.js';
import {
  checkChoice,
  checkKeys,
  checkList,
  checkNumber,
  checkNumbers,
  inside,
  option,
  type Place,
  show,
} from '../check/options.js';
import { checkSeed } from '../check/quantities.js';
import { type AnyImages, checkAnyImages, classCounts, type ImageSet, imageSubset } from './images.js';
import { longTailedCounts, stepCounts } from './imbalance.js';

/**
 * 32-bit words of the Mersenne Twister MT19937, seeded by `init_genrand`: NumPy's `RandomState(seed)` has the same.
 * Source: Matsumoto and Nishimura, "Mersenne Twister", 1998; initialization of 2002.
 */
export function mersenneTwister(seed: number): () => number {
  const [size, middle] = [624, 397];
  const state = new Uint32Array(size);
  state[0] = seed;
  for (let i = 1; i < size; i++) {
    const last = state[i - 1] as number;
    state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
  }
  let next = size;

  function renew(): void {
    for (let i = 0; i < size; i++) {
      const word = ((state[i] as number) & 0x80000000) | ((state[(i + 1) % size] as number) & 0x7fffffff);
      state[i] = (state[(i + middle) % size] as number) ^ (word >>> 1) ^ (word & 1 ? 0x9908b0df : 0);
    }
    next = 0;
  }

  return () => {
    if (next === size) renew();
    let word = state[next++] as number;
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  };
}

/** `numpy.random.shuffle`, to the bit: Fisher–Yates from the end, words masked to the smallest `2^k − 1` and rejected above. */
function shuffle(values: Int32Array, word: () => number): void {
  for (let i = values.length - 1; i > 0; i--) {
    const mask = 2 ** (32 - Math.clz32(i)) - 1;
    let j: number;
    do j = (word() & mask) >>> 0;
    while (j > i);
    [values[i], values[j]] = [values[j] as number, values[i] as number];
  }
}

/**
 * Indices of the field's imbalanced subset: class by class in the order of labels, the first `counts[c]` of a class's indices
 * after a shuffle by one Mersenne Twister. Seed 0 gives the subsets of the published long-tailed sets.
 * Source: Cao et al., LDAM, as their code has it.
 * @param counts wanted of each class, at least 1
 * @throws LP_BALANCE where a class has fewer images than asked; LP_OPTION
 */
export function imbalancedIndices(labels: Int32Array, counts: ArrayLike<number>, seed = 0): Int32Array {
  const own = checkSeed(seed, option('seed'), 2 ** 32 - 1);
  const wanted = Int32Array.from(checkNumbers(counts, option('counts'), { min: 0, max: 2 ** 31 - 1, integer: true }));
  const byClass = indicesByClass(checkLabelVector(labels, wanted.length), wanted.length);
  for (const [c, own] of byClass.entries()) {
    const count = wanted[c] as number;
    if (count > 0 && own.length >= count) continue;
    throw new LayerpeelError(
      'LP_BALANCE',
      count === 0
        ? `Class ${c} would keep no image; ask for a smaller ratio.`
        : `Class ${c} has ${own.length} images, but ${count} were asked for; ask for fewer.`,
    );
  }
  const word = mersenneTwister(own);
  const chosen: number[] = [];
  for (const [c, own] of byClass.entries()) {
    shuffle(own, word);
    for (const index of own.subarray(0, wanted[c])) chosen.push(index);
  }
  return Int32Array.from(chosen);
}

/**
 * Labels of which `round(share · n)`, drawn without replacement, are replaced by another class, each equally likely.
 * @param share 0 … 1
 * @throws LP_OPTION
 */
export function noisyLabels(labels: Int32Array, classes: number, share: number, seed = 0): Int32Array {
  checkNumber(share, option('share'), { min: 0, max: 1 });
  checkNumber(classes, option('classes'), { min: 2, max: 2 ** 31 - 1, integer: true });
  checkLabelVector(labels, classes);
  const random = seededRandom(checkSeed(seed, option('seed')));
  const noisy = labels.slice();
  const order = Int32Array.from(labels.keys());
  const wrong = Math.round(share * labels.length);
  for (let k = 0; k < wrong; k++) {
    const other = k + Math.floor(random.uniform() * (order.length - k));
    [order[k], order[other]] = [order[other] as number, order[k] as number];
    const i = order[k] as number;
    const away = 1 + Math.floor(random.uniform() * (classes - 1));
    noisy[i] = ((labels[i] as number) + away) % classes;
  }
  return noisy;
}

/** How a training set differs from what was loaded, in this order: classes held out, then imbalance, then wrong labels. */
export interface Selection {
  /** Names or numbers of classes that are not trained on. */
  readonly heldOut?: readonly (string | number)[] | undefined;
  readonly imbalance?: {
    readonly kind: 'long-tailed' | 'step';
    /** Largest over smallest class size. */
    readonly ratio: number;
    /** Images of the largest class. @default as many as the smallest class has */
    readonly largest?: number;
    /** @default 0, the published subsets */
    readonly seed?: number;
  };
  readonly labelNoise?: {
    /** Share of wrong labels, 0 … 1. */
    readonly share: number;
    /** @default 0 */
    readonly seed?: number;
  };
}

export interface Selected<S extends AnyImages = ImageSet> {
  /** Classes are numbered anew, without those held out. */
  readonly images: S;
  /** The images of the classes held out, numbered by their place in `heldOut`'s classes. */
  readonly heldOut?: S | undefined;
}

/**
 * A training set as the selection says.
 * @throws LP_OPTION, LP_BALANCE
 */
export function selectImages<S extends AnyImages>(set: S, selection: Selection): Selected<S> {
  return selectImagesAt(option('selection'), set, selection);
}

/** `selectImages` by a selection that stands at a place of its own. */
export function selectImagesAt<S extends AnyImages>(place: Place, set: S, selection: Selection): Selected<S> {
  checkAnyImages(set);
  checkSelection(selection, place);
  const { imbalance, labelNoise } = selection;
  const { kept, heldOut } = holdOut(set, selection.heldOut ?? [], inside(place, 'heldOut'));
  let images = kept;
  if (imbalance !== undefined) {
    const here = inside(place, 'imbalance');
    const largest = imbalance.largest ?? least(classCounts(images));
    const ratio = checkNumber(imbalance.ratio, inside(here, 'ratio'), { min: 1, max: largest });
    const counts = (imbalance.kind === 'step' ? stepCounts : longTailedCounts)(images.classes.length, largest, ratio);
    images = imageSubset(images, imbalancedIndices(images.labels, counts, imbalance.seed ?? 0));
  }
  if (labelNoise !== undefined) {
    const { share, seed = 0 } = labelNoise;
    images = { ...images, labels: noisyLabels(images.labels, images.classes.length, share, seed) };
  }
  return heldOut ? { images, heldOut } : { images };
}

/** Checks of a selection what does not depend on the images. */
export function checkSelection(given: unknown, place: Place): void {
  const selection = checkKeys(given, ['heldOut', 'imbalance', 'labelNoise'], place);
  const seed = (value: unknown, here: Place) => checkSeed(value, inside(here, 'seed'), 2 ** 32 - 1);
  if (selection.heldOut !== undefined) checkList(selection.heldOut, inside(place, 'heldOut'), 'a list of classes');
  if (selection.imbalance !== undefined) {
    const here = inside(place, 'imbalance');
    const imbalance = checkKeys(selection.imbalance, ['kind', 'ratio', 'largest', 'seed'], here);
    checkChoice(imbalance.kind, ['long-tailed', 'step'], inside(here, 'kind'));
    if (imbalance.largest !== undefined) checkNumber(imbalance.largest, inside(here, 'largest'), { min: 1, integer: true });
    checkNumber(imbalance.ratio, inside(here, 'ratio'), { min: 1 });
    seed(imbalance.seed, here);
  }
  if (selection.labelNoise !== undefined) {
    const here = inside(place, 'labelNoise');
    const noise = checkKeys(selection.labelNoise, ['share', 'seed'], here);
    checkNumber(noise.share, inside(here, 'share'), { min: 0, max: 1 });
    checkSeed(noise.seed, inside(here, 'seed'));
  }
}

function holdOut<S extends AnyImages>(set: S, names: readonly (string | number)[], place: Place): { kept: S; heldOut?: S } {
  checkList(names, place, 'a list of classes');
  if (names.length === 0) return { kept: set };
  const out = names.map((name, k) => {
    const c = typeof name === 'number' ? name : set.classes.indexOf(name);
    if (Number.isInteger(c) && set.classes[c] !== undefined) return c;
    throw new LayerpeelError(
      place.code,
      `${place.path}[${k}] is ${show(name)}; expected one of the ${set.classes.length} classes, such as ${show(set.classes[0])} or 0.`,
    );
  });
  const stay = [...set.classes.keys()].filter((c) => !out.includes(c));
  if (new Set(out).size < out.length || stay.length < 2) {
    throw new LayerpeelError(place.code, `${place.path} must name each class once and leave at least 2 of ${set.classes.length}.`);
  }
  return { kept: onlyClasses(set, stay), heldOut: onlyClasses(set, out) };
}

/** The images of these classes, in the set's order, numbered by their place in the list. */
function onlyClasses<S extends AnyImages>(set: S, chosen: readonly number[]): S {
  const place = new Map(chosen.map((c, k) => [c, k]));
  const indices = [...set.labels.keys()].filter((i) => place.has(set.labels[i] as number));
  const subset = imageSubset(set, indices);
  const labels = subset.labels.map((label) => place.get(label) as number);
  return { ...subset, labels, classes: chosen.map((c) => set.classes[c] as string) };
}
