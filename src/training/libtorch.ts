/**
 * Where libtorch is, in this order: `LIBTORCH` (its own folder, or that of a Python environment), the active Python
 * environment, the package's own `.libtorch`, which `layerpeel torch install` makes.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { LayerpeelError } from '../check/errors.js';
import { packageRoot } from '../package.js';

/** The environment that `layerpeel torch install` makes. */
export const ownEnvironment = join(packageRoot, '.libtorch');

export interface Libtorch {
  /** The folder with `include` and `lib`. */
  readonly path: string;
  /** What named it. */
  readonly from: 'LIBTORCH' | 'VIRTUAL_ENV' | 'CONDA_PREFIX' | '.libtorch';
}

/** @throws LP_NOT_BUILT where `LIBTORCH` names a folder without libtorch */
export function findLibtorch(env: NodeJS.ProcessEnv = process.env): Libtorch | undefined {
  for (const from of ['LIBTORCH', 'VIRTUAL_ENV', 'CONDA_PREFIX'] as const) {
    const folder = env[from];
    const path = folder && libtorchIn(folder);
    if (path) return { path, from };
    if (folder && from === 'LIBTORCH') {
      throw new LayerpeelError(
        'LP_NOT_BUILT',
        `LIBTORCH is ${folder}, where libtorch is not; expected a folder with its include and lib, or a Python environment with torch.`,
      );
    }
  }
  const path = libtorchIn(ownEnvironment);
  return path ? { path, from: '.libtorch' } : undefined;
}

/** libtorch's folder: the given one, or that of the torch package of a Python environment. */
function libtorchIn(folder: string): string | undefined {
  const lib = join(folder, 'lib');
  const pythons = existsSync(lib) ? readdirSync(lib).filter((name) => /^python3\.\d+$/.test(name)) : [];
  const candidates = [folder, ...pythons.map((name) => join(lib, name, 'site-packages/torch'))];
  const found = candidates.find((path) => existsSync(join(path, 'include/torch')) && existsSync(join(path, 'lib')));
  return found && resolve(found);
}
