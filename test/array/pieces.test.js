// Arrays of more than the 8 MiB that are read at a time: what comes later lies where it belongs.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readArray, writeNpy, writeSafetensors } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { npyBytes, safetensorsBytes } from './cases.js';

const folder = mkdtempSync(join(tmpdir(), 'layerpeel-pieces-'));
test.after(() => rmSync(folder, { recursive: true }));

/** Counts a bit further than the numbers of a piece, modulo what every type holds exactly: 0 … 126. */
const bytesOf = { F16: 2, BF16: 2, F32: 4, F64: 8, I64: 8, U32: 4, I16: 2, U8: 1 };
const lengthOf = (bytes) => 2 ** 23 / bytes + 77;
const valueAt = (i) => i % 127;

/** Writes the i-th number, little-endian. */
const put = {
  F16: (view, at, value) => view.setUint16(at, value === 0 ? 0 : half(value), true),
  BF16: (view, at, value) => view.setUint16(at, bitsOf(value) >>> 16, true),
  F32: (view, at, value, little = true) => view.setFloat32(at, value, little),
  F64: (view, at, value, little = true) => view.setFloat64(at, value, little),
  I64: (view, at, value) => view.setBigInt64(at, BigInt(-value), true),
  U32: (view, at, value) => view.setUint32(at, value, true),
  I16: (view, at, value) => view.setInt16(at, value, true),
  U8: (view, at, value) => view.setUint8(at, value),
};
const single = new DataView(new ArrayBuffer(4));
function bitsOf(value) {
  single.setFloat32(0, value);
  return single.getUint32(0);
}
/** The bits of a whole number from 1 to 2047 as a float16: exponent and the ten bits after its leading one. */
function half(value) {
  const exponent = Math.floor(Math.log2(value));
  return ((exponent + 15) << 10) | ((value / 2 ** exponent - 1) * 1024);
}

function check({ data }, sign, what) {
  const wrong = data.findIndex((value, i) => value !== sign * valueAt(i));
  assert.is(wrong, -1, `${what}: element ${wrong} is ${data[wrong]}`);
}

for (const [code, size] of Object.entries(bytesOf)) {
  test(`${code} of more than a piece`, async () => {
    const length = lengthOf(size);
    const header = { x: { dtype: code, shape: [length], data_offsets: [0, length * size] } };
    const bytes = safetensorsBytes(header, length * size);
    const view = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - length * size);
    for (let i = 0; i < length; i++) put[code](view, i * size, valueAt(i));
    const path = join(folder, 'x.safetensors');
    writeFileSync(path, bytes);
    check(await readArray(path), code === 'I64' ? -1 : 1, code);
  });
}

test('big-endian numbers of more than a piece', async () => {
  for (const [descr, code, size] of [
    ['>f4', 'F32', 4],
    ['>f8', 'F64', 8],
  ]) {
    const length = lengthOf(size);
    const bytes = npyBytes(`{'descr': '${descr}', 'fortran_order': False, 'shape': (${length},), }\n`, length * size);
    const view = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - length * size);
    for (let i = 0; i < length; i++) put[code](view, i * size, valueAt(i), false);
    const path = join(folder, 'x.npy');
    writeFileSync(path, bytes);
    check(await readArray(path), 1, descr);
  }
});

test('a view into a larger buffer is written from its own beginning, piece by piece', async () => {
  const length = lengthOf(8);
  const whole = new Float64Array(length + 3).fill(-1);
  const data = whole.subarray(3);
  for (let i = 0; i < length; i++) data[i] = valueAt(i);
  await writeNpy(join(folder, 'view.npy'), { shape: [length], data });
  check(await readArray(join(folder, 'view.npy')), 1, 'npy');
  await writeSafetensors(join(folder, 'view.safetensors'), { x: { shape: [length], data } });
  check(await readArray(join(folder, 'view.safetensors')), 1, 'safetensors');
});

test.run();
