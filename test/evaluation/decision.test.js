import fc from 'fast-check';
import { classifierLogits, classifierLogitsSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, refuses } from '../helpers.js';
import { argmax, mean } from './reference.js';

const rowsOf = ({ shape: [rows, columns], data }) =>
  Array.from({ length: rows }, (_, i) => Array.from(data.subarray(i * columns, (i + 1) * columns)));

const meanRow = (rows) => rows[0].map((_, j) => mean(rows.map((row) => row[j])));
const less = (rows, shift) => rows.map((row) => row.map((value, j) => value - shift[j]));

/** The definition: products of rows. */
function logitsOf(h, w, b) {
  return h.flatMap((feature) => w.map((prototype, c) => prototype.reduce((sum, value, j) => sum + value * feature[j], b[c])));
}

const sample = (size) => {
  const { features, prototypes } = randomState(size);
  return { features, prototypes, biases: { shape: [size.classes], data: prototypes.data.slice(0, size.classes) } };
};

test('equals its definition, for every rule', async () => {
  const arbitrary = fc.record({
    classes: fc.integer({ min: 2, max: 5 }),
    perClass: fc.integer({ min: 1, max: 6 }),
    dim: fc.integer({ min: 5, max: 8 }),
    seed: fc.nat(),
    centerPrototypes: fc.boolean(),
    centerFeatures: fc.boolean(),
    given: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(arbitrary, async ({ centerPrototypes, centerFeatures, given, ...size }) => {
      const classifier = sample(size);
      const featureMean = given ? { shape: [size.dim], data: Float64Array.from({ length: size.dim }, (_, j) => j - 2) } : undefined;
      const [h, w] = [rowsOf(classifier.features), rowsOf(classifier.prototypes)];
      const expected = logitsOf(
        centerFeatures ? less(h, featureMean?.data ?? meanRow(h)) : h,
        centerPrototypes ? less(w, meanRow(w)) : w,
        classifier.biases.data,
      );
      const options = { centerPrototypes, centerFeatures };
      for (const found of [
        classifierLogitsSync({ ...classifier, featureMean }, options),
        await classifierLogits({ ...classifier, featureMean }, options),
      ]) {
        assert.equal(found.shape, [h.length, w.length]);
        assert.ok(distance(found.data, expected) <= 1e-11);
      }
    }),
  );
});

test('a residual in all features and prototypes is undone by centring (UL Appendix D.2)', () => {
  // Balanced classes around their prototypes: the mean of the features is the residual alone.
  const w = [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ];
  const residual = [40, -3, 7];
  const prototypes = array(
    less(
      w,
      residual.map((value) => -0.5 * value),
    ),
  );
  const features = array(
    less(
      [...w, ...w],
      residual.map((value) => -value),
    ),
  );
  const decide = (options) => rowsOf(classifierLogitsSync({ features, prototypes }, options)).map(argmax);
  assert.equal(decide({}), [0, 0, 0, 0, 0, 0]);
  assert.equal(decide({ centerPrototypes: true }), [0, 0, 0, 0, 0, 0]); // the same decisions, always
  assert.equal(decide({ centerFeatures: true }), [0, 1, 2, 0, 1, 2]);
  assert.equal(decide({ centerFeatures: true, centerPrototypes: true }), [0, 1, 2, 0, 1, 2]);
});

test('a large common feature costs centred float32 logits no digits', () => {
  const h = [
    [1, 0],
    [0, 1],
    [0.5, 0.25],
  ].map((row) => row.map((value) => value + 2 ** 16));
  const [features, prototypes] = [
    array(h, Float32Array),
    array(
      [
        [1, 0],
        [0, 1],
      ],
      Float32Array,
    ),
  ];
  const featureMean = { shape: [2], data: Float64Array.of(2 ** 16, 2 ** 16) };
  const { data } = classifierLogitsSync({ features, prototypes, featureMean }, { centerFeatures: true });
  assert.instance(data, Float32Array);
  assert.equal([...data], [1, 0, 0, 1, 0.5, 0.25]);
});

test('refuses what does not fit', async () => {
  const { features, prototypes, biases } = sample({ classes: 3, perClass: 2, dim: 4 });
  const narrow = { shape: [3, 3], data: prototypes.data.slice(0, 9) };
  await refuses('LP_SHAPE', /features are \[6, 4\] and prototypes \[3, 3\]/, () =>
    classifierLogits({ features, prototypes: narrow }),
  );
  await refuses('LP_SHAPE', /biases are \[2\]; expected \[3\]/, () =>
    classifierLogits({ features, prototypes, biases: array([1, 2]) }),
  );
  await refuses('LP_SHAPE', /featureMean are \[2\]/, () => classifierLogits({ features, prototypes, featureMean: array([1, 2]) }));
  const single = { shape: [3], data: Float32Array.from(biases.data) };
  await refuses('LP_DTYPE', /float64 but biases is float32/, () => classifierLogits({ features, prototypes, biases: single }));
  await refuses('LP_SHAPE', /prototypes is undefined/, () => classifierLogits({ features }));
  await refuses('LP_OPTION', /did you mean centerFeatures/, () =>
    classifierLogits({ features, prototypes }, { centreFeatures: true }),
  );
  const spoil = (array_, at) => ({ shape: array_.shape, data: array_.data.map((value, i) => (i === at ? Number.NaN : value)) });
  for (const options of [{}, { centerFeatures: true, centerPrototypes: true }]) {
    await refuses('LP_NOT_FINITE', /features\[2, 1\] is NaN/, () =>
      classifierLogits({ features: spoil(features, 9), prototypes }, options),
    );
    await refuses('LP_NOT_FINITE', /prototypes.*NaN/, () =>
      classifierLogits({ features, prototypes: spoil(prototypes, 5) }, options),
    );
    await refuses('LP_NOT_FINITE', /biases.*NaN/, () =>
      classifierLogits({ features, prototypes, biases: spoil(biases, 1) }, options),
    );
  }
});

test.run();
