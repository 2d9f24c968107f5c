/**
 * Scalars for TensorBoard: an event file, `events.out.tfevents.<seconds>.<host>.<process>.<number>`.
 *
 * The file is a sequence of TFRecords, little-endian: the payload's length (8 bytes), its masked CRC (4), the payload,
 * the payload's masked CRC (4). A CRC is CRC-32C (Castagnoli, RFC 3720 B.4) rotated right by 15 bits plus a282ead8₁₆
 * (tensorflow/core/lib/hash/crc32c.h). A payload is an `Event` message (tensorboard/compat/proto/event.proto):
 *
 *     Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5 }
 *     Summary { repeated Value value = 1 }        Value { string tag = 1; float simple_value = 2 }
 *
 * and the first one carries `file_version = "brain.Event:2"`. Each record is handed to the system in one piece before
 * its promise resolves, so the file of a process that is killed reads well up to its last record.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileError, makeFolder, writeAll } from '../array/files.js';
import { LayerpeelError } from '../check/errors.js';
import { show } from '../check/options.js';

export class EventWriter {
  /** The write under way: records stand in the order of their calls. */
  private last: Promise<void> = Promise.resolve();

  private constructor(
    readonly path: string,
    private readonly handle: FileHandle,
  ) {}

  /**
   * Begins a new event file in `folder`, which is made if need be.
   * @throws LP_FILE when the folder or the file cannot be made
   */
  static async open(folder: string): Promise<EventWriter> {
    const seconds = Math.floor(Date.now() / 1000);
    await makeFolder(folder);
    for (let number = 0; ; number++) {
      const path = join(folder, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${number}`);
      const handle = await open(path, 'ax').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'EEXIST') return undefined;
        throw fileError(path, 'written', error);
      });
      if (!handle) continue;
      const writer = new EventWriter(path, handle);
      await writer.append([stringField(3, 'brain.Event:2')]).catch(async (error) => {
        await handle.close();
        throw error;
      });
      return writer;
    }
  }

  /**
   * Writes numbers at a step; TensorBoard draws each name's numbers against the steps, NaN and infinities marked.
   * Numbers are kept as float32; `a/b` puts `b` into the group `a`.
   * @param step a whole number ≥ 0
   * @throws LP_OPTION for another step or a value that is no number; LP_FILE when the disk refuses
   */
  async scalars(step: number, values: Readonly<Record<string, number>>): Promise<void> {
    if (!Number.isSafeInteger(step) || step < 0) {
      throw new LayerpeelError('LP_OPTION', `step is ${show(step)}; expected a whole number ≥ 0.`);
    }
    const entries = Object.entries(values).map(([name, value]) => {
      if (typeof value !== 'number') {
        throw new LayerpeelError('LP_OPTION', `values.${name} is ${show(value)}; expected a number.`);
      }
      return bytesField(1, [stringField(1, name), floatField(2, value)]);
    });
    await this.append([varintField(2, step), bytesField(5, entries)]);
  }

  /** Waits for the records under way and closes the file. */
  async close(): Promise<void> {
    await this.last.catch(() => {}); // whoever wrote it was told
    await this.handle.close();
  }

  private append(fields: readonly Uint8Array[]): Promise<void> {
    const bytes = record(Buffer.concat([doubleField(1, Date.now() / 1000), ...fields]));
    // After a record that broke off nothing can be read, so its error stands for all that follow.
    this.last = this.last.then(() =>
      writeAll(this.handle, bytes).catch((error) => {
        throw fileError(this.path, 'written', error);
      }),
    );
    return this.last;
  }
}

function record(payload: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(8 + 4 + payload.length + 4);
  bytes.writeBigUInt64LE(BigInt(payload.length), 0);
  bytes.writeUInt32LE(masked(crc32c(bytes.subarray(0, 8))), 8);
  bytes.set(payload, 12);
  bytes.writeUInt32LE(masked(crc32c(payload)), 12 + payload.length);
  return bytes;
}

/** CRC-32C of each byte by itself, its polynomial with the bits reversed. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  return crc;
});

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ byte) & 0xff] as number);
  return ~crc >>> 0;
}

const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;

// Fields of protocol buffers: a key (number << 3 | wire type), then the value.

const varintField = (field: number, value: number): Uint8Array => Uint8Array.of(field << 3, ...varint(value));

function doubleField(field: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(9, (field << 3) | 1);
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

function floatField(field: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(5, (field << 3) | 5);
  bytes.writeFloatLE(value, 1);
  return bytes;
}

function bytesField(field: number, parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  return Buffer.concat([Uint8Array.of((field << 3) | 2, ...varint(content.length)), content]);
}

const stringField = (field: number, text: string): Uint8Array => bytesField(field, [Buffer.from(text)]);

/** Seven bits a byte, the lowest first; the eighth bit says that more follow. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
}
