/**
 * `.safetensors`: the length of a header in 8 little-endian bytes, the header (a JSON object that maps each tensor's name to
 * `{ dtype, shape, data_offsets: [begin, end] }`, and `__metadata__` to strings), then the tensors' bytes, row-major,
 * little-endian, in any order, without holes or overlaps.
 * Source: https://github.com/huggingface/safetensors#format, whose reference reader's limits are kept.
 */

import { types } from 'node:util';
import { LayerpeelError } from '../check/errors.js';
import { checkText, option } from '../check/options.js';
import { type InputFile, withFile, writeFileAtomic } from './files.js';
import { kindOf, LOOKED_AT } from './kinds.js';
import { describe, showShape } from './ndarray.js';
import {
  type AnyArray,
  bytesOf,
  checkName,
  decode,
  ELEMENTS,
  type Element,
  extentOf,
  fileFault,
  type Located,
  locatedIn,
  pick,
  readLocated,
  type Stored,
  storable,
  storedSize,
} from './stored.js';

const LONGEST_HEADER = 100_000_000;
/** The header's length. */
const PREFIX = 8;
const METADATA = '__metadata__';

const CODES: Readonly<Record<string, Element>> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  U64: 'uint64',
  I32: 'int32',
  U32: 'uint32',
  I16: 'int16',
  U16: 'uint16',
  I8: 'int8',
  U8: 'uint8',
  BOOL: 'bool',
};

/** Elements that are written. */
const CODE_OF = { float64: 'F64', float32: 'F32', int32: 'I32', int64: 'I64', uint64: 'U64' } as const;

export interface Tensors {
  /** Floats as `NDArray`, integers and bool as `{ shape, data: Int32Array }`, or of 64 bits where one is beyond int32. */
  readonly tensors: Record<string, AnyArray>;
  readonly metadata: Record<string, string>;
  /** Types of the tensors that are left out, since they are not read here (such as `F8_E4M3`), by name. */
  readonly unsupported: Record<string, string>;
}

/**
 * Reads every tensor of a `.safetensors` file; float16 and bfloat16 are widened to float32.
 * @throws LP_FILE for a missing, truncated, malformed or unsupported file
 */
export const readSafetensors = (path: string): Promise<Tensors> =>
  withFile(path, async (file) => {
    const header = await readHeader(file);
    const { supported, unsupported } = bySupport(header, file.path);
    const tensors: [string, AnyArray][] = [];
    for (const [name, entry] of supported) tensors.push([name, await readLocated(locate(file, name, entry))]);
    return { tensors: Object.fromEntries(tensors), metadata: header.metadata, unsupported };
  });

/**
 * The tensors that the bytes of a `.safetensors` file hold, in memory of their own; see `readSafetensors`.
 * @param where how messages name the bytes
 */
export function parseSafetensors(bytes: Uint8Array, where = 'The .safetensors data'): Tensors {
  checkText(where, option('where'), 'how messages name the bytes');
  if (!types.isUint8Array(bytes)) throw fileFault(where, `it is ${describe(bytes)}; expected a Uint8Array.`);
  const end = headerEnd(bytes.subarray(0, LOOKED_AT), bytes.length, where);
  const header = parseHeader(bytes.subarray(PREFIX, end), end, bytes.length, where);
  const { supported, unsupported } = bySupport(header, where);
  const tensors = supported.map(([name, entry]) => {
    const stored = storedTensor(entry, `${where}:${name}`);
    return [name, decode(stored, bytes.subarray(entry.begin, entry.end))] as const;
  });
  return { tensors: Object.fromEntries(tensors), metadata: header.metadata, unsupported };
}

/** The tensors that are read here, and the types of the others by name. */
function bySupport({ entries }: Header, where: string) {
  const all = [...entries].map(([name, entry]) => [checkName(name, where), entry] as const);
  const others = all.filter(([, { dtype }]) => !elementOf(dtype)).map(([name, { dtype }]) => [name, dtype]);
  return {
    supported: all.filter(([, { dtype }]) => elementOf(dtype)),
    unsupported: Object.fromEntries(others) as Record<string, string>,
  };
}

/**
 * Writes tensors as `.safetensors`, whole or not at all: float32, float64, and integers as int32.
 * An `Int32Array` is written as `[n]`.
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, AnyArray | Int32Array>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await writeFileAtomic(path, pieces(tensors, metadata));
}

/** The bytes of a `.safetensors` file; see `writeSafetensors`. */
export const formatSafetensors = (
  tensors: Readonly<Record<string, AnyArray | Int32Array>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array => Buffer.concat(pieces(tensors, metadata));

/** The tensor of that name in a `.safetensors` file, or the only one. */
export async function locateSafetensors(file: InputFile, name: string | undefined): Promise<Located> {
  const { entries } = await readHeader(file);
  const [chosen, entry] = pick(entries, name, file.path);
  return locate(file, chosen, entry);
}

/** A tensor's entry; `begin` and `end` count from the file's beginning. */
interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

interface Header {
  readonly entries: Map<string, Entry>;
  readonly metadata: Record<string, string>;
}

const locate = (file: InputFile, name: string, entry: Entry): Located =>
  locatedIn(extentOf(file), storedTensor(entry, `${file.path}:${name}`));

const elementOf = (dtype: string): Element | undefined => (Object.hasOwn(CODES, dtype) ? CODES[dtype] : undefined);

function storedTensor({ dtype, shape, begin }: Entry, where: string): Stored {
  const element = elementOf(dtype);
  if (!element)
    throw fileFault(
      where,
      `it is of dtype ${dtype}; expected one of ${Object.keys(CODES).join(', ')} (convert it before it is saved).`,
    );
  return { where, shape, element, littleEndian: true, fortran: false, offset: begin };
}

async function readHeader(file: InputFile): Promise<Header> {
  const prefix = await file.head(LOOKED_AT);
  const end = headerEnd(prefix, file.size, file.path);
  const bytes = new Uint8Array(end - PREFIX);
  await file.readAt(PREFIX, bytes);
  return parseHeader(bytes, end, file.size, file.path);
}

function headerEnd(prefix: Uint8Array, fileSize: number, where: string): number {
  const claimed =
    fileSize < PREFIX ? undefined : new DataView(prefix.buffer, prefix.byteOffset, prefix.length).getBigUint64(0, true);
  if (claimed !== undefined && claimed <= LONGEST_HEADER && PREFIX + Number(claimed) <= fileSize) return PREFIX + Number(claimed);
  const kind = kindOf(prefix);
  if (kind) throw fileFault(where, `${kind}. Expected a .safetensors file.`);
  throw fileFault(
    where,
    claimed === undefined
      ? `it has ${fileSize} bytes; a .safetensors file begins with the 8 bytes of a length.`
      : `its header claims ${claimed} bytes, but the file has ${fileSize} and at most ${LONGEST_HEADER} are read; it is truncated or not a .safetensors file.`,
  );
}

function parseHeader(bytes: Uint8Array, offset: number, fileSize: number, where: string): Header {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw new LayerpeelError('LP_FILE', `${where}: its header is not JSON in UTF-8 (${(cause as Error).message}).`, { cause });
  }
  if (!isRecord(header)) throw fileFault(where, 'its header is not a JSON object of tensors.');
  const given = header[METADATA] ?? {};
  if (!isRecord(given) || !Object.values(given).every((value) => typeof value === 'string')) {
    throw fileFault(where, `its ${METADATA} is not an object of strings.`);
  }
  const entries = new Map<string, Entry>();
  let keys = Object.keys(header).length + Object.keys(given).length;
  for (const [name, value] of Object.entries(header)) {
    if (name === METADATA) continue;
    entries.set(name, parseEntry(value, offset, `${where}:${name}`));
    keys += 3;
  }
  // JSON.parse keeps the last of equal keys in silence; two readers could then see different tensors.
  if (countKeys(bytes) !== keys) throw fileFault(where, 'its header has a key twice.');
  checkCover(entries, offset, fileSize, where);
  return { entries, metadata: given as Record<string, string> };
}

function parseEntry(value: unknown, offset: number, where: string): Entry {
  const malformed = () =>
    fileFault(
      where,
      'its entry in the header is malformed; expected { dtype, shape, data_offsets: [begin, end] } and nothing else.',
    );
  if (!isRecord(value) || Object.keys(value).length !== 3) throw malformed();
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !Array.isArray(shape) || !Array.isArray(offsets) || offsets.length !== 2) throw malformed();
  const [begin, end] = offsets as [number, number];
  if (!Number.isSafeInteger(begin) || !Number.isSafeInteger(end) || begin < 0 || end < begin) throw malformed();
  const size = storedSize(shape, where);
  const element = elementOf(dtype);
  if (element && size * ELEMENTS[element].size !== end - begin) {
    throw fileFault(
      where,
      `shape ${showShape(shape)} of ${dtype} makes ${size * ELEMENTS[element].size} bytes, but its data_offsets span ${end - begin}.`,
    );
  }
  return { dtype, shape, begin: offset + begin, end: offset + end };
}

/** Throws unless the tensors cover the file from the header to its end, each byte once. */
function checkCover(entries: ReadonlyMap<string, Entry>, offset: number, fileSize: number, where: string): void {
  let covered = offset;
  for (const [name, { begin, end }] of [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered) {
      throw fileFault(
        where,
        `tensor ${name} begins at byte ${begin}, but the one before ends at ${covered}; expected neither holes nor overlaps.`,
      );
    }
    covered = end;
  }
  if (covered !== fileSize) {
    throw fileFault(
      where,
      `its tensors end at byte ${covered}, but the file has ${fileSize}; it is truncated or something follows.`,
    );
  }
}

/** Number of keys written in valid JSON: its colons outside strings. */
function countKeys(json: Uint8Array): number {
  const [quote, backslash, colon] = [0x22, 0x5c, 0x3a];
  let keys = 0;
  let inString = false;
  for (let i = 0; i < json.length; i++) {
    if (inString && json[i] === backslash) i++;
    else if (json[i] === quote) inString = !inString;
    else if (json[i] === colon && !inString) keys++;
  }
  return keys;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Header and elements; the elements are the arrays' own memory, not copies. */
function pieces(
  tensors: Readonly<Record<string, AnyArray | Int32Array>>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array[] {
  if (!isRecord(tensors)) throw new LayerpeelError('LP_OPTION', `tensors are ${describe(tensors)}; expected { name: array, … }.`);
  if (!isRecord(metadata) || !Object.values(metadata).every((value) => typeof value === 'string')) {
    throw new LayerpeelError('LP_OPTION', 'metadata has a value that is no string; expected { name: string, … }.');
  }
  if (METADATA in tensors)
    throw new LayerpeelError('LP_OPTION', `a tensor is named ${METADATA}; pass metadata as the argument after the tensors.`);
  // Wider elements first, so that every tensor begins at a multiple of its element size.
  const list = Object.entries(tensors)
    .map(([name, array]) => ({ name: checkName(name), ...storable(array, name) }))
    .sort((a, b) => ELEMENTS[b.element].size - ELEMENTS[a.element].size);
  const entries: [string, unknown][] = Object.keys(metadata).length ? [[METADATA, metadata]] : [];
  let offset = 0;
  for (const { name, shape, data, element } of list) {
    const dtype = CODE_OF[element];
    entries.push([name, { dtype, shape, data_offsets: [offset, offset + data.byteLength] }]);
    offset += data.byteLength;
  }
  return [formatHeader(entries), ...list.flatMap(({ data }) => [...bytesOf(data)])];
}

/** The header with its length before it, padded so that the tensors begin at a multiple of 8 bytes. */
function formatHeader(entries: readonly [string, unknown][]): Uint8Array {
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const header = Buffer.alloc(PREFIX + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - PREFIX));
  json.copy(header, PREFIX);
  return header;
}

/** What stands before the elements in a file with one tensor of unsigned bytes. */
export const bytesHeader = (name: string, shape: readonly number[], metadata: Readonly<Record<string, string>>): Uint8Array =>
  formatHeader([
    [METADATA, metadata],
    [name, { dtype: 'U8', shape, data_offsets: [0, storedSize(shape, name)] }],
  ]);

/** Where the unsigned bytes of that name begin in a file, which is whole, and the file's metadata. */
export async function locateBytes(
  file: InputFile,
  name: string,
): Promise<{ shape: readonly number[]; position: number; metadata: Record<string, string> }> {
  const { entries, metadata } = await readHeader(file);
  const [, { dtype, shape, begin }] = pick(entries, name, file.path);
  if (dtype !== 'U8') throw fileFault(file.path, `${name} is of dtype ${dtype}; expected U8.`);
  return { shape, position: begin, metadata };
}
