// What CMake says of a CUDA backend that cannot be built as asked: before anything is compiled, and what to do.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const root = fileURLToPath(new URL('../..', import.meta.url));

function configure(options, environment = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'layerpeel-cmake-'));
  try {
    const argv = ['-S', root, '-B', folder, '-DLAYERPEEL_BLAS=none', ...options];
    return spawnSync('cmake', argv, { env: { ...process.env, ...environment }, encoding: 'utf8' });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('a mode that there is not is refused, with those there are', () => {
  for (const { status, stderr } of [
    configure(['-DLAYERPEEL_CUDA=yes']),
    configure([], { LAYERPEEL_CUDA: 'yes' }), // as prebuilds ask for it
  ]) {
    assert.is(status, 1);
    assert.match(stderr.replace(/\s+/g, ' '), /LAYERPEEL_CUDA is auto, on, off or emulated, not yes/);
  }
});

test('on without an nvcc is refused, with where one may be named; auto does without', () => {
  const environment = { CUDACXX: join(tmpdir(), 'no-such-nvcc') };
  const { status, stderr } = configure(['-DLAYERPEEL_CUDA=on'], environment);
  assert.is(status, 1);
  assert.match(stderr.replace(/\s+/g, ' '), /there is no nvcc here; name one in the environment variable CUDACXX/);
  const auto = configure(['-DLAYERPEEL_CUDA=auto'], environment);
  assert.is(auto.status, 0, auto.stderr);
});

test.run();
