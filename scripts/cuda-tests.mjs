// The CUDA backend's tests without a GPU: `npm run test:cuda`. Builds native/test/cuda and all kernels for the emulated
// device, on both engines, plain and under the sanitizers (cmake/cuda_tests.cmake), runs them, and looks at what nvcc makes
// of each kernel. Where there is no nvcc, engine two and that look are left out, and it says so.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { findNvcc } from './cuda-tools.mjs';

const nvcc = findNvcc();
const jobs = String(Math.min(availableParallelism(), 8));
run('cmake', ['--preset', 'test', `-DLAYERPEEL_NVCC=${nvcc ?? ''}`]);
run('cmake', ['--build', '--preset', 'cuda', '--parallel', jobs]);
run('ctest', ['--preset', 'cuda', '--parallel', jobs]);
if (nvcc) {
  run(process.execPath, ['scripts/cuda-resources.mjs']);
} else {
  console.log('Skipped: kernels as nvcc makes them (PTX on the emulated device; registers and instructions), for want of nvcc 13.');
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
