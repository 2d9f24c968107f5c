import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { formatNpy, parseNpy, readArray, readLabels, readNpy, writeNpy } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FLOATS, fixture, INTS, npyBytes, rejects, sameArray, throwsCode } from './cases.js';

const folder = mkdtempSync(join(tmpdir(), 'layerpeel-npy-'));
test.after(() => rmSync(folder, { recursive: true }));

test('reads every type and byte order that NumPy writes', async () => {
  for (const side of ['little', 'big']) {
    for (const [type, Data] of [
      ['f2', Float32Array],
      ['f4', Float32Array],
      ['f8', Float64Array],
    ]) {
      assert.equal(await readNpy(fixture(`${side}-${type}.npy`)), { shape: [3, 4], data: Data.from(FLOATS) });
    }
    for (const type of ['i2', 'i4', 'i8', 'u2', 'u4', 'u8']) {
      assert.equal(await readNpy(fixture(`${side}-${type}.npy`)), { shape: [6], data: INTS });
    }
  }
  assert.equal((await readNpy(fixture('i1.npy'))).data, INTS);
  assert.equal(
    (await readNpy(fixture('u1.npy'))).data,
    INTS.map((x) => 2 * x),
  );
  assert.equal(
    (await readNpy(fixture('bool.npy'))).data,
    INTS.map((x) => x % 2),
  );
  assert.equal(
    (await readNpy(fixture('negative-i8.npy'))).data,
    INTS.map((x) => -x),
  );
  for (const version of [1, 2, 3]) assert.equal((await readNpy(fixture(`version-${version}.npy`))).data, FLOATS);
});

test('reads every shape: scalars, cubes, no elements, Fortran order', async () => {
  assert.equal(await readNpy(fixture('scalar.npy')), { shape: [], data: Float64Array.of(2.5) });
  assert.equal(await readNpy(fixture('empty.npy')), { shape: [0, 4], data: new Float32Array(0) });
  assert.equal(await readNpy(fixture('cube.npy')), { shape: [2, 3, 4], data: Float64Array.from({ length: 24 }, (_, i) => i) });
  assert.equal(await readNpy(fixture('fortran.npy')), { shape: [3, 4], data: Float32Array.from(FLOATS) });
  await rejects(readNpy(fixture('fortran-cube.npy')), 'LP_FILE', /ascontiguousarray/);
});

test('widens float16 exactly: infinities, NaN, subnormals, negative zero', async () => {
  const { data } = await readNpy(fixture('special-f2.npy'));
  const third = 1365 / 4096;
  assert.equal(
    Array.from(data),
    [Infinity, -Infinity, Number.NaN, 65504, 2 ** -14, 2 ** -24, 1023 * 2 ** -24, -0, third].map(Math.fround),
  );
  assert.ok(Object.is(data[7], -0));
});

test('integers that int32 cannot hold come with 64 bits, and are refused as labels by value', async () => {
  assert.equal((await readNpy(fixture('extremes-i8.npy'))).data, Int32Array.of(-(2 ** 31), 2 ** 31 - 1));
  for (const [name, Data, element, value] of [
    ['too-large-i8', BigInt64Array, 1, 2147483648n],
    ['too-small-i8', BigInt64Array, 1, -2147483649n],
    ['too-large-u8', BigUint64Array, 0, 18446744073709551615n],
    ['too-large-u4', BigInt64Array, 0, 4294967295n],
  ]) {
    const path = fixture(`${name}.npy`);
    for (const array of [await readNpy(path), await readArray(path), parseNpy(readFileSync(path))]) {
      assert.instance(array.data, Data);
      assert.is(array.data[element], value, name);
      assert.is(array.data.length, array.shape[0]);
    }
    await rejects(readLabels(path), 'LP_FILE', new RegExp(`element ${element} is ${value}; labels must be within`));
  }
  // Big-endian, in Fortran order, in pieces; written, and read again.
  const header = "{'descr': '>i8', 'fortran_order': True, 'shape': (3, 2), }";
  const bytes = npyBytes(header, 48);
  for (let k = 0; k < 6; k++) bytes.writeBigInt64BE(2n ** 40n + BigInt(k), 10 + header.length + 8 * k);
  const turned = { shape: [3, 2], data: BigInt64Array.from([0n, 3n, 1n, 4n, 2n, 5n], (k) => 2n ** 40n + k) };
  sameArray(parseNpy(bytes), turned);
  sameArray(parseNpy(formatNpy(turned)), turned);
  const data = BigInt64Array.from({ length: 1_500_000 }, (_, k) => BigInt(k) << 20n);
  const path = join(folder, 'wide.npy');
  await writeNpy(path, { shape: [data.length], data });
  sameArray(await readNpy(path), { shape: [data.length], data });
  rmSync(path);
});

test('bfloat16, by the name that NumPy gives it, and its own', () => {
  const values = Float32Array.of(0, -1.5, 3.140625, Number.POSITIVE_INFINITY, 2 ** -133, -0);
  const upper = Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
  for (const [descr, big] of [['<V2'], ['|V2'], ['V2'], ['>V2', true], ['bfloat16'], ['<bfloat16']]) {
    const head = npyBytes(`{'descr': '${descr}', 'fortran_order': False, 'shape': (2, 3), }`, 0);
    const body = Buffer.from(upper.buffer.slice(0));
    sameArray(parseNpy(Buffer.concat([head, big ? body.swap16() : body])), { shape: [2, 3], data: values });
  }
});

test('what is no array of numbers is refused, never executed', async () => {
  await rejects(readNpy(fixture('object.npy')), 'LP_FILE', /dtype \|O.*pickled, which are never loaded/);
  await rejects(readNpy(fixture('structured.npy')), 'LP_FILE', /structured dtype/);
  await rejects(readNpy(fixture('complex.npy')), 'LP_FILE', /dtype <c8/);
  await rejects(readNpy(fixture('string.npy')), 'LP_FILE', /dtype <U2/);
  await rejects(readNpy(fixture('none.npy')), 'LP_FILE', /none\.npy cannot be read: it does not exist/);
  await rejects(readNpy(folder), 'LP_FILE', /regular file|folder/);
  throwsCode(() => parseNpy([1, 2, 3]), 'LP_FILE', /Uint8Array/);
});

test('a lying or malformed header is refused', () => {
  const good = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
  assert.equal(parseNpy(npyBytes(good, 12)).shape, [3]);
  assert.equal(parseNpy(npyBytes('{"shape": (3L, ), "descr": "<f4", "fortran_order": False}', 12)).shape, [3]);
  for (const [header, size] of [
    [good, 11],
    [good, 13],
    [good, 0],
    [good.replace('3,', '-3,'), 12],
    [good.replace('3,', '3.0,'), 12],
    [good.replace('3,', '3'), 12],
    [good.replace('3,', '1e1,'), 40],
    [good.replace('3,', '9007199254740993,'), 12],
    [good.replace('3,', '4294967296, 4294967296,'), 12],
    [good.replace('3,', '3, , '), 12],
    [good.replace('(3,)', '[3]'), 12],
    [good.replace('False', '0'), 12],
    [good.replace('<f4', '<f3'), 12],
    [good.replace('<f4', '<<f4'), 12],
    [good.replace("'<f4'", 'None'), 12],
    [good.replace('descr', 'desc'), 12],
    [good.replace('}', "'more': True}"), 12],
    [good.replace('}', ''), 12],
    [`${good}}`, 12],
    [`${good.slice(0, -1)}'descr': '<f8', }`, 24],
    ['', 12],
    [`(1,${' '.repeat(60000)}x)`, 12],
    [good.replace('3,', `3,${' '.repeat(50000)}x`), 12],
  ]) {
    throwsCode(() => parseNpy(npyBytes(header, size)), 'LP_FILE');
  }
  throwsCode(() => parseNpy(npyBytes(good, 12, 4)), 'LP_FILE', /version 4/);
  throwsCode(() => parseNpy(npyBytes(good.padEnd(70000), 12, 2)), 'LP_FILE', /header has 70000 bytes/);
  for (const length of [0, 5, 9, 10, 11]) throwsCode(() => parseNpy(npyBytes(good, 12).subarray(0, length)), 'LP_FILE');
});

test('headers of other writers: any version, without blanks, elements anywhere; a shape grouped by a locale is another shape', async () => {
  const columns = Buffer.from(Float64Array.from({ length: 40 }, (_, i) => (i % 10) + 10 * Math.floor(i / 10)).buffer);
  const rows = Float64Array.from({ length: 40 }, (_, i) => Math.floor(i / 4) + 10 * (i % 4));
  for (const version of [1, 2, 3]) {
    const head = npyBytes("{'descr':'<f8','fortran_order':True,'shape':(10,4,)}\n", 0, version);
    sameArray(parseNpy(Buffer.concat([head, columns])), { shape: [10, 4], data: rows });
  }
  const grouped = (size) => npyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2,621, 401), }", 4 * size);
  throwsCode(() => parseNpy(grouped(2621 * 401)), 'LP_FILE', /shape \[2, 621, 401\]/);
  assert.equal(parseNpy(grouped(2 * 621 * 401)).shape, [2, 621, 401]);
});

test('a huge claim is compared with the file before memory is asked for', () => {
  const before = process.memoryUsage().arrayBuffers;
  const claim = npyBytes("{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,), }", 64);
  throwsCode(() => parseNpy(claim), 'LP_FILE', /800000000\d{3} bytes/);
  const length = npyBytes("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", 8, 2);
  new DataView(length.buffer, length.byteOffset).setUint32(8, 0xffffffff, true);
  throwsCode(() => parseNpy(length), 'LP_FILE', /claims 4294967295 bytes/);
  assert.ok(process.memoryUsage().arrayBuffers - before < 1e6);
});

test('what is written is what NumPy writes', () => {
  for (const [name, array] of [
    ['little-f4.npy', { shape: [3, 4], data: Float32Array.from(FLOATS) }],
    ['little-f8.npy', { shape: [3, 4], data: FLOATS }],
    ['little-i4.npy', { shape: [6], data: INTS }],
    ['little-i4.npy', INTS],
    ['cube.npy', { shape: [2, 3, 4], data: Float64Array.from({ length: 24 }, (_, i) => i) }],
    ['scalar.npy', { shape: [], data: Float64Array.of(2.5) }],
    ['empty.npy', { shape: [0, 4], data: new Float32Array(0) }],
  ]) {
    assert.ok(readFileSync(fixture(name)).equals(formatNpy(array)), name);
  }
});

test('writing checks the array and leaves no trace when it fails', async () => {
  const path = join(folder, 'out.npy');
  await rejects(writeNpy(path, { shape: [2], data: [1, 2] }), 'LP_DTYPE');
  await rejects(writeNpy(path, { shape: [3], data: new Float64Array(2) }), 'LP_SHAPE');
  await rejects(writeNpy(path, { shape: [3], data: new Int32Array(2) }), 'LP_SHAPE');
  await rejects(writeNpy(path, undefined), 'LP_SHAPE');
  await rejects(writeNpy(join(folder, 'no', 'out.npy'), INTS), 'LP_FILE', /folder .*no does not exist/);
  assert.equal(readdirSync(folder), []);
});

test('any array survives writing and reading, through memory and through a file', async () => {
  const arrays = fc.array(fc.nat(6), { maxLength: 4 }).chain((shape) => {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const exactly = { minLength: size, maxLength: size };
    return fc.oneof(fc.float32Array(exactly), fc.float64Array(exactly), fc.int32Array(exactly)).map((data) => ({ shape, data }));
  });
  const path = join(folder, 'any.npy');
  await fc.assert(
    fc.asyncProperty(arrays, async (array) => {
      const bytes = formatNpy(array);
      assert.is(bytes.length - array.data.byteLength, 64 * Math.round((bytes.length - array.data.byteLength) / 64));
      sameArray(parseNpy(bytes), array);
      await writeNpy(path, array);
      assert.ok(readFileSync(path).equals(bytes));
      sameArray(await readNpy(path), array);
    }),
    { numRuns: 100 },
  );
});

test('an array with an offset into its buffer, and unaligned bytes', () => {
  const data = new Float64Array([9, 1, 2, 3]).subarray(1);
  const bytes = formatNpy({ shape: [3], data });
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  assert.equal(parseNpy(shifted.subarray(1)), { shape: [3], data: Float64Array.of(1, 2, 3) });
  for (const name of ['little-i8.npy', 'big-f4.npy', 'little-f2.npy']) {
    const original = readFileSync(fixture(name));
    const moved = new Uint8Array(original.length + 1);
    moved.set(original, 1);
    assert.equal(parseNpy(moved.subarray(1)), parseNpy(original));
    assert.equal(moved.subarray(1), new Uint8Array(original), 'the bytes given are left as they are');
  }
});

test('elements in many pieces are put where they belong', async () => {
  // Big-endian float64 of 20 MB: three pieces.
  const values = Float64Array.from({ length: 2_500_000 }, (_, i) => i / 7);
  const body = Buffer.from(values.buffer.slice(0)).swap64();
  const head = npyBytes(`{'descr': '>f8', 'fortran_order': False, 'shape': (${values.length},), }`, 0);
  const path = join(folder, 'large.npy');
  writeFileSync(path, Buffer.concat([head, body]));
  const { data } = await readNpy(path);
  assert.is(Buffer.compare(Buffer.from(data.buffer), Buffer.from(values.buffer)), 0);
});

test.run();
