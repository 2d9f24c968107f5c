// Event files read back, by a reader of its own: CRC-32C bit by bit, records, and the wire format field by field.
import { readFile } from 'node:fs/promises';
import * as assert from 'uvu/assert';

export function crc32c(bytes) {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  return crc ^ 0xffffffffn;
}
const masked = (crc) => Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn);

function* records(bytes) {
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    if (at + 16 + length > bytes.length) return; // broken off
    assert.is(bytes.readUInt32LE(at + 8), masked(crc32c(bytes.subarray(at, at + 8))));
    const payload = bytes.subarray(at + 12, at + 12 + length);
    assert.is(bytes.readUInt32LE(at + 12 + length), masked(crc32c(payload)));
    yield payload;
    at += 16 + length;
  }
}

/** Every field of a message: number, wire type and value. */
function fields(bytes) {
  const found = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(value);
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const wire = key & 7;
    const size = { 1: 8, 2: 0, 5: 4 }[wire];
    const length = wire === 2 ? varint() : size;
    const value =
      wire === 0
        ? varint()
        : wire === 1
          ? bytes.readDoubleLE(at)
          : wire === 5
            ? bytes.readFloatLE(at)
            : bytes.subarray(at, at + length);
    at += wire === 0 ? 0 : length;
    found.push([key >> 3, wire, value]);
  }
  return found;
}
const only = (found, number, wire) => {
  const values = found.filter(([n]) => n === number);
  assert.is(values.length, 1);
  assert.is(values[0][1], wire);
  return values[0][2];
};

/** Time, step and scalars of every event but the first, which names the version. */
export async function events(path) {
  const [first, ...rest] = [...records(await readFile(path))].map(fields);
  assert.is(String(only(first, 3, 2)), 'brain.Event:2');
  return rest.map((event) => ({
    time: only(event, 1, 1),
    step: only(event, 2, 0),
    scalars: fields(only(event, 5, 2)).map(([number, , value]) => {
      assert.is(number, 1);
      const entry = fields(value);
      return [String(only(entry, 1, 2)), only(entry, 2, 5)];
    }),
  }));
}
