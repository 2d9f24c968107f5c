/**
 * cuBLAS, which makes products on NVIDIA GPUs and is too large to be part of the package. Where there is none, products are
 * made by the package's own kernels.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../package.js';
import { type InstallOptions, makeEnvironment, maker, stages } from './environment.js';

/** The version that `layerpeel cuda install` gets: of the CUDA that the binaries are built with. */
const cublasVersion = '13.0.*';

/** The environment that `layerpeel cuda install` makes. */
const ownEnvironment = join(packageRoot, '.cublas');

/** The folder of the package's own cuBLAS, or '' where it has none. */
export function ownCublas(): string {
  const lib = join(ownEnvironment, 'lib');
  const pythons = existsSync(lib) ? readdirSync(lib).filter((name) => /^python3\.\d+$/.test(name)) : [];
  const folders = pythons.map((name) => join(lib, name, 'site-packages/nvidia/cu13/lib'));
  return folders.find((folder) => existsSync(join(folder, 'libcublas.so.13'))) ?? '';
}

/**
 * Installs cuBLAS for this package alone, unless that is done; its folder.
 * @throws `LP_NOT_BUILT` with what is missing and what to do, `LP_ABORTED`
 */
export async function installCublas({ signal, log = () => {}, onStage }: InstallOptions = {}): Promise<string> {
  const found = ownCublas();
  if (found) return found;
  log(`Installing nvidia-cublas ${cublasVersion} into ${ownEnvironment}; some 400 MB come over the network …`);
  const stage = stages(onStage);
  try {
    await makeEnvironment(ownEnvironment, [`nvidia-cublas==${cublasVersion}`], maker('cuBLAS', signal, stage.line));
  } finally {
    stage.end();
  }
  return ownCublas();
}
