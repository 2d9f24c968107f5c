/**
 * What a study is told: a base configuration of a command, axes along which entries of it change, and what to lay out. A study is a
 * JSON file:
 *
 *     { "command": "simulate", "base": { … },
 *       "axes": { "method": { "plain": {}, "decay": { "options.weightDecay": 0.01 } },
 *                 "options.gamma": [0, 0.05, 0.1],
 *                 "state.random.seed": [0, 1, 2] },
 *       "rows": "method", "columns": "options.gamma", "measures": ["accuracy", "limit.rate"] }
 *
 * An axis is a path of the base and its values, or a name and for each of its labels the entries that are set. Every combination is a run.
 */
import { createHash } from 'node:crypto';
import { LayerpeelError } from '../check/errors.js';
import {
  type Complete,
  checkBoolean,
  checkChoice,
  checkKeys,
  checkList,
  checkNumber,
  checkObject,
  checkText,
  entry,
  inside,
  nearest,
  type Place,
  show,
} from '../check/options.js';
import { withEntry } from '../check/paths.js';

/** Entries of the base by their paths. */
export type Entries = Readonly<Record<string, unknown>>;

/** Where a measure crosses a value along an axis of numbers. */
export interface Boundary {
  /** Its values, ascending, are where is looked first; between two that lie on either side it is bisected. */
  readonly axis: string;
  readonly measure: string;
  /** @default 0 */
  readonly value?: number | undefined;
  /** Width of what is left, as a share of the first interval. @default 1e-6 */
  readonly tolerance?: number | undefined;
}

export interface StudyConfig {
  /** What each run is a run of. */
  readonly command: 'simulate' | 'train' | 'evaluate';
  /**
   * A configuration of `simulate` or `train`, paths in it relative to the study's file; of `evaluate` its options by their names, and
   * `input` for what is evaluated.
   */
  readonly base: Readonly<Record<string, unknown>>;
  readonly axes: Readonly<Record<string, readonly unknown[] | Readonly<Record<string, Entries>>>>;
  /** The axis over which means are taken; `null` for none. @default the axis whose path ends in `seed` */
  readonly seed?: string | null | undefined;
  /** The axes whose combinations are rows of the tables. @default those that are neither seed nor columns */
  readonly rows?: string | readonly string[] | undefined;
  /** @default none: a column is a measure */
  readonly columns?: string | readonly string[] | undefined;
  /** @default those of the base, of `train` testAccuracy, testLoss and nc1 */
  readonly measures?: readonly string[] | undefined;
  /** Which values of a measure are the best ones. @default by the measure: accuracies are largest, losses and distances smallest */
  readonly best?: Readonly<Record<string, 'largest' | 'smallest'>> | undefined;
  /** Whether every run has a folder; `false` computes those of `simulate` in one process and keeps the measures alone. @default true */
  readonly folders?: boolean | undefined;
  readonly boundary?: Boundary | undefined;
}

const keys = ['command', 'base', 'axes', 'seed', 'rows', 'columns', 'measures', 'best', 'folders', 'boundary'];
export const commands = ['simulate', 'train', 'evaluate'] as const;

/** A value of an axis, as tables have it. */
export interface Level {
  readonly label: string;
  /** Where it is one. */
  readonly number?: number | undefined;
  readonly entries: Entries;
}

export interface Axis {
  readonly name: string;
  readonly levels: readonly Level[];
}

/** A run of a study: which levels it has, in the order of the axes, and the configuration that they make. */
export interface Cell {
  /** The name of its folder, of its levels alone. */
  readonly id: string;
  readonly levels: readonly Level[];
  readonly config: Readonly<Record<string, unknown>>;
}

/** A study, checked. */
export interface Plan {
  readonly command: StudyConfig['command'];
  readonly base: Readonly<Record<string, unknown>>;
  readonly axes: readonly Axis[];
  readonly seed: string | undefined;
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  readonly measures: readonly string[] | undefined;
  readonly best: Readonly<Record<string, 'largest' | 'smallest'>>;
  readonly folders: boolean;
  /** And the place of its axis. */
  readonly boundary: (Complete<Boundary> & { readonly at: number }) | undefined;
}

/** Runs of one study at most. */
const MOST = 1e6;

/** @throws the place's code, with the path to what is wrong */
export function checkStudy(given: unknown, place: Place): Plan {
  const study = checkKeys(given, keys, place);
  for (const key of ['command', 'base', 'axes']) {
    if (study[key] !== undefined) continue;
    throw new LayerpeelError(place.code, `${inside(place, key).path} is missing; layerpeel study --example prints a whole study.`);
  }
  const command = checkChoice(study.command, commands, inside(place, 'command'));
  const base = checkObject(study.base, inside(place, 'base'));
  const axes = Object.entries(checkObject(study.axes, inside(place, 'axes'))).map(([name, axis]) =>
    checkAxis(name, axis, base, { ...inside(place, 'axes'), called: undefined }),
  );
  if (axes.length === 0) throw new LayerpeelError(place.code, `${place.path}.axes is empty; expected at least one axis.`);
  const count = axes.reduce((product, { levels }) => product * levels.length, 1);
  if (count > MOST) throw new LayerpeelError(place.code, `${place.path}.axes make ${count} runs; expected at most ${MOST}.`);
  const names = axes.map(({ name }) => name);
  const axis = (name: unknown, here: Place): string => {
    const text = checkText(name, here, 'the name of an axis');
    if (names.includes(text)) return text;
    const guess = nearest(text, names);
    throw new LayerpeelError(
      place.code,
      `${here.path} is ${show(text)}; ${guess ? `did you mean '${guess}'?` : `expected one of ${names.join(', ')}.`}`,
    );
  };
  const several = (key: 'rows' | 'columns'): readonly string[] | undefined => {
    const here = inside(place, key);
    if (study[key] === undefined) return undefined;
    if (typeof study[key] === 'string') return [axis(study[key], here)];
    return checkList(study[key], here, 'the name of an axis, or a list of them').map((name, i) => axis(name, entry(here, i)));
  };
  const seeds = names.filter((name) => /(^|\.)seed$/.test(name));
  const seed =
    study.seed === null
      ? undefined
      : study.seed === undefined
        ? seeds.length === 1
          ? seeds[0]
          : undefined
        : axis(study.seed, inside(place, 'seed'));
  const columns = several('columns') ?? [];
  const rows = several('rows') ?? names.filter((name) => name !== seed && !columns.includes(name));
  const laid = [...rows, ...columns, ...(seed === undefined ? [] : [seed])];
  const twice = laid.find((name, i) => laid.indexOf(name) !== i);
  if (twice)
    throw new LayerpeelError(place.code, `The axis ${twice} is laid out twice; expected it in one of rows, columns and seed.`);
  const forgotten = names.find((name) => !laid.includes(name));
  if (forgotten) {
    throw new LayerpeelError(
      place.code,
      `The axis ${forgotten} is neither in ${place.path}.rows nor in columns, nor is it the seed; add it to one.`,
    );
  }
  const folders = checkBoolean(study.folders ?? true, inside(place, 'folders'));
  if (!folders && command !== 'simulate') {
    throw new LayerpeelError(place.code, `${place.path}.folders is false, but runs of ${command} need theirs; leave it out.`);
  }
  const here = inside(place, 'measures');
  return {
    ...{ command, base, axes, seed, rows, columns, folders },
    measures: study.measures === undefined ? undefined : checkMeasures(study.measures, here),
    best: checkBest(study.best ?? {}, inside(place, 'best')),
    boundary: study.boundary === undefined ? undefined : checkBoundary(study.boundary, axes, axis, inside(place, 'boundary')),
  };
}

function checkMeasures(given: unknown, place: Place): readonly string[] {
  const names = checkList(given, place, 'a list of measures').map((name, i) => checkText(name, entry(place, i)));
  if (names.length === 0) throw new LayerpeelError(place.code, `${place.path} is an empty list; expected at least one measure.`);
  return [...new Set(names)];
}

function checkBest(given: unknown, place: Place): Plan['best'] {
  const best = checkObject(given, place);
  return Object.fromEntries(
    Object.entries(best).map(([name, which]) => [name, checkChoice(which, ['largest', 'smallest'], inside(place, name))]),
  );
}

function checkBoundary(given: unknown, axes: readonly Axis[], axis: (name: unknown, here: Place) => string, place: Place) {
  const boundary = checkKeys(given, ['axis', 'measure', 'value', 'tolerance'], place);
  const name = axis(boundary.axis, inside(place, 'axis'));
  const at = axes.findIndex((each) => each.name === name);
  const { levels } = axes[at] as Axis;
  if (!isPath(levels) || levels.length < 2 || levels.some(({ number }) => number === undefined)) {
    throw new LayerpeelError(
      place.code,
      `${place.path}.axis is ${show(name)}; expected an axis of at least two numbers, to look between them.`,
    );
  }
  return {
    ...{ axis: name, at },
    measure: checkText(boundary.measure, inside(place, 'measure'), 'the name of a measure'),
    value: checkNumber(boundary.value ?? 0, inside(place, 'value')),
    tolerance: checkNumber(boundary.tolerance ?? 1e-6, inside(place, 'tolerance'), { min: 1e-15, max: 1 }),
  };
}

const isPath = (levels: readonly Level[]): boolean => levels.every(({ entries }) => Object.keys(entries).length === 1);

/** A level of an axis that is a path. */
export function levelOf(path: string, value: unknown): Level {
  return {
    label: typeof value === 'string' ? value : JSON.stringify(value),
    ...(typeof value === 'number' && { number: value }),
    entries: { [path]: value },
  };
}

function checkAxis(name: string, given: unknown, base: unknown, place: Place): Axis {
  const here = { path: `${place.path}[${JSON.stringify(name)}]`, code: place.code };
  const levels: Level[] = Array.isArray(given)
    ? checkList(given, here).map((value) => levelOf(name, value))
    : Object.entries(checkObject(given, here)).map(([label, entries]) => ({
        label,
        entries: checkObject(entries, inside(here, label)),
      }));
  if (levels.length === 0) throw new LayerpeelError(place.code, `${here.path} is empty; expected at least one value.`);
  const labels = levels.map(({ label }) => label);
  const twice = labels.find((label, i) => labels.indexOf(label) !== i);
  if (twice !== undefined) throw new LayerpeelError(place.code, `${here.path} has ${twice} twice.`);
  // What cannot be a path is told of the axis, not of every run.
  for (const { entries } of levels) for (const [path, value] of Object.entries(entries)) withEntry(base, path, value, BASE);
  return { name, levels };
}

/** Where the base stands in a study. */
const BASE: Place = { path: 'base', code: 'LP_CONFIG' };

/** The names of axes in those of folders: the last of a path's names, where no other axis has it. */
function shortNames(axes: readonly Axis[]): readonly string[] {
  const last = axes.map(({ name }) => name.split('.').at(-1) as string);
  return axes.map(({ name }, i) => (last.filter((other) => other === last[i]).length === 1 ? (last[i] as string) : name));
}

const LONGEST = 120;

/** The folder of a run: its levels in words, with a digest where these do not tell all. */
function idOf(names: readonly string[], levels: readonly Level[]): string {
  const plain = levels.every(({ label }) => /^[\p{L}\p{N}.+-]{1,40}$/u.test(label)) && names.every((name) => /^[\w.]+$/.test(name));
  const words = levels
    .map(({ label }, i) => `${names[i]}-${label}`.replace(/[^\p{L}\p{N}.+-]+/gu, '-'))
    .join('_')
    .replace(/^[.-]+/, '');
  if (plain && words.length <= LONGEST) return words;
  const digest = createHash('sha256')
    .update(JSON.stringify(levels.map(({ label }, i) => [names[i], label])))
    .digest('hex');
  return `${words.slice(0, LONGEST)}-${digest.slice(0, 10)}`;
}

/** The run of some levels, one of each axis. */
export function cellOf({ axes, base }: Plan, levels: readonly Level[]): Cell {
  const config = levels
    .flatMap(({ entries }) => Object.entries(entries))
    .reduce<unknown>((whole, [path, value]) => withEntry(whole, path, value, BASE), base);
  return { id: idOf(shortNames(axes), levels), levels, config: config as Cell['config'] };
}

/** All runs, the last axis changing first. */
export function expand(plan: Plan): Cell[] {
  const combinations = plan.axes.reduce<Level[][]>(
    (before, { levels }) => before.flatMap((some) => levels.map((level) => [...some, level])),
    [[]],
  );
  return combinations.map((levels) => cellOf(plan, levels));
}
