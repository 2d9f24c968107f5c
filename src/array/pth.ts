/**
 * PyTorch's files, as `torch.save` writes them: a pickle of dictionaries, lists and tensors, and the storages that the tensors are
 * views of (dtype, offset, shape, strides). Since PyTorch 1.6 a zip, `<any>/data.pkl` beside `<any>/data/<key>`; before, and still on
 * demand, pickles one after another (a magic number, a version, the writer's system, the object, the keys of its storages), then for
 * each key the number of elements and the elements.
 * Source: torch/serialization.py, torch/_utils.py, and torch/_weights_only_unpickler.py, whose list of what may be named is kept but for
 * NumPy's numbers, which checkpoints have among their scores. None of it is run: values that are no tensors are not looked into.
 */
import { show } from '../check/options.js';
import { drive } from '../engine/run.js';
import { type InputFile, withFile } from './files.js';
import { MOST_EXPANSION } from './inflate.js';
import { kindOf, LEGACY, LOOKED_AT, PICKLE } from './kinds.js';
import { allocate, showShape } from './ndarray.js';
import { CutOff, Dictionary, List, type Meaning, unpickle } from './pickle.js';
import { eachRow, type Turns } from './rows.js';
import {
  type AnyArray,
  checkName,
  ELEMENTS,
  type Element,
  type Extent,
  extentOf,
  fileFault,
  type Located,
  locatedIn,
  pick,
  readLocated,
  type Stored,
  storedBytes,
  storedSize,
} from './stored.js';
import { locateMember, openZip } from './zip.js';

export interface PyTorchTensors {
  /** Floats as `NDArray`, integers and bool as `{ shape, data: Int32Array }`, or of 64 bits where one is beyond int32. */
  readonly tensors: Record<string, AnyArray>;
  /** What the tensors are that are left out, since they are not read here (such as `sparse` or `complex64`), by name. */
  readonly unsupported: Record<string, string>;
}

/**
 * Reads every tensor of a file of PyTorch, zipped or not; float16 and bfloat16 are widened to float32. Tensors are named by their keys,
 * joined by dots (`state_dict.fc.weight`, `optimizer.state.0.exp_avg`), entries of lists by their index, and one by itself `tensor`.
 * Nothing is run: a file that holds other objects than those of `torch.load(path, weights_only=True)` is refused.
 * @throws LP_FILE for a missing, truncated, malformed or unsupported file
 */
export const readPth = (path: string): Promise<PyTorchTensors> =>
  withFile(path, async (file) => {
    const checkpoint = await openCheckpoint(file);
    const all = [...checkpoint.tensors].map(([name, value]) => [checkName(name, path), value] as const);
    const located: [string, Located][] = [];
    for (const [name, tensor] of all) {
      if (isElement(tensor.dtype)) located.push([name, await locate(file, checkpoint, name, tensor)]);
    }
    const claimed = located.reduce((sum, [, { stored }]) => sum + storedBytes(stored), 0);
    if (claimed > MOST_EXPANSION * file.size) throw tooMuch(path, claimed, file);
    const tensors: [string, AnyArray][] = [];
    for (const [name, one] of located) tensors.push([name, await readLocated(one)]);
    const unsupported = all.filter(([, { dtype }]) => !isElement(dtype)).map(([name, { dtype }]) => [name, dtype]);
    return { tensors: Object.fromEntries(tensors), unsupported: Object.fromEntries(unsupported) };
  });

/** The tensor of that name in a file of PyTorch, or the only one. */
export async function locatePth(file: InputFile, name: string | undefined): Promise<Located> {
  const checkpoint = await openCheckpoint(file);
  const [chosen, tensor] = pick(checkpoint.tensors, name, file.path);
  return locate(file, checkpoint, chosen, tensor);
}

/** Memory that tensors are views of. */
class Storage {
  constructor(
    readonly key: string,
    readonly dtype: string,
    /** In bytes. */
    readonly elementSize: number,
    readonly size: number,
  ) {}
}

/** A tensor as the pickle says it; `offset` and `strides` count elements. One that is not read has a name of its kind as dtype. */
class Tensor {
  constructor(
    readonly dtype: string,
    readonly storage?: Storage,
    readonly offset = 0,
    readonly shape: readonly number[] = [],
    readonly strides: readonly number[] = [],
  ) {}
}

const isElement = (dtype: string): dtype is Element => Object.hasOwn(ELEMENTS, dtype);

interface Checkpoint {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly littleEndian: boolean;
  /** The bytes of a storage. */
  extent(storage: Storage, where: string): Promise<Extent>;
}

const EXPECTED = 'a file that torch.save wrote';

async function openCheckpoint(file: InputFile): Promise<Checkpoint> {
  const head = await file.head(LOOKED_AT);
  const text = Buffer.from(head).toString('latin1');
  if (text.startsWith('PK')) return openZipped(file, head);
  if (LEGACY.some((begin) => text.startsWith(begin))) return openLegacy(file);
  throw fileFault(file.path, `${kindOf(head) ?? 'it does not begin as a file of PyTorch does'}. Expected ${EXPECTED}.`);
}

/* The zip */

async function openZipped(file: InputFile, head: Uint8Array): Promise<Checkpoint> {
  const zip = await openZip(file, EXPECTED);
  const entries = new Map(zip.entries.map(({ name, entry }) => [name, entry]));
  if (entries.size < zip.entries.length) throw fileFault(file.path, 'two of its members have one name.');
  const [pickle, ...more] = [...entries.keys()].filter((name) => PICKLE.test(name));
  if (pickle === undefined)
    throw fileFault(file.path, `${kindOf(head) ?? 'it is a zip without a data.pkl'}. Expected ${EXPECTED}.`);
  if (more.length > 0) throw fileFault(file.path, `it holds ${pickle} and ${more[0]}; expected one of them.`);
  const folder = pickle.slice(0, -'data.pkl'.length);
  if (entries.has(`${folder}constants.pkl`)) {
    throw fileFault(
      file.path,
      'it is a program of TorchScript, which is not run here; in Python, torch.save(torch.jit.load(path).state_dict(), other) saves its tensors.',
    );
  }
  const member = (name: string, where = file.path): Promise<Extent> => {
    const entry = entries.get(folder + name);
    if (!entry) throw fileFault(where, `its member ${folder}${name} is missing.`);
    // Without checksums (torch.serialization.set_crc32_options) all of them are zero.
    return locateMember(file, zip, entry, where, 'torch.save', entry.crc32 !== 0);
  };
  const whole = async (name: string): Promise<Uint8Array> => {
    const extent = await member(name);
    if (extent.size > LONGEST_PICKLE) throw tooLong(file);
    const bytes = new Uint8Array(extent.size);
    const pass = await extent.begin(0);
    await pass.fill(bytes).finally(pass.close);
    return bytes;
  };
  const order = entries.has(`${folder}byteorder`) ? Buffer.from(await whole('byteorder')).toString() : 'little';
  if (order !== 'little' && order !== 'big') throw fileFault(file.path, 'its byteorder is neither little nor big.');
  const tensors = tensorsOf(readPickle(await whole('data.pkl'), file.path), file.path);
  return { tensors, littleEndian: order === 'little', extent: ({ key }, where) => member(`data/${key}`, where) };
}

function readPickle(bytes: Uint8Array, where: string): unknown {
  try {
    return unpickle(bytes, 0, meaning(where), where).value;
  } catch (error) {
    throw error instanceof CutOff ? cutOff(where) : error;
  }
}

/* The older form */

/** Bytes of the longest pickle that is read, besides its tensors. */
const LONGEST_PICKLE = 2 ** 26;
/** So much of a file is read at first for its pickles, whose length it does not tell. */
const FIRST_READ = 2 ** 18;
const VERSION = 1001;

async function openLegacy(file: InputFile): Promise<Checkpoint> {
  for (let length = FIRST_READ; ; length *= 8) {
    const bytes = await file.head(Math.min(length, LONGEST_PICKLE));
    try {
      return await readLegacy(file, bytes);
    } catch (error) {
      if (!(error instanceof CutOff)) throw error;
      if (bytes.length === file.size) throw cutOff(file.path);
      if (length >= LONGEST_PICKLE) throw tooLong(file);
    }
  }
}

/** @throws CutOff where the pickles reach over `bytes` */
async function readLegacy(file: InputFile, bytes: Uint8Array): Promise<Checkpoint> {
  let at = 0;
  const storages = new Map<string, Storage>();
  const next = (): unknown => {
    const { value, end } = unpickle(bytes, at, meaning(file.path, storages), file.path);
    at = end;
    return value;
  };
  next(); // the magic number, which has been seen
  const version = next();
  if (version !== VERSION) throw fileFault(file.path, `it is of version ${show(version)} of PyTorch's files; expected ${VERSION}.`);
  next(); // the writer's system: whatever its byte order, elements are written little-endian
  const tensors = tensorsOf(next(), file.path);
  const keys = next();
  if (!(keys instanceof List)) throw malformed(file.path, 'the keys of its storages are no list');
  const starts = new Map<string, number>();
  const count = new Uint8Array(8);
  for (const key of keys.items) {
    const storage = storages.get(key as string);
    if (!storage || starts.has(storage.key)) throw malformed(file.path, 'it lists a storage twice, or one that no tensor has');
    const { elementSize, size } = storage;
    if (at + count.length + size > file.size) {
      throw fileFault(
        file.path,
        `its storage ${storage.key} of ${size} bytes ends behind the file's ${file.size}; it is truncated.`,
      );
    }
    await file.readAt(at, count);
    at += count.length;
    if (new DataView(count.buffer).getBigInt64(0, true) * BigInt(elementSize) !== BigInt(size)) {
      throw malformed(file.path, `its storage ${storage.key} has another length than its tensors say`);
    }
    starts.set(storage.key, at);
    at += size;
  }
  return {
    tensors,
    littleEndian: true,
    async extent({ key, size }, where) {
      const start = starts.get(key);
      if (start === undefined) throw fileFault(where, `its storage ${key} is missing.`);
      return extentOf(file, start, size);
    },
  };
}

const cutOff = (where: string) => fileFault(where, 'its pickle is cut off; the file is truncated or damaged.');

const tooLong = ({ path }: InputFile) =>
  fileFault(path, `its pickle is longer than ${LONGEST_PICKLE} bytes; expected less beside tensors.`);

const tooMuch = (where: string, claimed: number, file: InputFile) =>
  fileFault(where, `it claims ${claimed} bytes, more than a file of ${file.size} bytes can hold.`);

const malformed = (where: string, fault: string) => fileFault(where, `its pickle is malformed: ${fault}.`);

/* What pickles may name */

/** Stands for an object that is no tensor and holds none. */
const OTHER = Symbol('an object');
/** What an array of NumPy is called in the place of a dtype. */
const NDARRAY = 'ndarray';

/** Something that is named; it may be called where `call` is there. A call that cannot be made so gives undefined. */
interface Global {
  readonly path: string;
  readonly call: ((args: readonly unknown[]) => unknown) | undefined;
}

/** Storages by the name of their class: the elements' dtype, and the size of one. */
const STORAGES: Readonly<Record<string, readonly [dtype: string, size: number]>> = {
  Double: ['float64', 8],
  Float: ['float32', 4],
  Half: ['float16', 2],
  BFloat16: ['bfloat16', 2],
  Long: ['int64', 8],
  Int: ['int32', 4],
  Short: ['int16', 2],
  Char: ['int8', 1],
  Byte: ['uint8', 1],
  Bool: ['bool', 1],
  ComplexFloat: ['complex64', 8],
  ComplexDouble: ['complex128', 16],
  QInt8: ['quantized', 1],
  QUInt8: ['quantized', 1],
  QInt32: ['quantized', 4],
  QUInt4x2: ['quantized', 1],
  QUInt2x4: ['quantized', 1],
  Untyped: ['uint8', 1],
};
const STORAGE = /^torch\.(?:cuda\.|storage\.)?_?(\w+)Storage$/;
const DTYPE = /^torch\.((?:bfloat|float|complex|quint|qint|uint|int|bits)\d\w*|bool)$/;
const QUANTIZER = /^torch\.per_(?:tensor|channel)_\w+$/;

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const areCounts = (value: unknown): value is readonly number[] => Array.isArray(value) && value.every(isCount);

/** A view of a storage, unless something else was given. */
function rebuild([storage, offset, shape, strides]: readonly unknown[], dtype?: string): Tensor | undefined {
  if (!(storage instanceof Storage) || !isCount(offset) || !areCounts(shape) || !areCounts(strides)) return undefined;
  return shape.length === strides.length ? new Tensor(dtype ?? storage.dtype, storage, offset, shape, strides) : undefined;
}

/** A view, or one of which PyTorch computes −x when it is read. */
function rebuildMarked(args: readonly unknown[], metadata: unknown, dtype?: string): Tensor | undefined {
  const marks = metadata instanceof Dictionary ? metadata.entries : [];
  return rebuild(args, marks.some(([key, value]) => key === 'neg' && value === true) ? 'negated' : dtype);
}

const unread = (kind: string) => () => new Tensor(kind);
const first = ([value]: readonly unknown[]): unknown => value;
const other = (): unknown => OTHER;

/** Dictionaries, of pairs or of another one. */
function dictionary([given]: readonly unknown[]): Dictionary | undefined {
  const made = new Dictionary();
  const pairs =
    given instanceof Dictionary ? given.entries : given instanceof List ? given.items : given === undefined ? [] : [given];
  for (const each of pairs) {
    const pair = each instanceof List ? each.items : each;
    if (!Array.isArray(pair) || pair.length !== 2) return undefined;
    made.entries.push([pair[0], pair[1]]);
  }
  return made;
}

const REBUILD: Readonly<Record<string, Global['call']>> = {
  'torch._utils._rebuild_tensor': rebuild,
  'torch._utils._rebuild_tensor_v2': (args) => rebuildMarked(args, args[6]),
  'torch._utils._rebuild_tensor_v3': (args) => {
    const dtype = DTYPE.exec(pathOf(args[6]))?.[1];
    return dtype && rebuildMarked(args, args[7], dtype);
  },
  'torch._utils._rebuild_parameter': first,
  'torch._utils._rebuild_parameter_with_state': first,
  'torch._utils._rebuild_device_tensor_from_cpu_tensor': first,
  'torch._utils._rebuild_qtensor': unread('quantized'),
  'torch._utils._rebuild_sparse_tensor': unread('sparse'),
  'torch._utils._rebuild_nested_tensor': unread('nested'),
  'torch._utils._rebuild_meta_tensor_no_storage': unread('meta'),
};

const CALLS: Readonly<Record<string, Global['call']>> = {
  ...REBUILD,
  // A tensor with attributes, which are left out.
  'torch._tensor._rebuild_from_type_v2': ([how, , args]) =>
    Array.isArray(args) && Object.hasOwn(REBUILD, pathOf(how)) ? REBUILD[pathOf(how)]?.(args) : undefined,
  'torch.nn.parameter.Parameter': undefined,
  'torch.Tensor': undefined,
  'collections.OrderedDict': dictionary,
  'collections.Counter': dictionary,
  'torch.Size': first,
  'torch.device': other,
  'torch.serialization._get_layout': other,
  '_codecs.encode': other,
  'builtins.bytearray': other,
  'builtins.complex': other,
  'builtins.set': ([items = new List()]) => items,
  'numpy.dtype': other,
  'numpy.core.multiarray.scalar': other,
  'numpy._core.multiarray.scalar': other,
  'numpy.core.multiarray._reconstruct': unread(NDARRAY),
  'numpy._core.multiarray._reconstruct': unread(NDARRAY),
  'numpy.ndarray': undefined,
};

const pathOf = (value: unknown): string => (isGlobal(value) ? value.path : '');
const isGlobal = (value: unknown): value is Global => typeof value === 'object' && value !== null && 'path' in value;

/** @param storages where those that the pickle names are kept, by their keys */
function meaning(where: string, storages = new Map<string, Storage>()): Meaning {
  const refused = (wish: string) =>
    fileFault(
      where,
      `its pickle wants to ${wish}, and nothing of a pickle is run here. If you trust it, save its tensors alone in Python: torch.save(model.state_dict(), path) of a model, torch.save(checkpoint['state_dict'], path) of a checkpoint.`,
    );
  return {
    refused,
    global(path) {
      if (Object.hasOwn(CALLS, path)) return { path, call: CALLS[path] } satisfies Global;
      if (DTYPE.test(path) || QUANTIZER.test(path) || storageOf(path)) return { path, call: undefined } satisfies Global;
      throw refused(`use ${/^[\w.]{1,200}$/.test(path) ? path : JSON.stringify(path.slice(0, 200))}`);
    },
    call(what, args) {
      const made = isGlobal(what) ? what.call?.(args) : undefined;
      if (made === undefined) throw refused(`call ${pathOf(what) || 'an object'} in a way that torch.save does not`);
      return made;
    },
    build(object) {
      const attributes = object === OTHER || object instanceof Dictionary;
      if (attributes || (object instanceof Tensor && object.dtype === NDARRAY)) return object; // without them
      throw refused('give an object its state (BUILD)');
    },
    persistent(id) {
      const [kind, type, key, , count, view] = Array.isArray(id) ? id : [];
      const [dtype, elementSize] = storageOf(pathOf(type)) ?? [];
      if (kind !== 'storage' || dtype === undefined || elementSize === undefined || typeof key !== 'string' || !isCount(count)) {
        throw malformed(where, 'it names something that is no storage');
      }
      if (view !== undefined && view !== null) {
        throw fileFault(where, 'it holds views of storages, as PyTorch wrote before 0.4; load and save it again with a later one.');
      }
      const storage = storages.get(key) ?? new Storage(key, dtype, elementSize, count * elementSize);
      storages.set(key, storage);
      return storage;
    },
  };
}

function storageOf(path: string): readonly [dtype: string, size: number] | undefined {
  const name = STORAGE.exec(path)?.[1] ?? '';
  return Object.hasOwn(STORAGES, name) ? STORAGES[name] : undefined;
}

/* The names of tensors */

/** Containers within containers; checkpoints have a few. */
const DEEPEST = 100;
/** Values and the characters of their names, all together: a list may stand in another one many times, and that again. */
const MOST_PLACES = 2 ** 24;
const BY_ITSELF = 'tensor';

/** The tensors that an object holds, by the keys that lead to them. */
function tensorsOf(root: unknown, where: string): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  let length = 0;
  const visit = (value: unknown, name: string, depth: number): void => {
    if (value instanceof Tensor) {
      if (tensors.has(name)) throw fileFault(where, `two of its tensors are named ${show(name)}.`);
      tensors.set(name, value);
      return;
    }
    const places =
      value instanceof Dictionary
        ? latest(value)
        : value instanceof List
          ? value.items.entries()
          : Array.isArray(value)
            ? value.entries()
            : [];
    if (depth > DEEPEST) throw fileFault(where, `it has more than ${DEEPEST} lists or dictionaries within each other.`);
    for (const [key, inner] of places) {
      const next = typeof inner === 'object' && inner !== null ? (depth > 0 ? `${name}.` : '') + showKey(key) : '';
      length += next.length + 1;
      if (length > MOST_PLACES) throw fileFault(where, `the names of its values have more than ${MOST_PLACES} characters in all.`);
      if (next !== '') visit(inner, next, depth + 1);
    }
  };
  if (root instanceof Tensor) return tensors.set(BY_ITSELF, root);
  visit(root, '', 0);
  return tensors;
}

/** Entries of a dictionary, of which a later one replaces an earlier one of the same key. */
const latest = ({ entries }: Dictionary): Map<unknown, unknown> => new Map(entries);

/** A key as names have it: texts as they are, numbers in digits, True, False and None as Python writes them; no others. */
function showKey(key: unknown): string {
  if (key === true) return 'True';
  if (key === false) return 'False';
  if (key === null) return 'None';
  return typeof key === 'string' || typeof key === 'number' || typeof key === 'bigint' ? String(key) : '…';
}

/* Elements */

/** Kinds of tensors that are not read, and what makes them so; others are converted by `tensor.float()`. */
const ADVICE: Readonly<Record<string, string>> = {
  sparse: 'tensor.to_dense()',
  quantized: 'tensor.dequantize()',
  complex64: 'torch.view_as_real(tensor)',
  complex128: 'torch.view_as_real(tensor)',
  nested: 'tensor.to_padded_tensor(0)',
  negated: 'tensor.resolve_neg()',
  [NDARRAY]: 'torch.from_numpy(array)',
};

async function locate(file: InputFile, { littleEndian, extent }: Checkpoint, name: string, tensor: Tensor): Promise<Located> {
  const where = `${file.path}:${name}`;
  const { dtype, storage, shape, strides } = tensor;
  if (dtype === 'meta') throw fileFault(where, 'it was on the device meta, where tensors have no elements to save.');
  if (!isElement(dtype) || !storage) {
    throw fileFault(
      where,
      `it is ${dtype}; expected floats of 16, 32 or 64 bits, integers or bool (${ADVICE[dtype] ?? 'tensor.float()'} converts).`,
    );
  }
  const { size } = ELEMENTS[dtype];
  const elements = storedSize(shape, where);
  if (elements * size > MOST_EXPANSION * file.size) throw tooMuch(where, elements * size, file);
  const span = elements === 0 ? 0 : 1 + shape.reduce((sum, count, d) => sum + (count - 1) * (strides[d] as number), 0);
  const bytes = elements === 0 ? extentOf(file, 0, 0) : await extent(storage, where);
  const offset = elements === 0 ? 0 : tensor.offset * size;
  if (offset + span * size > bytes.size) {
    throw fileFault(
      where,
      `shape ${showShape(shape)} of ${dtype} reaches to byte ${offset + span * size} of its storage, which has ${bytes.size}.`,
    );
  }
  const stored: Stored = { where, shape, element: dtype, littleEndian, fortran: false, offset };
  if (isContiguous(shape, strides)) return locatedIn(bytes, stored);
  if (shape.length === 2 && isContiguous(shape.toReversed(), strides.toReversed()))
    return locatedIn(bytes, { ...stored, fortran: true });
  return gathered(bytes, stored, strides, span * size);
}

/** Whether elements follow each other, the last index running fastest. */
function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let step = 1;
  return (
    shape.includes(0) ||
    shape.every((_, k) => {
      const d = shape.length - 1 - k;
      const count = shape[d] as number;
      const fits = count === 1 || strides[d] === step;
      step *= count;
      return fits;
    })
  );
}

/** An array whose elements lie in another order or apart; they are put in order in memory, of which `span` bytes of the file are read. */
const gathered = (extent: Extent, stored: Stored, strides: readonly number[], span: number): Located => ({
  stored,
  async begin() {
    const bytes = room(span, stored.where);
    const pass = await extent.begin(stored.offset);
    await pass.fill(bytes).finally(pass.close);
    const elements = await drive(inOrder(bytes, stored, strides));
    let at = 0;
    return {
      async fill(target) {
        target.set(elements.subarray(at, at + target.length));
        at += target.length;
      },
      close() {},
    };
  },
});

const room = (size: number, where: string): Uint8Array => {
  const { buffer } = allocate('int32', Math.ceil(size / 4), where, 'save tensor.contiguous(), which is read in pieces');
  return new Uint8Array(buffer, 0, size);
};

/** The elements in the order of their indices. */
function* inOrder(bytes: Uint8Array, { shape, element, where }: Stored, strides: readonly number[]): Turns<Uint8Array> {
  const { size } = ELEMENTS[element];
  const [outer, columns] = [shape.slice(0, -1), shape.at(-1) as number];
  const rows = storedSize(outer, where);
  const result = room(rows * columns * size, where);
  const step = (strides.at(-1) as number) * size;
  const index = outer.map(() => 0);
  let begin = 0;
  yield* eachRow(rows, columns, (_, offset) => {
    for (let j = 0; j < columns; j++) {
      for (let b = 0; b < size; b++) result[(offset + j) * size + b] = bytes[begin + j * step + b] as number;
    }
    for (let d = outer.length - 1; d >= 0; d--) {
      const [count, stride] = [outer[d] as number, (strides[d] as number) * size];
      index[d] = (index[d] as number) + 1;
      begin += stride;
      if ((index[d] as number) < count) break;
      index[d] = 0;
      begin -= count * stride;
    }
  });
  return result;
}
