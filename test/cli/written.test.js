// Every column, array, table and curve that a command writes, against numbers: run within this process into a folder that keeps
// them in memory.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  collapseMeasures,
  collapseSync,
  evaluateSync,
  gradientDescentSync,
  gradientFlowSync,
  loadCheckpoint,
  projectedDescentSync,
  randomState,
  seededRandom,
  writeNpy,
  writeNpz,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { command as evaluateCommand } from '../../lib/cli/evaluate.js';
import { command as measureCommand } from '../../lib/cli/measure.js';
import { command as simulateCommand } from '../../lib/cli/simulate.js';
import * as reference from '../evaluation/reference.js';
import { distance } from '../helpers.js';
import { drawnIn, record } from '../report/recorder.js';

const { sum, mean } = reference;
const near = (found, wanted, name, tolerance = 1e-12) => {
  assert.is(found.length, wanted.length, name);
  assert.ok(distance(found, wanted) <= tolerance, `${name}: ${Array.from(found)}, not ${Array.from(wanted)}`);
};
const rowsOf = ({ shape: [rows, width], data }) =>
  Array.from({ length: rows }, (_, i) => Array.from(data.subarray(i * width, (i + 1) * width)));
const range = (length) => Array.from({ length }, (_, i) => i);
const minus = (a, b) => a.map((value, k) => value - b[k]);
const meanRow = (rows) => rows[0].map((_, k) => mean(rows.map((row) => row[k])));
const cosine = (a, b) => sum(a.map((value, k) => value * b[k])) / (Math.hypot(...a) * Math.hypot(...b));
const cosinesOf = (rows) => rows.flatMap((a) => rows.map((b) => cosine(a, b)));

let folder;
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
});
test.after(() => rm(folder, { recursive: true }));
const at = (name) => join(folder, name);

for (const globalMean of ['classes', 'samples']) {
  test(`measure, global mean of ${globalMean}: columns, arrays, figures`, async () => {
    const state = randomState({ counts: [7, 5, 4, 3], dim: 6, seed: 3 });
    const biases = { shape: [4], data: Float64Array.of(0.3, -0.2, 0.1, 0.5) };
    await writeNpz(at('a.npz'), { h: state.features, other: randomState({ counts: [9, 9], dim: 6 }).features });
    await writeNpy(at('w.npy'), state.prototypes);
    await writeNpy(at('b.npy'), biases);
    await writeNpy(at('y.npy'), { shape: [19], data: state.labels });
    const options = { name: 'h', labels: at('y.npy'), prototypes: at('w.npy'), biases: at('b.npy'), 'global-mean': globalMean };
    const { metrics, arrays, figures, captions, page, json } = await record(measureCommand, [at('a.npz')], options);
    const wanted = collapseSync({ ...state, biases }, { globalMean });
    const names = Object.keys(collapseMeasures).filter((name) => wanted[name] !== undefined);
    assert.equal(Object.keys(metrics.metrics), names);
    for (const name of names) assert.is(metrics.metrics[name][0], wanted[name], name);
    assert.equal(json.measures, Object.fromEntries(names.map((name) => [name, wanted[name]])));

    const [h, w] = [rowsOf(state.features), rowsOf(state.prototypes)];
    const means = range(4).map((c) => meanRow(h.filter((_, i) => state.labels[i] === c)));
    const centre = globalMean === 'classes' ? meanRow(means) : meanRow(h);
    const [centred, centredPrototypes] = [means.map((row) => minus(row, centre)), w.map((row) => minus(row, meanRow(w)))];
    const norms = centred.map((row) => Math.hypot(...row));
    near(arrays['class-means'].data, means.flat(), 'class means');
    near(arrays['class-norms'].data, norms, 'class norms');
    near(arrays['class-mean-cosines'].data, cosinesOf(centred), 'cosines');
    near(
      arrays['prototype-norms'].data,
      w.map((row) => Math.hypot(...row)),
      'prototype norms',
    );
    near(arrays['prototype-cosines'].data, cosinesOf(centredPrototypes), 'prototype cosines');
    near(arrays.spectrum.data, wanted.spectrum, 'spectrum');
    assert.equal(arrays['class-means'].shape, [4, 6]);
    assert.equal(arrays['class-mean-cosines'].shape, [4, 4]);
    assert.equal(arrays['prototype-cosines'].shape, [4, 4]);

    const [spectrum] = drawnIn(figures.spectrum).series;
    assert.equal([spectrum.mark, spectrum.x], ['stems', [1, 2, 3]]);
    near(spectrum.y, wanted.spectrum, 'spectrum');
    const drawn = drawnIn(figures.norms);
    const lengths = { 'centred class means': norms, 'centred prototypes': centredPrototypes.map((row) => Math.hypot(...row)) };
    assert.equal([drawn.rules, drawn.series.map(({ name }) => name)], [[{ y: 1 }], Object.keys(lengths)]);
    for (const { name, x, y } of drawn.series) {
      assert.equal(x, [0, 1, 2, 3]);
      near(
        y,
        lengths[name].map((value) => value / mean(lengths[name])),
        name,
      );
      assert.ok(captions.norms.includes(`${Number(mean(lengths[name]).toPrecision(4))} (${name})`), captions.norms);
    }
    for (const [name, rows] of [
      ['class-mean-cosines', centred],
      ['prototype-cosines', centredPrototypes],
    ]) {
      for (const { left, right, top, bottom, value } of figures[name].data.values) {
        near([value], [cosine(rows[top], rows[left])], name);
        assert.equal([right, bottom], [left + 1, top + 1]);
      }
      assert.match(captions[name], /−0\.333 at collapse/);
    }
    assert.match(page.lead, /^19 features of 6 dimensions in 4 classes of 3 to 7 samples, with the prototypes/);
    assert.equal(
      page.sections[1].tables[0].rows.map(([name, value]) => [name, value]),
      names.map((name) => [name, wanted[name]]),
    );
    for (const [name, , target] of page.sections[1].tables[0].rows)
      assert.is(target, collapseMeasures[name].atCollapse ?? '', name);
  });
}

/** Logits whose largest entry is often that of the label. */
function classified(samples, classes, seed, lead = 1.2) {
  const random = seededRandom(seed);
  const labels = Int32Array.from({ length: samples }, () => Math.floor(classes * random.uniform()));
  const data = random.fillNormal(new Float64Array(samples * classes));
  for (let i = 0; i < samples; i++) data[i * classes + labels[i]] += lead;
  return { logits: { shape: [samples, classes], data }, labels };
}

test('evaluate: columns, arrays, tables and figures, every option handed on', async () => {
  const { logits, labels } = classified(90, 4, 1);
  const { logits: strange } = classified(50, 4, 2, 0);
  await writeNpy(at('z.npy'), logits);
  await writeNpy(at('o.npy'), strange);
  await writeNpy(at('l.npy'), { shape: [90], data: labels });
  const typed = {
    temperature: '2',
    'energy-temperature': '3',
    bins: '7',
    resamples: '40',
    confidence: '0.8',
    seed: '5',
    many: '60',
    few: '30',
  };
  const given = {
    temperature: 2,
    energyTemperature: 3,
    bins: 7,
    resamples: 40,
    confidence: 0.8,
    seed: 5,
    groups: { many: 60, few: 30 },
  };
  const files = { labels: at('l.npy'), 'ood-logits': at('o.npy'), counts: '70,60,40,10' };
  const { metrics, arrays, figures, captions, page, json, text } = await record(evaluateCommand, [at('z.npy')], {
    ...files,
    ...typed,
  });
  const wanted = evaluateSync({ logits, labels, counts: [70, 60, 40, 10], outOfDistribution: { logits: strange } }, given);
  assert.equal(json.intervals, wanted.intervals);

  const z = rowsOf(logits);
  const decided = z.map(reference.argmax);
  const right = decided.map((c, i) => c === labels[i]);
  const perClass = range(4).map((c) => mean(right.filter((_, i) => labels[i] === c).map(Number)));
  const samples = range(4).map((c) => Array.from(labels).filter((label) => label === c).length);
  near(metrics.classes.class, [0, 1, 2, 3], 'class');
  near(metrics.classes.samples, samples, 'samples');
  near(metrics.classes.accuracy, perClass, 'accuracy of classes');
  const column = (name) => metrics.metrics[name];
  near(column('accuracy'), [mean(right.map(Number))], 'accuracy');
  near(column('balancedAccuracy'), [mean(perClass)], 'balanced accuracy');
  near(column('groups.many.accuracy'), [perClass[0]], 'many');
  near(column('groups.medium.accuracy'), [(perClass[1] + perClass[2]) / 2], 'medium');
  near(column('groups.few.accuracy'), [perClass[3]], 'few');
  const fittedT = wanted.temperature.temperature;
  near(column('temperature.temperature'), [fittedT], 'temperature');
  for (const [part, temperature, file] of [
    ['calibration', 2, 'reliability'],
    ['fitted', fittedT, 'reliability-fitted'],
  ]) {
    const by = reference.calibration(z, labels, { temperature, bins: 7 });
    for (const name of ['ece', 'mce', 'nll', 'brier']) near(column(`${part}.${name}`), [by[name]], `${part}.${name}`, 1e-10);
    const { left, right: ends, samples: own, confidence, accuracy } = metrics[file];
    near(
      left,
      range(7).map((k) => k / 7),
      'left',
      1e-12,
    );
    near(
      ends,
      range(7).map((k) => (k + 1) / 7),
      'right',
      1e-12,
    );
    near(own, by.counts, 'samples of bins');
    const p = z.map((row) => Math.max(...reference.softmax(row, temperature)));
    for (const [k, count] of by.counts.entries()) {
      if (count === 0) continue;
      const inside = range(90).filter((i) => p[i] > k / 7 && p[i] <= (k + 1) / 7);
      near(
        [confidence[k], accuracy[k]],
        [mean(inside.map((i) => p[i])), mean(inside.map((i) => Number(right[i])))],
        `bin ${k}`,
        1e-10,
      );
    }
    const drawn = drawnIn(figures[file]);
    const [bars, points, diagonal] = drawn.series;
    const full = range(7).filter((k) => by.counts[k] > 0);
    assert.equal(
      [bars.name, bars.mark, points.name, points.mark],
      ['accuracy of the bin', 'bars', 'at its mean confidence', 'points'],
    );
    near(
      bars.x,
      full.map((k) => left[k]),
      'bars',
    );
    near(
      bars.right,
      full.map((k) => ends[k]),
      'bars',
    );
    near(
      bars.y,
      full.map((k) => accuracy[k]),
      'bars',
    );
    near(
      points.x,
      full.map((k) => confidence[k]),
      'points',
    );
    near(
      points.y,
      full.map((k) => accuracy[k]),
      'points',
    );
    assert.equal(
      [diagonal.x, diagonal.y],
      [
        [0, 1],
        [0, 1],
      ],
    );
    assert.ok(captions[file].includes(`ECE ${Number((100 * by.ece).toPrecision(4))}%`), captions[file]);
  }
  near(arrays.predicted.data, decided, 'predicted');
  near(
    arrays.confidences.data,
    z.map((row) => Math.max(...reference.softmax(row, 2))),
    'confidences',
    1e-6,
  );
  near(
    Object.values(metrics.intervals).flat(),
    Object.values(wanted.intervals).flatMap((ends) => Array.from(ends)),
    'intervals',
  );
  assert.equal(Object.keys(metrics.intervals), Object.keys(wanted.intervals));

  const scores = {
    maxSoftmax: (row) => Math.max(...reference.softmax(row, 1)),
    energy: (row) => 3 * Math.log(sum(row.map((value) => Math.exp(value / 3)))),
  };
  for (const [score, of] of Object.entries(scores)) {
    const [inside, outside] = [z, rowsOf(strange)].map((rows) => rows.map(of));
    const by = {
      inDistributionPositive: reference.detect(inside, outside),
      outOfDistributionPositive: reference.detect(
        outside.map((value) => -value),
        inside.map((value) => -value),
      ),
    };
    for (const [convention, measures] of Object.entries(by)) {
      for (const [name, value] of Object.entries(measures)) {
        near(column(`outOfDistribution.${score}.${convention}.${name}`), [value], `${score}, ${convention}: ${name}`, 1e-10);
      }
    }
    const { left, right: ends, inDistribution, outOfDistribution } = metrics[`scores-${score}`];
    const last = ends.length - 1;
    const within = (values, k) => values.filter((value) => value >= left[k] && (value < ends[k] || k === last)).length;
    // An edge is a score: the smallest and the largest of both sets.
    near([left[0], ends[last]], [Math.min(...inside, ...outside), Math.max(...inside, ...outside)], 'edges', 1e-9);
    assert.is(sum(inDistribution), 90);
    assert.is(sum(outOfDistribution), 50);
    const inner = range(last - 1).map((k) => k + 1);
    near(
      inner.map((k) => inDistribution[k]),
      inner.map((k) => within(inside, k)),
      'histogram',
      1,
    );
    near(
      inner.map((k) => outOfDistribution[k]),
      inner.map((k) => within(outside, k)),
      'histogram',
      1,
    );
    const drawn = drawnIn(figures[`scores-${score}`]);
    assert.equal(
      drawn.series.map(({ name }) => name),
      ['in distribution', 'out of distribution'],
    );
    near(
      drawn.series[0].y,
      inDistribution.map((count) => (100 * count) / 90),
      'share',
    );
    near(
      drawn.series[1].y,
      outOfDistribution.map((count) => (100 * count) / 50),
      'share',
    );
    near(drawn.series[1].x, left, 'left');
    near(drawn.series[1].right, ends, 'right');
    near([drawn.rules[0].x], [wanted.outOfDistribution[score].inDistributionPositive.threshold], 'threshold');
    assert.ok(inside.filter((value) => value >= drawn.rules[0].x - 1e-9).length >= 0.95 * 90);
  }

  const classes = drawnIn(figures.classes);
  assert.equal(
    classes.series.map(({ name }) => name),
    ['many', 'medium', 'few'],
  );
  for (const [k, members] of [[0], [1, 2], [3]].entries()) {
    near(
      classes.series[k].x,
      members.map((c) => c - 0.4),
      'left',
    );
    near(
      classes.series[k].right,
      members.map((c) => c + 0.4),
      'right',
    );
    near(
      classes.series[k].y,
      members.map((c) => 100 * perClass[c]),
      'accuracy',
      1e-10,
    );
  }
  near([classes.rules[0].y], [100 * mean(perClass)], 'mean', 1e-10);
  const bins = reference.calibration(z, labels, { temperature: 2, bins: 7 }).counts;
  const p = z.map((row) => Math.max(...reference.softmax(row, 2)));
  const [rightBars, wrongBars] = drawnIn(figures.confidences).series;
  assert.equal([rightBars.name, wrongBars.name], ['decided right', 'decided wrong']);
  const hits = bins.map((_, k) => range(90).filter((i) => right[i] && p[i] > k / 7 && p[i] <= (k + 1) / 7).length);
  near(
    rightBars.y,
    hits.map((count) => (100 * count) / 90),
    'decided right',
    1e-10,
  );
  near(
    wrongBars.y,
    hits.map((count, k) => (100 * (bins[k] - count)) / 90),
    'decided wrong',
    1e-10,
  );

  const percent = (share) => `${Number((100 * share).toPrecision(4))}%`;
  const [accuracy] = page.sections.find(({ title }) => title === 'Accuracy').tables[0].rows;
  const [low, high] = wanted.intervals.accuracy;
  assert.equal(accuracy.slice(0, 2), ['accuracy', `${percent(mean(right.map(Number)))} (${percent(low)} … ${percent(high)})`]);
  assert.match(page.lead, /^Of 90 samples of 4 classes [\d.]+% are decided right\. In brackets are 80% bootstrap intervals\.$/);
  assert.ok(text.includes(percent(low)) && text.includes('ECE at T = 2'));
  const detected = page.sections.find(({ title }) => title.startsWith('Out-of')).tables[0].rows;
  assert.equal(
    detected.map(([title, positive]) => [title, positive]),
    [
      ['Max softmax', 'in distribution'],
      ['Max softmax', 'out of distribution'],
      ['Max logit', 'in distribution'],
      ['Max logit', 'out of distribution'],
      ['Energy', 'in distribution'],
      ['Energy', 'out of distribution'],
    ],
  );
  for (const [k, name] of ['fpr95', 'auroc', 'aupr'].entries()) {
    for (const [r, path] of [
      'maxSoftmax.inDistributionPositive',
      'maxSoftmax.outOfDistributionPositive',
      'maxLogit.inDistributionPositive',
      'maxLogit.outOfDistributionPositive',
      'energy.inDistributionPositive',
      'energy.outOfDistributionPositive',
    ].entries()) {
      assert.ok(detected[r][2 + k].startsWith(percent(column(`outOfDistribution.${path}.${name}`)[0])), `${path}.${name}`);
    }
  }
});

test('evaluate: decision rules by features and prototypes, the mean feature that is given', async () => {
  const { features, prototypes, labels } = randomState({ counts: [40, 30, 20], dim: 4, seed: 8 });
  const random = seededRandom(9);
  const biases = { shape: [3], data: Float64Array.of(0.4, -0.3, 0) };
  const average = { shape: [4], data: random.fillNormal(new Float64Array(4)) };
  const parts = { features, prototypes, biases, labels: { shape: [90], data: labels }, 'feature-mean': average };
  for (const [name, array] of Object.entries(parts)) await writeNpy(at(`${name}.npy`), array);
  const options = Object.fromEntries(Object.keys(parts).map((name) => [name, at(`${name}.npy`)]));
  const { page, arrays } = await record(evaluateCommand, [], { ...options, resamples: '0' });
  const [h, w] = [rowsOf(features), rowsOf(prototypes)];
  const decide = (own, weights) =>
    own.map((row) => reference.argmax(weights.map((weight, c) => sum(weight.map((value, k) => value * row[k])) + biases.data[c])));
  const [moved, centred] = [h.map((row) => minus(row, average.data)), w.map((row) => minus(row, meanRow(w)))];
  const rules = [
    ['argmax ⟨w, h⟩ + b', decide(h, w)],
    ['argmax ⟨w − w̄, h⟩ + b', decide(h, centred)],
    ['argmax ⟨w, h − h̄⟩ + b', decide(moved, w)],
    ['argmax ⟨w − w̄, h − h̄⟩ + b', decide(moved, centred)],
    [
      'argmax ⟨w, h⟩/‖w‖^τ',
      h.map((row) => reference.argmax(w.map((each) => sum(each.map((x, k) => x * row[k])) / Math.hypot(...each)))),
    ],
  ];
  near(arrays.predicted.data, rules[0][1], 'predicted');
  const percent = (share) => `${Number((100 * share).toPrecision(4))}%`;
  const rows = page.sections.find(({ title }) => title === 'Decision rules').tables[0].rows;
  assert.equal(
    rows,
    rules.map(([name, decided]) => [
      name,
      percent(mean(decided.map((c, i) => Number(c === labels[i])))),
      percent(mean(range(3).map((c) => mean(decided.filter((_, i) => labels[i] === c).map((each) => Number(each === c)))))),
      decided.filter((c, i) => c !== rules[0][1][i]).length,
    ]),
  );
  assert.ok(rows[2][3] > 0);
});

const random = { classes: 4, perClass: 3, dim: 5, seed: 7 };

test('simulate: columns are the measures, curves the columns, arrays the states', async () => {
  const config = {
    ...{ dynamics: 'gradientFlow', state: { random }, options: { gamma: 0.1, rates: { features: 1, prototypes: 0.5 } } },
    ...{
      times: { from: 0, to: 60, count: 60 },
      measure: ['loss', 'accuracy', 'minMargin', 'logNorm', 'distanceToLimit', 'meanMargin'],
    },
    ...{
      when: [
        { name: 'accuracy', value: 1, to: 50 },
        { name: 'loss', value: -1e30, to: 3 },
      ],
      save: ['state', 'direction', 'limit'],
    },
  };
  await writeFile(at('flow.json'), JSON.stringify(config));
  const { metrics, arrays, figures, page, json, text, id } = await record(simulateCommand, [at('flow.json')]);
  assert.is(id, 'flow');
  const flow = gradientFlowSync(randomState(random), config.options);
  assert.equal(Object.keys(metrics.metrics), ['time', ...config.measure]);
  const { time: times } = metrics.metrics;
  near(
    times,
    range(60).map((k) => (60 * k) / 59),
    'time',
  );
  const wanted = flow.measureSync(times, config.measure);
  for (const name of config.measure) {
    near(metrics.metrics[name], wanted[name], name, 0);
    const { title, x, y, series } = drawnIn(figures[name]);
    assert.is(title, name);
    assert.is(x.title, 'time');
    near(series[0].x, times, name);
    const grown = Math.max(...wanted[name].map(Math.abs)) > 1e4 * Math.abs(Array.from(wanted[name]).find((value) => value !== 0));
    const logarithmic = name === 'distanceToLimit' || grown;
    assert.is(y.scale, logarithmic ? 'log' : 'linear', name);
    near(series[0].y, logarithmic ? wanted[name].map(Math.abs) : wanted[name], name, 0);
    if (name === 'loss') assert.ok(grown && wanted.loss[59] < 0);
  }
  assert.is(drawnIn(figures.logNorm).y.title, 'log ‖Z‖');
  const [state, direction, limit] = [flow.atSync(60), flow.directionAtSync(60), flow.limitSync()];
  for (const [name, { features, prototypes }] of Object.entries({ state, direction, limit: limit.direction })) {
    near(arrays[`${name}-features`].data, features.data, `${name}-features`, 0);
    near(arrays[`${name}-prototypes`].data, prototypes.data, `${name}-prototypes`, 0);
  }
  near(arrays['state-labels'].data, state.labels, 'labels');
  assert.equal(
    json.events.map((each) => each.at),
    [flow.whenSync(config.when[0]), undefined],
  );
  assert.equal([json.first.time, json.last.time, json.last.loss], [0, 60, wanted.loss[59]]);
  assert.is(json.first.minMargin, wanted.minMargin[0]);
  assert.equal(
    page.sections[1].tables[0].rows.map(([, value]) => value),
    [limit.regime, limit.exponent, limit.rate],
  );
  assert.equal(page.sections[2].tables[0].rows, [
    ['accuracy reaches 1', flow.whenSync(config.when[0])],
    ['loss reaches -1e+30', 'not by 3'],
  ]);
  assert.match(
    page.lead,
    /^gradientFlow of 12 samples in 4 classes and 5 dimensions, computed exactly at 60 times from 0 to 60\.$/,
  );
  assert.match(text, /not by time 3/);
});

test('simulate: steps on a logarithmic axis, those of the range, once each', async () => {
  const options = { gamma: 0.1, learningRates: { features: 0.3, prototypes: 0.2 }, momentum: 0.5 };
  const config = {
    dynamics: 'gradientDescent',
    state: { random },
    options,
    steps: { from: 1, to: 100, count: 9, scale: 'log' },
    measure: ['loss'],
  };
  await writeFile(at('steps.json'), JSON.stringify(config));
  const { metrics, figures, arrays } = await record(simulateCommand, [at('steps.json')]);
  const descent = gradientDescentSync(randomState(random), options);
  const steps = range(9).map((k) => Math.round(100 ** (k / 8)));
  near(metrics.metrics.step, steps, 'steps');
  near(metrics.metrics.loss, descent.measureSync(steps, ['loss']).loss, 'loss', 0);
  assert.is(drawnIn(figures.loss).x.scale, 'log');
  near(arrays['state-features'].data, descent.atSync(100).features.data, 'state', 0);
});

test('simulate: an iterated descent writes what the function measures, at its rows, and goes on from a checkpoint', async () => {
  const problem = { loss: { kind: 'mse' }, weightDecay: { features: 0.01, prototypes: 0.02 } };
  const options = { learningRates: { features: 0.4, prototypes: 0.1 }, momentum: 0.9, nesterov: true, steps: 1500, snapshots: 300 };
  await writeFile(at('iterated.json'), JSON.stringify({ dynamics: 'projectedDescent', state: { random }, problem, options }));
  const state = randomState(random);
  const snapshots = [
    ...projectedDescentSync(
      { ...problem, state },
      { ...options, snapshots: 500, measure: { names: ['loss', 'accuracy', 'minMargin', 'gradientNorm'], every: 3 } },
    ),
  ];
  const wanted = (name) => snapshots.flatMap(({ measures }) => Array.from(measures[name]));
  const { metrics, arrays, figures, json, page } = await record(simulateCommand, [at('iterated.json')], {}, folder);
  assert.equal(Object.keys(metrics.metrics), ['step', 'loss', 'accuracy', 'minMargin', 'gradientNorm']);
  assert.equal([metrics.metrics.step[0], metrics.metrics.step[1], metrics.metrics.step.at(-1)], [0, 3, 1500]); // 1500/500 apart
  for (const [name, values] of Object.entries(metrics.metrics)) {
    near(values, wanted(name), name, 0);
    if (name === 'step') continue;
    const { series, x, y } = drawnIn(figures[name]);
    assert.equal([x.title, y.scale], ['step', name === 'gradientNorm' ? 'log' : 'linear']);
    assert.ok(
      series[0].x.every((step, k) => values[step / 3] === series[0].y[k]),
      name,
    );
    assert.is(json.last[name], values.at(-1));
  }
  const end = snapshots.at(-1);
  near(arrays['state-features'].data, end.state.features.data, 'features', 0);
  near(arrays['state-prototypes'].data, end.state.prototypes.data, 'prototypes', 0);
  near(arrays['state-labels'].data, state.labels, 'labels');
  assert.equal([json.step, json.reason], [1500, 'steps']);
  assert.equal(await loadCheckpoint(at('checkpoint.safetensors')), end.checkpoint);
  assert.match(page.lead, /^Projected descent under mse, to step 1500 of 1500\. All steps are done\.$/);
});

test('simulate: an iterated descent measures the rows and the quantities that it is asked for', async () => {
  const problem = { loss: { kind: 'cross-entropy' } };
  const options = { learningRates: { features: 0.4, prototypes: 0.1 }, steps: 50 };
  const measure = { names: ['featureNorm', 'loss'], every: 7 };
  const config = { dynamics: 'projectedDescent', state: { random }, problem, options: { ...options, measure } };
  await writeFile(at('asked.json'), JSON.stringify(config));
  const { metrics, figures } = await record(simulateCommand, [at('asked.json')], {}, folder);
  const [{ measures }] = projectedDescentSync({ ...problem, state: randomState(random) }, { ...options, measure });
  assert.equal(metrics.metrics.step, [0, 7, 14, 21, 28, 35, 42, 49, 50]);
  assert.equal(Object.keys(figures), ['featureNorm', 'loss']);
  for (const name of ['step', 'featureNorm', 'loss']) near(metrics.metrics[name], measures[name], name, 0);
});

test.run();
