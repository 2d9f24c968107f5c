// Where libtorch is looked for, what is said where it is not, and that what was built can train.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findLibtorch, torchState } from 'layerpeel/torch';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run } from '../cli/run.js';
import { refuses } from '../helpers.js';
import { startNode } from '../process.js';
import { torchSuite } from './torch.js';

/** Calls `body` with a folder that holds a libtorch, and a Python environment that holds one. */
async function withFolders(body) {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  const plain = join(folder, 'plain');
  const environment = join(folder, 'environment');
  const inside = join(environment, 'lib/python3.11/site-packages/torch');
  try {
    for (const path of [plain, inside]) {
      await mkdir(join(path, 'include/torch'), { recursive: true });
      await mkdir(join(path, 'lib'));
    }
    await body({ folder, plain, environment, inside });
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('LIBTORCH comes first, then the active Python environment', async () => {
  await withFolders(async ({ folder, plain, environment, inside }) => {
    assert.equal(findLibtorch({ LIBTORCH: plain, VIRTUAL_ENV: environment }), { path: plain, from: 'LIBTORCH' });
    assert.equal(findLibtorch({ LIBTORCH: environment }), { path: inside, from: 'LIBTORCH' });
    assert.equal(findLibtorch({ VIRTUAL_ENV: environment, CONDA_PREFIX: plain }), { path: inside, from: 'VIRTUAL_ENV' });
    assert.equal(findLibtorch({ VIRTUAL_ENV: folder, CONDA_PREFIX: environment }), { path: inside, from: 'CONDA_PREFIX' });
    await refuses('LP_NOT_BUILT', /LIBTORCH is .*expected a folder/, () => findLibtorch({ LIBTORCH: folder }));
  });
});

test('without the extension importing works, using it names the command', async () => {
  await withFolders(async ({ folder }) => {
    const program = `import { torchState } from 'layerpeel/torch'; console.log(JSON.stringify(torchState()));`;
    const { stdout } = await startNode(['--input-type=module', '--eval', program], { env: { LAYERPEEL_TORCH: folder } }).ended;
    const { usable, statement } = JSON.parse(stdout);
    assert.is(usable, false);
    assert.match(statement, /npx layerpeel torch install/);
    const { code, stdout: info } = await run(['torch', 'info', '--json'], { env: { LAYERPEEL_TORCH: folder } });
    assert.is(code, 0);
    assert.is(JSON.parse(info).usable, false);
  });
});

test('the command line refuses what is no action', async () => {
  const { code, stderr } = await run(['torch', 'instal']);
  assert.is(code, 2);
  assert.match(stderr, /did you mean 'install'/);
});

test.run();

const built = torchSuite('installed');

built('what is built can train', () => {
  const { info } = torchState();
  assert.match(info.libtorch, /^2\.\d+/);
  assert.ok(info.threads >= 1);
});

built.run();
