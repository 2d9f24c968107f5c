// Decisions for classes of unequal size against their definitions in plain loops, and what evaluate makes of them.
import {
  calibrationSync,
  evaluateSync,
  fitTemperatureSync,
  logitAdjustment,
  logitAdjustmentSync,
  nearestClassMean,
  nearestClassMeanSync,
  seededRandom,
  tauNormalization,
  tauNormalizationSync,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, refuses } from '../helpers.js';
import { argmax, mean, sum } from './reference.js';

const random = seededRandom(5);
const draw = (rows, columns, scale = 1, Type = Float64Array) => ({
  shape: [rows, columns],
  data: Type.from(random.fillNormal(new Float64Array(rows * columns), scale)),
});
const rowsOf = ({ shape: [rows, columns], data }) =>
  Array.from({ length: rows }, (_, i) => [...data.subarray(i * columns, (i + 1) * columns)]);
const dot = (x, y) => sum(x.map((value, j) => value * y[j]));
const counts = [60, 25, 4];

test('logit adjustment subtracts τ log π', async () => {
  const logits = draw(40, 3);
  for (const [options, tau] of [
    [{}, 1],
    [{ tau: 0 }, 0],
    [{ tau: 2.5 }, 2.5],
  ]) {
    const expected = rowsOf(logits).flatMap((z) => z.map((value, c) => value - tau * Math.log(counts[c] / 89)));
    const found = logitAdjustmentSync(logits, counts, options);
    assert.equal(found.shape, [40, 3]);
    assert.ok(distance(found.data, expected) <= 1e-14);
    assert.equal(await logitAdjustment(logits, Int32Array.from(counts), options), found);
  }
  const masked = logitAdjustmentSync(array([[1, Number.NEGATIVE_INFINITY, 2]], Float32Array), counts);
  assert.instance(masked.data, Float32Array);
  assert.is(masked.data[1], Number.NEGATIVE_INFINITY);
});

test('τ-normalization divides by lengths to the power τ, and leaves a prototype of length 0', async () => {
  for (const Type of [Float64Array, Float32Array]) {
    const [features, prototypes] = [draw(30, 5, 1, Type), draw(4, 5, 3, Type)];
    prototypes.data.fill(0, 10, 15);
    for (const [options, tau] of [
      [{}, 1],
      [{ tau: 0 }, 0],
      [{ tau: 0.5 }, 0.5],
    ]) {
      const expected = rowsOf(features).flatMap((h) =>
        rowsOf(prototypes).map((w) => dot(w, h) / (w.every((value) => value === 0) ? 1 : Math.hypot(...w) ** tau)),
      );
      const found = tauNormalizationSync({ features, prototypes }, options);
      assert.instance(found.data, Type);
      assert.ok(distance(found.data, expected) <= (Type === Float64Array ? 1e-13 : 1e-5));
      assert.equal(await tauNormalization({ features, prototypes }, options), found);
    }
  }
});

test('the nearest class mean is that of the training set; a class without samples is nobody’s', async () => {
  const [features, known] = [draw(30, 5), draw(50, 5)];
  const labels = Int32Array.from({ length: 50 }, (_, i) => [0, 2, 2, 3][i % 4]);
  const means = [0, 1, 2, 3].map((label) => rowsOf(known).filter((_, i) => labels[i] === label));
  const expected = rowsOf(features).map((h) =>
    means.map((rows) => {
      if (rows.length === 0) return Number.NEGATIVE_INFINITY;
      return -sum(h.map((value, j) => (value - mean(rows.map((row) => row[j]))) ** 2));
    }),
  );
  const training = { features: known, labels };
  const found = nearestClassMeanSync(features, training);
  assert.equal(found.shape, [30, 4]);
  for (const [i, row] of rowsOf(found).entries()) {
    assert.is(argmax(row), argmax(expected[i]));
    assert.is(row[1], Number.NEGATIVE_INFINITY);
    for (const c of [0, 2, 3]) assert.ok(Math.abs(row[c] - expected[i][c]) <= 1e-12);
  }
  assert.equal(await nearestClassMean(features, training), found);
  // A large common part costs few digits, and no distance is below 0.
  const shifted = (given) => ({ shape: given.shape, data: given.data.map((value) => value + 1e6) });
  const far = nearestClassMeanSync(shifted(features), { features: shifted(known), labels });
  for (const [i, value] of found.data.entries()) if (value > -1e9) assert.ok(Math.abs(far.data[i] - value) <= 1e-7);
  const own = nearestClassMeanSync(known, { features: known, labels: labels.map((_, i) => i) });
  assert.ok(own.data.every((value) => value <= 0));
});

test('evaluate decides by every rule that the arrays allow', () => {
  const [features, prototypes, known] = [draw(80, 5), draw(3, 5), draw(89, 5, 2)];
  const labels = Int32Array.from({ length: 80 }, (_, i) => i % 3);
  const training = { features: known, labels: Int32Array.from({ length: 89 }, (_, i) => (i < 60 ? 0 : i < 85 ? 1 : 2)) };
  const biases = array([0.5, 0, -0.5]);
  const options = { resamples: 0, adjustmentTau: 2, normalizationTau: 0.5, groups: { many: 50, few: 10 } };
  const input = { features, prototypes, biases, labels };
  const { decisions } = evaluateSync({ ...input, counts, training }, options);
  const plain = rowsOf(features).map((h) => rowsOf(prototypes).map((w, c) => dot(w, h) + biases.data[c]));
  const decided = {
    plain: plain.map(argmax),
    logitAdjustment: rowsOf(logitAdjustmentSync(array(plain), counts, { tau: 2 })).map(argmax),
    tauNormalization: rowsOf(tauNormalizationSync({ features, prototypes }, { tau: 0.5 })).map(argmax),
    nearestClassMean: rowsOf(nearestClassMeanSync(features, training)).map(argmax),
  };
  for (const [rule, predicted] of Object.entries(decided)) {
    const right = (label) => mean(predicted.flatMap((each, i) => (labels[i] === label ? [each === label ? 1 : 0] : [])));
    const found = decisions[rule];
    assert.ok(Math.abs(found.accuracy - mean(predicted.map((each, i) => (each === labels[i] ? 1 : 0)))) <= 1e-15, rule);
    assert.ok(Math.abs(found.balancedAccuracy - mean([0, 1, 2].map(right))) <= 1e-15, rule);
    assert.equal([found.groups.many.accuracy, found.groups.medium.accuracy, found.groups.few.accuracy], [0, 1, 2].map(right));
    assert.is(found.changed, predicted.filter((each, i) => each !== decided.plain[i]).length, rule);
  }
  assert.ok(new Set(Object.values(decisions).map(({ changed }) => changed)).size > 2);
  const rules = (more) => Object.keys(evaluateSync({ ...input, ...more }, { resamples: 0 }).decisions);
  const centered = ['centeredPrototypes', 'centeredFeatures', 'centered'];
  assert.equal(rules({}), ['plain', ...centered, 'tauNormalization']);
  assert.equal(rules({ counts }), ['plain', ...centered, 'logitAdjustment', 'tauNormalization']);
  const logits = array(plain);
  const of = (more) => evaluateSync({ logits, labels, ...more }, { resamples: 0 });
  assert.is(of({}).decisions, undefined);
  assert.equal(Object.keys(of({ counts }).decisions), ['plain', 'logitAdjustment']);
  assert.equal(Object.keys(of({ features, training }).decisions), ['plain', 'nearestClassMean']);
  const empty = of({ counts: [5, 0, 3] });
  assert.is(empty.decisions, undefined);
  assert.match(empty.warnings.join(), /log π of logit adjustment has no value/);
});

test('the temperature is fitted to the validation set, and measured on the test set', () => {
  const of = (samples, scale) => {
    const labels = Int32Array.from({ length: samples }, (_, i) => (i * 5) % 4);
    const logits = draw(samples, 4);
    for (const [i, label] of labels.entries()) logits.data[4 * i + label] += 1;
    return { logits: { shape: logits.shape, data: logits.data.map((value) => scale * value) }, labels };
  };
  const [tested, validation] = [of(70, 1), of(50, 4)];
  const found = evaluateSync({ ...tested, validation }, { resamples: 5 });
  assert.equal(found.temperature, fitTemperatureSync(validation.logits, validation.labels));
  const { temperature } = found.temperature;
  const expected = calibrationSync(tested.logits, tested.labels, { temperature });
  for (const name of ['ece', 'nll', 'brier', 'temperature'])
    assert.ok(Math.abs(found.fitted[name] - expected[name]) <= 1e-12, name);
  assert.ok(found.intervals['fitted.nll'][1] > found.fitted.nll);
  assert.equal([found.fittedTo, evaluateSync(tested, { resamples: 0 }).fittedTo], ['validation', 'test']);
  // Decided right throughout, or worse than by chance.
  const sharp = (labels) =>
    evaluateSync(
      {
        ...tested,
        validation: {
          logits: array([
            [9, 1, 1, 1],
            [1, 9, 1, 1],
          ]),
          labels,
        },
      },
      { resamples: 0 },
    );
  const perfect = sharp(Int32Array.of(0, 1));
  assert.equal([perfect.temperature.temperature, perfect.fitted], [0, undefined]);
  assert.match(perfect.warnings.join(), /Every validation sample is decided right/);
  const worthless = sharp(Int32Array.of(1, 0));
  assert.is(worthless.temperature.temperature, Number.POSITIVE_INFINITY);
  assert.ok(Math.abs(worthless.fitted.nll - Math.log(4)) <= 1e-15);
});

test('refuses what does not fit', async () => {
  const [features, prototypes, logits] = [draw(6, 5), draw(3, 5), draw(6, 3)];
  const labels = Int32Array.of(0, 1, 2, 0, 1, 2);
  const training = { features, labels };
  const spoilt = { shape: [6, 5], data: features.data.map((value, at) => (at === 7 ? Number.NaN : value)) };
  const huge = { shape: [6, 5], data: features.data.map((value) => value * 1e200) };
  await refuses('LP_OPTION', /counts\[1\] is 0: a class without training samples/, () => logitAdjustment(logits, [1, 0, 2]));
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY])
    await refuses('LP_NOT_FINITE', /logits\[1, 1\] is (NaN|Infinity)/, () =>
      logitAdjustment({ shape: [6, 3], data: logits.data.map((each, at) => (at === 4 ? value : each)) }, counts),
    );
  await refuses('LP_NOT_FINITE', /Row 0 of logits is -Infinity throughout/, () =>
    logitAdjustment({ shape: [1, 3], data: new Float64Array(3).fill(Number.NEGATIVE_INFINITY) }, counts),
  );
  await refuses('LP_OPTION', /counts\[1\] is -1/, () => logitAdjustment(logits, [1, -1, 2]));
  await refuses('LP_SHAPE', /counts have 2 entries; expected 3/, () => logitAdjustment(logits, [1, 2]));
  await refuses('LP_OPTION', /options\.tau is -1/, () => logitAdjustment(logits, counts, { tau: -1 }));
  await refuses('LP_OPTION', /options\.tau is "1"/, () => tauNormalization({ features, prototypes }, { tau: '1' }));
  await refuses('LP_SHAPE', /features are \[6, 5\] and prototypes \[6, 3\]/, () =>
    tauNormalization({ features, prototypes: logits }),
  );
  await refuses('LP_NOT_FINITE', /features\[1, 2\] is NaN/, () => tauNormalization({ features: spoilt, prototypes }));
  await refuses('LP_NOT_FINITE', /prototypes.*NaN/, () => tauNormalization({ features, prototypes: spoilt }));
  await refuses('LP_NOT_FINITE', /features\[1, 2\] is NaN/, () => nearestClassMean(spoilt, training));
  await refuses('LP_NOT_FINITE', /training\.features\[1, 2\] is NaN/, () =>
    nearestClassMean(features, { features: spoilt, labels }),
  );
  await refuses('LP_OVERFLOW', /Row 0 of features is too large/, () => nearestClassMean(huge, training));
  await refuses('LP_OVERFLOW', /scale the features down/, () => nearestClassMean(features, { features: huge, labels }));
  await refuses('LP_SHAPE', /features have 3 columns, but training\.features have 5/, () => nearestClassMean(logits, training));
  await refuses('LP_LABEL', /2 entries, but training\.features have 6 rows/, () =>
    nearestClassMean(features, { features, labels: Int32Array.of(0, 1) }),
  );
  const validated = (validation) => () => evaluateSync({ logits, labels, validation }, { resamples: 0 });
  await refuses('LP_SHAPE', /validation\.logits have 5 columns, but there are 3 classes/, validated({ logits: features, labels }));
  await refuses('LP_LABEL', /2 entries, but validation\.logits have 6 rows/, validated({ logits, labels: Int32Array.of(0, 1) }));
  await refuses('LP_OPTION', /arrays\.validation\.logit is not known/, validated({ logit: logits, labels }));
  const bad = { shape: [6, 3], data: logits.data.map((value, at) => (at === 4 ? Number.NaN : value)) };
  await refuses('LP_NOT_FINITE', /validation\.logits\[1, 1\] is NaN/, validated({ logits: bad, labels }));
});

test.run();
