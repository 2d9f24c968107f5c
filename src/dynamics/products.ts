/**
 * The structured products of the unhinged loss `L = −⟨M, W Hᵀ⟩ − ⟨m, b⟩` (UL Eq. 1, a mean over samples), which are its
 * negative gradient. With `M = ((1+γ) Y − γ 11ᵀ)/n` for one-hot labels `Y` and `n_c` samples in class `c`:
 *
 *     (MᵀW)_i = ((1+γ) w_{y_i} − γ Σ_c w_c)/n
 *     (M H)_c = ((1+γ) Σ_{y_i=c} h_i − γ Σ_i h_i)/n
 *     m_c     = ((1+γ) n_c − γ n)/n
 *
 * `M` is never formed: the cost is `O(p (n + C))`.
 */

import {
  checkPlacedState,
  type DeviceArray,
  type DeviceOptions,
  type DeviceState,
  type Operands,
  stateBytes,
  stateShapes,
} from '../array/device.js';
import type { NDArray, State } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { checkNumber, option } from '../check/options.js';
import type { Operand, RawArrays } from '../engine/load.js';
import { run, runSync, type Task } from '../engine/run.js';

export interface ProductsOptions<A extends NDArray | DeviceArray = NDArray> extends Control, DeviceOptions {
  /** Weight of the other classes' logits in the loss. */
  readonly gamma: number;
  /**
   * Arrays that the products go to, such as an earlier result; they share no memory with the state or each other, and hold what
   * is not specified after a call that fails or is stopped.
   * @default new arrays
   */
  readonly out?: Products<A> | undefined;
}

/** The negative gradient of the unhinged loss. */
export interface Products<A extends NDArray | DeviceArray = NDArray> {
  /** `MᵀW [n, p]` */
  readonly features: A;
  /** `M H [C, p]` */
  readonly prototypes: A;
  /** `m [C]` */
  readonly biases: A;
}

/**
 * `MᵀW`, `M H` and `m`: the negative gradient of the unhinged loss with respect to features, prototypes and biases, for
 * classes of any size and labels in any order.
 *
 * @throws `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_OPTION`, `LP_NOT_FINITE`, `LP_DETACHED`, `LP_DEVICE`, `LP_MEMORY`, `LP_ABORTED`
 */
export async function structuredProducts(state: State, options: ProductsOptions): Promise<Products>;
export async function structuredProducts(state: DeviceState, options: ProductsOptions<DeviceArray>): Promise<Products<DeviceArray>>;
export async function structuredProducts(
  state: State | DeviceState,
  options: ProductsOptions<NDArray | DeviceArray>,
): Promise<Products<NDArray | DeviceArray>> {
  return run(multiply(state, options), options);
}

/** `structuredProducts` on the calling thread (its loops still use every compute thread). */
export function structuredProductsSync(state: State, options: ProductsOptions): Products {
  return runSync(multiply(state, options));
}

type RawProducts = Required<RawArrays<Operand>>;

declare module '../engine/load.js' {
  interface Engine {
    products(
      mode: Mode,
      state: EngineState,
      plan: { readonly gamma: number },
      out: Operands<ReturnType<typeof stateShapes>> | undefined,
    ): Result<RawProducts>;
  }
}

function multiply<A extends NDArray | DeviceArray>(
  state: State | DeviceState,
  options: ProductsOptions<NDArray | DeviceArray>,
): Task<RawProducts, Products<A>> {
  checkOptions(options, ['gamma', 'out', 'device']);
  const gamma = checkNumber(options.gamma, option('options.gamma')); // of either sign: the products are linear in it
  const { checked, out, place, give } = checkPlacedState(
    state,
    options,
    (state) => ({ operations: stateBytes(state), bytes: stateBytes(state) }),
    stateShapes,
  );
  const { samples, classes, dim } = checked;
  return {
    place,
    call: (engine, mode) => engine.products(mode, checked, { gamma }, out),
    wrap: ({ features, prototypes, biases }) => ({
      features: give<A>([samples, dim], features),
      prototypes: give<A>([classes, dim], prototypes),
      biases: give<A>([classes], biases as Operand),
    }),
  };
}
