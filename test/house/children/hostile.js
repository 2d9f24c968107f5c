/**
 * Calls every function of the addon many times: an honest call as the public functions make it, with one or two of its
 * arguments (or entries of object arguments) replaced by something hostile. The last call is on standard error.
 */
import { openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect, types } from 'node:util';
import {
  anchoredFlowSync,
  augmentSync,
  channelStatisticsSync,
  collapseSync,
  crossEntropyFlowSync,
  etfOptimum,
  fitTemperatureSync,
  gradientFlowSync,
  iteratedDescentSync,
  kernelFlowSync,
  kktCertificateSync,
  lossAndGradientSync,
  marginsSync,
  matmulSync,
  projectedDescentSync,
  randomState,
  seededRandom,
  simplexETF,
  spectralProjectionsSync,
  sphericalDescentSync,
  structuredProductsSync,
  tangentCurvatureSync,
} from 'layerpeel';
import { engine } from '../../../lib/engine/load.js';

const native = engine();
const honest = []; // { name, args }, as recorded
const functions = Object.fromEntries(
  Object.keys(native)
    .filter((name) => !['info', 'deviceAvailability', 'limit'].includes(name))
    .map((name) => [name, 0]),
);

for (const name of Object.keys(functions)) {
  const original = native[name];
  native[name] = (...args) => {
    // What is disposed of is of no use to the calls to come: a few of these calls are enough.
    if (name === 'dispose' && honest.some((call) => call.name === name)) return;
    honest.push({ name, original, args });
    return name === 'dispose' ? undefined : original(...args);
  };
}
const pictures = { images: new Uint8Array(90).fill(7), shape: [3, 5, 2, 3], labels: new Int32Array(3), classes: ['a'], source: '' };
const locked = join(tmpdir(), `layerpeel-${process.pid}`);
native.lockFile({ descriptor: openSync(locked, 'w') });
rmSync(locked);
augmentSync(pictures, [2, 0, 2, 1], { padding: 1, shift: 2, flip: true, mixup: 0.5, epoch: 3, seed: 9 });
channelStatisticsSync(pictures);
// Of devices: where there is none, what refuses them.
const attempt = (call) => {
  try {
    return call();
  } catch (error) {
    if (!/^LP_(DEVICE|OPTION|DTYPE)$/.test(error.code)) throw error;
  }
};
attempt(() => native.deviceList({ cublas: '' }));
const device = attempt(() => native.deviceOpen(undefined, { ordinal: 0, cublas: '' }))?.handle;
const there = attempt(() => native.devicePut({ atOnce: true, device, resident: true }, { data: new Float32Array(6) }))?.data;
attempt(() => native.deviceRead({ atOnce: true, device, resident: false }, { data: there }));
attempt(() => native.matmul({ atOnce: true, device, resident: true }, there, there, { m: 2 }));
attempt(() => native.deviceRoom(device));
attempt(() => native.deviceClose(device));
for (const dtype of ['float32', 'float64']) {
  const state = randomState({ classes: 3, perClass: 4, dim: 5, dtype });
  const { features, prototypes } = state;
  const biases = { shape: [3], data: new features.data.constructor(3) };
  matmulSync(features, prototypes, { transposeB: true });
  matmulSync(features, prototypes, { transposeB: true, beta: 1, out: { shape: [12, 3], data: new features.data.constructor(36) } });
  spectralProjectionsSync(state, { out: spectralProjectionsSync(state) });
  structuredProductsSync(state, { gamma: 0.1, out: structuredProductsSync(state, { gamma: 0.1 }) });
  iteratedDescentSync({ ...state, biases }, { gamma: 0.1, learningRates: { features: 0.1, prototypes: 0.1 }, steps: 3 });
  const { labels } = state;
  const sizes = { samples: 12, classes: 3, dim: 5 };
  const arrays = { features: features.data, prototypes: prototypes.data };
  native.kernelMeasure(undefined, { ...arrays, biases: biases.data, labels, ...sizes }, { toward: arrays });
  fitTemperatureSync({ shape: [12, 3], data: features.data.subarray(0, 36) }, labels);
  const softLabels = { shape: [12, 3], data: new features.data.constructor(36).fill(1 / 3) };
  lossAndGradientSync({ kind: 'cross-entropy', classWeights: [1, 2, 3] }, { ...state, biases }, { normalizeFeatures: true });
  lossAndGradientSync({ kind: 'cross-entropy', softLabels }, state);
  lossAndGradientSync({ kind: 'dot-regression' }, state, { out: lossAndGradientSync({ kind: 'dot-regression' }, state) });
  for (const momentum of [0, 0.9]) {
    const problem = { loss: { kind: 'mse' }, state: { ...state, biases }, target: { features, prototypes } };
    const options = { learningRates: { features: 0.1, prototypes: 0.1 }, momentum, measure: { names: ['loss', 'distance'] } };
    const [{ checkpoint }] = projectedDescentSync(problem, { ...options, steps: 2 });
    Array.from(projectedDescentSync(problem, { ...options, steps: 4, resume: checkpoint, batch: undefined }));
  }
  crossEntropyFlowSync({ ...state, biases }).measureSync([1], ['loss']);
  const simplex = simplexETF(3, 5, { dtype });
  kktCertificateSync({ ...state, features: etfOptimum(simplex, labels), prototypes: simplex });
  marginsSync(state);
  tangentCurvatureSync(state, { steps: 3 });
  collapseSync({ ...state, biases }, { reference: collapseSync(state, { classMeans: true }) });
  const decayed = { gamma: 0.1, weightDecay: 0.01 };
  for (const trajectory of [
    gradientFlowSync({ ...state, biases }, { ...decayed, rates: { features: 1, prototypes: 2 } }),
    gradientFlowSync(state, { gamma: 0.1, rates: { features: { kind: 'cosine', value: 1, period: 3 }, prototypes: 1 } }),
    anchoredFlowSync(state, { ...decayed, rate: { kind: 'cosine', value: 1, period: 5 } }),
  ]) {
    trajectory.atSync(1);
    trajectory.directionAtSync(2);
    trajectory.measureSync([0, 1], ['loss', 'accuracy', 'logNorm', 'minMargin']);
    trajectory.limitSync();
  }
  gradientFlowSync(state, { gamma: 0, rates: { features: 1, prototypes: 1 } }).dispose();
  const sphere = sphericalDescentSync(state, { gamma: 0.1, learningRate: 0.1 });
  sphere.atSync(3);
  sphere.measureSync([0, 2], ['loss', 'accuracy', 'distanceToLimit', 'minMargin']);
  const kernel = { shape: [12, 12], data: new features.data.constructor(144).fill(1) };
  kernelFlowSync(state, { loss: 'unhinged', gamma: 0.1, rate: 1, kernel }).atSync(1);
  kernelFlowSync({ ...state, biases }, { loss: 'mse', rate: 1, kernel }).atSync(0.1);
}

const random = seededRandom(Number(process.argv[2]));
const below = (count) => Math.floor(random.uniform() * count);
const pick = (list) => list[below(list.length)];

const detached = (Type) => {
  const array = new Type(8);
  structuredClone(array, { transfer: [array.buffer] });
  return array;
};
const values = [
  () => undefined,
  () => null,
  () => Number.NaN,
  () => pick([-1, 0, 1, 2, 0.5, 2 ** 31, 2 ** 32 + 1, 2 ** 33, 2 ** 52, 2 ** 53, 2 ** 63, 1e308, -1e308, Infinity, -Infinity]),
  () => pick(['', '__proto__', 'x'.repeat(1000), true, 10n, Symbol('s')]),
  () => pick([{}, [], Object.create(null), () => {}, new Proxy({}, { get: () => 2 ** 40 })]),
  () => ({
    get m() {
      return pick([3, 2 ** 40]);
    },
  }),
  () => new (pick([Float32Array, Float64Array, Int32Array, Uint8Array, BigInt64Array]))(below(70)),
  () => detached(pick([Float32Array, Float64Array, Int32Array])),
  () => new (pick([Float64Array, Float32Array]))(pick([1, 3, 6, 36])).fill(pick([Number.NaN, Infinity, -1, 1e300])),
  () => new Int32Array(pick([3, 12])).fill(pick([-1, 3, 2 ** 31 - 1, -(2 ** 31)])),
  () => new Float64Array([pick([-1, 2 ** 62, Number.NaN]), pick([0, -(2 ** 40), 2 ** 62]), 2 ** 40]),
];
const { isExternal } = types;
const isPlain = (value) => value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype;

/** `args` with something in it replaced: an argument, or an entry of one that is an object, however deep. */
function spoil(args) {
  const spoilt = [...args];
  const at = below(args.length);
  if (isPlain(args[at]) && Object.keys(args[at]).length && below(4)) {
    let object = args[at];
    let key = pick(Object.keys(object));
    while (isPlain(value(object, key)) && Object.keys(value(object, key)).length && below(4)) {
      object = value(object, key);
      key = pick(Object.keys(object));
    }
    spoilEntry(object, key, arraysOf(args));
  } else {
    // A handle of another kind, or something else.
    spoilt[at] = below(6) === 0 ? pick(handles) : pick(values)();
  }
  return spoilt;
}

const value = (object, key) => Object.getOwnPropertyDescriptor(object, key)?.value;

/** The typed arrays in arguments and their entries, none of which is read by a getter. */
function arraysOf(args) {
  return args.flatMap((each) => {
    if (ArrayBuffer.isView(each)) return [each];
    return isPlain(each) || Array.isArray(each) ? arraysOf(Object.keys(each).map((key) => value(each, key))) : [];
  });
}

/** Deletes an entry, or replaces it, or makes its reading take away the memory of the call's arrays. */
function spoilEntry(object, key, arrays) {
  const honest = value(object, key);
  const way = below(8);
  delete object[key];
  if (way === 0) return;
  if (way > 1) object[key] = pick(values)();
  else {
    const get = () => {
      for (const { buffer, length } of arrays) {
        if (length && buffer instanceof ArrayBuffer) structuredClone(null, { transfer: [buffer] });
      }
      return honest;
    };
    Object.defineProperty(object, key, { get, enumerable: true, configurable: true });
  }
}

/** An argument of an honest call, with objects and arrays of its own. */
function own(given) {
  if (ArrayBuffer.isView(given)) return given.slice();
  if (Array.isArray(given)) return given.map(own);
  return isPlain(given) ? Object.fromEntries(Object.entries(given).map(([key, entry]) => [key, own(entry)])) : given;
}
const fresh = (args) => args.map(own);

/** Handles as the honest calls had them, alive and disposed of. */
const handles = honest.flatMap(({ args }) => args.filter(isExternal));

/** Calls a function in a job, that can be stopped, since what is not refused may be valid and endless; then at once. */
async function call(original, mode, args) {
  if (!mode) return original(...args);
  const { promise, cancel } = original({ progress: below(2) ? () => {} : undefined }, ...args);
  setTimeout(cancel, 2);
  await promise;
  if (below(4) === 0) original(undefined, ...args);
}

let calls = 0;
let refused = 0;
for (; calls < 6000; calls++) {
  const { name, original, args } = pick(honest);
  const mode = args[0] === undefined && args.length > 1; // a few quick functions have none
  let spoilt = spoil(fresh(mode ? args.slice(1) : args));
  if (below(3) === 0) spoilt = spoil(spoilt);
  if (below(30) === 0) spoilt.length = below(spoilt.length);
  functions[name]++;
  const shown = inspect(spoilt, { breakLength: Infinity, compact: true, depth: 3, maxArrayLength: 6 });
  writeSync(2, `${name} ${shown.slice(0, 2000)}\n`);
  try {
    await call(original, mode, spoilt);
  } catch (error) {
    if (!(error instanceof Error)) throw new Error(`${name} threw ${inspect(error)}`);
    refused++;
  }
}
console.log(JSON.stringify({ calls, refused, functions }));
