/**
 * Arrays on a GPU. `openDevice` opens one, `Device.put` brings an array there, and functions that are given such arrays
 * compute there and leave their results there, until `DeviceArray.read` brings them back. Where an array lies decides
 * where a function runs; nothing moves between the CPU and a device but by `put`, `read`, or an option `device`.
 */
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkChoice, nearest, option, show } from '../check/options.js';
import { type DType, engine, type Float, type Handle, type Operand, type Result, type Sizes } from '../engine/load.js';
import { closePlace, type DeviceName, openPlace, type Place, type Precision, type RawDevice } from '../engine/place.js';
import { run } from '../engine/run.js';
import {
  type CheckedArray,
  type CheckedState,
  checkArray,
  checkRank,
  checkSameType,
  checkStateOf,
  describe,
  type NDArray,
  showShape,
} from './ndarray.js';

export type { DeviceName, Precision };

declare module '../engine/load.js' {
  interface Engine {
    devicePut(mode: Mode, plan: { readonly data: Operand }): Result<{ readonly data: Handle<'device array'> }>;
    deviceRead(mode: Mode, plan: { readonly data: Handle<'device array'> }): Result<{ readonly data: Float }>;
  }
}

/** Where a function runs whose arrays are all plain ones. */
export interface DeviceOptions {
  /**
   * `cpu`; `cuda` (or `cuda:1`): on that device, the arrays brought there and the results back within the call; `auto`: there
   * where there is a device and the arithmetic is worth the way. Arrays of a device are used where they lie.
   * @default the environment's LAYERPEEL_DEVICE, or 'cpu'
   */
  readonly device?: 'auto' | 'cpu' | DeviceName | undefined;
}

/** How a device makes products. */
export interface PrecisionOptions {
  /**
   * Of float32 arrays: of all their bits; of the leading 10 bits of each mantissa (TF32), or of 7 (bfloat16), summed in float32.
   * Of no effect on float64 and on the CPU.
   * @default 'float32'
   */
  readonly precision?: Precision | undefined;
}

const PRECISIONS = ['float32', 'tf32', 'bf16'] as const;

export const checkPrecision = ({ precision }: PrecisionOptions): Precision =>
  checkChoice(precision ?? 'float32', PRECISIONS, option('options.precision'));

/** A shape, on the way to be read. Its memory is the device's; there is no `data`. */
export class DeviceArray {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly device: Device;
  #handle: Handle<'device array'> | undefined;

  /** @internal */
  constructor(device: Device, { shape, data, dtype }: CheckedArray<Handle<'device array'>>) {
    this.device = device;
    this.shape = Object.freeze([...shape]);
    this.dtype = dtype;
    this.#handle = data;
  }

  /** What it takes of the device's memory; 0 once disposed of. */
  get bytes(): number {
    if (!this.#handle) return 0;
    return this.shape.reduce((product, extent) => product * extent, this.dtype === 'float32' ? 4 : 8);
  }

  /** A copy of the array on the CPU. @throws `LP_OPTION` once disposed of, `LP_DEVICE`, `LP_MEMORY`, `LP_ABORTED` */
  async read(options: Control = {}): Promise<NDArray> {
    checkOptions(options);
    const data = operandOf(this, 'The array');
    const { shape } = this;
    const place = { device: rawOf(this.device), resident: false };
    const wrap = (raw: { readonly data: Float }) => ({ shape: [...shape], data: raw.data });
    return run({ place, call: (engine, mode) => engine.deviceRead(mode, { data }), wrap }, options);
  }

  /** Frees its memory, which otherwise the garbage collector does some time. Functions that run with it still end. */
  dispose(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle) engine().dispose(handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal What stands for an array in native calls. @throws `LP_OPTION` once disposed of */
  static handleOf(array: DeviceArray, name: string): Handle<'device array'> {
    if (array.#handle) return array.#handle;
    throw new LayerpeelError('LP_OPTION', `${name} has been disposed of; put or compute it again.`);
  }
}

const operandOf = DeviceArray.handleOf;

/** A GPU. */
export class Device {
  /** `cuda:0` */
  readonly name: DeviceName;
  readonly ordinal: number;
  /** As its maker calls it. */
  readonly model: string;
  /** Compute capability: `9.0`. */
  readonly capability: string;
  readonly multiprocessors: number;
  readonly #raw: RawDevice;

  /** @internal */
  constructor(raw: RawDevice) {
    this.name = `cuda:${raw.ordinal}`;
    this.ordinal = raw.ordinal;
    this.model = raw.name;
    this.capability = `${raw.major}.${raw.minor}`;
    this.multiprocessors = raw.multiprocessors;
    this.#raw = raw;
  }

  /** Bytes held by arrays and running functions of this package, free for anybody, and in all. @throws `LP_DEVICE` */
  memory(): { held: number; free: number; total: number } {
    return { ...engine().deviceRoom(this.#raw.handle) };
  }

  /**
   * A copy of an array on the device, of an array that lies there too. @throws `LP_SHAPE`, `LP_DTYPE`, `LP_DETACHED`, `LP_DEVICE`, `LP_ABORTED`, `LP_MEMORY`
   *   with what is needed, free and held
   */
  async put(array: NDArray | DeviceArray, options: Control = {}): Promise<DeviceArray> {
    checkOptions(options);
    const { shape, data, dtype } = checkOperand(array, 'array');
    const place = { device: this.#raw, resident: true };
    const wrap = (raw: { readonly data: Handle<'device array'> }) => new DeviceArray(this, { shape, data: raw.data, dtype });
    return run({ place, call: (engine, mode) => engine.devicePut(mode, { data }), wrap }, options);
  }

  /** Frees all its arrays. Functions that run there still end; whatever uses one of its arrays later throws `LP_DEVICE`. */
  close(): void {
    closePlace(this.#raw);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal What stands for it in native calls. */
  static rawOf(device: Device): RawDevice {
    return device.#raw;
  }
}

const { rawOf } = Device;

/** Devices by what the engine has opened. */
const devices = new WeakMap<RawDevice, Device>();

const deviceOf = (raw: RawDevice): Device => {
  const device = devices.get(raw) ?? new Device(raw);
  devices.set(raw, device);
  return device;
};

/**
 * Opens a GPU: `cuda` or `cuda:0` the first, `cuda:1` the next. Who opens it again gets the same, until it is closed.
 * @throws `LP_DEVICE` with the reason that `layerpeel doctor` gives, `LP_OPTION`
 */
export async function openDevice(name: DeviceName): Promise<Device> {
  return run({ call: () => ({ promise: openPlace(ordinalOf(name, 'name')), cancel() {} }), wrap: deviceOf });
}

const ELSEWHERE = ['auto', 'cpu'] as const;

function ordinalOf(name: unknown, place: string, others: readonly string[] = []): number {
  const found = typeof name === 'string' ? /^cuda(?::(\d{1,4}))?$/.exec(name) : null;
  if (found) return Number(found[1] ?? 0);
  // Of 'gpu' the nearest name would be 'cpu'.
  const guess = typeof name === 'string' && !/gpu/i.test(name) ? nearest(name, [...others, 'cuda']) : undefined;
  const expected = [...others, 'cuda'].map((each) => `'${each}'`).join(', ');
  throw new LayerpeelError(
    'LP_OPTION',
    `${place} is ${show(name)}; ${guess ? `did you mean '${guess}'?` : `expected ${expected}, or 'cuda:1' and so on for others.`}`,
  );
}

/** What an option `device` may be. @throws `LP_OPTION` */
export function checkPlace(name: unknown, place: string): NonNullable<DeviceOptions['device']> {
  if (!(ELSEWHERE as readonly unknown[]).includes(name)) ordinalOf(name, place, ELSEWHERE);
  return name as NonNullable<DeviceOptions['device']>;
}

/** What a call does, for the rule of `auto`. */
export interface Effort {
  /** Additions and multiplications. */
  readonly operations: number;
  /** That go to the device and come back. */
  readonly bytes: number;
}

/**
 * A device is worth the way for at least a gigaflop, with ten operations or more a byte: the bus carries some 20 GB/s each way,
 * and two hundred gigaflops are what CPUs make of products.
 */
const worthwhile = ({ operations, bytes }: Effort): boolean => operations >= 1e9 && operations >= 10 * bytes;

/** Where a call with arrays of the CPU runs, from its option or the environment; undefined on the CPU. */
export function asked({ device }: DeviceOptions, effort: Effort): Place | undefined {
  const [given, place] =
    device === undefined ? [process.env.LAYERPEEL_DEVICE || 'cpu', 'LAYERPEEL_DEVICE'] : [device, option('options.device').path];
  const name = checkPlace(given, place);
  if (name === 'cpu') return undefined;
  if (name === 'auto' && !(worthwhile(effort) && engine().deviceAvailability().usable)) return undefined;
  return { device: name === 'auto' ? 0 : ordinalOf(name, place), resident: false };
}

/** Checks an array of the CPU or of a device. */
export function checkOperand(array: unknown, name: string, rank?: number): CheckedArray<Operand> & { device?: Device } {
  if (!(array instanceof DeviceArray)) return checkArray(array, name, rank);
  checkRank(array.shape, name, rank);
  return { shape: array.shape, data: operandOf(array, name), dtype: array.dtype, device: array.device };
}

/** Shapes of results, by their names. */
export type Shapes = readonly number[] | { readonly [name: string]: Shapes };

/** What stands for arrays of these names in native calls. */
export type Operands<S> = S extends readonly number[] ? Operand : { readonly [Name in keyof S]: Operands<S[Name]> };

/** Arrays of the caller's that results go to, by their names in messages. */
export type Outs = Record<string, { readonly given: NDArray | DeviceArray; readonly checked: ReturnType<typeof checkOperand> }>;

/**
 * Checks the arrays of `out`, of these shapes, and adds them to `outs`. That they share no memory with anything else of the call
 * is checked where the call finds its memory, in `native/addon/call.cpp`.
 * @throws `LP_SHAPE`, `LP_DTYPE`, `LP_DETACHED`
 */
export function checkOut<S extends Shapes>(given: unknown, shapes: S, outs: Outs, name = 'out'): Operands<S> {
  if (Array.isArray(shapes)) {
    const checked = checkOperand(given, name);
    if (checked.shape.length !== shapes.length || !shapes.every((extent, axis) => checked.shape[axis] === extent)) {
      throw new LayerpeelError('LP_SHAPE', `${name} is ${showShape(checked.shape)}; expected ${showShape(shapes)}.`);
    }
    outs[name] = { given: given as NDArray | DeviceArray, checked };
    return checked.data as Operands<S>;
  }
  if (typeof given !== 'object' || given === null) {
    const names = Object.keys(shapes).join(', ');
    throw new LayerpeelError('LP_SHAPE', `${name} is ${describe(given)}; expected { ${names} } with an array each.`);
  }
  const entry = ([key, inner]: [string, Shapes]) => [
    key,
    checkOut((given as Record<string, unknown>)[key], inner, outs, `${name}.${key}`),
  ];
  return Object.fromEntries(Object.entries(shapes).map(entry)) as Operands<S>;
}

/** Where a call runs, and how its results are given. */
export interface Placement {
  readonly place: Place | undefined;
  /** A result, there or here: the caller's array where it went there. */
  readonly give: <A extends NDArray | DeviceArray>(shape: readonly number[], data: Operand) => A;
}

/**
 * Where a call with these arrays runs: with arrays of a device, there, and all that are as large must lie there too, `outs` as well.
 * @throws `LP_DEVICE`, `LP_OPTION`
 */
export function placed(
  arrays: Readonly<Record<string, ReturnType<typeof checkOperand> | undefined>>,
  options: DeviceOptions,
  effort: Effort,
  outs: Outs = {},
): Placement {
  const all: Record<string, ReturnType<typeof checkOperand> | undefined> = { ...arrays };
  const owners = new Map<Operand, NDArray | DeviceArray>();
  for (const [name, { given, checked }] of Object.entries(outs)) {
    all[name] = checked;
    owners.set(checked.data, given);
  }
  const giving = (fresh: (shape: readonly number[], data: Operand) => NDArray | DeviceArray) =>
    ((shape, data) => owners.get(data) ?? fresh(shape, data)) as Placement['give'];
  const dtype = checkSameType(all);
  const given = Object.entries(all).filter((entry): entry is [string, ReturnType<typeof checkOperand>] => entry[1] !== undefined);
  const first = given.find(([, { device }]) => device !== undefined);
  if (!first) {
    const plain = (shape: readonly number[], data: Operand) => ({ shape, data: data as Float });
    return { place: asked(options, effort), give: giving(plain) };
  }
  const device = first[1].device as Device;
  for (const [name, array] of given) {
    if (array.device === device) continue;
    throw new LayerpeelError(
      'LP_DEVICE',
      array.device
        ? `${first[0]} lies on ${device.name} and ${name} on ${array.device.name}${array.device.name === device.name ? ' as it was before it was closed' : ''}; read() one and put() it beside the other.`
        : `${first[0]} lies on ${device.name}, but ${name} is an array of the CPU; put() it there, or read() the other.`,
    );
  }
  if (
    options.device !== undefined &&
    options.device !== device.name &&
    options.device !== 'auto' &&
    !(options.device === 'cuda' && device.ordinal === 0)
  ) {
    throw new LayerpeelError(
      'LP_DEVICE',
      `options.device is ${show(options.device)}, but ${first[0]} lies on ${device.name}, where it is used; leave the option out.`,
    );
  }
  const there = (shape: readonly number[], data: Operand) =>
    new DeviceArray(device, { shape, data: data as Handle<'device array'>, dtype });
  return { place: { device: rawOf(device), resident: true }, give: giving(there) };
}

/** A state whose arrays lie on a device, biases too; labels on the CPU. */
export interface DeviceState {
  readonly features: DeviceArray;
  readonly prototypes: DeviceArray;
  readonly biases?: DeviceArray;
  readonly labels: Int32Array;
}

/**
 * Checks a state of the CPU or of a device, and says where a call with it runs.
 * @param effort of the call, by its sizes
 * @param shapes of the results that `options.out` may have arrays for, by its sizes
 */
export function checkPlacedState<S extends Shapes = never>(
  state: unknown,
  options: DeviceOptions & { readonly out?: unknown },
  effort: (state: CheckedState<Operand>) => Effort,
  shapes?: (state: CheckedState<Operand>) => S,
): { checked: CheckedState<Operand>; out: Operands<S> | undefined } & Placement {
  const arrays: Record<string, ReturnType<typeof checkOperand>> = {};
  const checked = checkStateOf(state, (array, name, rank) => {
    arrays[name] = checkOperand(array, name, rank);
    return arrays[name];
  });
  const outs: Outs = {};
  const given = shapes && options.out;
  const out = given === undefined ? undefined : checkOut(given, (shapes as NonNullable<typeof shapes>)(checked), outs);
  return { checked, out, ...placed(arrays, options, effort(checked), outs) };
}

/** The shapes of features and prototypes, and those of biases too, as results of a state have them. */
export const partShapes = ({ samples, classes, dim }: Sizes) => ({ features: [samples, dim], prototypes: [classes, dim] });
export const stateShapes = (sizes: Sizes) => ({ ...partShapes(sizes), biases: [sizes.classes] });

/** The bytes of a state's arrays, there and back. */
export const stateBytes = ({ samples, classes, dim, dtype }: Pick<CheckedState, 'samples' | 'classes' | 'dim' | 'dtype'>): number =>
  2 * (samples + classes) * dim * (dtype === 'float32' ? 4 : 8);
