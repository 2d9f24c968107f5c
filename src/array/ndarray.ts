/**
 * Arrays: a shape and a contiguous row-major typed array. Any object of this form is accepted (a parsed `.npy`,
 * a contiguous scijs ndarray); everything that takes an array checks it here, before native memory is touched.
 */

import { totalmem } from 'node:os';
import { types } from 'node:util';
import { LayerpeelError } from '../check/errors.js';
import { show } from '../check/options.js';
import { memoryLimit } from '../engine/limits.js';
import type { DType, Float, Operand } from '../engine/load.js';

export type { DType, Float };

export interface NDArray<T extends Float = Float> {
  readonly shape: readonly number[];
  readonly data: T;
}

/** What is trained: features `[n, p]`, prototypes `[C, p]`, biases `[C]`, labels `[n]` with values in `0 … C−1`. */
export interface State<T extends Float = Float> {
  readonly features: NDArray<T>;
  readonly prototypes: NDArray<T>;
  readonly biases?: NDArray<T> | undefined;
  readonly labels: Int32Array;
}

/** A state whose shapes, types and labels have been checked. */
export interface CheckedState<A extends Operand = Float> {
  readonly features: A;
  readonly prototypes: A;
  readonly biases: A | undefined;
  readonly labels: Int32Array;
  /** Samples. */
  readonly samples: number;
  readonly classes: number;
  readonly dim: number;
  /** Samples of each class, `[C]`. */
  readonly counts: Int32Array;
  readonly dtype: DType;
}

/** The kind of a value as messages have it: `Float64Array`, `string`, `null`. */
export function describe(value: unknown): string {
  if (typeof value !== 'object' || value === null) return value === null ? 'null' : typeof value;
  const name: unknown = value.constructor?.name;
  return typeof name === 'string' && name !== '' ? name : 'an object';
}

/** How values become those of a typed array, as messages have it: only what neither throws nor makes other numbers of them. */
function conversion(values: unknown, to: 'Float64Array' | 'Int32Array'): string {
  const given = Array.isArray(values) ? values[0] : undefined;
  if (Array.isArray(given)) return ` (${to}.from(values.flat(Infinity)) converts)`;
  if (Buffer.isBuffer(values)) return '; a Buffer holds the bytes of numbers, not numbers: parseNpy reads those of a file';
  if (types.isBigInt64Array(values) || types.isBigUint64Array(values) || typeof given === 'bigint') {
    return ` (${to}.from(values, Number) converts)`;
  }
  if (types.isUint16Array(values)) {
    return ` (of integers ${to}.from(values) converts; bits of float16 it would not: write them as .npy, which readArray reads)`;
  }
  const fits = to === 'Int32Array' ? Number.isInteger : (value: unknown) => typeof value === 'number';
  const numbers = Array.isArray(values) || types.isTypedArray(values) ? (values as unknown[]) : undefined;
  return numbers?.every((value) => fits(value)) ? ` (${to}.from(values) converts)` : '';
}

/** `shape` as people read it: `[3, 4]`, of whatever it is made. */
export function showShape(shape: readonly unknown[]): string {
  const shown = Array.from(shape.slice(0, LONGEST_SHAPE), (extent) => (typeof extent === 'number' ? String(extent) : show(extent)));
  return `[${shown.join(', ')}${shape.length > LONGEST_SHAPE ? ', …' : ''}]`;
}
const LONGEST_SHAPE = 32;

/** As many as NumPy has. */
const MOST_DIMENSIONS = 64;

/** Number of elements of a shape; throws `LP_SHAPE` unless its entries are non-negative integers with a product that fits. */
export function sizeOf(shape: readonly number[], name: string): number {
  if (shape.length > MOST_DIMENSIONS) {
    throw new LayerpeelError('LP_SHAPE', `${name}.shape has ${shape.length} dimensions; expected at most ${MOST_DIMENSIONS}.`);
  }
  let size = 1;
  for (const extent of shape) {
    if (!Number.isInteger(extent) || extent < 0) {
      throw new LayerpeelError('LP_SHAPE', `${name}.shape is ${showShape(shape)}; every entry must be a non-negative integer.`);
    }
    size *= extent;
  }
  if (size > Number.MAX_SAFE_INTEGER) {
    throw new LayerpeelError('LP_SHAPE', `${name}.shape ${showShape(shape)} has more elements than can be addressed.`);
  }
  return size;
}

export const dtypeOf = (data: Float): DType => (types.isFloat32Array(data) ? 'float32' : 'float64');

/** The array in another dtype, or itself where it has that already. */
export const withDtype = (array: NDArray, dtype: DType): NDArray =>
  dtypeOf(array.data) === dtype
    ? array
    : { shape: array.shape, data: dtype === 'float32' ? Float32Array.from(array.data) : Float64Array.from(array.data) };

/** What is so small needs no asking. */
const SMALL = 2 ** 20;

/** Throws `LP_MEMORY` where `what` would need more bytes than this machine or its container has, which would end the process. */
export function checkRoom(bytes: number, what: string, advice = 'ask for less'): void {
  if (bytes < SMALL) return;
  const limit = memoryLimit();
  const limited = limit < totalmem();
  const room = limited ? Math.max(0, limit - process.memoryUsage.rss()) : totalmem();
  if (bytes <= room) return;
  const [needed, had, most] = [bytes, room, limit].map((count) => (count / 2 ** 30).toPrecision(3));
  const where = limited ? `this process may have ${most} GiB, of which ${had} GiB are left` : `this machine has ${had} GiB`;
  throw new LayerpeelError('LP_MEMORY', `${what} would take ${needed} GiB, but ${where}; ${advice}.`);
}

/** Lengths that a dtype can hold, with room for entries that are some times as long. */
export const scales = {
  float32: { min: 2 ** -126, max: 2 ** 123 },
  float64: { min: 2 ** -1022, max: 2 ** 1019 },
} as const;

/** Memory for so many elements. @throws LP_MEMORY */
export function allocate(dtype: DType | 'int32', size: number, what: string, advice = 'ask for less'): Float | Int32Array {
  checkRoom(size * (dtype === 'float64' ? 8 : 4), what, advice);
  try {
    return dtype === 'float64' ? new Float64Array(size) : dtype === 'float32' ? new Float32Array(size) : new Int32Array(size);
  } catch (cause) {
    throw new LayerpeelError('LP_MEMORY', `${what}: no memory for its ${size} elements of ${dtype}; ${advice}.`, { cause });
  }
}

/** Whether the memory behind a typed array is gone (its buffer was transferred). */
function isDetached(data: Float | Int32Array): boolean {
  // ArrayBuffer.prototype.detached exists from Node 21 on; a detached buffer cannot be viewed on any version.
  try {
    new Uint8Array(data.buffer, 0, 0);
    return false;
  } catch {
    return true;
  }
}

/** An array that has been checked: its elements, exactly as many as its shape says, or what stands for them on a device. */
export interface CheckedArray<A extends Operand = Float> {
  readonly shape: readonly number[];
  readonly data: A;
  readonly dtype: DType;
}

/**
 * Checks an array and returns its elements.
 * @param rank the number of dimensions expected; any when left out
 */
export function checkArray(array: unknown, name: string, rank?: number): CheckedArray {
  const { shape, data, stride, offset } = (array ?? {}) as {
    shape?: unknown;
    data?: unknown;
    stride?: unknown;
    offset?: unknown;
  };
  if (describe(array) === 'DeviceArray') {
    throw new LayerpeelError('LP_DEVICE', `${name} lies on a device, which this function cannot use; read() it first.`);
  }
  if (ArrayBuffer.isView(shape)) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `${name}.shape is ${describe(shape)}; expected a list of numbers (Array.from(shape, Number) converts).`,
    );
  }
  if (!Array.isArray(shape) || data === undefined) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `${name} is ${describe(array)}; expected { shape, data } with a Float32Array or Float64Array as data.`,
    );
  }
  if (!(types.isFloat32Array(data) || types.isFloat64Array(data))) {
    throw new LayerpeelError(
      'LP_DTYPE',
      `${name}.data is ${describe(data)}; expected Float32Array or Float64Array${conversion(data, 'Float64Array')}.`,
    );
  }
  if (isDetached(data)) {
    throw new LayerpeelError('LP_DETACHED', `${name}.data has been detached: its buffer was transferred. Pass a copy.`);
  }
  checkRank(shape, name, rank);
  const size = sizeOf(shape, name);
  const start = checkContiguous(shape, stride, offset, name);
  const dtype = dtypeOf(data);
  if (start === 0 && data.length === size) return { shape, data, dtype };
  if (start === 0 && offset === undefined) {
    throw new LayerpeelError('LP_SHAPE', `${name}.shape ${showShape(shape)} needs ${size} elements, but data has ${data.length}.`);
  }
  if (start + size > data.length) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `${name}.shape ${showShape(shape)} from offset ${start} needs ${start + size} elements, but data has ${data.length}.`,
    );
  }
  return { shape, data: data.subarray(start, start + size), dtype };
}

export function checkRank(shape: readonly number[], name: string, rank: number | undefined): void {
  if (rank === undefined || shape.length === rank) return;
  throw new LayerpeelError('LP_SHAPE', `${name}.shape is ${showShape(shape)}; expected ${rank} dimension${rank === 1 ? '' : 's'}.`);
}

/** @throws `LP_NOT_FINITE` naming the first element that is not a finite number */
export function checkFinite(data: Float, name: string): void {
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad === -1) return;
  throw new LayerpeelError('LP_NOT_FINITE', `${name}.data[${bad}] is ${data[bad]}; expected finite numbers.`);
}

/** A scijs ndarray also has `stride` and `offset`; accepted when they are those of a contiguous row-major array. */
function checkContiguous(shape: readonly number[], stride: unknown, offset: unknown, name: string): number {
  if (Array.isArray(stride)) {
    let expected = 1;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (shape[axis] !== 1 && stride[axis] !== expected) {
        throw new LayerpeelError(
          'LP_SHAPE',
          `${name} has strides ${showShape(stride)}; expected a contiguous row-major array (copy it first).`,
        );
      }
      expected *= shape[axis] ?? 1;
    }
  }
  if (offset === undefined) return 0;
  if (!Number.isInteger(offset) || (offset as number) < 0) {
    throw new LayerpeelError('LP_SHAPE', `${name}.offset is ${show(offset)}; expected a non-negative integer.`);
  }
  return offset as number;
}

export const isLeftOut = (value: unknown): value is undefined | null => value === undefined || value === null;

/** An array that may be left out. */
export const checkOptional = (array: unknown, name: string, rank: number): ReturnType<typeof checkArray> | undefined =>
  isLeftOut(array) ? undefined : checkArray(array, name, rank);

/** Checks a vector of labels in `0 … classes − 1`. An `NDArray`-like `{ shape: [n], data: Int32Array }` is taken too. */
export function checkLabelVector(labels: unknown, classes: number): Int32Array {
  const values = types.isInt32Array(labels) ? labels : (labels as { data?: unknown } | null | undefined)?.data;
  if (!types.isInt32Array(values)) {
    throw new LayerpeelError(
      'LP_LABEL',
      `labels are ${describe(values ?? labels)}; expected an Int32Array${conversion(values ?? labels, 'Int32Array')}.`,
    );
  }
  if (isDetached(values)) {
    throw new LayerpeelError('LP_DETACHED', 'labels have been detached: their buffer was transferred. Pass a copy.');
  }
  for (let i = 0; i < values.length; i++) {
    const label = values[i] as number;
    if (label >= 0 && label < classes) continue;
    throw new LayerpeelError('LP_LABEL', `labels[${i}] is ${label}; expected 0 … ${classes - 1}, as there are ${classes} classes.`);
  }
  return values;
}

/**
 * Checks labels, one a sample, and counts each class.
 * @param of whose rows they label
 */
export function checkLabels(
  labels: unknown,
  samples: number,
  classes: number,
  of = 'features',
): { labels: Int32Array; counts: Int32Array } {
  const values = checkLabelVector(labels, classes);
  if (values.length !== samples) {
    throw new LayerpeelError(
      'LP_LABEL',
      `labels have ${values.length} entries, but ${of} have ${samples} rows; expected one label a row.`,
    );
  }
  return { labels: values, counts: countLabels(values, classes) };
}

/** Samples of each class. */
export function countLabels(labels: Int32Array, classes: number): Int32Array {
  const counts = allocate('int32', classes, 'The sizes of classes') as Int32Array;
  for (const label of labels) counts[label] = (counts[label] as number) + 1;
  return counts;
}

/** The samples of each class, in their order. */
export function indicesByClass(labels: Int32Array, classes: number): Int32Array[] {
  const lists = Array.from(countLabels(labels, classes), (count) => new Int32Array(count));
  const filled = new Int32Array(classes);
  for (const [i, label] of labels.entries()) {
    (lists[label] as Int32Array)[filled[label] as number] = i;
    filled[label] = (filled[label] as number) + 1;
  }
  return lists;
}

/** Checks that arrays share one dtype and returns it. */
export function checkSameType(arrays: Readonly<Record<string, { readonly dtype: DType } | undefined>>): DType {
  let first: [string, DType] | undefined;
  for (const [name, array] of Object.entries(arrays)) {
    if (!array) continue;
    first ??= [name, array.dtype];
    if (first[1] !== array.dtype) {
      throw new LayerpeelError(
        'LP_DTYPE',
        `${first[0]} is ${first[1]} but ${name} is ${array.dtype}; convert one, as a computation has one dtype.`,
      );
    }
  }
  return first?.[1] ?? 'float64';
}

/** Checks a state's shapes, types and labels. Finite values are checked by the kernels, which read every element anyway. */
export const checkState = (state: unknown): CheckedState => checkStateOf(state, checkArray);

/** `checkState` of arrays that `check` checks. */
export function checkStateOf<A extends Operand>(
  state: unknown,
  check: (array: unknown, name: string, rank: number) => CheckedArray<A>,
): CheckedState<A> {
  const given = (state ?? {}) as Partial<State>;
  const features = check(given.features, 'features', 2);
  const prototypes = check(given.prototypes, 'prototypes', 2);
  const [samples, dim] = features.shape as [number, number];
  const [classes, prototypeDim] = prototypes.shape as [number, number];
  if (dim !== prototypeDim) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `features are ${showShape(features.shape)} and prototypes ${showShape(prototypes.shape)}; both need the same number of columns.`,
    );
  }
  if (samples < 1 || dim < 1 || classes < 2) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `features are ${showShape(features.shape)} and prototypes ${showShape(prototypes.shape)}; expected at least one sample, one dimension and two classes.`,
    );
  }
  const biases = isLeftOut(given.biases) ? undefined : check(given.biases, 'biases', 1);
  if (biases && biases.shape[0] !== classes) {
    throw new LayerpeelError('LP_SHAPE', `biases are ${showShape(biases.shape)}; expected [${classes}], one a prototype.`);
  }
  const dtype = checkSameType({ features, prototypes, biases });
  const { labels, counts } = checkLabels(given.labels, samples, classes);
  return {
    features: features.data,
    prototypes: prototypes.data,
    biases: biases?.data,
    labels,
    samples,
    classes,
    dim,
    counts,
    dtype,
  };
}

/** Samples of each class of a state, which must be the same for all. @throws `LP_BALANCE` naming two classes that differ */
export function checkBalanced({ counts }: Pick<CheckedState, 'counts'>, what: string): number {
  const [first] = counts as unknown as [number];
  const other = counts.findIndex((count) => count !== first);
  if (other === -1) return first;
  throw new LayerpeelError(
    'LP_BALANCE',
    `Class 0 has ${first} samples but class ${other} has ${counts[other]}; ${what} needs classes of equal size.`,
  );
}

/**
 * A copy of a state that its owner cannot change any more: what a trajectory keeps. It lies in shared memory, which native jobs
 * read in place.
 */
export function snapshot(state: CheckedState): CheckedState {
  const { features, prototypes, biases, labels, counts } = state;
  return {
    ...state,
    features: shared(features),
    prototypes: shared(prototypes),
    biases: biases && shared(biases),
    labels: shared(labels),
    counts: shared(counts),
  };
}

/** A copy in shared memory, which cannot be detached. */
export function shared<T extends Float | Int32Array>(array: T): T {
  const Kind = array.constructor as new (buffer: SharedArrayBuffer) => T;
  const copy = new Kind(new SharedArrayBuffer(array.byteLength));
  copy.set(array);
  return copy;
}
