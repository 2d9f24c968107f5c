// Numbers below the normal range: float work takes them as zero, in every thread that takes part; work in double and JavaScript
// keep them, whatever way a call ends.
import {
  gradientFlowSync,
  iteratedDescent,
  iteratedDescentSync,
  LayerpeelError,
  lossAndGradient,
  lossAndGradientSync,
  matmul,
  matmulSync,
  projectedDescent,
  randomState,
  structuredProductsSync,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

if (!['x64', 'arm64'].includes(process.arch)) console.log(`Left out: nothing flushes on ${process.arch}.`);
const flushing = ['x64', 'arm64'].includes(process.arch) ? test : test.skip;

const tiny = new Float32Array([1e-30, 1e-10, 1e-40]);
/** What JavaScript makes of small numbers here and now: all of them would be 0 if anything had leaked. */
function small() {
  const [a, b, c] = tiny;
  return [Number.MIN_VALUE * 1, 2 ** -1030 * 0.5 * 2 ** 40, Math.fround(a * b), Math.fround(c * 0.5), 1e-200 * 1e-120];
}
const kept = [5e-324, 2 ** -991, Math.fround(1e-40), Math.fround(5e-41), 1e-320];

const state = (dtype, more = {}) => randomState({ classes: 3, perClass: 4000, dim: 8, dtype, ...more });
const loss = { kind: 'cross-entropy', classWeights: [1e-35, 1e-35, 1e-35] };

/** The gradient of the features where all of it is of the size 1e-40: subnormal in a float. */
flushing('a gradient below the normal range is 0 in float32, on every thread, and stays in float64', () => {
  const float = lossAndGradientSync(loss, state('float32')).features.data;
  assert.ok(float.every((value) => value === 0));
  const double = lossAndGradientSync(loss, state('float64')).features.data;
  assert.ok(double.every((value) => value !== 0 && Math.abs(value) < 1.2e-38));
});

flushing('products below the normal range', () => {
  const of = (Type, ...values) => ({ shape: [1, 1], data: Type.from(values) });
  assert.equal([...matmulSync(of(Float32Array, 1e-30), of(Float32Array, 1e-10)).data], [0]);
  assert.equal([...matmulSync(of(Float32Array, 1e-40), of(Float32Array, 1e10)).data], [0]);
  assert.equal([...matmulSync(of(Float64Array, 1e-200), of(Float64Array, 1e-120)).data], [1e-320]);
});

test('exact trajectories keep them, in either dtype', () => {
  const options = { gamma: 0.3, rates: { features: 1, prototypes: 1 }, weightDecay: 1 };
  for (const [dtype, scale] of [
    ['float32', 1e-39],
    ['float64', 1e-309],
  ]) {
    const { features, prototypes, labels } = randomState({ classes: 3, perClass: 2, dim: 4, dtype });
    const sized = ({ shape, data }) => ({ shape, data: data.map((value) => value * scale) });
    const start = { features: sized(features), prototypes: sized(prototypes), labels };
    const trajectory = gradientFlowSync(start, options);
    assert.equal(trajectory.atSync(0), start);
    assert.ok(trajectory.atSync(0.5).features.data.every((value) => value !== 0 && Math.abs(value) < 100 * scale));
  }
});

const broken = () => {
  const given = state('float32');
  given.features.data[17] = Number.NaN;
  return given;
};
const learningRates = { features: 1e-3, prototypes: 1e-3 };

/** Every way in and out of work in float. */
const calls = {
  'a result': () => lossAndGradientSync(loss, state('float32')),
  'a product': () => matmulSync(state('float32').features, state('float32').prototypes, { transposeB: true }),
  steps: () => iteratedDescentSync(state('float32', { scale: 1e-36 }), { gamma: 0.3, learningRates, steps: 3 }),
  sums: () => structuredProductsSync(state('float32', { scale: 2e-38 }), { gamma: 0.3 }),
  'an exception': () =>
    assert.throws(
      () => lossAndGradientSync(loss, broken()),
      (error) => error.code === 'LP_NOT_FINITE',
    ),
  'an overflow': () =>
    assert.throws(
      () => lossAndGradientSync({ kind: 'mse' }, state('float32', { scale: 1e30 })),
      (error) => error.code === 'LP_OVERFLOW',
    ),
  'a promise': () => lossAndGradient(loss, state('float32')),
  'a rejection': () => lossAndGradient(loss, broken()).catch((error) => assert.is(error.code, 'LP_NOT_FINITE')),
  'an abort': async () => {
    const controller = new AbortController();
    const options = { gamma: 0.3, learningRates, steps: 1e6, signal: controller.signal };
    const running = iteratedDescent(state('float32'), options);
    setTimeout(() => controller.abort(), 5);
    await running.then(
      () => assert.unreachable(),
      (error) => assert.ok(error instanceof LayerpeelError && error.code === 'LP_ABORTED'),
    );
  },
  'snapshots broken off': async () => {
    const problem = { loss: { kind: 'cross-entropy' }, state: state('float32') };
    for await (const { step } of projectedDescent(problem, { learningRates, steps: 30, snapshots: 3 })) {
      assert.equal(small(), kept);
      if (step > 0) break;
    }
  },
};

for (const [name, call] of Object.entries(calls)) {
  test(`JavaScript keeps small numbers after ${name}`, async () => {
    assert.equal(small(), kept);
    await call();
    assert.equal(small(), kept);
    // Threads that have helped, too, are as they were for work in double.
    const { data } = await matmul(
      { shape: [300, 1], data: new Float64Array(300).fill(1e-200) },
      { shape: [1, 300], data: new Float64Array(300).fill(1e-120) },
    );
    assert.ok(data.every((value) => value === 1e-320));
  });
}

test.run();
