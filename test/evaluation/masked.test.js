// Masked classes, probabilities in place of logits, samples out of distribution among the labels, infinite scores.
import { calibration, calibrationSync, detection, evaluate, fitTemperature, outOfDistributionScores } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { near, refuses } from '../helpers.js';

const at = (i) => Math.sin(i * 1.3) * 3;
const labels = Int32Array.of(0, 1, 2, 0, 1, 2);
const three = { shape: [6, 3], data: Float64Array.from({ length: 18 }, (_, i) => at(4 * Math.floor(i / 3) + (i % 3))) };
/** The same with a fourth class between the others. */
const four = (v, Type = Float64Array) => ({
  shape: [6, 4],
  data: Type.from({ length: 24 }, (_, i) => (i % 4 === 1 ? v : at(i - (i % 4 > 1 ? 1 : 0)))),
});
const moved = labels.map((label) => (label > 0 ? label + 1 : 0));

test('a masked class changes nothing but its number', async () => {
  const few = await evaluate({ logits: three, labels, outOfDistribution: { logits: three } }, { resamples: 20 });
  const many = await evaluate(
    { logits: four(Number.NEGATIVE_INFINITY), labels: moved, outOfDistribution: { logits: four(Number.NEGATIVE_INFINITY) } },
    { resamples: 20 },
  );
  for (const name of ['ece', 'mce', 'nll', 'brier']) {
    near(many.calibration[name], few.calibration[name], 1e-12, name);
    near(many.fitted[name], few.fitted[name], 1e-9, `fitted ${name}`);
  }
  near(many.temperature.temperature, few.temperature.temperature, 1e-9 * few.temperature.temperature, 'temperature');
  near(many.accuracy, few.accuracy, 0, 'accuracy');
  assert.equal(
    [...many.predicted],
    [...few.predicted].map((label) => (label > 0 ? label + 1 : 0)),
  );
  for (const score of ['maxSoftmax', 'energy']) {
    near(
      many.outOfDistribution[score].inDistributionPositive.threshold,
      few.outOfDistribution[score].inDistributionPositive.threshold,
      1e-12,
      score,
    );
  }
  assert.equal(Object.keys(many.intervals), Object.keys(few.intervals));
  const [a, b] = [
    await outOfDistributionScores({ logits: three }),
    await outOfDistributionScores({ logits: four(Number.NEGATIVE_INFINITY) }, { temperature: 1 }),
  ];
  for (const score of ['maxSoftmax', 'energy']) for (let i = 0; i < 6; i++) near(b[score][i], a[score][i], 1e-12, score);
  near(calibrationSync(four(Number.NEGATIVE_INFINITY, Float32Array), moved).nll, few.calibration.nll, 1e-6, 'float32');
});

test('one class left is certain', async () => {
  const logits = { shape: [2, 3], data: Float64Array.of(-Infinity, 4, -Infinity, 1, 2, 3) };
  const { maxSoftmax, energy } = await outOfDistributionScores({ logits });
  assert.is(maxSoftmax[0], 1);
  assert.is(energy[0], 4);
  assert.is((await calibration(logits, Int32Array.of(1, 2), { temperature: 2 })).temperature, 2);
});

test('what no mask makes is refused, by what it is', async () => {
  const odd = (change) => {
    const logits = four(-1);
    change(logits.data);
    return logits;
  };
  for (const [change, pattern] of [
    [
      (z) => {
        z[4] = Number.NaN;
      },
      /logits\[1, 0\] is NaN; expected finite numbers, or -Infinity of a class that is masked/,
    ],
    [
      (z) => {
        z[5] = Number.POSITIVE_INFINITY;
      },
      /logits\[1, 1\] is Infinity/,
    ],
    [
      (z) => {
        z[moved[3] + 12] = Number.NEGATIVE_INFINITY;
      },
      /logits\[3, 0\] is -Infinity, but 0 is the label of sample 3/,
    ],
    [
      (z) => {
        z.fill(Number.NEGATIVE_INFINITY, 8, 12);
      },
      /Row 2 of logits is -Infinity throughout/,
    ],
  ]) {
    for (const run of [evaluate, async (x) => calibration(x.logits, x.labels), async (x) => fitTemperature(x.logits, x.labels)]) {
      await refuses('LP_NOT_FINITE', pattern, () => run({ logits: odd(change), labels: moved }));
    }
  }
});

test('cosines with a masked class are still cosines', async () => {
  const logits = { shape: [2, 3], data: Float64Array.of(0.9, -0.2, -Infinity, 0.1, 0.8, -Infinity) };
  await refuses('LP_OPTION', /All logits lie within \[−1, 1\]/, () => calibration(logits, Int32Array.of(0, 1)));
});

/** Rows of a softmax, in a type. */
function softmax({ shape, data }, Type = Float64Array) {
  const [n, classes] = shape;
  const p = Type.from(data, Math.exp);
  for (let i = 0; i < n; i++) {
    const sum = p.subarray(i * classes, (i + 1) * classes).reduce((all, value) => all + value, 0);
    for (let j = 0; j < classes; j++) p[i * classes + j] /= sum;
  }
  return { shape, data: p };
}

test('probabilities in place of logits are told, and their logarithms are what they advise', async () => {
  const want = await evaluate({ logits: three, labels }, { resamples: 0 });
  for (const Type of [Float64Array, Float32Array]) {
    const probabilities = softmax(three, Type);
    await refuses('LP_OPTION', /The logits are probabilities: .* Pass what they were before the softmax, or their logarithms/, () =>
      calibration(probabilities, labels),
    );
    await refuses('LP_OPTION', /The logits are probabilities/, () => fitTemperature(probabilities, labels));
    const { warnings } = await evaluate({ logits: probabilities, labels }, { resamples: 0 });
    assert.ok(warnings.some((warning) => /The logits are probabilities/.test(warning)));
    const logarithms = { shape: probabilities.shape, data: probabilities.data.map(Math.log) };
    const got = await evaluate({ logits: logarithms, labels }, { resamples: 0 });
    assert.not(got.warnings.some((warning) => /probabilities/.test(warning)));
    near(got.calibration.nll, want.calibration.nll, 1e-6, 'nll');
    near(got.temperature.temperature, want.temperature.temperature, 1e-5 * want.temperature.temperature, 'temperature');
  }
  // A probability of 0 is the logarithm −Infinity.
  const sure = { shape: [2, 3], data: Float64Array.of(0.75, 0.25, 0, 0, 0.5, 0.5) };
  await refuses('LP_OPTION', /probabilities/, () => calibration(sure, Int32Array.of(0, 1)));
  near(
    (await calibration({ ...sure, data: sure.data.map(Math.log) }, Int32Array.of(0, 1))).nll,
    (Math.log(4 / 3) + Math.log(2)) / 2,
    1e-15,
    'nll',
  );
});

test('a label of −1 is told to be out of distribution, and how to pass it', async () => {
  const marked = Int32Array.from(labels);
  marked[4] = -1;
  await refuses(
    'LP_LABEL',
    /labels\[4\] is -1, as samples out of distribution are marked\..*outOfDistribution: \{ logits \} \(on the command line --ood-logits\)/,
    () => evaluate({ logits: three, labels: marked }),
  );
  await refuses('LP_LABEL', /labels\[4\] is -1/, () => calibration(three, marked));
  // As advised.
  const rows = (keep) => {
    const kept = [...labels.keys()].filter((i) => keep(marked[i]));
    return { shape: [kept.length, 3], data: Float64Array.from(kept.flatMap((i) => [...three.data.subarray(3 * i, 3 * i + 3)])) };
  };
  const inside = { logits: rows((label) => label >= 0), labels: marked.filter((label) => label >= 0) };
  const { outOfDistribution } = await evaluate(
    { ...inside, outOfDistribution: { logits: rows((label) => label < 0) } },
    { resamples: 0 },
  );
  assert.ok(outOfDistribution.energy);
});

/** Pairs in order, ties by half. */
const auroc = (a, b) => {
  let sum = 0;
  for (const x of a) for (const y of b) sum += x > y ? 1 : x === y ? 0.5 : 0;
  return sum / a.length / b.length;
};

test('infinite scores rank like others', () => {
  const values = [Number.NEGATIVE_INFINITY, -2, 0, 1, 5, Number.POSITIVE_INFINITY];
  let seed = 1;
  const draw = (n) =>
    Array.from({ length: n }, () => {
      seed = (seed * 48271) % 2147483647;
      return values[seed % values.length];
    });
  // As finite numbers in the same order.
  const finite = (list) => list.map((value) => Math.max(-1e3, Math.min(1e3, value)));
  for (let k = 0; k < 50; k++) {
    const [a, b] = [draw(1 + (k % 9)), draw(1 + (k % 7))];
    for (const positive of ['in-distribution', 'out-of-distribution']) {
      const got = detection(a, b, { positive });
      const want = detection(finite(a), finite(b), { positive });
      near(got.auroc, auroc(a, b), 1e-12, 'AUROC');
      for (const name of ['fpr95', 'auroc', 'aupr', 'auprTrapezoid']) near(got[name], want[name], 1e-12, name);
      assert.is(Math.max(-1e3, Math.min(1e3, got.threshold)), want.threshold);
    }
  }
  assert.throws(() => detection([1, Number.NaN], [1], { positive: 'in-distribution' }), /inDistribution\[1\] is NaN/);
});

test('features without dimensions, however many are claimed, are refused', () =>
  refuses('LP_SHAPE', /features are \[1000000000000, 0\]/, () =>
    outOfDistributionScores({ features: { shape: [1e12, 0], data: new Float64Array(0) } }),
  ));

test.run();
