/**
 * The five orthogonal parts into which the dynamics of the layer-peeled model splits a state with balanced classes
 * (UL Eq. 8, Lemmas 13–17). Under the unhinged loss each part keeps its form and only changes its length; with `C`
 * classes of `N` samples their eigenvalues are `±(1+γ)/(C√N)` (plus1, minus1), `±(1+γ−γC)/(C√N)` (plus2, minus2) and 0.
 */

import { checkBalanced, checkState, type NDArray, type State } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import type { RawArrays } from '../engine/load.js';
import { run, runSync, type Task } from '../engine/run.js';

/** Features `[n, p]` and prototypes `[C, p]` of one part. */
export interface Part {
  readonly features: NDArray;
  readonly prototypes: NDArray;
}

/** The parts; they are orthogonal and add up to the state. */
export interface Parts {
  /** Class means and prototypes as far as they agree: centred, of dimension `p(C−1)`. */
  readonly plus1: Part;
  /** Class means and prototypes as far as they oppose each other: centred, of dimension `p(C−1)`. */
  readonly minus1: Part;
  /** Global means of features and prototypes as far as they agree: dimension `p`. */
  readonly plus2: Part;
  /** Global means as far as they oppose each other: dimension `p`. */
  readonly minus2: Part;
  /** Features about their class mean: dimension `pC(N−1)`. */
  readonly rest: Part;
}

/**
 * Splits features and prototypes into their five orthogonal parts (UL Eq. 8). Labels may be in any order; every class
 * must have the same number of samples.
 *
 * @throws `LP_BALANCE`, `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function spectralProjections(state: State, options: Control = {}): Promise<Parts> {
  checkOptions(options);
  return run(split(state), options);
}

/** `spectralProjections` on the calling thread (its loops still use every compute thread). */
export function spectralProjectionsSync(state: State): Parts {
  return runSync(split(state));
}

/** The arrays of the parts. */
type RawParts = { readonly [Part in keyof Parts]: RawArrays };

declare module '../engine/load.js' {
  interface Engine {
    projections(mode: Mode, state: EngineState): Result<RawParts>;
  }
}

function split(state: State): Task<RawParts, Parts> {
  const checked = checkState(state);
  checkBalanced(checked, 'spectralProjections');
  const { samples, classes, dim } = checked;
  const shaped = ({ features, prototypes }: RawArrays): Part => ({
    features: { shape: [samples, dim], data: features },
    prototypes: { shape: [classes, dim], data: prototypes },
  });
  return {
    call: (engine, mode) => engine.projections(mode, checked),
    wrap: ({ plus1, minus1, plus2, minus2, rest }) => ({
      plus1: shaped(plus1),
      minus1: shaped(minus1),
      plus2: shaped(plus2),
      minus2: shaped(minus2),
      rest: shaped(rest),
    }),
  };
}
