/**
 * UL Fig. 15: features under anchored prototypes with explicit feature regularization λ (Theorem 6):
 * H(t) = e^{−λζ} H0 + (1 − e^{−λζ})/λ · MᵀW, so that the direction of H converges to that of MᵀW like e^{−ληt}, and only
 * like 1/t at λ = 0.
 */
import { anchoredFlow } from '../dynamics/flow.js';
import { structuredProducts } from '../dynamics/products.js';
import { lineChart } from '../report/figure.js';
import type { Experiment } from './experiment.js';
import { exponentOf, slope, within } from './fit.js';
import { bestGamma, distance, logSteps, norm, setting, start } from './setting.js';

const config = { ...setting, rate: 0.1, weightDecays: [0, 0.001, 0.005, 0.01, 0.05, 0.1], time: 300_000 };

export const experiment: Experiment<typeof config> = {
  id: 'ul-fig15',
  title: 'anchored prototypes with feature regularization',
  source: 'UL Fig. 15',
  summary: 'The direction of the features converges to that of MᵀW at the exponent λη',
  config,
  async run({ signal, progress, folder }, { rate, weightDecays, time: end, ...setting }) {
    const initial = start(setting);
    const gamma = bestGamma(setting);
    const times = logSteps(end, 241);
    const target = (await structuredProducts(initial, { gamma, signal })).features;
    const targetNorm = norm(target);
    const runs: { label: string; weightDecay: number; error: number[] }[] = [];
    for (const [i, weightDecay] of weightDecays.entries()) {
      const label = `λ = ${weightDecay}`;
      progress(i / weightDecays.length, label);
      using trajectory = await anchoredFlow(initial, { gamma, rate, weightDecay, signal });
      const error: number[] = [];
      for (const time of times) {
        const { features } = await trajectory.at(time, { signal });
        error.push(distance(features, target, 1 / norm(features), 1 / targetNorm));
      }
      runs.push({ label, weightDecay, error });
      await folder.metrics({ time: times, ...Object.fromEntries(runs.map((run) => [`error (${run.label})`, run.error])) });
    }
    return {
      lead: 'Features from a random start pulled by fixed random prototypes at γ = 1/(C−1), by the strength of feature regularization, by the closed form.',
      verdicts: runs.map(({ label, weightDecay, error }) =>
        weightDecay === 0
          ? within(
              `${label}: no exponential, ‖Ĥ(t) − M̂W‖ falls like t^{−1}`,
              -1,
              slope(
                times.map((time) => Math.log(time)),
                error.map((value) => Math.log(value)),
                (x) => x > Math.log(end / 10),
              ),
              0.15,
            )
          : within(`${label}: ‖Ĥ(t) − M̂W‖ falls at −λη`, -weightDecay * rate, exponentOf(times, error, { above: 1e-9 }), 0.02),
      ),
      sections: [
        {
          title: 'Convergence to the pull of the prototypes',
          formulas: ['H(t) = e^{−λζ}H_{0} + (1 − e^{−λζ})/λ · MᵀW,   ζ = ηt'],
          figures: [
            await folder.figure(
              'error',
              lineChart({
                title: 'Distance of the direction of the features to that of MᵀW',
                x: { title: 'time', scale: 'log' },
                y: { title: '‖H/‖H‖ − MᵀW/‖MᵀW‖‖', scale: 'log' },
                series: runs.map(({ label, error }) => ({ name: label, x: times, y: error })),
              }),
              'Exponential at λη, and only like 1/t without regularization. Time is on a logarithmic axis.',
            ),
          ],
        },
      ],
    };
  },
};
