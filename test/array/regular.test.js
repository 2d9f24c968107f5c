// Whatever is opened is a regular file: a pipe is refused at once, where opening it would hold a thread until somebody writes.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';

const folder = mkdtempSync(join(tmpdir(), 'layerpeel-regular-'));
test.after(() => rmSync(folder, { recursive: true }));
const main = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));

/** Runs Node.js, which has to come to an end by itself. */
async function ends(args, options) {
  const { child, ended } = startNode(args, { cwd: folder, ...options });
  const limit = setTimeout(() => child.kill('SIGKILL'), 120_000);
  const result = await ended;
  clearTimeout(limit);
  assert.is(result.signal, null, `it hangs: ${args.join(' ').slice(0, 200)}`);
  return result;
}

test('every reader refuses a pipe', async () => {
  const pipes = ['p.npy', 'p.npz', 'p.safetensors', 'p.pth', 'c.json', 'idx/train-images-idx3-ubyte', 'folder/train/a/0.png'];
  pipes.push('cifar/batches.meta.txt', 'stl/train_X.bin', 'svhn/train_32x32.mat');
  for (const name of ['idx', 'folder/train/a', 'cifar', 'stl', 'svhn']) mkdirSync(join(folder, name), { recursive: true });
  execFileSync('mkfifo', pipes, { cwd: folder });
  for (const name of ['idx/train-labels-idx1-ubyte', 'stl/train_y.bin']) writeFileSync(join(folder, name), '');
  for (let k = 1; k <= 5; k++) writeFileSync(join(folder, `cifar/data_batch_${k}.bin`), Buffer.alloc(3073));
  const calls = [
    ...['npy', 'npz', 'safetensors', 'pth'].map((kind) => `lp.readArray('p.${kind}')`),
    ...['npy', 'npz', 'safetensors', 'pth'].map((kind) => `lp.openArray('p.${kind}')`),
    "lp.readNpy('p.npy')",
    "lp.readNpz('p.npz')",
    "lp.readSafetensors('p.safetensors')",
    "lp.readPth('p.pth')",
    "lp.loadCheckpoint('p.safetensors')",
    "lp.loadImages({ kind: 'idx', path: 'idx' })",
    "lp.loadImages({ kind: 'cifar10', path: 'cifar' })",
    "lp.loadImages({ kind: 'stl10', path: 'stl' })",
    "lp.loadImages({ kind: 'svhn', path: 'svhn' })",
    "lp.loadImages({ kind: 'folder', path: 'folder' })",
  ];
  const source = `import * as lp from ${JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)};
    for (const call of [${calls.map((call) => `() => ${call}`).join(', ')}]) await call().catch((e) => console.log(e.code, e.message));`;
  const { stdout, stderr } = await ends(['--input-type=module', '-e', source]);
  const lines = stdout.trim().split('\n');
  assert.is(lines.length, calls.length, stdout + stderr);
  for (const [k, line] of lines.entries()) assert.match(line, /^LP_FILE .*(not a regular file|it is no file)/, calls[k]);
});

test('commands refuse a pipe', async () => {
  for (const args of [
    ['measure', 'p.npy', '--labels', 'p.npy'],
    ['evaluate', 'p.npz:h', '--labels', 'p.npy'],
    ['simulate', 'c.json'],
  ]) {
    const { code, stderr } = await ends([main, ...args, '--out', `out-${args[0]}`]);
    assert.is(code, 1, stderr);
    assert.match(stderr, /is not a regular file/);
  }
});

test('a pipe in the place of a file of a run folder is refused', async () => {
  const options = { learningRates: { features: 1, prototypes: 1 }, steps: 20 };
  const state = { random: { classes: 3, perClass: 4, dim: 5 } };
  const descent = { dynamics: 'projectedDescent', state, problem: { loss: { kind: 'cross-entropy' } }, options };
  writeFileSync(join(folder, 'd.json'), JSON.stringify(descent));
  writeFileSync(join(folder, 'more.json'), JSON.stringify({ ...descent, options: { ...options, steps: 40 } }));
  assert.is((await ends([main, 'simulate', 'd.json', '--out', 'whole'])).code, 0);
  const arrays = join(folder, 'whole/arrays');
  for (const name of ['features', 'prototypes', 'labels']) cpSync(join(arrays, `state-${name}.npy`), join(arrays, `${name}.npy`));
  for (const [file, ...args] of [
    ['.lock', 'simulate', 'd.json', '--out', 'run', '--force'],
    ['run.json', 'simulate', 'd.json', '--out', 'run', '--force'],
    ['config.json', 'simulate', 'd.json', '--out', 'run', '--resume', 'run'],
    ['checkpoint.safetensors', 'simulate', 'd.json', '--out', 'run', '--resume', 'run'],
    ['metrics.csv', 'simulate', 'more.json', '--out', 'run', '--resume', 'run'],
    ['arrays/labels.npy', 'evaluate', 'run', '--out', 'other'],
  ]) {
    cpSync(join(folder, 'whole'), join(folder, 'run'), { recursive: true });
    rmSync(join(folder, 'run', file), { force: true });
    execFileSync('mkfifo', [join('run', file)], { cwd: folder });
    const { code, stderr } = await ends([main, ...args]);
    assert.is(code, 1, `${file}: ${stderr}`);
    assert.match(stderr, new RegExp(`run/${file} is not a regular file`));
    rmSync(join(folder, 'run'), { recursive: true });
  }
});

test('a pipe in the place of what a build left is refused', async () => {
  for (const name of ['built', 'libtorch/include/torch', 'libtorch/lib']) mkdirSync(join(folder, name), { recursive: true });
  execFileSync('mkfifo', ['built/CMakeCache.txt'], { cwd: folder });
  const env = { LIBTORCH: join(folder, 'libtorch'), LAYERPEEL_TORCH: join(folder, 'built') };
  const { code, stderr } = await ends([main, 'torch', 'install'], { env });
  assert.is(code, 1, stderr);
  assert.match(stderr, /CMakeCache\.txt is not a regular file/);
});

test('a source that nobody closes closes itself without a word', async () => {
  const source = `import * as lp from ${JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)};
    import { readdirSync } from 'node:fs';
    const open = () => readdirSync('/proc/self/fd').length;
    await lp.writeNpy('h.npy', { shape: [4, 3], data: new Float32Array(12) });
    await lp.writeNpz('h.npz', { h: { shape: [4, 3], data: new Float32Array(12) } }, { compress: true });
    const before = process.platform === 'linux' ? open() : 0;
    for (let k = 0; k < 40; k++) for (const path of ['h.npy', 'h.npz']) {
      const chunks = (await lp.openArray(path)).chunks(1);
      gc(); // the source is gone, but not what reads from it
      await new Promise((r) => setTimeout(r, 2));
      if ((await chunks.next()).value.shape[0] !== 1) throw new Error('no row');
    }
    for (let k = 0; k < 50 && process.platform === 'linux' && open() > before; k++) { gc(); await new Promise((r) => setTimeout(r, 20)); }
    console.log(String(process.platform === "linux" ? open() - before : 0));`;
  const { code, stdout, stderr } = await ends(['--expose-gc', '--input-type=module', '-e', source]);
  assert.is(code, 0, stderr);
  assert.is(stderr, '');
  assert.ok(Number(stdout) <= 2, `${stdout} of 80 files stay open`); // the last ones may still be in use
});

test.run();
