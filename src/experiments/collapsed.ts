/** Neural collapse itself: prototypes along a simplex ETF, every feature along its prototype (LP Theorem 3.1). */
import type { State } from '../array/ndarray.js';
import { etfOptimum } from '../theory/fixed-etf.js';
import { simplexETF } from '../theory/simplex-etf.js';

export interface Collapsed {
  readonly classes: number;
  readonly perClass: number;
  /** At least `classes − 1`. */
  readonly dim: number;
  readonly seed?: number | undefined;
  /** `‖W‖² + ‖H‖²` */
  readonly square: number;
  /** `‖H‖/‖W‖`. @default 1, where the margin attains its bound */
  readonly ratio?: number | undefined;
}

/** The state, labels class by class. */
export function collapsed({ classes, perClass, dim, seed = 0, square, ratio = 1 }: Collapsed): State {
  const scale = Math.sqrt(square / (1 + ratio ** 2) / classes);
  const prototypes = simplexETF(classes, dim, { seed, scale });
  const labels = Int32Array.from({ length: classes * perClass }, (_, i) => Math.floor(i / perClass));
  return { features: etfOptimum(prototypes, labels, { featureEnergy: (ratio * scale) ** 2 / perClass }), prototypes, labels };
}
