/**
 * The setting of the numerical experiments of "On the Dynamics Under the Unhinged Loss and Beyond" (UL, App. C.1):
 * p = 512, C = 100, N = 10, features and prototypes drawn at random, and what its figures are drawn from.
 */
import type { NDArray, State } from '../array/ndarray.js';
import { randomState } from '../state/random-state.js';

export const setting = { classes: 100, perClass: 10, dim: 512, seed: 0 };

/** The random start of a setting. */
export type Setting = typeof setting;

/** γ at which the margins are averaged, and the direction converges fastest (UL Cor. 3). */
export const bestGamma = ({ classes }: Setting): number => 1 / (classes - 1);

/** γ above which the common mean outgrows the rest (UL Cor. 3); Infinity for two classes. */
export const turningGamma = ({ classes }: Setting): number => 2 / (classes - 2);

/** Singular values of M on the two blocks: the classes against each other, and their common part (UL Eq. 8). */
export const sigma1 = (gamma: number, { classes, perClass }: Setting): number => (1 + gamma) / (classes * Math.sqrt(perClass));
export const sigma2 = (gamma: number, { classes, perClass }: Setting): number =>
  Math.abs(1 + gamma - gamma * classes) / (classes * Math.sqrt(perClass));

/** The critical weight decay λ* = (1+γ)/(C√N) of UL Cor. 5. */
export const criticalDecay = sigma1;

export const start = ({ classes, perClass, dim, seed }: Setting): State => randomState({ classes, perClass, dim, seed });

/** `count` whole numbers from 0 to `last`, evenly apart. */
export const evenSteps = (last: number, count: number): number[] => [
  ...new Set(Array.from({ length: count }, (_, i) => Math.round((last * i) / (count - 1)))),
];

/** About `count` steps from 1 to `last`, evenly apart on a logarithm. */
export function logSteps(last: number, count: number): number[] {
  return [...new Set(Array.from({ length: count }, (_, i) => Math.round(last ** (i / (count - 1)))))];
}

/** Some γ, and the best one where it is not among them, ascending. */
export const withBest = (gammas: readonly number[], of: Setting): number[] =>
  [...new Set([...gammas, bestGamma(of)])].sort((a, b) => a - b);

/** γ as people write it: 1/(C−1) where it is that. */
export const showGamma = (gamma: number, of: Setting): string => (gamma === bestGamma(of) ? '1/(C−1)' : String(gamma));

/** Frobenius norm. */
export function norm({ data }: NDArray): number {
  let sum = 0;
  for (const value of data) sum += value * value;
  return Math.sqrt(sum);
}

/** Frobenius norm of `scaleX · x − scaleY · y`. */
export function distance(x: NDArray, y: NDArray, scaleX = 1, scaleY = 1): number {
  let sum = 0;
  for (let i = 0; i < x.data.length; i++) sum += (scaleX * (x.data[i] as number) - scaleY * (y.data[i] as number)) ** 2;
  return Math.sqrt(sum);
}
