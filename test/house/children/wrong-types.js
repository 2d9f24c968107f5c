/**
 * Calls every public function, and every method of what they return, as it is meant to be called, and then with each parameter, and
 * each key that its declared type has, in turn replaced by each of many wrong values. The outcome has to be a result or an error of
 * the package; a value of a kind that the declaration does not have has to be refused, and a result must not have numbers that are
 * not finite where the honest one has finite ones alone. What is wrong is on standard output; the last call is on standard error.
 */
import { copyFileSync, mkdirSync, mkdtempSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import * as module from 'layerpeel';
import { exportsOf, keysOf, kindsOf, methodsOf, parametersOf } from '../declarations.js';

const index = new URL('../../../lib/index.d.ts', import.meta.url).pathname;
process.chdir(mkdtempSync(join(tmpdir(), 'layerpeel-wrong-')));

const layerpeel = { ...module };
const { LayerpeelError } = layerpeel;
const state = () => {
  const { features, prototypes, labels } = layerpeel.randomState({ classes: 3, perClass: 4, dim: 3, seed: 1 });
  return { features, prototypes, biases: { shape: [3], data: Float64Array.of(0.1, 0, -0.1) }, labels };
};
const matrix = (rows, columns) => ({
  shape: [rows, columns],
  data: Float64Array.from({ length: rows * columns }, (_, k) => Math.sin(k)),
});
const identity = { shape: [12, 12], data: Float64Array.from({ length: 144 }, (_, k) => (k % 13 === 0 ? 1 : 0)) };
const pictures = () => ({
  images: new Uint8Array(6 * 2 * 2 * 1).fill(7),
  shape: [6, 2, 2, 1],
  labels: Int32Array.of(0, 0, 0, 1, 1, 1),
  classes: ['a', 'b'],
  source: 'test',
});
const rates = { features: 0.1, prototypes: 0.1 };
const labels = () => state().labels;
const logits = () => matrix(12, 3);
const problem = () => ({ loss: { kind: 'cross-entropy' }, state: state() });
const steps = { learningRates: rates, steps: 3 };
const seen = {
  ...steps,
  measure: { names: ['loss'], every: 1 },
  batch: { size: 2, seed: 1 },
  stop: { event: { measure: 'loss', below: -1 } },
};
const empty = (...shape) => ({ shape, data: new Float64Array(shape.reduce((product, extent) => product * extent)) });
const part = () => ({ features: empty(12, 3), prototypes: empty(3, 3) });
const out = () => ({ ...part(), biases: empty(3) });
const checkpoint = () => layerpeel.projectedDescentSync(problem(), { ...steps, momentum: 0.5 }).next().value.checkpoint;
const files = {};
for (const [name, bytes] of Object.entries({
  'h.npy': layerpeel.formatNpy(matrix(4, 3)),
  'y.npy': layerpeel.formatNpy(Int32Array.of(0, 1, 2, 0)),
  'h.safetensors': layerpeel.formatSafetensors({ h: matrix(4, 3) }),
})) {
  files[name] = bytes;
  writeFileSync(name, bytes);
}
await layerpeel.writeNpz('h.npz', { h: matrix(4, 3) });
copyFileSync(new URL('../../array/fixtures/single.pth', import.meta.url), 'h.pth');
await layerpeel.saveCheckpoint('c.safetensors', checkpoint());
const record = Buffer.alloc(3073);
writeFileSync('data_batch_1.bin', record);
for (const k of [2, 3, 4, 5]) writeFileSync(`data_batch_${k}.bin`, record);
for (const split of ['train', 'test']) {
  mkdirSync(`${split}/class`, { recursive: true });
  writeFileSync(`${split}/class/image.png`, '');
}

/** How each function is meant to be called; its arguments are made anew for every call. */
const honest = {
  writeFileAtomic: () => ['out', 'text'],
  openDevice: () => ['cuda'],
  study: () => [
    {
      ...{ command: 'simulate', folders: false, measures: ['loss'] },
      base: {
        ...{ dynamics: 'gradientFlow', state: { random: { classes: 3, perClass: 2, dim: 3 } } },
        ...{ options: { gamma: 0.1, rates: { features: 1, prototypes: 1 } }, times: [1] },
      },
      axes: { 'options.gamma': [0, 0.1] },
    },
    {},
  ],
  matmul: () => [matrix(2, 3), matrix(3, 2), { alpha: 2, out: empty(2, 2) }],
  formatNpy: () => [matrix(2, 3)],
  parseNpy: () => [files['h.npy'], 'h'],
  readNpy: () => ['h.npy'],
  writeNpy: () => ['out.npy', matrix(2, 3)],
  readNpz: () => ['h.npz'],
  writeNpz: () => ['out.npz', { h: matrix(2, 3) }, { compress: true }],
  readPth: () => ['h.pth'],
  openArray: () => ['h.npz:h', {}],
  readArray: () => ['h.npy', {}],
  readFloats: () => ['h.safetensors', { name: 'h' }],
  readLabels: () => ['y.npy', {}],
  seededRandom: () => [3],
  formatSafetensors: () => [{ h: matrix(2, 3) }, { kind: 'test' }],
  parseSafetensors: () => [files['h.safetensors'], 'h'],
  readSafetensors: () => ['h.safetensors'],
  writeSafetensors: () => ['out.safetensors', { h: matrix(2, 3) }, { kind: 'test' }],
  collapse: () => [
    state(),
    { only: ['nc1', 'nc2'], reference: { classMeans: state().prototypes, counts: Int32Array.of(1, 2, 3) } },
  ],
  augment: () => [pictures(), [0, 3], { padding: 1, mean: [0.5], std: [0.2] }],
  channelStatistics: () => [pictures(), {}],
  classCounts: () => [pictures()],
  imageSubset: () => [pictures(), [1, 4]],
  joinImages: () => [[pictures(), pictures()]],
  fitImages: () => [pictures(), { height: 9, width: 9, channels: 3 }, {}],
  longTailedCounts: () => [4, 100, 10],
  stepCounts: () => [4, 100, 10],
  loadImages: () => [{ kind: 'cifar10', path: '.' }, {}],
  streamImages: () => [{ kind: 'folder', path: '.', size: [2, 2] }, {}],
  imbalancedIndices: () => [pictures().labels, [2, 1], 1],
  noisyLabels: () => [pictures().labels, 2, 0.5, 1],
  selectImages: () => [pictures(), { imbalance: { kind: 'step', ratio: 3 }, labelNoise: { share: 0.2 } }],
  crossEntropyFlow: () => [state(), { loss: { kind: 'cross-entropy', classWeights: [1, 1, 1] }, tolerance: 1e-6 }],
  gradientDescent: () => [state(), { gamma: 0.1, learningRates: rates, schedule: { kind: 'cosine', period: 10 } }],
  anchoredFlow: () => [state(), { gamma: 0.1, rate: { kind: 'exponential', value: 1, timescale: 3 } }],
  gradientFlow: () => [
    state(),
    { gamma: 0.1, rates: { features: 1, prototypes: { kind: 'steps', value: 1, milestones: [1], factor: 0.1 } } },
  ],
  iteratedDescent: () => [state(), { gamma: 0.1, ...steps }],
  kernelFlow: () => [state(), { loss: 'unhinged', gamma: 0.1, rate: 1, kernel: identity }],
  structuredProducts: () => [state(), { gamma: 0.1, out: out() }],
  batchedDescent: () => [[problem(), problem()], steps],
  projectedDescent: () => [problem(), seen],
  spectralProjections: () => [state(), { out: { plus1: part(), minus1: part(), plus2: part(), minus2: part(), rest: part() } }],
  sphericalDescent: () => [state(), { gamma: 0.1, learningRate: 0.1 }],
  calibration: () => [logits(), labels(), { temperature: 2 }],
  fitTemperature: () => [logits(), labels(), {}],
  classifierLogits: () => [state(), {}],
  detection: () => [[1, 2, 3], [0, 1], { positive: 'in-distribution' }],
  logitAdjustment: () => [logits(), [9, 5, 3], { tau: 2 }],
  tauNormalization: () => [{ features: state().features, prototypes: state().prototypes }, { tau: 0.5 }],
  nearestClassMean: () => [state().features, { features: state().features, labels: labels() }, {}],
  outOfDistributionScores: () => [
    { logits: logits(), features: state().features, training: { features: state().features, labels: labels() } },
    { temperature: 2, neighbors: 2 },
  ],
  evaluate: () => [
    {
      ...{ logits: logits(), features: state().features, labels: labels(), counts: [9, 5, 3] },
      validation: { logits: logits(), labels: labels() },
      outOfDistribution: { features: state().features },
    },
    { temperature: 2, resamples: 3, groups: { many: 8, few: 4 } },
  ],
  tangentCurvature: () => [state(), { steps: 5 }],
  lossAndGradient: () => [{ kind: 'cross-entropy', labelSmoothing: 0.1 }, state(), { regularization: { weight: 0.1 }, out: out() }],
  gradientShares: () => [{ kind: 'cross-entropy', labelSmoothing: 0.1 }, state(), { regularization: { weight: 0.1 } }],
  kktCertificate: () => [separated(), {}],
  margins: () => [state(), {}],
  loadCheckpoint: () => ['c.safetensors'],
  saveCheckpoint: () => ['out.safetensors', checkpoint()],
  randomState: () => [{ classes: 3, perClass: 2, dim: 2 }],
  balancedLengths: () => [[3, 2], {}],
  contraction: () => [separated(), { loss: 'cross-entropy' }],
  etfOptimum: () => [layerpeel.simplexETF(3, 3), labels(), {}],
  saddleExample: () => [0.1],
  simplexETF: () => [3, 4, { seed: 1 }],
  correctBelow: () => [4, 0.1],
  unhingedBounds: () => [state(), { gamma: 0.1 }],
  unhingedMinimum: () => [4, { gamma: 0.1 }],
};

/** A state whose samples have positive margins. */
function separated() {
  const prototypes = layerpeel.simplexETF(3, 3);
  return { features: layerpeel.etfOptimum(prototypes, labels()), prototypes, labels: labels() };
}

const trajectory = () =>
  layerpeel.gradientDescentSync(state(), { gamma: 0.1, learningRates: rates, schedule: { kind: 'exponential', timescale: 5 } });
/** Methods of what functions return: an interface, an object of it, and how its methods are meant to be called. */
const returned = {
  Trajectory: {
    make: trajectory,
    calls: {
      at: () => [3, {}],
      directionAt: () => [3, {}],
      measure: () => [[1, 2], ['loss', 'nc1'], {}],
      limit: () => [{}],
      when: () => [{ name: 'loss', value: -1, to: 20, direction: 'falling' }, {}],
      dispose: () => [],
    },
  },
  CrossEntropyTrajectory: { make: () => layerpeel.crossEntropyFlowSync(state()), calls: { errorAt: () => [3, {}] } },
  SphericalTrajectory: {
    make: () => layerpeel.sphericalDescentSync(state(), { gamma: 0.1, learningRate: 0.1 }),
    calls: { limit: () => [{}] },
  },
  SeededRandom: {
    make: () => layerpeel.seededRandom(3),
    calls: { uniform: () => [], normal: () => [], fillNormal: () => [new Float64Array(3), 2] },
  },
  ArraySource: { make: () => layerpeel.openArray('h.npy'), calls: { chunks: () => [2], close: () => [] } },
};

/** Values, each with the kind that a declaration must have to take it. */
const wrong = [
  [undefined, 'undefined'],
  [null, 'null'],
  [true, 'boolean'],
  ['loss', 'string'],
  ['', 'string'],
  ['__proto__', 'string'],
  ['x'.repeat(100_000), 'string'],
  [Symbol('s'), 'symbol'],
  [10n, 'bigint'],
  ...[Number.NaN, Number.POSITIVE_INFINITY, -1, 0, -0, 0.5, 3, 2 ** 31, 2 ** 40, 2 ** 53, 1e300, 5e-324].map((value) => [
    value,
    'number',
  ]),
  ...[() => undefined, () => Number.NaN, () => 1e300, () => Symbol('s')].map((value) => [value, 'function']),
  ...[
    {},
    [],
    [null],
    ['x'],
    [Symbol('s')],
    [1e300],
    [5, 6],
    { length: 1e10 },
    { length: 2 },
    { length: -1 },
    new Map(),
    new Float64Array(3),
  ],
  ...[
    new Int32Array(12),
    new Int32Array(3).fill(-5),
    new BigInt64Array(3),
    new DataView(new ArrayBuffer(8)),
    new Float64Array(12).fill(1e300),
  ],
  { shape: [2 ** 20, 2 ** 20], data: new Float64Array(0) },
  { shape: ['4', 3], data: new Float64Array(12) },
  { shape: [Symbol('s'), 3], data: new Float64Array(12) },
  { shape: [4, 3], data: new Float32Array(12), offset: Symbol('s') },
  { shape: [12, 3], data: new Float64Array(36).fill(Number.NaN) },
  { shape: new Array(1e6).fill(1), data: new Float64Array(1) },
  { kind: Symbol('s') },
  { kind: 'constructor' },
  { constructor: { name: Symbol('s') } },
  new Proxy({}, { get: () => undefined }),
  new Proxy({}, { get: () => 5, ownKeys: () => [], has: () => true }),
  new Proxy([], { get: (target, key) => (key === 'length' ? 3 : target[key]) }),
  Object.create(null),
].map((entry) => (Array.isArray(entry) && entry.length === 2 && typeof entry[1] === 'string' ? entry : [entry, 'object']));

/** What computes with any number, carries it as it is, or says that it may leave the range of a double or have no value. */
const CARRIES = /^(matmul|format|parse|write|Trajectory\.measure|gradientShares)/;

/** Whether any number in a result is not finite. */
function finite(value, depth = 0) {
  if (typeof value === 'number') return Number.isFinite(value);
  if (value instanceof Float32Array || value instanceof Float64Array) return value.every(Number.isFinite);
  // What an object that computes keeps for itself is its own affair.
  if (depth > 4 || typeof value !== 'object' || value === null || typeof value.at === 'function') return true;
  if (ArrayBuffer.isView(value)) return true;
  return Object.values(value).every((one) => finite(one, depth + 1));
}

/** The arguments with the value at a path replaced; objects on the way are copied. */
function replaced(args, [first, ...rest], value) {
  const copy = Array.isArray(args) ? [...args] : { ...args };
  copy[first] = rest.length === 0 ? value : replaced(typeof copy[first] === 'object' ? copy[first] : {}, rest, value);
  return copy;
}

/** An array with elements of its own, as what it is given to may write there (`out`); any other value as it is. */
const own = (value) => (value?.data instanceof Float64Array ? { ...value, data: value.data.slice() } : value);

/** Paths of parameters and of the keys of their types. */
function* pathsOf(parameters) {
  for (const [i, { type, file, optional }] of parameters.entries()) yield* under([i], type, file, optional, 4);
}
function* under(path, type, file, optional, depth) {
  yield { path, kinds: kindsOf(type, file), optional };
  if (depth === 0) return;
  for (const key of keysOf(type, file)) {
    if (key.name === 'signal') yield { path: [...path, key.name], kinds: kindsOf(key.type, key.file), optional: true };
    else yield* under([...path, key.name], key.type, key.file, key.optional, depth - 1);
  }
}

async function outcome(call) {
  try {
    let result = await call();
    if (typeof result?.next === 'function') {
      const iterator = result;
      result = (await iterator.next()).value;
      await iterator.return?.();
    }
    return { result };
  } catch (error) {
    return { error };
  }
}

const faults = [];
let calls = 0;
let refused = 0;

async function tryAll(name, parameters, make, call, deadline) {
  const good = await outcome(() => call(make()));
  // Where there is no GPU, what is refused is refused nevertheless.
  if (good.error && good.error.code !== 'LP_DEVICE') return void faults.push(`${name}: the honest call fails: ${good.error.stack}`);
  const sound = finite(good.result) && !CARRIES.test(name);
  for (const { path, kinds, optional } of pathsOf(parameters)) {
    for (const [value, kind] of wrong) {
      // What is long when it is not stopped.
      if (!deadline && kind === 'number' && value > 2 ** 30) continue;
      const shown = `${name}(${path.join('.')} = ${inspect(value, { depth: 1, maxArrayLength: 3, maxStringLength: 20 }).replace(/\s+/g, ' ')})`;
      writeSync(2, `${shown}\n`);
      calls++;
      const args = replaced(make(), path, own(value));
      const { result, error } = await outcome(() => call(deadline ? deadline(args, path) : args));
      if (error) {
        refused++;
        if (!(error instanceof LayerpeelError) || !/^LP_(?!INTERNAL)/.test(error.code))
          faults.push(`${shown}: ${String(error?.stack ?? error).slice(0, 500)}`);
        continue;
      }
      const meant = kinds.has(kind) || ((kind === 'undefined' || kind === 'null') && optional);
      if (!meant) faults.push(`${shown} is taken`);
      else if (sound && !finite(result)) faults.push(`${shown} gives numbers that are not finite`);
    }
  }
}

/** Puts a signal that fires soon into the options, unless those are what is tried. */
const limited = (place) => (args, path) => {
  if (path[0] === place && (path.length === 1 || path[1] === 'signal')) return args;
  return replaced(args, [place, 'signal'], AbortSignal.timeout(100));
};

const wanted = new RegExp(process.argv[2] ?? '');
for (const [name, file] of exportsOf(index)) {
  const parameters = parametersOf(name, file);
  if (!parameters || !wanted.test(name)) continue;
  const make = honest[name.replace(/Sync$/, '')];
  if (!make) {
    faults.push(`${name} has no honest call: extend test/house/children/wrong-types.js`);
    continue;
  }
  const place = parameters.findIndex(({ type, file: from }) => keysOf(type, from).some((key) => key.name === 'signal'));
  const isSync = name.endsWith('Sync');
  await tryAll(
    name,
    parameters,
    () => make().slice(0, parameters.length),
    (args) => layerpeel[name](...args),
    place >= 0 && !isSync && limited(place),
  );
}
for (const [type, { make, calls: methods }] of Object.entries(returned)) {
  for (const [method, parameters] of Object.entries(methodsOf(type, exportsOf(index).get(type)))) {
    if (!wanted.test(`${type}.${method}`)) continue;
    const honestArgs = methods[method.replace(/Sync$/, '')];
    if (!honestArgs) {
      faults.push(`${type}.${method} has no honest call: extend test/house/children/wrong-types.js`);
      continue;
    }
    const isSync = method.endsWith('Sync');
    const place = parameters.findIndex(({ name }) => name === 'control');
    const call = async (args) => {
      const target = await make();
      return target[method](...args);
    };
    await tryAll(
      `${type}.${method}`,
      parameters,
      () => honestArgs().slice(0, parameters.length),
      call,
      place >= 0 && !isSync && limited(place),
    );
  }
}
console.log(JSON.stringify({ calls, refused, faults }));
process.exit();
