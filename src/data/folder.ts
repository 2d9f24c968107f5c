/** Images in folders, `<path>/<split>/<class>/<image>` or `<path>/<class>/<image>`: which there are. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileFault } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';
import { nearest } from '../check/options.js';
import { type Listed, type Listing, mayBeImage } from './listed.js';
import { type CheckedSource, checkSignal, type LoadControl, linesOf } from './reading.js';

/** @throws LP_FILE for folders that are not as expected, LP_ABORTED */
export async function listFolder(source: CheckedSource, control: LoadControl): Promise<Listing> {
  const folder = source.split === false ? source.path : join(source.path, source.split);
  if (source.split !== false && !existsSync(folder) && existsSync(source.path)) {
    throw fileFault(
      folder,
      'it does not exist; expected a folder of class folders with images in them. ' +
        "Name one that does as split, or pass split: false where the classes' folders have none above them.",
    );
  }
  return listImages(folder, source, control);
}

async function listImages(folder: string, source: CheckedSource, control: LoadControl): Promise<Listing> {
  const entries = entriesOf(folder);
  const folders = entries.filter((entry) => isFolder(join(folder, entry))).sort();
  // Images that stand in the folder itself are one class, by the folder's name.
  const flat = source.split === false && !source.classes && folders.length === 0 && entries.some(mayBeImage);
  const found = flat ? [basename(resolve(folder))] : folders;
  if (found.length === 0) {
    const flat = entries.some(mayBeImage)
      ? " Which classes the images in it are of, a list can say (kind: 'list'), a path and a label a line."
      : '';
    throw fileFault(folder, `it has no folders; expected one for each class, with its images.${flat}`);
  }
  const taken = source.take === undefined ? found : await takenOf(source.take, folder, found, source.classes);
  const classes = source.classes ?? taken;
  checkClasses(folder, taken, classes);
  // A test set may lack a class of its training set, whose number then stays free.
  const mayLack = source.classes !== undefined && source.split !== 'train';
  const hash = createHash('sha256').update(source.orient ? 'oriented\n' : '');
  const known = new Set(found);
  const files: Listed[] = [];
  const others: string[] = [];
  for (const [label, name] of classes.entries()) {
    if (!known.has(name)) {
      if (mayLack) continue;
      throw fileFault(join(folder, name), 'it does not exist; expected the images of this class.');
    }
    const before = files.length;
    const own = flat ? folder : join(folder, name);
    for (const [k, entry] of entriesOf(own).sort().entries()) {
      // Asked on this thread, files answer in a fifth of the time that other threads take; now and then those get a turn.
      if (k % 1000 === 0) {
        await setImmediate();
        checkSignal(control);
      }
      const path = join(own, entry);
      const stat = statSync(path, { throwIfNoEntry: false });
      if (!stat?.isFile()) throw fileFault(path, 'it is no file; expected the images of a class and nothing else.');
      if (source.onOther === 'skip' && !mayBeImage(entry)) {
        others.push(path);
        continue;
      }
      hash.update(`${JSON.stringify([name, entry])} ${stat.size} ${stat.mtimeMs}\n`);
      files.push({ path, label });
    }
    if (files.length > before || mayLack) continue;
    const few = others.length > 0 ? 'it has no image' : 'it is empty';
    throw fileFault(join(folder, name), `${few}; expected the images of a class.`);
  }
  if (files.length === 0) throw fileFault(folder, 'none of its class folders has an image.');
  return { files, others, classes, digest: hash.digest('hex'), where: folder };
}

/** What systems and programs leave in folders, in small letters; of a `.` at the beginning all that has one. */
const LEFT_BEHIND = new Set([
  ...['thumbs.db', 'ehthumbs.db', 'desktop.ini', 'icon\r', '$recycle.bin', 'system volume information'],
  ...['@eadir', '#recycle', '__macosx', 'lost+found'],
]);

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What a folder holds, but for what is hidden in it. */
function entriesOf(folder: string): string[] {
  let names: Buffer[];
  try {
    names = readdirSync(folder, 'buffer');
  } catch (cause) {
    const fault = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'it does not exist' : (cause as Error).message;
    throw new LayerpeelError('LP_FILE', `${folder}: ${fault}; expected a folder of class folders with images in them.`, { cause });
  }
  return names.flatMap((bytes) => {
    if (bytes[0] === 0x2e) return [];
    let name: string;
    try {
      name = UTF8.decode(bytes);
    } catch {
      throw fileFault(join(folder, bytes.toString('latin1')), 'its name is not in UTF-8 (here shown as Latin-1); rename it.');
    }
    return LEFT_BEHIND.has(name.toLowerCase()) ? [] : [name];
  });
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const fault = code === 'ENOENT' ? 'it is a link to what does not exist' : `it cannot be looked at (${message})`;
    throw new LayerpeelError(
      'LP_FILE',
      `${path}: ${fault}. Mend or remove it: it may be a class, and others would take its number.`,
      {
        cause,
      },
    );
  }
}

/**
 * The class folders to take.
 * @param take their names, or the file that has them
 * @param classes of a training set that took them, of which others may lack some
 */
async function takenOf(
  take: string | readonly string[],
  folder: string,
  found: readonly string[],
  classes: readonly string[] | undefined,
): Promise<readonly string[]> {
  if (classes) return found.filter((name) => classes.includes(name));
  const lines = typeof take === 'string' ? await linesOf(take) : take;
  const where = (line: number) => (typeof take === 'string' ? `${take}, line ${line + 1}` : `take[${line}]`);
  const known = new Set(found);
  const lineOf = new Map<string, number>();
  for (const [line, name] of lines.entries()) {
    if (name === '') continue;
    const before = lineOf.get(name);
    if (before !== undefined) throw fileFault(where(line), `it names ${name} again, as ${where(before)} does; expected it once.`);
    if (!known.has(name)) {
      const guess = nearest(name, found);
      const advice = guess ? `did you mean ${guess}?` : `expected the names of folders, such as ${found.slice(0, 5).join(', ')}.`;
      throw fileFault(where(line), `${folder} has no folder ${name.slice(0, 100)}; ${advice}`);
    }
    lineOf.set(name, line);
  }
  if (lineOf.size === 0) throw fileFault(String(take), 'it names no class; expected the name of a class folder a line.');
  return [...lineOf.keys()];
}

function checkClasses(folder: string, found: readonly string[], classes: readonly string[]): void {
  const extra = found.find((name) => !classes.includes(name));
  if (extra === undefined) return;
  const guess = nearest(extra, classes);
  throw fileFault(
    join(folder, extra),
    `it is the folder of none of the ${classes.length} classes; ${guess ? `did you mean ${guess}?` : `expected ${classes.slice(0, 20).join(', ')}.`}`,
  );
}
