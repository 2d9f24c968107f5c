// What the loader takes for the addon, and what it says where there is none.
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';

const program = `
  import { matmulSync } from 'layerpeel';
  const one = { shape: [1, 1], data: Float64Array.of(1) };
  try {
    console.log(matmulSync(one, one).data[0]);
  } catch (error) {
    console.log(error.code, error.message);
  }`;

/** What a process prints whose addon is looked for in a folder with the given files. */
async function loadFrom(files) {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  const prebuilds = join(folder, 'prebuilds', `${process.platform}-${process.arch}`);
  try {
    await mkdir(prebuilds, { recursive: true });
    for (const [name, content] of Object.entries(files)) await writeFile(join(prebuilds, name), content);
    const { code, stdout, stderr } = await startNode(['--input-type=module', '--eval', program], {
      env: { LAYERPEEL_PREBUILD: folder },
    }).ended;
    assert.is(code, 0, stderr);
    return stdout.trim();
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('no binary: which platform this is, which have one, and what to do', async () => {
  const said = await loadFrom({});
  assert.match(said, new RegExp(`^LP_NOT_BUILT .* on ${process.platform}-${process.arch} \\(No native build was found`));
  assert.match(
    said,
    /binaries for linux-x64 and linux-arm64 \(glibc 2\.28 or later\).*npx --yes cmake-js@8 compile.*GCC 12 or clang 14/,
  );
});

test('a binary that is none', async () => {
  assert.match(await loadFrom({ 'layerpeel.node': 'text' }), /^LP_NOT_BUILT .*layerpeel\.node.*npx --yes cmake-js/);
});

test('a library beside it is not taken for the addon', async () => {
  assert.match(await loadFrom({ 'libscipy_openblas.so': 'text', 'notes.txt': 'text' }), /No native build was found/);
});

test('bundled, it says so and what to do', async () => {
  // What a bundler makes of the package: its code in the application's own folder.
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  for (const name of ['app', undefined]) {
    if (name) await writeFile(join(folder, 'package.json'), JSON.stringify({ name, type: 'module' }));
    else await rm(join(folder, 'package.json'));
    await cp(fileURLToPath(new URL('../../lib', import.meta.url)), join(folder, 'dist', 'lib'), { recursive: true });
    await writeFile(join(folder, 'dist', 'lib', 'package.json'), '{ "type": "module" }');
    await writeFile(join(folder, 'app.mjs'), program.replace("'layerpeel'", "'./dist/lib/index.js'"));
    const { code, stdout, stderr } = await startNode([join(folder, 'app.mjs')]).ended;
    assert.is(code, 0, stderr);
    assert.match(
      stdout,
      /^LP_NOT_BUILT .*a bundler has taken its code elsewhere. Mark layerpeel as external \(esbuild: --external:layerpeel\)/,
    );
  }
  await rm(folder, { recursive: true });
});

test.run();
