/**
 * UL Tables 2, 4 and 5: imbalanced training sets under explicit feature regularization `λ Σ ‖h‖²`, and the expected calibration error of
 * the same networks (Figs. 10, 11; UL Eq. 103). Numbers are those of the tables, in percent.
 */
import { evaluate } from '../evaluation/evaluate.js';
import type { Figure, Verdict } from '../report/page.js';
import { calibrationFigures } from '../report/pages/evaluation.js';
import type { Experiment } from './experiment.js';
import { states } from './fit.js';
import { setTitle } from './image-sets.js';
import { type Measured, type NetworkParameters, networkExperiment, ordering, type Printed, percentOf } from './networks.js';
import { methodAxis, protocol, protocolOf } from './ul-networks.js';

interface Config extends NetworkParameters {
  readonly methods: readonly string[];
  readonly imbalances: readonly number[];
}

const METHOD = 'method';
const RATIO = 'data.imbalance.ratio';
const KIND = 'data.imbalance.kind';
const ACCURACY = 'testAccuracy';

/** Rows of what a table prints, by the numbers of a row. */
function printed(columns: readonly string[], rows: Readonly<Record<string, readonly number[]>>): Printed {
  return {
    [ACCURACY]: Object.fromEntries(
      Object.entries(rows).map(([row, values]) => [
        row,
        Object.fromEntries(columns.map((column, i) => [column, values[i] as number])),
      ]),
    ),
  };
}

const table2Columns = ['100', '50', '20', '10', '1'];
const table2 = {
  cifar10: printed(table2Columns, {
    CE: [67.81, 72.93, 83.97, 88.37, 95.28],
    'CE, λ = 5e-6': [67.84, 72.85, 83.17, 89.06, 95.27],
    'CE, λ = 1e-5': [67.74, 76.14, 84.17, 89.19, 95.23],
    'CE, λ = 5e-5': [69.74, 77.29, 84.92, 88.64, 95.39],
    'UL (PAL)': [72.6, 77.2, 85.46, 89.29, 95.23],
    'UL (PAL), λ = 1e-7': [71.85, 78.8, 85.76, 89.68, 95.33],
    'UL (PAL), λ = 5e-7': [73.47, 79.54, 86.28, 89.36, 95.14],
    'UL (PAL), λ = 1e-6': [73.71, 79.4, 86.12, 89.43, 95.5],
    'UL (PAL), λ = 5e-6': [71.13, 78.9, 85.33, 89.2, 95.1],
  }),
  cifar100: printed(table2Columns, {
    CE: [33.37, 39.4, 42.96, 56.38, 75.42],
    'CE, λ = 5e-6': [36, 41.92, 50.75, 60.13, 76.48],
    'CE, λ = 1e-5': [36.61, 42.36, 49.21, 58.91, 77.34],
    'CE, λ = 5e-5': [34.88, 42.74, 54.72, 60.84, 76.19],
    'UL (PAL)': [39.2, 45.81, 54.66, 59.92, 75.37],
    'UL (PAL), λ = 1e-7': [41.39, 46.13, 55.25, 61.15, 75.18],
    'UL (PAL), λ = 5e-7': [41.85, 47.58, 54, 61.31, 75.51],
    'UL (PAL), λ = 1e-6': [40.85, 47.07, 55.71, 61.47, 75.84],
    'UL (PAL), λ = 5e-6': [41.87, 45.83, 55.92, 60.87, 77.2],
  }),
};

const table4Columns = ['long-tailed', 'step'].flatMap((kind) => ['100', '50', '20', '10'].map((ratio) => `${kind}, ${ratio}`));
const table4 = {
  cifar10: printed(table4Columns, {
    CE: [67.81, 72.93, 83.97, 88.37, 61.24, 68.1, 78.73, 85.49],
    'CE, λ = 5e-6': [67.84, 72.85, 83.17, 89.06, 60.79, 68.41, 80.2, 86.69],
    'CE, λ = 1e-5': [67.74, 76.14, 84.17, 89.19, 61.5, 67.71, 80.97, 87.18],
    'CE, λ = 5e-5': [69.74, 77.29, 84.92, 88.64, 60.69, 70.27, 81.27, 87.17],
  }),
  cifar100: printed(table4Columns, {
    CE: [33.37, 39.4, 42.96, 56.38, 40.89, 42.69, 51.92, 57.52],
    'CE, λ = 5e-6': [36, 41.92, 50.75, 60.13, 41.9, 43.85, 47.8, 56.74],
    'CE, λ = 1e-5': [36.61, 42.36, 49.21, 58.91, 41.48, 43.77, 49.64, 56.49],
    'CE, λ = 5e-5': [34.88, 42.74, 54.72, 60.84, 40.97, 43.2, 48.96, 57.97],
  }),
};

const paper = (network: string, methods: readonly string[], imbalances: readonly number[]): Config => ({
  ...{ network, epochs: 200, largest: 0, seeds: [0] },
  ...{ methods, imbalances },
});

function table2Experiment(id: string, set: 'cifar10' | 'cifar100', network: string): Experiment {
  const numbers = table2[set];
  const methods = Object.keys(numbers[ACCURACY] as object);
  const few = ['CE', 'CE, λ = 5e-5', 'UL (PAL)', 'UL (PAL), λ = 1e-6', 'UL (FNPAL)', 'UL (FNPAL), RLR', 'dot regression'];
  return networkExperiment<Config>({
    id,
    title: `long-tailed ${setTitle(set)}`,
    source: 'UL Table 2',
    summary: `Long-tailed ${setTitle(set)}: cross-entropy and the unhinged loss with anchored prototypes, with feature regularization`,
    budgets: {
      paper: paper(network, methods, [100, 50, 20, 10, 1]),
      small: {
        network: 'resnet20',
        epochs: 20,
        largest: set === 'cifar10' ? 1000 : 200,
        seeds: [0, 1],
        methods: few,
        imbalances: [100, 10],
      },
      smoke: { network: 'resnet20', epochs: 1, largest: 20, seeds: [0], methods: few, imbalances: [10] },
    },
    sets: [set],
    protocol: protocolOf(set),
    study: (config, sources) => ({
      command: 'train',
      base: protocol(config, set, sources, 'long-tailed'),
      axes: { [METHOD]: methodAxis(config.methods, set), [RATIO]: config.imbalances, seed: config.seeds },
      rows: METHOD,
      columns: RATIO,
      measures: [ACCURACY, 'trainAccuracy', 'nc1', 'alignment'],
    }),
    printed: numbers,
    verdicts: (measured, { imbalances }) =>
      imbalances
        .flatMap((ratio) => [
          ...ordering(
            `unhinged loss against cross-entropy at ρ = ${ratio}`,
            ['UL (PAL)', 'CE'],
            String(ratio),
            ACCURACY,
            numbers,
            measured,
          ),
          ...regularizing('CE', String(ratio), numbers, measured),
          ...regularizing('UL (PAL)', String(ratio), numbers, measured),
        ])
        .concat(falling(measured, imbalances)),
  });
}

/** Whether the best `λ` is ahead of none. */
function regularizing(loss: string, column: string, numbers: Printed, measured: Measured): Verdict[] {
  const rows = measured.table.rowLabels.filter((row) => row.startsWith(`${loss}, λ`));
  const known = rows.flatMap((row) => {
    const [cell, said] = [measured.cell(row, column, ACCURACY), numbers[ACCURACY]?.[row]?.[column]];
    return cell && said !== undefined ? [{ row, mean: cell.mean, said }] : [];
  });
  if (known.length === 0) return [];
  const best = known.reduce((a, b) => (b.mean > a.mean ? b : a));
  const printedBest = known.reduce((a, b) => (b.said > a.said ? b : a));
  const [plain, here] = [numbers[ACCURACY]?.[loss]?.[column], measured.cell(loss, column, ACCURACY)];
  if (plain === undefined || !here || printedBest.said <= plain) return [];
  return [
    states(
      `${loss}: feature regularization raises accuracy, best λ, ${column}`,
      `${printedBest.said} > ${plain}`,
      `${percentOf(best.mean)} ${best.mean > here.mean ? '>' : '≤'} ${percentOf(here.mean)}`,
      best.mean > here.mean,
    ),
  ];
}

/** Accuracy falls as the imbalance grows, for each method. */
function falling(measured: Measured, ratios: readonly number[]): Verdict[] {
  const sorted = ratios.toSorted((a, b) => a - b);
  return measured.table.rowLabels.flatMap((row) => {
    const means = sorted.map((ratio) => measured.cell(row, String(ratio), ACCURACY)?.mean ?? Number.NaN);
    if (means.length < 2 || means.some(Number.isNaN)) return [];
    const falls = means.every((mean, i) => i === 0 || mean < (means[i - 1] as number));
    return [
      states(`${row}: accuracy falls from ρ = ${sorted[0]} to ${sorted.at(-1)}`, 'falls', means.map(percentOf).join(', '), falls),
    ];
  });
}

function table4Experiment(id: string, source: string, set: 'cifar10' | 'cifar100', network: string): Experiment {
  const numbers = table4[set];
  const methods = Object.keys(numbers[ACCURACY] as object);
  return networkExperiment<Config>({
    id,
    title: `feature regularization on imbalanced ${setTitle(set)}`,
    source,
    summary: `Long-tailed and step-imbalanced ${setTitle(set)} under cross-entropy: accuracy and calibration by λ`,
    budgets: {
      paper: paper(network, methods, [100, 50, 20, 10]),
      small: {
        network: 'resnet20',
        epochs: 20,
        largest: set === 'cifar10' ? 1000 : 200,
        seeds: [0, 1],
        methods,
        imbalances: [100, 10],
      },
      smoke: { network: 'resnet20', epochs: 1, largest: 20, seeds: [0], methods: ['CE', 'CE, λ = 5e-5'], imbalances: [10] },
    },
    sets: [set],
    protocol: protocolOf(set),
    study: (config, sources) => ({
      command: 'train',
      base: protocol(config, set, sources, 'long-tailed'),
      axes: {
        [METHOD]: methodAxis(config.methods, set),
        [KIND]: ['long-tailed', 'step'],
        [RATIO]: config.imbalances,
        seed: config.seeds,
      },
      rows: METHOD,
      columns: [KIND, RATIO],
      measures: [ACCURACY],
    }),
    further: { names: ['ece'], of: async (folder) => ({ ece: (await evaluated(folder)).calibration.ece }) },
    printed: numbers,
    verdicts: (measured) => measured.table.columnLabels.flatMap((column) => regularizing('CE', column, numbers, measured)),
    figures: reliability,
  });
}

const evaluated = (folder: string) => evaluate(folder, { resamples: 0 });

/** Reliability diagrams of the long-tailed sets, of the first seed (UL Figs. 10, 11). */
async function reliability(measured: Measured): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const column of measured.table.columnLabels.filter((label) => label.startsWith('long-tailed'))) {
    for (const row of measured.table.rowLabels) {
      const [folder] = measured.folders(row, column);
      if (folder !== undefined) figures.push(...calibrationFigures(await evaluated(folder), `${row}, ${column}`).slice(0, 1));
    }
  }
  return figures;
}

export const imbalancedExperiments: readonly Experiment[] = [
  table2Experiment('ul-table2', 'cifar10', 'resnet18'),
  table2Experiment('ul-table2-cifar100', 'cifar100', 'resnet34'),
  table4Experiment('ul-table4', 'UL Table 4, Fig. 10', 'cifar10', 'resnet18'),
  table4Experiment('ul-table5', 'UL Table 5, Fig. 11', 'cifar100', 'resnet34'),
];
