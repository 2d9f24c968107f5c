/**
 * Run folders: where a command leaves what it computed.
 *
 *     config.json   what was asked for            figures/*.svg
 *     metrics.csv   columns of numbers            report.html
 *     arrays/*.npy                                run.json: status, times, version and the list of files
 *
 * Every file appears whole or not at all. A run that is stopped or fails keeps what it wrote; `run.json` says so. A run that
 * completes in the folder of an earlier one leaves nothing of it.
 */
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { makeFolder, writeFileAtomic } from '../array/files.js';
import type { NDArray } from '../array/ndarray.js';
import { writeNpy } from '../array/npy.js';
import type { IntArray } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';
import { version } from '../version.js';
import { type Column, renderSvg, type Spec } from './figure.js';
import { machine } from './machine.js';
import { drawFigures, type Figure, type PageFigure, type Report, renderPage } from './page.js';

export type Status = 'running' | 'complete' | 'stopped' | 'failed';

export class RunFolder {
  private readonly files = new Set<string>();
  private readonly started = new Date();

  private constructor(
    readonly path: string,
    readonly command: string,
    /** What an earlier run wrote here. */
    private readonly earlier: readonly string[],
  ) {}

  /**
   * Makes the folder and writes `config.json`.
   * @param command as typed, such as `reproduce fig1`
   * @param out the folder to use. @default a new `runs/<command>-<time>`
   * @throws LP_FILE when `out` holds files that no run of this package wrote
   */
  static async create(command: string, config: unknown, out?: string): Promise<RunFolder> {
    const { path, earlier } = out === undefined ? { path: await freshFolder(command), earlier: [] } : await givenFolder(out);
    const folder = new RunFolder(path, command, earlier);
    await makeFolder(join(path, 'figures'));
    await makeFolder(join(path, 'arrays'));
    await folder.finish('running');
    await folder.write('config.json', `${JSON.stringify(config, null, 2)}\n`);
    return folder;
  }

  /** Says before a long computation what `create` would say after it. @throws LP_FILE */
  static async check(out: string): Promise<void> {
    await usable(out);
  }

  /** Lists a file that was written into the folder by other means. */
  add(file: string): void {
    this.files.add(file);
  }

  /** Writes columns of one length as `<name>.csv` (RFC 4180), every number with all its digits. */
  async metrics(columns: Readonly<Record<string, Column>>, name = 'metrics'): Promise<void> {
    await this.write(`${safe(name)}.csv`, csvPieces(columns));
  }

  async array(name: string, array: NDArray | IntArray): Promise<void> {
    const file = `arrays/${safe(name)}.npy`;
    await writeNpy(join(this.path, file), array);
    this.files.add(file);
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

  /** Notes in `run.json` how the run stands. */
  async finish(status: Status, error?: unknown): Promise<void> {
    const stale = this.earlier.filter((file) => !this.files.has(file));
    const complete = status === 'complete';
    if (complete) for (const file of stale) await rm(join(this.path, file), { force: true });
    const run = {
      layerpeel: version,
      command: this.command,
      status,
      ...(error instanceof Error ? { error: error.message } : {}),
      started: this.started.toISOString(),
      ...(status === 'running' ? {} : { finished: new Date().toISOString() }),
      files: [...this.files, ...(complete ? [] : stale)],
    };
    await writeFileAtomic(join(this.path, 'run.json'), `${JSON.stringify(run, null, 2)}\n`);
  }

  private async write(file: string, content: Parameters<typeof writeFileAtomic>[1]): Promise<void> {
    await writeFileAtomic(join(this.path, file), content);
    this.files.add(file);
  }
}

/** A part of a file name: what file systems and shells dislike becomes a dash. */
const safe = (name: string): string => name.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^\.+/, '') || 'unnamed';

async function freshFolder(command: string): Promise<string> {
  const time = new Date().toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15);
  const stem = resolve('runs', safe(`${command}-${time}`));
  await makeFolder(resolve('runs')).catch(refuse(stem));
  for (let attempt = 1; ; attempt++) {
    const path = attempt === 1 ? stem : `${stem}-${attempt}`;
    const made = await mkdir(path).then(
      () => true,
      (error: NodeJS.ErrnoException) => (error.code === 'EEXIST' ? false : refuse(path)(error)),
    );
    if (made) return path;
  }
}

async function givenFolder(out: string): Promise<{ path: string; earlier: readonly string[] }> {
  const folder = await usable(out);
  await makeFolder(folder.path).catch(refuse(folder.path));
  return folder;
}

/** A folder that may be written into, and what an earlier run wrote there. @throws LP_FILE */
async function usable(out: string): Promise<{ path: string; earlier: readonly string[] }> {
  const path = resolve(out);
  const found = await stat(path).catch(() => undefined);
  if (found && !found.isDirectory()) {
    throw new LayerpeelError('LP_FILE', `${out} is a file; give a folder to write the run into.`);
  }
  const earlier = found && (await filesOf(path));
  if (found && !earlier && (await readdir(path)).length > 0) {
    throw new LayerpeelError(
      'LP_FILE',
      `${out} holds files that no run wrote, and nothing of yours is overwritten; give a new or empty folder, or one of an earlier run.`,
    );
  }
  return { path, earlier: earlier ?? [] };
}

/** The files that a run folder says a run wrote, inside it; undefined where there was no run. */
async function filesOf(path: string): Promise<string[] | undefined> {
  try {
    const { layerpeel, files } = JSON.parse(await readFile(join(path, 'run.json'), 'utf8'));
    if (typeof layerpeel !== 'string') return undefined;
    return ((files ?? []) as string[]).filter((file) => resolve(path, file).startsWith(path + sep));
  } catch {
    return undefined;
  }
}

const refuse = (path: string) => (error: NodeJS.ErrnoException) => {
  const denied = error.code === 'EACCES' || error.code === 'EPERM';
  const reason = denied ? 'permission is denied' : error.code === 'EROFS' ? 'its file system is read-only' : error.message;
  throw new LayerpeelError('LP_FILE', `The folder ${path} cannot be made: ${reason}.`, { cause: error });
};

/** A field in quotes where RFC 4180 asks for them. */
const csvField = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function* csvPieces(columns: Readonly<Record<string, Column>>): Generator<Uint8Array> {
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
      text += `${values.map((column) => column[row]).join(',')}\r\n`;
    }
    yield Buffer.from(text);
  }
}
