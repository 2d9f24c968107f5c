// Where libtorch is looked for, what is said where it is not, and that what was built can train.
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findLibtorch, torchState } from 'layerpeel/torch';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makeEnvironment, maker } from '../../lib/engine/environment.js';
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

/** Runs `body` with programs of these names and texts before all others. */
async function withPrograms(folder, programs, body) {
  const { PATH } = process.env;
  for (const [name, text] of Object.entries(programs)) {
    await writeFile(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
  process.env.PATH = `${folder}:${PATH}`;
  try {
    await body();
  } finally {
    process.env.PATH = PATH;
  }
}

test('pip is heard line by line, on either stream, and what it made is there when whole', async () => {
  await withFolders(async ({ folder }) => {
    const pip = `printf 'Collecting '; echo torch; echo 'a warning' >&2; printf '  1/2\\r  2/2\\n\\nInstalling torch'`;
    const python3 = `mkdir -p $3/bin; printf '#!/bin/sh\\n%s\\n' "${pip.replaceAll('\\', '\\\\')}" > $3/bin/python; chmod +x $3/bin/python`;
    await withPrograms(folder, { python3 }, async () => {
      const lines = [];
      const made = join(folder, 'made');
      await makeEnvironment(
        made,
        ['torch'],
        maker('It', undefined, (line) => lines.push(line)),
      );
      assert.ok(existsSync(join(made, 'bin/python')));
      // The last line did not end.
      assert.equal(
        lines.filter((line) => line !== 'a warning'),
        ['Collecting torch', '1/2', '2/2'],
      );
      assert.ok(lines.includes('a warning'));
    });
  });
});

test('what CMake builds is heard with its share; piped, the command line says no more than before', async () => {
  await withFolders(async ({ folder, plain }) => {
    const cmake = `case "$*" in *--build*) echo '[ 40%] Building CXX object a.o'; echo '[100%] Built target'; exit 3;; *) echo '-- Configuring done';; esac`;
    await withPrograms(folder, { cmake }, async () => {
      const env = { LIBTORCH: plain, LAYERPEEL_TORCH: join(folder, 'built') };
      const program = `import { installTorch } from 'layerpeel/torch';
        const heard = [];
        await installTorch({ onStage: (share, doing) => heard.push([share, doing]) }).catch(({ code }) => heard.push(code));
        console.log(JSON.stringify(heard));`;
      const { stdout } = await startNode(['--input-type=module', '--eval', program], { env }).ended;
      const heard = JSON.parse(stdout).filter((each) => !/^\d+ s: /.test(each[1]));
      assert.equal(heard, [[0, '-- Configuring done'], [0.4, 'Building CXX object a.o'], [1, 'Built target'], 'LP_NOT_BUILT']);
      const { code, stderr } = await run(['torch', 'install'], { env });
      assert.is(code, 1);
      const [first, second] = stderr.split('\n');
      assert.match(first, /^Building the libtorch extension/);
      assert.match(second, /was not made: cmake --build .* ended with code 3/);
    });
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
