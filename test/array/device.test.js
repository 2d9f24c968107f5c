// Arrays on a device: put, read, disposed of, mixed with others; operations where their arrays lie, against the CPU's. Runs
// on a GPU, or on the device that `npm run build:emulated` puts on the CPU.
import { fileURLToPath } from 'node:url';
import {
  lossAndGradient,
  matmul,
  matmulSync,
  openDevice,
  randomState,
  spectralProjections,
  spectralProjectionsSync,
  structuredProducts,
  structuredProductsSync,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lack, onDevice } from '../device.js';
import { refuses } from '../helpers.js';
import { startNode } from '../process.js';

const maxDifference = ({ data }, other) => data.reduce((most, x, i) => Math.max(most, Math.abs(x - other.data[i])), 0);

const shared = (data) => new data.constructor(new SharedArrayBuffer(data.byteLength)).fill(Number.NaN);
const state = (dtype, { classes = 5, perClass = 40, dim = 7 } = {}) => randomState({ classes, perClass, dim, seed: 3, dtype });
const placed = async (gpu, { features, prototypes, labels }) => ({
  features: await gpu.put(features),
  prototypes: await gpu.put(prototypes),
  labels,
});

test('a device that is not there, and names that are none', async () => {
  if (lack) {
    assert.is(lack.code, 'LP_DEVICE');
    assert.match(lack.message, /CUDA|driver|device|GPU/);
    await refuses('LP_DEVICE', /./, () => structuredProducts(state('float32'), { gamma: 0.5, device: 'cuda' }));
  }
  await refuses('LP_OPTION', /did you mean 'cuda'/, () => openDevice('cudo'));
  await refuses('LP_OPTION', /./, () => openDevice('cuda:-1'));
  await refuses('LP_OPTION', /./, () => openDevice(undefined));
  await refuses('LP_DEVICE', /./, () => openDevice('cuda:999'));
});

test('`auto` keeps small work on the CPU', async () => {
  const { biases } = await structuredProducts(state('float64'), { gamma: 0.5, device: 'auto' });
  assert.is(biases.shape[0], 5);
});

onDevice(test, 'what is put is read again, of either dtype and any shape', async (gpu) => {
  for (const Kind of [Float32Array, Float64Array]) {
    for (const shape of [[], [1], [3, 5], [2, 0, 3], [7, 11, 13]]) {
      const size = shape.reduce((product, extent) => product * extent, 1);
      const data = Kind.from({ length: size }, (_, i) => Math.sin(i) * 10 ** ((i % 60) - 30));
      const array = await gpu.put({ shape, data });
      assert.equal(array.shape, shape);
      assert.is(array.bytes, data.byteLength);
      assert.is(array.device, gpu);
      const back = await array.read();
      assert.equal(back, { shape, data });
      array.dispose();
      assert.is(array.bytes, 0);
    }
  }
});

onDevice(test, 'an array larger than what is moved at a time', async (gpu) => {
  const data = Float32Array.from({ length: 5_000_011 }, (_, i) => i % 8191);
  const array = await gpu.put({ shape: [data.length], data });
  assert.equal((await array.read()).data, data);
  array.dispose();
});

onDevice(test, 'memory is held until it is disposed of, and then it is not', async (gpu) => {
  const before = gpu.memory().held;
  const array = await gpu.put({ shape: [10, 100], data: new Float64Array(1000) });
  assert.is(gpu.memory().held, before + 8000);
  array.dispose();
  array.dispose();
  assert.is(gpu.memory().held, before);
  await refuses('LP_OPTION', /disposed/, () => array.read());
  await refuses('LP_OPTION', /./, () => matmul(array, array));
});

onDevice(test, 'results stay where the arrays lie', async (gpu) => {
  for (const dtype of ['float32', 'float64']) {
    const plain = state(dtype);
    const expected = structuredProductsSync(plain, { gamma: 0.3 });
    const out = await structuredProducts(await placed(gpu, plain), { gamma: 0.3 });
    const here = await structuredProducts(plain, { gamma: 0.3, device: 'cuda' });
    for (const part of ['features', 'prototypes', 'biases']) {
      assert.is(out[part].device, gpu);
      assert.ok(maxDifference(await out[part].read(), expected[part]) <= (dtype === 'float32' ? 1e-9 : 1e-16), part);
      assert.equal(here[part], await out[part].read());
    }
  }
});

onDevice(test, 'the five parts add up to the state, on the device as on the CPU', async (gpu) => {
  for (const dtype of ['float32', 'float64']) {
    const plain = state(dtype, { dim: 8 });
    const expected = spectralProjectionsSync(plain);
    const parts = await spectralProjections(await placed(gpu, plain));
    for (const [name, part] of Object.entries(expected)) {
      for (const side of ['features', 'prototypes']) {
        assert.ok(maxDifference(await parts[name][side].read(), part[side]) <= (dtype === 'float32' ? 1e-6 : 1e-14), name);
      }
    }
  }
});

onDevice(test, 'results go to the arrays of the device that are given as `out`', async (gpu) => {
  const calls = {
    structuredProducts: (state, options) => structuredProducts(state, { gamma: 0.3, ...options }),
    spectralProjections,
    lossAndGradient: (state, options) => lossAndGradient({ kind: 'cross-entropy' }, state, options),
  };
  /** The arrays of a result, by the names that messages have. */
  const arraysOf = (result, name = 'out') =>
    Object.entries(result).flatMap(([key, entry]) => {
      if (typeof entry !== 'object') return [];
      return entry.shape ? [[`${name}.${key}`, entry]] : arraysOf(entry, `${name}.${key}`);
    });
  const replaced = async (result, make) => {
    if (typeof result !== 'object') return result;
    if (result.shape) return make(result);
    return Object.fromEntries(
      await Promise.all(Object.entries(result).map(async ([key, entry]) => [key, await replaced(entry, make)])),
    );
  };
  for (const dtype of ['float32', 'float64']) {
    const plain = state(dtype, { classes: 3, perClass: 4, dim: 3 });
    const there = await placed(gpu, plain);
    const empty = ({ shape }) => ({
      shape,
      data: new plain.features.data.constructor(shape.reduce((product, extent) => product * extent)).fill(Number.NaN),
    });
    for (const [name, call] of Object.entries(calls)) {
      const expected = await call(there, {});
      const same = async (result, out) => {
        const given = arraysOf(out);
        for (const [i, [path, array]] of arraysOf(result).entries()) {
          assert.is(array, given[i][1], `${name}: ${path}`);
          const seen = array.data ? array : await array.read();
          assert.equal(Array.from(seen.data), Array.from((await arraysOf(expected)[i][1].read()).data), `${name}: ${path}`);
        }
      };
      const out = await replaced(expected, (array) => gpu.put(empty(array)));
      await same(await call(there, { out }), out);
      for (const make of [empty, (array) => ({ shape: array.shape, data: shared(empty(array).data) })]) {
        const here = await replaced(expected, make);
        await same(await call(plain, { out: here, device: 'cuda' }), here);
      }
      const [[first]] = arraysOf(out);
      const mixed = await replaced(expected, empty);
      await refuses('LP_DEVICE', new RegExp(`${first}.*put\\(\\)`), () => call(there, { out: mixed }));
      await refuses('LP_DEVICE', /out\..* lies on .*features is an array of the CPU/, () => call(plain, { out }));
      const taken = name === 'spectralProjections' ? { ...out, rest: out.plus1 } : { ...out, features: there.features };
      await refuses('LP_OPTION', /^out\..* shares memory with/, () => call(there, { out: taken }));
    }
  }
});

onDevice(test, 'arrays of the CPU and of the device are not mixed', async (gpu) => {
  const plain = state('float64');
  const there = await placed(gpu, plain);
  await refuses('LP_DEVICE', /prototypes.*put\(\)/, () =>
    structuredProducts({ ...there, prototypes: plain.prototypes }, { gamma: 1 }),
  );
  await refuses('LP_DEVICE', /features.*put\(\)/, () =>
    structuredProducts({ ...plain, prototypes: there.prototypes }, { gamma: 1 }),
  );
  await refuses('LP_DEVICE', /./, () => structuredProducts(there, { gamma: 1, device: 'cpu' }));
  await refuses('LP_DEVICE', /./, () => matmul(there.features, plain.prototypes, { transposeB: true }));
  const single = await gpu.put({ shape: plain.prototypes.shape, data: Float32Array.from(plain.prototypes.data) });
  await refuses('LP_DTYPE', /./, () => structuredProducts({ ...there, prototypes: single }, { gamma: 1 }));
});

onDevice(test, 'what is not finite is named as on the CPU', async (gpu) => {
  for (const [value, word] of [
    [Number.NaN, 'NaN'],
    [Infinity, 'Infinity'],
    [-Infinity, '-Infinity'],
  ]) {
    const plain = state('float32');
    plain.features.data[13] = value;
    await refuses('LP_NOT_FINITE', new RegExp(`^features\\[1, 6\\] is ${word};`), () =>
      structuredProducts(plain, { gamma: 1, device: 'cuda' }),
    );
    await refuses('LP_NOT_FINITE', new RegExp(`^features\\[1, 6\\] is ${word};`), async () =>
      spectralProjections(await placed(gpu, plain)),
    );
  }
});

onDevice(test, 'a signal stops what waits for the device', async (gpu) => {
  const data = new Float32Array(1000);
  await refuses('LP_ABORTED', /./, () => gpu.put({ shape: [1000], data }, { signal: AbortSignal.abort() }));
  const controller = new AbortController();
  const many = Array.from({ length: 20 }, () => gpu.put({ shape: [1000], data }, { signal: controller.signal }));
  controller.abort();
  const ends = await Promise.allSettled(many);
  for (const { status, reason } of ends) assert.ok(status === 'fulfilled' || reason.code === 'LP_ABORTED');
});

onDevice(test, 'calls side by side, each with its own result', async (gpu) => {
  const states = Array.from({ length: 12 }, (_, seed) => randomState({ classes: 3, perClass: 5, dim: 4, seed }));
  const results = await Promise.all(states.map(async (state) => structuredProducts(await placed(gpu, state), { gamma: 1 })));
  for (const [i, { features }] of results.entries()) {
    assert.ok(maxDifference(await features.read(), structuredProductsSync(states[i], { gamma: 1 }).features) <= 1e-15);
  }
});

onDevice(test, 'products by cuBLAS, where it is, equal those by kernels of our own', async (gpu) => {
  const child = fileURLToPath(new URL('children/products.js', import.meta.url));
  const cublas = /emulated/.test(gpu.model) ? 'emulated' : ''; // else wherever it is found
  const [theirs, ours] = await Promise.all(
    [cublas, '/nowhere'].map(async (LAYERPEEL_CUBLAS) => {
      const { code, stdout, stderr } = await startNode([child], { env: { LAYERPEEL_CUBLAS } }).ended;
      assert.is(code, 0, stderr);
      return JSON.parse(stdout);
    }),
  );
  for (const [i, expected] of theirs.entries()) {
    const apart = i < theirs.length / 2 ? 1e-12 : 1e-4; // sums of 700 products of standard normal numbers at most
    assert.is(ours[i].length, expected.length);
    assert.ok(
      expected.every((x, j) => Math.abs(x - ours[i][j]) < apart),
      `product ${i}`,
    );
  }
});

onDevice(test, 'a closed device frees its arrays and says what it is; it opens again', async (gpu) => {
  const array = await gpu.put({ shape: [100], data: new Float64Array(100) });
  gpu.close();
  gpu.close();
  await refuses('LP_DEVICE', /./, () => array.read());
  await refuses('LP_DEVICE', /./, () => gpu.put({ shape: [1], data: new Float64Array(1) }));
  const again = await openDevice('cuda');
  assert.is(again.memory().held, 0);
  const { total, free } = again.memory();
  assert.ok(free <= total);
  await refuses('LP_DEVICE', /./, () => array.read());
  array.dispose();
});

onDevice(test, 'a device that is used at once while it is being opened is one device', async () => {
  (await openDevice('cuda')).close();
  const opening = openDevice('cuda');
  const a = { shape: [1, 1], data: Float64Array.of(3) };
  assert.is(matmulSync(a, a, { device: 'cuda' }).data[0], 9);
  const [first, second] = [await opening, await openDevice('cuda')];
  const product = await matmul(await first.put(a), await second.put(a));
  assert.is((await product.read()).data[0], 9);
  first.close();
  assert.is((await openDevice('cuda')).memory().held, 0);
});

test.run();
