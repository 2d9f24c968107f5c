/**
 * IDX, the format of MNIST: big-endian; two zero bytes, the element type (8: unsigned byte), the number of dimensions, each extent in
 * 4 bytes, then the elements, row-major. Images are `[n, height, width]`, labels `[n]`; either may be compressed by gzip.
 * Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { InputFile } from '../array/files.js';
import { type EndedPass, inflatedPass, MOST_EXPANSION } from '../array/inflate.js';
import { kindOf, LOOKED_AT } from '../array/kinds.js';
import { showShape } from '../array/ndarray.js';
import { fileFault } from '../array/stored.js';
import { type ImageSet, sharedBytes } from './images.js';
import { numberLabels } from './labels.js';
import { type CheckedSource, type LoadControl, Progress, records, transpose, withFiles } from './reading.js';

export async function loadIdx(source: CheckedSource, control: LoadControl): Promise<ImageSet> {
  // EMNIST says `test` where MNIST says `t10k`.
  const splits = source.split === 'train' ? ['train'] : ['t10k', 'test'];
  const names = await Promise.all(
    ['images-idx3', 'labels-idx1'].map((part) =>
      findFile(
        source.path,
        splits.map((split) => `${source.prefix}${split}-${part}`),
      ),
    ),
  );
  return withFiles(source, names, control, ([images, labels]) =>
    readSet(images as InputFile, labels as InputFile, source, control),
  );
}

/** The name under which a file is there (of a folder of that name archives are fond); the usual one where none is. */
async function findFile(folder: string, stems: readonly string[]): Promise<string> {
  const names = stems
    .flatMap((stem) => [`${stem}-ubyte`, `${stem.replace(/-(?=idx\d$)/, '.')}-ubyte`])
    .flatMap((name) => [name, `${name}.gz`]);
  for (const name of names) {
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found && !found.isDirectory()) return name;
  }
  return names[1] as string;
}

async function readSet(imageFile: InputFile, labelFile: InputFile, source: CheckedSource, control: LoadControl): Promise<ImageSet> {
  const labelArray = await beginArray(labelFile, 1, 'labels');
  const imageArray = await beginArray(imageFile, 3, 'images').catch((error) => {
    labelArray.pass.close();
    throw error;
  });
  try {
    const [count, height, width] = imageArray.shape as [number, number, number];
    if (labelArray.shape[0] !== count) {
      throw fileFault(labelFile.path, `it has ${labelArray.shape[0]} labels for the ${count} images of ${imageFile.path}.`);
    }
    const size = height * width;
    const images = sharedBytes(count * size, `The images of ${imageFile.path}`);
    const bytes = new Uint8Array(count);
    await labelArray.pass.fill(bytes);
    await labelArray.pass.finish();
    const progress = new Progress(control, count);
    for await (const piece of records(imageArray.pass.fill, count, size)) {
      images.set(piece.bytes, piece.first * size);
      progress.advance(piece.count);
    }
    await imageArray.pass.finish();
    const { labels, classes, remark } = numberLabels(bytes, labelFile.path, source);
    const pixels = { images, shape: [count, height, width, 1] as const };
    const turned = source.transpose ? transpose(pixels) : pixels;
    return { ...turned, labels, classes, source: `${source.split} images, ${source.path}${remark}` };
  } finally {
    labelArray.pass.close();
    imageArray.pass.close();
  }
}

const GZIP = [0x1f, 0x8b];

/** Reads an array's header; the pass stands at its first element. */
async function beginArray(file: InputFile, dimensions: number, what: string): Promise<{ shape: number[]; pass: EndedPass }> {
  const head = await file.head(LOOKED_AT);
  const compressed = head[0] === GZIP[0] && head[1] === GZIP[1]; // whatever its name
  const kind = compressed ? undefined : kindOf(head);
  if (kind) throw fileFault(file.path, `${kind}. Expected an IDX file of ${what}.`);
  const pass = compressed ? inflatedPass(file, 0, file.size, 'gzip') : plainPass(file);
  try {
    const magic = new Uint8Array(4);
    await pass.fill(magic);
    const [zero, alsoZero, type, found] = magic as unknown as [number, number, number, number];
    if (zero !== 0 || alsoZero !== 0 || type !== 8 || found !== dimensions) {
      throw fileFault(
        file.path,
        `it begins with the bytes ${[...magic].join(' ')}; expected 0 0 8 ${dimensions}, which begin an IDX file of ${what}.`,
      );
    }
    const header = new Uint8Array(4 * dimensions);
    await pass.fill(header);
    const view = new DataView(header.buffer);
    const shape = Array.from({ length: dimensions }, (_, k) => view.getUint32(4 * k));
    const size = 4 + header.length + shape.reduce((product, extent) => product * extent, 1);
    if (shape.includes(0)) throw fileFault(file.path, `its header claims shape ${showShape(shape)}; expected at least one image.`);
    if (compressed ? size > MOST_EXPANSION * file.size : size !== file.size) {
      throw fileFault(
        file.path,
        `its header claims shape ${showShape(shape)}, ${size} bytes in all, but the file has ${file.size}; it is truncated or damaged.`,
      );
    }
    return { shape, pass };
  } catch (error) {
    pass.close();
    throw error;
  }
}

/** The bytes of a file whose length is checked against its header. */
function plainPass(file: InputFile): EndedPass {
  const fill = file.from(0);
  let left = file.size;
  return {
    async fill(target) {
      if (target.length > left) throw fileFault(file.path, `it ends ${target.length - left} bytes early, within its header.`);
      left -= target.length;
      await fill(target);
    },
    finish: async () => {},
    close() {},
  };
}
