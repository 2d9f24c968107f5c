// The cross-entropy layer-peeled model: margins and their bound, KKT certificates, the saddle of Example 3.1, curvature.
import {
  kktCertificate,
  kktCertificateSync,
  lossAndGradientSync,
  margins,
  marginsSync,
  projectedDescentSync,
  randomState,
  saddleExample,
  seededRandom,
  simplexETF,
  tangentCurvature,
  tangentCurvatureSync,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, golden, near, refuses } from '../helpers.js';

/** Neural collapse with features `ratio` times the prototypes. */
function collapsed(classes, perClass, dim, scale = 1, ratio = 1 / Math.sqrt(perClass)) {
  const { data } = simplexETF(classes, dim, { seed: 4 });
  const labels = Int32Array.from({ length: classes * perClass }, (_, i) => i % classes);
  return {
    prototypes: { shape: [classes, dim], data: data.map((x) => scale * x) },
    features: {
      shape: [labels.length, dim],
      data: Float64Array.from(
        { length: labels.length * dim },
        (_, k) => ratio * scale * data[labels[Math.floor(k / dim)] * dim + (k % dim)],
      ),
    },
    labels,
  };
}

test('margins are those of plain loops, and reach the bound at balanced collapse alone', async () => {
  const random = seededRandom(3);
  for (const [classes, perClass, dim] of [
    [2, 1, 1],
    [3, 5, 7],
    [5, 2, 4],
  ]) {
    const state = randomState({ classes, perClass, dim, seed: classes });
    const found = marginsSync(state);
    assert.equal(await margins(state), found);
    let smallest = Number.POSITIVE_INFINITY;
    for (const [i, y] of state.labels.entries()) {
      const h = state.features.data.subarray(i * dim, (i + 1) * dim);
      const z = Array.from({ length: classes }, (_, c) => h.reduce((sum, x, j) => sum + x * state.prototypes.data[c * dim + j], 0));
      const margin = z[y] - Math.max(...z.filter((_, c) => c !== y));
      near(found.margins[i], margin, 1e-12, 'margin');
      smallest = Math.min(smallest, margin);
    }
    near(found.smallest, smallest, 1e-12, 'smallest');
    assert.ok(found.gap > 0);
    const best = marginsSync(collapsed(classes, perClass, dim, 1 + random.uniform()));
    near(best.gap / best.bound, 0, 1e-13, 'gap at collapse');
    assert.ok(marginsSync(collapsed(classes, perClass, dim, 1, 1.3 / Math.sqrt(perClass))).gap > 1e-3, 'norms that differ');
  }
  const unequal = randomState({ classes: 3, perClass: 4, dim: 5 });
  unequal.labels[0] = 1;
  assert.is(marginsSync(unequal).bound, undefined);
});

test('a KKT certificate stays within its bounds along a run, and agrees with what is measured on the way', async () => {
  const kase = golden('layer-peeled')[0];
  const state = { features: array(kase.features), prototypes: array(kase.prototypes), labels: Int32Array.from(kase.labels) };
  const names = ['loss', 'smoothedMargin', 'minMargin', 'gradientAlignment'];
  const options = { learningRates: { features: 5, prototypes: 5 }, steps: 3000, snapshots: 500, measure: { names } };
  let before = Number.POSITIVE_INFINITY;
  for (const snapshot of projectedDescentSync({ loss: { kind: 'cross-entropy' }, state }, options)) {
    const kkt = kktCertificateSync(snapshot.state);
    assert.ok(kkt.stationarity <= kkt.epsilon && kkt.complementarity <= kkt.delta && kkt.complementarity >= 0);
    assert.ok(kkt.stationarity < before);
    before = kkt.stationarity;
    // θ − Σ λ_ij ∇s_ij, by loops.
    const q = kkt.smallestMargin;
    const [n, p] = state.features.shape;
    const { features, prototypes } = snapshot.state;
    const rest = { features: features.data.map((x) => x / Math.sqrt(q)), prototypes: prototypes.data.map((x) => x / Math.sqrt(q)) };
    for (let i = 0; i < n; i++) {
      const y = state.labels[i];
      for (let c = 0; c < 5; c++) {
        const weight = kkt.multipliers.data[5 * i + c] / Math.sqrt(q);
        for (let j = 0; j < p; j++) {
          rest.features[i * p + j] -= weight * (prototypes.data[y * p + j] - prototypes.data[c * p + j]);
          rest.prototypes[y * p + j] -= weight * features.data[i * p + j];
          rest.prototypes[c * p + j] += weight * features.data[i * p + j];
        }
      }
    }
    near(Math.hypot(...rest.features, ...rest.prototypes), kkt.stationarity, 1e-9 * (1 + kkt.stationarity), 'stationarity');
    if (snapshot.reason) {
      const { loss, smoothedMargin, minMargin, gradientAlignment } = snapshot.measures;
      near(kkt.logLoss, Math.log(50 * loss.at(-1)), 1e-11, 'loss');
      near(kkt.smoothedMargin, smoothedMargin.at(-1), 1e-13, 'smoothed margin');
      near(kkt.smallestMargin, minMargin.at(-1), 1e-11, 'margin');
      near(kkt.gradientAlignment, gradientAlignment.at(-1), 1e-11, 'alignment');
      assert.equal(await kktCertificate(snapshot.state), kkt);
    }
  }
});

test('what bounds a certificate is Lemma B.1, of any number of classes and samples', () => {
  for (const [classes, perClass, dim] of [
    [2, 1, 3],
    [3, 5, 4],
    [5, 2, 4],
  ]) {
    const state = collapsed(classes, perClass, dim, 4);
    state.features.data = state.features.data.map((x, k) => x * (1 + 0.1 * Math.sin(k)));
    const n = state.labels.length;
    const square = Math.hypot(...state.features.data, ...state.prototypes.data) ** 2;
    const sum = lossAndGradientSync({ kind: 'cross-entropy' }, state, { reduction: 'sum' }).value;
    assert.ok(sum < Math.LN2);
    const { epsilon, delta, smoothedMargin, smallestMargin, gradientAlignment } = kktCertificateSync(state);
    near(smoothedMargin / (-Math.log(Math.expm1(sum)) / square), 1, 1e-11, 'smoothed margin');
    near(epsilon / Math.sqrt((2 * (1 - gradientAlignment)) / smoothedMargin), 1, 1e-6, 'ε');
    near(delta / ((n * classes * (classes - 1)) / (2 * Math.E * smoothedMargin * smallestMargin)), 1, 1e-13, 'δ');
  }
});

test('certificates hold where the loss has left the range of a double', () => {
  // A point on the KKT direction: everything follows from the margins, all of them q.
  const state = collapsed(4, 3, 6, 60);
  const kkt = kktCertificateSync(state);
  const q = kkt.smallestMargin;
  assert.ok(q > 1000);
  near(kkt.logLoss, Math.log(12 * 3) - q, 1e-10, 'log loss');
  near(kkt.smoothedMargin, (q - Math.log(36)) / (60 ** 2 * 4 * 2), 1e-14, 'smoothed margin');
  near(kkt.gradientAlignment, 1, 1e-12, 'alignment');
  near(kkt.stationarity, 0, 1e-7, 'stationarity');
  near(kkt.complementarity, 0, 1e-9, 'complementarity');
});

test('the example of LP §3.2: golden path, first and second derivative, a certificate without collapse', () => {
  const { path, prototypes } = golden('layer-peeled').find(({ name }) => name.startsWith('saddle'));
  const loss = (alpha) => lossAndGradientSync({ kind: 'cross-entropy' }, saddleExample(alpha), { reduction: 'sum' }).value;
  assert.equal(saddleExample().prototypes, array(prototypes));
  const norm2 = ({ data }) => data.reduce((sum, x) => sum + x * x, 0);
  for (const { alpha, loss: expected, prototypesNorm2, featuresNorm2 } of path) {
    near(loss(alpha), expected, 1e-12, `loss at ${alpha}`);
    near(norm2(saddleExample(alpha).prototypes), prototypesNorm2, 1e-12, 'norm');
    near(norm2(saddleExample(alpha).features), featuresNorm2, 1e-12, 'norm');
  }
  near((loss(1e-4) - loss(-1e-4)) / 2e-4, 0, 1e-8, 'first derivative');
  assert.ok((loss(1e-3) - 2 * loss(0) + loss(-1e-3)) / 1e-6 < -1);
  near(kktCertificateSync(saddleExample()).stationarity, 0, 1e-12, 'stationarity');
  assert.ok(marginsSync(saddleExample()).gap > 0.5);
});

/** The lowest eigenvalue of the dense Riemannian Hessian, from finite differences of the gradient and Jacobi's method. */
function densest(state, reduction) {
  const { features, prototypes } = state;
  const size = features.data.length + prototypes.data.length;
  const point = Float64Array.of(...features.data, ...prototypes.data);
  const gradientAt = (x) => {
    const moved = {
      features: { ...features, data: x.slice(0, features.data.length) },
      prototypes: { ...prototypes, data: x.slice(features.data.length) },
      labels: state.labels,
    };
    const g = lossAndGradientSync({ kind: 'cross-entropy' }, moved, { reduction });
    return Float64Array.of(...g.features.data, ...g.prototypes.data);
  };
  const dot = (x, y) => x.reduce((sum, a, k) => sum + a * y[k], 0);
  const square = dot(point, point);
  const multiplier = -dot(point, gradientAt(point)) / square;
  const columns = Array.from({ length: size }, (_, k) => {
    const h = 1e-5;
    const [up, down] = [point.slice(), point.slice()];
    up[k] += h;
    down[k] -= h;
    const [a, b] = [gradientAt(up), gradientAt(down)];
    return a.map((x, j) => (x - b[j]) / (2 * h) + (j === k ? multiplier : 0));
  });
  // On the complement of the point; along the point itself a large value takes its place.
  const matrix = columns.map((column, k) => Array.from(column, (x, j) => (x + columns[j][k]) / 2));
  const unit = point.map((x) => x / Math.sqrt(square));
  const image = matrix.map((row) => dot(row, unit));
  const middle = dot(unit, image);
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++) matrix[i][j] += -unit[i] * image[j] - image[i] * unit[j] + (middle + 100) * unit[i] * unit[j];
  for (let sweep = 0; sweep < 60; sweep++) {
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < i; j++) {
        if (Math.abs(matrix[i][j]) < 1e-15) continue;
        const angle = 0.5 * Math.atan2(2 * matrix[i][j], matrix[i][i] - matrix[j][j]);
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        for (let k = 0; k < size; k++)
          [matrix[k][i], matrix[k][j]] = [c * matrix[k][i] + s * matrix[k][j], c * matrix[k][j] - s * matrix[k][i]];
        for (let k = 0; k < size; k++)
          [matrix[i][k], matrix[j][k]] = [c * matrix[i][k] + s * matrix[j][k], c * matrix[j][k] - s * matrix[i][k]];
      }
    }
  }
  return Math.min(...matrix.map((row, k) => row[k]));
}

test('the lowest curvature is that of the dense Hessian, at any state', async () => {
  for (const [classes, perClass, dim, reduction] of [
    [3, 2, 3, 'mean'],
    [4, 1, 5, 'sum'],
    [2, 3, 1, 'mean'],
    [5, 2, 2, 'sum'],
  ]) {
    const state = randomState({ classes, perClass, dim, seed: dim });
    const found = tangentCurvatureSync(state, { reduction });
    assert.equal(await tangentCurvature(state, { reduction }), found);
    assert.is(found.kind, 'not-stationary');
    near(found.eigenvalue, densest(state, reduction), 1e-6, `${classes} classes in ${dim} dimensions`);
    assert.ok(found.converged && found.residual < 1e-7);
    const gradient = lossAndGradientSync({ kind: 'cross-entropy' }, state, { reduction });
    assert.ok(distance(found.gradient.features.data, gradient.features.data) < 1e-12);
    assert.ok(distance(found.gradient.prototypes.data, gradient.prototypes.data) < 1e-12);
    const { features, prototypes } = found.direction;
    near(Math.hypot(...features.data, ...prototypes.data), 1, 1e-12, 'unit norm');
    const along = (x, y) => x.reduce((sum, a, k) => sum + a * y[k], 0);
    near(along(features.data, state.features.data) + along(prototypes.data, state.prototypes.data), 0, 1e-10, 'tangent');
  }
});

test('a search of more vectors than are kept at a time finds the lowest curvature too', () => {
  const state = randomState({ classes: 5, perClass: 4, dim: 6, seed: 6 });
  const searched = (seed) => tangentCurvatureSync(state, { tolerance: 1e-12, seed });
  const found = searched(0);
  assert.ok(found.converged && found.steps > 48, `${found.steps} steps`);
  near(found.eigenvalue, densest(state, 'mean'), 1e-7, 'eigenvalue');
  const other = searched(1);
  near(other.eigenvalue, found.eigenvalue, 1e-11, 'another seed');
  assert.not.equal(other.direction, found.direction, 'another seed begins elsewhere');
  assert.equal(searched(1), other);

  // Of a larger state, restarted often, the residual is that of the gradient's finite differences along the direction.
  const large = randomState({ classes: 11, perClass: 11, dim: 29, seed: 29 });
  const { eigenvalue, residual, converged, steps, direction, multiplier } = tangentCurvatureSync(large, {
    tolerance: 1e-10,
    steps: 1000,
  });
  assert.ok(converged && steps > 100, `${steps} steps`);
  const parts = ['features', 'prototypes'];
  const h = 1e-4;
  const [up, down] = [h, -h].map((by) => {
    const moved = { ...large };
    for (const part of parts)
      moved[part] = { ...large[part], data: large[part].data.map((x, k) => x + by * direction[part].data[k]) };
    return lossAndGradientSync({ kind: 'cross-entropy' }, moved);
  });
  const points = Float64Array.of(...large.features.data, ...large.prototypes.data);
  const vector = Float64Array.of(...direction.features.data, ...direction.prototypes.data);
  const image = Float64Array.of(
    ...parts.flatMap((part) => Array.from(up[part].data, (x, k) => (x - down[part].data[k]) / (2 * h))),
  );
  const rest = image.map((x, k) => x + (multiplier - eigenvalue) * vector[k]);
  const dot = (x, y) => x.reduce((sum, a, k) => sum + a * y[k], 0);
  const along = dot(rest, points) / dot(points, points);
  near(Math.sqrt(dot(rest, rest) - along ** 2 * dot(points, points)), residual, 1e-8, 'residual');
});

test('an eigenvalue that is zero but for rounding is no way down, and a residual has the unit of its eigenvalue', () => {
  const state = collapsed(4, 3, 6);
  const [mean, sum] = ['mean', 'sum'].map((reduction) => tangentCurvatureSync(state, { reduction, steps: 7 }));
  near(sum.residual, 12 * mean.residual, 1e-12 * sum.residual, 'residual');
  near(sum.eigenvalue, 12 * mean.eigenvalue, 1e-12, 'eigenvalue');
  assert.ok(sum.residual > 0);
});

test('Theorem 3.4: the example is a strict saddle with a way down, collapse is an optimum', () => {
  const saddle = tangentCurvatureSync(saddleExample(), { reduction: 'sum' });
  assert.is(saddle.kind, 'strict-saddle');
  near(saddle.eigenvalue, densest(saddleExample(), 'sum'), 1e-6, 'eigenvalue');
  // On the sphere, along the direction, the loss falls by half the eigenvalue times the square of the angle.
  const { features, prototypes, labels } = saddleExample();
  const norm = Math.hypot(...features.data, ...prototypes.data);
  const lossAt = (angle) => {
    const moved = (x, v) => ({ ...x, data: x.data.map((a, k) => Math.cos(angle) * a + norm * Math.sin(angle) * v.data[k]) });
    const state = {
      features: moved(features, saddle.direction.features),
      prototypes: moved(prototypes, saddle.direction.prototypes),
      labels,
    };
    return lossAndGradientSync({ kind: 'cross-entropy' }, state, { reduction: 'sum' }).value;
  };
  const angle = 1e-3;
  near((lossAt(angle) - 2 * lossAt(0) + lossAt(-angle)) / (norm * angle) ** 2, saddle.eigenvalue, 1e-5, 'curvature');
  for (const [classes, perClass, dim] of [
    [3, 1, 2],
    [4, 3, 6],
    [5, 2, 9],
  ]) {
    const best = tangentCurvatureSync(collapsed(classes, perClass, dim, 1.4));
    assert.is(best.kind, 'optimum', `${best.eigenvalue}`);
  }
});

/** `state` with features and prototypes `factor` times as large. */
const times = (state, factor) => ({
  features: { ...state.features, data: state.features.data.map((x) => factor * x) },
  prototypes: { ...state.prototypes, data: state.prototypes.data.map((x) => factor * x) },
  labels: state.labels,
});

test('curvature is judged rightly at any norm, where the softmax rounds to the labels and the loss underflows', () => {
  for (const factor of [0.01, 1, 4, 6, 10, 20, 30]) {
    const saddle = tangentCurvatureSync(times(saddleExample(), factor));
    assert.is(saddle.kind, 'strict-saddle', `saddle at ${factor}`);
    assert.ok(saddle.converged && saddle.tangentGradient < 1e-12 && saddle.residual >= 0);
    const best = tangentCurvatureSync(collapsed(4, 3, 6, factor));
    assert.is(best.kind, 'optimum', `collapse at ${factor}`);
  }
});

test('a search that ends early never says optimum of a saddle; a misclassified state has finite curvature', () => {
  for (const steps of [1, 2, 3, 5]) {
    const { kind, eigenvalue, converged } = tangentCurvatureSync(saddleExample(), { steps });
    assert.is(converged, false);
    assert.is(kind, eigenvalue < 0 ? 'strict-saddle' : 'undecided', `${steps} steps`);
  }
  // Collapse that is not quite there is no saddle.
  const random = seededRandom(5);
  for (const size of [1e-12, 1e-10, 1e-8]) {
    const state = collapsed(4, 3, 6);
    for (const part of ['features', 'prototypes']) state[part].data = state[part].data.map((x) => x + size * random.normal());
    assert.is(tangentCurvatureSync(state).kind, 'optimum', `off by ${size}`);
  }
  const wrong = times(collapsed(3, 2, 4), 40);
  wrong.labels = wrong.labels.map((y) => (y + 1) % 3); // logits beyond the range of exp
  const found = tangentCurvatureSync(wrong);
  const { features, prototypes } = lossAndGradientSync({ kind: 'cross-entropy' }, wrong);
  assert.ok(Number.isFinite(found.eigenvalue) && found.residual >= 0);
  // Logits of 1 600 have lost three digits.
  assert.ok(distance(found.gradient.features.data, features.data) < 1e-10);
  assert.ok(distance(found.gradient.prototypes.data, prototypes.data) < 1e-10);
});

test('refuses what it cannot analyse', async () => {
  const state = randomState({ classes: 3, perClass: 2, dim: 4 });
  await refuses('LP_OPTION', /smallest margin/, () => kktCertificate(state));
  await refuses('LP_OPTION', /did you mean 'mean'/, () => tangentCurvature(state, { reduction: 'men' }));
  await refuses('LP_OPTION', /tolerance is 0/, () => tangentCurvature(state, { tolerance: 0 }));
  await refuses('LP_OPTION', /alpha is NaN/, () => saddleExample(Number.NaN));
  await refuses('LP_ABORTED', /stopped/, () => tangentCurvature(state, { signal: AbortSignal.abort() }));
  state.features.data[2] = Number.NaN;
  await refuses('LP_NOT_FINITE', /NaN/, () => margins(state));
  state.features.data.fill(0);
  state.prototypes.data.fill(0);
  await refuses('LP_OPTION', /zero/, () => tangentCurvature(state));
});

test.run();
