/**
 * Zips: their members by name, read as streams or at any position. yauzl reads them, loaded with the first one. Whatever a file claims
 * is bounded: deflate expands at most 1032 times, so no claim beyond that is believed, and each member's length and CRC are checked.
 */
import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Entry, ZipFile } from 'yauzl';
import { LayerpeelError } from '../check/errors.js';
import { fileError, InputFile, writeAll } from './files.js';
import { MOST_EXPANSION, pieces, streamPass } from './inflate.js';
import { kindOf, LOOKED_AT } from './kinds.js';
import { type Extent, fileFault, type Pass, PIECE, type Seekable } from './stored.js';

/** A zip's members in their order, two of which may have one name. */
export interface Zip {
  readonly zip: ZipFile;
  readonly entries: readonly { readonly name: string; readonly entry: Entry }[];
}

/**
 * Reads the list of members. Their names are names and lead to no file.
 * @param expected what the file should be, as messages say it
 */
export async function openZip(file: InputFile, expected: string): Promise<Zip> {
  const { fromRandomAccessReaderPromise, getFileNameLowLevel, RandomAccessReader } = (await import('yauzl')).default;
  class Reader extends RandomAccessReader {
    override _readStreamForRange(start: number, end: number): Readable {
      return Readable.from(pieces(file, start, end));
    }
  }
  try {
    // Names are decoded here, since yauzl refuses an archive for one name that an unpacker should not follow.
    const zip = await fromRandomAccessReaderPromise(new Reader(), file.size, { autoClose: false, decodeStrings: false });
    const entries: { name: string; entry: Entry }[] = [];
    for await (const entry of zip.eachEntry()) {
      entries.push({ name: getFileNameLowLevel(entry.generalPurposeBitFlag, entry.fileNameRaw, entry.extraFields, true), entry });
    }
    return { zip, entries };
  } catch (error) {
    const bytes = await file.head(LOOKED_AT);
    const kind = Buffer.from(bytes).toString('latin1').startsWith('PK') ? undefined : kindOf(bytes);
    if (kind) throw fileFault(file.path, `${kind}. Expected ${expected}.`);
    throw zipFault(file.path, error);
  }
}

/**
 * The bytes of a member. Its checksum is compared when the last of them is read; from its middle on only where that is near the
 * beginning. A deflated one is inflated into a temporary file where any position is asked for.
 * @param where how messages name the member
 * @param writer whose zips are read
 * @param checked whether its entry has a checksum
 */
export async function locateMember(
  file: InputFile,
  { zip }: Zip,
  entry: Entry,
  where: string,
  writer: string,
  checked = true,
): Promise<Extent> {
  if (!entry.canDecodeFileData()) {
    throw fileFault(where, `it is encrypted or compressed by another method than deflate; expected what ${writer} writes.`);
  }
  const size = entry.uncompressedSize;
  const compressed = entry.compressionMethod !== 0;
  if (size > (compressed ? MOST_EXPANSION : 1) * file.size) {
    throw fileFault(where, `it claims ${size} bytes, more than a file of ${file.size} bytes can hold.`);
  }
  const start = compressed ? 0 : await storedStart(zip, entry, where);
  const { crc32 } = await import('node:zlib');
  const begin = async (offset: number): Promise<Pass> => {
    if (!compressed && offset > PIECE) return { fill: file.from(start + offset), close() {} };
    const plain = compressed ? await beginDeflated(zip, entry, where) : { fill: file.from(start), close() {} };
    const pass = checked ? compared(plain, entry, where, crc32) : plain;
    for await (const _ of piecesOf(pass, offset));
    return pass;
  };
  return {
    size,
    begin,
    async seek() {
      const pass = await begin(0);
      try {
        const bytes = piecesOf(pass, size);
        if (compressed) return await unpacked(bytes);
        for await (const _ of bytes); // compares the checksum
        return { file, offset: start, close: async () => {} };
      } finally {
        pass.close();
      }
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
function compared({ fill, close }: Pass, entry: Entry, where: string, crc32: (bytes: Uint8Array, crc: number) => number): Pass {
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

/** The next bytes of a pass, in pieces. */
async function* piecesOf({ fill }: Pass, size: number): AsyncGenerator<Uint8Array> {
  const piece = new Uint8Array(Math.min(PIECE, size));
  for (let start = 0; start < size; start += PIECE) {
    const bytes = piece.subarray(0, Math.min(PIECE, size - start));
    await fill(bytes);
    yield bytes;
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
  return new LayerpeelError('LP_FILE', `${where}: it cannot be read as a zip: ${(error as Error).message}.`, { cause: error });
}
