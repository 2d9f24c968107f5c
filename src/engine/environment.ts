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
  /** Hears, at every line that a program prints and every second, the share that is built and that line, after its seconds until now. */
  readonly onStage?: ((share: number, doing: string) => void) | undefined;
}

/** Runs a program to its end and returns what it printed. */
export type Run = (command: string, ...args: string[]) => Promise<string>;

/**
 * Programs that make something.
 * @param what is made, for errors: `The libtorch extension`
 * @param onLine hears every line that they print, as it comes
 * @throws of each run: `LP_NOT_BUILT` with what is missing and what to do, `LP_ABORTED`
 */
export const maker =
  (what: string, signal?: AbortSignal, onLine: (line: string) => void = () => {}): Run =>
  (command, ...args) =>
    new Promise((resolve, reject) => {
      const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(signal && { signal }) });
      let output = '';
      for (const stream of [child.stdout, child.stderr]) {
        let begun = '';
        stream.setEncoding('utf8').on('data', (text) => {
          output += text;
          const lines = (begun + text).split(/[\r\n]+/);
          begun = lines.pop() as string;
          for (const line of lines) if (line.trim()) onLine(line.trim());
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

/** What tells how far programs are by the lines that they print, CMake's with its share. */
export function stages(onStage: Required<InstallOptions>['onStage'] = () => {}) {
  let [share, doing, since] = [0, '', performance.now()];
  const tell = () => {
    const seconds = Math.floor((performance.now() - since) / 1000);
    // The seconds first: lines are longer than a terminal is wide.
    if (doing) onStage?.(share, seconds > 0 ? `${seconds} s: ${doing}` : doing);
  };
  const timer = setInterval(tell, 1000).unref();
  return {
    line(text: string): void {
      const built = text.match(/^\[ *(\d+)%\] *(.*)/);
      if (built) share = Number(built[1]) / 100;
      [doing, since] = [built?.[2] ?? text, performance.now()];
      tell();
    },
    end: () => clearInterval(timer),
  };
}

/**
 * A Python environment with a package: the first of the given ones that is to be had. Made beside its place and moved there
 * when whole, so that an interrupted installation is none.
 */
export async function makeEnvironment(folder: string, packages: readonly string[], run: Run): Promise<void> {
  const unfinished = `${folder}-unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await run('python3', '-m', 'venv', unfinished);
  const pip = (wanted: string) =>
    run(join(unfinished, 'bin/python'), '-m', 'pip', 'install', '--disable-pip-version-check', wanted);
  const [first, ...others] = packages as [string, ...string[]];
  let done = pip(first);
  for (const other of others) done = done.catch(() => pip(other));
  await done;
  await rm(folder, { recursive: true, force: true });
  await rename(unfinished, folder);
}
