import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { openArray, parseNpy, readArray, readFloats, readLabels, writeNpy, writeNpz, writeSafetensors } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FLOATS, fixture, INTS, npyBytes, rejects, sameArray, zipBytes } from './cases.js';

const folder = mkdtempSync(join(tmpdir(), 'layerpeel-open-'));
test.after(() => rmSync(folder, { recursive: true }));

async function collect(source, rowsPerChunk) {
  const blocks = [];
  for await (const block of source.chunks(rowsPerChunk)) blocks.push(block);
  return blocks;
}

/** All rows of a source, put together again. */
async function whole(source, rowsPerChunk) {
  const blocks = await collect(source, rowsPerChunk);
  const Data = source.dtype === 'float64' ? Float64Array : Float32Array;
  const data = new Data(blocks.reduce((sum, block) => sum + block.data.length, 0));
  let at = 0;
  for (const block of blocks) {
    data.set(block.data, at);
    at += block.data.length;
  }
  return { shape: [blocks.reduce((sum, block) => sum + block.shape[0], 0), source.shape[1]], data };
}

test('arrays by path: every kind, by name or alone', async () => {
  const features = { shape: [3, 4], data: Float32Array.from(FLOATS) };
  sameArray(await readArray(fixture('little-f4.npy')), features);
  sameArray(await readArray(fixture('deflated.npz:features')), features);
  sameArray(await readArray(fixture('deflated.npz'), { name: 'features' }), features);
  sameArray(await readArray(fixture('single.safetensors')), features);
  sameArray(await readFloats(fixture('all.safetensors:floats.bfloat16')), features);
  sameArray(await readFloats(fixture('single.npz')), { shape: [3, 4], data: FLOATS });
  assert.equal(await readLabels(fixture('stored.npz:labels')), INTS);
  assert.equal(await readLabels(fixture('all.safetensors'), { name: 'ints.uint16' }), INTS);
  assert.equal(await readLabels(fixture('big-i8.npy')), INTS);
});

test('what is not there, or not of the kind asked for', async () => {
  await rejects(readArray(fixture('deflated.npz')), 'LP_OPTION', /holds features, labels, fortran; name one/);
  await rejects(readArray(fixture('deflated.npz:featurs')), 'LP_OPTION', /did you mean features/);
  await rejects(readArray(fixture('all.safetensors:zzzzzzzzzz')), 'LP_OPTION', /it holds ints/);
  await rejects(readArray(fixture('little-f4.npy:features')), 'LP_OPTION', /one array without a name/);
  await rejects(readArray(fixture('little-f4.npy'), { nam: 'x' }), 'LP_OPTION', /did you mean name/);
  await rejects(readArray('features.csv'), 'LP_FILE', /ends in \.npy, \.npz, \.safetensors, \.pth, \.pt, \.bin or \.ckpt/);
  await rejects(readArray(undefined), 'LP_FILE', /undefined is of an unknown kind/);
  await rejects(readArray(join(folder, 'none.npz')), 'LP_FILE', /none\.npz cannot be read: it does not exist/);
  await rejects(readFloats(fixture('little-i8.npy')), 'LP_FILE', /holds int64; expected floats/);
  await rejects(readLabels(fixture('little-f4.npy')), 'LP_FILE', /holds float32 \[[^\]]*\]; labels are integers/);
  await writeNpy(join(folder, 'matrix.npy'), { shape: [3, 2], data: INTS });
  await rejects(readLabels(join(folder, 'matrix.npy')), 'LP_FILE', /shape is \[3, 2\]/);
  await writeNpy(join(folder, 'column.npy'), { shape: [6, 1], data: INTS });
  assert.equal(await readLabels(join(folder, 'column.npy')), INTS);
});

test('a colon in a folder is no name', async () => {
  const inner = mkdtempSync(join(folder, 'a.npz:'));
  await writeNpy(join(inner, 'b.npy'), INTS);
  assert.equal(await readLabels(join(inner, 'b.npy')), INTS);
});

test('anything may stand after the colon; of several ways to read a path the longest file that is there is meant', async () => {
  const [a, b] = [Int32Array.of(1), Int32Array.of(2)];
  const names = ['params/head/kernel', 'dense/kernel:0', 'x.npy', 'x.npz:y', '../w', ':', 'a\nb'];
  const arrays = Object.fromEntries(names.map((name) => [name, b]));
  await writeNpz(join(folder, 'f.npz'), arrays);
  await writeSafetensors(join(folder, 'f.safetensors'), arrays);
  for (const file of ['f.npz', 'f.safetensors']) {
    for (const name of names) assert.equal(await readLabels(`${join(folder, file)}:${name}`), b);
  }
  const inner = join(folder, 'f.npz:x.npz');
  await writeNpz(inner, { y: a });
  assert.equal(await readLabels(`${inner}:y`), a);
  rmSync(inner);
  assert.equal(await readLabels(`${inner}:y`), b);
  await rejects(readArray(`${folder}/none.npz:a/b.npy`), 'LP_FILE', /none\.npz cannot be read: it does not exist/);
  await rejects(readArray(`${folder}/f.npz:a/b`), 'LP_OPTION', /f\.npz has no array a\/b/);
});

test('a matrix is read in blocks of rows, as often as wanted', async () => {
  const addresses = ['little-f2.npy', 'little-f4.npy', 'little-f8.npy', 'big-f2.npy', 'big-f8.npy', 'fortran.npy']
    .concat(['stored.npz:features', 'deflated.npz:features', 'stored.npz:fortran', 'deflated.npz:fortran'])
    .concat(['float16', 'bfloat16', 'float32', 'float64'].map((type) => `all.safetensors:floats.${type}`));
  for (const address of addresses) {
    const source = await openArray(fixture(address));
    const expected = await readArray(fixture(address));
    assert.equal(source.shape, [3, 4]);
    for (const rowsPerChunk of [1, 2, 3, 4, undefined]) {
      const blocks = await collect(source, rowsPerChunk);
      assert.is(blocks.length, Math.ceil(3 / (rowsPerChunk ?? 3)), address);
      sameArray(await whole(source, rowsPerChunk), expected);
    }
    await source.close();
  }
});

test('two passes run side by side, and one may be left', async () => {
  for (const address of ['little-f8.npy', 'deflated.npz:features']) {
    const source = await openArray(fixture(address));
    const expected = Array.from(FLOATS, (x) => x);
    const [first, second] = [source.chunks(1), source.chunks(2)];
    const rows = [];
    for (let i = 0; i < 3; i++) {
      rows.push(...(await first.next()).value.data);
      if (i === 0) assert.equal([...(await second.next()).value.data], expected.slice(0, 8));
    }
    assert.equal(rows, expected);
    await second.return();
    for await (const block of source.chunks(1)) {
      assert.equal(block.shape, [1, 4]);
      break;
    }
    assert.equal((await whole(source)).shape, [3, 4]);
    await source[Symbol.asyncDispose]();
    await rejects(source.chunks().next(), 'LP_FILE');
  }
});

test('blocks of any height make the matrix that was written', async () => {
  const matrix = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 6 })).chain(([rows, columns]) => {
    const exactly = { minLength: rows * columns, maxLength: rows * columns };
    return fc.oneof(fc.float32Array(exactly), fc.float64Array(exactly)).map((data) => ({ shape: [rows, columns], data }));
  });
  const write = {
    npy: writeNpy,
    npz: (path, m) => writeNpz(path, { m }, { compress: true }),
    safetensors: (path, m) => writeSafetensors(path, { m }),
  };
  await fc.assert(
    fc.asyncProperty(
      matrix,
      fc.integer({ min: 1, max: 45 }),
      fc.constantFrom('npy', 'npz', 'safetensors'),
      async (m, height, kind) => {
        const path = join(folder, `blocks.${kind}`);
        await write[kind](path, m);
        const source = await openArray(path);
        sameArray(await whole(source, height), m);
        await source.close();
      },
    ),
    { numRuns: 60 },
  );
});

test('a file larger than a block is never in memory as a whole', async () => {
  // 64 MB of float16, sparse on the disk; the blocks are 8 MiB of float32.
  const [rows, columns] = [32768, 1024];
  const path = join(folder, 'large.npy');
  writeFileSync(path, npyBytes(`{'descr': '<f2', 'fortran_order': False, 'shape': (${rows}, ${columns}), }`, rows * columns * 2));
  const source = await openArray(path);
  let [seen, largest] = [0, 0];
  for await (const { shape, data } of source.chunks()) {
    seen += shape[0];
    largest = Math.max(largest, data.byteLength);
    assert.is(data[0], 0);
  }
  assert.is(seen, rows);
  assert.is(largest, 8 * 2 ** 20);
  await source.close();
});

/** A `.npz` with a matrix `h` of float32 in Fortran order, whose element `[i, j]` is `element(i, j)`. */
function fortranNpz(rows, columns, element, deflate) {
  const header = `{'descr': '<f4', 'fortran_order': True, 'shape': (${rows}, ${columns}), }`;
  const bytes = npyBytes(header, 4 * rows * columns);
  for (let k = 0; k < rows * columns; k++) {
    bytes.writeFloatLE(element(k % rows, Math.floor(k / rows)), 10 + header.length + 4 * k);
  }
  return zipBytes([['h.npy', bytes]], { deflate });
}

test('a matrix in Fortran order inside a .npz is read in blocks of rows, plain or compressed, and leaves nothing behind', async () => {
  const [rows, columns] = [40_000, 57]; // more than a piece
  const element = (i, j) => (i * 13 + j * 7) % 1021;
  const before = process.env.TMPDIR;
  try {
    for (const deflate of [false, true]) {
      const path = join(folder, 'columns.npz');
      const temporary = mkdtempSync(join(folder, 'tmp-'));
      process.env.TMPDIR = temporary;
      const bytes = fortranNpz(rows, columns, element, deflate);
      writeFileSync(path, bytes);
      const source = await openArray(path);
      assert.equal(source.shape, [rows, columns]);
      for (let pass = 0; pass < 2; pass++) {
        const { data } = await whole(source, 9_999);
        assert.ok(data.every((value, k) => value === element(Math.floor(k / columns), k % columns)));
        assert.equal(readdirSync(temporary), []);
      }
      await source.close();

      // A wrong bit of the elements, which the checksum tells.
      const damaged = Buffer.from(bytes);
      damaged.writeUInt32LE(
        (damaged.readUInt32LE(damaged.indexOf('PK\x01\x02') + 16) ^ 1) >>> 0,
        damaged.indexOf('PK\x01\x02') + 16,
      );
      writeFileSync(path, damaged);
      const other = await openArray(path);
      await rejects(whole(other, 9_999), 'LP_FILE', /columns\.npz:h: .*checksum/);
      await rejects(whole(other, 9_999), 'LP_FILE', /columns\.npz:h: .*checksum/);
      await other.close();
      assert.equal(readdirSync(temporary), []);
    }
    process.env.TMPDIR = join(folder, 'nowhere');
    writeFileSync(join(folder, 'columns.npz'), fortranNpz(3, 2, element, true));
    const source = await openArray(join(folder, 'columns.npz'));
    await rejects(whole(source), 'LP_FILE', /nowhere\/layerpeel-\w+ cannot be written: the folder .*nowhere does not exist/);
    await source.close();
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
});

test('a matrix without elements is read at once, however long it claims to be', async () => {
  const path = join(folder, 'empty.npy');
  for (const fortran of ['True', 'False']) {
    for (const shape of ['(0, 99999999999)', '(99999999999, 0)', '(0, 9007199254740991)', '(0, 4294967296)']) {
      const bytes = npyBytes(`{'descr': '<f4', 'fortran_order': ${fortran}, 'shape': ${shape}, }`, 0);
      writeFileSync(path, bytes);
      for (const array of [await readArray(path), parseNpy(bytes)]) {
        assert.is(array.data.length, 0);
        assert.is(`(${array.shape.join(', ')})`, shape);
      }
      const source = await openArray(path);
      assert.equal(await collect(source), []);
      await source.close();
    }
  }
});

test('a matrix without elements has no blocks', async () => {
  const path = join(folder, 'empty.npy');
  for (const shape of [
    [0, 3],
    [3, 0],
    [Number.MAX_SAFE_INTEGER, 0],
  ]) {
    writeFileSync(path, npyBytes(`{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(', ')}), }`, 0));
    const source = await openArray(path);
    assert.equal(source.shape, shape);
    assert.equal(await collect(source), []);
    await source.close();
  }
});

test('only matrices of floats are opened', async () => {
  await rejects(openArray(fixture('cube.npy')), 'LP_FILE', /shape is \[2, 3, 4\]; expected two dimensions/);
  await rejects(openArray(fixture('scalar.npy')), 'LP_FILE', /two dimensions/);
  await rejects(openArray(fixture('little-i8.npy')), 'LP_FILE', /int64; expected floats/);
  await rejects(openArray(fixture('none.npy')), 'LP_FILE', /does not exist/);
  const source = await openArray(fixture('little-f4.npy'));
  for (const height of [0, -1, 1.5, Number.NaN, '2']) {
    assert.throws(
      () => source.chunks(height),
      (error) => error.code === 'LP_OPTION',
    );
  }
  await source.close();
});

test.run();
