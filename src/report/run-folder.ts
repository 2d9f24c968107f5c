/**
 * Run folders: where a command leaves what it computed.
 *
 *     config.json   what was asked for            figures/*.svg
 *     metrics.csv   columns of numbers            report.html
 *     result.json   the numbers at the end        run.json: status, times, version and the list of files
 *     arrays/*.npy
 *
 * Every file appears whole or not at all. A run that is stopped or fails keeps what it wrote; `run.json` says so. A folder is one
 * run's at a time (`lock.ts`), and what it holds is of one run: another that begins there removes what the one before wrote, and
 * does so only if that one had left nothing to lose, or by `force`.
 */
import { lstat, mkdir, readdir, realpath, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { clearTemporaries, isTemporary, makeFolder, reasonOf, textIfAny, writeFileAtomic } from '../array/files.js';
import { fromJson, toJson } from '../array/json.js';
import type { NDArray } from '../array/ndarray.js';
import { NpyWriter, writeNpy } from '../array/npy.js';
import type { IntArray } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';
import { version } from '../package.js';
import { checkpointFile } from '../state/checkpoint.js';
import { type Column, renderSvg, type Spec } from './figure.js';
import { FolderLock, lockFile } from './lock.js';
import { machine } from './machine.js';
import { drawFigures, type Figure, type PageFigure, type Report, renderPage } from './page.js';

export type Status = 'running' | 'complete' | 'stopped' | 'failed';

/** What `run.json` says of a run. */
export interface Run {
  readonly command: string;
  /** `interrupted`: it says `running`, but its process is gone. */
  readonly status: Status | 'interrupted';
  /** What it wrote, by paths in the folder. */
  readonly files: readonly string[];
  /** Why it failed or was stopped. */
  readonly error?: string | undefined;
}

export interface Claim {
  /** As typed, such as `reproduce fig1`. */
  readonly command: string;
  /** @default a new `runs/<command>-<time>` */
  readonly out?: string | undefined;
  /** The run folder that the run goes on from. */
  readonly resume?: string | undefined;
  /** Whether a run that is finished, or can be, may be overwritten. @default false */
  readonly force?: boolean | undefined;
  /** Where what devices have is computed, as `--device` or LAYERPEEL_DEVICE says. */
  readonly device?: string | undefined;
  /** Hears what is worth knowing of the folder. */
  readonly log?: ((line: string) => void) | undefined;
}

export class RunFolder {
  private readonly files = new Set<string>();
  private readonly started = new Date();
  /** Whether anything was written. */
  begun = false;

  private constructor(
    readonly path: string,
    readonly command: string,
    private readonly device: string | undefined,
    /** The run that was here before. */
    private readonly earlier: Run | undefined,
    /** Whether this run goes on with the one before. */
    private readonly goesOn: boolean,
    private readonly lock: FolderLock,
    /** The folders that were made, the outermost first. */
    private readonly made: readonly string[],
  ) {}

  /**
   * Makes the folder and keeps others out of it; nothing is written yet.
   * @throws LP_FILE when the folder cannot be made or written, is in use by another run, or holds files that no run of this
   *   package wrote, or a run that is finished or can be
   */
  static async claim({ command, out, resume, force = false, device, log = () => {} }: Claim): Promise<RunFolder> {
    const { path, made } = out === undefined ? await freshFolder(command) : await givenFolder(resolve(out), out);
    let lock: FolderLock | undefined;
    try {
      lock = await FolderLock.take(path).catch(refuse(path, 'written'));
      if (lock.state === 'unknown') log(`${path}: its file system has no locks; nothing keeps a second run out of it.`);
      const earlier = await readRun(path);
      if (!earlier && !(await isEmpty(path))) {
        throw new LayerpeelError(
          'LP_FILE',
          `${out} holds files that no run wrote, and nothing of yours is overwritten; give a new or empty folder, or one of an earlier run.`,
        );
      }
      const goesOn = resume !== undefined && (await sameFolder(resume, path));
      if (earlier && !goesOn && !force) await checkNothingToLose(path, earlier);
      if (earlier?.status === 'running' && lock.state === 'held')
        log(`The run before in ${path} was interrupted: its process is gone.`);
      for (const folder of ['.', ...FOLDERS]) await clearTemporaries(join(path, folder));
      return new RunFolder(path, command, device, earlier, goesOn, lock, made);
    } catch (error) {
      await lock?.release();
      await unmake(made);
      throw error;
    }
  }

  /** Whether this run goes on with one of this configuration that is complete already. */
  async isComplete(config: unknown): Promise<boolean> {
    if (!this.goesOn || this.earlier?.status !== 'complete') return false;
    const before = await textIfAny(join(this.path, 'config.json'));
    return isDeepStrictEqual(fromJson(before), fromJson(toJson(config)));
  }

  /** Writes `config.json`, and removes what a run before wrote, unless this one goes on with it. */
  async begin(config: unknown): Promise<this> {
    this.begun = true;
    await this.finish('running');
    if (!this.goesOn) await this.clear(() => true);
    for (const folder of FOLDERS) await makeFolder(join(this.path, folder));
    await this.write('config.json', `${toJson(config, 2)}\n`);
    return this;
  }

  /** Removes those files that the run before wrote, inside the folder; what the way to them leads out of it by a link stays. */
  async clear(which: (file: string) => boolean): Promise<void> {
    const root = await realpath(this.path);
    for (const file of this.stale.filter(which)) {
      const path = resolve(root, file);
      const real = await realpath(dirname(path)).catch(() => undefined);
      if (real === dirname(path) && (await lstat(path).catch(() => undefined))?.isFile()) await rm(path).catch(() => {});
    }
  }

  /** What the run before wrote and this one did not. */
  private get stale(): readonly string[] {
    return this.earlier?.files.filter((file) => !this.files.has(file)) ?? [];
  }

  /** Lets others into the folder; one in which nothing was begun is left as it was found. */
  async release(): Promise<void> {
    await this.lock.release();
    if (!this.begun) await unmake(this.made);
  }

  /** The path of a file that is written into the folder by other means. It is listed first, so that none is ever forgotten. */
  async add(file: string): Promise<string> {
    if (!this.files.has(file)) {
      this.files.add(file);
      await this.finish('running');
    }
    return join(this.path, file);
  }

  /** Writes columns of one length as `<name>.csv` (RFC 4180), every number with all its digits. */
  async metrics(columns: Readonly<Record<string, Column | readonly string[]>>, name = 'metrics'): Promise<void> {
    await this.write(`${safe(name)}.csv`, csvPieces(columns));
  }

  /** Keeps in `result.json` the numbers that the run ends in, for the tables of studies. */
  async result(result: {
    readonly measures: Readonly<Record<string, number>>;
    readonly ending?: string | undefined;
  }): Promise<void> {
    if (this.begun) await this.write('result.json', `${toJson(result, 2)}\n`);
  }

  async array(name: string, array: NDArray | IntArray): Promise<void> {
    await writeNpy(await this.add(`arrays/${safe(name)}.npy`), array);
  }

  /** Writes `<name>.json`. */
  async json(name: string, value: unknown): Promise<void> {
    await this.write(`${safe(name)}.json`, `${toJson(value)}\n`);
  }

  /** An array of float32 `[n, columns]` of which the rows come piece by piece. */
  async rows(name: string, shape: readonly number[]): Promise<NpyWriter> {
    return new NpyWriter(await this.add(`arrays/${safe(name)}.npy`), shape);
  }

  /** Draws a figure into `figures/<name>.svg` and hands it back for the report. */
  async figure(name: string, spec: Spec, caption: string): Promise<PageFigure> {
    const svg = await renderSvg(spec);
    await this.write(`figures/${safe(name)}.svg`, svg);
    return { name, svg, caption };
  }

  /** `figure` of each. */
  async draw(figures: readonly Figure[]): Promise<PageFigure[]> {
    const drawn: PageFigure[] = [];
    for (const { name, spec, caption } of figures) drawn.push(await this.figure(name, spec, caption));
    return drawn;
  }

  /** Draws those figures of a report that are not drawn yet, writes `report.html` and returns its path. */
  async report(report: Report<Figure | PageFigure>): Promise<string> {
    const drawn = await drawFigures(report, async (figure) =>
      'svg' in figure ? figure : this.figure(figure.name, figure.spec, figure.caption),
    );
    const html = renderPage({
      ...drawn,
      command: `layerpeel ${this.command}`,
      files: [...this.files, 'run.json'],
      machine: machine(),
    });
    await this.write('report.html', html);
    return join(this.path, 'report.html');
  }

  /** Notes in `run.json` how the run stands. A complete one leaves nothing of the run before. */
  async finish(status: Status, error?: unknown): Promise<void> {
    if (!this.begun) return;
    if (status === 'complete') await this.clear(() => true);
    // While it runs what it is about to write is listed too.
    const files = status === 'running' ? [...this.files] : [];
    for (const file of [...this.files, ...this.stale].slice(files.length)) {
      if (await lstat(join(this.path, file)).catch(() => undefined)) files.push(file);
    }
    const run = {
      layerpeel: version,
      command: this.command,
      status,
      ...(this.device && { device: this.device }),
      ...(error instanceof Error ? { error: error.message } : {}),
      started: this.started.toISOString(),
      ...(status === 'running' ? {} : { finished: new Date().toISOString() }),
      files,
    };
    await writeFileAtomic(join(this.path, 'run.json'), `${toJson(run, 2)}\n`);
  }

  private async write(file: string, content: Parameters<typeof writeFileAtomic>[1]): Promise<void> {
    await writeFileAtomic(await this.add(file), content);
  }
}

/** A part of a file name: what file systems and shells dislike becomes a dash. */
const safe = (name: string): string => name.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^\.+/, '') || 'unnamed';

const FOLDERS = ['figures', 'arrays'] as const;

/** What `run.json` says of the run in a folder; undefined where there was none. */
export async function runIn(path: string): Promise<Run | undefined> {
  const run = await readRun(path);
  return run?.status === 'running' && !(await FolderLock.isTaken(path)) ? { ...run, status: 'interrupted' } : run;
}

async function readRun(path: string): Promise<Run | undefined> {
  const { layerpeel, command, status, files, error } = Object(fromJson(await textIfAny(join(path, 'run.json'))));
  if (typeof layerpeel !== 'string') return undefined;
  const within = (file: unknown) => typeof file === 'string' && resolve(path, file).startsWith(resolve(path) + sep);
  return {
    command: String(command),
    status,
    files: Array.isArray(files) ? files.filter(within) : [],
    ...(typeof error === 'string' && { error }),
  };
}

/** @throws LP_FILE for a run that is complete, or can go on */
async function checkNothingToLose(path: string, { command, status }: Run): Promise<void> {
  if (status === 'complete') {
    throw new LayerpeelError(
      'LP_FILE',
      `${path} holds a finished run (${command}), which is not overwritten; give another folder, or --force.`,
    );
  }
  if ((await lstat(join(path, checkpointFile)).catch(() => undefined))?.isFile()) {
    throw new LayerpeelError(
      'LP_FILE',
      `${path} holds a run that can go on (${command}): --resume ${path}; to begin anew in its place give --force, or another folder.`,
    );
  }
}

async function freshFolder(command: string): Promise<{ path: string; made: string[] }> {
  const time = new Date().toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15);
  const stem = resolve('runs', safe(`${command}-${time}`));
  const { made } = await givenFolder(dirname(stem));
  for (let attempt = 1; ; attempt++) {
    const path = attempt === 1 ? stem : `${stem}-${attempt}`;
    const fresh = await mkdir(path).then(
      () => true,
      (error: NodeJS.ErrnoException) => (error.code === 'EEXIST' ? false : refuse(path)(error)),
    );
    if (fresh) return { path, made: [...made, path] };
  }
}

/** A folder, made where there is none. @param shown as messages have it */
async function givenFolder(path: string, shown = path): Promise<{ path: string; made: string[] }> {
  const made: string[] = [];
  for (let folder = path; ; folder = dirname(folder)) {
    const found = await stat(folder).catch(() => undefined);
    if (found && folder === path && !found.isDirectory()) {
      throw new LayerpeelError('LP_FILE', `${shown} is a file; give a folder to write the run into.`);
    }
    if (found || dirname(folder) === folder) break;
    made.unshift(folder);
  }
  await makeFolder(path);
  return { path, made };
}

/** Removes folders that were made, those within first, unless something is in them. */
async function unmake(made: readonly string[]): Promise<void> {
  for (const folder of made.toReversed()) await rmdir(folder).catch(() => {});
}

const isEmpty = async (path: string): Promise<boolean> =>
  (await readdir(path)).every((name) => name === lockFile || isTemporary(name));

async function sameFolder(resume: string, path: string): Promise<boolean> {
  const found = await stat(resume).catch(() => undefined);
  const folder = found?.isFile() ? dirname(resolve(resume)) : resume;
  return (await realpath(folder).catch(() => undefined)) === (await realpath(path));
}

const refuse =
  (path: string, verb: 'made' | 'written' = 'made') =>
  (error: NodeJS.ErrnoException): never => {
    if (error instanceof LayerpeelError) throw error;
    throw new LayerpeelError('LP_FILE', `The folder ${path} cannot be ${verb}: ${reasonOf(error)}.`, { cause: error });
  };

/** A field in quotes where RFC 4180 asks for them. */
export const csvField = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

const field = (value: number | string): string => (typeof value === 'string' ? csvField(value) : String(value));

function* csvPieces(columns: Readonly<Record<string, Column | readonly string[]>>): Generator<Uint8Array> {
  const values = Object.values(columns);
  const rows = values[0]?.length ?? 0;
  const odd = Object.keys(columns).find((name) => columns[name]?.length !== rows);
  if (odd !== undefined) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `Column ${odd} has ${columns[odd]?.length} rows, but the first has ${rows}; give columns of one length.`,
    );
  }
  yield Buffer.from(`${Object.keys(columns).map(csvField).join(',')}\r\n`);
  const together = 4096;
  for (let start = 0; start < rows; start += together) {
    let text = '';
    for (let row = start; row < Math.min(rows, start + together); row++) {
      text += `${values.map((column) => field(column[row] as number | string)).join(',')}\r\n`;
    }
    yield Buffer.from(text);
  }
}
