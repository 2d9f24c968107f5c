/** Labels as files have them, as numbers of classes. */
import { fileFault } from '../array/stored.js';
import { type CheckedSource, called, numbers, takeLabel } from './reading.js';

/** Most classes that may be numbered by a label nobody has looked at. */
const MOST_CLASSES = 2 ** 20;

/**
 * Labels `[n]` in `0 … C − 1` and the names of the classes. By default a class is `label − firstLabel` and named by its number; where
 * empty classes are left out, classes are numbered in the order of the labels that there are, and named by them.
 * @param name of an image in messages @default its number
 * @throws LP_FILE for a label beyond the classes
 */
export function numberLabels(
  values: ArrayLike<number>,
  path: string,
  { classes, firstLabel, emptyClasses }: CheckedSource,
  name: (image: number) => number | string = (image) => image,
): { labels: Int32Array; classes: readonly string[]; remark: string } {
  if (emptyClasses === 'leave out') {
    const present = [...new Set(Array.from(values))].sort((a, b) => a - b);
    const names = classes ?? present.map(String);
    const places = new Map(names.map((name, c) => [name, c]));
    const labels = Int32Array.from(values, (value, image) => {
      const place = places.get(String(value));
      if (place !== undefined) return place;
      throw fileFault(path, `the label of ${called(name(image))} is ${value}; expected one of ${shown(names)}.`);
    });
    const all = (present.at(-1) as number) - Math.min(firstLabel, present[0] as number) + 1;
    const left = classes ? 0 : all - present.length;
    const remark = left > 0 ? ` (${left} classes without images are left out, the others renumbered)` : '';
    return { labels, classes: names, remark };
  }
  let largest = firstLabel;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, values[i] as number);
  const count = classes?.length ?? largest - firstLabel + 1;
  if (count > MOST_CLASSES) {
    throw fileFault(
      path,
      `its largest label is ${largest}, which makes ${count} classes; expected at most ${MOST_CLASSES} (emptyClasses: 'leave out' numbers those that there are).`,
    );
  }
  const labels = Int32Array.from(values, (value, image) => takeLabel(value, name(image), path, count, firstLabel));
  return { labels, classes: classes ?? numbers(count), remark: '' };
}

const shown = (names: readonly string[]): string => `${names.slice(0, 20).join(', ')}${names.length > 20 ? ', …' : ''}`;
