/**
 * The unhinged loss beside cross-entropy and MSE, from one start: exact descent where the loss is linear, iterated where it is
 * not; and the minimum of Lemma 1, reached by projected descent under norm bounds (UL Lemma 1, App. A).
 */
import type { State } from '../array/ndarray.js';
import { collapse } from '../collapse/collapse.js';
import { gradientDescent } from '../dynamics/descent.js';
import { projectedDescent } from '../dynamics/projected.js';
import { lineChart } from '../report/figure.js';
import { randomState } from '../state/random-state.js';
import { unhingedBounds, unhingedMinimum } from '../theory/unhinged-bounds.js';
import type { Experiment } from './experiment.js';
import { course, last, states, within } from './fit.js';
import { bestGamma, logSteps } from './setting.js';

const config = {
  ...{ classes: 10, perClass: 20, dim: 64, seed: 2 },
  learningRate: 0.1,
  weightDecay: 5e-3, // below σ of the unhinged loss, so that its direction wins; of the others the balance
  steps: 100_000,
  bounds: { prototypeNorm: 1, featureNorm: 1 },
};

/** `‖Σ_c w_c‖` */
function sumNorm({ prototypes: { shape, data } }: State): number {
  const [classes, dim] = shape as [number, number];
  const sum = Array.from({ length: dim }, (_, j) => {
    let total = 0;
    for (let c = 0; c < classes; c++) total += data[c * dim + j] as number;
    return total;
  });
  return Math.hypot(...sum);
}

export const experiment: Experiment<typeof config> = {
  id: 'ul-losses',
  title: 'the unhinged loss beside cross-entropy and MSE',
  source: 'UL Lemma 1, App. A',
  summary: 'One start, three losses, exact where exact; Lemma 1’s minimum under norm bounds',
  config,
  async run(context, { learningRate, weightDecay: decay, steps: lastStep, bounds, ...setting }) {
    const { signal, progress, folder } = context;
    const { classes } = setting;
    const gamma = bestGamma(setting);
    const state = randomState(setting);
    const learningRates = { features: learningRate, prototypes: learningRate };
    const weightDecay = { features: decay, prototypes: decay };
    const steps = logSteps(lastStep, 81);
    const nc1: Record<string, number[]> = {};
    const duality: Record<string, number[]> = {};
    using exact = await gradientDescent(state, { gamma, learningRates, weightDecay, signal });
    nc1.unhinged = [];
    duality.unhinged = [];
    for (const step of steps) {
      // A direction has the same measures as the state, and never overflows.
      const measured = await collapse({ ...state, ...(await exact.directionAt(step, { signal })) }, { signal });
      nc1.unhinged.push(measured.nc1TraceRatio);
      duality.unhinged.push(measured.selfDuality as number);
    }
    for (const [k, kind] of (['cross-entropy', 'mse'] as const).entries()) {
      const [a, b] = [[] as number[], [] as number[]];
      let resume: NonNullable<Parameters<typeof projectedDescent>[1]['resume']> | undefined;
      for (const step of steps) {
        progress((k + step / lastStep) / 3, kind);
        for await (const snapshot of projectedDescent(
          { loss: { kind }, state, weightDecay },
          { learningRates, steps: step, signal, ...(resume && { resume }) },
        )) {
          if (!snapshot.reason) continue;
          resume = snapshot.checkpoint;
          const measured = await collapse(snapshot.state, { signal });
          a.push(measured.nc1TraceRatio);
          b.push(measured.selfDuality as number);
        }
      }
      nc1[kind] = a;
      duality[kind] = b;
    }
    const minimum = unhingedMinimum(classes, { gamma, ...bounds });
    const problem = {
      loss: { kind: 'unhinged' as const, gamma },
      state,
      constraints: {
        features: { kind: 'ball' as const, radius: bounds.featureNorm },
        prototypes: { kind: 'ball' as const, radius: bounds.prototypeNorm },
      },
    };
    const descent = { learningRates: { features: 20, prototypes: 1 }, steps: 5000, measure: { names: ['loss'] as const }, signal };
    const losses: number[] = [];
    let end: State = state;
    progress(0.9, 'Lemma 1');
    for await (const snapshot of projectedDescent(problem, descent)) {
      losses.push(...(snapshot.measures.loss ?? []));
      end = snapshot.state;
    }
    const reached = await collapse(end, { signal });
    const inequality = await unhingedBounds(state, { gamma, signal });
    await folder.metrics({
      step: steps,
      ...Object.fromEntries(Object.entries(nc1).map(([kind, column]) => [`nc1 (${kind})`, column])),
      ...Object.fromEntries(Object.entries(duality).map(([kind, column]) => [`self-duality (${kind})`, column])),
    });
    const series = (table: Record<string, number[]>) =>
      Object.entries(table).map(([kind, column]) => ({
        name: kind === 'unhinged' ? 'unhinged, exact' : `${kind}, iterated`,
        x: steps,
        y: column,
      }));
    const chart = (title: string, yTitle: string, table: Record<string, number[]>) =>
      lineChart({ title, x: { title: 'step', scale: 'log' }, y: { title: yTitle, scale: 'log' }, series: series(table) });
    return {
      lead:
        `Descent at η = ${learningRate} with weight decay ${decay} on features and prototypes of ${classes} classes of ${setting.perClass} samples in ${setting.dim} ` +
        'dimensions, from one random start under each loss: exact for the unhinged loss with γ = 1/(C−1), iterated for the others.',
      verdicts: [
        ...Object.entries(nc1).map(([kind, column]) =>
          states(
            `${kind}: features collapse to their means, tr Σ_{W} / tr Σ_{B}`,
            '→ 0',
            course(column[0] as number, last(column)),
            last(column) < 1e-6,
          ),
        ),
        within(
          `Lemma 1: the least loss under ‖w‖ ≤ ${bounds.prototypeNorm}, ‖h‖ ≤ ${bounds.featureNorm}, −(1+γ) E₁E₂`,
          minimum,
          last(losses),
          1e-6,
        ),
        states(
          'Lemma 1: no step goes below it, smallest excess',
          '≥ 0',
          Number((Math.min(...losses) - minimum).toExponential(1)),
          Math.min(...losses) >= minimum - 1e-12,
        ),
        states(
          'Lemma 1: prototypes add up to nothing, ‖Σ_{c} w_{c}‖',
          '0',
          Number(sumNorm(end).toExponential(1)),
          sumNorm(end) < 1e-6,
        ),
        states(
          'Lemma 1: the minimum is attained at a simplex ETF alone, mean |cos + 1/(C−1)|',
          '0',
          Number((reached.centeredPrototypeCosine as number).toPrecision(2)),
          (reached.centeredPrototypeCosine as number) < 1e-4,
        ),
        states(
          'App. A: the unhinged loss is below both of its bounds, all samples of the start',
          'holds',
          inequality.holds ? 'holds' : 'fails',
          inequality.holds,
        ),
      ],
      sections: [
        {
          title: 'Three losses from one start',
          figures: [
            await folder.figure(
              'nc1',
              chart('Within-class variability', 'tr Σ_{W} / tr Σ_{B}', nc1),
              'Exponential for all three under weight decay; the unhinged loss exactly, at any step.',
            ),
            await folder.figure(
              'duality',
              chart('Self-duality', 'distance of unit class means and prototypes', duality),
              'Prototypes turn to the class means.',
            ),
          ],
        },
        {
          title: 'The minimum of Lemma 1',
          text: [
            'The loss sees the angles between prototypes through their sum alone. So with more than three classes every set of prototypes at the bound that adds up to nothing attains the minimum, and descent stops at the first it meets; a simplex ETF is one of them, not the only one that the lemma states.',
          ],
          formulas: ['min L_{γ} = −(1+γ) E₁E₂   for ‖w_{c}‖ ≤ E₁, ‖h_{i}‖ ≤ E₂'],
          figures: [
            await folder.figure(
              'lemma1',
              lineChart({
                title: 'Projected descent under norm bounds',
                x: { title: 'step', scale: 'log' },
                y: { title: 'L_{γ} − minimum', scale: 'log' },
                series: [{ x: losses.map((_, k) => k + 1), y: losses.map((loss) => Math.max(loss - minimum, Number.EPSILON)) }],
              }),
              'How far the loss is above its minimum, down to rounding.',
            ),
          ],
        },
      ],
    };
  },
};
