/**
 * Makes the libtorch extension usable: finds libtorch or fetches it into `.libtorch`, builds the addon against it, and proves
 * both by a training step. What is done already is not done again.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism, freemem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LayerpeelError } from '../check/errors.js';
import { version } from '../version.js';
import { binary, buildFolder } from './engine.js';
import { findLibtorch, type Libtorch, ownEnvironment, packageRoot } from './libtorch.js';

/** The version that `.libtorch` gets. */
export const torchVersion = '2.13.0';
/** Bytes that the compiler takes for a file which includes libtorch. */
const COMPILER_MEMORY = 2e9;

export interface InstallOptions {
  readonly signal?: AbortSignal;
  /** Hears what is being done. */
  readonly log?: (line: string) => void;
}

/** @throws `LP_NOT_BUILT` with what is missing and what to do, `LP_ABORTED` */
export async function installTorch({ signal, log = () => {} }: InstallOptions = {}): Promise<Libtorch> {
  const run = (command: string, ...args: string[]) => runCommand(command, args, signal);
  const libtorch = findLibtorch() ?? (await fetchLibtorch(run, log));
  await build(libtorch, run, log);
  await run(process.execPath, fileURLToPath(new URL('prove.js', import.meta.url)));
  return libtorch;
}

type Run = (command: string, ...args: string[]) => Promise<string>;

/** Made beside its place and moved there when whole, so that an interrupted installation is none. */
async function fetchLibtorch(run: Run, log: (line: string) => void): Promise<Libtorch> {
  const unfinished = `${ownEnvironment}-unfinished`;
  log(`Installing torch ${torchVersion} into ${ownEnvironment} …`);
  await rm(unfinished, { recursive: true, force: true });
  await run('python3', '-m', 'venv', unfinished);
  const pip = (wanted: string) => run(join(unfinished, 'bin/python'), '-m', 'pip', 'install', '--quiet', wanted);
  const gpu = existsSync('/proc/driver/nvidia/version');
  // Only some indexes have the build without CUDA under this name; the other one serves as well, and is larger.
  const small = gpu ? Promise.reject() : pip(`torch==${torchVersion}+cpu`);
  await small.catch(() => pip(`torch==${torchVersion}`));
  await rm(ownEnvironment, { recursive: true, force: true });
  await rename(unfinished, ownEnvironment);
  return findLibtorch({}) as Libtorch;
}

async function build({ path }: Libtorch, run: Run, log: (line: string) => void): Promise<void> {
  const require = createRequire(import.meta.url);
  const includes = [require('node-api-headers').include_dir, dirname(require.resolve('node-addon-api'))];
  const cache = await readFile(join(buildFolder, 'CMakeCache.txt'), 'utf8').catch(() => '');
  if (!cache.includes(`LIBTORCH:PATH=${path}\n`) || !cache.includes(`LAYERPEEL_VERSION:STRING=${version}\n`)) {
    await rm(buildFolder, { recursive: true, force: true });
  }
  if (!existsSync(binary)) log(`Building the libtorch extension against ${path}; this takes minutes …`);
  await run(
    'cmake',
    ...['-S', join(packageRoot, 'native/torch'), '-B', buildFolder, `-DLIBTORCH=${path}`],
    ...[`-DNODE_INCLUDES=${includes.join(';')}`, `-DLAYERPEEL_VERSION=${version}`],
  );
  const jobs = Math.max(1, Math.min(availableParallelism(), Math.floor(freemem() / COMPILER_MEMORY)));
  await run('cmake', '--build', buildFolder, '--target', 'layerpeel_torch', '--parallel', String(jobs));
}

/** Runs a program to its end and returns what it printed. */
function runCommand(command: string, args: readonly string[], signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(signal && { signal }) });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    const fail = (reason: string, cause?: unknown) =>
      reject(new LayerpeelError('LP_NOT_BUILT', `The libtorch extension was not made: ${reason}`, { cause }));
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
}
