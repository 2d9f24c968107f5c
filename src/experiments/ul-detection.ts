/**
 * UL Tables 3 and 6, Figs. 3, 16–18: telling SVHN from the test images of CIFAR-10 and CIFAR-100 by the softmax, the energy and the
 * feature norm, with and without explicit feature regularization. In distribution is the positive class, as UL has it: FPR95 is the share
 * of SVHN accepted where 95 % of the test images are. Numbers are those of the tables, in percent.
 */
import { type Evaluation, evaluate, type ScoreEvaluation, type ScoreEvaluations } from '../evaluation/evaluate.js';
import type { Figure } from '../report/page.js';
import { scoreFigures } from '../report/pages/evaluation.js';
import type { Experiment } from './experiment.js';
import { setTitle } from './image-sets.js';
import { type Measured, type NetworkParameters, networkExperiment, ordering, type Printed, selected } from './networks.js';
import { methodAxis, protocol, protocolOf } from './ul-networks.js';

interface Config extends NetworkParameters {
  readonly methods: readonly string[];
}

const METHOD = 'method';
const scores = { maxSoftmax: 'softmax', energy: 'energy', featureNorm: 'feature norm' } as const;
type Score = keyof typeof scores;
const scoreNames = Object.keys(scores) as Score[];
const kinds = ['fpr95', 'auroc', 'aupr'] as const;
const nameOf = (kind: (typeof kinds)[number], score: Score): string => `${kind}, ${scores[score]}`;
const measures = kinds.flatMap((kind) => scoreNames.map((score) => nameOf(kind, score)));

/** Rows of nine numbers: FPR95, AUROC and AUPR of the three scores. */
const printed = (rows: Readonly<Record<string, readonly number[]>>): Printed =>
  Object.fromEntries(
    measures.map((measure, i) => [
      measure,
      Object.fromEntries(Object.entries(rows).map(([row, values]) => [row, { '': values[i] as number }])),
    ]),
  );

const tables = {
  cifar10: printed({
    CE: [52.09, 43.04, 52.1, 91.67, 91.94, 89.54, 84.11, 82.8, 77.06],
    'CE, λ = 1e-6': [54, 43.72, 51.45, 91.44, 92.12, 89.08, 82.31, 81.77, 74.16],
    'CE, λ = 5e-6': [45.37, 33.92, 26.93, 93.08, 93.78, 94.03, 84.31, 83.73, 82.79],
    'CE, λ = 1e-5': [37.39, 27.87, 24.94, 93.9, 94.6, 94.17, 85.48, 85.34, 83.15],
    'UL (PAL)': [53.29, 53.33, 52.34, 87.72, 87.73, 89.45, 74.86, 74.83, 79.05],
    'UL (PAL), λ = 5e-7': [27.27, 27.24, 26.62, 94.27, 94.46, 95.12, 86.51, 86.6, 88.46],
  }),
  cifar100: printed({
    CE: [87.75, 89.84, 95.54, 71.01, 71.94, 59.54, 55.42, 56.69, 43.21],
    'CE, λ = 1e-6': [82.08, 82.57, 88.77, 75.36, 76.28, 68.83, 61.4, 61.9, 51.58],
    'CE, λ = 5e-6': [79.01, 78.68, 85.94, 78.7, 79.15, 70.32, 62.58, 62.39, 48.39],
    'CE, λ = 1e-5': [81.48, 81.41, 87.83, 77.02, 78.03, 73.91, 62.92, 63.66, 58.81],
    'UL (PAL)': [80.43, 76.86, 76.23, 66.97, 74.83, 76.19, 37.83, 45.07, 47.51],
    'UL (PAL), λ = 5e-7': [75.74, 74.64, 73.59, 75.21, 75.36, 76.8, 45.16, 45.27, 48.34],
  }),
};

const regularizedBy: Readonly<Record<string, string>> = { CE: 'CE, λ = 1e-5', 'UL (PAL)': 'UL (PAL), λ = 5e-7' };

function detectionExperiment(id: string, set: 'cifar10' | 'cifar100', network: string): Experiment {
  const numbers = tables[set];
  const methods = Object.keys(numbers[measures[0] as string] as object);
  const few = ['CE', 'CE, λ = 1e-5', 'UL (PAL)', 'UL (PAL), λ = 5e-7'];
  return networkExperiment<Config>({
    id,
    title: `SVHN out of the distribution of ${setTitle(set)}`,
    source: 'UL Tables 3, 6, Figs. 3, 16–18',
    summary: `${setTitle(set)} against SVHN: FPR95, AUROC, AUPR of three scores, with and without feature regularization`,
    budgets: {
      paper: { network, epochs: 200, largest: 0, seeds: [0], methods },
      small: { network: 'resnet20', epochs: 15, largest: set === 'cifar10' ? 1000 : 200, seeds: [0, 1], methods: few },
      smoke: { network: 'resnet20', epochs: 1, largest: 20, seeds: [0], methods: few },
    },
    sets: [set, 'svhn'],
    protocol: protocolOf(set),
    study(config, sources) {
      const base = protocol(config, set, sources);
      const outside = [{ name: 'svhn', distance: 'far', ...selected(sources.svhn, 0), split: 'test' }];
      return {
        command: 'train',
        base: { ...base, data: { ...(base.data as object), outOfDistribution: outside } },
        axes: { [METHOD]: methodAxis(config.methods, set), seed: config.seeds },
        rows: METHOD,
        measures: ['testAccuracy', 'featureNorm'],
      };
    },
    further: { names: measures, of: detectionsOf },
    printed: numbers,
    verdicts: (measured) =>
      Object.entries(regularizedBy).flatMap(([plain, regularized]) =>
        measures.flatMap((measure) =>
          ordering(`${plain}: feature regularization, ${measure}`, [regularized, plain], '', measure, numbers, measured),
        ),
      ),
    figures: distributions,
  });
}

const svhnOf = ({ outOfDistributionSets: sets }: Evaluation): ScoreEvaluations => sets?.svhn?.scores ?? {};

const evaluated = (folder: string) => evaluate(folder, { resamples: 0 });

async function detectionsOf(folder: string): Promise<Record<string, number>> {
  const scored = svhnOf(await evaluated(folder));
  const of = (score: Score) => (scored[score] as ScoreEvaluation).inDistributionPositive;
  return Object.fromEntries(kinds.flatMap((kind) => scoreNames.map((score) => [nameOf(kind, score), of(score)[kind]])));
}

/** How the scores are distributed, of the first seed of each method (UL Figs. 3, 16–18). */
async function distributions(measured: Measured): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const row of measured.table.rowLabels) {
    const [folder] = measured.folders(row, '');
    if (folder === undefined) continue;
    const evaluation = await evaluated(folder);
    const all = svhnOf(evaluation);
    const svhn = Object.fromEntries(scoreNames.map((score) => [score, all[score]]));
    figures.push(...scoreFigures({ ...evaluation, outOfDistributionSets: undefined, outOfDistribution: svhn }, row));
  }
  return figures;
}

export const detectionExperiments: readonly Experiment[] = [
  detectionExperiment('ul-table3', 'cifar10', 'resnet18'),
  detectionExperiment('ul-table3-cifar100', 'cifar100', 'resnet34'),
];
