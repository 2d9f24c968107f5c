/**
 * Writers of the formats that images are loaded from, straight from their descriptions: each makes a small set whose pixels are
 * those of `pixel`, and gives the files' bytes by name.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { deflateSync, gzipSync } from 'node:zlib';
import * as assert from 'uvu/assert';

/** A value that differs from image to image, row to row, column to column and channel to channel. */
export const pixel = (i, y, x, c) => (i * 59 + y * 7 + x * 31 + c * 101 + x * y) & 255;

/** Runs `body` with a folder of its own, holding these files. */
export async function withFolder(files, body) {
  const folder = mkdtempSync(join(tmpdir(), 'layerpeel-images-'));
  try {
    writeFiles(folder, files);
    return await body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function writeFiles(folder, files) {
  for (const [name, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), bytes);
  }
}

/** Asserts that a set has these labels, and the pixels of `pixel`. */
export function assertSet(set, labels, [height, width, channels], first = 0) {
  assert.equal(set.shape, [labels.length, height, width, channels]);
  assert.equal([...set.labels], labels);
  assert.instance(set.images.buffer, SharedArrayBuffer);
  const expected = labels.flatMap((_, i) =>
    Array.from({ length: height * width * channels }, (_, k) =>
      pixel(first + i, Math.floor(k / (width * channels)), Math.floor(k / channels) % width, k % channels),
    ),
  );
  assert.equal([...set.images], expected);
}

/** Pixels of image `i`, channel by channel, each row by row or column by column. */
function planes(i, height, width, channels, byColumns = false) {
  const bytes = [];
  for (let c = 0; c < channels; c++) {
    for (let k = 0; k < height * width; k++) {
      bytes.push(byColumns ? pixel(i, k % height, Math.floor(k / height), c) : pixel(i, Math.floor(k / width), k % width, c));
    }
  }
  return Buffer.from(bytes);
}

/** Records of CIFAR's binary version; `labels` are lists of one or two bytes. */
export const cifar = (labels, first = 0) =>
  Buffer.concat(labels.flatMap((label, i) => [Buffer.from(label), planes(first + i, 32, 32, 3)]));

/** An IDX file of unsigned bytes. */
export function idx(shape, bytes) {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.writeUInt32BE(0x0800 + shape.length);
  for (const [k, extent] of shape.entries()) header.writeUInt32BE(extent, 4 + 4 * k);
  return Buffer.concat([header, Buffer.from(bytes)]);
}

export const idxImages = (count, height, width) =>
  idx([count, height, width], Buffer.concat(Array.from({ length: count }, (_, i) => planes(i, height, width, 1))));

export const gzip = (bytes) => gzipSync(bytes);

export const stl10Images = (count) => Buffer.concat(Array.from({ length: count }, (_, i) => planes(i, 96, 96, 3, true)));

/** An element of a MATLAB file: a tag, the data, and padding to 8 bytes; up to 4 bytes lie within the tag. */
export function element(type, bytes, small = bytes.length > 0 && bytes.length <= 4) {
  if (small) {
    const tag = Buffer.alloc(8);
    tag.writeUInt16LE(type);
    tag.writeUInt16LE(bytes.length, 2);
    Buffer.from(bytes).copy(tag, 4);
    return tag;
  }
  const tag = Buffer.alloc(8);
  tag.writeUInt32LE(type);
  tag.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([tag, bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)]);
}

/** A variable: flags (class), dimensions, name, values. */
export function matrix(name, numberClass, shape, type, bytes) {
  const dimensions = Buffer.alloc(4 * shape.length);
  for (const [k, extent] of shape.entries()) dimensions.writeInt32LE(extent, 4 * k);
  const flags = Buffer.from([numberClass, 0, 0, 0, 0, 0, 0, 0]);
  return element(
    14,
    Buffer.concat([element(6, flags), element(5, dimensions), element(1, Buffer.from(name)), element(type, Buffer.from(bytes))]),
    false,
  );
}

/** A MATLAB file of level 5; compressed variables are not padded. */
export function matlab(variables, { compress = true } = {}) {
  const header = Buffer.alloc(128, ' ');
  header.write('MATLAB 5.0 MAT-file, Platform: test');
  header.write('\x00\x01IM', 124, 'latin1');
  const packed = variables.map((variable) => {
    if (!compress) return variable;
    const bytes = deflateSync(variable);
    const tag = Buffer.alloc(8);
    tag.writeUInt32LE(15);
    tag.writeUInt32LE(bytes.length, 4);
    return Buffer.concat([tag, bytes]);
  });
  return Buffer.concat([header, ...packed]);
}

/** The variable X of SVHN, with images of any size: in MATLAB's order the first index runs fastest. */
export const svhnImages = (count, height = 32, width = 32) =>
  matrix(
    'X',
    9,
    count === 1 ? [height, width, 3] : [height, width, 3, count],
    2,
    Buffer.concat(Array.from({ length: count }, (_, i) => planes(i, height, width, 3, true))),
  );
