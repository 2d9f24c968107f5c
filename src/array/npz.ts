/**
 * NumPy's `.npz`: a zip of `.npy` members, stored or deflated, ZIP64 where large.
 * The zip itself is read by yauzl and written by yazl, loaded with what they need when first used. Whatever a file claims is bounded:
 * deflate expands at most 1032 times, so no claim beyond that is believed, and each member's length and CRC are checked.
 */
import type { Readable } from 'node:stream';
import type { Entry, ZipFile } from 'yauzl';
import { LayerpeelError } from '../check/errors.js';
import { checkBoolean, checkKeys, checkObject, checkPath, option } from '../check/options.js';
import { type InputFile, withFile, writeFileAtomic } from './files.js';
import { MOST_EXPANSION, streamPass } from './inflate.js';
import type { NDArray } from './ndarray.js';
import { npyLayout, npyPieces } from './npy.js';
import { checkName, fileFault, type IntArray, type Located, type Pass, pick, readLocated } from './stored.js';

/**
 * Reads every array of a `.npz` file, by name. Members that are no `.npy` are left out.
 * @throws LP_FILE as `readNpy`
 */
export const readNpz = (path: string): Promise<Record<string, NDArray | IntArray>> =>
  withFile(path, async (file) => {
    const { zip, entries } = await openZip(file);
    const arrays: [string, NDArray | IntArray][] = [];
    for (const [name, entry] of entries) arrays.push([name, await readLocated(await locate(file, zip, name, entry))]);
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
  const [{ default: yazl }, { Readable: Stream }] = await Promise.all([import('yazl'), import('node:stream')]);
  const zip = new yazl.ZipFile();
  const output = zip.outputStream as Readable;
  zip.on('error', (error) => output.destroy(error));
  for (const [name, array] of Object.entries(arrays)) {
    const pieces = npyPieces(array, checkName(name));
    // The beginning of the zip calendar, as NumPy has it, in place of the time of writing.
    const details = { compress, mtime: new Date(1980, 0, 1), forceDosTimestamp: true, mode: 0o100644 };
    try {
      zip.addReadStreamLazy(`${name}.npy`, details, (done) => done(null, Stream.from(pieces)));
    } catch (cause) {
      throw new LayerpeelError(
        'LP_OPTION',
        `an array is named ${JSON.stringify(name)}; a zip refuses this: ${(cause as Error).message}.`,
        {
          cause,
        },
      );
    }
  }
  zip.end();
  await writeFileAtomic(path, output);
}

/** The array of that name in a `.npz` file, or the only one. */
export async function locateNpz(file: InputFile, name: string | undefined): Promise<Located> {
  const { zip, entries } = await openZip(file);
  const [chosen, entry] = pick(entries, name, file.path);
  return locate(file, zip, chosen, entry);
}

async function openZip(file: InputFile): Promise<{ zip: ZipFile; entries: Map<string, Entry> }> {
  const { default: yauzl } = await import('yauzl');
  const entries = new Map<string, Entry>();
  let claimed = 0;
  try {
    const zip = await yauzl.fromFdPromise(file.descriptor, { autoClose: false });
    for await (const entry of zip.eachEntry()) {
      claimed += entry.uncompressedSize;
      if (!entry.fileName.endsWith('.npy')) continue;
      const name = entry.fileName.slice(0, -'.npy'.length);
      if (entries.has(name)) throw fileFault(file.path, `two of its members are named ${entry.fileName}.`);
      entries.set(checkName(name, file.path), entry);
    }
    if (claimed <= MOST_EXPANSION * file.size) return { zip, entries };
  } catch (error) {
    throw zipFault(file.path, error);
  }
  throw fileFault(file.path, `its members claim ${claimed} bytes, more than a file of ${file.size} bytes can hold.`);
}

async function locate(file: InputFile, zip: ZipFile, name: string, entry: Entry): Promise<Located> {
  const where = `${file.path}:${name}`;
  if (!entry.canDecodeFileData()) {
    throw fileFault(where, 'it is encrypted or compressed by another method than deflate; expected what numpy.savez writes.');
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
