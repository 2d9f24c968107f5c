/**
 * Minority collapse (ETF §1, Fang et al. 2021): with a learnable classifier under bounded norms, the prototypes of the small
 * classes close up as the imbalance ρ grows, at last into one; with the classifier fixed as a simplex ETF they cannot, and the
 * features still reach their optimum, √(E_H/E_W) w_y for any class sizes (Theorem 1).
 *
 * At the optimum the features of a class coincide, so one feature a class with the weight of its samples will do.
 */
import type { NDArray, State } from '../array/ndarray.js';
import { LayerpeelError } from '../check/errors.js';
import { batchedDescent, type DescentProblem } from '../dynamics/projected.js';
import { lineChart, phaseDiagram } from '../report/figure.js';
import { randomState } from '../state/random-state.js';
import { etfOptimum } from '../theory/fixed-etf.js';
import { simplexETF } from '../theory/simplex-etf.js';
import type { Experiment } from './experiment.js';
import { course, last, states } from './fit.js';
import { distance } from './setting.js';

const config = {
  classes: 6,
  majority: 3,
  dim: 10,
  seed: 3,
  energies: [0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5],
  ratios: [1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100, 200],
  learnable: { learningRate: 5, steps: 80_000 },
  fixed: { learningRate: 20, steps: 40_000 },
};
type Config = typeof config;

/** Energies whose curves are drawn and judged: of the paper's what there is, else all. */
const shownOf = ({ energies }: Config): readonly number[] => {
  const some = energies.filter((energy) => [1, 2, 3, 5].includes(energy));
  return some.length > 0 ? some : energies;
};

/** Weights of the classes, majority ones `ratio` times the others. */
function weights(ratio: number, { classes, majority }: Config): number[] {
  const counts = Array.from({ length: classes }, (_, c) => (c < majority ? ratio : 1));
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => count / total);
}

/** Mean cosine between the vectors of the minority classes. */
function minorityCosine({ data, shape }: NDArray, majority: number): number {
  const [classes, dim] = shape as [number, number];
  const row = (c: number) => Array.from(data.subarray(c * dim, (c + 1) * dim));
  const dot = (x: number[], y: number[]) => x.reduce((sum, value, j) => sum + value * (y[j] as number), 0);
  const cosines: number[] = [];
  for (let c = majority; c < classes; c++) {
    for (let d = c + 1; d < classes; d++) {
      const [x, y] = [row(c), row(d)];
      cosines.push(dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y)));
    }
  }
  return cosines.reduce((sum, value) => sum + value, 0) / cosines.length;
}

export const experiment: Experiment<Config> = {
  id: 'etf-minority',
  title: 'minority collapse, and its absence with a fixed classifier',
  source: 'ETF §1, Theorem 1',
  summary:
    'Angles between minority prototypes against the imbalance, learnable and fixed: a phase diagram of 240 runs in two batches',
  config,
  async run(context, config) {
    const { classes, majority, dim, seed, energies, ratios, learnable, fixed } = config;
    if (majority > classes - 2) {
      throw new LayerpeelError(
        'LP_CONFIG',
        `config.majority is ${majority} of ${classes} classes; expected at most ${classes - 2}, so that two small ones have an angle.`,
      );
    }
    const shown = shownOf(config);
    const { signal, progress, folder } = context;
    const grid = energies.flatMap((energy) => ratios.map((ratio) => ({ energy, ratio })));
    const problem = (energy: number, ratio: number, anchored: boolean): DescentProblem => {
      const start = randomState({ classes, perClass: 1, dim, seed });
      const prototypes = simplexETF(classes, dim, { seed, scale: Math.sqrt(energy) });
      return {
        loss: { kind: 'cross-entropy', classWeights: weights(ratio, config) },
        state: anchored ? { ...start, prototypes } : start,
        reduction: 'sum',
        moves: { prototypes: !anchored },
        constraints: {
          features: { kind: 'ball', radius: Math.sqrt(energy) },
          ...(!anchored && { prototypes: { kind: 'frobenius', radius: Math.sqrt(classes * energy) } }),
        },
      };
    };
    const solve = async (anchored: boolean, from: number) => {
      const { learningRate, steps } = anchored ? fixed : learnable;
      const problems = grid.map(({ energy, ratio }) => problem(energy, ratio, anchored));
      const options = {
        learningRates: { features: learningRate, prototypes: learningRate },
        steps,
        signal,
        onProgress: (share: number) => progress(from + share / 2, anchored ? 'fixed classifier' : 'learnable classifier'),
      };
      const ends: State[] = [];
      for await (const snapshots of batchedDescent(problems, options)) ends.push(...snapshots.map(({ state }) => state));
      return ends;
    };
    const learned = await solve(false, 0);
    const anchored = await solve(true, 0.5);
    const cosines = learned.map(({ prototypes }) => minorityCosine(prototypes, majority));
    const anchoredCosines = anchored.map(({ features }) => minorityCosine(features, majority));
    const distances = anchored.map(({ features, prototypes, labels }, k) =>
      distance(features, etfOptimum(prototypes, labels as Int32Array, { featureEnergy: (grid[k] as (typeof grid)[0]).energy })),
    );
    await folder.metrics({
      energy: grid.map(({ energy }) => energy),
      ratio: grid.map(({ ratio }) => ratio),
      'cosine of minority prototypes, learnable': cosines,
      'cosine of minority features, fixed': anchoredCosines,
      'distance to the optimum, fixed': distances,
    });
    const rowOf = (values: number[], energy: number) =>
      values.slice(energies.indexOf(energy) * ratios.length).slice(0, ratios.length);
    const series = (values: number[]) => shown.map((energy) => ({ name: `E = ${energy}`, x: ratios, y: rowOf(values, energy) }));
    const chart = (title: string, yTitle: string, values: number[]) =>
      lineChart({
        title,
        x: { title: 'imbalance ρ', scale: 'log' },
        y: { title: yTitle, domain: [-0.3, 1.05] },
        series: series(values),
        rules: [{ y: -1 / (classes - 1), label: '−1/(K−1)' }],
      });
    const figures = [
      await folder.figure(
        'phases',
        phaseDiagram({
          title: 'Minority collapse',
          x: { title: 'imbalance ρ', values: ratios },
          y: { title: 'energy E', values: energies },
          matrix: cosines,
          legend: 'cosine',
          domain: [-1, 1],
        }),
        'Mean cosine between the learnable prototypes of the small classes, one run a cell: −1/(K−1) is the simplex ETF, 1 is collapse.',
      ),
      await folder.figure(
        'learnable',
        chart('Learnable classifier', 'cosine of minority prototypes', cosines),
        'Prototypes of the small classes, at the end of each run. 1 is minority collapse.',
      ),
      await folder.figure(
        'fixed',
        chart('Fixed classifier', 'cosine of minority features', anchoredCosines),
        'Features of the small classes with prototypes held as a simplex ETF: always at −1/(K−1).',
      ),
    ];
    const brief = (x: number) => Number(x.toPrecision(4));
    const of = (energy: number) => rowOf(cosines, energy);
    return {
      lead:
        `Cross-entropy on K = ${classes} classes, ${majority} large and ${classes - majority} small, in ${dim} dimensions: features in the ball ‖h‖² ≤ E, ` +
        'prototypes in the Frobenius ball ‖W‖² ≤ K E or fixed as a simplex ETF with ‖w‖² = E.',
      verdicts: [
        ...shown.map((energy) =>
          states(
            `E = ${energy}: minority prototypes close up as ρ grows from 1 to ${last(ratios)}`,
            'rises from −1/(K−1)',
            course(of(energy)[0] as number, last(of(energy))),
            of(energy).every((cosine, k) => k === 0 || cosine > (of(energy)[k - 1] as number) - 1e-6) &&
              Math.abs((of(energy)[0] as number) + 1 / (classes - 1)) < 1e-2,
          ),
        ),
        ...(energies.includes(1) && ratios.includes(100)
          ? [
              states(
                'E = 1, ρ = 100: minority collapse, the cosine',
                '1',
                brief(of(1)[ratios.indexOf(100)] as number),
                (of(1)[ratios.indexOf(100)] as number) > 0.999,
              ),
            ]
          : []),
        states(
          'Fixed classifier: features reach √(E_{H}/E_{W}) w_{y} at every ρ (Theorem 1), largest distance',
          '0',
          brief(Math.max(...distances)),
          Math.max(...distances) < 1e-3,
        ),
        states(
          'Fixed classifier: the cosine of minority features stays −1/(K−1), largest difference',
          '0',
          brief(Math.max(...anchoredCosines.map((cosine) => Math.abs(cosine + 1 / (classes - 1))))),
          anchoredCosines.every((cosine) => Math.abs(cosine + 1 / (classes - 1)) < 1e-3),
        ),
      ],
      sections: [
        {
          title: 'Angles of the small classes',
          formulas: ['min Σ_{c} n_{c} ℓ(W h_{c}, c)   s.t.  ‖h_{c}‖² ≤ E,  ‖W‖² ≤ K E'],
          figures,
        },
      ],
    };
  },
};
