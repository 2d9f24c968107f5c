/**
 * ETF Theorem 2: under projected SGD with a fixed simplex-ETF classifier, dot regression at one constant rate comes closer to
 * the optimum by at least (1 + cos∠)/2 a step in the squared distance; cross-entropy attains as much only with a rate that is
 * another one at every step. Measured per sample along runs.
 */
import type { State } from '../array/ndarray.js';
import { projectedDescent } from '../dynamics/projected.js';
import { lineChart } from '../report/figure.js';
import { randomState } from '../state/random-state.js';
import { contraction, etfOptimum } from '../theory/fixed-etf.js';
import { simplexETF } from '../theory/simplex-etf.js';
import type { Experiment } from './experiment.js';
import { course, last, states } from './fit.js';

const config = { classes: 10, perClass: 20, dim: 32, seed: 5, steps: 200 };

export const experiment: Experiment<typeof config> = {
  id: 'etf-thm2',
  title: 'dot regression contracts at one rate, cross-entropy needs another at every step',
  source: 'ETF Theorem 2',
  summary: 'Contraction of the squared distance to the optimum, a step and a sample, against (1 + cos)/2',
  config,
  async run({ signal, progress, folder }, { classes, perClass, dim, seed, steps }) {
    const random = randomState({ classes, perClass, dim, seed });
    const features = { shape: random.features.shape, data: random.features.data.slice() };
    for (let i = 0; i < random.labels.length; i++) {
      const h = features.data.subarray(i * dim, (i + 1) * dim);
      const norm = Math.hypot(...h);
      for (let j = 0; j < dim; j++) h[j] = (h[j] as number) / norm;
    }
    const state: State = { features, prototypes: simplexETF(classes, dim, { seed }), labels: random.labels };
    const target = { features: etfOptimum(state.prototypes, state.labels as Int32Array), prototypes: state.prototypes };
    const follow = async (kind: 'dot-regression' | 'cross-entropy') => {
      const rates: number[] = [];
      const ratios: number[] = [];
      const bounds: number[] = [];
      const distances: number[] = [];
      let exceeded = 0;
      const problem = {
        loss: { kind },
        state,
        target,
        reduction: 'sum' as const,
        moves: { prototypes: false },
        constraints: { features: { kind: 'ball' as const, radius: 1 } },
      };
      const options = { learningRates: { features: 1 }, steps, snapshots: 1, measure: { names: ['distance'] as const }, signal };
      const look = (now: State) => {
        const {
          cosines,
          rates: own,
          ratios: reached,
          bounds: allowed,
        } = contraction(now, { loss: kind, prototypeEnergy: 1, featureEnergy: 1 });
        // What has arrived has nothing left to contract.
        const moving = Array.from(cosines.keys()).filter((i) => (cosines[i] as number) < 1 - 1e-12);
        exceeded += moving.filter((i) => (reached[i] as number) > (allowed[i] as number) + 1e-9).length;
        const mean = (x: Float64Array) => moving.reduce((sum, i) => sum + (x[i] as number), 0) / moving.length;
        rates.push(mean(own));
        ratios.push(mean(reached));
        bounds.push(mean(allowed));
      };
      look(state);
      for await (const { state: now, measures, step } of projectedDescent(problem, options)) {
        distances.push(...(measures.distance ?? []));
        if (step < steps) look(now);
        progress((kind === 'cross-entropy' ? 0.5 : 0) + (0.5 * step) / steps, `${kind}, step ${step}`);
      }
      return { rates, ratios, bounds, distances, exceeded };
    };
    const dr = await follow('dot-regression');
    const ce = await follow('cross-entropy');
    const at = Array.from({ length: steps }, (_, k) => k);
    await folder.metrics({
      step: at,
      'ratio, dot regression': dr.ratios,
      'bound, dot regression': dr.bounds,
      'distance, dot regression': dr.distances.slice(0, steps),
      'distance, cross-entropy at rate 1': ce.distances.slice(0, steps),
      'rate that cross-entropy needs': ce.rates,
    });
    const brief = (x: number) => Number(x.toPrecision(4));
    const moving = ce.rates.filter((rate) => Number.isFinite(rate)); // until all have arrived
    const spread = Math.max(...moving) / Math.min(...moving);
    return {
      lead: `${perClass} samples of each of ${classes} classes in ${dim} dimensions, unit features and unit ETF prototypes; every sample by its own gradient, projected onto the unit ball.`,
      verdicts: [
        states(
          'Dot regression at γ = √(E_{H}/E_{W}): samples and steps at which a step falls short of (1 + cos∠)/2',
          '0',
          dr.exceeded,
          dr.exceeded === 0,
        ),
        states(
          'Cross-entropy at its own rates: samples and steps at which a step falls short',
          '0',
          ce.exceeded,
          ce.exceeded === 0,
        ),
        states(
          'The rate that cross-entropy needs changes along the run, largest over smallest mean',
          '> 1',
          brief(spread),
          spread > 1.5,
        ),
        states(
          'Dot regression comes closer, ‖H − H*‖ from the start to the end',
          'falls',
          course(dr.distances[0] as number, last(dr.distances)),
          last(dr.distances) < (dr.distances[0] as number) / 4,
        ),
      ],
      sections: [
        {
          title: 'Contraction',
          formulas: ['‖h⁺ − h*‖² ≤ ½ (1 + cos∠(h, w_{y})) ‖h − h*‖²'],
          figures: [
            await folder.figure(
              'contraction',
              lineChart({
                title: 'Contraction of dot regression, mean over samples',
                x: { title: 'step' },
                y: { title: '‖h⁺ − h*‖² / ‖h − h*‖²' },
                series: [
                  { name: 'measured', x: at, y: dr.ratios },
                  { name: '(1 + cos∠)/2', x: at, y: dr.bounds },
                ],
              }),
              'Every sample stays below its own bound; drawn are the means.',
            ),
            await folder.figure(
              'rates',
              lineChart({
                title: 'Rate at which cross-entropy contracts as much',
                x: { title: 'step' },
                y: { title: 'γ', scale: 'log' },
                series: [
                  { name: 'cross-entropy, mean', x: at, y: ce.rates },
                  { name: 'dot regression', x: at, y: at.map(() => 1) },
                ],
              }),
              '(K−1)/K √(E_{H}/E_{W}) (1 − cos∠)/(1 − p_{y}) along a run of cross-entropy at the constant rate 1.',
            ),
            await folder.figure(
              'distances',
              lineChart({
                title: 'Distance to the optimum',
                x: { title: 'step' },
                y: { title: '‖H − H*‖_{F}', scale: 'log' },
                series: [
                  { name: 'dot regression, γ = 1', x: at, y: dr.distances.slice(0, steps) },
                  { name: 'cross-entropy, γ = 1', x: at, y: ce.distances.slice(0, steps) },
                ],
              }),
              'Near the optimum the gradient of dot regression is of second order in the angle, that of cross-entropy of first.',
            ),
          ],
        },
      ],
    };
  },
};
