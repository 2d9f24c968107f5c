import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import {
  collapse,
  collapseMeasures,
  collapseSync,
  openArray,
  randomState,
  readFloats,
  readLabels,
  seededRandom,
  simplexETF,
  writeNpy,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { distance, golden, refuses, shuffle, stateOf } from '../helpers.js';
import { reference } from './reference.js';

const close = (actual, expected, tolerance, what) =>
  assert.ok(Math.abs(actual - expected) <= tolerance * Math.abs(expected), `${what} is ${actual}, not ${expected}`);

/** Features around distinct class means; labels in random order. */
function sample({ counts, dim, dtype = 'float64', seed = 0 }) {
  const state = randomState({ counts, dim, dtype, seed });
  shuffle(state.labels, seed);
  state.features.data.forEach((value, i) => {
    state.features.data[i] = 0.5 * value + state.prototypes.data[state.labels[Math.floor(i / dim)] * dim + (i % dim)];
  });
  const biases = { shape: [counts.length], data: state.prototypes.data.slice(0, counts.length).fill(0.25) };
  return { ...state, biases };
}

/** A source that gives chunks of any sizes, over and over again. */
const sourceOf = ({ shape, data }, sizes) => ({
  shape,
  dtype: data instanceof Float32Array ? 'float32' : 'float64',
  async *chunks() {
    for (let row = 0, i = 0; row < shape[0]; i++) {
      const rows = Math.min(sizes[i % sizes.length], shape[0] - row);
      yield { shape: [rows, shape[1]], data: data.slice(row * shape[1], (row + rows) * shape[1]) };
      row += rows;
    }
  },
});

test('every variant and option equals its definition, for odd sizes and labels in any order', () => {
  const arbitrary = fc.record({
    counts: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 6 }),
    dim: fc.integer({ min: 2, max: 9 }),
    dtype: fc.constantFrom('float32', 'float64'),
    seed: fc.nat(),
    globalMean: fc.constantFrom('classes', 'samples'),
    ddof: fc.constantFrom(0, 1),
  });
  fc.assert(
    fc.property(arbitrary, ({ globalMean, ddof, ...sizes }) => {
      const state = sample(sizes);
      const result = collapseSync(state, { globalMean, ddof });
      const expected = reference(state, { globalMean, ddof });
      // Random means may come close to dependent: roundings are multiplied by the condition of their Gram matrix, and so is nc1.
      const [least, rounding] = sizes.dtype === 'float32' ? [1e-4, 1e-6] : [1e-8, 1e-13];
      const tolerance = Math.max(least, rounding * expected.nc1);
      for (const [name, value] of Object.entries(expected)) {
        if (Math.abs(value) > 1e-12) close(result[name], value, tolerance, name);
        else assert.ok(Math.abs(result[name]) < 1e-6, name);
      }
      close(
        result.spectrum.reduce((sum, value) => sum + value, 0),
        result.nc1Papyan,
        tolerance,
        'sum of the spectrum',
      );
    }),
    { numRuns: 60 },
  );
});

test('against the means of other samples, in memory and streamed, in every chunk', async () => {
  for (const [dtype, tolerance] of [
    ['float32', 1e-4],
    ['float64', 1e-8],
  ]) {
    for (const globalMean of ['classes', 'samples']) {
      const trained = sample({ counts: [9, 4, 7], dim: 5, dtype, seed: 3 });
      const tested = { ...sample({ counts: [3, 8, 2], dim: 5, dtype, seed: 4 }), prototypes: trained.prototypes };
      const options = { globalMean, reference: collapseSync(trained, { classMeans: true }) };
      const found = collapseSync(tested, options);
      const expected = reference(tested, { globalMean }, trained);
      for (const [name, value] of Object.entries(expected)) close(found[name], value, tolerance, `${dtype} ${globalMean} ${name}`);
      assert.equal(Array.from(found.counts), [3, 8, 2]);
      const streamed = await collapse({ ...tested, features: sourceOf(tested.features, [1, 4]) }, options);
      for (const name of Object.keys(expected)) close(streamed[name], found[name], 1e-6, `streamed ${name}`);
    }
  }
});

test('a reference: its own samples change nothing, a class may be missing, and what does not fit is refused', async () => {
  const state = sample({ counts: [9, 4, 7], dim: 5 });
  const measured = collapseSync(state, { classMeans: true });
  const again = collapseSync(state, { reference: measured });
  for (const name of Object.keys(collapseMeasures)) close(again[name], measured[name], 1e-12, name);
  const heard = [];
  await collapse(state, { reference: measured, onProgress: (share) => heard.push(share) });
  assert.is(heard.at(-1), 1);
  const lacking = { ...state, labels: state.labels.map((label) => (label === 1 ? 0 : label)) };
  const found = collapseSync(lacking, { reference: measured });
  assert.ok(Number.isNaN(found.nc1Cdnv));
  assert.ok(found.nc1 > measured.nc1);
  assert.equal(Array.from(found.counts), [13, 0, 7]);
  const { classMeans, counts } = measured;
  const means = classMeans.data;
  for (const [code, pattern, wrong] of [
    ['LP_SHAPE', /classMeans/, { counts }],
    ['LP_SHAPE', /5 columns/, { counts, classMeans: { shape: [5, 3], data: means } }],
    ['LP_OPTION', /counts has 2 numbers; expected 3/, { counts: counts.slice(1), classMeans }],
    ['LP_OPTION', /counts\[1\] is 0/, { counts: Int32Array.of(9, 0, 7), classMeans }],
    ['LP_SHAPE', /2 classes; expected 3/, { counts: counts.slice(1), classMeans: { shape: [2, 5], data: means.slice(5) } }],
    ['LP_NOT_FINITE', /classMeans/, { counts, classMeans: { shape: [3, 5], data: means.map(() => Number.NaN) } }],
  ]) {
    await refuses(code, pattern, () => collapse(state, { reference: wrong }));
  }
  state.features.data[5 * 17 + 2] = Number.NaN;
  await refuses('LP_NOT_FINITE', /features\[17, 2\]/, () =>
    collapse({ ...state, features: sourceOf(state.features, [10]) }, { reference: measured }),
  );
});

test('collapsed to the last digits, far from the origin, in float32: the exact value', () => {
  // Means e_c + 64 and samples ± δ e_j around them, all exact: Σ_W = δ²/p I, Σ_B⁺ = C (I − 11ᵀ/C), nc1 = δ² (C−1)/p.
  const [classes, dim] = [4, 6];
  for (const [Type, origin, delta] of [
    [Float32Array, 0, 2 ** -20],
    [Float32Array, 64, 2 ** -17],
    [Float64Array, 64, 2 ** -40],
  ]) {
    const labels = [];
    const rows = [];
    for (let c = 0; c < classes; c++) {
      for (let j = 0; j < dim; j++) {
        for (const sign of [-1, 1]) {
          labels.push(c);
          rows.push(Array.from({ length: dim }, (_, k) => origin + (k === c) + (k === j ? sign * delta : 0)));
        }
      }
    }
    const features = { shape: [rows.length, dim], data: Type.from(rows.flat()) };
    const prototypes = {
      shape: [classes, dim],
      data: Type.from({ length: classes * dim }, (_, i) => (i % (dim + 1) === 0 ? 1 : 0)),
    };
    const result = collapseSync({ features, labels: Int32Array.from(labels), prototypes });
    close(result.nc1, (delta ** 2 * (classes - 1)) / dim, 1e-6, 'nc1');
    close(result.nc1TraceRatio, delta ** 2 / (1 - 1 / classes), 1e-12, 'nc1TraceRatio');
    close(result.nc1Cdnv, delta ** 2 / 2, 1e-12, 'nc1Cdnv');
    close(result.withinClassVariation, delta / Math.sqrt(1 - 1 / classes), 1e-6, 'withinClassVariation');
    assert.is(result.spectrum.length, classes - 1);
    for (const value of result.spectrum) close(value, (delta ** 2 * classes) / dim, 1e-6, 'spectrum');
    assert.ok(result.featureCosine < 1e-12 && result.selfDuality < 1e-12 && result.nc3 < 1e-12);
    assert.is(result.accuracy, 1);
    assert.is(result.nc4, 0);
    close(result.minMargin, 1 - delta, 1e-6, 'minMargin');
  }
});

test('the rank of Σ_B is kept to C−1 in float32, whose pseudo-inverse is the field’s trap', () => {
  const double = sample({ counts: new Array(10).fill(40), dim: 64, seed: 3 });
  const single = Object.fromEntries(
    Object.entries(double).map(([name, array]) => [
      name,
      array.data ? { shape: array.shape, data: Float32Array.from(array.data) } : array,
    ]),
  );
  const [a, b] = [collapseSync(double), collapseSync(single)];
  assert.is(b.spectrum.length, 9);
  for (const name of Object.keys(collapseMeasures)) {
    assert.ok(Math.abs(a[name] - b[name]) <= 1e-5 * (1 + Math.abs(a[name])), `${name}: ${a[name]} and ${b[name]}`);
  }
});

test('a simplex with its own prototypes is collapse', () => {
  const prototypes = simplexETF(5, 9, { scale: 3 });
  const labels = Int32Array.from({ length: 20 }, (_, i) => (i * 3) % 5);
  const features = { shape: [20, 9], data: new Float64Array(180) };
  for (const [i, label] of labels.entries()) features.data.set(prototypes.data.subarray(label * 9, label * 9 + 9), i * 9);
  const result = collapseSync({ features, labels, prototypes });
  for (const [name, { atCollapse }] of Object.entries(collapseMeasures)) {
    if (atCollapse !== undefined) assert.ok(Math.abs(result[name] - atCollapse) < 1e-12, `${name} is ${result[name]}`);
  }
});

test('streamed in chunks of any size equals in memory; synchronous equals asynchronous', async () => {
  const state = sample({ counts: [400, 90, 310, 200], dim: 23, seed: 9 });
  const whole = collapseSync(state, { classMeans: true });
  assert.equal(await collapse(state, { classMeans: true }), whole);
  for (const sizes of [[1], [7, 64, 1], [500], [5000]]) {
    const streamed = await collapse({ ...state, features: sourceOf(state.features, sizes) }, { classMeans: true });
    for (const name of Object.keys(collapseMeasures)) {
      assert.ok(Math.abs(streamed[name] - whole[name]) <= 1e-12 * (1 + Math.abs(whole[name])), name);
    }
    assert.ok(distance(streamed.spectrum, whole.spectrum) < 1e-13);
    assert.ok(distance(streamed.classMeans.data, whole.classMeans.data) < 1e-14);
    assert.equal(streamed.counts, whole.counts);
  }
});

test('streamed from a file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'layerpeel-collapse-'));
  try {
    const state = sample({ counts: [30, 50, 20], dim: 5, dtype: 'float32' });
    await writeNpy(join(folder, 'features.npy'), state.features);
    const features = await openArray(join(folder, 'features.npy'));
    const streamed = await collapse({ ...state, features });
    await features.close();
    assert.equal(streamed, collapseSync(state));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('without prototypes what needs them is absent; only gives what is asked for', async () => {
  const { features, labels, prototypes } = stateOf(golden('collapse')[1]);
  const all = collapseSync({ features, labels, prototypes });
  const alone = collapseSync({ features, labels });
  for (const [name, { prototypes: needed }] of Object.entries(collapseMeasures)) {
    if (needed) assert.not(name in alone);
    else assert.is(alone[name], all[name]);
  }
  assert.not('prototypeNorms' in alone);
  assert.is(alone.classes, 3);

  let passes = 0;
  const source = sourceOf(features, [4]);
  const chunks = () => {
    passes++;
    return source.chunks();
  };
  const counting = { ...source, chunks };
  const cheap = await collapse({ features: counting, labels, prototypes }, { only: ['nc3', 'featureCosine'] });
  assert.is(passes, 1);
  assert.is(cheap.nc3, all.nc3);
  assert.not('nc1' in cheap);
  assert.not('spectrum' in cheap);
  await collapse({ features: counting, labels }, { only: ['nc1'] });
  assert.is(passes, 3);
});

test('what figures need has its shape and meaning', () => {
  const state = sample({ counts: [3, 5, 2, 8], dim: 6, seed: 2 });
  const result = collapseSync(state, { classMeans: true });
  assert.equal(result.featureCosines.shape, [4, 4]);
  assert.equal(result.prototypeCosines.shape, [4, 4]);
  assert.equal(result.classMeans.shape, [4, 6]);
  assert.equal(Array.from(result.counts), [3, 5, 2, 8]);
  for (let c = 0; c < 4; c++) close(result.featureCosines.data[c * 5], 1, 1e-14, 'cosine with itself');
  const own = state.features.data.filter((_, i) => state.labels[Math.floor(i / 6)] === 2);
  for (let j = 0; j < 6; j++) close(result.classMeans.data[12 + j], (own[j] + own[6 + j]) / 2, 1e-14, 'mean');
  close(result.prototypeNorms[1], Math.hypot(...state.prototypes.data.subarray(6, 12)), 1e-14, 'norm');
});

test('one sample a class, two classes, fewer dimensions than classes, equal means', () => {
  const single = collapseSync(sample({ counts: [1, 1, 1], dim: 7 }));
  assert.is(single.nc1, 0);
  assert.is(single.withinClassVariation, 0);
  assert.is(collapseSync(sample({ counts: [4, 3], dim: 1 })).spectrum.length, 1);
  assert.is(collapseSync(sample({ counts: new Array(9).fill(5), dim: 4 })).spectrum.length, 4);
  const features = { shape: [4, 2], data: Float64Array.of(1, 2, 3, 2, 1, 2, 3, 2) };
  const equal = collapseSync({ features, labels: Int32Array.of(0, 0, 1, 1) });
  assert.ok(Number.isNaN(equal.nc1) && Number.isNaN(equal.featureCosine));
  assert.is(equal.withinClassVariation, 1);
  assert.is(equal.spectrum.length, 0);
});

test('class means that lie close together beside one far away', () => {
  for (const [Type, apart, spread] of [
    [Float64Array, 1e-9, 1e-10],
    [Float32Array, 2 ** -20, 2 ** -24],
  ]) {
    const means = [
      [0, 0],
      [apart, 0],
      [1024, 0],
    ];
    const rows = means.flatMap(([x, y]) => [-1, 1].map((sign) => [x, y + sign * spread]));
    const features = { shape: [6, 2], data: Type.from(rows.flat()) };
    const { nc1Cdnv } = collapseSync({ features, labels: Int32Array.of(0, 0, 1, 1, 2, 2) });
    const pair = (distance) => spread ** 2 / distance ** 2;
    close(nc1Cdnv, (pair(features.data[4]) + 2 * pair(1024)) / 3, 1e-6, `nc1Cdnv of ${Type.name}`);
  }
});

test('progress of one sweep rises to 1 too', async () => {
  const shares = [];
  await collapse(sample({ counts: [50, 50], dim: 3 }), { only: ['nc3'], onProgress: (share) => shares.push(share) });
  assert.is(shares.at(-1), 1);
});

test('progress rises to 1; an AbortSignal stops it', async () => {
  const state = sample({ counts: [50, 50], dim: 3 });
  const features = sourceOf(state.features, [9]);
  const shares = [];
  await collapse({ ...state, features }, { onProgress: (share) => shares.push(share) });
  assert.is(shares.at(-1), 1);
  assert.equal(
    shares,
    [...shares].sort((a, b) => a - b),
  );
  assert.is(shares.length, 24);
  await refuses('LP_ABORTED', /AbortSignal/, () => collapse(state, { signal: AbortSignal.abort() }));
  const controller = new AbortController();
  await refuses('LP_ABORTED', /AbortSignal/, () =>
    collapse({ ...state, features }, { signal: controller.signal, onProgress: () => controller.abort() }),
  );
});

test('refuses what it cannot measure', async () => {
  const state = sample({ counts: [5, 4, 3], dim: 3 });
  const { features, labels, prototypes, biases } = state;
  const measure = (changes, options) => () => collapseSync({ ...state, ...changes }, options);
  await refuses('LP_BALANCE', /Class 1 of 3 has no samples/, measure({ labels: labels.map((c) => (c === 1 ? 0 : c)) }));
  await refuses('LP_BALANCE', /Class 3 of 4/, measure({ prototypes: undefined, biases: undefined }, { classes: 4 }));
  for (const classes of [13, 2 ** 31, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
    const expected = new RegExp(`12 samples for ${classes} classes`);
    await refuses('LP_BALANCE', expected, measure({ prototypes: undefined, biases: undefined }, { classes }));
  }
  await refuses('LP_LABEL', /labels\[0\] is -1/, measure({ labels: labels.map(() => -1) }));
  await refuses('LP_LABEL', /11 entries/, measure({ labels: labels.slice(1) }));
  await refuses('LP_LABEL', /Int32Array/, measure({ labels: [...labels], prototypes: undefined, biases: undefined }));
  await refuses('LP_SHAPE', /at least two/, measure({ labels: labels.map(() => 0), prototypes: undefined, biases: undefined }));
  await refuses('LP_SHAPE', /same number of columns/, measure({ prototypes: { shape: [3, 2], data: new Float64Array(6) } }));
  await refuses('LP_SHAPE', /expected \[3\]/, measure({ biases: { shape: [2], data: new Float64Array(2) } }));
  await refuses('LP_SHAPE', /at least one sample/, measure({ features: { shape: [0, 3], data: new Float64Array(0) } }));
  await refuses(
    'LP_DTYPE',
    /prototypes float32/,
    measure({ prototypes: { ...prototypes, data: Float32Array.from(prototypes.data) } }),
  );
  await refuses('LP_OPTION', /without prototypes/, measure({ prototypes: undefined }));
  await refuses('LP_OPTION', /did you mean globalMean/, measure({}, { globalmean: 'samples' }));
  await refuses('LP_OPTION', /did you mean 'samples'/, measure({}, { globalMean: 'sample' }));
  await refuses('LP_OPTION', /at most 1/, measure({}, { ddof: 2 }));
  await refuses('LP_OPTION', /classes is 5, but there are 3/, measure({}, { classes: 5 }));
  await refuses('LP_OPTION', /only\[1\] is "nc1Papian"; did you mean 'nc1Papyan'/, measure({}, { only: ['nc1', 'nc1Papian'] }));
  await refuses(
    'LP_OPTION',
    /'nc4', which needs prototypes/,
    measure({ prototypes: undefined, biases: undefined }, { only: ['nc4'] }),
  );
  await refuses('LP_OPTION', /await collapse/, measure({ features: sourceOf(features, [4]) }));
  await refuses('LP_SHAPE', /undefined/, () => collapse(undefined));

  const wrong = (change) => () => collapse({ ...state, features: { ...sourceOf(features, [4]), ...change } });
  await refuses('LP_SHAPE', /gave 0 rows/, wrong({ async *chunks() {} }));
  await refuses('LP_SHAPE', /does not fit in/, wrong({ chunks: () => sourceOf({ ...features, shape: [18, 2] }, [4]).chunks() }));
  await refuses('LP_DTYPE', /gave a chunk of float64/, async () =>
    collapse({ features: { ...sourceOf(features, [4]), dtype: 'float32' }, labels }),
  );
  await refuses('LP_DTYPE', /did you mean 'float32'/, wrong({ dtype: 'float16' }));

  features.data[10 * 3 + 2] = Number.NaN;
  await refuses('LP_NOT_FINITE', /features\[10, 2\] is NaN/, () => collapse(state));
  await refuses('LP_NOT_FINITE', /features\[10, 2\] is NaN/, () => collapse({ ...state, features: sourceOf(features, [4]) }));
  features.data[32] = 0;
  prototypes.data[4] = Number.POSITIVE_INFINITY;
  await refuses('LP_NOT_FINITE', /prototypes\[1, 1\] is Infinity/, () => collapse(state));
  prototypes.data[4] = 0;
  biases.data[2] = Number.NaN;
  await refuses('LP_NOT_FINITE', /biases\[2\] is NaN/, () => collapse(state));
});

test('labels and features that change or go while they are measured do no harm', async () => {
  const random = seededRandom(1);
  const [rows, dim] = [6000, 512]; // two chunks and a half
  const features = { shape: [rows, dim], data: random.fillNormal(new Float64Array(rows * dim)) };
  const labels = Int32Array.from({ length: rows }, (_, i) => i % 3);
  const expected = collapseSync({ features, labels });
  const measured = collapse({ features, labels });
  labels.fill(1 << 20);
  assert.ok(Math.abs((await measured).nc1 - expected.nc1) < 1e-12);
  labels.forEach((_, i) => {
    labels[i] = i % 3;
  });
  const lost = collapse({ features, labels });
  structuredClone(features.data.buffer, { transfer: [features.data.buffer] });
  await refuses('LP_DETACHED', /detached/, () => lost);
});

const real = new URL('../../../shared/data/features/', import.meta.url);
if (existsSync(real)) {
  test('features of a network collapse as it trains', async () => {
    const labels = await readLabels(new URL('labels.npy', real).pathname);
    const read = (name) => readFloats(new URL(name, real).pathname);
    const results = [];
    for (const epoch of ['01', '06', '12']) {
      const features = await read(`epoch${epoch}-features.npy`);
      const prototypes = await read(`epoch${epoch}-prototypes.npy`);
      const biases = await read(`epoch${epoch}-biases.npy`);
      results.push(await collapse({ features, labels, prototypes, biases }));
    }
    const falls = (name) => results[0][name] > results[2][name];
    for (const name of ['nc1', 'nc1TraceRatio', 'nc1Cdnv', 'withinClassVariation', 'nc4']) assert.ok(falls(name), name);
    assert.ok(results[2].accuracy > 0.85);
  });
} else {
  console.log('Skipped: features of a network, as ../shared/data/features is not there.');
}

test.run();
