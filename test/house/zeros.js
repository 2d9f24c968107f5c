/**
 * A square array of zeros, for products that take long. Its memory is shared: asynchronous calls read it in place, so
 * that many of them at once need little.
 */
export function zeros(size, Type = Float32Array) {
  return { shape: [size, size], data: new Type(new SharedArrayBuffer(size * size * Type.BYTES_PER_ELEMENT)) };
}

/** The integers 0 … size² − 1 in a square. */
export const counting = (size) => ({ shape: [size, size], data: Float64Array.from({ length: size * size }, (_, i) => i) });
