/**
 * NumPy's `.npz`: a zip of `.npy` members, stored or deflated, ZIP64 where large.
 * The zip itself is read as `zip.ts` says, and written by yazl, loaded when first used.
 */
import { type Readable, Readable as Stream } from 'node:stream';
import type { Entry } from 'yauzl';
import { LayerpeelError } from '../check/errors.js';
import { checkBoolean, checkKeys, checkList, checkObject, checkPath, checkText, entry, option } from '../check/options.js';
import { type InputFile, withFile, writeFileAtomic } from './files.js';
import { MOST_EXPANSION } from './inflate.js';
import { PICKLE, PYTORCH } from './kinds.js';
import { npyLayout, npyPieces } from './npy.js';
import { type AnyArray, checkName, fileFault, type Located, locatedIn, pick, readLocated } from './stored.js';
import { locateMember, openZip, type Zip } from './zip.js';

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
    const { zip, members: all } = await openArrays(file);
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
    named(checkLength(name), (alias) => zip.addReadStreamLazy(alias, details, (done) => done(null, Stream.from(parts))));
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
function nameMembers(zip: object): (name: string, add: (alias: string) => void) => void {
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
  withFile(path, async (file) => (await openArrays(file)).members.map(({ name }) => name));

/** The array of that name in a `.npz` file, or the only one. */
export async function locateNpz(file: InputFile, name: string | undefined): Promise<Located> {
  const { zip, members } = await openArrays(file);
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
async function openArrays(file: InputFile): Promise<{ zip: Zip; members: readonly Member[] }> {
  const zip = await openZip(file, 'a zip of .npy members, as numpy.savez writes');
  const members = zip.entries
    .filter(({ name }) => name.endsWith(EXTENSION))
    .map(({ name, entry }) => ({ name: name.slice(0, -EXTENSION.length), entry }));
  if (members.length === 0 && zip.entries.some(({ name }) => PICKLE.test(name))) throw fileFault(file.path, `${PYTORCH}.`);
  return { zip, members };
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

async function locate(file: InputFile, zip: Zip, name: string, entry: Entry): Promise<Located> {
  const where = `${file.path}:${name}`;
  const member = await locateMember(file, zip, entry, where, 'numpy.savez');
  const head = await member.begin(0);
  const stored = await npyLayout(head.fill, member.size, where).finally(head.close);
  return locatedIn(member, stored);
}
