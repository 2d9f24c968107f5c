import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import {
  calibrationSync,
  classifierLogitsSync,
  detection,
  evaluate,
  evaluateSync,
  fitTemperatureSync,
  outOfDistributionScoresSync,
  seededRandom,
  writeNpy,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, golden, refuses } from '../helpers.js';
import { argmax, mean } from './reference.js';

const random = (seed) => {
  const source = seededRandom(seed);
  return (rows, columns, scale = 1) => ({
    shape: [rows, columns],
    data: source.fillNormal(new Float64Array(rows * columns), scale),
  });
};

/** A classifier's output on samples that its features tell apart somewhat, and on others. */
function sample({ samples = 60, classes = 4, dim = 6, seed = 0 } = {}) {
  const draw = random(seed);
  const [features, prototypes, strange] = [draw(samples, dim), draw(classes, dim, 2), draw(samples + 7, dim, 0.6)];
  const labels = Int32Array.from({ length: samples }, (_, i) => (i * 7 + (i >> 3)) % classes);
  features.data.forEach((value, i) => {
    features.data[i] = value + 0.5 * prototypes.data[labels[Math.floor(i / dim)] * dim + (i % dim)];
  });
  const biases = { shape: [classes], data: Float64Array.from({ length: classes }, (_, c) => 0.3 * c) };
  return { features, prototypes, biases, labels, outOfDistribution: { features: strange } };
}

const plain = (value) => JSON.stringify(value, (_, each) => (ArrayBuffer.isView(each) ? [...each] : each));

test('accuracies equal their definitions', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 2, max: 6 }), fc.nat(), (samples, classes, seed) => {
      const { features, prototypes, labels } = sample({ samples, classes, seed });
      const { accuracy, balancedAccuracy, perClass, predicted, groups, counts, decisions, warnings } = evaluateSync(
        { features, prototypes, labels, counts: Array.from({ length: classes }, (_, c) => 500 >> (3 * c)) },
        { resamples: 0 },
      );
      const w = Array.from({ length: classes }, (_, c) => prototypes.data.subarray(6 * c, 6 * c + 6));
      const right = Array.from(labels, (label, i) => {
        const h = features.data.subarray(6 * i, 6 * i + 6);
        const decided = argmax(w.map((row) => row.reduce((sum, value, j) => sum + value * h[j], 0)));
        assert.is(predicted[i], decided);
        return decided === label ? 1 : 0;
      });
      assert.ok(Math.abs(accuracy - mean(right)) <= 1e-15);
      const expected = w.map((_, c) => mean(right.filter((_, i) => labels[i] === c)));
      const known = expected.filter((value) => !Number.isNaN(value));
      assert.is(plain(perClass), plain(expected));
      assert.ok(Math.abs(balancedAccuracy - mean(known)) <= 1e-15);
      assert.equal(
        [...counts],
        w.map((_, c) => labels.filter((label) => label === c).length),
      );
      assert.equal(
        warnings.some((each) => /no test sample/.test(each)),
        known.length < classes,
      );
      // 500, 62, 7, 0, 0 …
      assert.equal([groups.many.classes, groups.medium.classes, groups.few.classes], [[0], [1], w.map((_, c) => c).slice(2)]);
      assert.ok(Object.is(groups.many.accuracy, expected[0]) && Object.is(groups.medium.accuracy, expected[1]));
      assert.equal([decisions.plain.changed, decisions.centeredPrototypes.changed], [0, 0]);
      assert.is(decisions.centered.accuracy, decisions.centeredFeatures.accuracy);
    }),
  );
});

test('the limits of many and few are inside of medium', () => {
  const { labels, features, prototypes } = sample({ classes: 5 });
  const logits = { shape: [12, 5], data: features.data.subarray(0, 60) };
  const members = (options) => {
    const { groups } = evaluateSync(
      { logits, labels: labels.slice(0, 12), counts: [101, 100, 20, 19, 0] },
      { resamples: 0, ...options },
    );
    return Object.values(groups).map(({ classes }) => classes);
  };
  assert.equal(members({}), [[0], [1, 2], [3, 4]]);
  assert.equal(members({ groups: { many: 19, few: 10 } }), [[0, 1, 2], [3], [4]]);
  assert.ok(prototypes);
});

test('its parts are what the functions of the parts give', async () => {
  const { features, prototypes, biases, labels, outOfDistribution } = sample();
  const options = { resamples: 0, bins: 9, temperature: 2, energyTemperature: 3 };
  const arrays = { features, prototypes, biases, labels, outOfDistribution };
  const found = await evaluate(arrays, options);
  assert.is(plain(evaluateSync(arrays, options)), plain(found));
  const logitsOf = (h) => {
    const [rows, dim] = h.shape;
    const data = new Float64Array(rows * 4);
    for (let i = 0; i < rows; i++)
      for (let c = 0; c < 4; c++) {
        for (let j = 0; j < dim; j++) data[i * 4 + c] += h.data[i * dim + j] * prototypes.data[c * dim + j];
        data[i * 4 + c] += biases.data[c];
      }
    return { shape: [rows, 4], data };
  };
  const [logits, strange] = [logitsOf(features), logitsOf(outOfDistribution.features)];
  const near = (a, b) => assert.ok(Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(b)), `${a}, not ${b}`);
  near(found.calibration.ece, calibrationSync(logits, labels, { bins: 9, temperature: 2 }).ece);
  const { temperature, nll } = fitTemperatureSync(logits, labels);
  near(found.temperature.temperature, temperature);
  near(found.fitted.nll, nll);
  near(found.fitted.ece, calibrationSync(logits, labels, { bins: 9, temperature }).ece);
  const [inside, outside] = [
    outOfDistributionScoresSync({ logits, features }, { temperature: 3 }),
    outOfDistributionScoresSync({ logits: strange, features: outOfDistribution.features }, { temperature: 3 }),
  ];
  for (const [score, { inDistributionPositive, outOfDistributionPositive, histogram }] of Object.entries(found.outOfDistribution)) {
    for (const each of [inDistributionPositive, outOfDistributionPositive]) {
      const expected = detection(inside[score], outside[score], { positive: each.positive });
      for (const name of ['fpr95', 'auroc', 'aupr', 'auprTrapezoid', 'threshold']) near(each[name], expected[name]);
    }
    const sum = (values) => values.reduce((all, value) => all + value, 0);
    assert.equal([sum(histogram.inDistribution), sum(histogram.outOfDistribution)], [60, 67]);
    near(histogram.edges[0], Math.min(...inside[score], ...outside[score]));
    near(histogram.edges.at(-1), Math.max(...inside[score], ...outside[score]));
  }
  assert.equal(Object.keys(found.outOfDistribution), ['maxSoftmax', 'maxLogit', 'energy', 'featureNorm']);
});

test('max softmax tells apart what rounds to 1', () => {
  const logits = array([
    [100, 0],
    [90, 0],
    [0, 80],
  ]);
  const strange = {
    logits: array([
      [70, 0],
      [60, 0],
    ]),
  };
  const { outOfDistribution, confidences } = evaluateSync(
    { logits, labels: Int32Array.of(0, 0, 1), outOfDistribution: strange },
    { resamples: 0 },
  );
  assert.equal([...confidences], [1, 1, 1]);
  assert.equal(
    [outOfDistribution.maxSoftmax.inDistributionPositive.auroc, outOfDistribution.maxSoftmax.inDistributionPositive.fpr95],
    [1, 0],
  );
  assert.is(outOfDistribution.maxSoftmax.inDistributionPositive.threshold, 1);
});

test('intervals hold their measures, repeat with the seed and narrow with samples', async () => {
  const { features, prototypes, labels, outOfDistribution } = sample({ samples: 400, seed: 4 });
  const arrays = { features, prototypes, labels, counts: [200, 50, 50, 5], outOfDistribution };
  const options = { resamples: 300, seed: 1 };
  const found = await evaluate(arrays, options);
  assert.equal(evaluateSync(arrays, options).intervals, found.intervals);
  assert.not.equal(evaluateSync(arrays, { ...options, seed: 2 }).intervals, found.intervals);
  for (const [path, [low, high]] of Object.entries(found.intervals)) {
    const value = path.split('.').reduce((part, key) => part[key], found);
    assert.type(value, 'number', path);
    assert.ok(low <= high, path);
    // Errors of calibration are positive, so that drawing anew adds to them.
    if (!/ece|mce/.test(path)) assert.ok(low <= value && value <= high, `${path}: ${low} ${value} ${high}`);
  }
  // The binomial interval of 400 samples.
  const [low, high] = found.intervals.accuracy;
  const deviation = Math.sqrt((found.accuracy * (1 - found.accuracy)) / 400);
  assert.ok(Math.abs(high - low - 3.92 * deviation) < 0.8 * deviation, `${high - low}`);
  const [inner, outer] = evaluateSync(arrays, { ...options, confidence: 0.5 }).intervals.accuracy;
  assert.ok(inner > low && outer < high);
  for (const name of [
    'accuracy',
    'balancedAccuracy',
    'groups.few.accuracy',
    'calibration.ece',
    'fitted.nll',
    'outOfDistribution.energy.outOfDistributionPositive.fpr95',
  ])
    assert.ok(name in found.intervals, name);
  assert.equal(evaluateSync(arrays, { resamples: 0 }).intervals, {});
});

test('measures of detection drawn anew are those of the drawn samples', () => {
  // A drawing of a set of one sample is the set itself.
  const logits = array([[2, 0]]);
  const { intervals, outOfDistribution } = evaluateSync(
    { logits, labels: Int32Array.of(0), outOfDistribution: { logits: array([[1, 0]]) } },
    { resamples: 5 },
  );
  assert.equal(intervals['outOfDistribution.energy.inDistributionPositive.auroc'], [1, 1]);
  assert.is(outOfDistribution.energy.inDistributionPositive.auroc, 1);
});

test('cosines, perfect and worthless logits come with a warning', () => {
  const warningsOf = (rows, labels, options = {}) =>
    evaluateSync({ logits: array(rows), labels: Int32Array.from(labels) }, { resamples: 0, ...options });
  const cosines = [
    [0.9, -0.4, 0.1],
    [0.2, 0.7, -0.9],
    [0.1, 0.3, 0.2],
  ];
  assert.match(warningsOf(cosines, [0, 1, 2]).warnings.join(), /as cosines do.*no confidence exceeds 0\.58/);
  assert.equal(warningsOf(cosines, [0, 1, 2], { temperature: 0.05 }).warnings, []);
  const perfect = warningsOf(
    [
      [9, 1],
      [1, 9],
    ],
    [0, 1],
  );
  assert.match(perfect.warnings.join(), /Every sample is decided right/);
  assert.is(perfect.fitted, undefined);
  const worthless = warningsOf(
    [
      [9, 1],
      [1, 9],
    ],
    [1, 0],
  );
  assert.match(worthless.warnings.join(), /infinite/);
  assert.is(worthless.fitted.nll, Math.log(2));
});

test('logits that are not those of the features and prototypes come with a warning', () => {
  const { features, prototypes, labels } = sample();
  const logits = classifierLogitsSync({ features, prototypes });
  const warningsOf = () => evaluateSync({ logits, features, prototypes, labels }, { resamples: 0 }).warnings.join();
  assert.not.match(warningsOf(), /samples are not/);
  logits.data[9] += 1;
  logits.data[13] += 1;
  assert.match(warningsOf(), /The logits of 2 samples are not ⟨w, h⟩ \+ b/);
});

test('float32 arrays, and copies of them at the call', async () => {
  const { features, prototypes, labels, outOfDistribution } = sample();
  const narrow = (value) => ({ shape: value.shape, data: Float32Array.from(value.data) });
  const arrays = {
    features: narrow(features),
    prototypes: narrow(prototypes),
    labels: { shape: [60], data: labels },
    outOfDistribution: { features: narrow(outOfDistribution.features) },
  };
  const expected = plain(evaluateSync(arrays, { resamples: 3 }));
  const pending = evaluate(arrays, { resamples: 3 });
  arrays.features.data.fill(Number.NaN);
  arrays.outOfDistribution.features.data.fill(Number.NaN);
  arrays.labels.data.fill(-3);
  assert.is(plain(await pending), expected);
});

test('a run folder is evaluated by its path', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  try {
    await refuses('LP_FILE', /no run folder.*arrays\/labels\.npy/, () => evaluate(folder));
    await mkdir(join(folder, 'arrays'));
    const write = (name, value) => writeNpy(join(folder, 'arrays', `${name}.npy`), value);
    const { features, prototypes, biases, labels, outOfDistribution } = sample();
    await write('features', features);
    await write('prototypes', prototypes);
    await refuses('LP_FILE', /no run folder/, () => evaluate(folder));
    await write('labels', { shape: [60], data: labels });
    await write('biases', biases);
    await write('counts', { shape: [4], data: Int32Array.of(500, 50, 20, 3) });
    await write('ood-features', outOfDistribution.features);
    const arrays = { features, prototypes, biases, labels, outOfDistribution, counts: [500, 50, 20, 3] };
    assert.is(plain(await evaluate(folder, { resamples: 9 })), plain(evaluateSync(arrays, { resamples: 9 })));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('stops when told, and says how far it is', async () => {
  const { features, prototypes, labels } = sample({ samples: 3000 });
  const shares = [];
  await evaluate({ features, prototypes, labels }, { resamples: 10, onProgress: (share) => shares.push(share) });
  assert.ok(shares.length > 2 && shares.every((share, i) => share >= (shares[i - 1] ?? 0) && share <= 1), String(shares));
  const controller = new AbortController();
  const pending = evaluate({ features, prototypes, labels }, { resamples: 1e6, signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await refuses('LP_ABORTED', /./, () => pending);
  await refuses('LP_ABORTED', /./, () => evaluate({ features, prototypes, labels }, { signal: AbortSignal.abort() }));
});

test('refuses what it cannot evaluate', async () => {
  const { features, prototypes, biases, labels } = sample();
  const [{ logits: rows }] = golden('evaluation');
  const logits = array(rows.slice(0, 60));
  const bad = (arrays, options) => () => evaluate({ labels, ...arrays }, { resamples: 0, ...options });
  await refuses('LP_OPTION', /logits are missing/, bad({}));
  await refuses('LP_OPTION', /logits are missing/, bad({ features }));
  await refuses('LP_OPTION', /prototypes are given without features/, bad({ logits, prototypes }));
  await refuses('LP_OPTION', /arrays\.logit is not known; did you mean logits/, bad({ logit: logits }));
  await refuses(
    'LP_OPTION',
    /arrays\.outOfDistribution\.logit is not known/,
    bad({ logits, outOfDistribution: { logit: logits } }),
  );
  await refuses('LP_OPTION', /nothing to compare/, bad({ logits, outOfDistribution: {} }));
  await refuses('LP_OPTION', /nothing to compare/, bad({ logits, outOfDistribution: { features } }));
  await refuses('LP_SHAPE', /4 columns, but logits have 6/, bad({ logits, outOfDistribution: { logits: array([[1, 2, 3, 4]]) } }));
  await refuses(
    'LP_SHAPE',
    /outOfDistribution.features have 3 columns, but features have 6/,
    bad({ features, prototypes, outOfDistribution: { features: array([[1, 2, 3]]) } }),
  );
  await refuses(
    'LP_SHAPE',
    /logits are \[400, 6\], but features and prototypes make them \[60, 4\]/,
    bad({ logits: array(rows), features, prototypes, labels: new Int32Array(400) }),
  );
  await refuses(
    'LP_SHAPE',
    /3 columns, but features have 6/,
    bad({ logits, features, outOfDistribution: { features: array([[1, 2, 3]]) } }),
  );
  const gone = labels.slice();
  structuredClone(gone, { transfer: [gone.buffer] });
  await refuses('LP_DETACHED', /labels have been detached/, bad({ logits, labels: gone }));
  await refuses('LP_LABEL', /labels are Array/, bad({ logits, labels: [...labels] }));
  await refuses('LP_SHAPE', /counts have 2 entries; expected 6/, bad({ logits, labels: labels.map(() => 0), counts: [1, 2] }));
  await refuses('LP_OPTION', /counts\[1\] is -1/, bad({ logits, counts: [1, -1, 1, 1, 1, 1] }));
  await refuses('LP_LABEL', /labels are undefined/, bad({ logits, labels: undefined }));
  await refuses('LP_LABEL', /60 entries, but logits have 400 rows/, bad({ logits: array(rows) }));
  await refuses(
    'LP_NOT_FINITE',
    /outOfDistribution\.logits\[0, 2\] is NaN/,
    bad({ logits, outOfDistribution: { logits: array([[1, 2, Number.NaN, 0, 0, 0]]) } }),
  );
  await refuses('LP_OPTION', /options\.resamples is 1\.5/, bad({ logits }, { resamples: 1.5 }));
  await refuses('LP_OPTION', /options\.confidence is 0/, bad({ logits }, { confidence: 0 }));
  await refuses('LP_OPTION', /did you mean resamples/, bad({ logits }, { resample: 3 }));
  await refuses('LP_OPTION', /options\.groups\.few is 200/, bad({ logits, counts: [1, 1, 1, 1, 1, 1] }, { groups: { few: 200 } }));
  await refuses('LP_OPTION', /groups is given without counts/, bad({ logits }, { groups: { few: 2 } }));
  await refuses('LP_OPTION', /arrays is missing/, () => evaluate());
  assert.ok(biases);
});

test.run();
