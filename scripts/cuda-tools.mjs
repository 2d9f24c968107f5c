// NVIDIA's compiler and its reader of machine code: those of the machine, else from PyPI into build/, pinned.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { delimiter, dirname, resolve } from 'node:path';

/** Of CUDA 13.0, as later ones write PTX that its drivers do not read. */
const compiler = {
  folder: 'build/nvcc-13.0.88',
  packages: ['nvcc', 'crt', 'runtime'].map((name) => `nvidia-cuda-${name}==13.0.88`),
};
compiler.packages.push('nvidia-nvvm==13.0.88');
/** The first that PyPI has; they read what 13.0 wrote. */
const readers = {
  folder: 'build/cuobjdump-13.2.51',
  packages: ['nvidia-cuda-cuobjdump==13.2.51', 'nvidia-cuda-nvdisasm==13.2.51'],
};

/** The path of an nvcc 13, or null with a line that says why there is none. */
export const findNvcc = () => nvccOfTheMachine() ?? fetched(compiler, 'nvcc');

/** The path of an nvcc 13 that is installed. */
export function nvccOfTheMachine() {
  const places = [
    process.env.CUDACXX,
    ...onPath('nvcc'),
    process.env.CUDA_PATH && `${process.env.CUDA_PATH}/bin/nvcc`,
    '/usr/local/cuda/bin/nvcc',
  ];
  for (const path of places) {
    if (!path || !existsSync(path)) continue;
    const { stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' });
    if (/release 13\./.test(stdout ?? '')) return path;
  }
  return null;
}

/** The path of a cuobjdump, beside its nvdisasm, or null with a line that says why there is none. */
export function findCuobjdump() {
  return onPath('cuobjdump').find((path) => existsSync(resolve(dirname(path), 'nvdisasm'))) ?? fetched(readers, 'cuobjdump');
}

function onPath(name) {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => resolve(folder, name))
    .filter(existsSync);
}

function fetched({ folder, packages }, name) {
  const lib = `${folder}/lib`;
  const found = () =>
    (existsSync(lib) ? readdirSync(lib) : [])
      .map((python) => resolve(lib, python, 'site-packages/nvidia/cu13/bin', name))
      .find(existsSync);
  if (found()) return found();
  try {
    execFileSync('python3', ['-m', 'venv', folder], { stdio: 'pipe' });
    execFileSync(`${folder}/bin/pip`, ['install', '--quiet', ...packages], { stdio: 'pipe' });
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    console.log(
      `There is no ${name} here, and ${packages[0]} could not be had from PyPI: ${String(error.stderr ?? error.message)
        .trim()
        .split('\n')
        .at(-1)}`,
    );
    return null;
  }
  return found() ?? null;
}
