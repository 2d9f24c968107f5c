/**
 * UL Fig. 5: descent at the critical weight decay λ* = (1+γ)/(C√N), for five γ. By Corollary 5 with s = 1, Z(t) → Π1⁺Z0
 * exponentially where 0 < γ < 2/(C−2), and norms stay bounded; at γ = 0 the common mean stays beside it, and beyond
 * 2/(C−2) it grows.
 */
import { exponentOf, last, slope, states, within } from './fit.js';
import { type Curve, convergenceExponent, regularized } from './regularized.js';
import { criticalDecay, evenSteps, setting, showGamma, sigma2, turningGamma, withBest } from './setting.js';

/** Ends of the axes: at γ = 0.1 the norms grow to e^250, beside which nothing else would be seen. */
const distances = [1e-12, 1e6] as const;
const norms = [4, 10] as const;

export const experiment = regularized({
  id: 'ul-fig5',
  title: 'descent at the critical weight decay, by γ',
  source: 'UL Fig. 5',
  summary: 'At λ* features and prototypes converge to Π1⁺Z0 exponentially where 0 < γ < 2/(C−2)',
  config: { ...setting, gammas: [0, 0.001, 0.01, 0.1], learningRate: 0.1, steps: 100_000 },
  figure: (config) => {
    const { gammas, learningRate, steps } = config;
    const learningRates = { features: learningRate, prototypes: learningRate };
    const times = evenSteps(steps, 301);
    const limit = turningGamma(config);
    const curves = withBest(gammas, config).map(
      (gamma): Curve => ({
        label: `γ = ${showGamma(gamma, config)}`,
        gamma,
        weightDecay: criticalDecay(gamma, config),
        learningRates,
      }),
    );
    return {
      curves,
      times,
      lead: `Descent with η₁ = η₂ = ${learningRate} and, for each γ, its critical weight decay λ* = (1+γ)/(C√N), exactly, from one random start.`,
      verdicts: (runs) =>
        runs.flatMap((run) => {
          const { label, gamma, columns, weightDecay } = run;
          const accuracy = last(columns.accuracy);
          if (gamma > limit) {
            const stated = learningRates.prototypes * (sigma2(gamma, config) - weightDecay);
            return [
              within(
                `${label}: norms grow, exponent per step`,
                stated,
                slope(times, columns.logPrototypeNorm, (t) => t > steps / 2),
                0.01,
              ),
            ];
          }
          const aligned = states(
            `${label}: features align with their prototypes, accuracy`,
            '100 %',
            `${100 * accuracy} %`,
            accuracy === 1,
          );
          if (gamma === 0) return [aligned];
          const converged = (['featureDistance', 'prototypeDistance'] as const).map((quantity) =>
            within(
              `${label}: ${quantity === 'featureDistance' ? '‖H(t) − H1⁺‖' : '‖W(t) − W1⁺‖'} falls, exponent per step`,
              convergenceExponent(run, config),
              exponentOf(times, columns[quantity], { above: 1e-9 }),
              0.02,
            ),
          );
          return [aligned, ...converged];
        }),
      section: { title: 'Accuracy, distances and norms', formulas: ['Z(t) → Π_{1}^{+}Z_{0}   for λ = λ* and s = 1'] },
      figures: [
        { quantity: 'accuracy', title: 'Training accuracy', caption: 'Features align with their prototypes where γ < 2/(C−2).' },
        {
          quantity: 'featureDistance',
          title: 'Distance of the features to H1⁺',
          caption: 'Exponential for 0 < γ < 2/(C−2), down to rounding; γ = 0 keeps a distance, γ = 0.1 leaves the plot.',
          domain: distances,
        },
        {
          quantity: 'prototypeDistance',
          title: 'Distance of the prototypes to W1⁺',
          caption: 'The same of the prototypes.',
          domain: distances,
        },
        {
          quantity: 'logFeatureNorm',
          title: 'Norm of the features',
          caption: 'Bounded where γ < 2/(C−2): weight decay stops the growth.',
          domain: norms,
        },
        { quantity: 'logPrototypeNorm', title: 'Norm of the prototypes', caption: 'The same of the prototypes.', domain: norms },
      ],
    };
  },
});
