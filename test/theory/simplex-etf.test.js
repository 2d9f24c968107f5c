import { simplexETF } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

/** Largest deviation of the rows' inner products from those of a simplex of the given scale, over scale². */
function deviation({ shape: [classes, dim], data }, scale) {
  let worst = 0;
  for (let i = 0; i < classes; i++) {
    for (let j = 0; j < classes; j++) {
      let product = 0;
      for (let k = 0; k < dim; k++) product += data[i * dim + k] * data[j * dim + k];
      worst = Math.max(worst, Math.abs(product / scale ** 2 - (i === j ? 1 : -1 / (classes - 1))));
    }
  }
  return worst;
}

test('rows have the length asked for and cosines -1/(C-1)', () => {
  for (const [classes, dim] of [
    [2, 1],
    [2, 7],
    [3, 2],
    [10, 9],
    [10, 10],
    [10, 64],
    [100, 99],
    [100, 128],
  ]) {
    for (const scale of [1, 1e-3, 25]) {
      const frame = simplexETF(classes, dim, { scale, seed: classes });
      assert.equal(frame.shape, [classes, dim]);
      assert.ok(deviation(frame, scale) < 1e-12, `${classes} x ${dim}`);
      for (let k = 0; k < dim; k++) {
        let sum = 0;
        for (let c = 0; c < classes; c++) sum += frame.data[c * dim + k];
        assert.ok(Math.abs(sum) < 1e-12 * scale * classes);
      }
    }
  }
});

test('a seed gives the same bits, another seed another frame, float32 the roundings', () => {
  const frame = simplexETF(5, 8, { seed: 3 });
  assert.equal(frame.data, simplexETF(5, 8, { seed: 3 }).data);
  assert.not.equal(frame.data, simplexETF(5, 8, { seed: 4 }).data);
  assert.equal(simplexETF(5, 8).data, simplexETF(5, 8, { seed: 0 }).data);
  assert.equal(simplexETF(5, 8, { seed: 3, dtype: 'float32' }).data, Float32Array.from(frame.data));
});

/** Kolmogorov–Smirnov distance of values from the uniform distribution on [0, 1). */
function distanceToUniform(values) {
  const sorted = Float64Array.from(values).sort();
  return sorted.reduce((worst, u, i) => Math.max(worst, (i + 1) / sorted.length - u, u - i / sorted.length), 0);
}

test('the orientation in the plane is uniform, reflections included', () => {
  const trials = 2000;
  const angles = [];
  let reflected = 0;
  for (let seed = 0; seed < trials; seed++) {
    const { data } = simplexETF(3, 2, { seed });
    angles.push(Math.atan2(data[1], data[0]) / (2 * Math.PI) + 0.5);
    if (data[0] * data[3] - data[1] * data[2] < 0) reflected++;
  }
  // 1.95/√n is the bound of the Kolmogorov–Smirnov test at 0.1%.
  assert.ok(distanceToUniform(angles) < 1.95 / Math.sqrt(trials));
  assert.ok(Math.abs(reflected / trials - 0.5) < (5 * 0.5) / Math.sqrt(trials));
});

test('each row is uniform on the sphere: moments of its projections', () => {
  const trials = 4000;
  for (const [classes, dim] of [
    [4, 3],
    [4, 5],
    [2, 4],
  ]) {
    const direction = Float64Array.from({ length: dim }, (_, k) => Math.cos(k + 1));
    const norm = Math.hypot(...direction);
    for (const row of [0, classes - 1]) {
      const moments = [0, 0, 0, 0];
      for (let seed = 0; seed < trials; seed++) {
        const { data } = simplexETF(classes, dim, { seed });
        let x = 0;
        for (let k = 0; k < dim; k++) x += (data[row * dim + k] * direction[k]) / norm;
        for (let m = 0; m < 4; m++) moments[m] += x ** (m + 1) / trials;
      }
      // On the unit sphere: E x² = 1/p, E x⁴ = 3/(p(p+2)); five standard errors as x² ≤ 1 bounds the variance of x^m by E x² or E x⁴.
      const second = 1 / dim;
      const fourth = 3 / (dim * (dim + 2));
      const error = (variance) => 5 * Math.sqrt(variance / trials);
      assert.ok(Math.abs(moments[0]) < error(second), `mean ${moments[0]}`);
      assert.ok(Math.abs(moments[1] - second) < error(fourth), `second ${moments[1]}`);
      assert.ok(Math.abs(moments[2]) < error(fourth), `third ${moments[2]}`);
      assert.ok(Math.abs(moments[3] - fourth) < error(fourth), `fourth ${moments[3]}`);
    }
  }
});

test('what cannot be is refused with the bound', () => {
  for (const [classes, dim, options, pattern] of [
    [10, 8, {}, /at least 9 dimensions/],
    [1, 8, {}, /classes/],
    [2.5, 8, {}, /classes/],
    [3, 0, {}, /dim/],
    [3, 3, { scale: -1 }, /scale/],
    [3, 3, { scale: 1e300, dtype: 'float32' }, /options\.scale is 1e\+300/],
    [3, 3, { scale: 1e-300, dtype: 'float32' }, /options\.scale is 1e-300/],
    [3, 3, { scale: 1e308 }, /options\.scale is 1e\+308/],
    [3, 3, { seed: -1 }, /seed/],
    [3, 3, { sede: 1 }, /did you mean seed/],
    [3, 3, { dtype: 'float16' }, /dtype/],
    [3, 3, null, /options/],
  ]) {
    assert.throws(
      () => simplexETF(classes, dim, options),
      (error) => error.code === 'LP_OPTION' && pattern.test(error.message),
    );
  }
});

test.run();
