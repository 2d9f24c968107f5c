/**
 * What a training measures by class after an epoch, on the training images as they are: how long features are, and what each class
 * has in the gradient of the loss (src/losses/gradient-shares.ts).
 *
 * The loss is that of the epoch's steps, a mean over all training images as if they were one batch: with its class weights and
 * lengths, without augmentation, rescaled rates, and the regularization of features. Nothing is said but lengths of LDAM, which moves
 * each sample's own logit by a margin, and of so many classes that their gradients would take longer than the epoch (`MOST_WORK`).
 */
import { type CheckedState, checkState, type NDArray, type State } from '../array/ndarray.js';
import { eachRow } from '../array/rows.js';
import type { Control } from '../check/control.js';
import { drive, type Steps } from '../engine/run.js';
import { splitGradient } from '../losses/gradient-shares.js';
import type { EngineLoss } from '../losses/losses.js';
import { normOf } from '../state/states.js';
import type { TrainerPlan } from './engine.js';

/** Names and meanings. */
export const classMeasures = {
  featureNorm: 'mean length of the features of a class, as they enter the logits',
  pull: "length of what a class's own images make of the gradient of its prototype; 0 of fixed ones",
  push: 'length of what the images of all other classes make of it; 0 of fixed ones',
  backbone: "sum of the lengths of the gradient by each feature of the class: what bounds its part in the backbone's gradient",
} as const;

export type ClassMeasure = keyof typeof classMeasures;

/** Measures `[epochs, C]`; an epoch that was not measured is NaN. */
export type ByClass = Readonly<Record<ClassMeasure, NDArray<Float64Array>>>;

/** Of one epoch, `[C]` each; what was not measured is left out. */
export type EpochByClass = Partial<Readonly<Record<ClassMeasure, Float64Array>>>;

const names = Object.keys(classMeasures) as ClassMeasure[];

const eachMeasure = <T>(of: (name: ClassMeasure) => T) =>
  Object.fromEntries(names.map((name) => [name, of(name)])) as Record<ClassMeasure, T>;

/** Additions `C² p` of an epoch's gradients by class: those of 2 000 classes in 512 dimensions. */
const MOST_WORK = 2 ** 31;

/** Of so many epochs: those that a checkpoint has, or nothing of any. */
export const beginByClass = (epochs: number, classes: number, before: Partial<ByClass> = {}): ByClass =>
  eachMeasure((name) => before[name] ?? { shape: [epochs, classes], data: new Float64Array(epochs * classes).fill(Number.NaN) });

/** With one epoch more. */
export const appendByClass = (byClass: ByClass, row: EpochByClass = {}): ByClass =>
  eachMeasure((name) => {
    const { shape, data } = byClass[name];
    const [epochs, classes] = shape as [number, number];
    const longer = new Float64Array((epochs + 1) * classes).fill(Number.NaN);
    longer.set(data);
    longer.set(row[name] ?? [], epochs * classes);
    return { shape: [epochs + 1, classes], data: longer };
  });

/** The last epoch that was measured, from 1, and its measures; undefined where none was. */
export function lastByClass(byClass: ByClass): { epoch: number; of: Record<ClassMeasure, Float64Array> } | undefined {
  const [epochs, classes] = byClass.featureNorm.shape as [number, number];
  for (let epoch = epochs; epoch > 0; epoch--) {
    const of = eachMeasure((name) => byClass[name].data.subarray((epoch - 1) * classes, epoch * classes));
    if (of.featureNorm.some(Number.isFinite)) return { epoch, of };
  }
  return undefined;
}

/** What is known of a network whose features are measured. */
export interface Measured {
  /** Training samples of each class. */
  readonly counts: Int32Array;
  readonly classifier: Pick<State, 'prototypes' | 'biases'>;
  readonly plan: TrainerPlan;
  /** From 0, on which class weights may depend. */
  readonly epoch: number;
}

/** Measures features as they enter the logits, of all training samples, in one part or several: all but norms of sums are sums. */
export class ByClassSums {
  private readonly featureNorm: Float64Array;
  private readonly loss: EngineLoss | undefined;
  private gradient: { readonly pull: Float64Array; readonly push: Float64Array; readonly backbone: Float64Array } | undefined;

  constructor(private readonly about: Measured) {
    const { counts, classifier, plan, epoch } = about;
    const [classes, dim] = classifier.prototypes.shape as [number, number];
    this.featureNorm = new Float64Array(classes);
    this.loss = classes ** 2 * dim > MOST_WORK ? undefined : lossOf(plan, counts, epoch);
    const sums = () => new Float64Array(classes * dim);
    this.gradient = this.loss && { pull: sums(), push: sums(), backbone: new Float64Array(classes) };
  }

  /** @param features `[k, p]`, with their labels */
  add(features: NDArray<Float32Array>, labels: Int32Array, control: Control): Promise<void> {
    return drive(this.addSteps(checkState({ features, labels, ...this.about.classifier })), control);
  }

  private *addSteps(state: CheckedState): Steps<void> {
    const { features, labels, samples, dim } = state;
    const { counts } = this.about;
    const { featureNorm, loss, gradient } = this;
    yield* eachRow(samples, dim, (i, at) => {
      const label = labels[i] as number;
      featureNorm[label] = (featureNorm[label] as number) + normOf(features.subarray(at, at + dim)) / (counts[label] as number);
    });
    if (!loss || !gradient) return;
    try {
      // A mean over these samples weighs in that over all as its share of them.
      const share = samples / counts.reduce((sum, count) => sum + count, 0);
      const { pull, push, backbone } = yield* splitGradient(state, loss);
      for (const [sum, part] of [
        [gradient.pull, pull.data],
        [gradient.push, push.data],
        [gradient.backbone, backbone],
      ] as const) {
        for (let at = 0; at < sum.length; at++) sum[at] = (sum[at] as number) + share * (part[at] as number);
      }
    } catch (error) {
      // As of collapse: of numbers that have all but left their range there is nothing to measure. Nor where a feature is zero whose
      // length the loss divides by.
      const { code } = error as { code?: string };
      if (code !== 'LP_OVERFLOW' && code !== 'LP_NOT_FINITE' && !(code === 'LP_OPTION' && loss.ownLength)) throw error;
      this.gradient = undefined;
    }
  }

  result(): EpochByClass {
    const { featureNorm, gradient } = this;
    if (!gradient) return { featureNorm };
    const { fixedPrototypes } = this.about.plan;
    const lengths = (rows: Float64Array) =>
      featureNorm.map((_, c) => {
        const dim = rows.length / featureNorm.length;
        return fixedPrototypes ? 0 : normOf(rows.subarray(c * dim, (c + 1) * dim));
      });
    return { featureNorm, pull: lengths(gradient.pull), push: lengths(gradient.push), backbone: gradient.backbone };
  }
}

/** The loss on features as they enter the logits, all of them one batch. */
function lossOf({ loss }: TrainerPlan, counts: Int32Array, epoch: number): EngineLoss | undefined {
  if (loss.ldamMargins) return undefined;
  const { classWeights, curvatures } = loss;
  const samples = counts.reduce((sum, count) => sum + count, 0);
  const weights = classWeights && epoch >= loss.weightsFrom ? classWeights : undefined;
  const weight = weights?.reduce((sum, each, c) => sum + each * (counts[c] as number), 0);
  return {
    ...loss,
    ...{ normalized: false, sum: false, regularization: 0 },
    classWeights: weights && loss.meanByWeights ? weights.map((each) => (each * samples) / (weight as number)) : weights,
    // A length τ of own prototype and target makes the square τ² times as large: τ² = γ/n_c.
    curvatures: loss.balanced ? curvatures?.map((each, c) => (each * samples) / counts.length / (counts[c] as number)) : curvatures,
  };
}
