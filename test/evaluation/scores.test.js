import { detection, evaluateSync, outOfDistributionScores, outOfDistributionScoresSync, seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, golden, refuses } from '../helpers.js';

const NAMES = ['maxSoftmax', 'maxLogit', 'energy', 'featureNorm', 'knn', 'mahalanobis', 'relativeMahalanobis'];
const ALL = [...NAMES, 'residual', 'vim', 'neco', 'nci'];

const inputOf = (given, features, Type = Float64Array) => ({
  features: array(features, Type),
  prototypes: array(given.prototypes, Type),
  biases: array(given.biases, Type),
  training: { features: array(given.training, Type), labels: Int32Array.from(given.labels) },
});

/** The largest difference, relative to the largest of the numbers expected. */
const relative = (found, expected) => distance(found, expected) / Math.max(...expected.map(Math.abs));

for (const given of golden('scores')) {
  test(`pytorch-ood's scores: ${given.name}`, async () => {
    for (const side of ['inDistribution', 'outOfDistribution']) {
      const input = inputOf(given, side === 'inDistribution' ? given.features : given.others);
      const found = await outOfDistributionScores(input, given.options);
      assert.equal(Object.keys(found), ALL);
      assert.equal(outOfDistributionScoresSync(input, given.options), found);
      const narrow = outOfDistributionScoresSync(
        inputOf(given, given[side === 'inDistribution' ? 'features' : 'others'], Float32Array),
        given.options,
      );
      for (const [name, expected] of Object.entries(given[side])) {
        assert.ok(relative(found[name], expected) <= 1e-8, `${side}.${name}: ${relative(found[name], expected)}`);
        // Of fewer samples than dimensions rounding of the arrays is what the ridge weighs.
        if (/mahal/i.test(name) && given.training.length < given.training[0].length) continue;
        assert.ok(relative(narrow[name], expected) <= 1e-4, `${side}.${name} of float32: ${relative(narrow[name], expected)}`);
      }
    }
  });

  test(`pytorch-ood's measures of them: ${given.name}`, () => {
    for (const [name, expected] of Object.entries(given.metrics)) {
      const [inside, outside] = [given.inDistribution[name], given.outOfDistribution[name]];
      const others = detection(inside, outside, { positive: 'out-of-distribution' });
      const own = detection(inside, outside, { positive: 'in-distribution' });
      const close = (a, b) => assert.ok(Math.abs(a - b) <= 1e-7, `${name}: ${a}, not ${b}`);
      close(others.auroc, expected.AUROC);
      close(others.fpr95, expected.FPR95TPR);
      close(others.auprTrapezoid, expected['AUPR-OUT']);
      close(own.auprTrapezoid, expected['AUPR-IN']);
    }
  });
}

/** Classes of unequal size in `dim` dimensions, a test set and others. */
function sample({ seed = 0, samples = 90, dim = 7, classes = 3, spread = 0.4, scale = 1 } = {}) {
  const random = seededRandom(seed);
  const means = random.fillNormal(new Float64Array(classes * dim), 1);
  const draw = (count, around) => {
    const labels = Int32Array.from({ length: count }, (_, i) => (i * i + (i >> 2)) % classes);
    const data = random.fillNormal(new Float64Array(count * dim), spread);
    return {
      labels,
      features: {
        shape: [count, dim],
        data: data.map((value, at) => scale * (value + around * means[labels[Math.floor(at / dim)] * dim + (at % dim)])),
      },
    };
  };
  const biases = { shape: [classes], data: random.fillNormal(new Float64Array(classes), 0.2) };
  const prototypes = { shape: [classes, dim], data: means };
  return { training: draw(samples, 1), test: draw(20, 1), others: draw(25, 0.1), prototypes, biases };
}

const rowsOf = ({ shape: [rows, columns], data }) =>
  Array.from({ length: rows }, (_, i) => [...data.subarray(i * columns, (i + 1) * columns)]);
const length = (x) => Math.hypot(...x);
const less = (x, y) => x.map((value, j) => value - y[j]);

test('the k-th neighbour is found among blocks of the training set, whatever the order', () => {
  const { training, test: tested } = sample({ samples: 5000, dim: 3 });
  const unit = (h) => h.map((value) => value / length(h));
  const known = rowsOf(training.features).map(unit);
  for (const neighbors of [1, 2, 7, 4999, 5000]) {
    const { knn } = outOfDistributionScoresSync({ features: tested.features, training }, { neighbors });
    const expected = rowsOf(tested.features).map(
      (h) => -known.map((z) => length(less(unit(h), z))).sort((a, b) => a - b)[neighbors - 1],
    );
    assert.ok(distance(knn, expected) <= 1e-12, `${neighbors}: ${distance(knn, expected)}`);
  }
  // 50 unless told, or as many as there are.
  const usual = (set, neighbors) => outOfDistributionScoresSync({ features: tested.features, training: set }, { neighbors }).knn;
  assert.equal(usual(training), usual(training, 50));
  const few = { features: { shape: [9, 3], data: training.features.data.slice(0, 27) }, labels: training.labels.slice(0, 9) };
  assert.equal(usual(few), usual(few, 9));
});

test('neighbours that are close keep their digits, and a feature of length 0 is 1 from all others', () => {
  const features = array([
    [1, 1e-9],
    [0, 0],
    [5, 0],
  ]);
  const training = {
    features: array([
      [1, 0],
      [2, 0],
      [0, 0],
    ]),
    labels: Int32Array.of(0, 1, 1),
  };
  const { knn } = outOfDistributionScoresSync({ features, training }, { neighbors: 2 });
  assert.ok(Math.abs(knn[0] + 1e-9) <= 1e-24, `${knn[0]}`);
  assert.equal([knn[1], knn[2]], [-1, -0]);
  // Nearer than unit features at a right angle.
  const across = {
    features: array([
      [1, 0],
      [-1, 0],
      [0, 0],
    ]),
    labels: Int32Array.of(0, 1, 1),
  };
  assert.equal(
    outOfDistributionScoresSync({ features: array([[0, 3]]), training: across }, { neighbors: 1 }).knn,
    Float64Array.of(-1),
  );
});

test('a class without training samples has no distance, and does not change the others', () => {
  const { training, test: tested, prototypes } = sample();
  const features = tested.features;
  const wider = { shape: [5, 7], data: Float64Array.from([...prototypes.data, ...new Float64Array(14)]) };
  const [three, five] = [prototypes, wider].map((w) =>
    outOfDistributionScoresSync({ features, training, prototypes: w }, { necoDim: 2 }),
  );
  for (const name of ['knn', 'mahalanobis', 'relativeMahalanobis', 'neco']) assert.equal(five[name], three[name], name);
});

test('without biases the origin of residuals is 0, and logits are those of features', () => {
  const { training, test: tested, prototypes } = sample();
  const logits = array(
    rowsOf(tested.features).map((h) => rowsOf(prototypes).map((w) => w.reduce((sum, value, j) => sum + value * h[j], 0))),
  );
  const given = { features: tested.features, prototypes, training };
  const [found, stated] = [given, { ...given, logits, biases: array([0, 0, 0]) }].map((input) =>
    outOfDistributionScoresSync(input),
  );
  for (const name of ALL) assert.ok(distance(found[name], stated[name]) <= 1e-12, name);
  // All directions are principal, or none is.
  const all = outOfDistributionScoresSync(given, { vimDim: 7 });
  assert.ok(all.residual.every((value) => value === 0));
  assert.is(all.vim, undefined);
  const none = outOfDistributionScoresSync(given, { vimDim: 0 });
  assert.ok(
    distance(
      none.residual,
      rowsOf(tested.features).map((h) => -length(h)),
    ) <= 1e-12,
  );
});

test('prototypes of any rank have an origin: where their logits are the biases in reach, taken back', () => {
  const { training, test: tested } = sample({ dim: 4, classes: 3 });
  // Rank 2 of 3, as prototypes that sum to 0: only biases of mean 0 are in reach.
  const prototypes = array([
    [1, 0, 0, 0],
    [0, 1, 0, 0],
    [-1, -1, 0, 0],
  ]);
  const { residual } = outOfDistributionScoresSync(
    { features: tested.features, prototypes, biases: array([1.5, 0.5, 1]), training },
    { vimDim: 0 },
  );
  // b − mean(b) = (0.5, −0.5, 0), which −W u takes back with u = (−0.5, 0.5, 0, 0).
  const expected = rowsOf(tested.features).map((h) => -length(less(h, [-0.5, 0.5, 0, 0])));
  assert.ok(distance(residual, expected) <= 1e-12);
  // What single precision leaves of a sum of 0 is none of their directions.
  const rounded = { shape: [3, 4], data: prototypes.data.map((value, at) => (at === 10 ? 6e-7 : value)) };
  const nearly = outOfDistributionScoresSync(
    { features: tested.features, prototypes: rounded, biases: array([1.5, 0.5, 1]), training },
    { vimDim: 0 },
  );
  assert.ok(distance(nearly.residual, expected) <= 1e-5);
});

test('features of any size: KNN and NECO do not change, residuals scale', () => {
  const of = (scale) => {
    const { training, test: tested, prototypes } = sample({ scale });
    return outOfDistributionScoresSync({ features: tested.features, training, prototypes });
  };
  const one = of(1);
  for (const scale of [1e30, 1e-30, 1e-100, 1e100]) {
    const found = of(scale);
    for (const name of ALL) assert.ok(found[name].every(Number.isFinite), `${name} at ${scale}`);
    assert.ok(distance(found.knn, one.knn) <= 1e-12, `knn at ${scale}`);
    assert.ok(distance(found.neco, one.neco) <= 1e-12, `neco at ${scale}`);
    const residual = found.residual.map((value) => value / scale);
    assert.ok(distance(residual, one.residual) <= 1e-12, `residual at ${scale}`);
  }
  // The ridge does not count there.
  assert.ok(relative(of(1e30).mahalanobis, of(1e20).mahalanobis) <= 1e-8);
});

test('collapsed features, constant coordinates, features of zeros', () => {
  const { training, test: tested, prototypes } = sample({ spread: 0 });
  const found = outOfDistributionScoresSync({ features: tested.features, training, prototypes }, { vimDim: 3 });
  // Every sample lies at its mean, and training in the three directions of the means.
  assert.ok(
    found.mahalanobis.every((value) => value <= 0 && value >= -1e-6),
    String(found.mahalanobis),
  );
  assert.is(found.vim, undefined);
  const constant = (set) => ({
    ...set,
    features: { shape: set.features.shape, data: set.features.data.map((value, at) => (at % 7 === 2 ? 0.1 : value)) },
  });
  const one = sample();
  const input = { features: constant(one.test).features, training: constant(one.training), prototypes };
  for (const [name, values] of Object.entries(outOfDistributionScoresSync(input))) assert.ok(values.every(Number.isFinite), name);
  assert.ok(outOfDistributionScoresSync(input).neco.every((value) => value > 0 && value <= 1 + 1e-12));
  // A constant coordinate is as good as none.
  const without = ({ features: { shape, data } }) => ({ shape: [shape[0], 6], data: data.filter((_, at) => at % 7 !== 2) });
  const narrow = { features: without(one.test), training: { ...one.training, features: without(one.training) } };
  const neco = (given) => outOfDistributionScoresSync(given, { necoDim: 2 }).neco;
  assert.ok(distance(neco(input), neco(narrow)) <= 1e-12);
  const zero = (shape) => ({ shape, data: new Float64Array(shape[0] * shape[1]) });
  const empty = outOfDistributionScoresSync({
    features: zero([4, 7]),
    training: { features: zero([9, 7]), labels: new Int32Array(9) },
    prototypes: zero([3, 7]),
  });
  for (const name of ['knn', 'mahalanobis', 'relativeMahalanobis', 'residual', 'neco', 'nci'])
    assert.ok(
      empty[name].every((value) => Math.abs(value) === 0),
      name,
    );
  assert.is(empty.vim, undefined);
});

test('one sample, one dimension', () => {
  const training = { features: array([[2], [3], [5]]), labels: Int32Array.of(0, 0, 1) };
  const found = outOfDistributionScoresSync({ features: array([[4]]), prototypes: array([[-1], [1]]), training });
  // S = ½ around 2.5 and 5, T = 14/3 around 10/3.
  assert.ok(Math.abs(found.mahalanobis[0] + 1 / (2 * (0.5 + 1e-6))) <= 1e-12);
  assert.ok(Math.abs(found.relativeMahalanobis[0] + 1 / (0.5 + 1e-6) - 4 / 9 / (14 / 3 + 1e-6)) <= 1e-12);
  assert.equal([found.knn[0], found.neco[0]], [-0, 1]);
});

test('refuses what it cannot score', async () => {
  const { training, test: tested, prototypes, biases } = sample();
  const { features } = tested;
  const bad = (input, options) => () => outOfDistributionScores({ features, training, prototypes, biases, ...input }, options);
  const spoil = (given, at, value) => ({ shape: given.shape, data: given.data.map((each, i) => (i === at ? value : each)) });
  await refuses('LP_OPTION', /neighbors is 91; expected a finite number of at most 90/, bad({}, { neighbors: 91 }));
  await refuses('LP_OPTION', /neighbors is 0; expected an integer of at least 1/, bad({}, { neighbors: 0 }));
  await refuses('LP_OPTION', /vimDim is 8/, bad({}, { vimDim: 8 }));
  await refuses('LP_OPTION', /necoDim is 0/, bad({}, { necoDim: 0 }));
  await refuses('LP_OPTION', /nciAlpha is -1/, bad({}, { nciAlpha: -1 }));
  await refuses('LP_OPTION', /did you mean neighbors/, bad({}, { neighbours: 3 }));
  await refuses('LP_OPTION', /options\.vimDim is given without training/, bad({ training: undefined }, { vimDim: 1 }));
  await refuses('LP_OPTION', /training is given without features/, bad({ features: undefined, logits: array([[1, 2, 3]]) }));
  await refuses('LP_SHAPE', /features have 2 columns, but training\.features have 7/, () =>
    outOfDistributionScores({ features: array([[1, 2]]), training }),
  );
  await refuses('LP_SHAPE', /prototypes are \[3, 2\], but training\.features have 7 columns/, () =>
    outOfDistributionScores({
      features,
      training,
      logits: array([[1, 2, 3]]),
      prototypes: array([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
    }),
  );
  await refuses(
    'LP_NOT_FINITE',
    /training\.features\[2, 3\] is NaN/,
    bad({ training: { ...training, features: spoil(training.features, 17, Number.NaN) } }),
  );
  await refuses('LP_NOT_FINITE', /features\[0, 3\] is Infinity/, bad({ features: spoil(features, 3, Number.POSITIVE_INFINITY) }));
  await refuses('LP_NOT_FINITE', /prototypes.*NaN/, bad({ prototypes: spoil(prototypes, 3, Number.NaN) }));
  await refuses(
    'LP_LABEL',
    /labels\[1\] is 3; expected 0 … 2/,
    bad({ training: { ...training, labels: training.labels.map((label, i) => (i === 1 ? 3 : label)) } }),
  );
  await refuses(
    'LP_LABEL',
    /20 entries, but training\.features have 90 rows/,
    bad({ training: { ...training, labels: tested.labels } }),
  );
  await refuses('LP_LABEL', /labels are undefined/, bad({ training: { features: training.features } }));
  await refuses('LP_OPTION', /training\.feature is not known/, bad({ training: { feature: 1 } }));
  const huge = sample({ scale: 1e200 });
  await refuses('LP_OVERFLOW', /scale the features down/, () => outOfDistributionScores({ features, training: huge.training }));
  const pending = outOfDistributionScores({ features, training }, { signal: AbortSignal.abort() });
  await refuses('LP_ABORTED', /./, () => pending);
});

test('arrays are copied at the call', async () => {
  const one = sample();
  const input = { features: one.test.features, training: one.training, prototypes: one.prototypes, biases: one.biases };
  const expected = outOfDistributionScoresSync(input);
  const pending = outOfDistributionScores(input);
  for (const { data } of [input.features, input.training.features, input.prototypes, input.biases]) data.fill(Number.NaN);
  input.training.labels.fill(0);
  assert.equal(await pending, expected);
});

test('evaluate scores sets by their names, and averages over those that are near and far', async () => {
  const { training, test: tested, others, prototypes, biases } = sample();
  const middle = sample({ seed: 4 }).others;
  const sets = [
    { name: 'svhn', distance: 'far', features: others.features },
    { name: 'cifar-100', distance: 'near', features: middle.features },
    { name: 'lsun', distance: 'far', features: training.features },
  ];
  const input = { ...tested, prototypes, biases, training };
  const options = { resamples: 4, neighbors: 3, vimDim: 2, nciAlpha: 0.1 };
  const found = evaluateSync({ ...input, outOfDistribution: sets }, options);
  assert.is(found.outOfDistribution, undefined);
  assert.equal(Object.keys(found.outOfDistributionSets), ['svhn', 'cifar-100', 'lsun']);
  for (const { name, distance: far, features } of sets) {
    const { scores, samples, distance: said } = found.outOfDistributionSets[name];
    const alone = evaluateSync({ ...input, outOfDistribution: { features } }, options);
    assert.equal([samples, said], [features.shape[0], far]);
    assert.equal(scores, alone.outOfDistribution);
    assert.equal(Object.keys(scores), ALL);
    assert.equal(
      found.intervals[`outOfDistributionSets.${name}.scores.neco.inDistributionPositive.auroc`],
      alone.intervals['outOfDistribution.neco.inDistributionPositive.auroc'],
    );
    const expected = [tested.features, features].map((h) =>
      outOfDistributionScoresSync({ features: h, prototypes, biases, training }, { neighbors: 3, vimDim: 2, nciAlpha: 0.1 }),
    );
    for (const score of ALL.slice(1)) {
      const { positive, ...want } = detection(expected[0][score], expected[1][score], { positive: 'out-of-distribution' });
      const { histogram, outOfDistributionPositive } = scores[score];
      for (const key of ['auroc', 'fpr95', 'aupr'])
        assert.ok(Math.abs(outOfDistributionPositive[key] - want[key]) <= 1e-12, `${score} ${key} ${positive} ${histogram}`);
    }
  }
  const { near, far, all } = found.outOfDistributionMeans;
  const auroc = (name) => found.outOfDistributionSets[name].scores.vim.inDistributionPositive.auroc;
  const mean = (means) => means.vim.inDistributionPositive.auroc;
  assert.is(mean(near), auroc('cifar-100'));
  assert.ok(Math.abs(mean(far) - (auroc('svhn') + auroc('lsun')) / 2) <= 1e-15);
  assert.ok(Math.abs(mean(all) - (auroc('svhn') + auroc('lsun') + auroc('cifar-100')) / 3) <= 1e-15);
});

test('evaluate names the set that does not fit, and warns of what it leaves out', async () => {
  const { training, test: tested, others, prototypes } = sample();
  const { features } = others;
  const of = (outOfDistribution, more) => () =>
    evaluateSync({ ...tested, prototypes, training, outOfDistribution, ...more }, { resamples: 0 });
  await refuses(
    'LP_SHAPE',
    /outOfDistribution\.svhn\.features have 2 columns, but features have 7/,
    of([
      { name: 'lsun', features },
      { name: 'svhn', features: array([[1, 2]]) },
    ]),
  );
  await refuses(
    'LP_SHAPE',
    /outOfDistribution\.svhn\.logits have 2 columns, but logits have 3/,
    of([{ name: 'svhn', logits: array([[1, 2]]) }]),
  );
  await refuses(
    'LP_NOT_FINITE',
    /outOfDistribution\.svhn\.features\[0, 1\] is NaN/,
    of([{ name: 'svhn', features: { shape: [1, 7], data: new Float64Array(7).fill(Number.NaN, 1) } }], {
      prototypes: undefined,
      logits: { shape: [20, 3], data: new Float64Array(60) },
    }),
  );
  await refuses(
    'LP_OPTION',
    /outOfDistribution\[1\]\.name is "svhn", the name of another/,
    of([
      { name: 'svhn', features },
      { name: 'svhn', features },
    ]),
  );
  await refuses('LP_OPTION', /\[0\]\.name is "a\/b"; expected letters/, of([{ name: 'a/b', features }]));
  await refuses('LP_OPTION', /\[0\]\.name is missing/, of([{ features }]));
  await refuses('LP_OPTION', /\[0\]\.distance is "close"/, of([{ name: 'a', features, distance: 'close' }]));
  await refuses('LP_OPTION', /outOfDistribution\[0\]\.feature is not known/, of([{ name: 'a', feature: features }]));
  await refuses('LP_OPTION', /outOfDistribution\.a has nothing to compare/, of([{ name: 'a' }]));
  await refuses('LP_OPTION', /training is given without features/, () =>
    evaluateSync({ logits: { shape: [20, 3], data: new Float64Array(60) }, labels: tested.labels, training }),
  );
  const flat = sample({ spread: 0 });
  const { warnings } = evaluateSync(
    {
      ...flat.test,
      prototypes: flat.prototypes,
      training: { ...flat.training, labels: flat.training.labels.map((label) => Math.min(label, 1)) },
      outOfDistribution: { features: flat.others.features },
    },
    { resamples: 0 },
  );
  assert.match(warnings.join('\n'), /ViM has no weight/);
  assert.match(warnings.join('\n'), /1 of the classes has no training sample/);
});

test.run();
