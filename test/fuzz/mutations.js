/**
 * Valid array files changed in hostile ways, and what must hold for each: it is read as an array that agrees with itself, or
 * refused with LP_FILE; whole and in blocks, from bytes and from a file, alike.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { extname } from 'node:path';
import fc from 'fast-check';
import { LayerpeelError, openArray, parseNpy, parseSafetensors, readNpy, readNpz, readPth, readSafetensors } from 'layerpeel';
import * as assert from 'uvu/assert';

const folder = new URL('../array/fixtures/', import.meta.url);

/** The files to begin with, each with its kind. */
export const seeds = readdirSync(folder).map((name) => ({ name, kind: extname(name), bytes: readFileSync(new URL(name, folder)) }));

/** Numbers at the edges of the counters that headers hold. */
const edges = [0, 1, 7, 8, 255, 256, 65535, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];
const tokens = [
  '-1',
  '0',
  '99999999999999999999',
  '1e9',
  '0.5',
  '(',
  ')',
  '{',
  '}',
  '[',
  ']',
  "'",
  '"',
  ',',
  ':',
  '\\',
  'True',
  'null',
  '|O',
  '>f8',
];

/** A place in a file, as a fraction of its length. (fc.double would crowd at 0, as doubles do.) */
const place = fc.nat(2 ** 30 - 1).map((number) => number / 2 ** 30);
const at = (bytes, fraction) => Math.floor(fraction * bytes.length);
const spliced = (bytes, from, to, insert) => Buffer.concat([bytes.subarray(0, from), insert, bytes.subarray(to)]);
const overwritten = (bytes, from, piece) => spliced(bytes, from, from + piece.length, piece);

function little(value, width) {
  const number = Buffer.alloc(8);
  number.writeBigUInt64LE(BigInt(value));
  return number.subarray(0, width);
}

/** Changes that leave every other byte where it is: functions from bytes to bytes. */
const inPlace = fc.oneof(
  fc.tuple(place, fc.nat(7)).map(([where, bit]) => (bytes) => {
    const start = at(bytes, where);
    return overwritten(bytes, start, Buffer.of((bytes[start] ?? 0) ^ (1 << bit)));
  }),
  fc.tuple(place, fc.constantFrom(...tokens)).map(
    ([where, token]) =>
      (bytes) =>
        overwritten(bytes, at(bytes, where), Buffer.from(token)),
  ),
  fc.tuple(place, fc.nat(9)).map(([where, digit]) => (bytes) => {
    // Another digit in place of one of the header's or the data's digits.
    const digits = [...bytes.keys()].filter((i) => bytes[i] >= 48 && bytes[i] <= 57);
    return digits.length ? overwritten(bytes, digits[at(digits, where)], Buffer.from(String(digit))) : bytes;
  }),
  fc.tuple(place, fc.constantFrom(...edges), fc.constantFrom(1, 2, 4, 8)).map(
    ([where, value, width]) =>
      (bytes) =>
        overwritten(bytes, at(bytes, where), little(value, width)),
  ),
);

/** Changes that move what follows. */
const moving = fc.oneof(
  place.map((where) => (bytes) => bytes.subarray(0, at(bytes, where))),
  fc.tuple(place, fc.uint8Array({ maxLength: 40 })).map(
    ([where, more]) =>
      (bytes) =>
        spliced(bytes, at(bytes, where), at(bytes, where), more),
  ),
  fc.tuple(place, place, place).map(([from, to, where]) => (bytes) => {
    const [start, end] = [at(bytes, Math.min(from, to)), at(bytes, Math.max(from, to))];
    return spliced(bytes, at(bytes, where), at(bytes, where), bytes.subarray(start, end));
  }),
  fc.tuple(fc.constantFrom(...seeds), place, place).map(
    ([other, from, to]) =>
      (bytes) =>
        Buffer.concat([bytes.subarray(0, at(bytes, from)), other.bytes.subarray(at(other.bytes, to))]),
  ),
);

const change = fc.oneof({ arbitrary: inPlace, weight: 5 }, { arbitrary: moving, weight: 1 });

/** A function that makes one to four changes to bytes. */
export const changes = fc
  .array(change, { minLength: 1, maxLength: 4 })
  .map((list) => (bytes) => list.reduce((changed, apply) => apply(changed), bytes));
const kinds = ['.npy', '.npz', '.safetensors', '.pth'].map((kind) =>
  fc.constantFrom(...seeds.filter((seed) => seed.kind === kind)),
);

/** Opcodes of pickles, and the small numbers that they take. */
const opcode = fc.oneof(
  fc.constantFrom(...Buffer.from('()NKMJG\x8a\x8bUTXCB]}aseutqrhj012cibRQ.\x80\x81\x85\x86\x87\x88\x89\x8f\x93\x94\x95', 'latin1')),
  fc.nat(16),
);

/** Changes of the bytes of a pickle: other opcodes in the place of some, and what changes any file. */
const pickled = fc.array(
  fc.oneof(
    fc.tuple(place, fc.array(opcode, { minLength: 1, maxLength: 6 })).map(
      ([where, codes]) =>
        (bytes) =>
          overwritten(bytes, at(bytes, where), Buffer.from(codes)),
    ),
    inPlace,
  ),
  { minLength: 1, maxLength: 4 },
);

/**
 * Where the pickle of one of PyTorch's files lies, and the file without checksums, which would refuse every change of it.
 * In a zip it is the first member, whose data follows its name and extra field.
 */
function pickleIn(file) {
  const bytes = Buffer.from(file);
  if (!bytes.subarray(0, 2).equals(Buffer.from('PK')))
    return { bytes, begin: 0, end: Math.min(bytes.length, bytes.indexOf('cpu') + 600) };
  for (let entry = bytes.indexOf('PK\x01\x02'); entry >= 0; entry = bytes.indexOf('PK\x01\x02', entry + 4))
    bytes.writeUInt32LE(0, entry + 16);
  const begin = 30 + bytes.readUInt16LE(26) + bytes.readUInt16LE(28);
  return { bytes, begin, end: begin + bytes.readUInt32LE(bytes.indexOf('PK\x01\x02') + 24) };
}

/** PyTorch's files with changes in their pickles, none of which a checksum tells. */
export const mutatedPickles = fc.noBias(
  fc
    .tuple(fc.constantFrom(...seeds.filter(({ name }) => name.endsWith('.pth') && !name.startsWith('deflated'))), pickled)
    .map(([seed, list]) => {
      const { bytes, begin, end } = pickleIn(seed.bytes);
      const changed = list.reduce((pickle, apply) => apply(pickle), bytes.subarray(begin, end));
      return { name: seed.name, kind: seed.kind, bytes: spliced(bytes, begin, end, changed) };
    }),
);

/** A seed with one to four changes. Unbiased, as changes of the very beginning would only show that the magic is missing. */
export const mutated = fc.noBias(
  fc.tuple(fc.oneof(...kinds), changes).map(([seed, apply]) => ({
    name: seed.name,
    kind: seed.kind,
    bytes: apply(seed.bytes),
  })),
);

const readers = {
  '.npy': { parse: parseNpy, read: readNpy, arrays: (array) => [array] },
  '.npz': { read: readNpz, arrays: Object.values },
  '.pth': { read: readPth, arrays: ({ tensors }) => Object.values(tensors) },
  '.safetensors': { parse: parseSafetensors, read: readSafetensors, arrays: ({ tensors }) => Object.values(tensors) },
};

/** Reads the bytes in every way there is; `base` is a path without extension to write them to. */
export async function checkReaders({ kind, bytes }, base) {
  const { parse, read, arrays } = readers[kind];
  const path = `${base}${kind}`;
  writeFileSync(path, bytes);
  const fromFile = await outcome(() => read(path));
  if (fromFile) for (const array of arrays(fromFile)) checkArray(array);
  if (parse) {
    const fromBytes = await outcome(() => parse(bytes));
    assert.is(fromBytes === undefined, fromFile === undefined, 'bytes and file differ');
  }
  await outcome(async () => {
    const source = await openArray(path);
    try {
      let rows = 0;
      for await (const block of source.chunks(2)) {
        checkArray(block);
        rows += block.shape[0];
      }
      if (source.shape[1] > 0) assert.is(rows, source.shape[0]);
    } finally {
      await source.close();
    }
  }, ['LP_FILE', 'LP_OPTION']);
}

function checkArray({ shape, data }) {
  assert.ok([Float32Array, Float64Array, Int32Array, BigInt64Array, BigUint64Array].includes(data.constructor));
  assert.ok(shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0));
  assert.is(
    shape.reduce((product, extent) => product * extent, 1),
    data.length,
  );
}

/** What a reader gives, or undefined where it refuses as it should; every other error passes through. */
async function outcome(read, codes = ['LP_FILE']) {
  try {
    return await read();
  } catch (error) {
    if (error instanceof LayerpeelError && codes.includes(error.code)) return undefined;
    throw error;
  }
}
