/**
 * NumPy's `.npz`: a zip of `.npy` members, stored or deflated, ZIP64 where large.
 * The zip itself is read by yauzl and written by yazl, loaded with what they need when first used. Whatever a file claims is bounded:
 * deflate expands at most 1032 times, so no claim beyond that is believed, and each member's length and CRC are checked.
 */
import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Readable, Readable as Stream } from 'node:stream';
import type { Entry, ZipFile } from 'yauzl';
import { LayerpeelError } from '../check/errors.js';
import { checkBoolean, checkKeys, checkList, checkObject, checkPath, checkText, entry, option } from '../check/options.js';
import { fileError, InputFile, withFile, writeAll, writeFileAtomic } from './files.js';
import { MOST_EXPANSION, pieces, streamPass } from './inflate.js';
import { kindOf, LOOKED_AT } from './kinds.js';
import { npyLayout, npyPieces } from './npy.js';
import {
  type AnyArray,
  checkName,
  fileFault,
  type Located,
  type Pass,
  PIECE,
  pick,
  readLocated,
  type Seekable,
  storedBytes,
} from './stored.js';

export interface ReadNpzOptions {
  /** Names of the arrays that are wanted, where the others are none of a type that is read. @default all */
  readonly names?: readonly string[];
}

/**
 * Reads the arrays of a `.npz` file, by name. Members that are no `.npy` are left out.
 * @throws LP_FILE as `readNpy`; LP_OPTION for a name that is not in it
 */
export async function readNpz(path: string, options: ReadNpzOptions = {}): Promise<Record<string, AnyArray>> {
  checkKeys(options as unknown, ['names'], option('options'));
  const place = option('options.names');
  const names =
    options.names === undefined
      ? undefined
      : checkList(options.names, place, 'a list of names').map((name, k) => checkText(name, entry(place, k)));
  return withFile(path, async (file) => {
    const { zip, members: all } = await openZip(file);
    for (const name of names ?? []) pick(new Map(all.map((member) => [member.name, member])), name, path);
    const members = names ? all.filter(({ name }) => names.includes(name)) : all;
    const claimed = members.reduce((sum, { entry }) => sum + entry.uncompressedSize, 0);
    if (claimed > MOST_EXPANSION * file.size) {
      throw fileFault(file.path, `its members claim ${claimed} bytes, more than a file of ${file.size} bytes can hold.`);
    }
    const arrays: [string, AnyArray][] = [];
    for (const [name, member] of byName(members, file.path)) {
      const located = await locate(file, zip, name, member).catch((error) => {
        const others = [...new Set(members.map((one) => one.name))].filter((one) => one !== name);
        throw others.length > 0 ? besides(others, error) : error;
      });
      arrays.push([checkName(name, file.path), await readLocated(located)]);
    }
    return Object.fromEntries(arrays);
  });
}

export interface WriteNpzOptions {
  /** Deflates the members, as `numpy.savez_compressed`. @default false */
  readonly compress?: boolean | undefined;
}

/**
 * Writes arrays as the members `<name>.npy` of a `.npz` file, whole or not at all. Equal arrays give equal bytes.
 * @throws LP_OPTION for a name that a zip cannot hold
 */
export async function writeNpz(
  path: string,
  arrays: Readonly<Record<string, AnyArray | Int32Array>>,
  options: WriteNpzOptions = {},
): Promise<void> {
  checkKeys(options as unknown, ['compress'], option('options'));
  const compress = checkBoolean(options.compress ?? false, option('options.compress'));
  checkPath(path);
  checkObject(arrays, option('arrays'));
  const { default: yazl } = await import('yazl');
  const zip = new yazl.ZipFile();
  const output = zip.outputStream as Readable;
  zip.on('error', (error) => output.destroy(error));
  const named = nameMembers(zip);
  for (const [name, array] of Object.entries(arrays)) {
    const parts = npyPieces(array, checkName(name));
    // The beginning of the zip calendar, as NumPy has it, in place of the time of writing.
    const details = { compress, mtime: new Date(1980, 0, 1), forceDosTimestamp: true, mode: 0o100644 };
    named(checkLength(name), (placeholder) =>
      zip.addReadStreamLazy(placeholder, details, (done) => done(null, Stream.from(parts))),
    );
  }
  zip.end();
  await writeFileAtomic(path, output);
}

/** Bytes of the longest name that a zip can hold. */
const LONGEST_NAME = 65535;

function checkLength(name: string): string {
  const length = Buffer.byteLength(name) + EXTENSION.length;
  if (length <= LONGEST_NAME) return name;
  throw new LayerpeelError('LP_OPTION', `an array's name has ${length} bytes in a zip, which holds at most ${LONGEST_NAME}.`);
}

/**
 * Names members by the very names of their arrays. yazl refuses or changes those that would lead an unpacker out of its folder
 * (`/w`, `../w`, `W:0`, a backslash); but these are names of arrays, as NumPy writes and reads them, and nothing unpacks them here.
 */
function nameMembers(zip: object): (name: string, add: (placeholder: string) => void) => void {
  let bytes: Uint8Array;
  const { entries } = zip as { entries: { utf8FileName: Uint8Array }[] };
  // yazl keeps an entry here before it writes its name.
  entries.push = (entry) => {
    entry.utf8FileName = bytes;
    entries[entries.length] = entry;
    return entries.length;
  };
  return (name, add) => {
    bytes = Buffer.from(name + EXTENSION);
    add('array');
  };
}

/** The names of the arrays of a `.npz` file. */
export const arrayNames = (path: string): Promise<string[]> =>
  withFile(path, async (file) => (await openZip(file)).members.map(({ name }) => name));

/** The array of that name in a `.npz` file, or the only one. */
export async function locateNpz(file: InputFile, name: string | undefined): Promise<Located> {
  const { zip, members } = await openZip(file);
  const [chosen] = pick(new Map(members.map(({ name, entry }) => [name, entry])), name, file.path);
  const own = members.filter((member) => member.name === chosen);
  return locate(file, zip, chosen, byName(own, file.path).get(chosen) as Entry);
}

const EXTENSION = '.npy';

interface Member {
  readonly name: string;
  readonly entry: Entry;
}

/** The members that are arrays, in their order, under their own names: they are names of arrays and lead to no file. */
async function openZip(file: InputFile): Promise<{ zip: ZipFile; members: readonly Member[] }> {
  const { fromRandomAccessReaderPromise, getFileNameLowLevel, RandomAccessReader } = (await import('yauzl')).default;
  class Reader extends RandomAccessReader {
    override _readStreamForRange(start: number, end: number): Readable {
      return Stream.from(pieces(file, start, end));
    }
  }
  const members: Member[] = [];
  try {
    // Names are decoded here, since yauzl refuses an archive for one name that an unpacker should not follow.
    const zip = await fromRandomAccessReaderPromise(new Reader(), file.size, { autoClose: false, decodeStrings: false });
    for await (const entry of zip.eachEntry()) {
      const path = getFileNameLowLevel(entry.generalPurposeBitFlag, entry.fileNameRaw, entry.extraFields, true);
      if (path.endsWith(EXTENSION)) members.push({ name: path.slice(0, -EXTENSION.length), entry });
    }
    return { zip, members };
  } catch (error) {
    const bytes = await file.head(LOOKED_AT);
    const kind = Buffer.from(bytes).toString('latin1').startsWith('PK') ? undefined : kindOf(bytes);
    if (kind) throw fileFault(file.path, `${kind}. Expected a zip of .npy members, as numpy.savez writes.`);
    throw zipFault(file.path, error);
  }
}

/** A fault of one member, with how the others are read. */
function besides([first]: readonly string[], error: unknown): unknown {
  if (!(error instanceof LayerpeelError)) return error;
  const message = `${error.message} The others are read by their names: { names: [${JSON.stringify(first)}, …] }.`;
  return new LayerpeelError(error.code, message, { cause: error });
}

/** @throws LP_FILE where two of them have one name */
function byName(members: readonly Member[], path: string): Map<string, Entry> {
  const entries = new Map(members.map(({ name, entry }) => [name, entry]));
  if (entries.size === members.length) return entries;
  const twice = members.find(({ name, entry }) => entries.get(name) !== entry) as Member;
  throw fileFault(path, `two of its members are named ${twice.name}${EXTENSION}.`);
}

async function locate(file: InputFile, zip: ZipFile, name: string, entry: Entry): Promise<Located> {
  const where = `${file.path}:${name}`;
  if (!entry.canDecodeFileData()) {
    throw fileFault(where, 'it is encrypted or compressed by another method than deflate; expected what numpy.savez writes.');
  }
  if (entry.uncompressedSize > MOST_EXPANSION * file.size) {
    throw fileFault(where, `it claims ${entry.uncompressedSize} bytes, more than a file of ${file.size} bytes can hold.`);
  }
  const compressed = entry.compressionMethod !== 0;
  const start = compressed ? 0 : await storedStart(zip, entry, where);
  const beginMember = async (): Promise<Pass> =>
    compressed ? beginDeflated(zip, entry, where) : { fill: file.from(start), close() {} };
  const head = await beginMember();
  const stored = await npyLayout(head.fill, entry.uncompressedSize, where).finally(head.close);
  const begin = async (): Promise<Pass> => {
    const pass = checked(await beginMember(), entry, where, (await import('node:zlib')).crc32);
    await pass.fill(new Uint8Array(stored.offset));
    return pass;
  };
  return {
    stored,
    begin,
    async seek() {
      const elements = elementsOf(begin, storedBytes(stored));
      if (compressed) return unpacked(elements);
      for await (const _ of elements); // compares the checksum
      return { file, offset: start + stored.offset, close: async () => {} };
    },
  };
}

/** Where the bytes of a stored member begin, which lie in the file as they are. */
async function storedStart(zip: ZipFile, entry: Entry, where: string): Promise<number> {
  const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true }).catch((error) => {
    throw zipFault(where, error);
  });
  return fileDataStart;
}

/** Reads a deflated member from the stream of its inflated bytes. */
async function beginDeflated(zip: ZipFile, entry: Entry, where: string): Promise<Pass> {
  const stream = await zip.openReadStreamPromise(entry).catch((error) => {
    throw zipFault(where, error);
  });
  return streamPass(stream, where, (error) => zipFault(where, error));
}

/** A pass over a member that compares its checksum when the last byte is read. */
function checked({ fill, close }: Pass, entry: Entry, where: string, crc32: (bytes: Uint8Array, crc: number) => number): Pass {
  let left = entry.uncompressedSize;
  let crc = 0;
  return {
    close,
    async fill(target) {
      await fill(target);
      left -= target.length;
      crc = crc32(target, crc);
      if (left === 0 && crc !== entry.crc32) {
        throw fileFault(where, 'its data does not have the checksum (CRC-32) of its entry; the file is damaged.');
      }
    },
  };
}

/** The bytes of a member's elements, in pieces. */
async function* elementsOf(begin: () => Promise<Pass>, size: number): AsyncGenerator<Uint8Array> {
  const pass = await begin();
  try {
    const piece = new Uint8Array(Math.min(PIECE, size));
    for (let start = 0; start < size; start += PIECE) {
      const bytes = piece.subarray(0, Math.min(PIECE, size - start));
      await pass.fill(bytes);
      yield bytes;
    }
  } finally {
    pass.close();
  }
}

/** Puts bytes into a temporary file that has no name, so that it is gone when it is closed. */
async function unpacked(bytes: AsyncIterable<Uint8Array>): Promise<Seekable> {
  const path = join(tmpdir(), `layerpeel-${randomBytes(12).toString('hex')}`);
  const refuse = (error: unknown): never => {
    throw fileError(path, 'written', error);
  };
  const handle = await open(path, 'wx', 0o600).catch(refuse);
  try {
    try {
      for await (const piece of bytes) await writeAll(handle, piece).catch(refuse);
    } finally {
      await handle.close();
    }
    const file = await InputFile.open(path);
    return { file, offset: 0, close: () => file.close() };
  } finally {
    await rm(path, { force: true });
  }
}

/** What yauzl and zlib say, as the file's fault. */
function zipFault(where: string, error: unknown): unknown {
  if (error instanceof LayerpeelError) return error;
  return new LayerpeelError('LP_FILE', `${where}: it cannot be read as a zip of .npy members: ${(error as Error).message}.`, {
    cause: error,
  });
}
