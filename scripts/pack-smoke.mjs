// Packs the package and proves the tarball: what is in it, its size, and that it installs without running scripts and
// runs where there is no compiler. Needs prebuilds/ (npm run prebuild) and the registry that dependencies come from.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nvccOfTheMachine } from './cuda-tools.mjs';

const largestPackage = 25e6; // bytes, packed
const folder = mkdtempSync(join(tmpdir(), 'layerpeel-pack-'));
const prebuilt = `prebuilds/${process.platform}-${process.arch}`;

try {
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', folder]));
  checkContents(packed);
  const installed = join(folder, 'installed');
  install(join(folder, packed.filename), installed);
  checkRuns(installed);
  console.log('The packed package installs and runs.');
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function checkContents({ files, size, unpackedSize }) {
  const paths = files.map((file) => file.path);
  for (const wanted of [
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'docs/README.md',
    'docs/fig1.svg',
    'CMakeLists.txt',
    'binding.gyp',
    'lib/index.js',
    'lib/index.d.ts',
  ]) {
    assert.ok(paths.includes(wanted), `${wanted} is not in the package`);
  }
  assert.ok(
    paths.some((path) => path.startsWith(`${prebuilt}/`) && path.endsWith('.node')),
    `${prebuilt} is not in the package: npm run prebuild`,
  );
  const stray = paths.filter((path) => /(^|\/)(test|build|bench|runs)\//.test(path) || path.endsWith('.tgz'));
  assert.deepEqual(stray, [], 'these do not belong in the package');
  assert.ok(size <= largestPackage, `packed, the package has ${size} bytes; at most ${largestPackage} are wanted`);
  console.log(`${paths.length} files, ${(size / 1e6).toFixed(1)} MB packed, ${(unpackedSize / 1e6).toFixed(1)} MB unpacked`);
}

function install(tarball, where) {
  mkdirSync(where);
  writeFileSync(join(where, 'package.json'), '{ "private": true, "type": "module" }');
  const output = run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', tarball], where);
  assert.doesNotMatch(output, /deprecated/);
}

/** Runs the installed package with nothing on PATH but Node.js and a shell. */
function checkRuns(where) {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  symlinkSync(process.execPath, join(bin, 'node'));
  symlinkSync('/bin/sh', join(bin, 'sh'));
  const env = { PATH: bin, HOME: folder };
  const node = (...args) => execFileSync(process.execPath, args, { cwd: where, env, encoding: 'utf8' });

  const program = `
    import { matmul } from 'layerpeel';
    const { data } = await matmul(
      { shape: [2, 2], data: Float64Array.of(1, 2, 3, 4) },
      { shape: [2, 2], data: Float64Array.of(5, 6, 7, 8) });
    console.log(data.join());`;
  assert.equal(node('--input-type=module', '--eval', program).trim(), '19,22,43,50');

  const layerpeel = join(where, 'node_modules/.bin/layerpeel');
  const doctor = JSON.parse(node(layerpeel, 'doctor', '--json'));
  assert.match(JSON.stringify(doctor), new RegExp(`node_modules/layerpeel/${prebuilt}/`));
  console.log(doctor);

  // What nvcc made loads where there is no driver, and says so.
  const { state } = JSON.parse(node(layerpeel, 'cuda', 'info', '--json'));
  assert.equal(/without CUDA/.test(state), !nvccOfTheMachine(), state);
}

function run(command, args, cwd = '.') {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}
