import { fileURLToPath } from 'node:url';
import { crc32, deflateRawSync } from 'node:zlib';
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

/** A zip of members `[name, bytes]` under any names, straight from the format's description. */
export function zipBytes(members, { deflate = false } = {}) {
  const [local, central] = [[], []];
  let at = 0;
  for (const [name, bytes] of members) {
    const path = Buffer.from(name);
    const data = deflate ? deflateRawSync(bytes) : bytes;
    // Version 2.0, names in UTF-8, the method, the first day of the calendar, checksum, sizes, length of the name.
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(0x800, 2);
    fields.writeUInt16LE(deflate ? 8 : 0, 4);
    fields.writeUInt16LE(0x21, 8);
    fields.writeUInt32LE(crc32(bytes), 10);
    fields.writeUInt32LE(data.length, 14);
    fields.writeUInt32LE(bytes.length, 18);
    fields.writeUInt16LE(path.length, 22);
    const place = Buffer.alloc(14);
    place.writeUInt32LE(at, 10);
    local.push(Buffer.from('PK\x03\x04'), fields, path, data);
    central.push(Buffer.from('PK\x01\x02\x14\x00'), fields, place, path);
    at += 30 + path.length + data.length;
  }
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06');
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(Buffer.concat(central).length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...local, ...central, end]);
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
