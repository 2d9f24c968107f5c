/**
 * The five orthogonal parts into which the dynamics of the layer-peeled model splits a state with balanced classes
 * (UL Eq. 8, Lemmas 13–17). Under the unhinged loss each part keeps its form and only changes its length; with `C`
 * classes of `N` samples their eigenvalues are `±(1+γ)/(C√N)` (plus1, minus1), `±(1+γ−γC)/(C√N)` (plus2, minus2) and 0.
 */

import {
  checkPlacedState,
  type DeviceArray,
  type DeviceOptions,
  type DeviceState,
  type Operands,
  partShapes,
  stateBytes,
} from '../array/device.js';
import { checkBalanced, type NDArray, type State } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import type { Operand, RawArrays, Sizes } from '../engine/load.js';
import { run, runSync, type Task } from '../engine/run.js';

/** Features `[n, p]` and prototypes `[C, p]` of one part. */
export interface Part<A extends NDArray | DeviceArray = NDArray> {
  readonly features: A;
  readonly prototypes: A;
}

/** The parts; they are orthogonal and add up to the state. */
export interface Parts<A extends NDArray | DeviceArray = NDArray> {
  /** Class means and prototypes as far as they agree: centred, of dimension `p(C−1)`. */
  readonly plus1: Part<A>;
  /** Class means and prototypes as far as they oppose each other: centred, of dimension `p(C−1)`. */
  readonly minus1: Part<A>;
  /** Global means of features and prototypes as far as they agree: dimension `p`. */
  readonly plus2: Part<A>;
  /** Global means as far as they oppose each other: dimension `p`. */
  readonly minus2: Part<A>;
  /** Features about their class mean: dimension `pC(N−1)`. */
  readonly rest: Part<A>;
}

export interface ProjectionsOptions<A extends NDArray | DeviceArray = NDArray> extends Control, DeviceOptions {
  /**
   * Arrays that the parts go to, such as an earlier result; they share no memory with the state or each other, and hold what
   * is not specified after a call that fails or is stopped.
   * @default new arrays
   */
  readonly out?: Parts<A> | undefined;
}

/**
 * Splits features and prototypes into their five orthogonal parts (UL Eq. 8). Labels may be in any order; every class
 * must have the same number of samples.
 *
 * @throws `LP_BALANCE`, `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_DETACHED`, `LP_OPTION`, `LP_DEVICE`, `LP_MEMORY`,
 *   `LP_ABORTED`
 */
export async function spectralProjections(state: State, options?: ProjectionsOptions): Promise<Parts>;
export async function spectralProjections(
  state: DeviceState,
  options?: ProjectionsOptions<DeviceArray>,
): Promise<Parts<DeviceArray>>;
export async function spectralProjections(
  state: State | DeviceState,
  options: ProjectionsOptions<NDArray | DeviceArray> = {},
): Promise<Parts<NDArray | DeviceArray>> {
  return run(split(state, options), options);
}

/** `spectralProjections` on the calling thread (its loops still use every compute thread). */
export function spectralProjectionsSync(state: State, options: ProjectionsOptions = {}): Parts {
  return runSync(split(state, options));
}

/** The arrays of the parts. */
type RawParts = { readonly [Part in keyof Parts]: RawArrays<Operand> };

const shapes = (sizes: Sizes) => {
  const part = partShapes(sizes);
  return { plus1: part, minus1: part, plus2: part, minus2: part, rest: part };
};

declare module '../engine/load.js' {
  interface Engine {
    projections(mode: Mode, state: EngineState, out: Operands<ReturnType<typeof shapes>> | undefined): Result<RawParts>;
  }
}

function split<A extends NDArray | DeviceArray>(
  state: State | DeviceState,
  options: ProjectionsOptions<NDArray | DeviceArray>,
): Task<RawParts, Parts<A>> {
  checkOptions(options, ['out', 'device']);
  const { checked, out, place, give } = checkPlacedState(
    state,
    options,
    (state) => ({ operations: stateBytes(state), bytes: 3 * stateBytes(state) }),
    shapes,
  );
  checkBalanced(checked, 'spectralProjections');
  const { samples, classes, dim } = checked;
  const shaped = ({ features, prototypes }: RawArrays<Operand>): Part<A> => ({
    features: give<A>([samples, dim], features),
    prototypes: give<A>([classes, dim], prototypes),
  });
  return {
    place,
    call: (engine, mode) => engine.projections(mode, checked, out),
    wrap: ({ plus1, minus1, plus2, minus2, rest }) => ({
      plus1: shaped(plus1),
      minus1: shaped(minus1),
      plus2: shaped(plus2),
      minus2: shaped(minus2),
      rest: shaped(rest),
    }),
  };
}
