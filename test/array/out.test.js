// `out`: results in arrays of the caller's are the same bits as in new ones, whatever these held, wherever they lie; what does not
// fit, or shares memory with anything else of the call, is refused.
import { createHash } from 'node:crypto';
import vm from 'node:vm';
import {
  lossAndGradient,
  lossAndGradientSync,
  matmul,
  matmulSync,
  randomState,
  spectralProjections,
  spectralProjectionsSync,
  structuredProducts,
  structuredProductsSync,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses, shuffle } from '../helpers.js';

const gamma = 0.3;
const losses = [
  { kind: 'unhinged', gamma },
  { kind: 'cross-entropy', classWeights: [1, 2, 3] },
  { kind: 'mse' },
  { kind: 'hinge' },
  { kind: 'dot-regression' },
  { kind: 'dot-regression', convention: 'lengths', prototypes: 'learnable' },
  { kind: 'adjusted-margin', gamma, epsilon: 0.5 },
];

/** Functions that take `out`, as `(state, options) => result`. */
const functions = {
  structuredProducts: {
    later: (state, options) => structuredProducts(state, { gamma, ...options }),
    now: (state, options) => structuredProductsSync(state, { gamma, ...options }),
  },
  spectralProjections: { later: spectralProjections, now: spectralProjectionsSync },
  matmul: {
    later: ({ features, prototypes }, options) => matmul(features, prototypes, { transposeB: true, ...options }),
    now: ({ features, prototypes }, options) => matmulSync(features, prototypes, { transposeB: true, ...options }),
  },
};
for (const [i, loss] of losses.entries()) {
  functions[`lossAndGradient ${i}, ${loss.kind}`] = {
    later: (state, options) => lossAndGradient(loss, state, { regularization: { weight: 0.1 }, ...options }),
    now: (state, options) => lossAndGradientSync(loss, state, { regularization: { weight: 0.1 }, ...options }),
  };
}
const calls = Object.entries(functions).flatMap(([name, { later, now }]) => [
  [`${name}, later`, later],
  [`${name}, at once`, now],
]);

const isArray = (value) => ArrayBuffer.isView(value?.data);
/** The same result with every array replaced. */
function mapped(result, make) {
  if (isArray(result)) return make(result);
  if (typeof result !== 'object') return result;
  return Object.fromEntries(Object.entries(result).map(([name, entry]) => [name, mapped(entry, make)]));
}
const arraysOf = (result) => {
  const found = [];
  mapped(result, (array) => found.push(array));
  return found;
};
const bits = (result) => mapped(result, ({ shape, data }) => [...shape, createHash('sha1').update(data.slice()).digest('hex')]);

function stateOf(dtype, { classes = 3, perClass = 37, dim = 21 } = {}) {
  const state = randomState({ classes, perClass, dim, dtype, seed: 3 });
  shuffle(state.labels);
  return { ...state, biases: { shape: [classes], data: state.features.data.slice(0, classes) } };
}

const realm = vm.createContext({});
/** Arrays of a shape full of NaN, of every kind of memory. */
const memories = {
  plain: ({ shape, data }) => ({ shape, data: data.slice().fill(Number.NaN) }),
  shared: ({ shape, data }) => ({
    shape,
    data: new data.constructor(new SharedArrayBuffer(data.byteLength)).fill(Number.NaN),
  }),
  'a view': ({ shape, data }) => ({ shape, data: new data.constructor(data.length + 4).fill(Number.NaN).subarray(1, -3) }),
  'an offset': ({ shape, data }) => ({ shape, data: new data.constructor(data.length + 4).fill(Number.NaN), offset: 3 }),
  'of another realm': ({ shape, data }) => ({
    shape,
    data: new (vm.runInContext(data.constructor.name, realm))(data.length).fill(Number.NaN),
  }),
  frozen: ({ shape, data }) => Object.freeze({ shape: Object.freeze([...shape]), data: data.slice().fill(Number.NaN) }),
};

test('the same bits as in new arrays, in the arrays that were given', async () => {
  for (const dtype of ['float32', 'float64']) {
    const state = stateOf(dtype);
    for (const [name, call] of calls) {
      const expected = await call(state, {});
      for (const [kind, make] of Object.entries(memories)) {
        const out = Object.freeze(mapped(expected, make));
        const result = await call(state, { out });
        const what = `${name}, ${dtype}, ${kind}`;
        const given = arraysOf(out);
        for (const [i, array] of arraysOf(result).entries()) assert.is(array, given[i], what);
        const seen = ({ shape, data, offset = 0 }) => ({
          shape,
          data: data.slice(offset, offset + shape.reduce((product, extent) => product * extent, 1)),
        });
        assert.equal(bits(mapped(result, seen)), bits(expected), what);
        for (const { data, offset } of given) {
          if (offset) assert.ok(Number.isNaN(data[offset - 1]) && Number.isNaN(data.at(-1)), `${what}: written beyond its bounds`);
        }
      }
    }
  }
});

test('a result is the next call’s out, and none is needed for the first', async () => {
  for (const [name, call] of calls) {
    let result;
    for (const seed of [1, 2, 3]) {
      const state = { ...stateOf('float64'), features: randomState({ classes: 3, perClass: 37, dim: 21, seed }).features };
      const before = result && arraysOf(result);
      result = await call(state, { out: result });
      for (const [i, array] of (before ?? []).entries()) assert.is(arraysOf(result)[i], array, name);
      assert.equal(bits(result), bits(await call(state, {})), name);
    }
  }
});

test('large results, on every thread', async () => {
  const state = stateOf('float32', { classes: 3, perClass: 1201, dim: 257 });
  for (const [name, call] of calls) {
    const expected = await call(state, {});
    for (const make of [memories.shared, memories['a view']]) {
      assert.equal(bits(await call(state, { out: mapped(expected, make) })), bits(expected), name);
    }
  }
});

test('what does not fit is refused', async () => {
  const state = stateOf('float64');
  for (const [, call] of calls) {
    const fitting = await call(state, {});
    const names = isArray(fitting) ? [''] : Object.keys(fitting).filter((key) => typeof fitting[key] === 'object');
    await refuses('LP_SHAPE', /^out.* (is|are) /, () =>
      call(state, { out: mapped(fitting, () => ({ shape: [1], data: new Float64Array(1) })) }),
    );
    await refuses('LP_SHAPE', /; expected \[\d+(, \d+)?\]/, () =>
      call(state, { out: mapped(fitting, ({ shape, data }) => ({ shape: [...shape].reverse().concat(1), data })) }),
    );
    await refuses('LP_DTYPE', /float64.*out.*float32/, () =>
      call(state, { out: mapped(fitting, ({ shape, data }) => ({ shape, data: Float32Array.from(data) })) }),
    );
    await refuses('LP_DTYPE', /Int32Array/, () =>
      call(state, { out: mapped(fitting, ({ shape, data }) => ({ shape, data: Int32Array.from(data) })) }),
    );
    await refuses('LP_DETACHED', /transferred/, () => {
      const out = mapped(fitting, memories.plain);
      for (const { data } of arraysOf(out)) structuredClone(null, { transfer: [data.buffer] });
      return call(state, { out });
    });
    for (const wrong of [null, 3, 'out', [], new Float64Array(3), { features: 1 }]) {
      await refuses('LP_SHAPE', /^out/, () => call(state, { out: wrong }));
    }
    for (const missing of names.filter(Boolean)) {
      await refuses('LP_SHAPE', new RegExp(`^out\\.${missing}`), () => call(state, { out: { ...fitting, [missing]: undefined } }));
    }
  }
});

test('memory that is shared with anything else of the call is refused', async () => {
  const state = stateOf('float64');
  for (const [name, call] of calls) {
    const fitting = await call(state, {});
    const fresh = () => mapped(fitting, memories.plain);
    const first = (out, array) => {
      let done = false;
      return mapped(out, (one) => {
        if (done) return one;
        done = true;
        return array(one);
      });
    };
    const { shape, data } = arraysOf(fitting)[0];
    // A result that begins within the features, ends within them, or within the labels.
    for (const kind of name.startsWith('matmul') ? ['features', 'prototypes'] : ['features', 'prototypes', 'labels']) {
      for (const before of [true, false]) {
        const taken = kind === 'labels' ? state.labels : state[kind].data;
        const memory = new ArrayBuffer(8 * (data.length + taken.length));
        const view = new taken.constructor(memory, before ? 8 * (data.length - 1) : 0, taken.length);
        view.set(taken);
        const from = before ? 0 : Math.floor((taken.byteLength - 1) / 8) * 8;
        const overlapping = { shape, data: new Float64Array(memory, from, data.length) };
        const given = { ...state, [kind]: kind === 'labels' ? view : { shape: state[kind].shape, data: view } };
        const where = kind === 'labels' ? 'state.labels' : `(state\\.${kind}|[ab])`;
        await refuses('LP_OPTION', new RegExp(`^out.* shares memory with ${where}; pass an array of its own`), () =>
          call(given, { out: first(fresh(), () => overlapping) }),
        );
        assert.equal(view, taken, `${name}: written before it was refused`);
      }
    }
    // The same array for two results of one shape.
    const out = fresh();
    if ('plus1' in out) {
      await refuses('LP_OPTION', /^out\.plus1\.features shares memory with out\.rest\.features/, () =>
        call(state, { out: { ...out, rest: { ...out.rest, features: out.plus1.features } } }),
      );
    } else if ('features' in out) {
      const { features, prototypes } = out;
      const within = { shape: prototypes.shape, data: features.data.subarray(5, 5 + prototypes.data.length) };
      await refuses('LP_OPTION', /shares memory with out\./, () => call(state, { out: { ...out, prototypes: within } }));
    }
  }
});

test('memory that two buffers share is one memory', async () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
  const before = memory.buffer;
  memory.grow(1);
  const after = memory.buffer;
  assert.is.not(before, after);
  const a = { shape: [3, 3], data: new Float64Array(before, 0, 9) };
  const b = { shape: [3, 3], data: new Float64Array(9).fill(1) };
  for (const multiply of [matmul, matmulSync]) {
    await refuses('LP_OPTION', /out shares memory with a;/, () =>
      multiply(a, b, { out: { shape: [3, 3], data: new Float64Array(after, 64, 9) } }),
    );
    await multiply(a, b, { out: { shape: [3, 3], data: new Float64Array(after, 72, 9) } });
  }
});

test('getters and proxies are read once', async () => {
  const state = stateOf('float64');
  for (const [name, call] of calls) {
    const expected = await call(state, {});
    const out = mapped(expected, memories.plain);
    let reads = 0;
    const options = {
      get out() {
        reads++;
        return new Proxy(out, {});
      },
    };
    assert.equal(bits(await call(state, options)), bits(expected), name);
    assert.is(reads, 1, name);
    if (isArray(out)) continue;
    const changing = {};
    for (const [key, value] of Object.entries(out)) {
      let once = false;
      Object.defineProperty(changing, key, {
        get: () => {
          assert.ok(!once, `${name}: ${key} is read twice`);
          once = true;
          return value;
        },
      });
    }
    assert.equal(bits(await call(state, { out: changing })), bits(expected), name);
  }
});

test('a getter that takes memory away', async () => {
  for (const [, call] of calls) {
    const state = stateOf('float64');
    const fitting = await call(state, {});
    if (isArray(fitting)) continue;
    const key = Object.keys(fitting).at(-1);
    const out = { ...fitting };
    Object.defineProperty(out, key, {
      get: () => {
        structuredClone(null, { transfer: [state.features.data.buffer] });
        return fitting[key];
      },
    });
    await refuses('LP_DETACHED', /./, () => call(state, { out }));
  }
});

test('out whose memory is taken away while a job runs', async () => {
  const state = stateOf('float64');
  for (const { later } of Object.values(functions)) {
    const out = await later(state, {});
    const promise = later(state, { out });
    structuredClone(null, { transfer: [arraysOf(out).at(-1).data.buffer] });
    await refuses('LP_DETACHED', /^out/, () => promise);
  }
});

test('a signal stops a call with out', async () => {
  const state = stateOf('float64');
  for (const { later } of Object.values(functions)) {
    const out = await later(state, {});
    const controller = new AbortController();
    const promise = later(state, { out, signal: controller.signal });
    controller.abort();
    // A job may be done before it hears of it.
    const code = await promise.then(
      () => 'done',
      (error) => error.code,
    );
    assert.ok(code === 'LP_ABORTED' || code === 'done', code);
    assert.equal(bits(await later(state, { out })), bits(await later(state, {})));
  }
});

test.run();
