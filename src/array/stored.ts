/**
 * Arrays as files store them, and their elements as this package computes with them: float16 and bfloat16 are widened
 * to float32 (exactly), every integer type and bool become int32 or are refused where a value does not fit.
 * Elements are little- or big-endian in a file; the machine is little-endian, as all that Node's current releases run on
 * but one.
 */
import { types } from 'node:util';
import { LayerpeelError } from '../check/errors.js';
import { nearest } from '../check/options.js';
import { drive } from '../engine/run.js';
import type { Fill, InputFile } from './files.js';
import { allocate, checkArray, dtypeOf, type Float, type NDArray, showShape, sizeOf } from './ndarray.js';
import { atOnce, eachRow, type Turns } from './rows.js';

/** Integers of any shape, such as labels `[n]`. */
export interface IntArray {
  readonly shape: readonly number[];
  readonly data: Int32Array;
}

/** Integers of any shape of which one is beyond int32, such as identifiers or times; unsigned where one is beyond int64. */
export interface BigIntArray {
  readonly shape: readonly number[];
  readonly data: BigInt64Array | BigUint64Array;
}

/** What a file may hold. */
export type AnyArray = NDArray | IntArray | BigIntArray;

/** The element types of files, by NumPy's names. */
export const ELEMENTS = {
  float64: { size: 8, dtype: 'float64', view: Float64Array },
  float32: { size: 4, dtype: 'float32', view: Float32Array },
  float16: { size: 2, dtype: 'float32', view: Uint16Array },
  bfloat16: { size: 2, dtype: 'float32', view: Uint16Array },
  int64: { size: 8, dtype: 'int32', view: Int32Array },
  uint64: { size: 8, dtype: 'int32', view: Int32Array },
  int32: { size: 4, dtype: 'int32', view: Int32Array },
  uint32: { size: 4, dtype: 'int32', view: Uint32Array },
  int16: { size: 2, dtype: 'int32', view: Int16Array },
  uint16: { size: 2, dtype: 'int32', view: Uint16Array },
  int8: { size: 1, dtype: 'int32', view: Int8Array },
  uint8: { size: 1, dtype: 'int32', view: Uint8Array },
  bool: { size: 1, dtype: 'int32', view: Uint8Array },
} as const;

export type Element = keyof typeof ELEMENTS;

/** Where and how an array lies in a file. */
export interface Stored {
  /** The file, and the member of it, as messages name them. */
  readonly where: string;
  readonly shape: readonly number[];
  readonly element: Element;
  readonly littleEndian: boolean;
  /** Whether the first index runs fastest. */
  readonly fortran: boolean;
  /** Of the first element, in bytes from the beginning. */
  readonly offset: number;
}

/** Files are read and written in pieces of about this many bytes. */
export const PIECE = 8 * 2 ** 20;

export const fileFault = (where: string, fault: string): LayerpeelError => new LayerpeelError('LP_FILE', `${where}: ${fault}`);

/** Number of elements of a shape that a file claims; every fault is the file's. */
export function storedSize(shape: readonly unknown[], where: string): number {
  let size = 1;
  for (const extent of shape) {
    if (!Number.isSafeInteger(extent) || (extent as number) < 0) {
      throw fileFault(where, `its shape has the entry ${String(extent)}; expected non-negative integers.`);
    }
    size *= extent as number;
  }
  if (!Number.isSafeInteger(size)) {
    throw fileFault(where, `its shape ${showShape(shape as number[])} has more elements than can be addressed.`);
  }
  return size;
}

/** Bytes of an array's elements; throws where the order cannot be made row-major here. */
export function storedBytes(stored: Stored): number {
  const { where, shape, element, fortran } = stored;
  if (fortran && shape.length > 2) {
    throw fileFault(
      where,
      `it is in Fortran order with ${shape.length} dimensions; save numpy.ascontiguousarray(array) instead (two dimensions are transposed here).`,
    );
  }
  return storedSize(shape, where) * ELEMENTS[element].size;
}

type Narrow = Float | Int32Array;
type Target = Narrow | BigIntArray['data'];

/** The integer types whose values may be beyond int32. */
const WIDE: Readonly<Partial<Record<Element, typeof BigInt64Array | typeof BigUint64Array>>> = {
  uint32: BigInt64Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
};

/** Thrown where an integer is beyond int32, which is a fault where labels are asked for. */
class BeyondInt32 extends Error {
  constructor(
    readonly index: number,
    readonly value: bigint | number,
  ) {
    super();
  }
}

/** What to do where an array is too large. */
const IN_PIECES = 'read it in pieces with openArray';

/** Checks an array that is to be written. An `Int32Array` alone is one of shape `[n]`. */
export function storable(
  array: AnyArray | Int32Array,
  name: string,
): { shape: readonly number[]; data: Target; element: 'float32' | 'float64' | 'int32' | 'int64' | 'uint64' } {
  if (types.isInt32Array(array)) return { shape: [array.length], data: array, element: 'int32' };
  const element = integerOf(array?.data);
  if (!element) {
    const { shape, data } = checkArray(array, name);
    return { shape, data, element: dtypeOf(data) };
  }
  const { shape, data } = array;
  if (!Array.isArray(shape) || sizeOf(shape, name) !== data.length) {
    throw new LayerpeelError('LP_SHAPE', `${name}.shape is ${JSON.stringify(shape)}, but data has ${data.length} elements.`);
  }
  return { shape, data, element };
}

function integerOf(data: unknown): 'int32' | 'int64' | 'uint64' | undefined {
  if (types.isInt32Array(data)) return 'int32';
  if (types.isBigInt64Array(data)) return 'int64';
  return data instanceof BigUint64Array ? 'uint64' : undefined;
}

/** An array's own memory, piece by piece: one view of bytes cannot reach over the 4 GiB that an array of floats can. */
export function* bytesOf({ buffer, byteOffset, byteLength }: Target): Generator<Uint8Array> {
  for (let start = 0; start < byteLength; start += PIECE) {
    yield new Uint8Array(buffer, byteOffset + start, Math.min(PIECE, byteLength - start));
  }
}

/** The array whose elements are `bytes`. */
export function decode(stored: Stored, bytes: Uint8Array): AnyArray {
  let target = narrowTarget(stored);
  try {
    decodeInto(target, 0, bytes, stored);
  } catch (error) {
    target = wideTarget(stored, error);
    decodeInto(target, 0, bytes, stored);
  }
  return atOnce(arrange(stored, target));
}

/** Memory for a whole array, of the type that all its elements mostly fit. */
const narrowTarget = ({ element, shape, where }: Stored): Target =>
  allocate(ELEMENTS[element].dtype, storedSize(shape, where), where, IN_PIECES);

/** Memory for a whole array of which an integer is beyond int32; every other error goes on. */
function wideTarget({ element, shape, where }: Stored, error: unknown): Target {
  const Wide = WIDE[element];
  if (!(error instanceof BeyondInt32) || !Wide) throw error;
  const size = storedSize(shape, where);
  try {
    return new Wide(size);
  } catch (cause) {
    throw new LayerpeelError('LP_MEMORY', `${where}: no memory for its ${size} elements of ${element}.`, { cause });
  }
}

/** An array found in a file, ready to be read as often as wanted. */
export interface Located {
  readonly stored: Stored;
  /** Starts to read at the first element. */
  begin(): Promise<Pass>;
  /** Makes the elements reachable at any position. Of a matrix in Fortran order, whose rows lie nowhere together. */
  seek?(): Promise<Seekable>;
}

/** Elements that lie in a file as they are. */
export interface Seekable {
  readonly file: InputFile;
  /** Of the first element, in bytes from the beginning. */
  readonly offset: number;
  /** Frees what was made for this. */
  close(): Promise<void>;
}

/** Bytes that lie in a file, as they are or deflated, ready to be read as often as wanted. */
export interface Extent {
  readonly size: number;
  /** Starts to read at that byte of them. */
  begin(offset: number): Promise<Pass>;
  /** Makes them reachable at any position. */
  seek(): Promise<Seekable>;
}

/** Bytes of a file as they are; by default all. */
export const extentOf = (file: InputFile, start = 0, size = file.size): Extent => ({
  size,
  begin: async (offset) => ({ fill: file.from(start + offset), close() {} }),
  seek: async () => ({ file, offset: start, close: async () => {} }),
});

/** An array whose elements lie there as they are, from `stored.offset` on. */
export const locatedIn = (extent: Extent, stored: Stored): Located => ({
  stored,
  begin: () => extent.begin(stored.offset),
  ...(stored.fortran && {
    async seek() {
      const found = await extent.seek();
      return { ...found, offset: found.offset + stored.offset };
    },
  }),
});

export interface Pass {
  readonly fill: Fill;
  close(): void;
}

/** Reads a whole array; besides the result, one piece of it is in memory. */
export async function readLocated(located: Located): Promise<AnyArray> {
  const { stored } = located;
  const narrow = narrowTarget(stored);
  try {
    return await readWholeInto(narrow, located);
  } catch (error) {
    return readWholeInto(wideTarget(stored, error), located);
  }
}

/** Reads a whole array of floats, or of integers within int32. */
export async function readNarrow(located: Located): Promise<NDArray | IntArray> {
  const { stored } = located;
  const read = readWholeInto(narrowTarget(stored), located) as Promise<NDArray | IntArray>;
  return read.catch((error) => {
    if (!(error instanceof BeyondInt32)) throw error;
    const fault = `element ${error.index} is ${error.value}; labels must be within -2147483648 … 2147483647.`;
    throw fileFault(stored.where, fault);
  });
}

async function readWholeInto(target: Target, { stored, begin }: Located): Promise<AnyArray> {
  const pass = await begin();
  try {
    await readInto(target, stored, pass.fill);
  } finally {
    pass.close();
  }
  return drive(arrange(stored, target));
}

/** Fills `target` with the elements that come next. */
export async function readInto(target: Target, stored: Stored, fill: Fill): Promise<void> {
  const { size, dtype } = ELEMENTS[stored.element];
  const asItIs = stored.element === dtype || (target.BYTES_PER_ELEMENT === 8 && size === 8);
  if (stored.littleEndian && asItIs) {
    for (const bytes of bytesOf(target)) await fill(bytes);
    return;
  }
  const piece = new Uint8Array(Math.min(PIECE, target.length * size));
  for (let start = 0; start < target.length; start += PIECE / size) {
    const bytes = piece.subarray(0, Math.min(PIECE, (target.length - start) * size));
    await fill(bytes);
    decodeInto(target, start, bytes, stored);
  }
}

/** Row-major order, whatever the order in the file. */
function* arrange({ fortran, shape }: Stored, data: Target): Turns<AnyArray> {
  const [rows, columns] = shape as [number, number];
  const turned = fortran && shape.length === 2 ? yield* transposed(data, columns, rows) : data;
  return { shape, data: turned } as AnyArray;
}

/** Rows and columns of a tile, which lies in the nearest memory while it is turned. */
const TILE = 32;

/** The transpose of `[rows, columns]`. */
export function* transposed<T extends Target>(data: T, rows: number, columns: number): Turns<T> {
  if (data.length === 0) return data; // whatever the extents beside a zero
  const result = new (data.constructor as new (size: number) => T)(data.length);
  yield* eachRow(Math.ceil(rows / TILE), TILE * columns, (strip) => {
    const [first, last] = [strip * TILE, Math.min(rows, (strip + 1) * TILE)];
    for (let left = 0; left < columns; left += TILE) {
      for (let j = left; j < Math.min(columns, left + TILE); j++) {
        for (let i = first; i < last; i++) result[j * rows + i] = data[i * columns + j] as T[number];
      }
    }
  });
  return result;
}

/** Writes the elements that `bytes` hold into `target` from `start` on. */
export function decodeInto(target: Target, start: number, bytes: Uint8Array, { element, littleEndian }: Stored): void {
  const { size, view: View } = ELEMENTS[element];
  const aligned = littleEndian && bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  if (!littleEndian) swapBytes(aligned, size);
  const view = new View(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.length / View.BYTES_PER_ELEMENT);
  if (target instanceof BigInt64Array || target instanceof BigUint64Array) {
    const Same = target.constructor as typeof BigInt64Array;
    if (element === 'uint32') for (let i = 0; i < view.length; i++) target[start + i] = BigInt(view[i] as number);
    else target.set(new Same(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.length / size), start);
    return;
  }
  const outOfRange = (i: number, value: bigint | number): never => {
    throw new BeyondInt32(start + i, value);
  };
  switch (element) {
    case 'float16': {
      const table = halves();
      for (let i = 0; i < view.length; i++) target[start + i] = table[view[i] as number] as number;
      break;
    }
    case 'bfloat16': {
      // A bfloat16 is the upper half of a float32.
      const bits = new Uint32Array(target.buffer, target.byteOffset + 4 * start, view.length);
      for (let i = 0; i < view.length; i++) bits[i] = (view[i] as number) << 16;
      break;
    }
    case 'int64':
    case 'uint64':
      // Pairs (low, high) of 32 bits: a value fits when the high half only repeats the sign.
      for (let i = 0; i < view.length / 2; i++) {
        const low = view[2 * i] as number;
        const high = view[2 * i + 1] as number;
        if (high !== low >> 31 || (element === 'uint64' && low < 0)) {
          const value = (BigInt(high) << 32n) | BigInt(low >>> 0);
          outOfRange(i, element === 'int64' ? value : BigInt.asUintN(64, value));
        }
        target[start + i] = low;
      }
      break;
    case 'uint32':
      for (let i = 0; i < view.length; i++) {
        const value = view[i] as number;
        if (value > 0x7fffffff) outOfRange(i, value);
        target[start + i] = value;
      }
      break;
    case 'bool':
      for (let i = 0; i < view.length; i++) target[start + i] = view[i] ? 1 : 0;
      break;
    default:
      target.set(view, start);
  }
}

function swapBytes(bytes: Uint8Array, size: number): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (size === 2) buffer.swap16();
  if (size === 4) buffer.swap32();
  if (size === 8) buffer.swap64();
}

let halfTable: Float32Array | undefined;

/** The value of each of the 65536 float16: sign 1 bit, exponent 5 bits of bias 15, fraction 10 bits (IEEE 754). */
function halves(): Float32Array {
  halfTable ??= Float32Array.from({ length: 65536 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    return exponent ? sign * (1 + fraction / 1024) * 2 ** (exponent - 15) : sign * fraction * 2 ** -24;
  });
  return halfTable;
}

/** Refuses a name that is no data but a way into the objects that would hold it. */
export function checkName(name: string, file?: string): string {
  if (name !== '__proto__') return name;
  const fault = 'an array is named __proto__, which is not accepted as a name.';
  throw file === undefined ? new LayerpeelError('LP_OPTION', fault) : fileFault(file, fault);
}

/** The entry of that name, or the only one there is. */
export function pick<T>(entries: ReadonlyMap<string, T>, name: string | undefined, path: string): [string, T] {
  const names = [...entries.keys()];
  const chosen = name ?? (names.length === 1 ? names[0] : undefined);
  const entry = chosen === undefined ? undefined : entries.get(chosen);
  if (chosen !== undefined && entry !== undefined) return [chosen, entry];
  if (names.length === 0) throw fileFault(path, 'it holds no array.');
  const shown = `${names.slice(0, 20).join(', ')}${names.length > 20 ? `, … (${names.length} in all)` : ''}`;
  if (name === undefined) throw new LayerpeelError('LP_OPTION', `${path} holds ${shown}; name one of them: ${path}:${names[0]}.`);
  const guess = nearest(name, names);
  throw new LayerpeelError('LP_OPTION', `${path} has no array ${name}; ${guess ? `did you mean ${guess}?` : `it holds ${shown}.`}`);
}
