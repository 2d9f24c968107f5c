/**
 * UL Fig. 4: the three regimes of Corollary 5. The norm of the prototypes grows below the critical weight decay
 * λ* = (1+γ)/(C√N), tends to that of W1⁺ at it and vanishes above it, while ‖H‖ and ‖W‖ approach each other at a pace
 * that does not depend on λ. The paper does not print its coefficients; one of each regime is taken.
 */

import { formatNumber } from '../report/ticks.js';
import { last, slope, states, vanishes, within } from './fit.js';
import { type Curve, growthExponent, normsApproach, regularized } from './regularized.js';
import { bestGamma, criticalDecay, steps } from './setting.js';

const learningRates = { features: 0.1, prototypes: 0.1 };
const critical = criticalDecay(bestGamma);
const lastStep = 60_000;
const times = steps(lastStep, 301);
const curve = (label: string, weightDecay: number): Curve => ({ label, gamma: bestGamma, weightDecay, learningRates });
const curves = [curve('λ = λ*/2', critical / 2), curve('λ = λ*', critical), curve('λ = 2λ*', 2 * critical)];

export const experiment = regularized({
  id: 'ul-fig4',
  title: 'weight decay below, at and above its critical value',
  source: 'UL Fig. 4',
  summary: 'Three regimes: norms diverge, settle or vanish with the weight decay',
  curves,
  times,
  lead: 'Descent at γ = 1/(C−1) and η₁ = η₂ = 0.1 with three weight decays, exactly, from one random start; λ* = (1+γ)/(C√N).',
  verdicts: (runs) => {
    const [below, at, above] = runs as [(typeof runs)[0], (typeof runs)[0], (typeof runs)[0]];
    const growth = (run: (typeof runs)[0]) => slope(times, run.columns.logPrototypeNorm, (t) => t > 0.7 * lastStep);
    return [
      within('λ = λ*/2: ‖W‖ diverges, exponent per step', growthExponent(below), growth(below), 0.01),
      vanishes('λ = λ*: W converges to W1⁺, ‖W(t) − W1⁺‖ at the end', last(at.columns.prototypeDistance), 1e-6),
      within('λ = 2λ*: ‖W‖ vanishes, exponent per step', growthExponent(above), growth(above), 0.01),
      states(
        'λ = 2λ*: ‖W‖ → 0, log ‖W‖ at the end',
        '→ −∞',
        formatNumber(last(above.columns.logPrototypeNorm), 3),
        last(above.columns.logPrototypeNorm) < -10,
      ),
      ...runs.map((run) => normsApproach(run, times)),
    ];
  },
  section: { title: 'Norms', formulas: ['‖Z(t)‖ ≈ e^{η(σ − λ)t},   σ = (1+γ)/(C√N) = λ*'] },
  figures: [
    { quantity: 'logPrototypeNorm', title: 'Norm of the prototypes', caption: 'Grows below λ*, settles at it, vanishes above it.' },
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
});
