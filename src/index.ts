export type { DType, Float, NDArray, State } from './array/ndarray.js';
export { type ErrorCode, LayerpeelError, OverflowError } from './errors.js';
