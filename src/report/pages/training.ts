/**
 * The report of a training run: what was measured of every epoch, drawn over the epochs, and the last one as a table.
 */
import { least, most } from '../../array/extremes.js';
import { type CollapseMeasure, collapseMeasures, type MeasureInfo } from '../../collapse/measures.js';
import { type ByClass, type ClassMeasure, lastByClass } from '../../training/by-class.js';
import type { TrainingConfig } from '../../training/config.js';
import type { Comparison } from '../../training/theory.js';
import { type Axis, type Column, type LineChart, lineChart, type Rule, type Series } from '../figure.js';
import { checkResult, type Figure, type Report, type Section, type Table, withScripts } from '../page.js';
import { formatNumber } from '../ticks.js';
import { classAxis, IN_ORDER } from './classes.js';

type Row = Readonly<Record<string, number>>;

/** A training run, or as much of it as is done. */
export interface TrainingResult {
  readonly config: TrainingConfig;
  /** What was measured of each epoch: the `history` of an epoch. */
  readonly history: readonly Row[];
  /** Training samples of each class, and its name. */
  readonly counts: ArrayLike<number>;
  readonly classes?: readonly string[] | undefined;
  /** What was measured by class: that of an epoch. */
  readonly byClass?: ByClass | undefined;
  /** Parameters of the network. */
  readonly parameters: number;
  /** The layer-peeled model beside the network, or a sentence why it is not. */
  readonly theory: Comparison | string;
  /** The version of libtorch. */
  readonly libtorch?: string | undefined;
  /** How the run ended, in a sentence, where it ended early. */
  readonly ending?: string | undefined;
}

export interface TrainingAbout {
  readonly name: string;
}

export function trainingPage(result: TrainingResult, { name }: TrainingAbout): Report {
  checkResult(result, ['config', 'history', 'counts', 'parameters', 'theory'], 'train');
  const { config, history, theory, libtorch } = result;
  const rows = history.map(derived);
  const sections: Section[] = SECTIONS.flatMap(({ title, text, figures: plans }) => {
    const figures = plans.flatMap((plan) => figureOf(plan, rows, result));
    return figures.length > 0 ? [{ title, figures, ...(text && { text: [text] }) }] : [];
  });
  sections.splice(1, 0, theorySection(theory));
  const ofClasses = classSection(result);
  if (ofClasses) sections.splice(-1, 0, ofClasses);
  const last = history.at(-1);
  return {
    title: `${config.model.kind} trained under ${config.loss.kind}: ${name}`,
    lead: leadOf(result),
    sections: [...sections, ...(last ? [{ title: `Epoch ${last.epoch}`, tables: [tableOf(last)] }] : [])],
    parameters: { ...config, ...(libtorch !== undefined && { libtorch }) },
  };
}

/** The theory beside a run as columns. */
export function theoryColumns({ zeta, measured, predicted, anchored }: Comparison): Record<string, Column> {
  const more = anchored && {
    ...{ cosine: anchored.cosine, norm: anchored.norm },
    ...{ predictedCosine: anchored.predicted.cosine, predictedNorm: anchored.predicted.norm },
  };
  return { epoch: zeta.map((_, k) => k), zeta, measured, predicted, ...more };
}

/** What the columns of an epoch are, beside the measures of collapse. */
const MEANINGS: Readonly<Record<string, string>> = {
  loss: 'mean loss of the training steps, with augmentation and regularization',
  accuracy: 'share of the training images decided right in the steps, with augmentation',
  learningRate: 'of the last step',
  testLoss: 'mean loss of the test images, without regularization',
  testAccuracy: 'share of the test images decided right',
  trainLoss: 'mean loss of the training images as they are, without regularization',
  trainAccuracy: 'share of the training images decided right as they are',
  featureNorm: 'mean length of the features, before they are normalized',
  smallestPrototypeNorm: 'length of the shortest prototype',
  prototypeNormRatio: 'length of the longest prototype over that of the shortest',
  smallestPrototypeAngle: 'smallest angle between two prototypes, in degrees (UL Figure 19)',
  smallestCenteredPrototypeAngle: 'smallest angle between two centred prototypes, in degrees',
  testNc1: 'nc1 of the test features about the means of the training features',
  testNc1TraceRatio: 'nc1TraceRatio of the test features about the means of the training features',
  testNc1Cdnv: 'nc1Cdnv of the test features about the means of the training features',
  testWithinClassVariation: 'withinClassVariation of the test features about the means of the training features',
  testNc4: 'share of the test images that the classifier and the nearest training mean decide differently',
  seconds: 'time of the steps',
  imagesPerSecond: 'training images a second of the steps',
  waitedForImages: 'seconds in which the network waited for images',
  secondsCollapse: 'seconds of measuring collapse and what there is by class, once the features are there',
  secondsMeasuring: 'seconds of passing the training images through the network and measuring',
  secondsTheory: 'seconds of the theory since the epoch before: its look at the network, its flow, its curves',
};

interface FigurePlan {
  readonly name: string;
  readonly title: string;
  readonly y: Axis;
  /** Columns and what they are in the legend. */
  readonly curves: Readonly<Record<string, string>>;
  /** By which values are multiplied. @default 1 */
  readonly factor?: number | undefined;
  readonly rule?: ((classes: number) => Rule) | undefined;
  readonly caption: string;
}

interface SectionPlan {
  readonly title: string;
  readonly text?: string | undefined;
  readonly figures: readonly FigurePlan[];
}

const percent = (title: string): { y: Axis; factor: number } => ({ y: { title: `${title}, %` }, factor: 100 });

const SECTIONS: readonly SectionPlan[] = [
  {
    title: 'Learning',
    figures: [
      {
        name: 'accuracy',
        title: 'Accuracy',
        ...percent('images decided right'),
        curves: { testAccuracy: 'test', trainAccuracy: 'training', accuracy: 'training, in the steps' },
        caption: 'Share of images decided right. In the steps images are augmented and the network still changes.',
      },
      {
        name: 'loss',
        title: 'Loss',
        y: { title: 'mean loss', scale: 'log' },
        curves: { testLoss: 'test', trainLoss: 'training', loss: 'training, in the steps' },
        caption: 'Mean loss of an image; that of the steps has the regularization in it.',
      },
      {
        name: 'learning-rate',
        title: 'Learning rate',
        y: { title: 'learning rate' },
        curves: { learningRate: 'learning rate' },
        caption: 'Learning rate of the last step of each epoch.',
      },
    ],
  },
  {
    title: 'Neural collapse',
    text:
      'Measured on the training images as they are, in evaluation mode. Measures whose name does not say otherwise are 0 at ' +
      'collapse; the table below has what each one is.',
    figures: [
      {
        name: 'nc1',
        title: 'NC1: samples gather at their class mean',
        y: { title: 'spread within classes', scale: 'log' },
        curves: { nc1: 'nc1', nc1TraceRatio: 'nc1TraceRatio', nc1Cdnv: 'nc1Cdnv', withinClassVariation: 'withinClassVariation' },
        caption: 'Spread of features within their classes against that between classes, by several definitions.',
      },
      {
        name: 'test-nc1',
        title: 'NC1 of test images about the training means',
        y: { title: 'spread about the means', scale: 'log' },
        curves: {
          testNc1: 'nc1',
          testNc1TraceRatio: 'nc1TraceRatio',
          testNc1Cdnv: 'nc1Cdnv',
          testWithinClassVariation: 'withinClassVariation',
        },
        caption:
          'The same of the features of test images, whose spread is taken about the class means of the training images, against that ' +
          'between these means.',
      },
      {
        name: 'nc2-norms',
        title: 'NC2: lengths become equal',
        y: { title: 'standard deviation over mean', scale: 'log' },
        curves: {
          featureNormVariation: 'class means',
          centeredPrototypeNormVariation: 'centred prototypes',
          prototypeNormVariation: 'prototypes',
        },
        caption: 'Variation of the lengths of centred class means and of prototypes.',
      },
      {
        name: 'nc2-angles',
        title: 'NC2: angles become those of a simplex',
        y: { title: 'distance from the simplex', scale: 'log' },
        curves: {
          featureCosine: 'featureCosine',
          centeredPrototypeCosine: 'centeredPrototypeCosine',
          nc2: 'nc2',
          nc2Zhu: 'nc2Zhu',
        },
        caption: 'Cosines of class means (featureCosine) and of prototypes against −1/(C−1); nc2 compares whole Gram matrices.',
      },
      {
        name: 'nc3',
        title: 'NC3: prototypes and class means align',
        y: { title: 'distance from duality', scale: 'log' },
        curves: { nc3: 'nc3', nc3Zhu: 'nc3Zhu', dualityFrobenius: 'dualityFrobenius', selfDuality: 'selfDuality' },
        caption: 'Distance between prototypes and centred class means, by several definitions.',
      },
      {
        name: 'alignment',
        title: 'Alignment',
        y: { title: 'mean cosine' },
        curves: { alignment: 'alignment' },
        rule: () => ({ y: 1 }),
        caption: 'Mean cosine between a prototype and its centred class mean; 1 at collapse.',
      },
      {
        name: 'nc4',
        title: 'NC4: the nearest class mean decides',
        ...percent('images decided otherwise'),
        curves: { nc4: 'training', testNc4: 'test' },
        caption: 'Share of images that the classifier and the nearest class mean of the training images decide differently.',
      },
    ],
  },
  {
    title: 'Norms, angles and margins',
    figures: [
      {
        name: 'norms',
        title: 'Norms',
        y: { title: 'norm', scale: 'log' },
        curves: {
          featureNorm: 'features, mean',
          largestPrototypeNorm: 'prototypes, largest',
          smallestPrototypeNorm: 'prototypes, smallest',
        },
        caption: 'Lengths of features before they are normalized, in the mean, and of prototypes.',
      },
      {
        name: 'prototype-angle',
        title: 'Smallest angle between prototypes',
        y: { title: 'angle, degrees' },
        curves: { smallestPrototypeAngle: 'prototypes', smallestCenteredPrototypeAngle: 'centred prototypes' },
        rule: (classes) => ({ y: (Math.acos(-1 / (classes - 1)) * 180) / Math.PI, label: 'simplex' }),
        caption:
          'Smallest angle between two prototypes, as in UL Figure 19, and between two centred ones; the line is that of a simplex.',
      },
      {
        name: 'prototype-norm-ratio',
        title: 'Largest over smallest prototype norm',
        y: { title: 'ratio of norms' },
        curves: { prototypeNormRatio: 'ratio' },
        rule: () => ({ y: 1 }),
        caption: 'Length of the longest prototype over that of the shortest, as in UL Figure 19; 1 at collapse.',
      },
      {
        name: 'margins',
        title: 'Margins',
        y: { title: 'margin' },
        curves: { meanMargin: 'mean', minMargin: 'smallest' },
        rule: () => ({ y: 0 }),
        caption: 'How far the logit of its class leads the largest other one of a training image, in the mean and at worst.',
      },
    ],
  },
  {
    title: 'Pace',
    figures: [
      {
        name: 'images-per-second',
        title: 'Images per second',
        y: { title: 'training images per second' },
        curves: { imagesPerSecond: 'images per second' },
        caption: 'Training images a second of the steps, augmentation included.',
      },
      {
        name: 'seconds',
        title: 'Seconds of an epoch',
        y: { title: 'seconds', scale: 'log' },
        curves: { seconds: 'steps of the network', secondsMeasuring: 'measures', secondsTheory: 'theory' },
        caption:
          'Seconds that the steps of each epoch took, measuring after it (the training images pass through the network once more), and ' +
          'the theory beside it.',
      },
      {
        name: 'time-shares',
        title: 'Share of time',
        ...percent('time of the epoch'),
        curves: { shareWaiting: 'waiting for images', shareMeasuring: 'measuring collapse' },
        caption: 'Share of the steps in which the network waited for images; share of the epoch that went into measuring collapse.',
      },
    ],
  },
];

function leadOf({ config, history, counts, parameters, ending }: TrainingResult): string {
  const samples = Array.from(counts).reduce((sum, count) => sum + count, 0);
  const { epoch = 0, trainAccuracy, accuracy, testAccuracy } = history.at(-1) ?? {};
  const share = (value: number) => `${formatNumber(100 * value)}%`;
  const right = [
    ...(testAccuracy === undefined ? [] : [`${share(testAccuracy)} of the test images`]),
    ...(accuracy === undefined
      ? []
      : [`${share(Number.isFinite(trainAccuracy) ? (trainAccuracy as number) : accuracy)} of the training images`]),
  ];
  return [
    `${formatNumber(parameters, 12)} parameters, trained on ${formatNumber(samples, 12)} images of ${counts.length} classes.`,
    `${epoch} of ${config.epochs} epochs ${epoch === 1 ? 'is' : 'are'} done${right.length > 0 ? `; ${right.join(' and ')} are decided right` : ''}.`,
    ...(ending ? [ending] : []),
    ...(ending && epoch > 0 ? ['`--resume` goes on from here.'] : []),
  ].join(' ');
}

/** A figure of what was measured of a plan's columns; none where nothing was. */
function figureOf(plan: FigurePlan, rows: readonly Row[], { config, counts }: TrainingResult): Figure[] {
  const series = Object.entries(plan.curves).flatMap(([column, name], place) => {
    const curve = curveOf(rows, column, plan.factor ?? 1);
    return curve ? [{ name, column, ...curve, color: place, style: place }] : [];
  });
  // Of a fixed simplex alone there is nothing to see; beside what moves it stays, to compare with.
  const moving = series.filter(({ column }) => !(isFixed(config) && ofPrototypes(column)));
  if (moving.length === 0) return [];
  const chart: LineChart = {
    title: plan.title,
    x: { title: 'epoch', whole: true },
    y: { ...plan.y, scale: plan.y.scale === 'log' && falls(moving, series) ? 'log' : 'linear' },
    series: series.map(({ column: _, ...drawn }) => drawn),
    rules: plan.rule ? [plan.rule(counts.length)] : [],
  };
  return [{ name: plan.name, spec: lineChart(chart), caption: plan.caption }];
}

/** What is drawn but is no column. */
const derived = (row: Row): Row => ({
  ...row,
  largestPrototypeNorm: (row.smallestPrototypeNorm as number) * (row.prototypeNormRatio as number),
  shareWaiting: (row.waitedForImages as number) / (row.seconds as number),
  shareMeasuring: (row.secondsMeasuring as number) / ((row.seconds as number) + (row.secondsMeasuring as number)),
});

const isFixed = ({ model }: TrainingConfig): boolean => model.classifier?.kind === 'fixed-etf';

/** Whether a column is of the prototypes alone, which of a fixed simplex is a constant. */
const ofPrototypes = (column: string): boolean => /prototype|^nc2/i.test(column);

/** A column over the epochs in which it was measured; undefined where it never was. */
function curveOf(rows: readonly Row[], column: string, factor: number): Pick<Series, 'x' | 'y'> | undefined {
  const measured = rows.filter((row) => Number.isFinite(row[column]));
  if (measured.length === 0) return undefined;
  return { x: measured.map((row) => row.epoch as number), y: measured.map((row) => factor * (row[column] as number)) };
}

/** Whether values go far enough for a logarithm, and what is drawn can. */
function falls(series: readonly Pick<Series, 'y'>[], drawn = series): boolean {
  const valuesOf = (some: typeof series) => some.flatMap(({ y }) => Array.from(y));
  const values = valuesOf(series);
  return least(valuesOf(drawn)) > 0 && most(values) > 5 * least(values);
}

function theorySection(theory: Comparison | string): Section {
  const title = 'Theory beside it';
  if (typeof theory === 'string') return { title, text: [theory] };
  const { zeta, measured, curve, clock, statement, anchored } = theory;
  const model = { name: 'model', color: 0, style: 0 } as const;
  const network = { name: 'network', mark: 'points', color: 1, style: 0 } as const;
  const figures: Figure[] = [
    {
      name: 'theory',
      spec: lineChart({
        title: theory.title,
        x: { title: 'ζ, sum of the learning rates of the steps' },
        y: { title: theory.quantity === 'loss' ? 'mean loss' : 'distance', scale: falls([{ y: measured }]) ? 'log' : 'linear' },
        series: [
          { ...model, x: curve.zeta, y: curve.predicted },
          { ...network, x: zeta, y: measured },
        ],
      }),
      caption: `The network after each epoch, and the model from the same start at the time t = ${formatNumber(clock)} ζ.`,
    },
  ];
  if (anchored) {
    const { cosine, norm, predicted, limitNorm } = anchored;
    const x = { title: 'epoch', whole: true };
    const epoch = zeta.map((_, k) => k);
    const both = (of: readonly number[], own: readonly number[]) => [
      { ...model, x: epoch, y: of },
      { ...network, x: epoch, y: own },
    ];
    figures.push(
      {
        name: 'theory-cosine',
        spec: lineChart({
          x,
          title: 'Class means towards their limit',
          y: { title: 'mean cosine' },
          series: both(predicted.cosine, cosine),
          rules: [{ y: 1 }],
        }),
        caption:
          'Cosine between the mean feature of a class and the direction of MᵀW that the model gives it, mean over the classes.',
      },
      {
        name: 'theory-norm',
        spec: lineChart({
          x,
          title: 'Length of the features',
          y: { title: '‖H‖', scale: falls([{ y: norm }, { y: predicted.norm }]) ? 'log' : 'linear' },
          series: both(predicted.norm, norm),
          rules: limitNorm === undefined ? [] : [{ y: limitNorm, label: '‖MᵀW/λ‖' }],
        }),
        caption:
          limitNorm === undefined
            ? 'Norm of the features of the probe; without decay the model has them grow for ever.'
            : 'Norm of the features of the probe; the line is the limit of the model.',
      },
    );
  }
  return {
    title,
    text: [
      `The layer-peeled model lets features move freely. It begins from the features and prototypes that the network had before its first step, of ` +
        'a probe of the training images; a network moves its features through its weights, so the one factor of its clock is fitted.',
      statement,
    ],
    figures,
  };
}

/** What was measured by class of the last epoch that was measured. */
function classSection({ config, byClass, counts, classes }: TrainingResult): Section | undefined {
  const last = byClass && lastByClass(byClass);
  if (!last) return undefined;
  const { axis, order, points, marks } = classAxis(counts.length, classes, counts);
  const values = (name: ClassMeasure) => order.map((label) => last.of[name][label] as number);
  const one = (name: ClassMeasure): Series => ({ ...marks(order), y: values(name) });
  const [pull, push] = [values('pull'), values('push')];
  const figures: Figure[] = [];
  if (!isFixed(config) && pull.some(Number.isFinite)) {
    const series = [
      { name: 'pull', ...points(order), y: pull },
      { name: 'push', ...points(order), y: push },
    ];
    figures.push({
      name: 'class-gradients',
      spec: lineChart({
        title: 'Pull and push of each prototype',
        x: axis,
        y: { title: 'length of the gradient', scale: falls(series) ? 'log' : 'linear' },
        series,
      }),
      caption: `What the images of a class make of the gradient of its prototype (pull), and those of all other classes (push). ${IN_ORDER}`,
    });
  }
  if (values('backbone').some(Number.isFinite)) {
    figures.push({
      name: 'class-backbone',
      spec: lineChart({
        title: "Classes in the bound of the backbone's gradient",
        x: axis,
        y: { title: 'Σ ‖∂L/∂h‖' },
        series: [one('backbone')],
      }),
      caption:
        "Lengths of the gradients by the features of each class, added up: times the largest singular value of the features' Jacobians " +
        `a bound of the class's part in the gradient of the backbone (ETF Appendix C). ${IN_ORDER}`,
    });
  }
  figures.push({
    name: 'class-features',
    spec: lineChart({ title: 'Features of each class', x: axis, y: { title: 'mean ‖h‖' }, series: [one('featureNorm')] }),
    caption: `Mean length of the features of a class, as they enter the logits. ${IN_ORDER}`,
  });
  return {
    title: 'Classes',
    text: [`Of the training images as they are, after epoch ${last.epoch}; all epochs are in arrays/class-*.npy.`],
    figures,
  };
}

function tableOf(row: Row): Table {
  const rows = Object.entries(row)
    .filter(([column, value]) => column !== 'epoch' && Number.isFinite(value))
    .map(([column, value]) => {
      const own = MEANINGS[column];
      const measure: Partial<MeasureInfo> = own === undefined ? (collapseMeasures[column as CollapseMeasure] ?? {}) : {};
      return [column, value, measure.atCollapse ?? '', own ?? withScripts(measure.meaning ?? '')];
    });
  return { columns: ['Column', 'Value', 'At collapse', 'Meaning'], rows };
}
