/**
 * Makes the libtorch extension usable: finds libtorch or fetches it into `.libtorch`, builds the addon against it, and proves
 * both by a training step. What is done already is not done again.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism, freemem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { textIfAny } from '../array/files.js';
import { type InstallOptions, makeEnvironment, maker, type Run, stages } from '../engine/environment.js';
import { packageRoot, version } from '../package.js';
import { binary, buildFolder } from './engine.js';
import { findLibtorch, type Libtorch, ownEnvironment } from './libtorch.js';

export type { InstallOptions };

/** The version that `.libtorch` gets. */
export const torchVersion = '2.13.0';
/** Bytes that the compiler takes for a file which includes libtorch. */
const COMPILER_MEMORY = 2e9;

/** @throws `LP_NOT_BUILT` with what is missing and what to do, `LP_ABORTED` */
export async function installTorch({ signal, log = () => {}, onStage }: InstallOptions = {}): Promise<Libtorch> {
  const stage = stages(onStage);
  const run = maker('The libtorch extension', signal, stage.line);
  try {
    const libtorch = findLibtorch() ?? (await fetchLibtorch(run, log));
    await build(libtorch, run, log);
    await run(process.execPath, fileURLToPath(new URL('prove.js', import.meta.url)));
    return libtorch;
  } finally {
    stage.end();
  }
}

async function fetchLibtorch(run: Run, log: (line: string) => void): Promise<Libtorch> {
  log(`Installing torch ${torchVersion} into ${ownEnvironment} …`);
  const gpu = existsSync('/proc/driver/nvidia/version');
  // Only some indexes have the build without CUDA under this name; the other one serves as well, and is larger.
  const whole = `torch==${torchVersion}`;
  await makeEnvironment(ownEnvironment, gpu ? [whole] : [`${whole}+cpu`, whole], run);
  return findLibtorch({}) as Libtorch;
}

async function build({ path }: Libtorch, run: Run, log: (line: string) => void): Promise<void> {
  const require = createRequire(import.meta.url);
  const includes = [require('node-api-headers').include_dir, dirname(require.resolve('node-addon-api'))];
  const cache = await textIfAny(join(buildFolder, 'CMakeCache.txt'));
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
