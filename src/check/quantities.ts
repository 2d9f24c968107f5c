/**
 * The quantities that several functions take, each with its domain: checked here and nowhere else, so that what one function refuses
 * no other accepts.
 */
import { checkKeys, checkNumber, inside, type Place } from './options.js';

/** `γ`, the weight of the other classes' logits in the unhinged loss: at least 0. */
export const checkGamma = (value: unknown, place: Place): number => checkNumber(value, place, { min: 0 });

/** `μ` of `v ← μ v + d`: at 1 nothing would ever be forgotten. @default 0 */
export const checkMomentum = (value: unknown, place: Place): number => checkNumber(value ?? 0, place, { min: 0, below: 1 });

/** A number of steps. */
export const checkSteps = (value: unknown, place: Place, max?: number): number =>
  checkNumber(value, place, { min: 0, ...(max !== undefined && { max }), integer: true });

/** The seed of random numbers. @default 0 */
export const checkSeed = (value: unknown, place: Place, max = Number.MAX_SAFE_INTEGER): number =>
  checkNumber(value ?? 0, place, { min: 0, max, integer: true });

/** `λ` of `λ/2 ‖x‖²` for each of the parts: a number is that of all, what is left out 0. */
export function checkWeightDecay<Part extends string>(value: unknown, parts: readonly Part[], place: Place): Record<Part, number> {
  const whole = value === undefined || typeof value === 'number';
  const given = whole ? {} : checkKeys(value, parts, place);
  const decay = (part: Part) =>
    checkNumber(whole ? (value ?? 0) : (given[part] ?? 0), whole ? place : inside(place, part), { min: 0 });
  return Object.fromEntries(parts.map((part) => [part, decay(part)])) as Record<Part, number>;
}
