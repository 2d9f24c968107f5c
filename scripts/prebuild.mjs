// Makes prebuilds/<platform>-<arch>/ for this machine's platform: the addon as node-gyp-build finds it, and beside it
// the numeric library with its licence; with CUDA where nvcc is installed. Starts from nothing: prebuildify has node-gyp
// empty build/ first.
import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { nvccOfTheMachine } from './cuda-tools.mjs';
import { checkPortable } from './portable.mjs';

const nvcc = nvccOfTheMachine();
const folder = `prebuilds/${process.platform}-${process.arch}`;

execFileSync('npx', ['prebuildify', '--napi', '--strip', '--tag-libc', '--target', process.versions.node], {
  env: {
    ...process.env,
    LAYERPEEL_PORTABLE: 'ON',
    ...(nvcc ? { LAYERPEEL_CUDA: 'on', CUDACXX: nvcc } : { LAYERPEEL_CUDA: 'off' }),
  },
  stdio: 'inherit',
});
if (process.platform === 'linux') {
  copyFileSync('build/Release/libscipy_openblas.LICENSE.txt', `${folder}/libscipy_openblas.LICENSE.txt`);
  checkPortable(`${folder}/layerpeel.glibc.node`);
}
console.log(`Made ${folder}, ${nvcc ? 'with CUDA' : 'without CUDA: there is no nvcc 13 here'}`);
