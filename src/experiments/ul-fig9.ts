/**
 * UL Fig. 9: descent on normalized features with prototypes anchored to a simplex ETF, for five learning rates, with the
 * plain and with the rescaled rate (Theorem 7, Lemma 10). ‖h_i‖ never decreases, and the angle to the prototype falls by
 * the factor 1 − α a step in the end, α = e‖w‖/‖h‖² (rescaled: e‖w‖/‖h‖) with e = (1+γ)η/n.
 */
import type { State } from '../array/ndarray.js';
import { sphericalDescent } from '../dynamics/spherical.js';
import { lineChart } from '../report/figure.js';
import type { Verdict } from '../report/page.js';
import { simplexETF } from '../theory/simplex-etf.js';
import type { Experiment, ExperimentContext } from './experiment.js';
import { states, within } from './fit.js';
import { bestGamma, logSteps, setting, start } from './setting.js';

const config = { ...setting, learningRates: [0.1, 0.5, 1, 5, 10], steps: 1_000_000 };
type Config = typeof config;

const timesOf = ({ steps }: Config): number[] => [0, ...logSteps(steps, 160)];

export const experiment: Experiment<Config> = {
  id: 'ul-fig9',
  title: 'normalized features and anchored prototypes',
  source: 'UL Fig. 9',
  summary: 'Feature norms never fall, directions converge exponentially, and a rescaled rate makes them faster',
  config,
  async run(context, config) {
    const { classes, perClass, dim, seed } = config;
    const times = timesOf(config);
    const initial: State = { ...start(config), prototypes: simplexETF(classes, dim, { seed }) };
    const plain = await traceAll(context, config, initial, false, 0);
    const rescaled = await traceAll(context, config, initial, true, plain.length);
    await context.folder.metrics({
      step: times,
      ...Object.fromEntries(
        [...plain, ...rescaled].flatMap(({ label, rescaled, error, featureNorm }) => [
          [`error (${label}${rescaled ? ', rescaled' : ''})`, error],
          [`featureNorm (${label}${rescaled ? ', rescaled' : ''})`, featureNorm],
        ]),
      ),
    });
    const figure = (name: string, runs: readonly Run[], quantity: 'error' | 'featureNorm', caption: string) =>
      context.folder.figure(
        name,
        lineChart({
          title: quantity === 'error' ? 'Distance of the directions to their prototypes' : 'Norm of the features',
          x: { title: 'step', scale: 'log' },
          y: { title: quantity === 'error' ? '‖Ĥ(t) − Ŵ‖' : '‖H(t)‖', scale: quantity === 'error' ? 'log' : 'linear' },
          series: runs.map((run) => ({ name: run.label, x: times, y: run[quantity] })),
        }),
        caption,
      );
    return {
      lead:
        `Features [${classes * perClass}, ${dim}] from a random start, normalized, with prototypes fixed to a simplex ETF of unit length, by the exact ` +
        'scalar recurrence of Lemma 10. Steps are on a logarithmic axis; the mean over samples makes each step small.',
      verdicts: [...plain, ...rescaled].flatMap(verdictsOf).concat(plain.map((run, i) => faster(run, rescaled[i] as Run, config))),
      sections: [
        {
          title: 'Plain learning rate',
          formulas: ['β⁺ = (β + α(1 − β²))/√(1 + α²(1 − β²)),   α = e‖w‖/‖h‖²,   e = (1+γ)η/n'],
          figures: [
            await figure(
              'error',
              plain,
              'error',
              'Exponential in the end (bending downwards here, as the axis of steps is logarithmic), slowed by growing norms.',
            ),
            await figure('feature-norm', plain, 'featureNorm', 'Norms never decrease.'),
          ],
        },
        {
          title: 'Rescaled learning rate',
          formulas: ['α = e‖w‖/‖h‖'],
          figures: [
            await figure(
              'error-rescaled',
              rescaled,
              'error',
              'Multiplying the rate by ‖h‖ speeds up the convergence where ‖h‖ > 1.',
            ),
            await figure('feature-norm-rescaled', rescaled, 'featureNorm', 'Norms grow further than with the plain rate.'),
          ],
        },
      ],
    };
  },
};

interface Run {
  readonly label: string;
  readonly rescaled: boolean;
  /** ‖Ĥ(t) − Ŵ‖, over samples. */
  readonly error: Float64Array;
  readonly featureNorm: Float64Array;
  /** The exponent of `error` at the end of its exponential fall: seen, and stated by Lemma 10. */
  readonly exponent: { readonly seen: number; readonly stated: number };
}

async function traceAll(
  { signal, progress }: ExperimentContext,
  config: Config,
  initial: State,
  rescaled: boolean,
  done: number,
): Promise<Run[]> {
  const { classes, perClass, learningRates } = config;
  const times = timesOf(config);
  const gamma = bestGamma(config);
  const runs: Run[] = [];
  for (const learningRate of learningRates) {
    const label = `η = ${learningRate}`;
    progress((done + runs.length) / (2 * learningRates.length), `${label}${rescaled ? ', rescaled' : ''}`);
    using trajectory = await sphericalDescent(initial, { gamma, learningRate, rescaled });
    const { distanceToLimit: error, featureNorm } = await trajectory.measure(times, ['distanceToLimit', 'featureNorm'], { signal });
    // Over the last two times before rounding sets in.
    const end = Math.max(
      1,
      error.findLastIndex((value) => value > 1e-7),
    );
    const [from, to] = [times[end - 1] as number, times[end] as number];
    const pull = ((1 + gamma) * learningRate) / (classes * perClass);
    let stated = 0;
    for (const time of [from, to]) stated -= weightedRate(await trajectory.at(time, { signal }), pull, rescaled) / 2;
    const seen = Math.log((error[end] as number) / (error[end - 1] as number)) / (to - from);
    runs.push({ label, rescaled, error, featureNorm, exponent: { seen, stated } });
  }
  return runs;
}

/** Σ α_i ε_i² / Σ ε_i² over samples, ε_i = ‖ĥ_i − w_{y_i}‖: each ε_i falls by 1 − α_i a step, so this is the rate of their norm. */
function weightedRate({ features, prototypes, labels }: State, pull: number, rescaled: boolean): number {
  const dim = features.shape[1] as number;
  let [sum, weights] = [0, 0];
  for (const [i, label] of labels.entries()) {
    const h = Array.from(features.data.subarray(i * dim, (i + 1) * dim));
    const w = prototypes.data.subarray(label * dim, (label + 1) * dim);
    const length = Math.hypot(...h);
    const squared = h.reduce((total, value, d) => total + (value / length - (w[d] as number)) ** 2, 0);
    sum += (pull / (rescaled ? length : length ** 2)) * squared;
    weights += squared;
  }
  return sum / weights;
}

function verdictsOf({ label, rescaled, error, featureNorm, exponent }: Run): Verdict[] {
  const name = `${label}${rescaled ? ', rescaled' : ''}`;
  const falls = featureNorm.some((value, i) => i > 0 && value < (featureNorm[i - 1] as number) * (1 - 1e-12));
  const verdicts = [states(`${name}: ‖H(t)‖ never decreases`, 'never', falls ? 'decreases' : 'never', !falls)];
  if ((error.at(-1) as number) < 0.1) {
    verdicts.push(
      within(
        `${name}: ‖Ĥ(t) − Ŵ‖ falls exponentially, exponent per step −α (mean over samples)`,
        exponent.stated,
        exponent.seen,
        0.02,
      ),
    );
  }
  return verdicts;
}

/** How soon the rescaled rate brings the error down, against the plain one. */
function faster(plain: Run, rescaled: Run, config: Config): Verdict {
  const times = timesOf(config);
  const reached = ({ error }: Run) => times[error.findIndex((value) => value < (error[0] as number) / 2)];
  const [slow, fast] = [reached(plain), reached(rescaled)];
  return states(
    `${plain.label}: the rescaled rate halves the error sooner`,
    'sooner',
    `step ${fast} against ${slow ?? `after ${config.steps}`}`,
    fast !== undefined && (slow === undefined || fast < slow),
  );
}
