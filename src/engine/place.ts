/**
 * Where native operations run: on the CPU, or on a device that has been opened. One device of each number is open at a
 * time, for all that run there.
 */
import { ownCublas } from './cublas.js';
import { engine, type Handle, type Mode, type Pending, type Result } from './load.js';

/** A device by name; `cuda` is `cuda:0`. */
export type DeviceName = 'cuda' | `cuda:${number}`;

/** What the machine has of devices. */
export interface DeviceAvailability {
  readonly usable: boolean;
  /** In a sentence: what there is, or what stands in the way. */
  readonly state: string;
  readonly devices: number;
  /** Versions of CUDA: 13000 is 13.0. 0: there is no driver. */
  readonly driver: number;
  readonly runtime: number;
  /** Whether the device is emulated on the CPU, for tests. */
  readonly emulated: boolean;
}

/** A device as the engine describes it. */
export interface RawDescription {
  readonly name: string;
  readonly ordinal: number;
  readonly major: number;
  readonly minor: number;
  readonly multiprocessors: number;
  /** Bytes. */
  readonly memory: number;
}

/** An opened device as the engine gives it. */
export interface RawDevice extends RawDescription {
  readonly handle: Handle<'device'>;
}

declare module './load.js' {
  interface Engine {
    deviceAvailability(): DeviceAvailability;
    deviceList(plan: { readonly cublas: string }): { readonly devices: readonly RawDescription[]; readonly blas: string };
    /** `cublas`: a folder where it may be, or ''. */
    deviceOpen(mode: Mode, plan: { readonly ordinal: number; readonly cublas: string }): Result<RawDevice>;
    deviceClose(handle: Handle<'device'>): void;
    deviceRoom(handle: Handle<'device'>): { readonly held: number; readonly free: number; readonly total: number };
  }
}

/**
 * How products of float32 arrays are made on a device: of all their bits; of the leading 10 bits of each mantissa (TF32), or of
 * 7 (bfloat16), summed in float32.
 */
export type Precision = 'float32' | 'tf32' | 'bf16';

/** Where a task runs. */
export interface Place {
  /** An open device, or the number of one that is opened where it is not. */
  readonly device: RawDevice | number;
  /** Whether the results stay there. */
  readonly resident: boolean;
}

/** Devices that are open, by number. */
const opened = new Map<number, Promise<RawDevice> | RawDevice>();

const open = (mode: Mode, ordinal: number) => engine().deviceOpen(mode, { ordinal, cublas: ownCublas() });

/** The device of this number, opened unless it is. */
export async function openPlace(ordinal: number): Promise<RawDevice> {
  const found = opened.get(ordinal);
  if (found) return found;
  const opening = (open({}, ordinal) as Pending<RawDevice>).promise;
  opened.set(ordinal, opening);
  try {
    const fresh = await opening;
    const meanwhile = opened.get(ordinal);
    if (meanwhile && meanwhile !== opening) {
      engine().deviceClose(fresh.handle); // a call that could not wait has opened it
      return meanwhile;
    }
    opened.set(ordinal, fresh);
    return fresh;
  } catch (error) {
    if (opened.get(ordinal) === opening) opened.delete(ordinal);
    throw error;
  }
}

/** The device of a place, opened at once at its first use. */
export function deviceAt({ device }: Place): RawDevice {
  if (typeof device !== 'number') return device;
  const ordinal = device;
  const found = opened.get(ordinal);
  if (found && !(found instanceof Promise)) return found;
  const fresh = open(undefined, ordinal) as RawDevice;
  opened.set(ordinal, fresh);
  return fresh;
}

/** What to wait for where somebody opens the device of a place just now. */
export function opening({ device }: Place): Promise<RawDevice> | undefined {
  const found = typeof device === 'number' ? opened.get(device) : undefined;
  return found instanceof Promise ? found : undefined;
}

/** Frees what the device holds; the next use opens it anew. */
export function closePlace(device: RawDevice): void {
  if (opened.get(device.ordinal) === device) opened.delete(device.ordinal);
  engine().deviceClose(device.handle);
}

/** What the machine has of devices, each described. */
export interface DeviceReport extends Omit<DeviceAvailability, 'devices'> {
  readonly devices: readonly RawDescription[];
  /** Where cuBLAS was found, or where it was looked for. */
  readonly blas: string;
}

/** @throws `LP_DEVICE` where a device cannot be described */
export function deviceReport(): DeviceReport {
  const found = engine().deviceAvailability();
  return { ...found, devices: [], blas: '', ...(found.usable && engine().deviceList({ cublas: ownCublas() })) };
}
