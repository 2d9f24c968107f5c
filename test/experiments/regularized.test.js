// The exponents of UL Corollary 5 that Figures 4 to 8 are held to, beside the limits of the flow, at rates that differ.
import { gradientFlowSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import { convergenceExponent, growthExponent } from '../../lib/experiments/regularized.js';
import { near } from '../helpers.js';

const setting = { classes: 4, perClass: 3, dim: 6, seed: 2 };

test('growth and convergence are those of the flow, whatever the rates', () => {
  for (const gamma of [0.1, 1 / 3, 0.8]) {
    for (const weightDecay of [0, 0.02, 0.3]) {
      for (const [features, prototypes] of [
        [1, 1],
        [2, 0.5],
        [0.25, 3],
      ]) {
        const curve = { gamma, weightDecay, learningRates: { features, prototypes } };
        const { exponent, rate } = gradientFlowSync(randomState(setting), {
          ...{ gamma, weightDecay },
          rates: curve.learningRates,
        }).limitSync();
        const what = `γ = ${gamma}, λ = ${weightDecay}, rates ${features} and ${prototypes}`;
        const growth = growthExponent(curve, setting);
        near(growth, exponent, 1e-12, `growth at ${what}`);
        near(growth - convergenceExponent(curve, setting), rate, 1e-12, `convergence at ${what}`);
      }
    }
  }
});

test.run();
