/**
 * UL Fig. 4: the three regimes of Corollary 5. The norm of the prototypes grows below the critical weight decay
 * λ* = (1+γ)/(C√N), tends to that of W1⁺ at it and vanishes above it, while ‖H‖ and ‖W‖ approach each other at a pace
 * that does not depend on λ. The paper does not print its coefficients; one of each regime is taken.
 */

import { formatNumber } from '../report/ticks.js';
import { last, slope, states, vanishes, within } from './fit.js';
import { type Curve, growthExponent, normsApproach, regularized } from './regularized.js';
import { bestGamma, criticalDecay, evenSteps, setting } from './setting.js';

/** A weight decay by its share of the critical one. */
const labelOf = (share: number): string =>
  `λ = ${share < 1 && Number.isInteger(1 / share) ? `λ*/${1 / share}` : `${share === 1 ? '' : share}λ*`}`;

export const experiment = regularized({
  id: 'ul-fig4',
  title: 'weight decay below, at and above its critical value',
  source: 'UL Fig. 4',
  summary: 'Three regimes: norms diverge, settle or vanish with the weight decay',
  config: { ...setting, learningRate: 0.1, criticalShares: [0.5, 1, 2], steps: 60_000 },
  figure: (config) => {
    const { learningRate, criticalShares, steps } = config;
    const gamma = bestGamma(config);
    const critical = criticalDecay(gamma, config);
    const learningRates = { features: learningRate, prototypes: learningRate };
    const times = evenSteps(steps, 301);
    const curves = criticalShares.map(
      (share): Curve => ({ label: labelOf(share), gamma, weightDecay: share * critical, learningRates }),
    );
    return {
      curves,
      times,
      lead: `Descent at γ = 1/(C−1) and η₁ = η₂ = ${learningRate} by weight decay, exactly, from one random start; λ* = (1+γ)/(C√N).`,
      verdicts: (runs) => [
        ...runs.flatMap((run, i) => {
          const { label, columns } = run;
          const share = criticalShares[i] as number;
          if (share === 1)
            return [vanishes(`${label}: W converges to W1⁺, ‖W(t) − W1⁺‖ at the end`, last(columns.prototypeDistance), 1e-6)];
          const growth = slope(times, columns.logPrototypeNorm, (t) => t > 0.7 * steps);
          const pace = (word: string) =>
            within(`${label}: ‖W‖ ${word}, exponent per step`, growthExponent(run, config), growth, 0.01);
          if (share < 1) return [pace('diverges')];
          const end = last(columns.logPrototypeNorm);
          return [pace('vanishes'), states(`${label}: ‖W‖ → 0, log ‖W‖ at the end`, '→ −∞', formatNumber(end, 3), end < -10)];
        }),
        ...runs.map((run) => normsApproach(run, times, config)),
      ],
      section: { title: 'Norms', formulas: ['‖Z(t)‖ ≈ e^{η(σ − λ)t},   σ = (1+γ)/(C√N) = λ*'] },
      figures: [
        {
          quantity: 'logPrototypeNorm',
          title: 'Norm of the prototypes',
          caption: 'Grows below λ*, settles at it, vanishes above it.',
        },
        {
          quantity: 'prototypeDistance',
          title: 'Distance of the prototypes to P = W1⁺',
          caption: 'Converges at λ = λ* alone; elsewhere ‖W‖ dominates.',
        },
        {
          quantity: 'normDifference',
          title: 'Norms of features and prototypes',
          caption: 'Their difference relative to ‖Z‖. The curves lie on each other: decay acts on both alike.',
        },
      ],
    };
  },
});
