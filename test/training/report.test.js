// The report of a training run, from numbers made up here.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { RunFolder } from '../../lib/report/run-folder.js';
import { reportTraining } from '../../lib/training/report.js';

let folder;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-report-'));
});
test.after.each(() => rm(folder, { recursive: true }));

const collapse = { nc1: 0.5, nc1TraceRatio: 0.4, nc2: 0.3, featureCosine: 0.2, nc3: 0.6, nc4: 0.1, alignment: 0.7 };
const geometry = { featureNorm: 4, smallestPrototypeNorm: 1, prototypeNormRatio: 1.5, smallestPrototypeAngle: 80 };
const config = { data: {}, model: { kind: 'mlp' }, loss: { kind: 'cross-entropy' }, epochs: 9 };

/** So many epochs, all falling by a tenth each; collapse is measured after every `every`-th. */
function epochs(count, { tested = true, every = 1 } = {}) {
  return Array.from({ length: count }, (_, i) => {
    const scaled = (values, on = true) =>
      Object.fromEntries(Object.entries(values).map(([name, value]) => [name, on ? value * 0.9 ** i : Number.NaN]));
    return {
      epoch: i + 1,
      learningRate: 0.1,
      ...scaled({ loss: 2, accuracy: 0.5, ...(tested && { testLoss: 2.5, testAccuracy: 0.4 }) }),
      ...scaled(
        { trainLoss: 2, trainAccuracy: 0.45, ...collapse, ...geometry, minMargin: -3, meanMargin: 1 },
        (i + 1) % every === 0,
      ),
      ...{ seconds: 2, imagesPerSecond: 1000, waitedForImages: 0.02, secondsMeasuring: 0.5 },
    };
  });
}

async function draw(report) {
  const run = await RunFolder.create('train made-up.json', config, folder);
  const path = await reportTraining(
    { name: 'made-up', config, counts: [500, 500, 500], parameters: 1234, theory: 'No theory.', libtorch: '2.13.0', ...report },
    run,
  );
  return readFile(path, 'utf8');
}

const figuresOf = (html) => Array.from(html.matchAll(/<svg role="img" aria-label="([^"]*)"/g), (match) => match[1]);

test('draws what was measured, and the last epoch as a table', async () => {
  const html = await draw({ history: epochs(9) });
  assert.match(html, /1234 parameters, trained on 1500 images of 3 classes\. 9 of 9 epochs are done; 17\.22% of the test images/);
  const figures = figuresOf(html);
  for (const title of [
    'Accuracy',
    'Loss',
    'Learning rate',
    'Norms',
    'Smallest angle between prototypes',
    'Margins',
    'Share of time',
  ]) {
    assert.ok(figures.includes(title), title);
  }
  for (const title of ['NC1', 'NC2', 'NC3', 'NC4'])
    assert.ok(
      figures.some((name) => name.startsWith(title)),
      title,
    );
  assert.match(html, /Epoch 9<\/h2>/);
  assert.match(html, /<th scope="row">nc1<\/th><td>0\.215234<\/td>/);
  assert.not.match(html, /NaN|undefined/);
});

test('a single epoch, and one measured in three', async () => {
  const one = await draw({ history: epochs(1) });
  assert.match(one, /1 of 9 epochs is done/);
  const sparse = await draw({ history: epochs(7, { every: 3 }) });
  assert.equal(figuresOf(one), figuresOf(sparse));
  for (const html of [one, sparse]) {
    assert.not.match(html, /NaN|undefined|Infinity/);
  }
});

test('without a test set; without measures of collapse; without an epoch', async () => {
  const untested = await draw({ history: epochs(3, { tested: false }) });
  assert.not.match(untested, /test images are|>test</);
  const unwatched = await draw({ history: epochs(3, { every: 10 }) });
  assert.equal(figuresOf(unwatched), ['Accuracy', 'Loss', 'Learning rate', 'Images per second', 'Share of time']);
  const none = await draw({ history: [], ending: 'Training diverged in epoch 1.' });
  assert.equal(figuresOf(none), []);
  assert.match(none, /0 of 9 epochs are done\. Training diverged in epoch 1\./);
});

test('the theory beside it, or why there is none', async () => {
  assert.match(await draw({ history: epochs(1) }), /Theory beside it<\/h2>\s*<p>No theory\.<\/p>/);
  const theory = {
    ...{ quantity: 'distanceToLimit', title: 'Distance', statement: 'It tends to a limit.', clock: 12.5 },
    ...{ zeta: [0, 1, 2], measured: [1, 0.5, Number.NaN], predicted: [1, 0.6, 0.3] },
    curve: { zeta: [0, 0.5, 1, 1.5, 2], predicted: [1, 0.8, 0.6, 0.4, 0.3] },
    anchored: {
      ...{ cosine: [0.1, 0.5, 0.9], norm: [1, 10, 90], limitNorm: 100 },
      predicted: { cosine: [0.1, 0.6, 0.8], norm: [1, 12, 95] },
    },
  };
  const html = await draw({ history: epochs(2), theory });
  assert.match(html, /It tends to a limit\.[\s\S]*at the time t = 12\.5 ζ/);
  for (const title of ['Distance', 'Class means towards their limit', 'Length of the features']) {
    assert.ok(figuresOf(html).includes(title), title);
  }
  assert.match(html, /‖MᵀW\/λ‖/);
  const rows = (await readFile(join(folder, 'theory.csv'), 'utf8')).trim().split('\r\n');
  assert.equal(rows.slice(0, 2), [
    'epoch,zeta,measured,predicted,cosine,norm,predictedCosine,predictedNorm',
    '0,0,1,1,0.1,1,0.1,1',
  ]);
});

test('prototypes that are fixed are not drawn', async () => {
  const fixed = { ...config, model: { kind: 'mlp', classifier: { kind: 'fixed-etf' } } };
  const figures = figuresOf(await draw({ config: fixed, history: epochs(3) }));
  assert.not.ok(figures.includes('Smallest angle between prototypes'));
  assert.ok(figures.includes('Norms'));
});

test.run();
