/**
 * Files: reading at any position with errors that name the file, and writing whole or not at all.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LayerpeelError } from '../check/errors.js';
import { checkPath, show } from '../check/options.js';

/** The longest single read: Linux moves at most 2 GiB at once, and 1 GiB keeps every platform's counters within range. */
const LONGEST_READ = 2 ** 30;

/** Fills the whole target with the bytes that come next. */
export type Fill = (target: Uint8Array) => Promise<void>;

/** A regular file opened for reading. Its size is known, so that what a header claims can be compared before memory is asked for. */
export class InputFile {
  private constructor(
    readonly path: string,
    readonly size: number,
    private readonly handle: FileHandle,
  ) {}

  static async open(path: string): Promise<InputFile> {
    if (typeof path !== 'string') {
      throw new LayerpeelError('LP_FILE', `${showPath(path)} cannot be read: expected the path of a file.`);
    }
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, 'r');
      const stat = await handle.stat();
      if (!stat.isFile()) throw new LayerpeelError('LP_FILE', `${path} is not a regular file; expected the path of an array file.`);
      return new InputFile(path, stat.size, handle);
    } catch (error) {
      await handle?.close();
      throw fileError(path, 'read', error);
    }
  }

  /** Fills `target` with the bytes from `position` on. */
  async readAt(position: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; ) {
      const length = Math.min(target.length - done, LONGEST_READ);
      const { bytesRead } = await this.handle.read(target, done, length, position + done).catch((error) => {
        throw fileError(this.path, 'read', error);
      });
      if (bytesRead === 0) {
        throw new LayerpeelError(
          'LP_FILE',
          `${this.path} ended at byte ${position + done} while ${target.length - done} more were expected; was it changed meanwhile?`,
        );
      }
      done += bytesRead;
    }
  }

  /** Reads on from `position`: each call fills its target with the bytes after those of the call before. */
  from(position: number): Fill {
    let next = position;
    return async (target) => {
      await this.readAt(next, target);
      next += target.length;
    };
  }

  /** For libraries that read by descriptor; it stays this object's to close. */
  get descriptor(): number {
    return this.handle.fd;
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/** Opens a file, hands it to `use` and closes it whatever happens. */
export async function withFile<T>(path: string, use: (file: InputFile) => Promise<T>): Promise<T> {
  const file = await InputFile.open(path);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/**
 * Makes a folder and those above it; one that is there already will do. (`mkdir` of Node with `recursive` tries for ever where a
 * file system makes no folders and says of each that its parent is missing, as `/proc` does.)
 */
export async function makeFolder(path: string): Promise<void> {
  const made = await mkdir(path).catch((error: NodeJS.ErrnoException) => error);
  if (made === undefined) return;
  if (made.code === 'EEXIST' && (await stat(path)).isDirectory()) return;
  if (made.code !== 'ENOENT' || dirname(path) === path) throw made;
  await makeFolder(dirname(path));
  await mkdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error; // somebody else was faster
  });
}

/** A path as messages have it, whatever it is. */
export const showPath = (path: unknown): string =>
  typeof path === 'string' ? path : path === undefined ? 'undefined' : show(path);

/** What a file is written from: text, bytes, or pieces of bytes as they come. */
export type Content = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Writes a file whole or not at all: into a temporary file of the same folder, flushed to the disk and then renamed
 * over `path`. When anything fails, the content's own source included, the temporary file is removed and what stood
 * at `path` before still stands.
 * @throws LP_FILE when the folder or the disk refuses; errors of the content's source pass through
 */
export async function writeFileAtomic(path: string, content: Content): Promise<void> {
  checkPath(path);
  const pieces = piecesOf(content);
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  const refuse = (error: unknown): never => {
    throw fileError(path, 'written', error);
  };
  const handle = await open(temporary, 'wx').catch(refuse);
  try {
    try {
      for await (const piece of pieces) await writeAll(handle, checkPiece(piece)).catch(refuse);
      await handle.sync().catch(refuse);
    } finally {
      await handle.close();
    }
    await rename(temporary, path).catch(refuse);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function piecesOf(content: Content): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof content === 'string') return [Buffer.from(content)];
  if (content instanceof Uint8Array) return [content];
  const { [Symbol.iterator]: all, [Symbol.asyncIterator]: each } = Object(content) as Partial<
    Iterable<unknown> & AsyncIterable<unknown>
  >;
  if (typeof all === 'function' || typeof each === 'function') return content;
  throw new LayerpeelError('LP_OPTION', `content is ${show(content)}; expected a string, a Uint8Array or pieces of bytes.`);
}

function checkPiece(piece: unknown): Uint8Array {
  if (piece instanceof Uint8Array) return piece;
  throw new LayerpeelError('LP_OPTION', `A piece of content is ${show(piece)}; expected a Uint8Array.`);
}

/** Writes all the bytes at the file's end or present position, however many pieces the system takes them in. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(bytes.length - done, LONGEST_READ));
    done += bytesWritten;
  }
}

/** A system error as one sentence that names the path. */
export function fileError(path: string, verb: 'read' | 'written', error: unknown): unknown {
  if (error instanceof LayerpeelError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const reason =
    code === 'ENOENT'
      ? verb === 'read'
        ? 'it does not exist'
        : `the folder ${dirname(path)} does not exist`
      : code === 'EISDIR'
        ? 'it is a folder'
        : code === 'EACCES' || code === 'EPERM'
          ? 'permission is denied'
          : code === 'ENOSPC'
            ? 'the disk is full'
            : message;
  return new LayerpeelError('LP_FILE', `${path} cannot be ${verb}: ${reason}.`, { cause: error });
}
