/**
 * Streams of inflated bytes, read as they are asked for: whatever a file would inflate to, only what the reader wants is made.
 */
import { pipeline, Readable } from 'node:stream';
import { createGunzip, createInflate } from 'node:zlib';
import { LayerpeelError } from '../check/errors.js';
import type { Fill, InputFile } from './files.js';
import { fileFault, type Pass } from './stored.js';

/** The most that deflate can expand: 258 bytes from 2 bits. */
export const MOST_EXPANSION = 1032;

const CHUNK = 2 ** 18;

/** A pass that knows its end. */
export interface EndedPass extends Pass {
  /** Throws unless every byte has been read; the stream's own checksum is compared on the way. */
  finish(): Promise<void>;
}

/**
 * Reads a stream in the pieces that are asked for.
 * @param fault what to throw for an error of the stream
 */
export function streamPass(stream: Readable, where: string, fault: (error: unknown) => unknown): EndedPass {
  const iterator: AsyncIterator<Uint8Array> = stream[Symbol.asyncIterator]();
  let chunk: Uint8Array = new Uint8Array(0);
  /** Whether there is another byte. */
  const more = async (): Promise<boolean> => {
    while (chunk.length === 0) {
      const { value, done } = await iterator.next().catch((error) => {
        throw fault(error);
      });
      if (done) return false;
      chunk = value;
    }
    return true;
  };
  const fill: Fill = async (target) => {
    for (let done = 0; done < target.length; ) {
      if (!(await more())) throw fileFault(where, `its data ends ${target.length - done} bytes early.`);
      const part = chunk.subarray(0, target.length - done);
      target.set(part, done);
      done += part.length;
      chunk = chunk.subarray(part.length);
    }
  };
  return {
    fill,
    async finish() {
      if (await more()) throw fileFault(where, 'more data follows than its header says.');
    },
    close: () => void stream.destroy(),
  };
}

/** Inflates the bytes `begin … end` of a file, whose checksum is verified at the end. */
export function inflatedPass(file: InputFile, begin: number, end: number, format: 'gzip' | 'zlib', where = file.path): EndedPass {
  const inflate = format === 'gzip' ? createGunzip({ chunkSize: CHUNK }) : createInflate({ chunkSize: CHUNK });
  // The iterator of the pass sees every error; there is nothing to add when the pipeline has ended.
  const stream = pipeline(Readable.from(pieces(file, begin, end)), inflate, () => {});
  return streamPass(stream, where, (error) =>
    error instanceof LayerpeelError
      ? error
      : new LayerpeelError(
          'LP_FILE',
          `${where}: it cannot be inflated (${(error as Error).message}); is it damaged or truncated?`,
          {
            cause: error,
          },
        ),
  );
}

/** The bytes `begin … end` of a file. */
export async function* pieces(file: InputFile, begin: number, end: number): AsyncGenerator<Uint8Array> {
  for (let position = begin; position < end; position += CHUNK) {
    const piece = new Uint8Array(Math.min(CHUNK, end - position));
    await file.readAt(position, piece);
    yield piece;
  }
}
