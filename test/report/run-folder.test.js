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
  assert.is(array, 'arrays/-final-features.npy');
  assert.equal((await readNpy(join(out, array))).data, new Float32Array([1, 2]));
  assert.equal((await readdir(root)).sort(), ['a'], 'nothing is written outside the folder');
});

test('a folder of somebody else is refused and stays as it is; one of ours is used again', async () => {
  await writeFile(join(root, 'thesis.tex'), 'mine');
  await rejects(RunFolder.create('simulate', {}, root), /holds files that no run wrote/);
  assert.equal(await readdir(root), ['thesis.tex']);
  await rejects(RunFolder.create('simulate', {}, join(root, 'thesis.tex')), /is a file/);
  // A run.json of another program says nothing of ours.
  for (const content of ['{ "name": "mine", "files": ["data.txt"] }', '{ "layerpeel": 1 }', 'null', 'not JSON']) {
    await mkdir(join(root, 'theirs'), { recursive: true });
    await writeFile(join(root, 'theirs', 'run.json'), content);
    await rejects(RunFolder.create('simulate', {}, join(root, 'theirs')), /holds files that no run wrote/);
    assert.is(await readFile(join(root, 'theirs', 'run.json'), 'utf8'), content);
  }
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

test('whatever run.json claims, only files inside the folder are taken away', async () => {
  const out = join(root, 'run');
  const mine = ['run-mine/x.npy', 'run.npy', 'outside.txt', 'other/run/x.npy'];
  await mkdir(join(root, 'run-mine'));
  await mkdir(join(root, 'other/run'), { recursive: true });
  for (const file of mine) await writeFile(join(root, file), 'mine');
  const first = await RunFolder.create('train', {}, out);
  await first.array('old', { shape: [1], data: new Float32Array(1) });
  await first.finish('complete');
  const run = await json(out, 'run.json');
  const claims = [
    ...mine.map((file) => `../${file}`),
    ...mine.map((file) => join(root, file)),
    'arrays/../../run-mine/x.npy',
    '.',
    '',
    '..',
  ];
  await writeFile(join(out, 'run.json'), JSON.stringify({ ...run, files: [...run.files, ...claims] }));
  const second = await RunFolder.create('train', {}, `${out}/`);
  await second.finish('complete');
  for (const file of mine) assert.is(await readFile(join(root, file), 'utf8'), 'mine', file);
  assert.equal(await readdir(join(out, 'arrays')), []);
  assert.equal((await json(out, 'run.json')).files, ['config.json']);
});

test('a fresh folder for every run, of its command and time', async () => {
  const before = process.cwd();
  process.chdir(root);
  try {
    const folders = [];
    for (const command of ['measure a b', 'measure a b']) folders.push(await RunFolder.create(command, {}));
    const [one, two] = folders.map(({ path }) => path);
    assert.match(one, /[/\\]runs[/\\]measure-a-b-\d{8}-\d{6}$/);
    assert.not.equal(one, two);
    assert.equal((await readdir(join(root, 'runs'))).length, 2);
  } finally {
    process.chdir(before);
  }
});

test('columns of many rows are whole, in their order', async () => {
  const out = join(root, 'long');
  const folder = await RunFolder.create('simulate', {}, out);
  const step = Float64Array.from({ length: 9001 }, (_, i) => i);
  await folder.metrics({ step, square: step.map((value) => value * value) });
  const lines = (await readFile(join(out, 'metrics.csv'), 'utf8')).split('\r\n');
  assert.equal(lines, ['step,square', ...Array.from(step, (value) => `${value},${value * value}`), '']);
});

test('run.json says when: begun once, finished later', async () => {
  const out = join(root, 'timed');
  const from = Date.now();
  const folder = await RunFolder.create('measure x', {}, out);
  const begun = await json(out, 'run.json');
  assert.equal([begun.command, begun.status, begun.finished, begun.files], ['measure x', 'running', undefined, []]);
  await folder.finish('failed', new Error('why'));
  const { started, finished, status, error, files } = await json(out, 'run.json');
  assert.equal([started, status, error, files], [begun.started, 'failed', 'why', ['config.json']]);
  assert.ok(Date.parse(started) >= from - 1 && Date.parse(finished) >= Date.parse(started) && Date.parse(finished) <= Date.now());
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
