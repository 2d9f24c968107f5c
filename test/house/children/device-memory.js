// Every function that runs on a device, with memory for one allocation after another of it: what is refused says so and leaves
// nothing behind, and the call that fits gives what it gave before. Prints the number of refusals of each.
import {
  batchedDescent,
  lossAndGradient,
  lossAndGradientSync,
  matmul,
  matmulSync,
  openDevice,
  projectedDescent,
  randomState,
  spectralProjections,
  structuredProducts,
} from 'layerpeel';
import * as assert from 'uvu/assert';

/** What is left grows by what a device's allocations are multiples of. */
const UNIT = 256;
const SENTENCE = /^The device has no memory for [\d.]+ .iB: [\d.]+ .iB of its [\d.]+ .iB are free, and [\d.]+ .iB are held/;

const gpu = await openDevice('cuda');
const plain = randomState({ classes: 4, perClass: 11, dim: 6, seed: 5 });
const [features, prototypes] = [await gpu.put(plain.features), await gpu.put(plain.prototypes)];
const state = { features, prototypes, labels: plain.labels };
const there = { device: 'cuda' };
const problem = { loss: { kind: 'cross-entropy' }, state: plain };
const descent = { learningRates: { features: 0.1, prototypes: 0.1 }, steps: 7, snapshots: 3, ...there };
const all = async (snapshots) => {
  const seen = [];
  for await (const snapshot of snapshots) seen.push(snapshot);
  return seen;
};

const calls = {
  put: () => gpu.put(plain.features),
  'put of an array of the device': () => gpu.put(features),
  matmul: () => matmul(features, prototypes, { transposeB: true }),
  'matmul, plain arrays': () => matmul(plain.features, plain.prototypes, { transposeB: true, ...there }),
  matmulSync: () => matmulSync(plain.features, plain.prototypes, { transposeB: true, ...there }),
  structuredProducts: () => structuredProducts(state, { gamma: 0.3 }),
  'structuredProducts, plain arrays': () => structuredProducts(plain, { gamma: 0.3, ...there }),
  spectralProjections: () => spectralProjections(state),
  'spectralProjections, plain arrays': () => spectralProjections(plain, there),
  lossAndGradientSync: () => lossAndGradientSync({ kind: 'mse' }, plain, there),
  projectedDescent: () => all(projectedDescent(problem, descent)),
  batchedDescent: () => all(batchedDescent([problem, { ...problem, weightDecay: 0.1 }], descent)),
};
for (const loss of [
  { kind: 'cross-entropy' },
  { kind: 'cross-entropy', classWeights: [1, 2, 3, 4] },
  { kind: 'unhinged', gamma: 0.2 },
  { kind: 'dot-regression', prototypes: 'learnable' },
  { kind: 'adjusted-margin', gamma: 0.2, epsilon: 0.5 },
]) {
  const name = `lossAndGradient ${JSON.stringify(loss)}`;
  calls[name] = () => lossAndGradient(loss, state);
  calls[`${name}, plain arrays`] = () => lossAndGradient(loss, plain, there);
}

/** A result with its arrays read, which are disposed of. */
async function read(value) {
  if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value)) return value;
  if (typeof value.dispose === 'function') {
    const array = await value.read();
    value.dispose();
    return array;
  }
  const entries = [];
  for (const [key, entry] of Object.entries(value)) entries.push([key, await read(entry)]);
  return Object.fromEntries(entries);
}

const refused = {};
const { held, free: room } = gpu.memory();
const stands = (what, ballast = 0) => assert.is(gpu.memory().held, held + ballast, `${what}: held`);
for (const [name, call] of Object.entries(calls)) {
  const expected = await read(await call());
  stands(name);
  for (let left = 0; ; left += UNIT) {
    const ballast = await gpu.put({ shape: [(room - left) / 8], data: new Float64Array((room - left) / 8) });
    let result;
    let error;
    try {
      result = await call();
    } catch (thrown) {
      error = thrown;
      assert.is(error.code, 'LP_MEMORY', `${name}, ${left} bytes left: ${error.stack}`);
      assert.match(error.message, SENTENCE);
      stands(`${name}, ${left} bytes left`, ballast.bytes);
    }
    ballast.dispose();
    if (error) {
      refused[name] = (refused[name] ?? 0) + 1;
      continue;
    }
    assert.equal(await read(result), expected, name);
    stands(name);
    break;
  }
}
console.log(JSON.stringify(refused));
