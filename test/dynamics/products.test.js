// The structured products against the dense M, and against finite differences of the loss.
import fc from 'fast-check';
import { randomState, structuredProducts, structuredProductsSync } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { distance, refuses, shuffle } from '../helpers.js';

const bias = (classes, Type) => ({ shape: [classes], data: Type.from({ length: classes }, (_, c) => c / 10) });

/** `((1+γ) Y − γ 1)/n`, rows of classes. */
function denseM({ labels }, classes, gamma) {
  const n = labels.length;
  return Array.from({ length: classes }, (_, c) => Array.from(labels, (y) => ((1 + gamma) * (y === c) - gamma) / n));
}

function loss({ features, prototypes, biases, labels }, gamma) {
  const [n, p] = features.shape;
  const classes = prototypes.shape[0];
  let sum = 0;
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < classes; c++) {
      let z = biases.data[c];
      for (let j = 0; j < p; j++) z += features.data[i * p + j] * prototypes.data[c * p + j];
      sum += (c === labels[i] ? -z : gamma * z) / n;
    }
  }
  return sum;
}

test('equals products with the dense M, classes of any size', () => {
  const counts = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 2, maxLength: 8 });
  const gammas = fc.double({ min: -1, max: 2, noNaN: true });
  fc.assert(
    fc.property(counts, fc.integer({ min: 1, max: 30 }), gammas, fc.boolean(), (sizes, dim, gamma, single) => {
      const state = randomState({ counts: sizes, dim, dtype: single ? 'float32' : 'float64' });
      shuffle(state.labels, dim);
      const out = structuredProductsSync(state, { gamma });
      const M = denseM(state, sizes.length, gamma);
      const [h, w] = [state.features.data, state.prototypes.data];
      const column = (j, data, rows) => Float64Array.from({ length: rows }, (_, i) => data[i * dim + j]);
      const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
      const tolerance = single ? 1e-5 : 1e-13;
      for (let j = 0; j < dim; j++) {
        const [hj, wj] = [column(j, h, state.labels.length), column(j, w, sizes.length)];
        const features = Array.from(state.labels, (_, i) =>
          dot(
            wj,
            M.map((row) => row[i]),
          ),
        );
        assert.ok(distance(column(j, out.features.data, hj.length), features) < tolerance);
        assert.ok(
          distance(
            column(j, out.prototypes.data, wj.length),
            M.map((row) => dot(hj, row)),
          ) < tolerance,
        );
      }
      assert.ok(
        distance(
          out.biases.data,
          M.map((row) => row.reduce((sum, x) => sum + x, 0)),
        ) < tolerance,
      );
    }),
    { numRuns: 40 },
  );
});

test('is the negative gradient of the loss', async () => {
  const state = { ...randomState({ counts: [2, 3, 1], dim: 4, seed: 3 }), biases: bias(3, Float64Array) };
  const gamma = 0.3;
  const products = await structuredProducts(state, { gamma });
  for (const side of ['features', 'prototypes', 'biases']) {
    const { data } = state[side];
    const slopes = data.map((value, i) => {
      // The loss is linear in each entry, so any step is exact but for rounding.
      data[i] = value + 1;
      const above = loss(state, gamma);
      data[i] = value - 1;
      const below = loss(state, gamma);
      data[i] = value;
      return (below - above) / 2;
    });
    assert.ok(distance(products[side].data, slopes) < 1e-14, side);
  }
});

test('refuses bad input', async () => {
  const state = randomState({ classes: 2, perClass: 2, dim: 3 });
  await refuses('LP_OPTION', /gamma/, () => structuredProducts(state, {}));
  await refuses('LP_OPTION', /did you mean gamma/, () => structuredProducts(state, { gama: 1 }));
  await refuses('LP_LABEL', /labels\[1\] is 5/, () =>
    structuredProducts({ ...state, labels: Int32Array.of(0, 5, 1, 1) }, { gamma: 0 }),
  );
  state.prototypes.data[4] = Number.POSITIVE_INFINITY;
  await refuses('LP_NOT_FINITE', /prototypes\[1, 1\] is Infinity/, () => structuredProductsSync(state, { gamma: 0 }));
});

test.run();
