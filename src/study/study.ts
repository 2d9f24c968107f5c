/**
 * Studies: many runs of one configuration that differ along axes, and the tables of them.
 *
 * A study has a folder:
 *
 *     study.json                what was asked for          table.csv   a row for each run and measure
 *     configs/<run>.json        each run's configuration    table.md, table.tex, table.json
 *     runs/<run>/               each run's folder           report.html, figures/*.svg
 *     measures.jsonl            of runs without folders     boundary.csv
 *
 * What is there is not run again, so a study goes on after whatever ended it. Several processes may work on one at a time: a run is that
 * process's that has the lock of its folder. Runs without folders (`folders: false`) are one process's, which keeps their measures.
 */
import { appendFile, readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { isTemporary, makeFolder, writeFileAtomic } from '../array/files.js';
import { toJson } from '../array/json.js';
import { type Control, checkCallback, checkOptions } from '../check/control.js';
import { aborted, LayerpeelError } from '../check/errors.js';
import { checkChoice, checkNumber, checkPath, checkText, inside, nearest, option, type Place } from '../check/options.js';
import { FolderLock } from '../report/lock.js';
import { type Crossing, crossings } from './boundary.js';
import { type Pool, removeRun, runAll, runFolder } from './children.js';
import { studied } from './commands.js';
import { type Cell, cellOf, checkStudy, expand, type Level, type Plan, type StudyConfig } from './config.js';
import { computeRuns, type Outcome } from './numerical.js';
import { writeReport } from './page.js';
import { foundRun } from './results.js';
import { csvOf, type RunRow, type StudyTable, tableFiles, tabulate } from './table.js';

export interface StudyOptions extends Control {
  /** The study's folder, made where there is none; a study without folders needs none, and then only gives its result. */
  readonly out?: string | undefined;
  /** Runs at a time, each a process with its part of the threads. @default 1 */
  readonly jobs?: number | undefined;
  /**
   * Which finished runs are run again: those whose configuration is no longer the study's, those that failed, all.
   * @default none, and stale ones are an error
   */
  readonly rerun?: 'stale' | 'failed' | 'all' | undefined;
  /** The folder to which paths of the base are relative. @default the working folder */
  readonly relativeTo?: string | undefined;
  /** What the report calls the study. @default 'study' */
  readonly name?: string | undefined;
  /** Hears the share that is done, and what is being done. */
  readonly onStage?: ((share: number, doing: string) => void) | undefined;
}

export interface StudyResult {
  readonly table: StudyTable;
  /** Where the measure of `boundary` crosses its value. */
  readonly boundary?: readonly Crossing[] | undefined;
  /** The path of `report.html`, where there is a folder. */
  readonly report?: string | undefined;
}

const optionKeys = ['out', 'jobs', 'rerun', 'relativeTo', 'name', 'onStage'];
const place: Place = { path: 'study', code: 'LP_CONFIG' };

interface Settings {
  readonly out: string | undefined;
  readonly jobs: number;
  readonly rerun: StudyOptions['rerun'];
  readonly relativeTo: string;
  readonly name: string;
  readonly signal: AbortSignal | undefined;
  onStage(share: number, doing: string): void;
}

/** What may be run again. */
export const RERUN = ['stale', 'failed', 'all'] as const;

function checkSettings(given: StudyOptions): Settings {
  const options = checkOptions(given, optionKeys) as StudyOptions;
  const at = (key: string) => inside(option('options'), key);
  checkCallback(options.onStage, at('onStage'));
  return {
    out: options.out === undefined ? undefined : resolve(checkPath(options.out, at('out'), 'the path of a folder')),
    jobs: checkNumber(options.jobs ?? 1, at('jobs'), { min: 1, max: 1024, integer: true }),
    rerun: options.rerun === undefined ? undefined : checkChoice(options.rerun, RERUN, at('rerun')),
    relativeTo: resolve(
      options.relativeTo === undefined ? '.' : checkPath(options.relativeTo, at('relativeTo'), 'the path of a folder'),
    ),
    name: checkText(options.name ?? 'study', at('name')),
    signal: options.signal,
    onStage(share, doing) {
      options.onStage?.(share, doing);
      options.onProgress?.(share);
    },
  };
}

/**
 * Runs what is missing of a study, and lays out what there is.
 *
 * @throws `LP_CONFIG` for the study, with the path to what is wrong, and for runs that cannot be built, all of them by name, before any
 *   runs; for finished runs of another configuration, unless `rerun` says that they are run again; `LP_FILE` for a folder that is
 *   none of a study's; `LP_ABORTED` once what was running has stopped: what is there then is laid out in the folder
 */
export async function study(config: StudyConfig, options: StudyOptions = {}): Promise<StudyResult> {
  const settings = checkSettings(options);
  const plan = checkStudy(config, place);
  const { out } = settings;
  if (plan.folders && out === undefined) {
    throw new LayerpeelError(
      'LP_OPTION',
      'options.out is missing; expected the folder of the study, in which its runs have theirs.',
    );
  }
  const measures = plan.measures ?? studied[plan.command].measures(plan.base);
  const wanted = plan.boundary && !measures.includes(plan.boundary.measure) ? [...measures, plan.boundary.measure] : measures;
  const making = (levels: readonly Level[]): Cell => {
    const cell = cellOf(plan, levels);
    return { ...cell, config: studied[plan.command].prepared(cell.config, settings.relativeTo, wanted) };
  };
  const cells = expand(plan).map(({ levels }) => making(levels));
  await checkCells(plan, cells, settings);
  if (out !== undefined) await claimFolder(out, config, plan);
  const made: Studied = { plan, cells, measures, wanted, making, settings };
  return plan.folders ? await inFolders(made, out as string) : await inProcess(made);
}

interface Studied {
  readonly plan: Plan;
  readonly cells: readonly Cell[];
  /** Those of the tables, and with that of the boundary. */
  readonly measures: readonly string[];
  readonly wanted: readonly string[];
  /** The cell of some levels. */
  readonly making: (levels: readonly Level[]) => Cell;
  readonly settings: Settings;
}

/** @throws `LP_CONFIG` with all that cannot be built, those together that are so for one reason */
async function checkCells(plan: Plan, cells: readonly Cell[], { signal }: Settings): Promise<void> {
  const check = studied[plan.command].checker();
  const faults = new Map<string, string[]>();
  for (const { id, config } of cells) {
    if (signal?.aborted) throw aborted(signal);
    try {
      await check(config);
    } catch (error) {
      const { code, message } = error as LayerpeelError;
      if (code === 'LP_INTERNAL' || code === undefined) throw error;
      faults.set(message, [...(faults.get(message) ?? []), id]);
    }
  }
  if (faults.size === 0) return;
  const count = [...faults.values()].reduce((sum, ids) => sum + ids.length, 0);
  const all = [...faults].map(([message, ids]) => `${message} (${ids.length === cells.length ? 'all' : ids.join(', ')})`);
  throw new LayerpeelError('LP_CONFIG', `${count} of ${cells.length} runs cannot be built, and none was begun: ${all.join('; ')}.`);
}

const STUDY = 'study.json';
const MEASURES = 'measures.jsonl';

/** @throws `LP_FILE` for a folder that holds other things */
async function claimFolder(out: string, config: StudyConfig, { folders }: Plan): Promise<void> {
  const found = await readdir(out).catch(() => [] as string[]);
  if (!found.includes(STUDY) && found.some((name) => !isTemporary(name) && name !== '.lock')) {
    throw new LayerpeelError(
      'LP_FILE',
      `${out} holds files of no study, and nothing of yours is overwritten; give a new or empty folder, or a study's.`,
    );
  }
  for (const folder of [out, join(out, 'figures'), ...(folders ? [join(out, 'runs'), join(out, 'configs')] : [])]) {
    await makeFolder(folder).catch((error: Error) => {
      throw new LayerpeelError('LP_FILE', `The folder ${folder} cannot be made: ${error.message}.`, { cause: error });
    });
  }
  await writeFileAtomic(join(out, STUDY), `${JSON.stringify(config, null, 2)}\n`);
}

/** As it is read from a file. */
const asWritten = (config: unknown): unknown => JSON.parse(JSON.stringify(config));

/** Runs that are finished, as the study has them now or had them before. */
function refuseStale(stale: readonly Cell[], rerun: Settings['rerun']): void {
  if (stale.length === 0 || rerun === 'stale' || rerun === 'all') return;
  throw new LayerpeelError(
    'LP_CONFIG',
    `The study has changed under ${stale.length} of its finished runs: ${stale.map(({ id }) => id).join(', ')}; to run them again give rerun: 'stale' (--rerun stale), to keep them another folder.`,
  );
}

async function inFolders(made: Studied, out: string): Promise<StudyResult> {
  const { plan, cells, settings } = made;
  const { rerun, signal } = settings;
  const outcomes = new Map<string, Outcome>();
  const [stale, again, missing] = [[], [], []] as [Cell[], Cell[], Cell[]];
  for (const cell of cells) {
    const found = await foundRun(runFolder(out, cell));
    const same = !found || isDeepStrictEqual(await configOf(out, cell), asWritten(cell.config));
    if (found?.outcome && !same) stale.push(cell);
    if (found && (!same || rerun === 'all' || (rerun === 'failed' && found.outcome?.status === 'failed'))) again.push(cell);
    if (found?.outcome && same && !again.includes(cell)) outcomes.set(cell.id, found.outcome);
    else missing.push(cell);
  }
  refuseStale(stale, rerun);
  for (const cell of again) await removeRun(out, cell);
  const progress = new Pace(settings, cells.length, outcomes);
  const pool: Pool = {
    ...{ folder: out, command: plan.command, jobs: settings.jobs, signal },
    onShare: (cell, share) => progress.share(cell.id, share),
    onOutcome(cell, outcome, seconds) {
      outcomes.set(cell.id, outcome);
      progress.done(cell.id, outcome, seconds);
    },
  };
  const run = async (some: readonly Cell[]) => {
    await runAll(
      some.filter(({ id }) => !outcomes.has(id)),
      pool,
    );
    return some.map(({ id }) => outcomes.get(id));
  };
  progress.tell();
  try {
    await run(missing);
    return await laidOut(made, outcomes, await crossings(made, outcomes, run));
  } catch (error) {
    await laidOut(made, outcomes).catch(() => {});
    throw error;
  }
}

/** The configuration that a run was made with. */
async function configOf(out: string, { id }: Cell): Promise<unknown> {
  return JSON.parse(await readFile(join(out, 'configs', `${id}.json`), 'utf8').catch(() => 'null'));
}

/** Lines of `measures.jsonl`: the last one of a process that was killed may be a part. */
interface Kept {
  readonly id: string;
  readonly config: unknown;
  readonly outcome: {
    readonly status: Outcome['status'];
    readonly reason?: string;
    readonly measures: Readonly<Record<string, number | string>>;
  };
}

async function inProcess(made: Studied): Promise<StudyResult> {
  const { out } = made.settings;
  if (out === undefined) return inMemory(made, new Map(), async () => {});
  const lock = await FolderLock.take(out);
  try {
    const path = join(out, MEASURES);
    const before = new Map<string, Kept>();
    for (const line of (await readFile(path, 'utf8').catch(() => '')).split('\n')) {
      try {
        const kept = JSON.parse(line) as Kept;
        before.set(kept.id, kept);
      } catch {
        // a part of a line, or the end
      }
    }
    const written = await stat(path).catch(() => undefined);
    // What follows a part of a line would be lost with it.
    if (written?.size) await appendFile(path, '\n');
    return await inMemory(made, before, async (lines) => appendFile(path, lines.map((line) => `${toJson(line)}\n`).join('')));
  } finally {
    await lock.release();
  }
}

/** Lines are written so many at a time: what is killed computes the rest again. */
const TOGETHER = 64;

async function inMemory(
  made: Studied,
  before: ReadonlyMap<string, Kept>,
  keep: (lines: readonly Kept[]) => Promise<void>,
): Promise<StudyResult> {
  const { cells, wanted, settings } = made;
  const { rerun, signal } = settings;
  const outcomes = new Map<string, Outcome>();
  const take = (cell: Cell): 'stale' | 'kept' | 'missing' => {
    const found = before.get(cell.id);
    if (!found || rerun === 'all' || (rerun === 'failed' && found.outcome.status === 'failed')) return 'missing';
    if (!isDeepStrictEqual(found.config, asWritten(cell.config))) return 'stale';
    const measures = Object.fromEntries(Object.entries(found.outcome.measures).map(([name, value]) => [name, Number(value)]));
    outcomes.set(cell.id, { ...found.outcome, measures });
    return 'kept';
  };
  refuseStale(
    cells.filter((cell) => take(cell) === 'stale'),
    rerun,
  );
  const progress = new Pace(settings, cells.length, outcomes);
  const run = async (some: readonly Cell[]) => {
    for (const cell of some) if (!outcomes.has(cell.id)) take(cell);
    const todo = some.filter(({ id }) => !outcomes.has(id));
    let lines: Kept[] = [];
    let last = performance.now();
    let kept = Promise.resolve();
    const flush = () => {
      const full = lines;
      lines = [];
      if (full.length > 0) kept = kept.then(() => keep(full)); // one after another: lines stay whole
      return kept;
    };
    const onOutcome = async (at: number, outcome: Outcome) => {
      const { id, config } = todo[at] as Cell;
      outcomes.set(id, outcome);
      lines.push({ id, config, outcome: outcome as Kept['outcome'] });
      progress.done(id, outcome, (performance.now() - last) / 1000);
      last = performance.now();
      if (lines.length >= TOGETHER) await flush();
    };
    try {
      await computeRuns(
        todo.map(({ config }) => config),
        wanted,
        { signal, onOutcome },
      );
    } finally {
      await flush();
    }
    return some.map(({ id }) => outcomes.get(id));
  };
  progress.tell();
  try {
    await run(cells);
    return await laidOut(made, outcomes, await crossings(made, outcomes, run));
  } catch (error) {
    await laidOut(made, outcomes).catch(() => {});
    throw error;
  }
}

/** How far a study is: runs that are done and the shares of those under way; time left from what has run. */
class Pace {
  private readonly shares = new Map<string, number>();
  private ran = 0;
  private seconds = 0;
  private bad = 0;

  constructor(
    private readonly settings: Settings,
    private readonly total: number,
    private readonly outcomes: ReadonlyMap<string, Outcome>,
  ) {
    for (const outcome of outcomes.values()) this.count(outcome);
  }

  share(id: string, share: number): void {
    this.shares.set(id, share);
    this.tell();
  }

  done(id: string, outcome: Outcome, seconds: number): void {
    this.count(outcome);
    this.shares.delete(id);
    this.seconds += seconds;
    if (seconds > 0) this.ran++;
    this.tell();
  }

  private count({ status }: Outcome): void {
    if (status !== 'complete') this.bad++;
  }

  tell(): void {
    const done = this.outcomes.size;
    const total = Math.max(done, this.total); // a boundary makes more
    const under = [...this.shares.values()].reduce((sum, share) => sum + share, 0);
    const left = this.ran > 0 ? ((total - done - under) * this.seconds) / this.ran / this.settings.jobs : undefined;
    const parts = [
      `${done} of ${total} runs`,
      ...(this.bad > 0 ? [`${this.bad} failed or diverged`] : []),
      ...(left !== undefined && done < total ? [`about ${duration(left)} left`] : []),
    ];
    this.settings.onStage((done + under) / total, parts.join(', '));
  }
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 360) / 10} h`;
}

/** Lays out what there is, in the folder too where there is one. */
async function laidOut(
  made: Studied,
  outcomes: ReadonlyMap<string, Outcome>,
  boundary?: readonly Crossing[],
): Promise<StudyResult> {
  const { plan, cells, measures, settings } = made;
  const rows = cells.map((cell): RunRow => {
    const { status = 'missing', reason, measures: found = {} } = outcomes.get(cell.id) ?? {};
    const levels = Object.fromEntries(plan.axes.map(({ name }, i) => [name, (cell.levels[i] as Level).label]));
    return {
      ...{ id: cell.id, levels, status, measures: status === 'complete' ? found : {} },
      ...(plan.folders && { href: `runs/${encodeURIComponent(cell.id)}/report.html` }),
      ...(reason !== undefined && { reason }),
    };
  });
  const { seed, columns, best } = plan;
  const table = tabulate(rows, { axes: plan.axes.map(({ name }) => name), seed, rows: plan.rows, columns, measures, best });
  const { out } = settings;
  if (out === undefined) {
    checkMeasured(table);
    return { table, ...(boundary && { boundary }) };
  }
  for (const [file, content] of Object.entries(tableFiles(table))) await writeFileAtomic(join(out, file), content);
  if (boundary && plan.boundary) await writeFileAtomic(join(out, 'boundary.csv'), boundaryCsv(plan.boundary.axis, boundary));
  const report = await writeReport(
    out,
    {
      name: settings.name,
      lead: `${table.runs.length} runs of layerpeel ${plan.command}: ${plan.axes.map(({ name, levels }) => `${levels.length} of ${name}`).join(', ')}.`,
      parameters: { command: plan.command, ...plan.base },
      table,
      ...(boundary && plan.boundary && { boundary: { ...plan.boundary, found: boundary } }),
      folderOf: ({ id }) => (plan.folders ? join(out, 'runs', id) : undefined),
    },
    `layerpeel study ${settings.name}`,
  );
  checkMeasured(table);
  return { table, ...(boundary && { boundary }), report };
}

function boundaryCsv(axis: string, found: readonly Crossing[]): string {
  const names = Object.keys(found[0]?.levels ?? {});
  const rows = found.map(({ levels, at, from, to }) => [
    ...names.map((name) => levels[name] as string),
    String(at),
    String(from),
    String(to),
  ]);
  return csvOf([[...names, axis, 'from', 'to'], ...rows]);
}

/** A measure that no run has is a slip. */
function checkMeasured({ runs, measures }: StudyTable): void {
  const complete = runs.filter(({ status }) => status === 'complete');
  const names = new Set(complete.flatMap((run) => Object.keys(run.measures)));
  const unknown = measures.find((name) => complete.length > 0 && !names.has(name));
  if (unknown === undefined) return;
  const guess = nearest(unknown, [...names]);
  const known = guess ? `did you mean ${guess}?` : `they have ${[...names].join(', ') || 'none'}.`;
  throw new LayerpeelError('LP_CONFIG', `No run has the measure ${unknown}; ${known}`);
}
