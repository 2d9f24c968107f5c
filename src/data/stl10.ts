/**
 * STL-10: `<split>_X.bin` holds images of 27648 bytes, 96×96 red, then green, then blue, each column by column; `<split>_y.bin` a
 * byte for each, 1 … 10.
 * Source: https://cs.stanford.edu/~acoates/stl10/
 */
import type { InputFile } from '../array/files.js';
import { fileFault } from '../array/stored.js';
import { type ImageSet, sharedBytes } from './images.js';
import {
  type CheckedSource,
  classNames,
  countRecords,
  interleave,
  type LoadControl,
  Progress,
  records,
  takeLabel,
  withFiles,
} from './reading.js';

const SHAPE = [96, 96, 3] as const;
const PIXELS = 96 * 96 * 3;

export async function loadStl10(source: CheckedSource, control: LoadControl): Promise<ImageSet> {
  const { path, split } = source;
  return withFiles(source, [`${split}_X.bin`, `${split}_y.bin`], control, async (files) => {
    const [imageFile, labelFile] = files as [InputFile, InputFile];
    const total = countRecords(imageFile, PIXELS, 'STL-10');
    if (labelFile.size !== total) {
      throw fileFault(labelFile.path, `it has ${labelFile.size} labels for the ${total} images of ${imageFile.path}.`);
    }
    const bytes = new Uint8Array(total);
    await labelFile.readAt(0, bytes);
    const classes = await classNames(path, 'class_names.txt', 10);
    const labels = Int32Array.from(bytes, (label, i) => takeLabel(label, i, labelFile.path, classes.length, 1));
    const images = sharedBytes(total * PIXELS, `The images of ${imageFile.path}`);
    const progress = new Progress(control, total);
    for await (const piece of records(imageFile.from(0), total, PIXELS)) {
      for (let i = 0; i < piece.count; i++) interleave(piece.bytes, i * PIXELS, SHAPE, true, images, (piece.first + i) * PIXELS);
      progress.advance(piece.count);
    }
    return { images, shape: [total, ...SHAPE], labels, classes, source: `STL-10 ${split}, ${path}` };
  });
}
