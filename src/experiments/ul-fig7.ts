/**
 * UL Fig. 7: descent with five weight decays up to the critical λ* = (1+γ)/(C√N). Below it ‖W‖ grows exponentially, at it
 * W converges to W1⁺; ‖H‖ and ‖W‖ approach each other at one pace (Corollary 5).
 */
import { last, slope, vanishes, within } from './fit.js';
import { type Curve, growthExponent, normsApproach, regularized } from './regularized.js';
import { bestGamma, criticalDecay, steps } from './setting.js';

const learningRates = { features: 0.1, prototypes: 0.1 };
const critical = criticalDecay(bestGamma);
const lastStep = 60_000;
const times = steps(lastStep, 301);
const curves = [1e-5, 1e-4, 1e-3, critical, 5e-3].map(
  (weightDecay): Curve => ({
    label: weightDecay === critical ? 'λ = λ*' : `λ = ${weightDecay}`,
    gamma: bestGamma,
    weightDecay,
    learningRates,
  }),
);

export const experiment = regularized({
  id: 'ul-fig7',
  title: 'descent by weight decay',
  source: 'UL Fig. 7',
  summary: 'The prototypes grow below λ*, converge at it, vanish above it; one pace for ‖H‖ − ‖W‖',
  curves,
  times,
  lead: 'Descent at γ = 1/(C−1) and η₁ = η₂ = 0.1 with five weight decays, exactly, from one random start; λ* = (1+γ)/(C√N) ≈ 0.0032.',
  verdicts: (runs) =>
    runs.flatMap((run) => {
      const { label, columns, weightDecay } = run;
      const end = last(columns.prototypeDistance);
      const growth = slope(times, columns.logPrototypeNorm, (t) => t > 0.7 * lastStep);
      return [
        weightDecay === critical
          ? vanishes(`${label}: W converges to W1⁺, ‖W(t) − W1⁺‖ at the end`, end, 1e-6)
          : within(
              `${label}: ‖W‖ ${weightDecay < critical ? 'grows' : 'vanishes'}, exponent per step`,
              growthExponent(run),
              growth,
              0.01,
            ),
        normsApproach(run, times),
      ];
    }),
  section: { title: 'Norms and distances' },
  figures: [
    { quantity: 'logPrototypeNorm', title: 'Norm of the prototypes', caption: 'Straight lines of slope η(λ* − λ).' },
    {
      quantity: 'prototypeDistance',
      title: 'Distance of the prototypes to P = W1⁺',
      caption: 'Converges at λ = λ* alone; elsewhere ‖W‖ dominates.',
    },
    {
      quantity: 'normDifference',
      title: 'Norms of features and prototypes',
      caption: 'Their difference relative to ‖Z‖: one curve for every λ.',
    },
  ],
});
