import fc from 'fast-check';
import { calibration, calibrationSync, fitTemperature, fitTemperatureSync, seededRandom, simplexETF } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, refuses } from '../helpers.js';
import * as reference from './reference.js';

const close = (actual, expected, tolerance, what) =>
  assert.ok(Math.abs(actual - expected) <= tolerance * Math.max(1, Math.abs(expected)), `${what} is ${actual}, not ${expected}`);

/** Logits that favour their label somewhat. */
function sample({ samples, classes, seed = 0, scale = 2, lift = 1.5 }) {
  const random = seededRandom(seed);
  const labels = Int32Array.from({ length: samples }, () => Math.floor(random.uniform() * classes));
  const rows = Array.from(labels, (label) =>
    Array.from({ length: classes }, (_, j) => scale * random.normal() + (j === label ? lift : 0)),
  );
  return { rows, logits: array(rows), labels };
}

const sizes = {
  samples: fc.integer({ min: 1, max: 60 }),
  classes: fc.integer({ min: 2, max: 7 }),
  seed: fc.nat(),
  scale: fc.constantFrom(0.1, 2, 30),
};

test('equals its definition, for any temperature and number of bins', () => {
  const arbitrary = fc.record({ ...sizes, temperature: fc.constantFrom(0.3, 1, 7), bins: fc.constantFrom(1, 2, 10, 15, 33) });
  fc.assert(
    fc.property(arbitrary, ({ temperature, bins, ...size }) => {
      const { rows, logits, labels } = sample(size);
      const found = calibrationSync(logits, labels, { temperature, bins });
      const expected = reference.calibration(rows, labels, { temperature, bins });
      for (const name of ['ece', 'mce', 'brier']) close(found[name], expected[name], 1e-12, name);
      // Where the reference's probability vanishes its logarithm does not exist.
      if (Number.isFinite(expected.nll)) close(found.nll, expected.nll, 1e-9, 'nll');
      assert.equal([...found.reliability.counts], expected.counts);
    }),
  );
});

test('a confidence on an edge belongs to the bin below it', () => {
  // Equal logits: a confidence of 1/C exactly.
  for (const bins of [2, 4, 8, 12, 16]) {
    const { reliability } = calibrationSync(array([[3, 3, 3, 3]]), Int32Array.of(0), { bins });
    const bin = [...reliability.counts].indexOf(1);
    assert.ok(reliability.edges[bin] < 0.25 && 0.25 <= reliability.edges[bin + 1], `${bins} bins: ${bin}`);
  }
  const { reliability, ece, nll } = calibrationSync(array([[800, 0]]), Int32Array.of(0));
  assert.is(reliability.counts.at(-1), 1);
  assert.is(ece, 0);
  assert.is(nll, 0);
});

test('float32 logits are taken as the numbers they are', () => {
  const { logits, labels } = sample({ samples: 200, classes: 5 });
  const narrow = { shape: logits.shape, data: Float32Array.from(logits.data) };
  const same = { shape: logits.shape, data: Float64Array.from(narrow.data) };
  const [single, double] = [calibrationSync(narrow, labels), calibrationSync(same, labels)];
  for (const name of ['ece', 'mce', 'nll', 'brier']) close(single[name], double[name], 1e-14, name);
  assert.equal(single.reliability.counts, double.reliability.counts);
});

test('neither large logits nor saturated ones lose what is left of the loss', () => {
  const { nll, brier } = calibrationSync(
    array([
      [50, 0, 0],
      [0, 700, 0],
    ]),
    Int32Array.of(0, 2),
    { temperature: 1 },
  );
  close(nll, (2 * Math.exp(-50) + 700) / 2, 1e-15, 'nll');
  close(brier, 1, 1e-15, 'brier');
  const alone = calibrationSync(array([[50, 0, 0]]), Int32Array.of(0));
  close(alone.nll / (2 * Math.exp(-50)), 1, 1e-12, 'nll');
});

test('the fitted temperature has the smallest NLL', async () => {
  fc.assert(
    fc.property(fc.record({ ...sizes, samples: fc.integer({ min: 20, max: 60 }) }), (size) => {
      const { logits, labels } = sample(size);
      const { temperature, nll } = fitTemperatureSync(logits, labels);
      if (temperature === 0 || temperature === Number.POSITIVE_INFINITY) return;
      const at = (factor) => calibrationSync(logits, labels, { temperature: temperature * factor }).nll;
      close(at(1), nll, 1e-12, 'nll');
      for (const factor of [1e-3, 0.5, 0.99, 1.01, 2, 1e3]) assert.ok(at(factor) >= nll - 1e-12, `${factor}`);
      // The derivative by log T vanishes.
      const slope = (at(1 + 1e-5) - at(1 - 1e-5)) / 2e-5;
      assert.ok(Math.abs(slope) <= 1e-7 * Math.max(1, nll), `${slope}`);
    }),
  );
});

test('scaled logits scale the temperature, over the whole range of numbers', () => {
  const { logits, labels } = sample({ samples: 300, classes: 4 });
  const { temperature, nll } = fitTemperatureSync(logits, labels);
  for (const factor of [1e-200, 1e-30, 1e-3, 10, 1e30, 1e200]) {
    const scaled = { shape: logits.shape, data: logits.data.map((value) => value * factor) };
    const found = fitTemperatureSync(scaled, labels);
    close(found.temperature / factor, temperature, 1e-9, `${factor}`);
    close(found.nll, nll, 1e-12, `${factor}`);
    assert.ok(found.iterations < 30);
  }
});

test('where no temperature is best, it is 0 or infinite', () => {
  const right = fitTemperatureSync(
    array([
      [2, 1, 0],
      [0, 3, 3],
    ]),
    Int32Array.of(0, 2),
  );
  assert.is(right.temperature, 0);
  close(right.nll, Math.log(2) / 2, 1e-15, 'nll');
  const wrong = fitTemperatureSync(
    array([
      [2, 1, 0],
      [0, 3, 1],
    ]),
    Int32Array.of(2, 0),
  );
  assert.is(wrong.temperature, Number.POSITIVE_INFINITY);
  close(wrong.nll, Math.log(3), 1e-15, 'nll');
  assert.is(fitTemperatureSync(array([[1, 1]]), Int32Array.of(0)).temperature, Number.POSITIVE_INFINITY);
});

test('a temperature undoes the one logits were divided by', async () => {
  // Labels drawn from the softmax itself: the best temperature of many samples is 1.
  const random = seededRandom(3);
  const rows = Array.from({ length: 20000 }, () => Array.from({ length: 5 }, () => 2 * random.normal()));
  const labels = Int32Array.from(rows, (z) => {
    let left = random.uniform();
    const at = reference.softmax(z).findIndex((p) => {
      left -= p;
      return left < 0;
    });
    return at === -1 ? 4 : at;
  });
  const sharpened = array(rows.map((z) => z.map((value) => 3 * value)));
  const { temperature } = await fitTemperature(sharpened, labels);
  assert.ok(Math.abs(temperature - 3) < 0.15, `${temperature}`);
  const before = await calibration(sharpened, labels);
  const after = await calibration(sharpened, labels, { temperature });
  assert.ok(after.ece < 0.02 && before.ece > 0.1, `${before.ece} ${after.ece}`);
});

test('ECE of cosines is refused unless their temperature is stated', async () => {
  const frame = simplexETF(10, 16, { seed: 1 });
  const rows = Array.from({ length: 10 }, (_, c) =>
    Array.from({ length: 10 }, (_, k) => {
      let dot = 0;
      for (let j = 0; j < 16; j++) dot += frame.data[c * 16 + j] * frame.data[k * 16 + j];
      return dot;
    }),
  );
  const labels = Int32Array.from({ length: 10 }, (_, c) => c);
  await refuses('LP_OPTION', /within \[−1, 1\].*no confidence exceeds 0\.252.*temperature/s, () =>
    calibration(array(rows), labels),
  );
  const { reliability, ece } = calibrationSync(array(rows), labels, { temperature: 1 });
  close(Math.max(...reliability.confidence.filter((value) => !Number.isNaN(value))), 0.2523, 1e-4, 'confidence'); // field value
  assert.ok(ece > 0.7);
  assert.ok(calibrationSync(array(rows), labels, { temperature: 0.05 }).ece < 1e-6);
});

test('inputs may change as soon as a call has returned its promise', async () => {
  const { logits, labels } = sample({ samples: 5000, classes: 100 });
  const expected = fitTemperatureSync(logits, labels);
  const pending = fitTemperature(logits, labels);
  logits.data.fill(Number.NaN);
  labels.fill(-1);
  assert.equal(await pending, expected);
});

test('refuses what it cannot measure', async () => {
  const { logits, labels } = sample({ samples: 4, classes: 3 });
  const dirty = { shape: [4, 3], data: logits.data.slice() };
  dirty.data[7] = Number.NaN;
  const infinite = { shape: [4, 3], data: logits.data.slice().fill(Number.POSITIVE_INFINITY, 10, 11) };
  for (const measure of [calibration, fitTemperature]) {
    await refuses('LP_NOT_FINITE', /logits\[2, 1\] is NaN/, () => measure(dirty, labels));
    await refuses('LP_NOT_FINITE', /logits\[3, 1\] is Infinity/, () => measure(infinite, labels));
    await refuses('LP_LABEL', /labels have 3 entries, but logits have 4 rows/, () => measure(logits, labels.slice(1)));
    await refuses('LP_LABEL', /labels\[1\] is 3/, () => measure(logits, Int32Array.of(0, 3, 0, 0)));
    await refuses('LP_LABEL', /expected an Int32Array/, () => measure(logits, [0, 1, 2, 0]));
    await refuses('LP_SHAPE', /expected 2 dimensions/, () => measure({ shape: [12], data: logits.data }, labels));
    await refuses('LP_SHAPE', /two classes/, () => measure({ shape: [4, 1], data: logits.data.slice(0, 4) }, labels));
    await refuses('LP_SHAPE', /one sample/, () => measure({ shape: [0, 3], data: new Float64Array() }, new Int32Array()));
    await refuses('LP_SHAPE', /expected \{ shape, data \}/, () => measure(undefined, labels));
    await refuses('LP_DTYPE', /Float32Array/, () => measure({ shape: [4, 3], data: new Int32Array(12) }, labels));
    await refuses('LP_OPTION', /not known/, () => measure(logits, labels, { gamma: 1 }));
    await refuses('LP_ABORTED', /./, () =>
      measure(sample({ samples: 3000, classes: 100 }).logits, new Int32Array(3000), { signal: AbortSignal.abort() }),
    );
  }
  await refuses('LP_OPTION', /options\.temperature is 0/, () => calibration(logits, labels, { temperature: 0 }));
  await refuses('LP_OPTION', /options\.bins is 1\.5/, () => calibration(logits, labels, { bins: 1.5 }));
  await refuses('LP_OPTION', /did you mean bins/, () => calibration(logits, labels, { bin: 3 }));
});

test.run();
