/**
 * Entries of configurations by their paths: `options.gamma`, `when[0].value`. Objects on the way are made where there are none;
 * what no check of the configuration knows is left to that check to refuse.
 */
import { LayerpeelError } from './errors.js';
import { entry, inside, type Place, show } from './options.js';

/** Characters of a path: the entries of every configuration have less. */
const LONGEST = 500;

/** The steps of a path: names, and places in lists. @throws the place's code for what is no path */
function stepsOf(path: string, place: Place): readonly (string | number)[] {
  if (path.length > LONGEST || !/^[^.[\]]+(\[\d+\]|\.[^.[\]]+)*$/.test(path)) {
    throw new LayerpeelError(place.code, `${show(path)} is no path of an entry; expected names with dots, such as options.gamma.`);
  }
  return Array.from(path.matchAll(/\[(\d+)\]|([^.[\]]+)/g), ([, index, name]) =>
    index === undefined ? (name as string) : Number(index),
  );
}

/** A copy of a configuration in which the entry at a path is `value`. @throws the place's code where nothing can be set */
export function withEntry(config: unknown, path: string, value: unknown, place: Place): unknown {
  const set = (whole: unknown, [step, ...rest]: readonly (string | number)[], here: Place): unknown => {
    if (step === undefined) return value;
    if (typeof step === 'number') {
      if (!Array.isArray(whole) || step >= whole.length) {
        const found = Array.isArray(whole) ? `has ${whole.length} entries` : `is ${show(whole)}`;
        throw new LayerpeelError(place.code, `${here.path} ${found}, so that ${place.path}.${path} cannot be set.`);
      }
      return whole.with(step, set(whole[step], rest, entry(here, step)));
    }
    if (whole !== undefined && (typeof whole !== 'object' || whole === null || Array.isArray(whole))) {
      throw new LayerpeelError(
        place.code,
        `${here.path} is ${show(whole)}, which has no ${step}, so that ${place.path}.${path} cannot be set; set ${here.path} itself.`,
      );
    }
    return { ...whole, [step]: set((whole as Record<string, unknown> | undefined)?.[step], rest, inside(here, step)) };
  };
  return set(config, stepsOf(path, place), place);
}

/** The entry at a path; undefined where there is none. */
export function entryAt(config: unknown, path: string, place: Place): unknown {
  return stepsOf(path, place).reduce<unknown>(
    (whole, step) => (Object.hasOwn(Object(whole), step) ? (whole as Record<string | number, unknown>)[step] : undefined),
    config,
  );
}
