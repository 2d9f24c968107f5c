/**
 * ETF's long-tailed classification (App. D): ResNet-32, 200 epochs of SGD with momentum 0.9, batches of 128, weight decay 2e-4 and a rate of
 * 0.1 that is divided by 10 at epochs 160 and 180; a learnable classifier under cross-entropy beside a fixed simplex ETF under dot
 * regression on normalized features, and how features and classifier align on the way (Figs. 4, 5).
 */
import type { Experiment } from './experiment.js';
import { states } from './fit.js';
import { type SetName, setTitle } from './image-sets.js';
import { curveFigure, type Measured, type NetworkParameters, networkExperiment, percentOf, selected } from './networks.js';

interface Config extends NetworkParameters {
  readonly imbalances: readonly number[];
  readonly mixup: number;
}

const METHOD = 'method';
const RATIO = 'data.imbalance.ratio';
const [learnable, fixed] = ['cross-entropy, learnable', 'dot regression, fixed ETF'] as const;
const methods = {
  [learnable]: {},
  [fixed]: {
    loss: { kind: 'dot-regression' },
    'model.classifier': { kind: 'fixed-etf' },
    'model.head': { normalize: true },
  },
};

/** Images of the largest class. */
const largest: Partial<Record<SetName, number>> = { svhn: 7325 };

function longTailed(
  id: string,
  source: string,
  set: SetName,
  imbalances: readonly number[],
  measures: readonly string[],
): Experiment {
  const many = set === 'cifar100' || set === 'stl10' ? 100 : 1000;
  return networkExperiment<Config>({
    id,
    title: `a fixed classifier on long-tailed ${setTitle(set)}`,
    source: `ETF ${source}`,
    summary: `Long-tailed ${setTitle(set)}: cross-entropy with a learnable classifier beside dot regression with a fixed simplex ETF`,
    budgets: {
      paper: { network: 'resnet32', epochs: 200, largest: largest[set] ?? 0, seeds: [0], imbalances, mixup: 1 },
      small: { network: 'resnet20', epochs: 20, largest: many, seeds: [0, 1], imbalances: imbalances.slice(0, 2), mixup: 0 },
      smoke: { network: 'resnet20', epochs: 1, largest: 20, seeds: [0], imbalances: [10], mixup: 0 },
    },
    sets: [set],
    protocol:
      `${setTitle(set)} in a long tail; SGD with momentum 0.9, weight decay 2·10⁻⁴, batches of 128, a rate of 0.1 that is divided by 10 after 80 % and 90 % of ` +
      'the epochs, images shifted and flipped. The paper’s numbers are in its main part.',
    study({ network, epochs, largest: size, seeds, imbalances: ratios, mixup }, sources) {
      const milestones = [...new Set([0.8, 0.9].map((share) => Math.floor(share * epochs)))].filter((epoch) => epoch > 0);
      const rate = milestones.length > 0 ? { kind: 'steps', value: 0.1, factor: 0.1, milestones } : 0.1;
      // Of SVHN both of its training files, so that there are enough images of every class.
      const source =
        set === 'svhn' && sources.svhn?.kind === 'svhn' ? { ...sources.svhn, split: ['train', 'extra'] } : sources[set];
      return {
        command: 'train',
        base: {
          data: {
            ...selected(source, size, 'long-tailed'),
            augmentation: { padding: 4, flip: set !== 'svhn', ...(mixup > 0 && { mixup }) },
          },
          model: { kind: network },
          loss: { kind: 'cross-entropy' },
          optimizer: { learningRate: rate, momentum: 0.9, weightDecay: 2e-4 },
          globalMean: 'samples',
          epochs,
          batch: 128,
        },
        axes: { [METHOD]: methods, [RATIO]: ratios, seed: seeds },
        rows: METHOD,
        columns: RATIO,
        measures: [...measures],
      };
    },
    verdicts: (measured, { imbalances: ratios }) =>
      ratios.flatMap((ratio) => ahead(measured, String(ratio), measures, `ρ = ${ratio}`)),
    figures: (measured, { imbalances: ratios }) =>
      Promise.all(
        ratios.flatMap((ratio) => measures.map((measure) => curveFigure(measured, String(ratio), measure, { of: `ρ = ${ratio}` }))),
      ),
  });
}

const words: Readonly<Record<string, readonly [claim: string, sign: '>' | '<']>> = {
  testAccuracy: ['the fixed classifier is more accurate', '>'],
  alignment: ['features align more closely with a fixed classifier, mean cos(M_{c}, w_{c})', '>'],
  dualityFrobenius: ['features and a fixed classifier are less apart, ‖W̃ − H̃‖²', '<'],
};

function ahead(measured: Measured, column: string, measures: readonly string[], at: string) {
  return measures.flatMap((measure) => {
    const [a, b] = [measured.cell(fixed, column, measure), measured.cell(learnable, column, measure)];
    const [claim, sign] = words[measure] ?? [];
    if (!a || !b || !claim) return [];
    const holds = sign === '>' ? a.mean > b.mean : a.mean < b.mean;
    const shown = (value: number) => (measure === 'testAccuracy' ? `${percentOf(value)} %` : value.toPrecision(3));
    return [states(`${claim}, ${at}`, `${sign} learnable`, `${shown(a.mean)} beside ${shown(b.mean)}`, holds)];
  });
}

const table = ['testAccuracy', 'alignment', 'dualityFrobenius'];

export const fixedClassifierExperiments: readonly Experiment[] = [
  longTailed('etf-cifar10-lt', 'long-tailed CIFAR-10', 'cifar10', [100, 50, 10], table),
  longTailed('etf-cifar100-lt', 'long-tailed CIFAR-100', 'cifar100', [100, 50, 10], table),
  longTailed('etf-svhn-lt', 'long-tailed SVHN', 'svhn', [100, 50, 10], table),
  longTailed('etf-stl10-lt', 'long-tailed STL-10', 'stl10', [100, 50, 10], table),
  longTailed('etf-fig4', 'Figs. 4, 5', 'cifar100', [50], ['alignment', 'dualityFrobenius', 'testAccuracy']),
];
