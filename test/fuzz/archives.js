/**
 * Zips of arrays under any names, plain and deflated, then changed: the arrays of an unchanged one are read under their own names, whole
 * and in blocks of rows, and written again; a changed one is read or refused.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { formatNpy, LayerpeelError, openArray, readArray, readNpz, writeNpz } from 'layerpeel';
import * as assert from 'uvu/assert';
import { npyBytes, sameArray, zipBytes } from '../array/cases.js';
import { changes } from './mutations.js';

const names = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }).map((name) => name.replace(/\p{Surrogate}/gu, '')),
  fc.stringMatching(/^[\w./:\\]{0,12}$/),
  fc.constantFrom(
    '../w',
    '/w',
    'W:0',
    'a\\w',
    'a/../../w',
    'params/head/kernel',
    'dense/kernel:0',
    'x.npy',
    'x.npz:y',
    '',
    'constructor',
  ),
);

/** A matrix, and the bytes of its `.npy` in either order. */
const matrix = fc.tuple(fc.nat(5), fc.nat(5), fc.boolean()).map(([rows, columns, fortran]) => {
  const value = (i, j) => i * 7 + j;
  const array = {
    shape: [rows, columns],
    data: Float32Array.from({ length: rows * columns }, (_, k) => value(Math.floor(k / columns), k % columns)),
  };
  if (!fortran) return { array, bytes: Buffer.from(formatNpy(array)) };
  const header = `{'descr': '<f4', 'fortran_order': True, 'shape': (${rows}, ${columns}), }`;
  const bytes = npyBytes(header, 4 * rows * columns);
  for (let k = 0; k < rows * columns; k++) bytes.writeFloatLE(value(k % rows, Math.floor(k / rows)), 10 + header.length + 4 * k);
  return { array, bytes };
});

export const archives = fc.record({
  members: fc.uniqueArray(fc.tuple(names, matrix), { selector: ([name]) => name, minLength: 1, maxLength: 4 }),
  deflate: fc.boolean(),
  change: fc.oneof(fc.constant(undefined), fc.noBias(changes)),
});

export async function checkArchive({ members, deflate, change }, folder) {
  const path = join(folder, 'a.npz');
  const bytes = zipBytes(
    members.map(([name, { bytes }]) => [`${name}.npy`, bytes]),
    { deflate },
  );
  writeFileSync(path, change ? change(bytes) : bytes);
  if (change) {
    for (const [name] of [[undefined], ...members]) {
      for (const read of [readArray, readBlocks]) await read(path, name === undefined ? {} : { name }).catch(refused);
    }
    await readNpz(path).catch(refused);
    return;
  }
  const arrays = Object.fromEntries(members.filter(([name]) => name !== '__proto__').map(([name, { array }]) => [name, array]));
  for (const [name, array] of Object.entries(arrays)) {
    sameArray(await readArray(path, { name }), array);
    if (name !== '' || members.length === 1) sameArray(await readArray(name === '' ? path : `${path}:${name}`), array);
    sameArray(await readBlocks(path, { name }), array);
  }
  await writeNpz(path, arrays, { compress: deflate });
  const again = await readNpz(path);
  assert.equal(Object.keys(again).sort(), Object.keys(arrays).sort());
  for (const [name, array] of Object.entries(arrays)) sameArray(again[name], array);
}

/** A matrix put together of blocks of two rows. */
async function readBlocks(path, options) {
  const source = await openArray(path, options);
  try {
    const data = [];
    for await (const block of source.chunks(2)) data.push(...block.data);
    return { shape: source.shape, data: source.dtype === 'float32' ? Float32Array.from(data) : Float64Array.from(data) };
  } finally {
    await source.close();
  }
}

function refused(error) {
  if (!(error instanceof LayerpeelError) || !['LP_FILE', 'LP_OPTION'].includes(error.code)) throw error;
}
