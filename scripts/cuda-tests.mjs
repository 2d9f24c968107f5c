// The CUDA backend's tests without a GPU: `npm run test:cuda` builds native/test/cuda and all kernels for the emulated
// device and runs them: as C++ under either sanitizer, and as nvcc's PTX of one architecture. With `all`, `npm run
// test:cuda:all`, both engines run plain, in several orders and on every architecture, and under the sanitizers
// (cmake/cuda_tests.cmake), and it looks at what nvcc makes of each kernel. Where there is no nvcc, engine two and that look
// are left out, and it says so.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { findNvcc } from './cuda-tools.mjs';

const nvcc = findNvcc();
const all = process.argv[2] === 'all';
const jobs = String(Math.min(availableParallelism(), 8));
run('cmake', ['--preset', 'test', `-DLAYERPEEL_NVCC=${nvcc ?? ''}`, `-DLAYERPEEL_CUDA_WHOLE=${all ? 'ON' : 'OFF'}`]);
run('cmake', ['--build', '--preset', 'cuda', '--parallel', jobs]);
run('ctest', ['--preset', 'cuda', '--parallel', jobs]);
if (nvcc && all) {
  run(process.execPath, ['scripts/cuda-resources.mjs']);
} else if (!nvcc) {
  console.log('Skipped: kernels as nvcc makes them (PTX on the emulated device; registers and instructions), for want of nvcc 13.');
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
