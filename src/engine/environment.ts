/**
 * Python environments of the package's own, for libraries that only Python's registry serves.
 */
import { spawn } from 'node:child_process';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LayerpeelError } from '../check/errors.js';

export interface InstallOptions {
  readonly signal?: AbortSignal;
  /** Hears what is being done. */
  readonly log?: (line: string) => void;
}

/** Runs a program to its end and returns what it printed. */
export type Run = (command: string, ...args: string[]) => Promise<string>;

/**
 * Programs that make something.
 * @param what is made, for errors: `The libtorch extension`
 * @throws of each run: `LP_NOT_BUILT` with what is missing and what to do, `LP_ABORTED`
 */
export const maker =
  (what: string, signal?: AbortSignal): Run =>
  (command, ...args) =>
    new Promise((resolve, reject) => {
      const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(signal && { signal }) });
      let output = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text) => {
          output += text;
        });
      }
      const fail = (reason: string, cause?: unknown) =>
        reject(new LayerpeelError('LP_NOT_BUILT', `${what} was not made: ${reason}`, { cause }));
      child.on('error', (cause: NodeJS.ErrnoException) => {
        if (signal?.aborted) reject(new LayerpeelError('LP_ABORTED', 'The installation was stopped.', { cause }));
        else fail(cause.code === 'ENOENT' ? `${command} is missing; install it and try again.` : cause.message, cause);
      });
      child.on('close', (code, killed) => {
        if (code === 0) resolve(output);
        else
          fail(
            `${[command, ...args].join(' ')} ended with ${killed ?? `code ${code}`}:\n${output.trim().split('\n').slice(-15).join('\n')}`,
          );
      });
    });

/**
 * A Python environment with a package: the first of the given ones that is to be had. Made beside its place and moved there
 * when whole, so that an interrupted installation is none.
 */
export async function makeEnvironment(folder: string, packages: readonly string[], run: Run): Promise<void> {
  const unfinished = `${folder}-unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await run('python3', '-m', 'venv', unfinished);
  const pip = (wanted: string) => run(join(unfinished, 'bin/python'), '-m', 'pip', 'install', '--quiet', wanted);
  const [first, ...others] = packages as [string, ...string[]];
  let done = pip(first);
  for (const other of others) done = done.catch(() => pip(other));
  await done;
  await rm(folder, { recursive: true, force: true });
  await rename(unfinished, folder);
}
