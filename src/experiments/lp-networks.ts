/**
 * LP Figs. 1, 3–8: ResNet-18 and VGG-13 under cross-entropy without weight decay (rate 0.01, momentum 0.3, batches of 128), and how near
 * their last layer is to neural collapse after each epoch. The paper prints curves: each measure is to fall along the epochs. (Fig. 5 is
 * titled VGG18, which the setting does not have.)
 */
import type { Experiment } from './experiment.js';
import { course, states } from './fit.js';
import { type SetName, setTitle } from './image-sets.js';
import { courseOf, curveFigure, type NetworkParameters, networkExperiment, selected } from './networks.js';

/** LP §4: what is drawn, by the names that it has here. */
const measures = {
  featureNormVariation: 'variation of the norms of class means',
  centeredPrototypeNormVariation: 'variation of the norms of prototypes',
  withinClassVariation: 'within-class variation',
  featureCosine: 'cosines between class means, distance to −1/(K−1)',
  centeredPrototypeCosine: 'cosines between prototypes, distance to −1/(K−1)',
  selfDuality: 'self-duality',
};
const names = Object.keys(measures) as (keyof typeof measures)[];

function collapseExperiment(id: string, figure: string, set: SetName, network: 'resnet18' | 'vgg13', epochs: number): Experiment {
  const model = network === 'vgg13' ? 'VGG-13' : 'ResNet-18';
  return networkExperiment<NetworkParameters>({
    id,
    title: `neural collapse of ${model} on ${setTitle(set)}`,
    source: `LP ${figure}`,
    summary: `${model} on ${setTitle(set)} under cross-entropy without weight decay: every measure of collapse falls`,
    budgets: {
      paper: { network, epochs, largest: 0, seeds: [0] },
      small: { network, epochs: 10, largest: 200, seeds: [0] },
      smoke: { network: 'mlp', epochs: 2, largest: 20, seeds: [0] },
    },
    sets: [set],
    protocol:
      `${model} on ${setTitle(set)} under cross-entropy: a rate of 0.01, momentum 0.3, batches of 128, no weight decay and no augmentation. ` +
      'How many epochs there are is where the axis of the figure ends.',
    study: ({ network, epochs, largest, seeds }, sources) => ({
      command: 'train',
      base: {
        data: selected(sources[set], largest),
        model: { kind: network },
        loss: { kind: 'cross-entropy' },
        optimizer: { learningRate: 0.01, momentum: 0.3 },
        epochs,
        batch: 128,
      },
      axes: { seed: seeds },
      measures: [...names, 'testAccuracy', 'trainAccuracy'],
    }),
    async verdicts(measured) {
      const judged = await Promise.all(
        names.map(async (name) => {
          const ends = await courseOf(measured, '', '', name);
          return ends ? [states(measures[name], 'falls', course(...ends), ends[1] < ends[0])] : [];
        }),
      );
      return judged.flat();
    },
    figures: (measured) => Promise.all(names.map((name) => curveFigure(measured, '', name, { scale: 'log' }))),
  });
}

export const collapseExperiments: readonly Experiment[] = [
  collapseExperiment('lp-fig1', 'Fig. 1, MNIST', 'mnist', 'resnet18', 500),
  collapseExperiment('lp-fig1-cifar10', 'Fig. 1, CIFAR-10', 'cifar10', 'resnet18', 500),
  collapseExperiment('lp-fig3', 'Fig. 3', 'cifar10', 'vgg13', 100),
  collapseExperiment('lp-fig4', 'Fig. 4', 'mnist', 'vgg13', 100),
  collapseExperiment('lp-fig5', 'Fig. 5', 'kmnist', 'vgg13', 100),
  collapseExperiment('lp-fig6', 'Fig. 6', 'kmnist', 'resnet18', 100),
  collapseExperiment('lp-fig7', 'Fig. 7', 'fashion-mnist', 'vgg13', 100),
  collapseExperiment('lp-fig8', 'Fig. 8', 'fashion-mnist', 'resnet18', 100),
];
