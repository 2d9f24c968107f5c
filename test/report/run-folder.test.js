import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readNpy } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lineChart } from '../../lib/report/figure.js';
import { RunFolder } from '../../lib/report/run-folder.js';

let root;
test.before.each(async () => {
  root = await mkdtemp(join(tmpdir(), 'layerpeel-'));
});
test.after.each(() => rm(root, { recursive: true }));

const rejects = async (promise, pattern) => {
  const error = await promise.then(
    () => assert.unreachable('should have been refused'),
    (caught) => caught,
  );
  assert.is(error.code, 'LP_FILE');
  assert.match(error.message, pattern);
};
const json = async (...path) => JSON.parse(await readFile(join(...path), 'utf8'));

test('a run leaves its files, whole, and says how it ended', async () => {
  const out = join(root, 'a', 'b');
  const folder = await RunFolder.create('simulate', { gamma: 0.1 }, out);
  assert.is((await json(out, 'run.json')).status, 'running');
  await folder.metrics({ step: [0, 1], 'a "b", c': new Float64Array([0.1 + 0.2, Number.NEGATIVE_INFINITY]) });
  await folder.array('../final features', { shape: [1, 2], data: new Float32Array([1, 2]) });
  const figure = await folder.figure(
    'loss/../x',
    lineChart({ title: 't', x: { title: 'x' }, y: { title: 'y' }, series: [{ name: 'a', x: [0, 1], y: [1, 2] }] }),
    'The loss.',
  );
  await folder.report({ title: 't', lead: 'l', sections: [{ title: 's', figures: [figure] }], parameters: {} });
  await folder.finish('stopped', new Error('why'));
  assert.is(await readFile(join(out, 'metrics.csv'), 'utf8'), 'step,"a ""b"", c"\r\n0,0.30000000000000004\r\n1,-Infinity\r\n');
  assert.equal(await json(out, 'config.json'), { gamma: 0.1 });
  const run = await json(out, 'run.json');
  assert.is(run.status, 'stopped');
  assert.is(run.error, 'why');
  for (const file of run.files) assert.ok((await readFile(join(out, file))).length > 0, file);
  const [array] = run.files.filter((file) => file.endsWith('.npy'));
  assert.equal((await readNpy(join(out, array))).data, new Float32Array([1, 2]));
  assert.equal((await readdir(root)).sort(), ['a'], 'nothing is written outside the folder');
});

test('a folder of somebody else is refused and stays as it is; one of ours is used again', async () => {
  await writeFile(join(root, 'thesis.tex'), 'mine');
  await rejects(RunFolder.create('simulate', {}, root), /holds files that no run wrote/);
  assert.equal(await readdir(root), ['thesis.tex']);
  await rejects(RunFolder.create('simulate', {}, join(root, 'thesis.tex')), /is a file/);
  await mkdir(join(root, 'empty'));
  await RunFolder.create('simulate', { a: 1 }, join(root, 'empty'));
  await RunFolder.create('simulate', { a: 2 }, join(root, 'empty'));
  assert.equal(await json(root, 'empty', 'config.json'), { a: 2 });
});

test('a run that completes leaves nothing of the one before; one that is stopped takes nothing away', async () => {
  const out = join(root, 'run');
  const array = { shape: [1], data: new Float32Array([1]) };
  const first = await RunFolder.create('train', {}, out);
  for (const name of ['features', 'ood-features']) await first.array(name, array);
  await first.finish('complete');
  await writeFile(join(out, 'notes.txt'), 'mine');
  await writeFile(join(root, 'outside.txt'), 'mine');
  const run = await json(out, 'run.json');
  await writeFile(join(out, 'run.json'), JSON.stringify({ ...run, files: [...run.files, '../outside.txt'] }));

  const second = await RunFolder.create('train', {}, out);
  await second.finish('stopped');
  assert.equal((await readdir(join(out, 'arrays'))).sort(), ['features.npy', 'ood-features.npy']);

  const third = await RunFolder.create('train', {}, out);
  await third.array('features', array);
  await third.finish('complete');
  assert.equal(await readdir(join(out, 'arrays')), ['features.npy']);
  assert.equal((await json(out, 'run.json')).files, ['config.json', 'arrays/features.npy']);
  assert.is(await readFile(join(out, 'notes.txt'), 'utf8'), 'mine');
  assert.is(await readFile(join(root, 'outside.txt'), 'utf8'), 'mine');
});

test('a folder that cannot be made is refused at once', async () => {
  const file = join(root, 'file');
  await writeFile(file, '');
  await rejects(RunFolder.create('simulate', {}, join(file, 'run')), /file[/\\]run cannot be made/);
  // Of every folder to be made here the kernel says that its parent is missing.
  if (process.platform === 'linux')
    await rejects(RunFolder.create('simulate', {}, '/proc/layerpeel/run'), /\/proc\/layerpeel\/run cannot/);
});

test('columns of unequal length are refused', async () => {
  const folder = await RunFolder.create('simulate', {}, join(root, 'x'));
  const error = await folder.metrics({ a: [1], b: [1, 2] }).catch((caught) => caught);
  assert.is(error.code, 'LP_SHAPE');
  assert.not.ok((await readdir(folder.path)).includes('metrics.csv'));
});

test.run();
