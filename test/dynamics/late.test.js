// Measures at late times, when the parts of a state differ by thousands of orders of magnitude, beside arithmetic of thousands of
// digits (test/golden/late.py).
import { gradientDescentSync, gradientFlowSync } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { golden, near } from '../helpers.js';

/** The starts of late.py, exact in a double. */
function start({ counts, dim, spread }) {
  const number = (k) => (((k * 7919 + k * k * 31) % 1009) - 504) / 128;
  const labels = Int32Array.from(counts.flatMap((count, c) => Array(count).fill(c)));
  const features = Float64Array.from({ length: labels.length * dim }, (_, k) => {
    const label = labels[Math.floor(k / dim)];
    return number(label * dim + (k % dim) + 3) / 4 + number(1000 + k) * Number(spread);
  });
  const prototypes = Float64Array.from({ length: counts.length * dim }, (_, k) => number(500 + k) / 4);
  return {
    features: { shape: [labels.length, dim], data: features },
    prototypes: { shape: [counts.length, dim], data: prototypes },
    labels,
  };
}

function trajectory(spec) {
  const [features, prototypes] = spec.rates.map(Number);
  const options = {
    gamma: Number(spec.gamma),
    weightDecay: { features: Number(spec.decay[0]), prototypes: Number(spec.decay[1]) },
  };
  const rates = { features, prototypes };
  return spec.kind === 'flow'
    ? gradientFlowSync(start(spec), { ...options, rates })
    : gradientDescentSync(start(spec), { ...options, learningRates: rates, momentum: Number(spec.momentum) });
}

const logarithms = {
  logNc1: 'nc1',
  logNc1Papyan: 'nc1Papyan',
  logNc1TraceRatio: 'nc1TraceRatio',
  logNc1Cdnv: 'nc1Cdnv',
  logWithinClassVariation: 'withinClassVariation',
  logDualityFrobenius: 'dualityFrobenius',
  logSelfDuality: 'selfDuality',
  logPrototypeNormVariation: 'prototypeNormVariation',
  logFeatureNorm: 'featureNorm',
  logPrototypeNorm: 'prototypeNorm',
};

for (const spec of golden('late')) {
  const name = `${spec.kind}, counts ${spec.counts}, p = ${spec.dim}, γ = ${spec.gamma}, decay ${spec.decay}`;
  test(`every measure at late times: ${name}`, () => {
    const made = trajectory(spec);
    for (const { time, values, logs } of spec.rows) {
      const names = Object.keys(values);
      const measured = made.measureSync([time], [...names, ...Object.keys(logarithms)]);
      const wrong = [];
      for (const measure of names) {
        const right = Number(values[measure].toString().replace('inf', 'Infinity'));
        const [got] = measured[measure];
        if (got === right || Math.abs(got - right) <= 1e-9 * Math.max(Math.abs(right), 1e-290)) continue;
        wrong.push(`t = ${time}: ${measure} is ${got}, not ${right}`);
      }
      for (const [logarithm, measure] of Object.entries(logarithms)) {
        const right = logs[measure];
        const [got] = measured[logarithm];
        if (right !== null && Math.abs(got - right) <= 1e-9 * Math.max(1, Math.abs(right) / 10)) continue;
        wrong.push(`t = ${time}: ${logarithm} is ${got}, not ${right}`);
      }
      assert.equal(wrong, []);
    }
  });
}

test('the distance to a limit has a logarithm where it is below every double', () => {
  const cases = golden('late');
  for (const spec of [cases[0], cases[1], { ...cases[1], kind: 'descent', momentum: '0.5' }]) {
    const made = trajectory(spec);
    const { rate } = made.limitSync();
    const times = [200, 1500, 3000].map((exponent) => Math.round(exponent / rate));
    const { distanceToLimit, logDistanceToLimit: log } = made.measureSync(times, ['distanceToLimit', 'logDistanceToLimit']);
    near(Math.log(distanceToLimit[0]), log[0], 1e-9, 'the logarithm');
    assert.is(distanceToLimit[1], 0);
    for (const i of [1, 2]) near((log[0] - log[i]) / (times[i] - times[0]) / rate, 1, 1e-5, 'its slope');
  }
});

test('the smallest state has the measures of one of its size', () => {
  const [spec] = golden('late');
  const { features, prototypes, labels } = start(spec);
  const times = (factor) => ({
    features: { ...features, data: features.data.map((x) => x * factor) },
    prototypes: { ...prototypes, data: prototypes.data.map((x) => x * factor) },
    labels,
  });
  const options = { gamma: 0.1, learningRates: { features: 1, prototypes: 0.125 }, weightDecay: 0.001 };
  const names = ['nc1', 'selfDuality', 'alignment', 'accuracy', 'nc4', 'logNorm', 'distanceToLimit'];
  const want = gradientDescentSync(times(1), options).measureSync([0, 1000], names);
  for (const exponent of [-1000, -560, 560, 1000]) {
    const made = gradientDescentSync(times(2 ** exponent), options);
    assert.equal(made.atSync(0), times(2 ** exponent));
    const got = made.measureSync([0, 1000], names);
    for (const name of names) {
      const more = name === 'logNorm' ? exponent * Math.LN2 : 0;
      for (const i of [0, 1])
        near(got[name][i], want[name][i] + more, 1e-12 * Math.max(1, Math.abs(more)), `${name} of 2^${exponent}`);
    }
  }
});

test('directions that meet are NaN where nothing tells them apart', () => {
  const [, spec] = golden('late');
  const made = gradientDescentSync(start(spec), {
    gamma: 0.5,
    learningRates: { features: { kind: 'exponential', value: 0.5, timescale: 1e3 }, prototypes: 0.25 },
  });
  const { selfDuality, logSelfDuality } = made.measureSync([10, 2000], ['selfDuality', 'logSelfDuality']);
  assert.ok(selfDuality[0] > 1e-10);
  assert.equal([selfDuality[1], logSelfDuality[1]], [Number.NaN, Number.NaN]);
});

test.run();
