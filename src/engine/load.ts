/**
 * The native engine: loads the addon, built in this checkout or prebuilt in the package.
 *
 * What it exports is declared beside its one caller, which adds to `Engine`:
 *
 *     declare module '../engine/load.js' {
 *       interface Engine {
 *         products(mode: Mode, state: EngineState, plan: { readonly gamma: number }): Result<RawArrays>;
 *       }
 *     }
 *
 * and implemented in `native/addon`, whose `call.h` says how arguments and results cross.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { LayerpeelError } from '../check/errors.js';
import { checkInPackage, packageRoot } from '../package.js';
import { cpuQuota, memoryLimit, threadsOf, tooLittleToLoad } from './limits.js';

/** What the engine computes with. */
export type Float = Float32Array | Float64Array;
export type DType = 'float32' | 'float64';

/** `undefined` runs an operation at once; an object runs it on the pool, unless it says otherwise. */
export type Mode =
  | undefined
  | {
      readonly progress?: (share: number) => void;
      readonly atOnce?: boolean;
      /** @default the CPU */
      readonly device?: Handle<'device'>;
      /** Whether results stay on the device. */
      readonly resident?: boolean;
    };

/** An array as operations that may run on a device take and give it. */
export type Operand<T extends Float = Float> = T | Handle<'device array'>;

export interface Pending<T> {
  readonly promise: Promise<T>;
  cancel(): void;
}

export type Result<T> = T | Pending<T>;

/** The numbers of samples, classes and dimensions of a state. */
export interface Sizes {
  readonly samples: number;
  readonly classes: number;
  readonly dim: number;
}

/** The arrays of a state, all of one type, as they come back. */
export interface RawArrays<T extends Operand = Float> {
  readonly features: T;
  readonly prototypes: T;
  readonly biases?: T | undefined;
}

/** A state as native functions take it. */
export interface EngineState<T extends Operand = Operand> extends RawArrays<T>, Sizes {
  readonly labels: Int32Array;
}

/** Native work that goes on between calls. It is freed by `dispose`, or when it is collected. */
export interface Handle<Kind extends string> {
  readonly kind: Kind;
}

/** What the binary says of itself and the machine. */
export interface EngineInfo {
  readonly version: string;
  /** Instruction set in use, and the best this machine has. */
  readonly isa: string;
  readonly availableIsa: string;
  readonly blas: string;
  readonly blasDescription: string;
  readonly threads: number;
  /** Whether the binary holds the kernels for NVIDIA GPUs. */
  readonly cuda: boolean;
}

/** The addon's functions. */
export interface Engine {
  info(): EngineInfo;
  /** The most threads of an operation, unless `LAYERPEEL_THREADS` says how many, and bytes of the process; before anything else. */
  limit(plan: { readonly threads: number; readonly memory: number }): void;
  dispose(handle: Handle<string>): void;
}

/** What `scripts/prebuild.mjs` and `scripts/build-arm64.mjs` make. */
const BINARIES = 'linux-x64 and linux-arm64 (glibc 2.28 or later)';

let loaded: Engine | undefined;

/**
 * The addon, loaded at the first use.
 * @throws `LP_NOT_BUILT` with the cause and the command that mends it; `LP_MEMORY` where it has no room
 */
export function engine(): Engine {
  if (loaded) return loaded;
  const lack = tooLittleToLoad();
  if (lack !== undefined) throw new LayerpeelError('LP_MEMORY', `There is not enough memory to load the native engine: ${lack}.`);
  try {
    const addon = alone(() => createRequire(import.meta.url)(enginePath())) as Engine;
    addon.limit({ threads: Math.min(threadsOf(cpuQuota()), 2 ** 20), memory: Math.min(memoryLimit(), Number.MAX_SAFE_INTEGER) });
    loaded = addon;
    return addon;
  } catch (cause) {
    checkInPackage('The native engine', cause);
    const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
    throw new LayerpeelError(
      'LP_NOT_BUILT',
      `The native engine cannot be loaded on ${process.platform}-${process.arch} (${reason}). The package has binaries for ` +
        `${BINARIES}; elsewhere build it: cd ${packageRoot} && npx --yes cmake-js@8 compile --out build/cmake ` +
        '(needs GCC 12 or clang 14, or later, and CMake 3.22).',
      { cause },
    );
  }
}

/** Loads what has OpenBLAS, which would start threads that nobody asks for, and end the process where it may not. */
function alone<T>(load: () => T): T {
  const { OPENBLAS_NUM_THREADS: before } = process.env;
  process.env.OPENBLAS_NUM_THREADS = '1';
  try {
    return load();
  } finally {
    if (before === undefined) delete process.env.OPENBLAS_NUM_THREADS;
    else process.env.OPENBLAS_NUM_THREADS = before;
  }
}

/** Path of the binary that `engine()` loads; a folder that LAYERPEEL_PREBUILD names is that of the working directory. */
export function enginePath(): string {
  return resolve(createRequire(import.meta.url)('node-gyp-build').resolve(packageRoot));
}
