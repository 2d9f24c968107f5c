/**
 * Arrays by the path of their file, whatever its kind: `.npy`, `.npz`, `.safetensors` and PyTorch's by the extension. A file of several
 * arrays is addressed by a name, in the options or after a colon: `features.npz:train`.
 */
import { stat } from 'node:fs/promises';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, checkNumber, checkText, option } from '../check/options.js';
import { drive } from '../engine/run.js';
import { InputFile, showPath, withFile } from './files.js';
import { kindOf, LOOKED_AT } from './kinds.js';
import { allocate, type DType, type Float, type NDArray, showShape } from './ndarray.js';
import { locateNpy } from './npy.js';
import { locateNpz, readNpz } from './npz.js';
import { locatePth, readPth } from './pth.js';
import { locateSafetensors, readSafetensors, type Tensors } from './safetensors.js';
import {
  type AnyArray,
  decodeInto,
  ELEMENTS,
  fileFault,
  type Located,
  PIECE,
  readInto,
  readLocated,
  readNarrow,
  type Seekable,
  type Stored,
  transposed,
} from './stored.js';

export interface ReadArrayOptions {
  /** The array's name in a file of several; may be left out where the file holds one. */
  readonly name?: string | undefined;
}

/**
 * Reads an array of any kind: floats as `NDArray`, integers and bool as `{ shape, data: Int32Array }`, or of 64 bits where one of
 * them is beyond int32.
 * @throws LP_FILE for a missing, truncated, malformed or unsupported file; LP_OPTION for a name that is not in it
 */
export const readArray = (path: string, options: ReadArrayOptions = {}): Promise<AnyArray> => withArray(path, options, readLocated);

/** Reads an array of floats, such as features, prototypes or biases; integers are refused. See `readArray`. */
export const readFloats = (path: string, options: ReadArrayOptions = {}): Promise<NDArray> =>
  withArray(path, options, (located) => {
    floatType(located);
    return readNarrow(located) as Promise<NDArray>;
  });

/** Reads labels: integers of shape `[n]` (or `[n, 1]`) of any width, within int32. See `readArray`. */
export const readLabels = (path: string, options: ReadArrayOptions = {}): Promise<Int32Array> =>
  withArray(path, options, async (located) => {
    const { element, shape, where } = located.stored;
    if (ELEMENTS[element].dtype !== 'int32') {
      const advice = shape.length === 2 && shape[1] !== 1 ? adviceOn(shape) : " (labels.astype('int64') converts)";
      throw fileFault(where, `it holds ${element} ${showShape(shape)}; labels are integers [n], one a sample${advice}.`);
    }
    if (shape.length !== 1 && !(shape.length === 2 && shape[1] === 1)) {
      throw fileFault(where, `its shape is ${showShape(shape)}; labels are of shape [n], one a sample${adviceOn(shape)}.`);
    }
    return (await readNarrow(located)).data as Int32Array;
  });

/** How labels of another shape are made labels. */
function adviceOn(shape: readonly number[]): string {
  if (shape.length !== 2) return '';
  return shape[0] === 1 ? ' (labels.ravel() is)' : ' (of one-hot rows labels.argmax(axis=1) is)';
}

/** A matrix in a file, read in blocks of rows. */
export interface ArraySource extends AsyncDisposable {
  readonly shape: readonly [rows: number, columns: number];
  readonly dtype: DType;
  /**
   * Starts a pass over the rows: arrays `[rowsPerChunk, columns]`, the last one shorter. Each is memory of its own.
   * @param rowsPerChunk rows that make about 8 MiB when left out
   */
  chunks(rowsPerChunk?: number): AsyncIterableIterator<NDArray>;
  close(): Promise<void>;
}

/**
 * Opens a matrix of floats to be read in blocks of rows, as often as wanted, with a block in memory at a time. A matrix in
 * Fortran order is read column by column; of a compressed `.npz` it is unpacked into a temporary file for that, at the first pass.
 * @throws as `readFloats`; LP_FILE for other than two dimensions
 */
export async function openArray(path: string, options: ReadArrayOptions = {}): Promise<ArraySource> {
  const address = await parseAddress(path, options);
  const file = await InputFile.open(address.path);
  try {
    return makeSource(await address.locate(file, address.name), file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

function makeSource(located: Located, file: InputFile): ArraySource {
  const { shape, where } = located.stored;
  const dtype = floatType(located);
  if (shape.length !== 2) throw fileFault(where, `its shape is ${showShape(shape)}; expected two dimensions, [rows, columns].`);
  const [rows, columns] = shape as [number, number];
  const { seek } = located;
  let found: Promise<Seekable> | undefined;
  const columnwise =
    seek &&
    (() => {
      found ??= seek().catch((error) => {
        found = undefined;
        throw error;
      });
      return found;
    });
  const close = async () => {
    await (await found?.catch(() => undefined))?.close();
    await file.close();
  };
  return {
    shape: [rows, columns],
    dtype,
    chunks(rowsPerChunk = Math.max(1, Math.floor(PIECE / Math.max(1, columns * ELEMENTS[dtype].size)))) {
      checkNumber(rowsPerChunk, option('rowsPerChunk'), { min: 1, integer: true });
      return columnwise ? columnBlocks(located.stored, columnwise, dtype, rowsPerChunk) : rowBlocks(located, dtype, rowsPerChunk);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function* rowBlocks(located: Located, dtype: DType, rowsPerChunk: number): AsyncGenerator<NDArray> {
  const { stored } = located;
  const pass = await located.begin();
  try {
    for (const [, count, columns] of blocks(stored.shape, rowsPerChunk)) {
      const data = allocate(dtype, count * columns, stored.where, 'ask for fewer rows a chunk') as Float;
      await readInto(data, stored, pass.fill);
      yield { shape: [count, columns], data };
    }
  } finally {
    pass.close();
  }
}

/** Blocks of rows of a matrix whose columns lie one after another. */
async function* columnBlocks(
  stored: Stored,
  seek: () => Promise<Seekable>,
  dtype: DType,
  rowsPerChunk: number,
): AsyncGenerator<NDArray> {
  const { size } = ELEMENTS[stored.element];
  const rows = stored.shape[0] as number;
  const { file, offset } = await seek();
  for (const [first, count, columns] of blocks(stored.shape, rowsPerChunk)) {
    const data = allocate(dtype, count * columns, stored.where, 'ask for fewer rows a chunk') as Float;
    const bytes = new Uint8Array(count * size);
    for (let j = 0; j < columns; j++) {
      await file.readAt(offset + (j * rows + first) * size, bytes);
      decodeInto(data, j * count, bytes, stored);
    }
    yield { shape: [count, columns], data: await drive(transposed(data, columns, count)) };
  }
}

/** First row, number of rows and of columns of each block; none for a matrix without elements. */
function* blocks(shape: readonly number[], rowsPerChunk: number): Generator<[first: number, count: number, columns: number]> {
  const [rows, columns] = shape as [number, number];
  if (columns === 0) return;
  for (let first = 0; first < rows; first += rowsPerChunk) yield [first, Math.min(rowsPerChunk, rows - first), columns];
}

function floatType({ stored: { element, where } }: Located): DType {
  const { dtype } = ELEMENTS[element];
  if (dtype !== 'int32') return dtype;
  throw fileFault(where, `it holds ${element}; expected floats (array.astype('float32') converts).`);
}

/** Finds an array and hands it to `use`; its file is open until that is done. */
export async function withArray<T>(path: string, options: ReadArrayOptions, use: (located: Located) => Promise<T>): Promise<T> {
  const address = await parseAddress(path, options);
  return withFile(address.path, async (file) => use(await address.locate(file, address.name)));
}

/**
 * Reads every array of a file of named ones, as `readSafetensors` gives them; `name` is what stands after the colon of its path.
 * @throws LP_FILE for a missing, truncated, malformed or unsupported file, and for a `.npy`
 */
export async function readTensors(path: string): Promise<Tensors & { readonly file: string; readonly name: string | undefined }> {
  const { path: file, name, readAll } = await parseAddress(path, {});
  if (readAll) return { file, name, ...(await readAll(file)) };
  throw new LayerpeelError(
    'LP_FILE',
    `${file} holds one array without a name; expected a .npz, .safetensors or .pth file of several.`,
  );
}

/** Finds the array of that name in a file, or the only one. */
type Locate = (file: InputFile, name: string | undefined) => Promise<Located>;
type ReadAll = (path: string) => Promise<Tensors>;

interface Address {
  readonly path: string;
  readonly name: string | undefined;
  readonly locate: Locate;
  readonly readAll?: ReadAll | undefined;
}

const allOfNpz: ReadAll = async (path) => ({ tensors: await readNpz(path), metadata: {}, unsupported: {} });
const allOfPth: ReadAll = async (path) => ({ metadata: {}, ...(await readPth(path)) });

/** The kinds of files of arrays, by how they end. */
const KINDS: readonly (readonly [end: string, locate: Locate, readAll?: ReadAll])[] = [
  ['.npy', locateNpy],
  ['.npz', locateNpz, allOfNpz],
  ['.safetensors', locateSafetensors, readSafetensors],
  ['.pth', locatePth, allOfPth],
  ['.pt', locatePth, allOfPth],
  ['.bin', locatePth, allOfPth],
  ['.ckpt', locatePth, allOfPth],
  ['.pth.tar', locatePth, allOfPth],
];

/** The end of the path of a file of arrays, where the name of one may follow. */
export const ARRAY_FILE = new RegExp(`(?:${KINDS.map(([end]) => end.replaceAll('.', '\\.')).join('|')})(?=:|$)`, 'i');
const ENDS = new RegExp(ARRAY_FILE, 'gi');

/**
 * Anything may stand after the colon (`f.npz:params/kernel:0`), and a folder's name may hold one: of all the ways to read the
 * path the longest file that is there is meant.
 */
async function parseAddress(path: string, options: ReadArrayOptions): Promise<Address> {
  checkKeys(options as unknown, ['name'], option('options'));
  if (options.name !== undefined) checkText(options.name, option('options.name'), 'the name of an array');
  const ends = typeof path === 'string' ? Array.from(path.matchAll(ENDS), ({ index, 0: end }) => index + end.length) : [];
  if (ends.length === 0) {
    const expected = 'expected a path that ends in .npy, .npz, .safetensors, .pth, .pt, .bin or .ckpt.';
    const kind =
      typeof path === 'string' && /\.gz$/i.test(path)
        ? await withFile(path, async (file) => kindOf(await file.head(LOOKED_AT)))
        : undefined;
    throw new LayerpeelError('LP_FILE', `${showPath(path)} is of an unknown kind${kind ? `: ${kind}` : ''}; ${expected}`);
  }
  let end = ends[0] as number;
  for (const one of ends.length > 1 ? ends : []) if (await isFile(path.slice(0, one))) end = one;
  const file = path.slice(0, end);
  const [, locate, readAll] = KINDS.find(([end]) => file.toLowerCase().endsWith(end)) as (typeof KINDS)[number];
  const name = options.name ?? (end < path.length ? path.slice(end + 1) : undefined);
  if (locate === locateNpy && name !== undefined) {
    throw new LayerpeelError('LP_OPTION', `${file} holds one array without a name, but ${JSON.stringify(name)} is asked for.`);
  }
  return { path: file, name, locate, readAll };
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
