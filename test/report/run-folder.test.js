import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readNpy } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lineChart } from '../../lib/report/figure.js';
import { RunFolder, runIn } from '../../lib/report/run-folder.js';
import { startNode } from '../process.js';

let root;
test.before.each(async () => {
  root = await mkdtemp(join(tmpdir(), 'layerpeel-'));
});
test.after.each(() => rm(root, { recursive: true }));

/** A run that begins in a folder, as commands do it. */
const begin = async (command, config, out, more = {}) => (await RunFolder.claim({ command, out, ...more })).begin(config);
/** Its end; without a status that of its process. */
const end = async (folder, status) => {
  if (status) await folder.finish(status);
  await folder.release();
};
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
  const folder = await begin('simulate', { gamma: 0.1 }, out);
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
  await rejects(begin('simulate', {}, root), /holds files that no run wrote/);
  assert.equal(await readdir(root), ['thesis.tex']);
  await rejects(begin('simulate', {}, join(root, 'thesis.tex')), /is a file/);
  // A run.json of another program says nothing of ours.
  for (const content of ['{ "name": "mine", "files": ["data.txt"] }', '{ "layerpeel": 1 }', 'null', 'not JSON']) {
    await mkdir(join(root, 'theirs'), { recursive: true });
    await writeFile(join(root, 'theirs', 'run.json'), content);
    await rejects(begin('simulate', {}, join(root, 'theirs')), /holds files that no run wrote/);
    assert.is(await readFile(join(root, 'theirs', 'run.json'), 'utf8'), content);
  }
  await mkdir(join(root, 'empty'));
  await end(await begin('simulate', { a: 1 }, join(root, 'empty')));
  await begin('simulate', { a: 2 }, join(root, 'empty'));
  assert.equal(await json(root, 'empty', 'config.json'), { a: 2 });
});

test('what a folder holds is of one run: another that begins there takes away what the one before wrote', async () => {
  const out = join(root, 'run');
  const array = { shape: [1], data: new Float32Array([1]) };
  const first = await begin('train', {}, out);
  for (const name of ['features', 'ood-features']) await first.array(name, array);
  await end(first, 'stopped');
  await writeFile(join(out, 'notes.txt'), 'mine');
  await writeFile(join(root, 'outside.txt'), 'mine');
  const run = await json(out, 'run.json');
  await writeFile(join(out, 'run.json'), JSON.stringify({ ...run, files: [...run.files, '../outside.txt'] }));

  // One that goes on leaves them until it is complete.
  const more = await begin('train', {}, out, { resume: out });
  await more.array('features', array);
  assert.equal((await json(out, 'run.json')).files, ['config.json', 'arrays/features.npy', 'arrays/ood-features.npy']);
  await end(more, 'failed');
  assert.equal((await readdir(join(out, 'arrays'))).sort(), ['features.npy', 'ood-features.npy']);
  const last = await begin('train', {}, out, { resume: out });
  await last.array('features', array);
  await end(last, 'complete');
  assert.equal(await readdir(join(out, 'arrays')), ['features.npy']);

  const other = await begin('measure', {}, out, { force: true });
  assert.equal(await readdir(join(out, 'arrays')), []);
  assert.equal((await json(out, 'run.json')).files, ['config.json']);
  await end(other, 'complete');
  assert.is(await readFile(join(out, 'notes.txt'), 'utf8'), 'mine');
  assert.is(await readFile(join(root, 'outside.txt'), 'utf8'), 'mine');
});

test('of a run that was killed every file is known', async () => {
  const out = join(root, 'killed');
  const first = await begin('simulate', {}, out);
  await first.metrics({ step: [1] });
  await writeFile(await first.add('other.bin'), '');
  await end(first); // its run.json says that it runs
  assert.is((await runIn(out)).status, 'interrupted');
  assert.equal((await runIn(out)).files, ['config.json', 'metrics.csv', 'other.bin']);
  await writeFile(join(out, '.layerpeel-0123456789ab.tmp'), 'half');
  await writeFile(join(out, 'arrays', '.layerpeel-0123456789ab.tmp'), 'half');
  await writeFile(join(out, '.mine.tmp'), '');
  const heard = [];
  const second = await begin('measure', {}, out, { log: (line) => heard.push(line) });
  assert.match(heard.join(), /was interrupted: its process is gone/);
  assert.is((await runIn(out)).status, 'running');
  assert.equal((await readdir(out)).sort(), ['.lock', '.mine.tmp', 'arrays', 'config.json', 'figures', 'run.json']);
  assert.equal(await readdir(join(out, 'arrays')), []);
  await end(second, 'failed');
  assert.is((await runIn(out)).status, 'failed');
  assert.is(await runIn(root), undefined);
});

test('a finished run, and one that can go on, are not overwritten without force', async () => {
  const out = join(root, 'run');
  await end(await begin('measure h.npy', {}, out), 'complete');
  await rejects(begin('measure h.npy', {}, out), /holds a finished run \(measure h.npy\).*--force/);
  assert.is((await json(out, 'run.json')).status, 'complete');
  const stopped = await begin('simulate', {}, out, { force: true });
  await writeFile(await stopped.add('checkpoint.safetensors'), '');
  await end(stopped, 'stopped');
  await rejects(begin('simulate', {}, out), /can go on \(simulate\): --resume/);
  assert.ok((await readdir(out)).includes('checkpoint.safetensors'));
  const goesOn = await RunFolder.claim({ command: 'simulate', out, resume: join(out, '.', '..', 'run') });
  assert.not(await goesOn.isComplete({}));
  await end(goesOn);
  await end(await begin('simulate', { a: [1] }, out, { force: true }), 'complete');
  const same = await RunFolder.claim({ command: 'simulate', out, resume: out });
  assert.ok(await same.isComplete({ a: [1], b: undefined }));
  assert.not(await same.isComplete({ a: [2] }));
  await end(same);
  assert.is((await json(out, 'run.json')).status, 'complete');
  // The folder of one run is not that of the other from which it goes on.
  await rejects(RunFolder.claim({ command: 'simulate', out, resume: root }), /finished run/);
});

test('one run at a time: the lock goes with its process', async () => {
  const out = join(root, 'run');
  const held = await RunFolder.claim({ command: 'simulate', out });
  await rejects(
    RunFolder.claim({ command: 'train', out, force: true }),
    new RegExp(`in use by another run \\(process ${process.pid} `),
  );
  await end(held);
  assert.equal(await readdir(root), [], 'a folder in which nothing was begun goes again');
  const [lib] = ['../../lib/report/run-folder.js'].map((path) => new URL(path, import.meta.url).href);
  const code = `import(${JSON.stringify(lib)}).then(async ({ RunFolder }) => {
    await (await RunFolder.claim({ command: 'train', out: ${JSON.stringify(out)} })).begin({});
    console.log('held');
    setInterval(() => {}, 1000);
  });`;
  const { child, ended } = startNode(['-e', code]);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  await rejects(RunFolder.claim({ command: 'train', out, force: true }), new RegExp(`process ${child.pid} on`));
  assert.is((await runIn(out)).status, 'running');
  child.kill('SIGKILL');
  await ended;
  assert.is((await runIn(out)).status, 'interrupted');
  await end(await begin('train', {}, out), 'complete');
});

test('what a folder cannot have is left as it was found', async () => {
  await rejects(RunFolder.claim({ command: 'simulate', out: join(root, 'a'.repeat(300)) }), /cannot be made: its name is too long/);
  const deep = await RunFolder.claim({ command: 'simulate', out: join(root, 'a', 'b', 'c') });
  await deep.release();
  assert.equal(await readdir(root), []);
  await mkdir(join(root, 'mine'));
  const given = await RunFolder.claim({ command: 'simulate', out: join(root, 'mine') });
  await given.release();
  assert.equal(await readdir(join(root, 'mine')), []);
  if (process.getuid?.() === 0) return console.log('  (not tried: the superuser writes into any folder)');
  await chmod(join(root, 'mine'), 0o500);
  await rejects(RunFolder.claim({ command: 'simulate', out: join(root, 'mine') }), /cannot be written: permission is denied/);
});

test('whatever run.json claims, only files inside the folder are taken away', async () => {
  const out = join(root, 'run');
  const mine = ['run-mine/x.npy', 'run.npy', 'outside.txt', 'other/run/x.npy'];
  await mkdir(join(root, 'run-mine'));
  await mkdir(join(root, 'other/run'), { recursive: true });
  for (const file of mine) await writeFile(join(root, file), 'mine');
  const first = await begin('train', {}, out);
  await first.array('old', { shape: [1], data: new Float32Array(1) });
  await end(first, 'stopped');
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
  const second = await begin('train', {}, `${out}/`);
  await end(second, 'complete');
  for (const file of mine) assert.is(await readFile(join(root, file), 'utf8'), 'mine', file);
  assert.equal(await readdir(join(out, 'arrays')), []);
  assert.equal((await json(out, 'run.json')).files, ['config.json']);
});

test('nothing is taken away through a link, and a folder that is listed fails no run', async () => {
  const out = join(root, 'run');
  await mkdir(join(root, 'else'));
  await mkdir(join(out, 'sub', 'dir'), { recursive: true });
  const mine = ['else/mine.txt', 'run/sub/dir/kept', 'target'].map((file) => join(root, file));
  for (const file of mine) await writeFile(file, 'mine');
  await symlink(join(root, 'else'), join(out, 'link'));
  await symlink(join(root, 'target'), join(out, 'metrics.csv'));
  await writeFile(join(out, 'gone.txt'), 'of the run');
  const files = ['link/mine.txt', 'sub', 'sub/dir', 'gone.txt/x', 'gone.txt', 'metrics.csv', 'none', 7];
  await writeFile(join(out, 'run.json'), JSON.stringify({ layerpeel: '0.1.0', files }));
  await end(await begin('simulate', {}, out), 'complete');
  for (const file of mine) assert.is(await readFile(file, 'utf8'), 'mine', file);
  assert.not((await readdir(out)).includes('gone.txt'));
});

test('a fresh folder for every run, of its command and time', async () => {
  const before = process.cwd();
  process.chdir(root);
  try {
    const folders = [];
    for (const command of ['measure a b', 'measure a b']) folders.push(await begin(command, {}));
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
  const folder = await begin('simulate', {}, out);
  const step = Float64Array.from({ length: 9001 }, (_, i) => i);
  await folder.metrics({ step, square: step.map((value) => value * value) });
  const lines = (await readFile(join(out, 'metrics.csv'), 'utf8')).split('\r\n');
  assert.equal(lines, ['step,square', ...Array.from(step, (value) => `${value},${value * value}`), '']);
});

test('run.json says when: begun once, finished later', async () => {
  const out = join(root, 'timed');
  const from = Date.now();
  const folder = await begin('measure x', {}, out);
  const begun = await json(out, 'run.json');
  assert.equal([begun.command, begun.status, begun.finished, begun.files], ['measure x', 'running', undefined, ['config.json']]);
  await folder.finish('failed', new Error('why'));
  const { started, finished, status, error, files } = await json(out, 'run.json');
  assert.equal([started, status, error, files], [begun.started, 'failed', 'why', ['config.json']]);
  assert.ok(Date.parse(started) >= from - 1 && Date.parse(finished) >= Date.parse(started) && Date.parse(finished) <= Date.now());
});

test('a folder that cannot be made is refused at once', async () => {
  const file = join(root, 'file');
  await writeFile(file, '');
  await rejects(begin('simulate', {}, join(file, 'run')), /file[/\\]run cannot be made/);
  // Of every folder to be made here the kernel says that its parent is missing.
  if (process.platform === 'linux') await rejects(begin('simulate', {}, '/proc/layerpeel/run'), /\/proc\/layerpeel cannot be made/);
});

test('columns of unequal length are refused', async () => {
  const folder = await begin('simulate', {}, join(root, 'x'));
  const error = await folder.metrics({ a: [1], b: [1, 2] }).catch((caught) => caught);
  assert.is(error.code, 'LP_SHAPE');
  assert.not.ok((await readdir(folder.path)).includes('metrics.csv'));
});

test.run();
