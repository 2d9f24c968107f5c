/** Making states out of their parts: arrays that belong to the caller. */

import type { CheckedState, Float, NDArray, State } from '../array/ndarray.js';
import { OverflowError } from '../check/errors.js';

export const ofShape = (shape: readonly number[], data: Float): NDArray => ({ shape, data });

/** `factor · x`, of the same type. */
export function scaled<T extends Float>(x: T, factor: number): T {
  const result = x.slice() as T;
  for (let i = 0; i < result.length; i++) result[i] = (result[i] as number) * factor;
  return result;
}

/** `‖x‖`, without overflow of the squares. */
export function normOf(x: Float): number {
  let largest = 0;
  for (const value of x) largest = Math.max(largest, Math.abs(value));
  if (largest === 0) return 0;
  let sum = 0;
  for (const value of x) sum += (value / largest) ** 2;
  return largest * Math.sqrt(sum);
}

/** A state like `initial`, with other features and, if told, prototypes and biases. */
export function freshState(initial: CheckedState, features: Float, prototypes?: Float, biases?: Float): State {
  const { samples, classes, dim } = initial;
  const ownBiases = biases ?? initial.biases?.slice();
  return {
    features: ofShape([samples, dim], features),
    prototypes: ofShape([classes, dim], prototypes ?? initial.prototypes.slice()),
    ...(ownBiases && { biases: ofShape([classes], ownBiases) }),
    labels: initial.labels.slice(),
  };
}

/** Numbers in the dtype of the initial state. @throws `LP_OVERFLOW` */
export function fit({ dtype }: CheckedState, x: Float64Array) {
  const result = dtype === 'float64' ? new Float64Array(x) : new Float32Array(x);
  for (const value of result) {
    if (Number.isFinite(value)) continue;
    throw new OverflowError(`The state at this time does not fit ${dtype}; use directionAt, which never overflows.`);
  }
  return result;
}
