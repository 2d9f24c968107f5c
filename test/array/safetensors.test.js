import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { formatSafetensors, parseSafetensors, readArray, readLabels, readSafetensors, writeSafetensors } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FLOATS, fixture, INTS, rejects, safetensorsBytes, sameArray, throwsCode } from './cases.js';

const folder = mkdtempSync(join(tmpdir(), 'layerpeel-safetensors-'));
test.after(() => rmSync(folder, { recursive: true }));

test('reads every type that the reference writes, from a file and from bytes', async () => {
  const path = fixture('all.safetensors');
  for (const { tensors, metadata } of [await readSafetensors(path), parseSafetensors(readFileSync(path))]) {
    assert.equal(metadata, { format: 'np', said: 'a "quoted": \\ {colon}' });
    assert.is(Object.keys(tensors).length, 15);
    for (const type of ['float16', 'bfloat16', 'float32', 'float64']) {
      const Data = type === 'float64' ? Float64Array : Float32Array;
      sameArray(tensors[`floats.${type}`], { shape: [3, 4], data: Data.from(FLOATS) });
    }
    for (const type of ['int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64']) {
      sameArray(tensors[`ints.${type}`], { shape: [6], data: INTS });
    }
    sameArray(tensors['ints.bool'], { shape: [6], data: INTS.map((x) => x % 2) });
    sameArray(tensors.empty, { shape: [0, 3], data: new Float32Array(0) });
    sameArray(tensors.scalar, { shape: [], data: Float64Array.of(2.5) });
  }
});

test('a tensor of a type that is not read leaves the others readable, and is named', async () => {
  for (const dtype of ['F8_E4M3', 'C64', '__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
    const other = { dtype, shape: [2], data_offsets: [0, 2] };
    const bytes = safetensorsBytes({ odd: other, h: { dtype: 'F32', shape: [1], data_offsets: [2, 6] } }, 6);
    const path = join(folder, 'odd.safetensors');
    writeFileSync(path, bytes);
    for (const { tensors, unsupported } of [await readSafetensors(path), parseSafetensors(bytes)]) {
      assert.equal(Object.keys(tensors), ['h']);
      assert.equal(Object.entries(unsupported), [['odd', dtype]]);
    }
    assert.equal((await readArray(`${path}:h`)).shape, [1]);
    await rejects(readArray(`${path}:odd`), 'LP_FILE', new RegExp(`:odd: it is of dtype ${dtype}; expected one of F64`));
  }
  assert.equal((await readSafetensors(fixture('float8.safetensors'))).unsupported, { scale: 'F8_E4M3' });
});

test('integers beyond int32 are read and written as what they are', async () => {
  const path = join(folder, 'wide.safetensors');
  const wide = {
    a: { shape: [2], data: BigInt64Array.of(-(2n ** 63n), 5n) },
    b: { shape: [1, 1], data: BigUint64Array.of(2n ** 64n - 1n) },
  };
  await writeSafetensors(path, { ...wide, c: INTS });
  const { tensors } = await readSafetensors(path);
  for (const name of ['a', 'b']) sameArray(tensors[name], wide[name]);
  assert.equal(tensors.c.data, INTS);
  await rejects(readLabels(`${path}:a`), 'LP_FILE', /:a: element 0 is -9223372036854775808; labels must be within/);
});

const entry = (begin, end, shape = [(end - begin) / 4], dtype = 'F32') => ({ dtype, shape, data_offsets: [begin, end] });

test('a lying or malformed header is refused', () => {
  assert.equal(Object.keys(parseSafetensors(safetensorsBytes({ b: entry(4, 12), a: entry(0, 4) }, 12)).tensors), ['b', 'a']);
  assert.equal(parseSafetensors(safetensorsBytes('{}   ', 0)), { tensors: {}, metadata: {}, unsupported: {} });
  for (const [header, size] of [
    [{ a: entry(0, 8) }, 7],
    [{ a: entry(0, 8) }, 9],
    [{ a: entry(4, 8) }, 8],
    [{ a: entry(0, 8), b: entry(4, 12) }, 12],
    [{ a: entry(0, 4), b: entry(8, 12) }, 12],
    [{ a: entry(0, 8), b: entry(0, 8) }, 8],
    [{ a: entry(0, 8, [3]) }, 8],
    [{ a: entry(0, 8, [-2]) }, 8],
    [{ a: entry(0, 8, [-1, -2]) }, 8],
    [{ a: entry(0, 6, [1.5]) }, 6],
    [{ a: entry(0, 8, ['2']) }, 8],
    [{ a: entry(0, 8, [2 ** 32, 2 ** 32]) }, 8],
    [{ a: entry(0, 8, 2) }, 8],
    [{ a: entry(8, 0, [2]) }, 8],
    [{ a: entry(-8, 0, [2]) }, 8],
    [{ a: { dtype: 'F32', shape: [2], data_offsets: [0, 8, 8] } }, 8],
    [{ a: { dtype: 'F32', shape: [2], data_offsets: [0, '8'] } }, 8],
    [{ a: { dtype: 'F32', shape: [2] } }, 8],
    [{ a: { ...entry(0, 8), more: 1 } }, 8],
    [{ a: null }, 8],
    [{ a: [] }, 8],
    [{ a: entry(0, 8), __metadata__: { x: 1 } }, 8],
    [{ a: entry(0, 8), __metadata__: ['x'] }, 8],
    ['[]', 0],
    ['null', 0],
    ['', 0],
    ['{', 0],
    ['\ufeff{}', 0],
  ]) {
    throwsCode(() => parseSafetensors(safetensorsBytes(header, size)), 'LP_FILE');
  }
});

test('headers that are not UTF-8, or too long, or keys twice, or __proto__', () => {
  const bytes = safetensorsBytes('{"a?":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', 4);
  assert.equal(parseSafetensors(bytes).tensors['a?'].shape, []);
  bytes[bytes.indexOf('?')] = 0xff;
  throwsCode(() => parseSafetensors(bytes), 'LP_FILE', /UTF-8/);

  const long = safetensorsBytes('{}', 0);
  for (const length of [3n, 1n << 40n, (1n << 63n) + 2n, 100_000_001n]) {
    long.writeBigUInt64LE(length);
    throwsCode(() => parseSafetensors(long), 'LP_FILE', /header claims/);
  }
  for (const length of [0, 1, 7]) throwsCode(() => parseSafetensors(Buffer.alloc(length)), 'LP_FILE');

  const a = JSON.stringify(entry(0, 8));
  throwsCode(() => parseSafetensors(safetensorsBytes(`{"a":${a},"a":${a}}`, 8)), 'LP_FILE', /twice/);
  throwsCode(() => parseSafetensors(safetensorsBytes(`{"a":${a.replace('}', ',"dtype":"F32"}')}}`, 8)), 'LP_FILE', /twice/);
  throwsCode(() => parseSafetensors(safetensorsBytes(`{"__metadata__":{"x":"1","x":"2"},"a":${a}}`, 8)), 'LP_FILE', /twice/);
  throwsCode(() => parseSafetensors(safetensorsBytes(`{"__proto__":${a}}`, 8)), 'LP_FILE', /__proto__/);
  assert.equal(Object.keys(parseSafetensors(safetensorsBytes(`{"a\\":":${a}}`, 8)).tensors), ['a":']);
});

test('written files have the format that the reference defines', async () => {
  const tensors = { labels: INTS, features: { shape: [3, 4], data: FLOATS }, small: { shape: [2], data: Float32Array.of(1, 2) } };
  const path = join(folder, 'out.safetensors');
  await writeSafetensors(path, tensors, { made: 'here' });
  const bytes = readFileSync(path);
  assert.ok(bytes.equals(formatSafetensors(tensors, { made: 'here' })));
  const length = Number(bytes.readBigUInt64LE());
  assert.is(length % 8, 0);
  assert.equal(JSON.parse(bytes.toString('utf8', 8, 8 + length)), {
    __metadata__: { made: 'here' },
    features: { dtype: 'F64', shape: [3, 4], data_offsets: [0, 96] },
    labels: { dtype: 'I32', shape: [6], data_offsets: [96, 120] },
    small: { dtype: 'F32', shape: [2], data_offsets: [120, 128] },
  });
  assert.is(bytes.readDoubleLE(8 + length + 8), FLOATS[1]);
  assert.is(bytes.readInt32LE(8 + length + 96 + 20), 127);
});

test('any tensors survive writing and reading', async () => {
  const array = fc.oneof(fc.float32Array(), fc.float64Array(), fc.int32Array()).map((data) => ({ shape: [1, data.length], data }));
  const names = fc.string({ unit: 'binary' }).filter((name) => name !== '__proto__' && name !== '__metadata__');
  const path = join(folder, 'any.safetensors');
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(names, array),
      fc.dictionary(names, fc.string({ unit: 'binary' })),
      async (tensors, metadata) => {
        await writeSafetensors(path, tensors, metadata);
        const read = await readSafetensors(path);
        assert.equal({ ...read.metadata }, { ...metadata });
        assert.equal(Object.keys(read.tensors).sort(), Object.keys(tensors).sort());
        for (const name of Object.keys(tensors)) sameArray(read.tensors[name], tensors[name]);
      },
    ),
    { numRuns: 100 },
  );
});

test('writing checks names, arrays and metadata', async () => {
  const path = join(folder, 'refused.safetensors');
  await rejects(writeSafetensors(path, { a: { shape: [3], data: new Float64Array(2) } }), 'LP_SHAPE', /a\.shape/);
  await rejects(writeSafetensors(path, { a: INTS }, { x: 1 }), 'LP_OPTION');
  await rejects(writeSafetensors(path, undefined), 'LP_OPTION');
  await rejects(writeSafetensors(path, { ['__proto__']: INTS }), 'LP_OPTION');
  await rejects(writeSafetensors(path, { __metadata__: INTS }), 'LP_OPTION');
});

test('a file cut short anywhere is refused', async () => {
  const path = join(folder, 'cut.safetensors');
  const bytes = readFileSync(fixture('single.safetensors'));
  for (let length = 0; length < bytes.length; length += 7) {
    writeFileSync(path, bytes.subarray(0, length));
    await rejects(readSafetensors(path), 'LP_FILE', /cut\.safetensors/);
  }
});

test.run();
