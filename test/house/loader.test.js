// What the loader takes for the addon, and what it says where there is none.
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { collapse, randomState } from 'layerpeel';
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

test('a folder that is named is that of the working directory', async () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const from = relative(root, process.env.LAYERPEEL_PREBUILD ?? root) || '.';
  const { stdout } = await startNode(['--input-type=module', '--eval', program], { cwd: root, env: { LAYERPEEL_PREBUILD: from } })
    .ended;
  assert.is(stdout.trim(), '1');
});

test('bundled by esbuild with layerpeel outside it works; with it inside, it says so and what to do', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  await mkdir(join(folder, 'node_modules'));
  await symlink(fileURLToPath(new URL('../..', import.meta.url)), join(folder, 'node_modules', 'layerpeel'));
  const use = `if (typeof train !== 'function' || typeof renderReport !== 'function') throw new Error('not there');
    collapse(randomState({ classes: 2, perClass: 2, dim: 2 })).then(({ nc1 }) => console.log(nc1), (e) => console.log(e.code, e.message));`;
  const parts = { layerpeel: 'collapse, randomState', 'layerpeel/torch': 'train', 'layerpeel/report': 'renderReport' };
  const all = (line) =>
    Object.entries(parts)
      .map(([part, names]) => line(names, part))
      .join('\n');
  await writeFile(join(folder, 'app.mjs'), all((names, part) => `import { ${names} } from '${part}';`) + use);
  await writeFile(join(folder, 'app.cjs'), all((names, part) => `const { ${names} } = require('${part}');`) + use);
  const { nc1 } = await collapse(randomState({ classes: 2, perClass: 2, dim: 2 }));
  for (const [format, app] of [
    ['esm', 'app.mjs'],
    ['cjs', 'app.cjs'],
    ['cjs', 'app.mjs'],
  ]) {
    // Of vega no CommonJS can be made.
    for (const external of [['layerpeel'], format === 'cjs' ? ['vega', 'vega-lite'] : []]) {
      const outfile = join(folder, `out.${format === 'esm' ? 'm' : 'c'}js`);
      const [entryPoints, logLevel] = [[join(folder, app)], 'silent'];
      await build({ ...{ entryPoints, outfile, format, external, logLevel }, bundle: true, platform: 'node' });
      const { code, stdout, stderr } = await startNode([outfile]).ended;
      assert.is(code, 0, stderr);
      if (external.includes('layerpeel')) assert.is(stdout, `${nc1}\n`);
      else {
        assert.match(
          stdout,
          /^LP_NOT_BUILT .* cannot be found from .*out\.[mc]js.*a bundler has taken its code elsewhere. Mark layerpeel as external/,
        );
      }
    }
  }
  await rm(folder, { recursive: true });
});

test('where a bundler has taken the code, whatever else is there', async () => {
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
