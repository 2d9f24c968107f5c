/**
 * Runs of any folders side by side: those whose configurations differ in their seeds alone are one row, and what else differs is its name.
 */
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { LayerpeelError } from '../check/errors.js';
import { nearest } from '../check/options.js';
import type { Outcome } from './numerical.js';
import { foundRun } from './results.js';
import { type RunRow, type StudyTable, tabulate } from './table.js';

export interface Comparison {
  readonly table: StudyTable;
  /** Measures that some of the runs have, and others not. */
  readonly partial: readonly string[];
  /** The folder of a run of the table. */
  folderOf(run: RunRow): string | undefined;
}

export interface CompareOptions {
  /** @default those that all runs have: up to eight of them, and before the others what is usually compared */
  readonly measures?: readonly string[] | undefined;
  /** The folder to which links to runs are relative. */
  readonly from: string;
  /** What became of runs later, such as in an evaluation of each, and its folder; by their paths. @default how they ended themselves */
  readonly later?: ReadonlyMap<string, Later> | undefined;
}

export interface Later {
  readonly folder: string;
  readonly outcome: Outcome;
}

interface Found {
  readonly path: string;
  readonly name: string;
  /** The entries of its configuration by their paths; seeds apart. */
  readonly entries: ReadonlyMap<string, string>;
  readonly seed: string;
  readonly group: string;
  readonly row: Omit<RunRow, 'levels'>;
}

const USUAL = ['testAccuracy', 'trainAccuracy', 'testLoss', 'trainLoss', 'nc1', 'accuracy', 'calibration.ece', 'loss'];
const MOST_MEASURES = 8;
/** Entries of a configuration that a row's name has at most. */
const MOST_ENTRIES = 4;

/** @throws `LP_FILE` for what is no run folder, `LP_CONFIG` where the runs have no measure in common, or none of the name asked for */
export async function compareRuns(paths: readonly string[], { measures, from, later }: CompareOptions): Promise<Comparison> {
  const found: Found[] = [];
  for (const path of await runsOf(paths)) found.push(await read(path, from, later?.get(path)));
  const ended = found.filter(({ row }) => row.status === 'complete');
  const all = [...new Set(ended.flatMap(({ row }) => Object.keys(row.measures)))];
  const common = all.filter((name) => ended.every(({ row }) => Object.hasOwn(row.measures, name)));
  const chosen = measures ?? usual(common);
  const unknown = chosen.find((name) => !all.includes(name));
  if (unknown !== undefined && ended.length > 0) {
    const guess = nearest(unknown, all);
    throw new LayerpeelError(
      'LP_CONFIG',
      `No run has the measure ${unknown}; ${guess ? `did you mean ${guess}?` : `they have ${all.join(', ')}.`}`,
    );
  }
  if (chosen.length === 0) {
    const each = ended.map(({ name, row }) => `${name} has ${Object.keys(row.measures).slice(0, 6).join(', ') || 'none'}`);
    throw new LayerpeelError(
      'LP_CONFIG',
      ended.length === 0
        ? 'None of the runs has come to its end; there is nothing to compare.'
        : `The runs have no measure in common: ${each.slice(0, 10).join('; ')}. Compare runs that measure the same, or name measures.`,
    );
  }
  const labels = labelsOf(found);
  const runs = found.map(({ row, seed, group }): RunRow => ({ ...row, levels: { run: labels.get(group) as string, seed } }));
  const table = tabulate(runs, { axes: ['run', 'seed'], seed: 'seed', rows: ['run'], columns: [], measures: chosen, best: {} });
  const places = new Map(found.map(({ row, path }) => [row.id, path]));
  return { table, partial: all.filter((name) => !common.includes(name)), folderOf: ({ id }) => places.get(id) };
}

function usual(all: readonly string[]): readonly string[] {
  const common = all.filter((name) => name !== 'step'); // where a run ended, not what it came to
  if (common.length <= MOST_MEASURES) return common;
  const first = USUAL.filter((name) => common.includes(name));
  return [...first, ...common.filter((name) => !first.includes(name))].slice(0, Math.max(first.length, MOST_MEASURES));
}

/** Run folders, a study's folder standing for those in it, each once. */
export async function runsOf(paths: readonly string[]): Promise<string[]> {
  const all: string[] = [];
  for (const path of paths) {
    const study = (await stat(join(path, 'study.json')).catch(() => undefined))?.isFile();
    const inside = study
      ? (await readdir(join(path, 'runs')).catch(() => [] as string[])).sort().map((name) => join(path, 'runs', name))
      : [path];
    all.push(...inside);
  }
  const real = await Promise.all(all.map((path) => realpath(path).catch(() => path)));
  return all.filter((_, i) => real.indexOf(real[i] as string) === i);
}

async function read(path: string, from: string, later: Later | undefined): Promise<Found> {
  const found = await foundRun(path);
  if (!found)
    throw new LayerpeelError('LP_FILE', `${path} is no run folder; expected one that a run of layerpeel wrote, or a study's.`);
  const { run, config } = found;
  const { folder = path, outcome = found.outcome } = later ?? {};
  const entries = new Map<string, string>();
  const seeds: string[] = [];
  for (const [entry, value] of flat(config)) {
    if (/(^|\.)seed$/.test(entry)) seeds.push(value);
    else entries.set(entry, value);
  }
  return {
    ...{ path: folder, name: basename(path), entries, seed: seeds.join(', ') },
    group: JSON.stringify([run.command.split(' ')[0], ...[...entries].sort(([a], [b]) => (a < b ? -1 : 1))]),
    row: {
      ...{
        id: relative(from, path) || '.',
        href: `${relative(from, folder).split('/').map(encodeURIComponent).join('/')}/report.html`,
      },
      status: outcome?.status ?? 'missing',
      ...(outcome?.reason !== undefined && { reason: outcome.reason }),
      measures: outcome?.status === 'complete' ? outcome.measures : {},
    },
  };
}

/** The leaves of a configuration by their paths; lists are leaves. */
function* flat(config: unknown, path = ''): Generator<[string, string]> {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    if (path !== '') yield [path, typeof config === 'string' ? config : JSON.stringify(config)];
    return;
  }
  for (const [key, value] of Object.entries(config)) yield* flat(value, path ? `${path}.${key}` : key);
}

/** A name for each group: the entries in which it differs from others, where they are few, else its first run's folder. */
function labelsOf(found: readonly Found[]): Map<string, string> {
  const groups = new Map<string, Found>();
  for (const run of found) if (!groups.has(run.group)) groups.set(run.group, run);
  const all = [...groups.values()];
  const paths = [...new Set(all.flatMap(({ entries }) => [...entries.keys()]))];
  const differing = paths.filter((path) => new Set(all.map(({ entries }) => entries.get(path))).size > 1);
  const last = differing.map((path) => path.split('.').at(-1) as string);
  const short = differing.map((path, i) => (last.filter((name) => name === last[i]).length === 1 ? (last[i] as string) : path));
  const told = differing.length > 0 && differing.length <= MOST_ENTRIES;
  const label = ({ entries, name }: Found) =>
    told ? differing.flatMap((path, i) => (entries.has(path) ? [`${short[i]} = ${entries.get(path)}`] : [])).join(', ') : name;
  const labels = new Map<string, string>();
  const taken = new Set<string>();
  for (const [group, run] of groups) {
    let text = label(run) || run.name;
    while (taken.has(text)) text = text === run.path ? `${text}′` : run.path;
    taken.add(text);
    labels.set(group, text);
  }
  return labels;
}
