/**
 * NumPy's `.npz`: a zip of `.npy` members, stored or deflated, ZIP64 where large.
 * The zip itself is read by yauzl and written by yazl, loaded with what they need when first used. Whatever a file claims is bounded:
 * deflate expands at most 1032 times, so no claim beyond that is believed, and each member's length and CRC are checked.
 */
import { type Readable, Readable as Stream } from 'node:stream';
import type { Entry, ZipFile } from 'yauzl';
import { LayerpeelError } from '../check/errors.js';
import { checkBoolean, checkKeys, checkObject, checkPath, option } from '../check/options.js';
import { type InputFile, withFile, writeFileAtomic } from './files.js';
import { MOST_EXPANSION, pieces, streamPass } from './inflate.js';
import type { NDArray } from './ndarray.js';
import { npyLayout, npyPieces } from './npy.js';
import { checkName, fileFault, type IntArray, type Located, type Pass, pick, readLocated } from './stored.js';

/**
 * Reads every array of a `.npz` file, by name. Members that are no `.npy` are left out.
 * @throws LP_FILE as `readNpy`
 */
export const readNpz = (path: string): Promise<Record<string, NDArray | IntArray>> =>
  withFile(path, async (file) => {
    const { zip, members } = await openZip(file);
    const claimed = members.reduce((sum, { entry }) => sum + entry.uncompressedSize, 0);
    if (claimed > MOST_EXPANSION * file.size) {
      throw fileFault(file.path, `its members claim ${claimed} bytes, more than a file of ${file.size} bytes can hold.`);
    }
    const arrays: [string, NDArray | IntArray][] = [];
    for (const [name, entry] of byName(members, file.path)) {
      arrays.push([checkName(name, file.path), await readLocated(await locate(file, zip, name, entry))]);
    }
    return Object.fromEntries(arrays);
  });

export interface WriteNpzOptions {
  /** Deflates the members, as `numpy.savez_compressed`. @default false */
  readonly compress?: boolean;
}

/**
 * Writes arrays as the members `<name>.npy` of a `.npz` file, whole or not at all. Equal arrays give equal bytes.
 * @throws LP_OPTION for a name that a zip cannot hold
 */
export async function writeNpz(
  path: string,
  arrays: Readonly<Record<string, NDArray | IntArray | Int32Array>>,
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
    throw zipFault(file.path, error);
  }
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
  const beginMember = () =>
    entry.compressionMethod === 0 ? beginStored(file, zip, entry, where) : beginDeflated(zip, entry, where);
  const head = await beginMember();
  const stored = await npyLayout(head.fill, entry.uncompressedSize, where).finally(head.close);
  const begin = async (): Promise<Pass> => {
    const pass = checked(await beginMember(), entry, where, (await import('node:zlib')).crc32);
    await pass.fill(new Uint8Array(stored.offset));
    return pass;
  };
  return { stored, begin };
}

/** Reads a stored member, whose bytes lie in the file as they are. */
async function beginStored(file: InputFile, zip: ZipFile, entry: Entry, where: string): Promise<Pass> {
  const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true }).catch((error) => {
    throw zipFault(where, error);
  });
  return { fill: file.from(fileDataStart), close() {} };
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

/** What yauzl and zlib say, as the file's fault. */
function zipFault(where: string, error: unknown): unknown {
  if (error instanceof LayerpeelError) return error;
  return new LayerpeelError('LP_FILE', `${where}: it cannot be read as a zip of .npy members: ${(error as Error).message}.`, {
    cause: error,
  });
}
