/**
 * UL Fig. 6: descent at the critical weight decay by learning rate η1 = η2 = η. Features and prototypes converge
 * to Π1⁺Z0 exponentially, at an exponent proportional to η (Corollary 5).
 */
import { exponentOf, within } from './fit.js';
import { type Curve, convergenceExponent, regularized } from './regularized.js';
import { bestGamma, criticalDecay, logSteps, setting } from './setting.js';

export const experiment = regularized({
  id: 'ul-fig6',
  title: 'descent at the critical weight decay, by learning rate',
  source: 'UL Fig. 6',
  summary: 'Features and prototypes converge exponentially, the faster the larger the learning rate',
  config: { ...setting, learningRates: [0.001, 0.01, 0.1, 0.2, 0.5], steps: 1_000_000 },
  figure: (config) => {
    const times = logSteps(config.steps, 301);
    const gamma = bestGamma(config);
    const curves = config.learningRates.map(
      (rate): Curve => ({
        label: `η = ${rate}`,
        gamma,
        weightDecay: criticalDecay(gamma, config),
        learningRates: { features: rate, prototypes: rate },
      }),
    );
    return {
      curves,
      times,
      lead: 'Descent at γ = 1/(C−1), λ = λ* by learning rate, exactly, from one random start. Steps are on a logarithmic axis.',
      verdicts: (runs) =>
        runs.map((run) =>
          within(
            `${run.label}: ‖H(t) − H1⁺‖ falls, exponent per step`,
            convergenceExponent(run, config),
            exponentOf(times, run.columns.featureDistance, { above: 1e-9 }),
            0.02,
          ),
        ),
      section: { title: 'Distances' },
      figures: [
        {
          quantity: 'featureDistance',
          title: 'Distance of the features to H1⁺',
          caption: 'Ten times the rate, a tenth of the steps.',
          xScale: 'log',
        },
        {
          quantity: 'prototypeDistance',
          title: 'Distance of the prototypes to W1⁺',
          caption: 'The same of the prototypes.',
          xScale: 'log',
        },
      ],
    };
  },
});
