// The report of a training run, from numbers made up here.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { theoryColumns, trainingPage } from '../../../lib/report/pages/training.js';
import { RunFolder } from '../../../lib/report/run-folder.js';
import { distance } from '../../helpers.js';
import { drawnIn } from '../recorder.js';

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

const made = { config, counts: [500, 500, 500], parameters: 1234, theory: 'No theory.', libtorch: '2.13.0' };

async function draw(result) {
  const claimed = await RunFolder.claim({ command: 'train made-up.json', out: folder });
  const run = await claimed.begin(config);
  const path = await run.report(trainingPage({ ...made, ...result }, { name: 'made-up' }));
  await run.release();
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
  assert.equal(figuresOf(unwatched), [
    'Accuracy',
    'Loss',
    'Learning rate',
    'Images per second',
    'Seconds of an epoch',
    'Share of time',
  ]);
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
});

test('prototypes that are fixed are not drawn by themselves', async () => {
  const fixed = { ...config, model: { kind: 'mlp', classifier: { kind: 'fixed-etf' } } };
  const html = await draw({ config: fixed, history: epochs(3) });
  const figures = figuresOf(html);
  assert.not.ok(figures.includes('Smallest angle between prototypes'));
  assert.ok(figures.includes('Norms'));
  // Beside features that move they are, with their names.
  for (const name of ['prototypes, largest', 'prototypes, smallest']) assert.ok(html.includes(`>${name}<`), name);
});

const byClass = (values) =>
  Object.fromEntries(
    ['featureNorm', 'pull', 'push', 'backbone'].map((name, k) => [
      name,
      { shape: [values.length, 3], data: Float64Array.from(values.flatMap((row) => row.map((value) => value * 10 ** k))) },
    ]),
  );

test('classes stand by their training samples, at the last epoch that was measured', async () => {
  const made = { history: epochs(3, { every: 2 }), counts: [20, 30, 10], classes: ['cat', 'dog', 'eel'] };
  const rows = [
    [7, 7, 7],
    [2, 3, 1],
    [Number.NaN, Number.NaN, Number.NaN],
  ];
  const { figures, page } = figuresFrom({ ...made, byClass: byClass(rows) });
  assert.match(page.sections.find(({ title }) => title === 'Classes').text[0], /after epoch 2/);
  const gradients = figures['class-gradients'];
  assert.equal(
    gradients.series.map(({ name, mark, x, y }) => [name, mark, x, y]),
    [
      ['pull', 'points', [0, 1, 2], [30, 20, 10]],
      ['push', 'points', [0, 1, 2], [300, 200, 100]],
    ],
  );
  assert.equal(figures['class-backbone'].series[0].y, [3000, 2000, 1000]);
  assert.equal(figures['class-features'].series[0].y, [3, 2, 1]);
  const html = await draw({ ...made, byClass: byClass(rows) });
  for (const name of ['dog (30)', 'cat (20)', 'eel (10)', '>pull<', '>push<']) assert.ok(html.includes(name), name);
  // A fixed classifier has no gradient of its own; where nothing was measured there is no section.
  const fixed = { ...config, model: { kind: 'mlp', classifier: { kind: 'fixed-etf' } } };
  assert.equal(
    Object.keys(figuresFrom({ ...made, config: fixed, byClass: byClass(rows) }).figures).filter((name) =>
      name.startsWith('class-'),
    ),
    ['class-backbone', 'class-features'],
  );
  assert.not.ok(figuresFrom({ ...made, byClass: byClass([rows[2]]) }).page.sections.some(({ title }) => title === 'Classes'));
});

test('what rounding leaves of fixed prototypes sets no scale; their lines and names stay', () => {
  const fixed = { ...config, model: { kind: 'mlp', classifier: { kind: 'fixed-etf' } } };
  const history = (last) =>
    [0.8, last].map((featureNormVariation, i) => ({
      ...epochs(2)[i],
      ...{ featureNormVariation, prototypeNormVariation: 1e-8, centeredPrototypeNormVariation: 2e-8 },
    }));
  const drawn = (last, own) => figuresFrom({ config: own, history: history(last) }).figures['nc2-norms'];
  for (const own of [fixed, config]) {
    assert.equal(
      drawn(0.4, own).series.map(({ name }) => name),
      ['class means', 'centred prototypes', 'prototypes'],
    );
  }
  assert.is(drawn(0.4, fixed).y.scale, 'linear');
  assert.is(drawn(0.01, fixed).y.scale, 'log');
  assert.is(drawn(0.4, config).y.scale, 'log');
});

/** Three epochs in which every column has values of its own, each a tenth of the one before. */
function distinct() {
  const own = [
    ...[
      'loss',
      'accuracy',
      'learningRate',
      'testLoss',
      'testAccuracy',
      'trainLoss',
      'trainAccuracy',
      'nc1',
      'nc1TraceRatio',
      'nc1Cdnv',
    ],
    ...[
      'withinClassVariation',
      'featureNormVariation',
      'centeredPrototypeNormVariation',
      'prototypeNormVariation',
      'featureCosine',
    ],
    ...[
      'centeredPrototypeCosine',
      'nc2',
      'nc2Zhu',
      'nc3',
      'nc3Zhu',
      'dualityFrobenius',
      'selfDuality',
      'alignment',
      'nc4',
      'featureNorm',
    ],
    ...[
      'smallestPrototypeNorm',
      'prototypeNormRatio',
      'smallestPrototypeAngle',
      'smallestCenteredPrototypeAngle',
      'meanMargin',
      'minMargin',
      'seconds',
      'imagesPerSecond',
    ],
    ...['waitedForImages', 'secondsMeasuring', 'secondsCollapse', 'secondsTheory'],
    ...['testNc1', 'testNc1TraceRatio', 'testNc1Cdnv', 'testWithinClassVariation', 'testNc4'],
  ];
  return [1, 2, 3].map((epoch) => ({
    epoch,
    ...Object.fromEntries(own.map((name, k) => [name, (2 + k / 7) * 10 ** (1 - epoch)])),
  }));
}

function figuresFrom(result) {
  const page = trainingPage({ ...made, counts: [5, 4, 3], ...result }, { name: 'made-up' });
  const all = page.sections.flatMap(({ figures = [] }) => figures);
  return { figures: Object.fromEntries(all.map(({ name, spec }) => [name, drawnIn(spec)])), page };
}

// Of each figure its curves, by their names in the legend: what of an epoch they draw.
const of = (...names) => Object.fromEntries(names.map((name) => [name, (row) => row[name]]));
const CURVES = {
  accuracy: {
    test: (row) => 100 * row.testAccuracy,
    training: (row) => 100 * row.trainAccuracy,
    'training, in the steps': (row) => 100 * row.accuracy,
  },
  loss: { test: (row) => row.testLoss, training: (row) => row.trainLoss, 'training, in the steps': (row) => row.loss },
  'learning-rate': { undefined: (row) => row.learningRate },
  nc1: of('nc1', 'nc1TraceRatio', 'nc1Cdnv', 'withinClassVariation'),
  'test-nc1': {
    nc1: (row) => row.testNc1,
    nc1TraceRatio: (row) => row.testNc1TraceRatio,
    nc1Cdnv: (row) => row.testNc1Cdnv,
    withinClassVariation: (row) => row.testWithinClassVariation,
  },
  'nc2-norms': {
    'class means': (row) => row.featureNormVariation,
    'centred prototypes': (row) => row.centeredPrototypeNormVariation,
    prototypes: (row) => row.prototypeNormVariation,
  },
  'nc2-angles': of('featureCosine', 'centeredPrototypeCosine', 'nc2', 'nc2Zhu'),
  nc3: of('nc3', 'nc3Zhu', 'dualityFrobenius', 'selfDuality'),
  alignment: { undefined: (row) => row.alignment },
  nc4: { training: (row) => 100 * row.nc4, test: (row) => 100 * row.testNc4 },
  norms: {
    'features, mean': (row) => row.featureNorm,
    'prototypes, largest': (row) => row.smallestPrototypeNorm * row.prototypeNormRatio,
    'prototypes, smallest': (row) => row.smallestPrototypeNorm,
  },
  'prototype-angle': {
    prototypes: (row) => row.smallestPrototypeAngle,
    'centred prototypes': (row) => row.smallestCenteredPrototypeAngle,
  },
  'prototype-norm-ratio': { undefined: (row) => row.prototypeNormRatio },
  margins: { mean: (row) => row.meanMargin, smallest: (row) => row.minMargin },
  'images-per-second': { undefined: (row) => row.imagesPerSecond },
  seconds: {
    'steps of the network': (row) => row.seconds,
    measures: (row) => row.secondsMeasuring,
    theory: (row) => row.secondsTheory,
  },
  'time-shares': {
    'waiting for images': (row) => (100 * row.waitedForImages) / row.seconds,
    'measuring collapse': (row) => (100 * row.secondsMeasuring) / (row.seconds + row.secondsMeasuring),
  },
};

test('every curve is its column, epoch by epoch', async () => {
  const history = distinct();
  const { figures } = figuresFrom({ history });
  assert.equal(Object.keys(figures), Object.keys(CURVES));
  for (const [name, curves] of Object.entries(CURVES)) {
    assert.equal(
      figures[name].series.map((series) => String(series.name)),
      Object.keys(curves),
      name,
    );
    for (const { name: curve, x, y } of figures[name].series) {
      assert.equal(x, [1, 2, 3], name);
      assert.ok(distance(y, history.map(curves[curve])) < 1e-12, `${name}: ${curve}`);
    }
  }
  // What only some epochs measured stands at those epochs.
  const sparse = history.map((row) => (row.epoch === 2 ? { ...row, nc1: Number.NaN, alignment: Number.NaN } : row));
  const { figures: gaps } = figuresFrom({ history: sparse });
  assert.equal(
    [gaps.nc1.series[0].x, gaps.nc1.series[1].x, gaps.alignment.series[0].x],
    [
      [1, 3],
      [1, 2, 3],
      [1, 3],
    ],
  );
});

test('lines of reference: the simplex of so many classes, 1 and 0', async () => {
  const { figures } = figuresFrom({ history: distinct() });
  assert.ok(Math.abs(figures['prototype-angle'].rules[0].y - 120) < 1e-12); // acos(−1/2)
  assert.equal(figures['prototype-angle'].labels, ['simplex']);
  assert.equal(
    [figures.alignment, figures['prototype-norm-ratio'], figures.margins].map(({ rules }) => rules),
    [[{ y: 1 }], [{ y: 1 }], [{ y: 0 }]],
  );
  assert.equal(figures.loss.rules, []);
  const four = figuresFrom({ history: distinct(), counts: [1, 1, 1, 1] });
  assert.ok(Math.abs(four.figures['prototype-angle'].rules[0].y - 109.47122063449069) < 1e-9);
});

test('an axis is logarithmic where its values fall to a fifth and can', async () => {
  const scaleOf = async (values) => {
    const history = values.map((loss, i) => ({ ...distinct()[0], epoch: i + 1, loss, testLoss: loss, trainLoss: loss }));
    return figuresFrom({ history }).figures.loss.y.scale;
  };
  assert.is(await scaleOf([5.1, 1]), 'log');
  assert.is(await scaleOf([4.9, 1]), 'linear');
  assert.is(await scaleOf([5.1, 0]), 'linear');
  assert.is(await scaleOf([5.1, -1]), 'linear');
  assert.is(figuresFrom({ history: distinct() }).figures.alignment.y.scale, 'linear');
});

test('the table has every column of the last epoch, the lead its accuracies', async () => {
  const history = distinct();
  const { page } = figuresFrom({ history });
  const [table] = page.sections.at(-1).tables;
  const { epoch, ...last } = history[2];
  assert.is(page.sections.at(-1).title, 'Epoch 3');
  assert.equal(Object.fromEntries(table.rows.map(([name, value]) => [name, value])), last);
  assert.ok(table.rows.every(([, , , meaning]) => meaning.length > 5));
  assert.is(table.rows.find(([name]) => name === 'alignment')[2], 1);
  const percent = (value) => `${Number((100 * value).toPrecision(4))}%`;
  assert.is(
    page.lead,
    `1234 parameters, trained on 12 images of 3 classes. 3 of 9 epochs are done; ${percent(last.testAccuracy)} of the test images and ${percent(last.trainAccuracy)} of the training images are decided right.`,
  );
  // Without measures as the images are, those of the steps.
  const { page: unwatched } = figuresFrom({ history: [{ ...history[2], trainAccuracy: Number.NaN }] });
  assert.ok(unwatched.lead.includes(`${percent(last.accuracy)} of the training images`));
});

test('the theory is drawn as it is: the network in points, the model as a curve', async () => {
  const theory = {
    ...{ quantity: 'loss', title: 'Loss of the probe', statement: 'It falls.', clock: 2 },
    ...{ zeta: [0, 1, 2], measured: [10, 0.5, 0.25], predicted: [9, 0.6, 0.3] },
    curve: { zeta: [0, 0.5, 1], predicted: [9, 0.8, 0.6] },
    anchored: {
      ...{ cosine: [0.1, 0.5, 0.9], norm: [1, 10, 90], limitNorm: 100 },
      predicted: { cosine: [0.2, 0.6, 0.8], norm: [2, 12, 95] },
    },
  };
  const { figures } = figuresFrom({ history: distinct(), theory });
  const seen = (name) => figures[name].series.map(({ name: own, mark, x, y }) => [own, mark, x, y]);
  assert.equal(seen('theory'), [
    ['model', 'line', [0, 0.5, 1], [9, 0.8, 0.6]],
    ['network', 'points', [0, 1, 2], [10, 0.5, 0.25]],
  ]);
  assert.equal([figures.theory.y.scale, figures.theory.y.title], ['log', 'mean loss']);
  assert.equal(seen('theory-cosine'), [
    ['model', 'line', [0, 1, 2], [0.2, 0.6, 0.8]],
    ['network', 'points', [0, 1, 2], [0.1, 0.5, 0.9]],
  ]);
  assert.equal(seen('theory-norm'), [
    ['model', 'line', [0, 1, 2], [2, 12, 95]],
    ['network', 'points', [0, 1, 2], [1, 10, 90]],
  ]);
  assert.equal([figures['theory-cosine'].rules, figures['theory-norm'].rules], [[{ y: 1 }], [{ y: 100 }]]);
  assert.equal(theoryColumns(theory), {
    ...{ epoch: [0, 1, 2], zeta: [0, 1, 2], measured: [10, 0.5, 0.25], predicted: [9, 0.6, 0.3] },
    ...{ cosine: [0.1, 0.5, 0.9], norm: [1, 10, 90], predictedCosine: [0.2, 0.6, 0.8], predictedNorm: [2, 12, 95] },
  });
});

test.run();
