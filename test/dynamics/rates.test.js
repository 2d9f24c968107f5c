import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { option } from '../../lib/check/options.js';
import { checkRate, checkSchedule, PIECE_SIZE, proportion } from '../../lib/dynamics/rates.js';

const rate = (value) => checkRate(value, option('options.rate'));
const schedule = (value) => checkSchedule(value, option('options.schedule'));
const close = (actual, expected, tolerance, message) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${message ?? ''}: ${actual} is not ${expected} within ${tolerance}`);

/** The definitions, written out on their own. */
function define({ kind, value, period, timescale, milestones, factor }, t) {
  if (kind === 'constant') return value;
  if (kind === 'cosine') return t < period ? (value / 2) * (1 + Math.cos((Math.PI * t) / period)) : 0;
  if (kind === 'exponential') return value * Math.exp(-t / timescale);
  let result = value;
  for (const milestone of milestones) if (t >= milestone) result *= factor;
  return result;
}
const warm = (warmup, t) => (warmup ? Math.min(1, t / warmup) : 1);

/** Gauss–Legendre of 5 points on many panels between break points. */
function quadrature(f, edges, panels = 400) {
  const points = [0, 0.538469310105683, 0.906179845938664];
  const weights = [128 / 225, 0.478628670499366, 0.236926885056189];
  let sum = 0;
  for (let e = 1; e < edges.length; e++) {
    const h = (edges[e] - edges[e - 1]) / panels;
    for (let i = 0; i < panels; i++) {
      const middle = edges[e - 1] + (i + 0.5) * h;
      sum += (h / 2) * weights[0] * f(middle);
      for (const k of [1, 2]) sum += (h / 2) * weights[k] * (f(middle - (points[k] * h) / 2) + f(middle + (points[k] * h) / 2));
    }
  }
  return sum;
}

const objects = [
  { kind: 'constant', value: 0.7 },
  { kind: 'cosine', value: 0.6, period: 9 },
  { kind: 'exponential', value: 0.9, timescale: 4 },
  { kind: 'steps', value: 0.5, milestones: [2, 5.5], factor: 0.1 },
].flatMap((object) => [object, { ...object, warmup: 3 }, { ...object, warmup: 30 }]);

test('values and integrals of every kind agree with their definitions and with quadrature', () => {
  for (const object of objects) {
    const checked = rate(object);
    const f = (t) => define(object, t) * warm(object.warmup, t);
    for (const t of [0, 1e-7, 0.3, 1, 2, 2.9, 3, 3.1, 5.5, 8.99, 9, 12, 40]) {
      close(checked.valueAt(t), f(t), 1e-15, JSON.stringify(object));
      const expected = quadrature(f, [0, ...checked.breakPoints.filter((b) => b < t), t]);
      close(checked.integral(t), expected, 1e-13 * Math.max(expected, 1e-3), `${JSON.stringify(object)} at ${t}`);
    }
  }
});

test('small times keep their relative accuracy', () => {
  const checked = rate({ kind: 'exponential', value: 2, timescale: 5, warmup: 4 });
  for (const t of [1e-12, 1e-6, 1e-3]) {
    const expected = (2 / 4) * (t ** 2 / 2 - t ** 3 / 15 + t ** 4 / 200);
    close(checked.integral(t) / expected, 1, 1e-11);
  }
});

test('total integrals', () => {
  close(rate({ kind: 'cosine', value: 0.6, period: 9 }).total, 2.7, 1e-15);
  close(rate({ kind: 'exponential', value: 0.9, timescale: 4 }).total, 3.6, 1e-15);
  assert.is(rate(0.3).total, Number.POSITIVE_INFINITY);
  assert.is(rate(0).total, 0);
  assert.is(rate({ kind: 'steps', value: 1, milestones: [3, 5], factor: 0.5 }).total, Number.POSITIVE_INFINITY);
  close(rate({ kind: 'steps', value: 2, milestones: [3, 5], factor: 0 }).total, 6, 1e-15);
  close(rate({ kind: 'steps', value: 2, milestones: [3, 5], factor: 0, warmup: 1 }).total, 5, 1e-15);
  assert.is(rate(() => 1).total, undefined);
});

test('a step of a schedule: its clock starts at 0, the warm-up at one part in warmup', () => {
  const plain = schedule({ kind: 'cosine', period: 200 }).steps(0, 201);
  for (let k = 0; k <= 200; k++) close(plain[k], (1 + Math.cos((Math.PI * k) / 200)) / 2, 1e-15);
  assert.equal([...schedule({ kind: 'constant', warmup: 4 }).steps(0, 6)], [0.25, 0.5, 0.75, 1, 1, 1]);
  assert.equal(
    [...schedule({ kind: 'steps', milestones: [2, 4], factor: 0.5, warmup: 2 }).steps(0, 6)],
    [0.5, 1, 0.5, 0.5, 0.25, 0.25],
  );
  assert.equal([...schedule({ kind: 'steps', milestones: [2, 4], factor: 0.5 }).steps(3, 2)], [0.5, 0.25]);
  assert.equal([...schedule((k) => k + 1).steps(2, 2)], [3, 4]);
  assert.equal([...rate(0.3).steps(10, 2)], [0.3, 0.3]);
});

test('break points', () => {
  assert.equal(rate({ kind: 'cosine', value: 1, period: 9, warmup: 2 }).breakPoints, [2, 9]);
  assert.equal(rate({ kind: 'steps', value: 1, milestones: [0, 3, 5], factor: 0.1, warmup: 3 }).breakPoints, [3, 5]);
  assert.equal(rate(1).breakPoints, []);
});

test('functions integrate: smooth, kinked, jumping, in any order of times', () => {
  const cases = [
    [(t) => 1 / (1 + t), (t) => Math.log1p(t), 1e-13],
    [(t) => 1 + Math.sin(3 * t), (t) => t + (1 - Math.cos(3 * t)) / 3, 1e-13],
    [Math.sqrt, (t) => (2 / 3) * t ** 1.5, 1e-12],
    [(t) => Math.abs(t - 7.3), (t) => (t < 7.3 ? t * (14.6 - t) : 7.3 ** 2 + (t - 7.3) ** 2) / 2, 1e-12],
    [(t) => (t < Math.PI ? 2 : 0.5), (t) => (t < Math.PI ? 2 * t : 2 * Math.PI + (t - Math.PI) / 2), 1e-12],
    [(t) => Math.floor(t) % 3, (t) => [0, 0, 1][Math.floor(t) % 3] + 3 * Math.floor(t / 3) + (t % 1) * (Math.floor(t) % 3), 1e-12],
  ];
  for (const [f, exact, tolerance] of cases) {
    const checked = rate(f);
    for (const t of [0, 3, 0.5, 50, 20.25, 1e-3, 300])
      close(checked.integral(t), exact(t), tolerance * Math.max(1, exact(t)), `${f} at ${t}`);
  }
});

/** `native/core/rate.h` in plain words. */
function readPieces(packed, t) {
  for (let start = 0; start < packed.length; start += PIECE_SIZE) {
    const [from, to, , ...c] = packed.subarray(start, start + PIECE_SIZE);
    if (t > to) continue;
    const angle = Math.acos(Math.max(-1, Math.min(1, (2 * (t - from)) / (to - from) - 1)));
    return c.reduce((sum, term, j) => sum + term * Math.cos(j * angle), 0);
  }
  throw new Error('beyond the horizon');
}

test('pieces for the native engine reproduce the rate and start where the integral stands', () => {
  for (const object of [...objects, (t) => 1 / (1 + t)]) {
    const checked = rate(object);
    const packed = checked.pieces(25);
    for (const t of [0.1, 1, 2.9, 3.1, 5.4, 5.6, 8.9, 10, 24.9])
      close(readPieces(packed, t), checked.valueAt(t), 1e-12, `${JSON.stringify(object)} at ${t}`);
    assert.is(packed[0], 0);
    assert.is(packed.at(-PIECE_SIZE + 1), 25);
    for (let start = 0; start < packed.length; start += PIECE_SIZE) {
      close(packed[start + 2], checked.integral(packed[start]), 1e-12);
      if (start > 0) assert.is(packed[start], packed[start - PIECE_SIZE + 1]);
    }
    for (const point of checked.breakPoints.filter((b) => b < 25)) {
      assert.ok(
        packed.some((edge, i) => i % PIECE_SIZE === 0 && edge === point),
        `a piece starts at ${point}`,
      );
    }
  }
});

test('proportional rates', () => {
  const of = (a, b) => proportion(rate(a), rate(b));
  assert.is(of(0.2, 0.8), 0.25);
  assert.is(of(0.5, { kind: 'constant', value: 0.25 }), 2);
  assert.is(of({ kind: 'cosine', value: 0.6, period: 9 }, { kind: 'cosine', value: 0.3, period: 9 }), 2);
  assert.is(of({ period: 9, value: 0.6, kind: 'cosine', warmup: 0 }, { kind: 'cosine', value: 0.3, period: 9 }), 2);
  assert.is(of({ kind: 'cosine', value: 0.6, period: 9 }, { kind: 'cosine', value: 0.6, period: 8 }), undefined);
  assert.is(of({ kind: 'cosine', value: 0.6, period: 9 }, { kind: 'cosine', value: 0.6, period: 9, warmup: 1 }), undefined);
  const f = (t) => 1 / (1 + t);
  assert.is(of(f, f), 1);
  assert.is(
    of(f, (t) => 1 / (1 + t)),
    undefined,
  );
  assert.is(of(f, 1), undefined);
  assert.is(of(0, f), 0);
  assert.is(of(f, 0), Number.POSITIVE_INFINITY);
  assert.is(of(0, 0), 1);
});

test('what is wrong is said with its path', () => {
  const refuse = (value, pattern) =>
    assert.throws(
      () => rate(value),
      (error) => error.code === 'LP_OPTION' && (pattern.test(error.message) || assert.unreachable(error.message)),
    );
  refuse(-1, /options\.rate\.value is -1/);
  refuse(Number.NaN, /NaN/);
  refuse('fast', /fast/);
  refuse(undefined, /options\.rate is missing/);
  refuse(null, /null/);
  refuse([1], /kind/);
  refuse({ kind: 'cosin', value: 1, period: 3 }, /options\.rate\.kind is "cosin"; did you mean 'cosine'/);
  refuse({ kind: 'cosine', value: 1, perod: 3 }, /perod is not known; did you mean period/);
  refuse({ kind: 'cosine', value: 1 }, /options\.rate\.period is missing/);
  refuse({ kind: 'cosine', value: 1, period: 0 }, /period is 0/);
  refuse({ kind: 'exponential', value: -1, timescale: 2 }, /value is -1/);
  refuse({ kind: 'exponential', value: 1, timescale: Number.POSITIVE_INFINITY }, /timescale/);
  refuse({ kind: 'steps', value: 1, milestones: [3, 3], factor: 1 }, /milestones\[1\] is 3; expected .* above 3/);
  refuse({ kind: 'steps', value: 1, milestones: 3, factor: 1 }, /milestones is 3/);
  refuse({ kind: 'steps', value: 1, milestones: [3], factor: -1 }, /factor is -1/);
  refuse({ kind: 'constant', value: 1, warmup: -2 }, /warmup is -2/);
  assert.throws(() => schedule({ kind: 'cosine', value: 1, period: 3 }), /value is not known/);
  assert.throws(() => schedule(3), /options\.schedule is 3/);
  assert.throws(() => rate((t) => 1 - t).integral(3), /options\.rate gave -.* at .*; expected a finite number of at least 0/);
  assert.throws(() => rate(() => Number.NaN).valueAt(3), /gave NaN at 3/);
});

test('any object: the integral grows, and its slope is the value', () => {
  const shapes = fc.oneof(
    fc.record({
      kind: fc.constant('cosine'),
      value: fc.double({ min: 0.1, max: 5, noNaN: true }),
      period: fc.double({ min: 0.5, max: 20, noNaN: true }),
      warmup: fc.double({ min: 0, max: 10, noNaN: true }),
    }),
    fc.record({
      kind: fc.constant('exponential'),
      value: fc.double({ min: 0.1, max: 5, noNaN: true }),
      timescale: fc.double({ min: 0.5, max: 20, noNaN: true }),
      warmup: fc.double({ min: 0, max: 10, noNaN: true }),
    }),
  );
  fc.assert(
    fc.property(shapes, fc.double({ min: 0.01, max: 30, noNaN: true }), (object, t) => {
      const checked = rate(object);
      const h = 1e-4;
      if (checked.breakPoints.some((b) => Math.abs(b - t) < 2 * h)) return;
      close((checked.integral(t + h) - checked.integral(t - h)) / (2 * h), checked.valueAt(t), 1e-6);
    }),
    { numRuns: 200 },
  );
});

test.run();
