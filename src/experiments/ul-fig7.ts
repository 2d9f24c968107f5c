/**
 * UL Fig. 7: descent with five weight decays up to the critical λ* = (1+γ)/(C√N). Below it ‖W‖ grows exponentially, at it
 * W converges to W1⁺; ‖H‖ and ‖W‖ approach each other at one pace (Corollary 5).
 */
import { formatNumber } from '../report/ticks.js';
import { last, slope, vanishes, within } from './fit.js';
import { type Curve, growthExponent, normsApproach, regularized } from './regularized.js';
import { bestGamma, criticalDecay, evenSteps, setting } from './setting.js';

export const experiment = regularized({
  id: 'ul-fig7',
  title: 'descent by weight decay',
  source: 'UL Fig. 7',
  summary: 'The prototypes grow below λ*, converge at it, vanish above it; one pace for ‖H‖ − ‖W‖',
  config: { ...setting, weightDecays: [1e-5, 1e-4, 1e-3, 5e-3], learningRate: 0.1, steps: 60_000 },
  figure: (config) => {
    const { learningRate, weightDecays, steps } = config;
    const gamma = bestGamma(config);
    const critical = criticalDecay(gamma, config);
    const times = evenSteps(steps, 301);
    const curves = [...new Set([...weightDecays, critical])]
      .sort((a, b) => a - b)
      .map(
        (weightDecay): Curve => ({
          label: weightDecay === critical ? 'λ = λ*' : `λ = ${weightDecay}`,
          gamma,
          weightDecay,
          learningRates: { features: learningRate, prototypes: learningRate },
        }),
      );
    return {
      curves,
      times,
      lead: `Descent at γ = 1/(C−1) and η₁ = η₂ = ${learningRate} by weight decay, exactly, from one random start; λ* = (1+γ)/(C√N) ≈ ${formatNumber(critical, 2)}.`,
      verdicts: (runs) =>
        runs.flatMap((run) => {
          const { label, columns, weightDecay } = run;
          const end = last(columns.prototypeDistance);
          const growth = slope(times, columns.logPrototypeNorm, (t) => t > 0.7 * steps);
          return [
            weightDecay === critical
              ? vanishes(`${label}: W converges to W1⁺, ‖W(t) − W1⁺‖ at the end`, end, 1e-6)
              : within(
                  `${label}: ‖W‖ ${weightDecay < critical ? 'grows' : 'vanishes'}, exponent per step`,
                  growthExponent(run, config),
                  growth,
                  0.01,
                ),
            normsApproach(run, times, config),
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
    };
  },
});
