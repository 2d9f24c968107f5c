/**
 * The random start of the papers' experiments: features and prototypes with independent normal entries, labels class by
 * class `0 … 0 1 … 1 …`.
 */
import { allocate, checkRoom, type DType, type Float, type State, scales } from '../array/ndarray.js';
import { seededRandom } from '../array/random.js';
import { LayerpeelError } from '../check/errors.js';
import { checkChoice, checkKeys, checkNumber, checkNumbers, inside, option, type Place, show } from '../check/options.js';
import { checkSeed } from '../check/quantities.js';

export interface RandomStateOptions {
  /** Number of classes, at least 2; may be left out where `counts` are given. */
  readonly classes?: number | undefined;
  /** Samples of every class. */
  readonly perClass?: number | undefined;
  /** Samples of each class, in place of `perClass`. */
  readonly counts?: ArrayLike<number> | undefined;
  /** Dimensions of a feature and of a prototype. */
  readonly dim: number;
  /** @default 0 */
  readonly seed?: number | undefined;
  /** float32 gives the roundings of the float64 entries. @default 'float64' */
  readonly dtype?: DType | undefined;
  /** Standard deviation of the entries. @default 1 */
  readonly scale?: number | undefined;
}

/**
 * A random state: features `[n, dim]`, prototypes `[classes, dim]` of independent normal entries, labels class by class.
 * The prototypes are drawn first, so they do not depend on the number of samples.
 * @throws LP_OPTION; LP_MEMORY where the machine has no room for it
 */
export function randomState(options: RandomStateOptions): State {
  return makeRandomState(options, option('options'));
}

/** `randomState` of options that stand at a place of their own. */
export function makeRandomState(options: RandomStateOptions, place: Place): State {
  checkKeys(options, ['classes', 'perClass', 'counts', 'dim', 'seed', 'dtype', 'scale'], place);
  const { dtype = 'float64', scale = 1 } = options;
  checkChoice(dtype, ['float32', 'float64'], inside(place, 'dtype'));
  checkNumber(scale, inside(place, 'scale'), scales[dtype]);
  const dim = checkNumber(options.dim, inside(place, 'dim'), { min: 1, integer: true });
  const bytes = dtype === 'float64' ? 8 : 4;
  const counts = countsOf(options, place, (rows) => checkRoom(rows * (dim * bytes + 4), 'A random state of this size'));
  const samples = counts.reduce((sum, count) => sum + count, 0);

  const random = seededRandom(checkSeed(options.seed, inside(place, 'seed')));
  const draw = (rows: number) => {
    const data = allocate(dtype, rows * dim, 'A random state') as Float;
    return { shape: [rows, dim], data: random.fillNormal(data, scale) };
  };
  const prototypes = draw(counts.length);
  const features = draw(samples);
  return { features, prototypes, labels: labelsOf(counts) };
}

/** @param checkRows is told how many rows features and prototypes have together, before any memory is asked for */
function countsOf({ classes, perClass, counts }: RandomStateOptions, place: Place, checkRows: (rows: number) => void): Int32Array {
  if ((perClass === undefined) === (counts === undefined)) {
    throw new LayerpeelError(place.code, `${place.path} need either perClass (with classes) or counts, and not both.`);
  }
  const bounds = { min: 1, max: 2 ** 31 - 1, integer: true };
  if (counts === undefined) {
    const size = checkNumber(perClass, inside(place, 'perClass'), bounds);
    const number = checkNumber(classes, inside(place, 'classes'), { ...bounds, min: 2 });
    checkRows(number * (size + 1));
    return new Int32Array(number).fill(size);
  }
  const list = Int32Array.from(checkNumbers(counts, inside(place, 'counts'), bounds));
  if (list.length < 2 || (classes !== undefined && classes !== list.length)) {
    const wanted = classes === undefined ? 'at least 2' : show(classes);
    throw new LayerpeelError(place.code, `${inside(place, 'counts').path} has ${list.length} entries; expected ${wanted}.`);
  }
  checkRows(list.reduce((sum, count) => sum + count, list.length));
  return list;
}

/** Labels class by class: `counts[0]` times 0, `counts[1]` times 1, … */
function labelsOf(counts: Int32Array): Int32Array {
  const labels = new Int32Array(counts.reduce((sum, count) => sum + count, 0));
  let start = 0;
  for (const [c, count] of counts.entries()) {
    labels.fill(c, start, start + count);
    start += count;
  }
  return labels;
}
