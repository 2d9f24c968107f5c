/**
 * UL Fig. 5: descent at the critical weight decay λ* = (1+γ)/(C√N), for five γ. By Corollary 5 with s = 1, Z(t) → Π1⁺Z0
 * exponentially where 0 < γ < 2/(C−2), and norms stay bounded; at γ = 0 the common mean stays beside it, and beyond
 * 2/(C−2) it grows.
 */
import type { Experiment } from './experiment.js';
import { exponentOf, last, slope, states, within } from './fit.js';
import { type Curve, configOf, convergenceExponent, draw, traceAll } from './regularized.js';
import { bestGamma, criticalDecay, setting, showGamma, sigma2, steps } from './setting.js';

const learningRates = { features: 0.1, prototypes: 0.1 };
const lastStep = 100_000;
const times = steps(lastStep, 301);
/** Ends of the axes: at γ = 0.1 the norms grow to e^250, beside which nothing else would be seen. */
const distances = [1e-12, 1e6] as const;
const norms = [4, 10] as const;
const limit = 2 / (setting.classes - 2);
const curves = [0, 0.001, 0.01, bestGamma, 0.1].map(
  (gamma): Curve => ({ label: `γ = ${showGamma(gamma)}`, gamma, weightDecay: criticalDecay(gamma), learningRates }),
);

export const experiment: Experiment = {
  id: 'ul-fig5',
  title: 'descent at the critical weight decay, by γ',
  source: 'UL Fig. 5',
  summary: 'At λ* features and prototypes converge to Π1⁺Z0 exponentially where 0 < γ < 2/(C−2)',
  config: configOf(curves, lastStep),
  async run(context) {
    const runs = await traceAll(context, curves, times);
    return {
      lead: 'Descent with η₁ = η₂ = 0.1 and, for each γ, its critical weight decay λ* = (1+γ)/(C√N), exactly, from one random start.',
      verdicts: runs.flatMap((run) => {
        const { label, gamma, columns, weightDecay } = run;
        const accuracy = last(columns.accuracy);
        if (gamma > limit) {
          const stated = learningRates.prototypes * (sigma2(gamma) - weightDecay);
          return [
            within(
              `${label}: norms grow, exponent per step`,
              stated,
              slope(times, columns.logPrototypeNorm, (t) => t > lastStep / 2),
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
            convergenceExponent(run),
            exponentOf(times, columns[quantity], { above: 1e-9 }),
            0.02,
          ),
        );
        return [aligned, ...converged];
      }),
      sections: [
        {
          title: 'Accuracy, distances and norms',
          formulas: ['Z(t) → Π_{1}^{+}Z_{0}   for λ = λ* and s = 1'],
          figures: [
            await draw(
              context,
              runs,
              times,
              'accuracy',
              'Training accuracy',
              'Features align with their prototypes where γ < 2/(C−2).',
            ),
            await draw(
              context,
              runs,
              times,
              'featureDistance',
              'Distance of the features to H1⁺',
              'Exponential for 0 < γ < 2/(C−2), down to rounding; γ = 0 keeps a distance, γ = 0.1 leaves the plot.',
              { domain: distances },
            ),
            await draw(
              context,
              runs,
              times,
              'prototypeDistance',
              'Distance of the prototypes to W1⁺',
              'The same of the prototypes.',
              { domain: distances },
            ),
            await draw(
              context,
              runs,
              times,
              'logFeatureNorm',
              'Norm of the features',
              'Bounded where γ < 2/(C−2): weight decay stops the growth.',
              { domain: norms },
            ),
            await draw(context, runs, times, 'logPrototypeNorm', 'Norm of the prototypes', 'The same of the prototypes.', {
              domain: norms,
            }),
          ],
        },
      ],
    };
  },
};
