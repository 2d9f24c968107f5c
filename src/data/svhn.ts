/**
 * SVHN, cropped digits: `<split>_32x32.mat`, a MATLAB file of level 5 with the variables `X` (uint8, `[32, 32, 3, n]`, in MATLAB's
 * order: rows run fastest) and `y` (`[n, 1]`, where 10 stands for the digit 0). An element of such a file is a tag (type and length in
 * 4 bytes each) and data; a variable is an element of type miMATRIX made of elements (flags, dimensions, name, values), mostly
 * within an element of type miCOMPRESSED, a zlib stream.
 * Source: MathWorks, "MAT-File Format"; Netzer et al., "Reading digits in natural images".
 */
import type { Fill, InputFile } from '../array/files.js';
import { type EndedPass, inflatedPass, MOST_EXPANSION } from '../array/inflate.js';
import { showShape } from '../array/ndarray.js';
import { fileFault } from '../array/stored.js';
import { type ImageSet, sharedBytes } from './images.js';
import {
  type CheckedSource,
  checkSignal,
  interleave,
  type LoadControl,
  numbers,
  type PixelShape,
  Progress,
  records,
  withFiles,
} from './reading.js';

const HEADER = 128;
const [MATRIX, COMPRESSED] = [14, 15];
/** Classes of arrays: numbers from 6 on (text, structures, cells and sparse arrays below), unsigned bytes 9. */
const [FIRST_NUMBER_CLASS, UINT8_CLASS] = [6, 9];
/** Types of stored numbers, and how one is read. */
const NUMBERS: Readonly<Record<number, readonly [size: number, read: (view: DataView, at: number) => number]>> = {
  1: [1, (view, at) => view.getInt8(at)],
  2: [1, (view, at) => view.getUint8(at)],
  3: [2, (view, at) => view.getInt16(at, true)],
  4: [2, (view, at) => view.getUint16(at, true)],
  5: [4, (view, at) => view.getInt32(at, true)],
  6: [4, (view, at) => view.getUint32(at, true)],
  7: [4, (view, at) => view.getFloat32(at, true)],
  9: [8, (view, at) => view.getFloat64(at, true)],
};

export async function loadSvhn(source: CheckedSource, control: LoadControl): Promise<ImageSet> {
  return withFiles(source, [`${source.split}_32x32.mat`], control, async ([input]) => {
    const file = input as InputFile;
    await checkHeader(file);
    let pixels: Pixels | undefined;
    let labels: Int32Array | undefined;
    for await (const element of elements(file)) {
      checkSignal(control);
      const matrix = await beginMatrix(file, element);
      try {
        if (matrix.name === 'X' && !pixels) pixels = await readPixels(matrix, file.path, control);
        else if (matrix.name === 'y' && !labels) labels = await readLabels(matrix, file.path);
        else continue;
        await matrix.finish();
      } finally {
        matrix.close();
      }
    }
    if (!pixels || !labels)
      throw fileFault(file.path, `it has no variable ${pixels ? 'y' : 'X'}; expected X and y, as SVHN has them.`);
    const { images, shape } = pixels;
    if (labels.length !== shape[0]) throw fileFault(file.path, `y has ${labels.length} labels for the ${shape[0]} images of X.`);
    return { images, shape, labels, classes: numbers(10), source: `SVHN ${source.split}, ${source.path}` };
  });
}

async function checkHeader(file: InputFile): Promise<void> {
  const bytes = new Uint8Array(Math.min(HEADER, file.size));
  await file.readAt(0, bytes);
  const text = Buffer.from(bytes).toString('latin1');
  if (text.startsWith('MATLAB 7.3')) throw fileFault(file.path, 'it is of version 7.3; save it in MATLAB with the option -v7.');
  if (bytes.length === HEADER && text.startsWith('MATLAB 5.0') && text.endsWith('\x00\x01IM')) return;
  throw fileFault(file.path, 'it does not begin as a little-endian MATLAB 5.0 file; expected one as published.');
}

/** Where the data of an element lies in the file. */
interface Element {
  readonly type: number;
  readonly begin: number;
  readonly end: number;
}

async function* elements(file: InputFile): AsyncGenerator<Element> {
  const tag = new Uint8Array(8);
  const view = new DataView(tag.buffer);
  for (let at = HEADER; at < file.size; ) {
    const begin = at + tag.length;
    if (begin > file.size) throw fileFault(file.path, `it is truncated at byte ${file.size}, within the tag of an element.`);
    await file.readAt(at, tag);
    const [type, length] = [view.getUint32(0, true), view.getUint32(4, true)];
    const end = begin + length;
    if (end > file.size) {
      throw fileFault(
        file.path,
        `the element at byte ${at} claims ${length} bytes, but ${file.size - begin} follow; it is truncated.`,
      );
    }
    yield { type, begin, end };
    at = end;
  }
}

/** A variable up to its values. */
interface Matrix extends EndedPass {
  readonly name: string;
  /** Of its elements; 0 where they are complex. */
  readonly numberClass: number;
  readonly shape: readonly number[];
  /** Type and length in bytes of the values that come next. */
  readonly type: number;
  readonly length: number;
}

async function beginMatrix(file: InputFile, { type, begin, end }: Element): Promise<Matrix> {
  if (type !== MATRIX && type !== COMPRESSED) {
    throw fileFault(file.path, `the element before byte ${begin} is of type ${type}; expected a variable (14 or 15).`);
  }
  const raw = type === COMPRESSED ? inflatedPass(file, begin, end, 'zlib') : undefined;
  try {
    const length = raw ? await compressedLength(raw.fill, end - begin, file.path) : end - begin;
    const bounded = boundedFill(raw?.fill ?? file.from(begin), length, file.path);
    const head = await readHead(bounded.fill, file.path);
    return {
      ...head,
      async finish() {
        await bounded.finish();
        await raw?.finish();
      },
      close: () => raw?.close(),
    };
  } catch (error) {
    raw?.close();
    throw error;
  }
}

/** Reads the tag of the one matrix that a compressed element holds. */
async function compressedLength(fill: Fill, compressed: number, path: string): Promise<number> {
  const tag = new Uint8Array(8);
  await fill(tag);
  const view = new DataView(tag.buffer);
  const [type, length] = [view.getUint32(0, true), view.getUint32(4, true)];
  if (type !== MATRIX) throw fileFault(path, `a compressed element holds type ${type}; expected a variable (14).`);
  if (length <= MOST_EXPANSION * compressed) return length;
  throw fileFault(path, `a variable claims ${length} bytes, more than the ${compressed} compressed ones can hold.`);
}

/** Reads no more than `length` bytes; at the end none may be left but padding. */
function boundedFill(fill: Fill, length: number, path: string): { fill: Fill; finish(): Promise<void> } {
  let left = length;
  return {
    async fill(target) {
      if (target.length > left) throw fileFault(path, 'an element reaches beyond the variable that it is part of.');
      left -= target.length;
      await fill(target);
    },
    async finish() {
      if (left >= 8) throw fileFault(path, `${left} bytes follow the values of a variable.`);
      await fill(new Uint8Array(left));
    },
  };
}

async function readHead(fill: Fill, path: string): Promise<Omit<Matrix, 'finish' | 'close'>> {
  const flags = await readSmall(fill, path);
  const dimensions = await readSmall(fill, path);
  const name = await readSmall(fill, path);
  if (
    flags.type !== 6 ||
    flags.bytes.length !== 8 ||
    dimensions.type !== 5 ||
    dimensions.bytes.length % 4 !== 0 ||
    name.type !== 1
  ) {
    throw fileFault(path, 'a variable does not begin with its flags, dimensions and name.');
  }
  const numberClass = flags.bytes[0] as number;
  const complex = ((flags.bytes[1] as number) & 8) !== 0;
  const view = new DataView(dimensions.bytes.buffer, dimensions.bytes.byteOffset);
  const shape = Array.from({ length: dimensions.bytes.length / 4 }, (_, k) => view.getInt32(4 * k, true));
  const values = await readTag(fill);
  return {
    name: Buffer.from(name.bytes).toString('latin1'),
    numberClass: complex ? 0 : numberClass,
    shape,
    type: values.type,
    length: values.length,
    fill: values.data ? fillFrom(values.data) : fill,
  };
}

interface Tag {
  readonly type: number;
  readonly length: number;
  /** Of up to 4 bytes, which lie within the tag. */
  readonly data?: Uint8Array | undefined;
}

async function readTag(fill: Fill): Promise<Tag> {
  const tag = new Uint8Array(8);
  await fill(tag);
  const view = new DataView(tag.buffer);
  const [type, length] = [view.getUint16(0, true), view.getUint16(2, true)];
  if (length === 0) return { type: view.getUint32(0, true), length: view.getUint32(4, true) };
  return { type, length: Math.min(length, 4), data: tag.subarray(4, 4 + Math.min(length, 4)) };
}

/** Reads a short element whole, with the padding to 8 bytes that follows it. */
async function readSmall(fill: Fill, path: string): Promise<{ type: number; bytes: Uint8Array }> {
  const { type, length, data } = await readTag(fill);
  if (data) return { type, bytes: data };
  if (length > 256) throw fileFault(path, `a variable's flags, dimensions or name take ${length} bytes; expected at most 256.`);
  const bytes = new Uint8Array(Math.ceil(length / 8) * 8);
  await fill(bytes);
  return { type, bytes: bytes.subarray(0, length) };
}

/** Reads bytes that are already here. */
function fillFrom(bytes: Uint8Array): Fill {
  let at = 0;
  return async (target) => {
    target.set(bytes.subarray(at, at + target.length));
    at += target.length;
  };
}

interface Pixels {
  readonly images: Uint8Array;
  readonly shape: readonly [n: number, height: number, width: number, channels: number];
}

async function readPixels(matrix: Matrix, path: string, control: LoadControl): Promise<Pixels> {
  // MATLAB leaves out a last dimension of 1.
  const [height = 0, width = 0, channels = 0, count = 1] = matrix.shape;
  const pixels: PixelShape = [height, width, channels];
  const size = height * width * channels;
  const sound = matrix.shape.length <= 4 && pixels.every((extent) => extent >= 1 && extent <= 4096) && count >= 1;
  if (matrix.numberClass !== UINT8_CLASS || matrix.type !== 2 || !sound || matrix.length !== size * count) {
    throw fileFault(
      path,
      `X is of class ${matrix.numberClass}, shape ${showShape(matrix.shape)} and ${matrix.length} bytes of type ${matrix.type}; ` +
        'expected real uint8 (class 9, type 2) [height, width, channels, n], a byte for each.',
    );
  }
  const images = sharedBytes(size * count, `The images of ${path}`);
  const progress = new Progress(control, count);
  for await (const piece of records(matrix.fill, count, size)) {
    for (let i = 0; i < piece.count; i++) interleave(piece.bytes, i * size, pixels, true, images, (piece.first + i) * size);
    progress.advance(piece.count);
  }
  return { images, shape: [count, ...pixels] };
}

async function readLabels({ shape, numberClass, type, length, fill }: Matrix, path: string): Promise<Int32Array> {
  const [size, read] = NUMBERS[type] ?? [0, () => 0];
  const count = length / size;
  const sound = shape.length === 2 && shape.includes(1) && (shape[0] as number) * (shape[1] as number) === count;
  if (numberClass < FIRST_NUMBER_CLASS || !sound || count < 1) {
    throw fileFault(
      path,
      `y is of class ${numberClass}, shape ${showShape(shape)} and ${length} bytes of type ${type}; expected real numbers [n, 1].`,
    );
  }
  const bytes = new Uint8Array(length);
  await fill(bytes);
  const view = new DataView(bytes.buffer);
  return Int32Array.from({ length: count }, (_, i) => {
    const value = read(view, i * size);
    if (Number.isInteger(value) && value >= 1 && value <= 10) return value % 10;
    throw fileFault(path, `the label of image ${i} is ${value}; expected 1 … 10, where 10 stands for the digit 0.`);
  });
}
