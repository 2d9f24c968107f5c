// Packs what `npm run test:gpu` and `bench:gpu` need on a machine that has a GPU and nothing else, into build/gpu.tar.xz: the
// addon with its kernels, the built package, its tests, and Node itself. There: scripts/gpu.sh, which unpacks it.
//   gpu-pack.mjs [--emulated]   with the device that is emulated on the CPU, to rehearse
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const most = 60 * 2 ** 20;
const root = fileURLToPath(new URL('..', import.meta.url));
const emulated = process.argv.includes('--emulated');
const build = join(root, emulated ? 'build/emulated' : 'build/gpu');
const tree = join(root, 'build/gpu-tree');
const run = (command, ...args) => execFileSync(command, args, { cwd: root, stdio: 'inherit' });

run('npm', 'run', '--silent', 'build:ts');
run(
  'npx',
  ...['cmake-js', 'compile', '--out', build, '--config', 'Release', `--CDLAYERPEEL_OUTPUT=${build}/build/Release`],
  ...(emulated
    ? ['--CDLAYERPEEL_CUDA=emulated']
    : ['--CDLAYERPEEL_CUDA=on', '--CDLAYERPEEL_PORTABLE=ON', '--CDLAYERPEEL_GPU_TESTS=ON']),
);

rmSync(tree, { recursive: true, force: true });
mkdirSync(join(tree, 'build'), { recursive: true });
for (const path of ['package.json', 'lib', 'test', 'bench/gpu.js', 'scripts/gpu.sh'])
  cpSync(join(root, path), join(tree, path), { recursive: true });
cpSync(join(build, 'build/Release'), join(tree, 'build/Release'), { recursive: true });
// What tests of the device import.
for (const name of ['uvu', 'dequal', 'diff', 'kleur', 'sade', 'mri', 'node-gyp-build']) {
  cpSync(join(root, 'node_modules', name), join(tree, 'node_modules', name), { recursive: true });
}
cpSync(process.execPath, join(tree, 'node'));
const tests = join(tree, 'build/Release/gpu_tests');
const binaries = existsSync(tests) ? readdirSync(tests).map((name) => join(tests, name)) : [];
run('strip', join(tree, 'node'), join(tree, 'build/Release/layerpeel.node'), ...binaries);
run('tar', '-C', tree, '-cJf', join(root, 'build/gpu.tar.xz'), '.');
const { size } = statSync(join(root, 'build/gpu.tar.xz'));
console.log(`build/gpu.tar.xz: ${(size / 2 ** 20).toFixed(1)} MiB`);
if (size > most) throw new Error(`It may have ${most / 2 ** 20} MiB at most.`);
