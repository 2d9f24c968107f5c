import { createWriteStream, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import fc from 'fast-check';
import { formatNpy, readArray, readNpz, writeNpz } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import yazl from 'yazl';
import { FLOATS, fixture, INTS, rejects, sameArray, zipBytes } from './cases.js';

const folder = mkdtempSync(join(tmpdir(), 'layerpeel-npz-'));
const path = join(folder, 'test.npz');
test.after(() => rmSync(folder, { recursive: true }));

/** Offsets of the fields in a zip's central directory entry. */
const [METHOD, CRC, COMPRESSED, UNCOMPRESSED, LOCAL] = [10, 16, 20, 24, 42];

/** Overwrites a 32-bit field of the `index`-th entry of the central directory. */
function patch(bytes, index, field, value) {
  let at = -1;
  for (let i = 0; i <= index; i++) at = bytes.indexOf('PK\x01\x02', at + 1);
  bytes.writeUInt32LE(value, at + field);
}

/** A zip of any members, by yazl. */
async function zipOf(members, options = {}) {
  const zip = new yazl.ZipFile();
  for (const [name, bytes] of members) zip.addBuffer(bytes, name, options);
  zip.end({ forceZip64Format: options.forceZip64Format ?? false });
  await pipeline(zip.outputStream, createWriteStream(path));
}

test('reads what NumPy writes, stored and deflated', async () => {
  for (const name of ['stored.npz', 'deflated.npz']) {
    const arrays = await readNpz(fixture(name));
    assert.equal(Object.keys(arrays), ['features', 'labels', 'fortran']);
    sameArray(arrays.features, { shape: [3, 4], data: Float32Array.from(FLOATS) });
    sameArray(arrays.labels, { shape: [6], data: INTS });
    sameArray(arrays.fortran, { shape: [3, 4], data: FLOATS });
  }
});

test('reads ZIP64, leaves other members out, takes an archive without members', async () => {
  const npy = Buffer.from(formatNpy(INTS));
  await zipOf(
    [
      ['a/labels.npy', npy],
      ['README', Buffer.from('text')],
    ],
    { forceZip64Format: true },
  );
  assert.equal(await readNpz(path), { 'a/labels': { shape: [6], data: INTS } });
  await zipOf([]);
  assert.equal(await readNpz(path), {});
  await rejects(readArray(path), 'LP_FILE', /holds no array/);
});

test('any arrays survive writing and reading; equal arrays make equal files', async () => {
  const array = fc.oneof(fc.float32Array(), fc.float64Array(), fc.int32Array()).map((data) => ({ shape: [data.length], data }));
  const names = fc.stringMatching(/^[\wäß .-]{1,12}$/).filter((name) => name !== '__proto__');
  await fc.assert(
    fc.asyncProperty(fc.dictionary(names, array, { maxKeys: 5 }), fc.boolean(), async (arrays, compress) => {
      await writeNpz(path, arrays, { compress });
      const first = readFileSync(path);
      await writeNpz(path, arrays, { compress });
      assert.ok(first.equals(readFileSync(path)));
      const read = await readNpz(path);
      assert.equal(Object.keys(read).sort(), Object.keys(arrays).sort());
      for (const name of Object.keys(arrays)) sameArray(read[name], arrays[name]);
    }),
    { numRuns: 50 },
  );
});

test('members of many pieces', async () => {
  const data = Float64Array.from({ length: 2_500_000 }, (_, i) => i % 1000);
  for (const compress of [false, true]) {
    await writeNpz(path, { a: { shape: [2500, 1000], data }, b: INTS }, { compress });
    const { a, b } = await readNpz(path);
    sameArray(a, { shape: [2500, 1000], data });
    sameArray(b, { shape: [6], data: INTS });
  }
});

test('lying entries are refused: sizes, checksums, methods, places', async () => {
  for (const compress of [false, true]) {
    await writeNpz(path, { a: { shape: [3, 4], data: FLOATS }, b: INTS }, { compress });
    const good = readFileSync(path);
    const altered = async (index, field, value, pattern) => {
      const bytes = Buffer.from(good);
      patch(bytes, index, field, value);
      writeFileSync(path, bytes);
      await rejects(readNpz(path), 'LP_FILE', pattern);
    };
    await altered(1, CRC, 12345, /test\.npz:b: .*checksum/);
    await altered(0, UNCOMPRESSED, 0xfffffff0, compress ? /members claim 4294967/ : /size/);
    await altered(0, UNCOMPRESSED, 225);
    await altered(0, UNCOMPRESSED, 223);
    await altered(0, UNCOMPRESSED, 0);
    await altered(0, COMPRESSED, 10);
    await altered(0, COMPRESSED, 100000);
    await altered(0, LOCAL, 7);
    await altered(0, LOCAL, 0x7fffffff);
    await altered(0, METHOD, 99, /deflate|compress/);

    // A bit of the elements: the first entry's data ends before the second local header.
    const bytes = Buffer.from(good);
    bytes[bytes.indexOf('PK\x03\x04', 4) - 30] ^= 1;
    writeFileSync(path, bytes);
    await rejects(readNpz(path), 'LP_FILE', /test\.npz:a/);

    for (const length of [0, 10, 21, 60, good.length - 30, good.length - 1]) {
      writeFileSync(path, good.subarray(0, length));
      await rejects(readNpz(path), 'LP_FILE', /test\.npz/);
    }
  }
});

test('entries that share their data cannot multiply it beyond what deflate can', async () => {
  const zeros = Buffer.from(formatNpy({ shape: [1_000_000], data: new Float64Array(1_000_000) }));
  await zipOf(
    Array.from({ length: 40 }, (_, i) => [`${i}.npy`, i ? Buffer.alloc(0) : zeros]),
    { compress: true },
  );
  const bytes = readFileSync(path);
  const first = bytes.indexOf('PK\x01\x02');
  for (let i = 1; i < 40; i++) {
    for (const field of [CRC, COMPRESSED, UNCOMPRESSED, LOCAL]) patch(bytes, i, field, bytes.readUInt32LE(first + field));
  }
  writeFileSync(path, bytes);
  await rejects(readNpz(path), 'LP_FILE', /members claim 320005120 bytes/);
});

/** Names that would lead an unpacker elsewhere, and others that archives have: of JAX, of TensorFlow, of a careless hand. */
const NAMES = [
  'params/head/kernel',
  'dense/kernel:0',
  'W:0',
  '/abs/w',
  '../w',
  'a/../../w',
  'a\\w',
  'C:\\w',
  '',
  ' w ',
  'w/',
  'w.npy',
  'ß/\u6f22\n',
  'constructor',
];

test('an array is read under its own name, whatever the name, and spoils no neighbour', async () => {
  const [npy, other] = [Buffer.from(formatNpy(INTS)), Buffer.from(formatNpy({ shape: [3, 4], data: FLOATS }))];
  for (const deflate of [false, true]) {
    for (const name of NAMES) {
      writeFileSync(
        path,
        zipBytes(
          [
            ['h.npy', npy],
            [`${name}.npy`, other],
          ],
          { deflate },
        ),
      );
      sameArray(await readArray(`${path}:h`), { shape: [6], data: INTS });
      sameArray(await readArray(path, { name }), { shape: [3, 4], data: FLOATS });
      if (name) sameArray(await readArray(`${path}:${name}`), { shape: [3, 4], data: FLOATS });
      assert.equal(Object.keys(await readNpz(path)), ['h', name]);
    }
  }
});

test('a name that nothing can have, a name given twice, what is no array: faults of their own, not of the neighbours', async () => {
  const npy = Buffer.from(formatNpy(INTS));
  for (const [members, pattern] of [
    [[['__proto__.npy', npy]], /named __proto__/],
    [
      [
        ['a.npy', npy],
        ['a.npy', npy],
      ],
      /two of its members are named a\.npy/,
    ],
    [[['a.npy', Buffer.from('no array')]], /test\.npz:a: it does not begin as a \.npy/],
  ]) {
    writeFileSync(path, zipBytes([['h.npy', npy], ...members]));
    assert.equal((await readArray(`${path}:h`)).data, INTS);
    await rejects(readNpz(path), 'LP_FILE', pattern);
  }
  await rejects(readArray(`${path}:a`), 'LP_FILE', /does not begin as a \.npy/);
  await rejects(readArray(`${path}:b`), 'LP_OPTION', /has no array b/);
});

test('what was read can be written, under the same names', async () => {
  const arrays = Object.fromEntries(NAMES.map((name, i) => [name, { shape: [1], data: Int32Array.of(i) }]));
  for (const compress of [false, true]) {
    await writeNpz(path, arrays, { compress });
    const read = await readNpz(path);
    assert.equal(Object.keys(read), NAMES);
    for (const name of NAMES) sameArray(read[name], arrays[name]);
    // Both places where a zip has a name: other readers compare them.
    const bytes = readFileSync(path);
    for (const signature of ['PK\x03\x04', 'PK\x01\x02']) {
      const [length, start] = signature === 'PK\x03\x04' ? [26, 30] : [28, 46];
      const names = [];
      for (let at = bytes.indexOf(signature); at >= 0; at = bytes.indexOf(signature, at + 1)) {
        names.push(bytes.toString('utf8', at + start, at + start + bytes.readUInt16LE(at + length)));
      }
      assert.equal(
        names,
        NAMES.map((name) => `${name}.npy`),
      );
    }
  }
});

test('writing checks options, names and arrays, and leaves no trace when it fails', async () => {
  const before = readdirSync(folder);
  const other = join(folder, 'other.npz');
  await rejects(writeNpz(other, { a: INTS }, { compressed: true }), 'LP_OPTION', /did you mean compress/);
  await rejects(writeNpz(other, { ['a'.repeat(65532)]: INTS }), 'LP_OPTION', /65536 bytes/);
  await rejects(writeNpz(other, { ['__proto__']: INTS }), 'LP_OPTION');
  await rejects(writeNpz(other, { a: { shape: [2], data: new Float64Array(3) } }), 'LP_SHAPE', /a\.shape/);
  await rejects(writeNpz(join(folder, 'none', 'a.npz'), { a: INTS }), 'LP_FILE');
  assert.equal(readdirSync(folder), before);
});

test.run();
