/**
 * Random numbers that are the same on every machine for the same seed: xoshiro128** (Blackman and Vigna, "Scrambled
 * linear pseudorandom number generators", 2021), seeded through splitmix64; normals by Marsaglia's polar method, which
 * needs a logarithm and a square root only.
 */
import { types } from 'node:util';
import { LayerpeelError } from '../check/errors.js';
import { checkNumber, option } from '../check/options.js';
import { describe, dtypeOf, scales } from './ndarray.js';

export interface SeededRandom {
  /** Uniform on `[0, 1)`, a multiple of 2⁻⁵³. */
  uniform(): number;
  /** Standard normal. */
  normal(): number;
  /** Fills an array with independent normals of mean 0 and the given standard deviation (1 when left out), and returns it. */
  fillNormal<T extends Float32Array | Float64Array>(array: T, deviation?: number): T;
}

/** @param seed an integer from 0 to 2⁵³ − 1 */
export function seededRandom(seed: number): SeededRandom {
  let [a, b, c, d] = splitmix(checkNumber(seed, option('seed'), { min: 0, integer: true }));
  let spare: number | undefined;

  /** 32 random bits, signed. */
  function bits(): number {
    const scrambled = Math.imul(rotate(Math.imul(b, 5), 7), 9);
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = rotate(d, 11);
    return scrambled;
  }

  function uniform(): number {
    const high = bits() >>> 5;
    const low = bits() >>> 6;
    return (high * 2 ** 26 + low) * 2 ** -53;
  }

  function normal(): number {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    let x: number;
    let y: number;
    let square: number;
    do {
      x = 2 * uniform() - 1;
      y = 2 * uniform() - 1;
      square = x * x + y * y;
    } while (square >= 1 || square === 0);
    const factor = Math.sqrt((-2 * Math.log(square)) / square);
    spare = y * factor;
    return x * factor;
  }

  function fillNormal<T extends Float32Array | Float64Array>(array: T, deviation = 1): T {
    if (!(types.isFloat32Array(array) || types.isFloat64Array(array))) {
      throw new LayerpeelError('LP_DTYPE', `array is ${describe(array)}; expected a Float32Array or Float64Array to fill.`);
    }
    const { max } = scales[dtypeOf(array)];
    checkNumber(deviation, option('deviation'), { min: -max, max });
    for (let i = 0; i < array.length; i++) array[i] = deviation * normal();
    return array;
  }

  return { uniform, normal, fillNormal };
}

/** Of several integers from 0 to 2⁵³ − 1 − a seed, an epoch, an index −, whose streams begin at unrelated places. */
export const randomOf = (...words: readonly number[]): SeededRandom =>
  seededRandom(words.reduce((state, word) => seededRandom((state + word) % 2 ** 53).uniform() * 2 ** 53, 0));

const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by));

/** Four 32-bit words from a seed: neighbouring seeds give unrelated states, and never four zeros. */
function splitmix(seed: number): [number, number, number, number] {
  let state = BigInt(seed);
  const next = (): bigint => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  };
  const [first, second] = [next(), next()];
  const words = [first, first >> 32n, second, second >> 32n].map((word) => Number(BigInt.asIntN(32, word)));
  return words as [number, number, number, number];
}
