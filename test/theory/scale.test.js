// What has a scale: f(2^k x) = 2^(k·degree) f(x), for k over the whole range of exponents.
import {
  anchoredFlowSync,
  classifierLogitsSync,
  collapseMeasures,
  collapseSync,
  contraction,
  evaluateSync,
  gradientDescentSync,
  gradientFlowSync,
  iteratedDescentSync,
  kernelFlowSync,
  kktCertificateSync,
  lossAndGradientSync,
  marginsSync,
  matmulSync,
  randomState,
  simplexETF,
  spectralProjectionsSync,
  sphericalDescentSync,
  structuredProductsSync,
  unhingedBoundsSync,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const start = randomState({ counts: [5, 4, 3], dim: 6, seed: 3 });

/** A state in a dtype, its numbers times 2^exponent. */
function sized(Type, exponent, { features, prototypes, labels } = start) {
  const half = Math.trunc(exponent / 2);
  const of = ({ shape, data }) => ({ shape, data: Type.from(Type.from(data), (x) => x * 2 ** half * 2 ** (exponent - half)) });
  return { features: of(features), prototypes: of(prototypes), labels };
}

const even = randomState({ classes: 3, perClass: 4, dim: 6, seed: 5 });
/** One that separates its samples: features near their class's prototype. */
const apart = {
  ...even,
  features: {
    shape: [12, 6],
    data: even.features.data.map((x, i) => 0.1 * x + even.prototypes.data[6 * even.labels[Math.floor(i / 6)] + (i % 6)]),
  },
};
const typeOf = ({ features }) => features.data.constructor;

const rates = { features: 0.5, prototypes: 0.25 };
const measured = Object.keys(collapseMeasures);
const degreeOf = (name) => (name === 'nc4Zhu' || name.endsWith('Margin') ? 2 : 0);
const byDegree = (values, degree) => Object.entries(values).flatMap(([name, value]) => (degreeOf(name) === degree ? [value] : []));
const moved = (make) => (state) => {
  const trajectory = make(state);
  const { logNorm, ...columns } = trajectory.measureSync([0, 30], ['logNorm', 'distanceToLimit', ...measured]);
  const { features, prototypes } = trajectory.directionAtSync(30);
  const at = trajectory.atSync(0);
  return {
    0: [...features.data, ...prototypes.data, logNorm[1] - logNorm[0], ...byDegree(columns, 0).flatMap((x) => [...x])],
    1: [...at.features.data, ...at.prototypes.data],
    2: byDegree(columns, 2).flatMap((x) => [...x]),
  };
};

const ofTrajectory = (trajectory, steps, names, degreeOf) => {
  const columns = trajectory.measureSync(steps, names);
  const { features, prototypes } = trajectory.directionAtSync(steps.at(-1));
  const values = { 0: [...features.data, ...prototypes.data], 1: [], 2: [] };
  for (const name of names) values[degreeOf(name)].push(...columns[name]);
  const at = trajectory.atSync(steps[0]);
  values[1].push(...at.features.data, ...at.prototypes.data);
  return values;
};
const unhinged = (name) => (name === 'loss' || name.endsWith('Margin') ? 2 : 0);
const asked = ['loss', 'accuracy', 'minMargin', 'meanMargin', 'distanceToLimit'];
/** A smooth kernel of the samples, positive definite. */
const kernelOf = (Type, count) => ({
  shape: [count, count],
  data: Type.from({ length: count * count }, (_, k) => Math.exp(-((Math.floor(k / count) - (k % count)) ** 2) / 8)),
});
/** Scores that go with the size; max softmax is that at temperature 1. */
const grown = ['energy', 'featureNorm'];
const evaluated = ({ calibration: { temperature: _, reliability, ...calibration }, fitted, temperature, ...result }) => ({
  0: [
    ...Object.values(calibration),
    ...[reliability, fitted?.reliability ?? {}].flatMap((each) => Object.values(each).flatMap((values) => [...values])),
    ...[temperature.nll, result.accuracy, ...result.predicted, ...result.confidences],
    ...Object.values(result.decisions ?? {}).flatMap(({ accuracy, changed }) => [accuracy, changed ?? 0]),
    ...grown.flatMap((name) => {
      const { fpr95, auroc, aupr } = result.outOfDistribution[name].inDistributionPositive;
      return [fpr95, auroc, aupr];
    }),
  ],
  1: [temperature.temperature, ...grown.map((name) => result.outOfDistribution[name].inDistributionPositive.threshold)],
});

const certified = (state) => {
  const { logLoss, smallestMargin, gradientAlignment } = kktCertificateSync(state);
  return { 0: [gradientAlignment, logLoss > 0 ? 0 : logLoss / smallestMargin] };
};

/** What each function gives, by the degree in which it goes with the state's size. */
const functions = {
  collapse: (state) => {
    const { counts, classes, samples, dim, classNorms, prototypeNorms, classMeans, ...all } = collapseSync(state, {
      classMeans: true,
    });
    const measures = Object.fromEntries(measured.map((name) => [name, all[name]]));
    return {
      0: [...byDegree(measures, 0), ...all.spectrum],
      1: [...classNorms, ...prototypeNorms, ...classMeans.data],
      2: byDegree(measures, 2),
    };
  },
  gradientFlow: moved((state) => gradientFlowSync(state, { gamma: 0.3, rates, weightDecay: 0.01 })),
  gradientDescent: moved((state) => gradientDescentSync(state, { gamma: 0.3, learningRates: rates, momentum: 0.5 })),
  anchoredFlow: moved((state) => anchoredFlowSync(state, { gamma: 0.3, rate: 0.5, weightDecay: 0.1 })),
  iteratedDescent: (state) => {
    const { features, prototypes } = iteratedDescentSync(state, { gamma: 0.3, learningRates: rates, steps: 3 });
    return { 1: [...features.data, ...prototypes.data] };
  },
  margins: (state) => {
    const { margins, smallest, normalized } = marginsSync(state);
    return { 0: [normalized], 2: [...margins, smallest] };
  },
  matmul: ({ features, prototypes }) => ({ 2: [...matmulSync(features, prototypes, { transposeB: true }).data] }),
  structuredProducts: (state) => {
    const { features, prototypes } = structuredProductsSync(state, { gamma: 0.3 });
    return { 1: [...features.data, ...prototypes.data] };
  },
  unhinged: (state) => {
    const { value, features, prototypes } = lossAndGradientSync({ kind: 'unhinged', gamma: 0.3 }, state);
    return { 1: [...features.data, ...prototypes.data], 2: [value] };
  },
  normalized: (state) => {
    const fixed = { ...state, prototypes: sized(state.features.data.constructor, 0).prototypes };
    const results = ['cross-entropy', 'mse', 'hinge', 'unhinged'].map((kind) =>
      lossAndGradientSync({ kind, ...(kind === 'unhinged' && { gamma: 0.3 }) }, fixed, { normalizeFeatures: true }),
    );
    return {
      '-1': results.flatMap(({ features }) => [...features.data]),
      0: results.flatMap(({ value, prototypes }) => [value, ...prototypes.data]),
    };
  },
  spectralProjections: (state, exponent) => {
    const parts = spectralProjectionsSync(sized(typeOf(state), exponent, even));
    return { 1: Object.values(parts).flatMap((part) => [...part.features.data, ...part.prototypes.data]) };
  },
  kernelFlow: (state) =>
    ofTrajectory(
      kernelFlowSync(state, { loss: 'unhinged', gamma: 0.3, rate: 0.5, kernel: kernelOf(typeOf(state), 12) }),
      [0, 5],
      asked,
      unhinged,
    ),
  // A step of length η s² u/‖h‖ is the same share of features s h towards prototypes s w as η u/‖h‖ of theirs; rescaled, so is η u.
  sphericalDescent: (state, exponent) =>
    ofTrajectory(sphericalDescentSync(state, { gamma: 0.3, learningRate: 0.5 * 2 ** exponent }), [0, 7], asked, (name) =>
      name === 'loss' || name.endsWith('Margin') ? 1 : 0,
    ),
  rescaled: (state) =>
    ofTrajectory(sphericalDescentSync(state, { gamma: 0.3, learningRate: 0.5, rescaled: true }), [0, 7], asked, (name) =>
      name === 'loss' || name.endsWith('Margin') ? 1 : 0,
    ),
  // Of logits and temperatures that grow together.
  evaluate: ({ features, prototypes, labels }, exponent) => {
    const logits = { shape: features.shape, data: features.data };
    const options = { temperature: 2 ** exponent, energyTemperature: 2 ** exponent, resamples: 0, bins: 4 };
    const outside = { shape: [3, 6], data: prototypes.data };
    return evaluated(
      evaluateSync({ logits, labels, features, outOfDistribution: { logits: outside, features: outside } }, options),
    );
  },
  decisions: ({ features, prototypes, labels }) => {
    const plain = classifierLogitsSync({ features, prototypes });
    const { decisions } = evaluateSync({ features, prototypes, labels }, { resamples: 0 });
    return { 0: Object.values(decisions).flatMap(({ accuracy, perClass }) => [accuracy, ...perClass]), 2: [...plain.data] };
  },
  // Where all logits are alike, and once the smallest margin alone decides.
  'kktCertificate, small': (state, exponent) =>
    certified(sized(typeOf(state), Math.min(0, exponent) - (typeOf(state) === Float32Array ? 12 : 30), apart)),
  'kktCertificate, large': (state, exponent) => certified(sized(typeOf(state), 6 + Math.max(0, exponent), apart)),
  unhingedBounds: (state) => ({ 2: [...unhingedBoundsSync(state, { gamma: 0.3 }).values] }),
  contraction: (state) => {
    const prototypes = simplexETF(3, 6, { seed: 1 });
    const { cosines, bounds } = contraction(
      { ...state, prototypes: { shape: prototypes.shape, data: state.features.data.constructor.from(prototypes.data) } },
      { loss: 'dot-regression' },
    );
    return { 0: [...cosines, ...bounds] };
  },
};

const flushed = ['iteratedDescent', 'matmul', 'structuredProducts', 'unhinged', 'normalized', 'evaluate', 'decisions'];

/** Sizes up to which more than numbers of their own is made of products of two: decisions of logits. */
const within = { decisions: { Float32Array: 60, Float64Array: 500 } };

for (const [Type, exponents, precision] of [
  [Float32Array, [-120, -100, -75, -50, 50, 63, 75, 100, 120], 2e-5],
  [Float64Array, [-1010, -800, -565, -515, -300, 300, 500, 515, 565, 800, 1000], 1e-11],
]) {
  for (const [name, of] of Object.entries(functions)) {
    test(`${name} in ${Type.name} goes with the size of the state`, () => {
      const base = of(sized(Type, 0), 0);
      const wrong = [];
      for (const exponent of exponents) {
        // Work in float32 takes what is below its normal range as zero, on the way too.
        if (Type === Float32Array && Math.abs(exponent) > 100 && flushed.includes(name)) continue;
        if (Math.abs(exponent) > (within[name]?.[Type.name] ?? Number.POSITIVE_INFINITY)) continue;
        let got;
        try {
          got = of(sized(Type, exponent), exponent);
        } catch (error) {
          if (error.code !== 'LP_OVERFLOW' && !error.message.includes('margin above 0')) throw error;
          continue;
        }
        const [least, most] = Type === Float32Array ? [-124, 127] : [-1020, 1023];
        for (const [degree, values] of Object.entries(base)) {
          values.forEach((value, i) => {
            // In halves, and only where the result is a normal number of the dtype, or of a double.
            const power = exponent * Number(degree);
            const place = Math.log2(Math.abs(value)) + power;
            const single = Type === Float32Array && (degree !== '2' || name === 'matmul');
            if (value === 0 || Number.isNaN(value) || place < (single ? least : -1020) || place > (single ? most : 1023)) return;
            const half = Math.trunc(power / 2);
            const back = got[degree][i] * 2 ** -half * 2 ** -(power - half);
            const size = Math.max(Math.abs(value), degree === '0' ? 1e-3 : 1e-2 * Math.max(...values.map(Math.abs)));
            if (!(Math.abs(back - value) <= precision * size))
              wrong.push(`2^${exponent}, degree ${degree}, ${i}: ${back} for ${value}`);
          });
        }
      }
      assert.equal(wrong.slice(0, 8), []);
    });
  }
}

test('classes of equal means have no spread between them: Infinity or NaN, never a quotient of rounding', () => {
  for (const Type of [Float32Array, Float64Array]) {
    for (const offset of [0, 1e3]) {
      const four = Array.from({ length: 32 }, (_, i) => Math.sin(i * 1.7 + 0.3) + offset);
      const turned = [3, 2, 0, 1].flatMap((row) => four.slice(8 * row, 8 * row + 8));
      const features = { shape: [12, 8], data: Type.from([...four, ...turned, ...four]) };
      const labels = Int32Array.from({ length: 12 }, (_, i) => Math.floor(i / 4));
      const same = { shape: [3, 8], data: Type.from({ length: 24 }, (_, i) => Math.cos(i % 8) / 3) };
      const result = collapseSync({ features, labels, prototypes: same });
      for (const name of ['nc1', 'nc1Papyan', 'nc1TraceRatio', 'nc1Cdnv'])
        assert.not.ok(Number.isFinite(result[name]), `${name}: ${result[name]}`);
      for (const name of [
        'featureCosine',
        'featureNormVariation',
        'centeredPrototypeCosine',
        'centeredPrototypeNormVariation',
        'selfDuality',
        'alignment',
        'nc2',
        'nc3',
        'nc3Zhu',
        'dualityFrobenius',
      ])
        assert.ok(Number.isNaN(result[name]), `${name}: ${result[name]}`);
      const { nc1, nc1Cdnv, nc1TraceRatio } = gradientFlowSync(
        { features, labels, prototypes: same },
        { gamma: 0.3, rates },
      ).measureSync([0], ['nc1', 'nc1Cdnv', 'nc1TraceRatio']);
      for (const [value] of [nc1, nc1Cdnv, nc1TraceRatio]) assert.not.ok(Number.isFinite(value), `${value}`);
    }
  }
});

test('two classes of one mean among others are no distance apart, whatever the order of their sums', () => {
  for (const Type of [Float32Array, Float64Array]) {
    for (const rows of [4, 7, 50]) {
      const each = Array.from({ length: rows }, (_, i) => Array.from({ length: 8 }, (_, j) => Math.sin(1.7 * i + j + 0.3) + 1e3));
      const others = each.map((row) => row.map((x, j) => x + Math.cos(3 * j)));
      const data = Type.from([...each, ...each.toReversed(), ...others].flat());
      const labels = Int32Array.from({ length: 3 * rows }, (_, i) => Math.floor(i / rows));
      const { nc1Cdnv, nc1 } = collapseSync({ features: { shape: [3 * rows, 8], data }, labels });
      assert.is(nc1Cdnv, Number.POSITIVE_INFINITY);
      assert.ok(Number.isFinite(nc1));
    }
  }
});

test('classes far smaller than another are as far apart, and as wide, as by themselves', () => {
  const [rows, p] = [6, 8];
  for (const [Type, size, precision] of [
    [Float32Array, 2 ** -70, 1e-5],
    [Float64Array, 2 ** -300, 1e-12],
  ]) {
    const features = Type.from({ length: 3 * rows * p }, (_, i) => {
      const [row, j] = [Math.floor(i / p), i % p];
      const label = Math.floor(row / rows);
      return (label === 0 ? 1 : size) * (Math.cos(3 * label + j) + 0.5 * Math.sin(1.7 * row + 5 * j));
    });
    const labels = Int32Array.from({ length: 3 * rows }, (_, i) => Math.floor(i / rows));
    const mean = (c) =>
      Array.from({ length: p }, (_, j) => {
        let sum = 0;
        for (let i = 0; i < rows; i++) sum += features[(c * rows + i) * p + j];
        return sum / rows;
      });
    const square = (x, y, of) => x.reduce((sum, value, j) => sum + ((value - y[j]) / of) ** 2, 0);
    const means = [0, 1, 2].map(mean);
    const spread = (c, of) => {
      let sum = 0;
      for (let i = 0; i < rows; i++)
        sum += square([...features.subarray((c * rows + i) * p, (c * rows + i + 1) * p)], means[c], of);
      return sum / rows;
    };
    const pair = (c, d, of) => (spread(c, of) + spread(d, of)) / (2 * square(means[c], means[d], of));
    const expected = (pair(0, 1, 1) + pair(0, 2, 1) + pair(1, 2, size)) / 3;
    const { nc1Cdnv } = collapseSync({ features: { shape: [3 * rows, p], data: features }, labels });
    assert.ok(Math.abs(nc1Cdnv / expected - 1) < precision, `${Type.name}: ${nc1Cdnv} for ${expected}`);
  }
});

test.run();
