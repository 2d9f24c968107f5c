/**
 * UL Figs. 2, 12, 13: test accuracy of cross-entropy and of the unhinged loss with anchored prototypes, by weight decay; and Fig. 19:
 * what becomes of features and prototypes under the unhinged loss alone. The paper prints curves, no numbers: their statements are judged.
 */
import type { Verdict } from '../report/page.js';
import type { Experiment } from './experiment.js';
import { course, states } from './fit.js';
import { classesOf, type SetName, setTitle } from './image-sets.js';
import { courseOf, curveFigure, type Measured, type NetworkParameters, networkExperiment } from './networks.js';
import { methodAxis, protocol, protocolOf } from './ul-networks.js';

interface Config extends NetworkParameters {
  readonly methods: readonly string[];
  readonly weightDecays: readonly number[];
}

const plain = ['CE', 'UL (PAL)', 'UL (FNPAL)', 'UL (FNPAL), RLR'];
const regularized = ['CE, λ = 1e-5', 'UL (PAL), λ = 5e-7'];

const smoke = { network: 'resnet20', epochs: 1, largest: 20, seeds: [0] };
const small = { network: 'resnet20', epochs: 15, largest: 1000, seeds: [0, 1] };

const METHOD = 'method';
const DECAY = 'optimizer.weightDecay';

function accuracyOf(id: string, figure: string, set: SetName, network: string, weightDecays: readonly number[]): Experiment {
  const methods = weightDecays.length > 1 ? plain.slice(0, 3) : [...plain, ...regularized];
  return networkExperiment<Config>({
    id,
    title: `accuracy by loss on ${setTitle(set)}`,
    source: `UL ${figure}`,
    summary: `${setTitle(set)} under cross-entropy and the unhinged loss, prototypes anchored${weightDecays.length > 1 ? ', by weight decay' : ''}`,
    budgets: {
      paper: { network, epochs: 200, largest: 0, seeds: [0], methods, weightDecays },
      small: { ...small, methods, weightDecays },
      smoke: { ...smoke, methods, weightDecays },
    },
    sets: [set],
    protocol: protocolOf(set),
    study: (config, sources) => ({
      command: 'train',
      base: protocol(config, set, sources),
      axes: { [METHOD]: methodAxis(config.methods, set), [DECAY]: config.weightDecays, seed: config.seeds },
      rows: METHOD,
      columns: DECAY,
      measures: ['testAccuracy', 'trainAccuracy', 'nc1'],
    }),
    verdicts: (measured, { weightDecays: decays }) =>
      decays.flatMap((decay) => comparable(measured, String(decay), decays.length > 1)),
    figures: async (measured, { weightDecays: decays }) =>
      Promise.all(
        decays.map((decay) =>
          curveFigure(measured, String(decay), 'testAccuracy', decays.length > 1 ? { of: `λ_{W} = ${decay}` } : {}),
        ),
      ),
  });
}

/** UL §4.1: comparable or better; a point of accuracy is taken for comparable. */
function comparable(measured: Measured, column: string, named: boolean): Verdict[] {
  const entropy = measured.cell('CE', column, 'testAccuracy');
  return ['UL (PAL)', 'UL (FNPAL)'].flatMap((row) => {
    const cell = measured.cell(row, column, 'testAccuracy');
    if (!entropy || !cell) return [];
    const points = 100 * (cell.mean - entropy.mean);
    return states(
      `${row}: accuracy comparable to cross-entropy or better, in points${named ? `, at weight decay ${column}` : ''}`,
      '≥ −1',
      Number(points.toFixed(2)),
      points >= -1,
    );
  });
}

const decays = [1e-4, 5e-4, 1e-3];

const fig19 = networkExperiment<NetworkParameters>({
  id: 'ul-fig19',
  title: 'features and prototypes under the unhinged loss alone',
  source: 'UL Fig. 19',
  summary: 'CIFAR-10 under the unhinged loss with learnable prototypes: norms grow, prototypes part, until nothing is finite',
  budgets: {
    paper: { network: 'resnet18', epochs: 21, largest: 0, seeds: [0] },
    small: { ...small, epochs: 21, seeds: [0] },
    smoke,
  },
  sets: ['cifar10'],
  protocol: protocolOf('cifar10'),
  study: (config, sources) => ({
    command: 'train',
    base: {
      ...protocol({ ...config, epochs: 200 }, 'cifar10', sources),
      epochs: config.epochs,
      loss: { kind: 'unhinged', gamma: 1 / (classesOf('cifar10') - 1) },
    },
    axes: { seed: config.seeds },
    measures: ['trainAccuracy', 'featureNorm', 'prototypeNormRatio', 'smallestPrototypeNorm', 'smallestPrototypeAngle'],
  }),
  async verdicts(measured) {
    const norm = await courseOf(measured, '', '', 'featureNorm');
    const angle = await courseOf(measured, '', '', 'smallestPrototypeAngle');
    return [
      ...(norm ? [states('the feature norm grows', 'rapidly', course(...norm), norm[1] > 2 * norm[0])] : []),
      ...(angle ? [states('the smallest angle of two prototypes, in degrees', 'very small', course(...angle), angle[1] < 45)] : []),
    ];
  },
  figures: async (measured) =>
    Promise.all(
      ['trainAccuracy', 'featureNorm', 'prototypeNormRatio', 'smallestPrototypeNorm', 'smallestPrototypeAngle'].map((measure) =>
        curveFigure(measured, '', measure),
      ),
    ),
});

export const classificationExperiments: readonly Experiment[] = [
  accuracyOf('ul-fig2', 'Fig. 2a', 'cifar10', 'resnet18', [5e-4]),
  accuracyOf('ul-fig2-cifar100', 'Fig. 2b', 'cifar100', 'resnet34', [5e-4]),
  accuracyOf('ul-fig12', 'Fig. 12', 'cifar10', 'resnet18', decays),
  accuracyOf('ul-fig13', 'Fig. 13', 'cifar100', 'resnet34', decays),
  fig19,
];
