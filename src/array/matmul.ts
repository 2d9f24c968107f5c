/**
 * Matrix products with batches: `out = alpha · op(a) op(b) + beta · out`, `op` a transposition of the last two
 * dimensions if told.
 */

import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkBoolean, checkNumber, option } from '../check/options.js';
import type { Operand } from '../engine/load.js';
import { run, runSync, type Task } from '../engine/run.js';
import {
  checkOperand,
  checkOut,
  checkPrecision,
  type DeviceArray,
  type DeviceOptions,
  type Outs,
  type Precision,
  type PrecisionOptions,
  placed,
} from './device.js';
import { type NDArray, showShape } from './ndarray.js';

export interface MatmulOptions<A extends NDArray | DeviceArray = NDArray> extends Control, DeviceOptions, PrecisionOptions {
  /** Transposes the last two dimensions of `a`. @default false */
  readonly transposeA?: boolean | undefined;
  /** Transposes the last two dimensions of `b`. @default false */
  readonly transposeB?: boolean | undefined;
  /** Factor of the product. @default 1 */
  readonly alpha?: number | undefined;
  /** Factor of what `out` held before; needs `out` unless 0. @default 0 */
  readonly beta?: number | undefined;
  /** Where the result goes; of the result's shape, and not sharing memory with `a` or `b`. @default a new array */
  readonly out?: A | undefined;
}

/**
 * The product of `a [.., m, k]` and `b [.., k, n]`: `[.., m, n]`. Batch dimensions broadcast as in NumPy. NaN and
 * infinities propagate.
 *
 * @throws `LP_SHAPE`, `LP_DTYPE`, `LP_DETACHED`, `LP_OPTION`, `LP_DEVICE`, `LP_MEMORY`, `LP_ABORTED`
 */
export async function matmul(a: NDArray, b: NDArray, options?: MatmulOptions): Promise<NDArray>;
export async function matmul(a: DeviceArray, b: DeviceArray, options?: MatmulOptions<DeviceArray>): Promise<DeviceArray>;
export async function matmul<A extends NDArray | DeviceArray>(a: A, b: A, options: MatmulOptions<A> = {}): Promise<A> {
  return run(product(a, b, options), options);
}

/** `matmul` on the calling thread (its loops still use every compute thread). */
export function matmulSync(a: NDArray, b: NDArray, options: MatmulOptions = {}): NDArray {
  return runSync(product(a, b, options));
}

/** `MatmulPlan` of native/ops/linear/matmul. */
interface MatmulPlan {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly alpha: number;
  readonly beta: number;
  /** Triples: size of a batch dimension, stride of a, stride of b. */
  readonly batch: Float64Array;
  readonly precision: Precision;
}

interface RawProduct {
  readonly out: Operand;
}

declare module '../engine/load.js' {
  interface Engine {
    /** The product in `out`, or in a new array. */
    matmul(mode: Mode, a: Operand, b: Operand, plan: MatmulPlan, out: Operand | undefined): Result<RawProduct>;
  }
}

/** `matmul` as a task. */
export function product<A extends NDArray | DeviceArray>(a: A, b: A, options: MatmulOptions<A>): Task<RawProduct, A> {
  checkOptions(options, ['transposeA', 'transposeB', 'alpha', 'beta', 'out', 'device', 'precision']);
  const left = checkMatrix(a, 'a');
  const right = checkMatrix(b, 'b');
  const transposeA = checkBoolean(options.transposeA ?? false, option('options.transposeA'));
  const transposeB = checkBoolean(options.transposeB ?? false, option('options.transposeB'));
  const alpha = checkNumber(options.alpha ?? 1, option('options.alpha'));
  const beta = checkNumber(options.beta ?? 0, option('options.beta'));
  const precision = checkPrecision(options);

  const [m, k] = matrixShape(left.shape, transposeA);
  const [inner, n] = matrixShape(right.shape, transposeB);
  if (k !== inner) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `a ${showShape(a.shape)}${transposeA ? ' transposed' : ''} has ${k} columns, but b ${showShape(b.shape)}${transposeB ? ' transposed' : ''} has ${inner} rows; they must agree.`,
    );
  }
  const { shape: batchShape, strides } = broadcast(left.shape.slice(0, -2), right.shape.slice(0, -2), m * k, k * n);
  const shape = [...batchShape, m, n];
  const outs: Outs = {};
  const given = options.out;
  const out = given === undefined ? undefined : checkOut(given, shape, outs);
  const products = size(shape) * k;
  const bytes = (size(left.shape) + size(right.shape) + size(shape)) * (left.dtype === 'float32' ? 4 : 8);
  const { place, give } = placed({ a: left, b: right }, options, { operations: 2 * products, bytes }, outs);
  if (!out && beta !== 0)
    throw new LayerpeelError('LP_OPTION', `options.beta is ${beta}, but there is no out for it to scale; pass out.`);

  const plan = { m, n, k, transposeA, transposeB, alpha, beta, batch: new Float64Array(strides), precision };
  return {
    place,
    call: (engine, mode) => engine.matmul(mode, left.data, right.data, plan, out),
    wrap: ({ out: data }) => give<A>(shape, data),
  };
}

const size = (shape: readonly number[]) => shape.reduce((product, extent) => product * extent, 1);

function checkMatrix(array: unknown, name: string) {
  const checked = checkOperand(array, name);
  if (checked.shape.length < 2) {
    throw new LayerpeelError('LP_SHAPE', `${name}.shape is ${showShape(checked.shape)}; expected at least 2 dimensions.`);
  }
  return checked;
}

function matrixShape(shape: readonly number[], transposed: boolean): [number, number] {
  const [rows, cols] = shape.slice(-2) as [number, number];
  return transposed ? [cols, rows] : [rows, cols];
}

/** The common shape of two batch shapes and, for each of its dimensions, size and strides in elements (0: repeated). */
function broadcast(
  a: readonly number[],
  b: readonly number[],
  aMatrix: number,
  bMatrix: number,
): { shape: number[]; strides: number[] } {
  const rank = Math.max(a.length, b.length);
  const shape: number[] = [];
  const strides: number[] = [];
  let aStride = aMatrix;
  let bStride = bMatrix;
  for (let back = 1; back <= rank; back++) {
    const aSize = a[a.length - back] ?? 1;
    const bSize = b[b.length - back] ?? 1;
    if (aSize !== bSize && aSize !== 1 && bSize !== 1) {
      throw new LayerpeelError('LP_SHAPE', `Batch dimensions ${showShape(a)} of a and ${showShape(b)} of b do not broadcast.`);
    }
    const size = aSize === 1 ? bSize : aSize;
    shape.unshift(size);
    strides.unshift(size, aSize === 1 ? 0 : aStride, bSize === 1 ? 0 : bStride);
    aStride *= aSize;
    bStride *= bSize;
  }
  return { shape, strides };
}
