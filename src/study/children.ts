/**
 * Runs as processes of their own: the package's command line, a run folder each, several at a time. A run that another process has
 * is waited for; what a stop leaves goes on when the study does.
 */
import { spawn } from 'node:child_process';
import { rm, stat } from 'node:fs/promises';
import { availableParallelism, freemem } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { writeFileAtomic } from '../array/files.js';
import { aborted } from '../check/errors.js';
import { memoryLimit } from '../engine/limits.js';
import { engine } from '../engine/load.js';
import { checkInPackage, packageRoot } from '../package.js';
import { FolderLock } from '../report/lock.js';
import { checkpointFile } from '../state/checkpoint.js';
import { studied } from './commands.js';
import type { Cell, Plan } from './config.js';
import type { Outcome } from './numerical.js';
import { foundRun } from './results.js';

/** Between two looks at a run that another process has. */
const LOOK = 300;

export interface Pool {
  /** The study's folder. */
  readonly folder: string;
  readonly command: Plan['command'];
  readonly jobs: number;
  readonly signal?: AbortSignal | undefined;
  /** Hears the share of a run that is done, 0 … 1. */
  onShare(cell: Cell, share: number): void;
  onOutcome(cell: Cell, outcome: Outcome, seconds: number): void;
}

function commandLine(): string {
  checkInPackage('The command line');
  return join(packageRoot, 'lib/cli/main.js');
}

export const runFolder = (folder: string, { id }: Pick<Cell, 'id'>): string => join(folder, 'runs', id);
const configFile = (folder: string, { id }: Cell): string => join(folder, 'configs', `${id}.json`);

/** What each of several processes may take: its part of the threads, and of the memory that there is. */
function shares(jobs: number): Record<string, string> {
  if (jobs === 1) return {};
  const threads = Math.max(1, Math.floor(threadsHere() / jobs));
  const memory = Math.floor(Math.min(memoryLimit(), freemem()) / jobs);
  return { LAYERPEEL_THREADS: String(threads), ...(memory > 2 ** 28 && { LAYERPEEL_MEMORY: String(memory) }) };
}

function threadsHere(): number {
  try {
    return engine().info().threads;
  } catch {
    return availableParallelism();
  }
}

/** Runs all of these. @throws `LP_ABORTED` once all processes have stopped */
export async function runAll(cells: readonly Cell[], pool: Pool): Promise<void> {
  const waiting = [...cells];
  const elsewhere: Cell[] = [];
  const env = shares(pool.jobs);
  const work = async () => {
    for (let cell = waiting.shift(); cell; cell = waiting.shift()) {
      if (pool.signal?.aborted) return;
      if (!(await runOne(cell, pool, env))) elsewhere.push(cell);
    }
  };
  await Promise.all(Array.from({ length: Math.min(pool.jobs, cells.length) }, work));
  while (elsewhere.length > 0 && !pool.signal?.aborted) {
    await setTimeout(LOOK, undefined, { signal: pool.signal }).catch(() => {}); // it is aborted, which the loop sees
    for (const cell of elsewhere.splice(0)) {
      if (!pool.signal?.aborted && !(await runOne(cell, pool, env))) elsewhere.push(cell);
    }
  }
  if (pool.signal?.aborted) throw aborted(pool.signal);
}

/** Runs a cell, unless it is done by now; false where another process has it. */
async function runOne(cell: Cell, pool: Pool, env: Record<string, string>): Promise<boolean> {
  const began = performance.now();
  const path = runFolder(pool.folder, cell);
  const before = await foundRun(path);
  if (before?.outcome) {
    pool.onOutcome(cell, before.outcome, 0);
    return true;
  }
  if (await FolderLock.isTaken(path)) return false;
  await writeFileAtomic(configFile(pool.folder, cell), `${JSON.stringify(cell.config, null, 2)}\n`);
  const resumable = (await stat(join(path, checkpointFile)).catch(() => undefined))?.isFile();
  const args = [
    ...[pool.command, ...studied[pool.command].args(cell.config, configFile(pool.folder, cell))],
    ...['--out', path, '--json'],
    ...(resumable ? ['--resume', path] : []),
  ];
  const ended = await child(args, env, pool.signal, (share) => pool.onShare(cell, share));
  const after = await foundRun(path);
  if (after?.outcome) pool.onOutcome(cell, after.outcome, (performance.now() - began) / 1000);
  else if (pool.signal?.aborted) return true;
  else if (await FolderLock.isTaken(path)) return false;
  else pool.onOutcome(cell, { status: 'failed', reason: ended, measures: {} }, 0);
  return true;
}

/** Runs the command line to its end, and says why it ended where it did not do so well. */
function child(
  args: readonly string[],
  env: Record<string, string>,
  signal: AbortSignal | undefined,
  onShare: (share: number) => void,
): Promise<string> {
  return new Promise((resolve) => {
    const started = spawn(process.execPath, [commandLine(), ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [said, printed] = ['', ''];
    const stop = () => started.kill('SIGTERM');
    signal?.addEventListener('abort', stop);
    started.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (printed.length < 1e5) printed += text;
    });
    started.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-5000);
      const [, percent] = /^ *(\d+)% {2}[^\n]*\n?$/m.exec(text) ?? [];
      if (percent !== undefined) onShare(Number(percent) / 100);
    });
    const end = (reason: string) => {
      signal?.removeEventListener('abort', stop);
      resolve(reason);
    };
    started.on('error', ({ message }) => end(`It could not be started: ${message}.`));
    started.on('close', (code, killed) => end(reasonOf(printed, said) ?? `It ended with ${killed ?? `exit code ${code}`}.`));
  });
}

/** What a run said of its end, by `--json`, else in its last line. */
function reasonOf(printed: string, said: string): string | undefined {
  try {
    const { error } = JSON.parse(printed) as { error?: { message?: string } };
    if (error?.message) return error.message;
  } catch {
    // nothing was printed, or only a part
  }
  return (
    said
      .trim()
      .split('\n')
      .at(-1)
      ?.replace(/^layerpeel: /, '') || undefined
  );
}

/** Removes a run that is to be run again. @throws LP_FILE where another process has it */
export async function removeRun(folder: string, cell: Cell): Promise<void> {
  const path = runFolder(folder, cell);
  const lock = await FolderLock.take(path);
  await lock.release();
  await rm(path, { recursive: true });
}
