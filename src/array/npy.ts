/**
 * NumPy's `.npy`, versions 1.0, 2.0 and 3.0: the magic `\x93NUMPY`, the version, the length of a header, the header (a
 * Python dictionary with `descr`, `fortran_order`, `shape`), then the elements.
 * Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 * Only numbers are read; the pickled objects that the format also allows are refused, never executed.
 */
import { types } from 'node:util';
import { checkText, option } from '../check/options.js';
import { type Fill, type InputFile, withFile, writeFileAtomic } from './files.js';
import { kindOf, LOOKED_AT } from './kinds.js';
import { describe, showShape } from './ndarray.js';
import {
  type AnyArray,
  bytesOf,
  decode,
  type Element,
  extentOf,
  fileFault,
  type Located,
  locatedIn,
  readLocated,
  type Stored,
  storable,
  storedBytes,
} from './stored.js';

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
/** Magic, version and the longer form of the header's length. */
const PREFIX = 12;
/** NumPy itself refuses headers above 10 000 bytes; numbers need about 100. */
const LONGEST_HEADER = 65536;

const CODES: Readonly<Record<string, Element>> = {
  f8: 'float64',
  f4: 'float32',
  f2: 'float16',
  i8: 'int64',
  u8: 'uint64',
  i4: 'int32',
  u4: 'uint32',
  i2: 'int16',
  u2: 'uint16',
  i1: 'int8',
  u1: 'uint8',
  b1: 'bool',
  // bfloat16 as NumPy writes the type of ml_dtypes (JAX, TensorFlow), which it does not know by name.
  V2: 'bfloat16',
  bfloat16: 'bfloat16',
};

/** Elements that are written. */
const CODE_OF = { float64: 'f8', float32: 'f4', int32: 'i4', int64: 'i8', uint64: 'u8' } as const;

/**
 * Reads a `.npy` file: floats as `NDArray` (float16 widened to float32), integers and bool as `{ shape, data: Int32Array }`.
 * An array in Fortran order comes transposed to row-major (two dimensions; more are refused).
 * @throws LP_FILE for a missing, truncated, malformed or unsupported file
 */
export const readNpy = (path: string): Promise<AnyArray> => withFile(path, async (file) => readLocated(await locateNpy(file)));

/** Writes an array as `.npy` 1.0, whole or not at all: `<f4`, `<f8`, or `<i4` for integers. An `Int32Array` is written as `[n]`. */
export async function writeNpy(path: string, array: AnyArray | Int32Array): Promise<void> {
  await writeFileAtomic(path, npyPieces(array));
}

/** Writes an array of float32 of which the elements come piece by piece, whole or not at all. */
export class NpyWriter {
  private readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  private readonly written: Promise<void>;

  constructor(path: string, shape: readonly number[]) {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    this.writer = writable.getWriter();
    this.written = writeFileAtomic(path, readable);
    this.written.catch(() => {}); // whoever writes next is told
    this.append(npyHeader(shape, 'float32')).catch(() => {});
  }

  /** Waits until what came before is written. @throws LP_FILE */
  append(piece: Float32Array | Uint8Array): Promise<void> {
    const bytes = new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
    // Where the file cannot be written nobody takes the pieces.
    return Promise.race([this.writer.write(bytes), this.written]);
  }

  /** @throws LP_FILE */
  async end(): Promise<void> {
    await Promise.race([this.writer.close(), this.written]);
    await this.written;
  }

  /** Leaves nothing of it. */
  async abort(): Promise<void> {
    await this.writer.abort(new Error('no whole array')).catch(() => {});
    await this.written.catch(() => {});
  }
}

/**
 * The array that the bytes of a `.npy` file hold, in memory of its own; see `readNpy`.
 * @param where how messages name the bytes
 */
export function parseNpy(bytes: Uint8Array, where = 'The .npy data'): AnyArray {
  checkText(where, option('where'), 'how messages name the bytes');
  if (!types.isUint8Array(bytes)) throw fileFault(where, `it is ${describe(bytes)}; expected a Uint8Array.`);
  const { start, end } = headerSpan(bytes.subarray(0, LOOKED_AT), bytes.length, where);
  const stored = parseHeader(bytes.subarray(start, end), end, where);
  checkLength(stored, bytes.length);
  return decode(stored, bytes.subarray(stored.offset));
}

/** The bytes of a `.npy` file that holds `array`; see `writeNpy`. */
export const formatNpy = (array: AnyArray | Int32Array): Uint8Array => Buffer.concat(npyPieces(array));

/** The array of a `.npy` file. */
export async function locateNpy(file: InputFile): Promise<Located> {
  return locatedIn(extentOf(file), await npyLayout(file.from(0), file.size, file.path));
}

/**
 * Reads a `.npy` file up to its elements and says how they lie.
 * @param size of the whole file, with which what the header claims is compared
 */
export async function npyLayout(fill: Fill, size: number, where: string): Promise<Stored> {
  const prefix = new Uint8Array(Math.min(LOOKED_AT, size));
  await fill(prefix);
  const { start, end } = headerSpan(prefix, size, where);
  const bytes = new Uint8Array(Math.max(end, prefix.length));
  bytes.set(prefix);
  await fill(bytes.subarray(prefix.length));
  const stored = parseHeader(bytes.subarray(start, end), end, where);
  checkLength(stored, size);
  return stored;
}

/** Where the header's dictionary lies, from a file's first bytes. */
function headerSpan(prefix: Uint8Array, fileSize: number, where: string): { start: number; end: number } {
  if (prefix.length < 10 || MAGIC.some((byte, i) => prefix[i] !== byte)) {
    throw fileFault(where, `${kindOf(prefix) ?? 'it does not begin as a .npy file does'}. Expected what numpy.save writes.`);
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.length);
  const version = view.getUint8(6);
  if (version < 1 || version > 3) throw fileFault(where, `it is of .npy version ${version}; expected 1, 2 or 3.`);
  const start = version === 1 ? 10 : PREFIX;
  if (prefix.length < start) throw fileFault(where, `it is truncated: ${fileSize} bytes.`);
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (start + length > fileSize) {
    throw fileFault(where, `its header claims ${length} bytes, but the file has ${fileSize}; it is truncated or not a .npy file.`);
  }
  if (length > LONGEST_HEADER) {
    throw fileFault(where, `its header has ${length} bytes; expected at most ${LONGEST_HEADER}, as an array of numbers needs.`);
  }
  return { start, end: start + length };
}

/** One entry of the dictionary, with the comma that follows it. */
const ENTRY = /\s*(['"])(\w+)\1\s*:\s*('[^']*'|"[^"]*"|True|False|\([^()]*\))\s*(?:,|(?=\}))/y;

/** Reads the header `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`. */
function parseHeader(bytes: Uint8Array, offset: number, where: string): Stored {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1').trim();
  if (/['"]descr['"]\s*:\s*\[/.test(text)) {
    throw fileFault(where, "it holds a structured dtype; save its fields by themselves, as in numpy.savez(path, x=array['x']).");
  }
  const entries = parseDictionary(text);
  const descr = entries?.get('descr')?.match(/^['"](.*)['"]$/)?.[1];
  const order = entries?.get('fortran_order');
  const shape = parseShape(entries?.get('shape'));
  if (descr === undefined || shape === undefined || (order !== 'True' && order !== 'False')) {
    const shown = JSON.stringify(text.slice(0, 200));
    throw fileFault(where, `its header is ${shown}; expected descr, fortran_order and shape as numpy.save writes.`);
  }
  const code = descr.replace(/^[<>|=]/, '');
  const element = Object.hasOwn(CODES, code) ? CODES[code] : undefined;
  if (!element) throw fileFault(where, `it holds dtype ${descr}${adviceOn(code, shape)}.`);
  return { where, shape, element, littleEndian: !descr.startsWith('>'), fortran: order === 'True', offset };
}

/** The three entries of a header, as text. */
function parseDictionary(text: string): Map<string, string> | undefined {
  const entries = new Map<string, string>();
  if (text[0] !== '{') return undefined;
  ENTRY.lastIndex = 1;
  while (entries.size < 3) {
    const match = ENTRY.exec(text);
    if (!match) return undefined;
    entries.set(match[2] as string, match[3] as string);
  }
  return text.slice(ENTRY.lastIndex).trim() === '}' ? entries : undefined;
}

/** The extents of a Python tuple `(3, 4)`, `(3,)` or `()`; Python 2 wrote some as `3L`. */
function parseShape(tuple = ''): number[] | undefined {
  const inner = tuple.slice(1, -1).trim();
  if (!tuple.startsWith('(')) return undefined;
  if (inner === '') return [];
  const extents = inner.split(',').map((extent) => extent.trim());
  if (extents.length === 1) return undefined;
  if (extents.at(-1) === '') extents.pop();
  return extents.every((extent) => /^\d+L?$/.test(extent)) ? extents.map((extent) => Number.parseInt(extent, 10)) : undefined;
}

/** What to do about an element type that is not read. */
function adviceOn(code: string, shape: readonly number[]): string {
  if (code.startsWith('O')) {
    return shape.length === 0
      ? ': a dictionary or another object, pickled, which is never loaded; save a dictionary of arrays with numpy.savez(path, **dictionary)'
      : ": objects, pickled, which are never loaded; array.astype('float32') converts what are numbers";
  }
  if (/^[USaT]/.test(code)) return ': text; numpy.unique(array, return_inverse=True)[1] numbers it from 0, as labels are';
  if (/^[Mm]/.test(code)) return ": times; array.astype('int64') converts";
  if (/^[cFDG]/.test(code)) return ': complex numbers; save array.real, array.imag or abs(array)';
  return "; expected floats of 16, 32 or 64 bits, integers or bool (array.astype('float32') converts, before it is saved)";
}

/** Throws unless the elements fill the file from the offset to its end. */
function checkLength(stored: Stored, fileSize: number): void {
  const { where, shape, element, offset } = stored;
  const expected = offset + storedBytes(stored);
  if (expected === fileSize) return;
  const fault = expected > fileSize ? 'it is truncated' : 'something follows the array';
  throw fileFault(where, `shape ${showShape(shape)} of ${element} makes ${expected} bytes, but there are ${fileSize}; ${fault}.`);
}

/** Header and elements; the elements are the array's own memory, not a copy. */
export function npyPieces(array: AnyArray | Int32Array, name = 'array'): Uint8Array[] {
  const { shape, data, element } = storable(array, name);
  return [npyHeader(shape, element), ...bytesOf(data)];
}

/** What stands before the elements. */
export function npyHeader(shape: readonly number[], element: keyof typeof CODE_OF): Uint8Array {
  const code = CODE_OF[element];
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dictionary = `{'descr': '<${code}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // The elements begin at a multiple of 64 bytes, as numpy.save has it, so that the file can be memory-mapped.
  const length = Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 10;
  const header = Buffer.from(`\x93NUMPY\x01\x00\x00\x00${dictionary.padEnd(length - 1)}\n`, 'latin1');
  header.writeUInt16LE(length, 8);
  return header;
}
