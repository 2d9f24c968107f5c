// What `layerpeel train` leaves beside its checkpoint: the report, event files for TensorBoard, and how the run ended.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readNpy, study } from 'layerpeel';
import * as assert from 'uvu/assert';
import { run, start } from '../cli/run.js';
import { events } from '../report/event-file.js';
import { idxFiles } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('the run folder of a training');

let folder;
test.before?.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  await idxFiles(folder);
});
test.after?.each(() => rm(folder, { recursive: true }));

const small = {
  data: { kind: 'idx', path: '.', verify: false },
  model: { kind: 'mlp', widths: [32, 16] },
  loss: { kind: 'cross-entropy' },
  optimizer: { learningRate: 0.05 },
  epochs: 4,
  batch: 16,
};

async function configure(change) {
  const path = join(folder, 'run.json');
  await writeFile(path, JSON.stringify({ ...small, ...change }));
  return path;
}

const outcome = async (path) => JSON.parse(await readFile(join(path, 'run.json'), 'utf8'));
const report = (path) => readFile(join(path, 'report.html'), 'utf8');
const eventFiles = async (path) => (await readdir(path)).filter((file) => file.startsWith('events.out.tfevents'));

test('a report, columns for TensorBoard, arrays for evaluate; without a test set, collapse every second epoch', async () => {
  const out = join(folder, 'run');
  const path = await configure({ data: { ...small.data, test: false }, collapseEvery: 2, tensorboard: true });
  const trained = await run(['train', path, '--out', out, '--json']);
  assert.is(trained.code, 0, trained.stderr);
  const { epochs } = JSON.parse(trained.stdout);
  const html = await report(out);
  assert.match(html, /4 of 4 epochs are done; [\d.]+% of the training images are decided right/);
  for (const text of ['Neural collapse', 'Theory beside it', 'Loss of the probe', 'LP Theorem 3.2', 'Epoch 4']) {
    assert.ok(html.includes(text), text);
  }
  assert.not.match(html, /NaN|test images are/);
  const { status, files } = await outcome(out);
  assert.is(status, 'complete');
  const [file, ...more] = await eventFiles(out);
  assert.equal(more, []);
  for (const name of [file, 'checkpoint.safetensors', 'metrics.csv', 'theory.csv', 'report.html'])
    assert.ok(files.includes(name), name);
  const found = await events(join(out, file));
  assert.equal(
    found.map(({ step }) => step),
    [1, 2, 3, 4],
  );
  for (const [i, { scalars }] of found.entries()) {
    // What was not measured is NaN.
    const { epoch, ...columns } = Object.fromEntries(Object.entries(epochs[i]).filter(([, value]) => value !== 'NaN'));
    const expected = Object.entries(columns).map(([name, value]) => [name, Math.fround(value)]);
    assert.equal(scalars, expected);
    assert.is('nc1' in columns, i % 2 === 1);
  }
  const evaluated = await run(['evaluate', out, '--json', '--out', join(folder, 'evaluated')]);
  assert.is(evaluated.code, 0, evaluated.stderr);
  const { accuracy, warnings } = JSON.parse(evaluated.stdout);
  assert.ok(accuracy > 0.5);
  // Without a test set the arrays are those of the training set, and so is the mean feature.
  assert.not.ok(warnings.some((warning) => /featureMean/.test(warning)));
  const [features, mean] = await Promise.all(
    ['features', 'feature-mean'].map((name) => readNpy(join(out, 'arrays', `${name}.npy`))),
  );
  const [samples, dim] = features.shape;
  for (const [k, value] of mean.data.entries()) {
    const sum = Array.from({ length: samples }, (_, i) => features.data[i * dim + k]).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum / samples - value) < 1e-5);
  }
});

test('stopped by Ctrl-C, it says so and keeps what it has; resumed, TensorBoard has every epoch once', async () => {
  const out = join(folder, 'run');
  const path = await configure({ epochs: 10_000, tensorboard: true });
  // Stopped twice, the second time as it goes on.
  for (const more of [[], ['--resume', out]]) {
    const { child, ended } = start(['train', path, '--out', out, ...more]);
    let told = '';
    child.stderr.on('data', (text) => {
      const before = /epoch \d*3 of/.test(told);
      told += text;
      if (!before && /epoch \d*3 of/.test(told)) child.kill('SIGINT');
    });
    const { code } = await ended;
    assert.is(code, 130, told);
    assert.is((await outcome(out)).status, 'stopped');
    assert.is((await eventFiles(out)).length, 1);
  }
  const html = await report(out);
  const [, reached] = html.match(/(\d+) of 10,?000 epochs are done/);
  assert.match(html, /The run was stopped by SIGINT\. <code>--resume<\/code> goes on from here\./);
  assert.ok(html.includes('Loss of the probe'));
  await configure({ epochs: Number(reached) + 2, tensorboard: true });
  const resumed = await run(['train', path, '--resume', out, '--out', out]);
  assert.is(resumed.code, 0, resumed.stderr);
  const [file, ...more] = await eventFiles(out);
  assert.equal(more, []);
  const found = await events(join(out, file));
  assert.equal(
    found.map(({ step }) => step),
    Array.from({ length: Number(reached) + 2 }, (_, i) => i + 1),
  );
  assert.is((await outcome(out)).status, 'complete');
});

test('diverged, it says where, and the report stays', async () => {
  const out = join(folder, 'run');
  const path = await configure({ loss: { kind: 'mse' }, optimizer: { learningRate: 1e9 } });
  const { code, stderr } = await run(['train', path, '--out', out]);
  assert.is(code, 1);
  assert.match(stderr, /diverged in epoch 1 at batch/);
  const { status, error } = await outcome(out);
  assert.is(status, 'failed');
  assert.match(error, /diverged in epoch 1/);
  assert.match(await report(out), /0 of 4 epochs are done\. Training diverged in epoch 1 at batch/);
});

test('in a study, what diverges is told from what fails, and has no numbers', async () => {
  const config = JSON.parse(await readFile(await configure({ epochs: 1 }), 'utf8'));
  const axes = { 'optimizer.learningRate': [0.01, 1e9], 'data.imbalance.ratio': [1, 7] };
  const base = { ...config, loss: { kind: 'mse' }, data: { ...config.data, imbalance: { kind: 'step', ratio: 1, largest: 6 } } };
  const { table } = await study(
    { command: 'train', base, axes, measures: ['trainLoss'] },
    { out: join(folder, 'study'), relativeTo: folder },
  );
  const of = (rate, ratio) => {
    const run = table.runs.find(
      ({ levels }) => levels['optimizer.learningRate'] === rate && levels['data.imbalance.ratio'] === ratio,
    );
    return [run.status, Object.keys(run.measures).length > 0, run.reason ?? ''];
  };
  assert.equal(of('0.01', '1').slice(0, 2), ['complete', true]);
  const [diverged, failed] = [of('1000000000', '1'), of('0.01', '7')];
  assert.equal(diverged.slice(0, 2), ['diverged', false]);
  assert.match(diverged[2], /Training diverged in epoch 1/);
  assert.equal(failed.slice(0, 2), ['failed', false]);
});

test('logits of unit-norm features and prototypes are not taken for calibrated', async () => {
  const out = join(folder, 'run');
  const path = await configure({
    model: { ...small.model, head: { normalize: true }, classifier: { kind: 'fixed-etf' } },
    loss: { kind: 'dot-regression' },
    epochs: 1,
  });
  const trained = await run(['train', path, '--out', out]);
  assert.is(trained.code, 0, trained.stderr);
  assert.match(await report(out), /it does not cover dot-regression/);
  const evaluated = await run(['evaluate', out, '--out', join(folder, 'evaluated')]);
  assert.match(evaluated.stdout + evaluated.stderr, /temperature/i);
});

test.run();
