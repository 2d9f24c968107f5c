/**
 * What a run folder says of its run, for tables: how it ended and the numbers at its end (`result.json`, else the last row of
 * `metrics.csv`), and its columns.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Run, runIn } from '../report/run-folder.js';
import type { Outcome } from './numerical.js';

export interface FoundRun {
  readonly run: Run;
  readonly config: unknown;
  /** Of a run that has ended. */
  readonly outcome?: Outcome | undefined;
}

const jsonIn = async (path: string): Promise<unknown> => {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return undefined;
  }
};

/** The run in a folder; undefined where there is none. */
export async function foundRun(path: string): Promise<FoundRun | undefined> {
  const run = await runIn(path);
  if (!run) return undefined;
  const config = await jsonIn(join(path, 'config.json'));
  const result = Object(await jsonIn(join(path, 'result.json'))) as { measures?: Record<string, unknown>; ending?: unknown };
  const diverged = result.ending === 'diverged';
  if (run.status === 'failed') {
    return { run, config, outcome: { status: diverged ? 'diverged' : 'failed', reason: run.error, measures: {} } };
  }
  if (run.status !== 'complete') return { run, config };
  const measures = result.measures ? numbersOf(result.measures) : lastRow(await columnsIn(path));
  return { run, config, outcome: { status: diverged ? 'diverged' : 'complete', measures } };
}

const numbersOf = (measures: Readonly<Record<string, unknown>>): Record<string, number> =>
  Object.fromEntries(Object.entries(measures).map(([name, value]) => [name, Number(value)]));

const lastRow = (columns: Readonly<Record<string, readonly number[]>>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(columns).flatMap(([name, values]) => (values.length > 0 ? [[name, values.at(-1) as number]] : [])),
  );

/** The columns of `metrics.csv`, whose names may stand in quotes; none where there is no such file. */
export async function columnsIn(path: string): Promise<Record<string, number[]>> {
  const text = await readFile(join(path, 'metrics.csv'), 'utf8').catch(() => '');
  const [head = '', ...lines] = text.split('\r\n');
  const names = Array.from(
    head.matchAll(/"((?:[^"]|"")*)"|([^",]+)/g),
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? (plain as string),
  );
  const rows = lines.filter((line) => line !== '').map((line) => line.split(',').map(Number));
  return Object.fromEntries(names.map((name, column) => [name, rows.map((row) => row[column] ?? Number.NaN)]));
}
