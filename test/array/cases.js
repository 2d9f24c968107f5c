import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';

/** The elements of the fixtures; see make-fixtures.py. */
export const FLOATS = Float64Array.of(0, -1.5, 2, 0.15625, -64, 1.0078125, 3, -0.5, 100, 6.5, -7.25, 12);
export const INTS = Int32Array.of(0, 1, 2, 3, 100, 127);

export const fixture = (name) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

/** A `.npy` of any header, true or not, followed by `size` bytes. */
export function npyBytes(header, size, version = 1) {
  const lengthBytes = version === 1 ? 2 : 4;
  const bytes = Buffer.alloc(8 + lengthBytes + header.length + size);
  bytes.write('\x93NUMPY', 'latin1');
  bytes[6] = version;
  bytes.writeUIntLE(header.length, 8, lengthBytes);
  bytes.write(header, 8 + lengthBytes, 'latin1');
  return bytes;
}

/** A `.safetensors` of any header, true or not, followed by `size` bytes. */
export function safetensorsBytes(header, size) {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = Buffer.alloc(8 + json.length + size);
  bytes.writeBigUInt64LE(BigInt(json.length));
  json.copy(bytes, 8);
  return bytes;
}

function check(error, code, pattern) {
  assert.is(error.code, code, error.stack);
  if (pattern) assert.match(error.message, pattern);
}

export function throwsCode(call, code, pattern) {
  assert.throws(call, (error) => {
    check(error, code, pattern);
    return true;
  });
}

export async function rejects(promise, code, pattern) {
  const error = await promise.then(
    () => assert.unreachable(`expected ${code}`),
    (reason) => reason,
  );
  check(error, code, pattern);
}

/** Equal shape, type and bits (uvu's equality knows neither NaN in typed arrays nor −0). */
export function sameArray(actual, expected) {
  assert.equal(actual.shape, expected.shape);
  assert.is(actual.data.constructor, expected.data.constructor);
  const bytes = ({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  assert.ok(bytes(actual).equals(bytes(expected)), 'the elements differ');
}
