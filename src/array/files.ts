/**
 * Files: reading at any position with errors that name the file, and writing whole or not at all.
 */
import { randomBytes } from 'node:crypto';
import { close, constants, fstat, open as openDescriptor, read, type Stats } from 'node:fs';
import { access, type FileHandle, mkdir, open, readdir, readlink, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { promisify, types } from 'node:util';
import { LayerpeelError } from '../check/errors.js';
import { checkPath, show } from '../check/options.js';

/** The longest single read: Linux moves at most 2 GiB at once, and 1 GiB keeps every platform's counters within range. */
const LONGEST_READ = 2 ** 30;

/** Fills the whole target with the bytes that come next. */
export type Fill = (target: Uint8Array) => Promise<void>;

/** Closes the files that nobody can read any more and nobody has closed. (Node's own handles make this an error.) */
const forgotten = new FinalizationRegistry<number>((descriptor) => close(descriptor, () => {}));

const [opened, statOf, readFrom, closed] = [promisify(openDescriptor), promisify(fstat), promisify(read), promisify(close)];

/**
 * A regular file opened for reading. Its size is known, so that what a header claims can be compared before memory is asked for.
 * What is no regular file is refused without waiting for it: a pipe would hold the thread that opens it until somebody writes.
 */
export class InputFile {
  private open = true;
  /** What is being read: only after it may the descriptor go, whose number the next file gets. */
  private readonly reading = new Set<Promise<unknown>>();

  private constructor(
    readonly path: string,
    readonly size: number,
    private readonly descriptor: number,
  ) {
    forgotten.register(this, descriptor, this);
  }

  static async open(path: string): Promise<InputFile> {
    if (typeof path !== 'string') {
      throw new LayerpeelError('LP_FILE', `${showPath(path)} cannot be read: expected the path of a file.`);
    }
    checkPath(path);
    let descriptor: number | undefined;
    try {
      descriptor = await opened(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
      const stat = await statOf(descriptor);
      if (!stat.isFile()) throw new LayerpeelError('LP_FILE', `${path} is not a regular file; expected the path of a file.`);
      return new InputFile(path, stat.size, descriptor);
    } catch (error) {
      if (descriptor !== undefined) await closed(descriptor);
      throw fileError(path, 'read', error);
    }
  }

  /** Fills `target` with the bytes from `position` on. */
  async readAt(position: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; ) {
      if (!this.open) throw new LayerpeelError('LP_FILE', `${this.path} cannot be read: it has been closed.`);
      const length = Math.min(target.length - done, LONGEST_READ);
      const piece = readFrom(this.descriptor, target, done, length, position + done);
      this.reading.add(piece);
      const { bytesRead } = await piece
        .catch((error) => {
          throw fileError(this.path, 'read', error);
        })
        .finally(() => this.reading.delete(piece));
      if (bytesRead === 0) {
        throw new LayerpeelError(
          'LP_FILE',
          `${this.path} ended at byte ${position + done} while ${target.length - done} more were expected; was it changed meanwhile?`,
        );
      }
      done += bytesRead;
    }
  }

  /** The first bytes, as many as there are. */
  async head(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.min(length, this.size));
    await this.readAt(0, bytes);
    return bytes;
  }

  /** Reads on from `position`: each call fills its target with the bytes after those of the call before. */
  from(position: number): Fill {
    let next = position;
    return async (target) => {
      await this.readAt(next, target);
      next += target.length;
    };
  }

  async close(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    forgotten.unregister(this);
    await Promise.allSettled(this.reading);
    await closed(this.descriptor);
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

/** The bytes of a whole file. */
export const readWhole = (path: string): Promise<Buffer> =>
  withFile(path, async (file) => {
    const bytes = Buffer.alloc(file.size);
    await file.readAt(0, bytes);
    return bytes;
  });

/** The text of a whole file; empty where there is none. */
export async function textIfAny(path: string): Promise<string> {
  try {
    return (await readWhole(path)).toString();
  } catch (error) {
    if (isMissing(error)) return '';
    throw error;
  }
}

/** Whether that is why a file could not be read. */
export const isMissing = (error: unknown): boolean =>
  ((error as LayerpeelError).cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';

/**
 * Makes a folder and those above it; one that is there already will do. (`mkdir` of Node with `recursive` tries for ever where a
 * file system makes no folders and says of each that its parent is missing, as `/proc` does.)
 * @throws LP_FILE
 */
export async function makeFolder(path: string): Promise<void> {
  const refuse = (error: NodeJS.ErrnoException): never => {
    throw new LayerpeelError('LP_FILE', `The folder ${path} cannot be made: ${reasonOf(error)}.`, { cause: error });
  };
  const made = await mkdir(path).catch((error: NodeJS.ErrnoException) => error);
  if (made === undefined) return;
  if (made.code === 'EEXIST' && (await stat(path).catch(refuse)).isDirectory()) return;
  if (made.code !== 'ENOENT' || dirname(path) === path) refuse(made);
  await makeFolder(dirname(path));
  await mkdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') refuse(error); // somebody else was faster
  });
}

/** A path as messages have it, whatever it is. */
export const showPath = (path: unknown): string =>
  typeof path === 'string' ? path : path === undefined ? 'undefined' : show(path);

/** What a file is written from: text, bytes, or pieces of bytes as they come. */
export type Content = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

const TEMPORARY = /^\.layerpeel-[0-9a-f]{12}\.tmp$/;
/** Short, so that it may stand wherever its target may. */
const temporaryName = (): string => `.layerpeel-${randomBytes(6).toString('hex')}.tmp`;

export const isTemporary = (name: string): boolean => TEMPORARY.test(name);

/** Removes the temporary files that killed processes left in a folder where nobody else writes. */
export async function clearTemporaries(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (entry.isFile() && isTemporary(entry.name)) await rm(join(folder, entry.name), { force: true }).catch(() => {});
  }
}

/**
 * Writes a file whole or not at all: into a temporary file of the same folder, flushed to the disk and then renamed
 * over `path`. When anything fails, the content's own source included, the temporary file is removed and what stood
 * at `path` before still stands. A file that is replaced leaves its mode and, where the system allows it, its owner to the
 * new one; of a symbolic link the file that it leads to is written.
 * @throws LP_FILE when the folder or the disk refuses, for a file that may not be written, and for what is no regular file;
 *   errors of the content's source pass through
 */
export async function writeFileAtomic(path: string, content: Content): Promise<void> {
  checkPath(path);
  const pieces = piecesOf(content);
  const refuse = (error: unknown): never => {
    throw fileError(path, 'written', error);
  };
  const { target, before } = await whatStands(path).catch(refuse);
  const temporary = join(dirname(target), temporaryName());
  // Nobody reads along who could not read the file before.
  const handle = await open(temporary, 'wx', before && before.mode & 0o600).catch(refuse);
  try {
    try {
      if (before) await inherit(handle, before).catch(refuse);
      for await (const piece of pieces) await writeAll(handle, checkPiece(piece)).catch(refuse);
      await handle.sync().catch(refuse);
    } catch (error) {
      await handle.close().catch(() => {}); // what came first is told
      throw error;
    }
    await handle.close().catch(refuse);
    await rename(temporary, target).catch(refuse);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
}

/** The file that writing `path` replaces, links followed, and what it is now. */
async function whatStands(path: string): Promise<{ target: string; before?: Stats }> {
  const before = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  if (!before) {
    const link = await readlink(path).catch(() => undefined);
    return link === undefined ? { target: path } : whatStands(resolve(await realpath(dirname(path)), link));
  }
  if (before.isDirectory()) throw new LayerpeelError('LP_FILE', `${path} cannot be written: it is a folder.`);
  if (!before.isFile()) {
    throw new LayerpeelError(
      'LP_FILE',
      `${path} cannot be written: it is a device, a pipe or a socket, and files are written whole by replacing what stands there; give the path of a file.`,
    );
  }
  await access(path, constants.W_OK);
  return { target: await realpath(path), before };
}

async function inherit(handle: FileHandle, { mode, uid, gid }: Stats): Promise<void> {
  const own = await handle.stat();
  if (own.uid !== uid || own.gid !== gid) await handle.chown(uid, gid).catch(() => {}); // only the superuser may
  await handle.chmod(mode & 0o777);
}

function piecesOf(content: Content): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof content === 'string') return [Buffer.from(content)];
  if (types.isUint8Array(content)) return [content];
  const { [Symbol.iterator]: all, [Symbol.asyncIterator]: each } = Object(content) as Partial<
    Iterable<unknown> & AsyncIterable<unknown>
  >;
  if (typeof all === 'function' || typeof each === 'function') return content;
  throw new LayerpeelError('LP_OPTION', `content is ${show(content)}; expected a string, a Uint8Array or pieces of bytes.`);
}

function checkPiece(piece: unknown): Uint8Array {
  if (types.isUint8Array(piece)) return piece;
  throw new LayerpeelError('LP_OPTION', `A piece of content is ${show(piece)}; expected a Uint8Array.`);
}

/** Writes all the bytes at the file's end or present position, however many pieces the system takes them in. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(bytes.length - done, LONGEST_READ));
    done += bytesWritten;
  }
}

/** What the system says of files, in words. */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
  EROFS: 'its file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota of the disk is used up',
  EFBIG: 'it would be larger than files may be',
  EMFILE: 'too many files are open in this process (ulimit -n)',
  ENFILE: 'too many files are open on this machine',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is a file',
  ENAMETOOLONG: 'its name is too long',
  ELOOP: 'its symbolic links lead in a circle',
  EIO: 'the device reports an error',
};

/** Why the system refused, in words. */
export const reasonOf = ({ code = '', message }: NodeJS.ErrnoException): string =>
  Object.hasOwn(REASONS, code) ? (REASONS[code] as string) : message;

/** A system error as one sentence that names the path. */
export function fileError(path: string, verb: 'read' | 'written', error: unknown): unknown {
  if (error instanceof LayerpeelError) return error;
  const missing = verb === 'read' ? 'it does not exist' : `the folder ${dirname(path)} does not exist`;
  const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? missing : reasonOf(error as NodeJS.ErrnoException);
  return new LayerpeelError('LP_FILE', `${path} cannot be ${verb}: ${reason}.`, { cause: error });
}
