/**
 * The parameters of the experiments: what `reproduce` can set, from the defaults that an experiment has, which are the paper's. A name
 * means the same everywhere and has one domain; the papers' letters stand for it as well.
 */
import { LayerpeelError } from '../check/errors.js';
import {
  type Bounds,
  checkChoice,
  checkKeys,
  checkList,
  checkNumber,
  checkText,
  entry,
  inside,
  type Place,
} from '../check/options.js';
import { modelKinds } from '../training/models.js';

interface Kind {
  readonly meaning: string;
  /** In the papers. */
  readonly letters?: readonly string[] | undefined;
  /** Of numbers. */
  readonly bounds?: Bounds | undefined;
  /** Of words. */
  readonly choices?: readonly string[] | undefined;
}

const count = (min: number, max = 1e9): Bounds => ({ min, max, integer: true });
const positive: Bounds = { above: 0 };

/** Parameters of every experiment, lists by the name of their entries. */
const kinds: Readonly<Record<string, Kind>> = {
  classes: { meaning: 'classes', letters: ['K', 'C'], bounds: count(3) },
  perClass: { meaning: 'samples of every class', letters: ['N'], bounds: count(1) },
  dim: { meaning: 'dimensions of features and prototypes', letters: ['p', 'd'], bounds: count(1) },
  seed: { meaning: 'of the random start', bounds: count(0, Number.MAX_SAFE_INTEGER) },
  scale: { meaning: 'standard deviation of the start', bounds: positive },
  scales: { meaning: 'factors of the starts', bounds: positive },
  gamma: { meaning: 'γ of the unhinged loss', letters: ['γ'], bounds: { min: 0 } },
  gammas: { meaning: 'γ of the unhinged loss, a curve each', letters: ['γ'], bounds: { min: 0 } },
  learningRate: { meaning: 'learning rate, a step', letters: ['η'], bounds: positive },
  learningRates: { meaning: 'learning rates, a curve each', letters: ['η'], bounds: positive },
  rate: { meaning: 'rate of a flow', letters: ['η'], bounds: positive },
  rateRatios: { meaning: 'η₁/η₂, a curve each', letters: ['s'], bounds: positive },
  momentum: { meaning: 'momentum', bounds: { min: 0, below: 1 } },
  weightDecay: { meaning: 'weight decay', letters: ['λ'], bounds: { min: 0 } },
  weightDecays: { meaning: 'weight decays, a curve each', letters: ['λ'], bounds: { min: 0 } },
  criticalShares: { meaning: 'weight decays over the critical one, λ/λ*, a curve each', bounds: positive },
  steps: { meaning: 'steps of descent', bounds: count(10) },
  every: { meaning: 'steps between measurements', bounds: count(1) },
  iteratedSteps: { meaning: 'steps that are iterated as well', bounds: count(10) },
  time: { meaning: 'end of the flow', bounds: positive },
  lastExponent: { meaning: 'the flow ends at ten to it', bounds: { min: 101, max: 300 } },
  shapes: { meaning: 'sizes of the problems', bounds: {} },
  sizes: { meaning: 'norms of the noise', bounds: positive },
  each: { meaning: 'states of a size', bounds: count(1) },
  starts: { meaning: 'starts of each shape and number of dimensions', bounds: count(1) },
  push: { meaning: 'angle from the saddle at which descent begins', bounds: positive },
  majority: { meaning: 'large classes', bounds: count(1) },
  energies: { meaning: 'E of features and prototypes', letters: ['E'], bounds: positive },
  ratios: { meaning: 'imbalance ρ', letters: ['ρ'], bounds: { min: 1 } },
  featureEnergy: { meaning: 'E_H', letters: ['E_H'], bounds: positive },
  prototypeEnergy: { meaning: 'E_W', letters: ['E_W'], bounds: positive },
  featureNorm: { meaning: 'bound of ‖h‖', bounds: positive },
  prototypeNorm: { meaning: 'bound of ‖w‖', bounds: positive },
  network: { meaning: 'network', choices: modelKinds },
  epochs: { meaning: 'epochs of each training', bounds: count(1, 1e6) },
  largest: { meaning: 'images of the largest class, 0 for all', bounds: count(0) },
  seeds: { meaning: 'of each training', bounds: count(0, Number.MAX_SAFE_INTEGER) },
  imbalances: { meaning: 'imbalance ρ, a column each', letters: ['ρ'], bounds: { min: 1 } },
  methods: { meaning: 'losses and constraints, a row each' },
  regularizations: { meaning: 'feature regularization, a row each', letters: ['λ'], bounds: { min: 0 } },
  mixup: { meaning: 'α of mixup, 0 for none', letters: ['α'], bounds: { min: 0 } },
};

/** The settings of an experiment. */
export type Parameters = Readonly<Record<string, unknown>>;

/** A setting in which the paper's letters are the names that they stand for: `K=20` sets `classes`. */
export function named(setting: string, defaults: Parameters): string {
  const letter = /^([^=.[\]]+)(?=[=[])/.exec(setting)?.[1]?.trim();
  const name = Object.keys(defaults).find((key) => letter !== undefined && kinds[key]?.letters?.includes(letter));
  return letter === undefined || letter in defaults || name === undefined ? setting : setting.replace(letter, name);
}

/** Parameters as they were set. @throws the place's code for unknown names, wrong types and values out of their domain */
export function checkParameters<P>(given: unknown, defaults: P, place: Place): P {
  checkAs(given, defaults, '', place);
  return given as P;
}

function checkAs(given: unknown, like: unknown, name: string, place: Place): void {
  if (Array.isArray(like)) {
    const list = checkList(given, place);
    if (list.length === 0) throw new LayerpeelError(place.code, `${place.path} is an empty list; expected at least one entry.`);
    for (const [i, each] of list.entries()) checkAs(each, like[0], name, entry(place, i));
  } else if (typeof like === 'object' && like !== null) {
    const entries = Object.entries(checkKeys(given, Object.keys(like), place));
    for (const [key, value] of entries) checkAs(value, (like as Parameters)[key], key, inside(place, key));
  } else if (typeof like === 'string') {
    const { choices } = kinds[name] ?? {};
    choices ? checkChoice(given, choices, place) : checkText(given, place);
  } else {
    checkNumber(given, place, kinds[name]?.bounds);
  }
}

/** What can be set: paths, with their letters; defaults; meanings. */
export function parameterRows(defaults: Parameters, path = ''): string[][] {
  return Object.entries(defaults).flatMap(([key, value]) => {
    const { meaning = '', letters = [] } = kinds[key] ?? {};
    const own = path === '' ? letters : [];
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return parameterRows(value as Parameters, `${path}${key}.`);
    const text = JSON.stringify(value, (_, each) => (typeof each === 'number' ? Number(each.toPrecision(4)) : each));
    return [[[`${path}${key}`, ...own].join(', '), text.length > 40 ? `${text.slice(0, 40)}…` : text, meaning]];
  });
}
