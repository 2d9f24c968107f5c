/**
 * Accuracy: of all samples, of each class, the mean of classes (balanced), and of groups of classes by how many training
 * samples they had (many, medium, few: Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", 2019).
 */
import { eachPiece, type Turns } from '../array/rows.js';
import { LayerpeelError } from '../check/errors.js';
import { type Complete, checkKeys, checkNumber, inside, type Place } from '../check/options.js';

export interface Accuracies {
  /** Share of samples decided right. */
  readonly accuracy: number;
  /** Mean accuracy of classes that have samples. */
  readonly balancedAccuracy: number;
  /** `[C]`; NaN for a class without samples. */
  readonly perClass: Float64Array;
}

export interface Group {
  /** The classes in it. */
  readonly classes: readonly number[];
  /** Mean accuracy of its classes; NaN for a group without samples. */
  readonly accuracy: number;
}

export type GroupName = 'many' | 'medium' | 'few';
export type Groups = Readonly<Record<GroupName, Group>>;

/** Training samples of a class: more than `many` make it one of many, fewer than `few` one of few. */
export interface GroupLimits {
  /** @default 100 */
  readonly many?: number | undefined;
  /** @default 20 */
  readonly few?: number | undefined;
}

/** @param weights how often each sample counts. @default once */
export function* accuraciesOf(predicted: Int32Array, labels: Int32Array, classes: number, weights?: Int32Array): Turns<Accuracies> {
  const [right, total] = [new Float64Array(classes), new Float64Array(classes)];
  yield* eachPiece(labels.length, (begin, end) => {
    for (let i = begin; i < end; i++) {
      const label = labels[i] as number;
      const weight = weights ? (weights[i] as number) : 1;
      total[label] = (total[label] as number) + weight;
      if (predicted[i] === label) right[label] = (right[label] as number) + weight;
    }
  });
  const perClass = right.map((count, label) => count / (total[label] as number));
  const sum = (values: Float64Array) => values.reduce((all, value) => all + value, 0);
  return { accuracy: sum(right) / sum(total), balancedAccuracy: meanOf(perClass), perClass };
}

/** The mean of what is a number. */
function meanOf(values: ArrayLike<number>): number {
  let [sum, count] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (Number.isNaN(value)) continue;
    sum += value;
    count++;
  }
  return sum / count;
}

/** Classes by their group. */
export type Membership = Readonly<Record<GroupName, readonly number[]>>;

export function checkLimits(limits: GroupLimits = {}, place: Place): Complete<GroupLimits> {
  const given = checkKeys(limits, ['many', 'few'], place);
  const many = checkNumber(given.many ?? 100, inside(place, 'many'), { min: 0 });
  return { many, few: checkNumber(given.few ?? 20, inside(place, 'few'), { min: 0, max: many }) };
}

export function membership(counts: ArrayLike<number>, classes: number, { many, few }: Complete<GroupLimits>): Membership {
  const sizes = Array.from(counts);
  if (sizes.length !== classes) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `counts have ${sizes.length} entries; expected ${classes}, the training samples of each class.`,
    );
  }
  const where = (fits: (size: number) => boolean) => sizes.flatMap((size, label) => (fits(size) ? [label] : []));
  return {
    many: where((size) => size > many),
    medium: where((size) => size <= many && size >= few),
    few: where((size) => size < few),
  };
}

export function groupsOf(members: Membership, perClass: Float64Array): Groups {
  const group = (classes: readonly number[]): Group => ({
    classes,
    accuracy: meanOf(classes.map((label) => perClass[label] as number)),
  });
  return { many: group(members.many), medium: group(members.medium), few: group(members.few) };
}
