/**
 * The package's errors: one base class, a stable `code`, and a sentence that says what was wrong,
 * what was expected and what to do.
 */

import { types } from 'node:util';

export type ErrorCode =
  /** A shape is malformed, does not fit the data, or two shapes do not fit each other. */
  | 'LP_SHAPE'
  /** A label is out of range, or labels have the wrong type or length. */
  | 'LP_LABEL'
  /** An array has an unsupported element type, or arrays mix float32 and float64. */
  | 'LP_DTYPE'
  /** A value is NaN or infinite. */
  | 'LP_NOT_FINITE'
  /** An option is unknown, missing, or has a value out of its domain. */
  | 'LP_OPTION'
  /** Classes are not of equal size where a function needs balance, or a class is empty. */
  | 'LP_BALANCE'
  /** An array's buffer has been detached (transferred elsewhere). */
  | 'LP_DETACHED'
  /** A result does not fit the dtype; thrown as a `RangeError`. */
  | 'LP_OVERFLOW'
  /** A file is truncated, malformed, or of an unsupported kind. */
  | 'LP_FILE'
  /** A configuration has a missing, misspelt or wrong entry; the message gives its path. */
  | 'LP_CONFIG'
  /** The device asked for cannot be used. */
  | 'LP_DEVICE'
  /** The caller's `AbortSignal` fired. */
  | 'LP_ABORTED'
  /** The native binary is missing or cannot be loaded. */
  | 'LP_NOT_BUILT'
  /** Memory could not be had. */
  | 'LP_MEMORY'
  /** A computation did not converge, or a bug in this package. */
  | 'LP_INTERNAL';

/**
 * Base class of every error this package throws. `instanceof LayerpeelError` also holds for the overflow errors,
 * which are `RangeError`s, and for errors that crossed from a worker.
 */
export class LayerpeelError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = code === 'LP_ABORTED' ? 'AbortError' : 'LayerpeelError';
    this.code = code;
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return types.isNativeError(value) && String((value as { code?: unknown }).code).startsWith('LP_');
  }
}

/** A state outgrew its dtype: use `directionAt`, which never overflows. */
export class OverflowError extends RangeError {
  readonly code: ErrorCode = 'LP_OVERFLOW';
  override name = 'OverflowError';
}

/** An error of the given code, the native engine's included (it throws plain errors that carry a code). */
export function makeError(code: ErrorCode, message: string, options?: ErrorOptions): Error {
  return code === 'LP_OVERFLOW' ? new OverflowError(message, options) : new LayerpeelError(code, message, options);
}

export function aborted(signal: AbortSignal): LayerpeelError {
  return new LayerpeelError('LP_ABORTED', 'The operation was stopped by its AbortSignal.', { cause: signal.reason });
}
