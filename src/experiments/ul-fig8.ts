/**
 * UL Fig. 8: descent at the critical weight decay with five ratios s = η1/η2 of the learning rates. Z converges to
 * (H1⁺ + (1−s)/(1+s) H1⁻, W1⁺ − (1−s)/(1+s) W1⁻), the faster the larger s (Corollary 5). The paper does not print λ; the
 * critical one is taken, at which this limit is finite.
 */
import { exponentOf, within } from './fit.js';
import { type Curve, convergenceExponent, regularized } from './regularized.js';
import { bestGamma, criticalDecay, logSteps, setting } from './setting.js';

export const experiment = regularized({
  id: 'ul-fig8',
  title: 'descent at the critical weight decay, by the ratio of the rates',
  source: 'UL Fig. 8',
  summary: 'Convergence to (H1⁺ + (1−s)/(1+s) H1⁻, W1⁺ − (1−s)/(1+s) W1⁻), the faster the larger s',
  config: { ...setting, rateRatios: [0.01, 0.05, 0.1, 0.5, 1], learningRate: 0.5, steps: 1_000_000 },
  figure: (config) => {
    const { rateRatios, learningRate } = config;
    const times = logSteps(config.steps, 301);
    const gamma = bestGamma(config);
    const curves = rateRatios.map(
      (s): Curve => ({
        label: `s = ${s}`,
        gamma,
        weightDecay: criticalDecay(gamma, config),
        learningRates: { features: s * learningRate, prototypes: learningRate },
      }),
    );
    return {
      curves,
      times,
      lead: `Descent at γ = 1/(C−1), λ = λ* and η₂ = ${learningRate} by the rate η₁ = s η₂ of the features, exactly, from one random start.`,
      verdicts: (runs) =>
        runs.map((run) =>
          within(
            `${run.label}: ‖H(t) − H̄‖ falls, exponent per step`,
            convergenceExponent(run, config),
            exponentOf(times, run.columns.featureDistance, { above: 1e-9 }),
            0.02,
          ),
        ),
      section: { title: 'Distances', formulas: ['H̄ = H_{1}^{+} + (1−s)/(1+s) H_{1}^{−},   W̄ = W_{1}^{+} − (1−s)/(1+s) W_{1}^{−}'] },
      figures: [
        {
          quantity: 'featureDistance',
          title: 'Distance of the features to H̄',
          caption: 'Larger s converges faster.',
          xScale: 'log',
        },
        {
          quantity: 'prototypeDistance',
          title: 'Distance of the prototypes to W̄',
          caption: 'The prototypes hardly depend on s.',
          xScale: 'log',
        },
      ],
    };
  },
});
