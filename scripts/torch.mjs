// Installs the libtorch extension before the tests. Where that fails, offline for one, the tests that need it are left
// out and say so; under CI it is an error.
import { installTorch } from '../lib/training/index.js';

try {
  await installTorch({ log: console.log });
} catch (error) {
  console.error(`${error.message}\nThe tests of training are left out. npx layerpeel torch install tries again.`);
  if (process.env.CI) process.exitCode = 1;
}
