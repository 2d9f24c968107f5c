// Products against plain triple loops, on odd sizes, every transposition, broadcasting and hostile input.
import fc from 'fast-check';
import { LayerpeelError, matmul, matmulSync } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

/** Small integers: every product is exact in float32, so results must be equal, not close. */
function integers(shape, Type = Float64Array, seed = 1) {
  const size = shape.reduce((product, extent) => product * extent, 1);
  const data = new Type(size);
  for (let i = 0, x = seed; i < size; i++) {
    x = (x * 16807) % 2147483647;
    data[i] = (x % 7) - 3;
  }
  return { shape, data };
}

function reference(a, b, { transposeA = false, transposeB = false } = {}) {
  const at = (x, transposed, i, j, cols, rows) => x[transposed ? j * rows + i : i * cols + j];
  const [m, k] = transposeA ? [a.shape[1], a.shape[0]] : a.shape;
  const n = transposeB ? b.shape[0] : b.shape[1];
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      for (let l = 0; l < k; l++) out[i * n + j] += at(a.data, transposeA, i, l, k, m) * at(b.data, transposeB, l, j, n, k);
    }
  }
  return out;
}

test('equals plain loops for every size, transposition and dtype', async () => {
  const extent = fc.integer({ min: 0, max: 37 });
  await fc.assert(
    fc.asyncProperty(
      extent,
      extent,
      extent,
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      async (m, n, k, transposeA, transposeB, single) => {
        const Type = single ? Float32Array : Float64Array;
        const a = integers(transposeA ? [k, m] : [m, k], Type, 1 + m);
        const b = integers(transposeB ? [n, k] : [k, n], Type, 2 + n);
        const expected = Type.from(reference(a, b, { transposeA, transposeB }));
        const out = await matmul(a, b, { transposeA, transposeB });
        assert.equal(out.shape, [m, n]);
        assert.equal(out.data, expected);
        assert.equal(matmulSync(a, b, { transposeA, transposeB }).data, expected);
      },
    ),
    { numRuns: 60 },
  );
});

test('tiles and threads do not change a large product', async () => {
  const a = integers([301, 2100]);
  const b = integers([2100, 517]);
  assert.equal((await matmul(a, b)).data, reference(a, b));
});

test('batch dimensions broadcast', async () => {
  const a = integers([3, 1, 2, 5]);
  const b = integers([4, 5, 3], Float64Array, 9);
  const out = await matmul(a, b);
  assert.equal(out.shape, [3, 4, 2, 3]);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 4; j++) {
      const left = { shape: [2, 5], data: a.data.slice(i * 10, i * 10 + 10) };
      const right = { shape: [5, 3], data: b.data.slice(j * 15, j * 15 + 15) };
      assert.equal(out.data.slice((i * 4 + j) * 6, (i * 4 + j + 1) * 6), reference(left, right));
    }
  }
});

test('every way in which two batch dimensions may repeat', () => {
  const shapes = [[3, 4], [1, 4], [3, 1], [4], [1, 1], []];
  for (const left of shapes) {
    for (const right of shapes) {
      for (const transposeA of [false, true]) {
        const a = integers([...left, ...(transposeA ? [5, 2] : [2, 5])], Float64Array, 3);
        const b = integers([...right, 5, 3], Float64Array, 9);
        const out = matmulSync(a, b, { transposeA });
        const at = (batch, [outer, inner], size) => {
          const [rows = 1, columns = 1] = batch.length === 1 ? [1, batch[0]] : batch;
          return ((rows === 1 ? 0 : outer) * columns + (columns === 1 ? 0 : inner)) * size;
        };
        const [rows, columns] = [0, 1].map((axis) => {
          const extents = [left, right].map((batch) => [1, 1, ...batch].slice(-2)[axis]);
          return Math.max(...extents);
        });
        for (let i = 0; i < rows; i++) {
          for (let j = 0; j < columns; j++) {
            const [from, other] = [at(left, [i, j], 10), at(right, [i, j], 15)];
            const one = { shape: a.shape.slice(-2), data: a.data.subarray(from, from + 10) };
            const two = { shape: [5, 3], data: b.data.subarray(other, other + 15) };
            const place = (i * columns + j) * 6;
            const what = `[${left}] by [${right}] at ${i}, ${j}`;
            assert.equal(out.data.slice(place, place + 6), reference(one, two, { transposeA }), what);
          }
        }
      }
    }
  }
});

test('alpha, beta and out', async () => {
  const a = integers([4, 3]);
  const b = integers([3, 5]);
  const expected = reference(a, b).map((value) => 2 * value - 3);
  for (const multiply of [matmul, matmulSync]) {
    const out = { shape: [4, 5], data: new Float64Array(20).fill(1) };
    assert.is(await multiply(a, b, { alpha: 2, beta: -3, out }), out);
    assert.equal(out.data, expected);
  }
});

test('beta = 0 overwrites NaN, and NaN in operands propagates', () => {
  const out = { shape: [1, 1], data: new Float64Array([Number.NaN]) };
  matmulSync({ shape: [1, 1], data: new Float64Array([2]) }, { shape: [1, 1], data: new Float64Array([3]) }, { out });
  assert.is(out.data[0], 6);
  assert.ok(Number.isNaN(matmulSync(out, { shape: [1, 1], data: new Float64Array([Number.NaN]) }).data[0]));
});

test('an empty inner dimension gives zeros', () => {
  assert.equal(matmulSync(integers([2, 0]), integers([0, 3])).data, new Float64Array(6));
});

test('views at odd offsets and shared memory', async () => {
  const memory = new Float64Array(new SharedArrayBuffer(8 * 40));
  memory.set(integers([5, 7]).data, 3);
  const a = { shape: [5, 7], data: memory.subarray(3, 38) };
  const b = integers([7, 2]);
  assert.equal((await matmul(a, b)).data, reference(a, b));
  assert.equal((await matmul({ shape: [5, 7], stride: [7, 1], offset: 3, data: memory }, b)).data, reference(a, b));
});

function refuses(code, pattern, body) {
  assert.throws(body, (error) => {
    assert.instance(error, LayerpeelError);
    assert.is(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  });
}

test('refuses malformed input with a code and a sentence', () => {
  const a = integers([2, 3]);
  refuses('LP_SHAPE', /3 columns, but b \[2, 3\] has 2 rows/, () => matmulSync(a, a));
  refuses('LP_SHAPE', /needs 8 elements, but data has 6/, () => matmulSync({ shape: [2, 4], data: a.data }, a));
  refuses('LP_SHAPE', /non-negative integer/, () => matmulSync({ shape: [-2, -3], data: a.data }, a));
  refuses('LP_SHAPE', /non-negative integer/, () => matmulSync({ shape: [1.5, 4], data: a.data }, a));
  refuses('LP_SHAPE', /more elements/, () => matmulSync({ shape: [2 ** 40, 2 ** 40], data: a.data }, a));
  refuses('LP_SHAPE', /at least 2/, () => matmulSync({ shape: [6], data: a.data }, a));
  refuses('LP_SHAPE', /expected \{ shape, data \}/, () => matmulSync(null, a));
  refuses('LP_DTYPE', /Array/, () => matmulSync({ shape: [1, 1], data: [1] }, a));
  refuses('LP_DTYPE', /a is float64 but b is float32/, () => matmulSync(a, integers([3, 2], Float32Array)));
  refuses('LP_SHAPE', /do not broadcast/, () => matmulSync(integers([2, 1, 1]), integers([3, 1, 1])));
  refuses('LP_SHAPE', /contiguous/, () => matmulSync({ ...a, stride: [1, 2] }, a));
  refuses('LP_OPTION', /did you mean transposeA/, () => matmulSync(a, a, { transposA: true }));
  refuses('LP_OPTION', /no out/, () => matmulSync(a, integers([3, 2]), { beta: 1 }));
  refuses('LP_OPTION', /shares memory/, () => matmulSync(integers([2, 2]), a, { out: a }));
  const memory = new Float64Array(20);
  const view = (shape, from) => ({ shape, data: memory.subarray(from, from + shape[0] * shape[1]) });
  const into = (from) => matmulSync(view([2, 4], 5), integers([4, 2]), { out: view([2, 2], from) });
  for (const from of [2, 5, 7, 12]) refuses('LP_OPTION', /shares memory/, () => into(from));
  for (const from of [1, 13]) into(from);
  refuses('LP_OPTION', /finite/, () => matmulSync(a, integers([3, 2]), { alpha: Number.NaN }));
  const detached = integers([3, 2]);
  structuredClone(detached.data, { transfer: [detached.data.buffer] });
  refuses('LP_DETACHED', /transferred/, () => matmulSync(a, detached));
});

test('an input detached while a job runs is not missed', async () => {
  const a = integers([400, 400]);
  const expected = reference(a, a);
  const product = matmul(a, a);
  structuredClone(a.data, { transfer: [a.data.buffer] });
  assert.equal((await product).data, expected);
});

test('a signal stops a long product within 50 ms', async () => {
  const a = { shape: [6000, 6000], data: new Float32Array(6000 * 6000) };
  const controller = new AbortController();
  const product = matmul(a, a, { signal: controller.signal });
  await new Promise((resolve) => setTimeout(resolve, 30));
  controller.abort();
  try {
    await product;
    assert.unreachable('the product was not stopped');
  } catch (error) {
    assert.is(error.code, 'LP_ABORTED');
    assert.is(error.name, 'AbortError');
  }
});

test.run();
