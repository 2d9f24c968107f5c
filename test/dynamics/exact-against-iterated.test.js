// The exact descent against the native kernels that take every step: 10 000 of them, in every option.
import { gradientDescent, iteratedDescent, randomState, seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const steps = 10_000;

/** Labels out of order, with biases. */
function start(counts, seed) {
  const state = randomState({ counts, dim: 7, seed });
  const random = seededRandom(seed + 1);
  const labels = state.labels.slice();
  for (let i = labels.length - 1; i > 0; i--) {
    const j = Math.floor(random.uniform() * (i + 1));
    [labels[i], labels[j]] = [labels[j], labels[i]];
  }
  const biases = { shape: [counts.length], data: random.fillNormal(new Float64Array(counts.length)) };
  return { ...state, labels, biases };
}

const options = {
  momentum: [{ momentum: 0 }, { momentum: 0.9 }, { momentum: 0.9, nesterov: true }],
  weightDecay: [{}, { weightDecay: { features: 0.02, prototypes: 0.005 } }],
  schedule: [
    {},
    { schedule: { kind: 'cosine', period: 8000 } },
    { schedule: { kind: 'steps', milestones: [100, 5000], factor: 0.3, warmup: 50 } },
    { schedule: { kind: 'exponential', timescale: 3000 } },
    { schedule: (step) => 1 / (1 + step / 1000) },
  ],
  counts: [{ counts: [4, 4, 4, 4, 4] }, { counts: [9, 1, 3, 6, 2] }],
};

for (const { counts } of options.counts) {
  for (const momentum of options.momentum) {
    for (const weightDecay of options.weightDecay) {
      for (const schedule of options.schedule) {
        const given = {
          gamma: 0.15,
          learningRates: { features: 0.02, prototypes: 0.01 },
          ...momentum,
          ...weightDecay,
          ...schedule,
        };
        const kind = typeof schedule.schedule === 'function' ? 'function' : (schedule.schedule?.kind ?? 'no schedule');
        test(`${counts}, ${JSON.stringify({ ...momentum, ...weightDecay })}, ${kind}`, async () => {
          const state = start(counts, 3);
          const trajectory = await gradientDescent(state, given);
          const exact = await trajectory.at(steps);
          const iterated = await iteratedDescent(state, { ...given, steps });
          for (const part of ['features', 'prototypes', 'biases']) {
            const [x, y] = [exact[part].data, iterated[part].data];
            const scale = Math.max(...x.map(Math.abs));
            const error = Math.max(...x.map((value, i) => Math.abs(value - y[i]))) / scale;
            assert.ok(error < 1e-11, `${part} differ by ${error} of their largest entry ${scale}`);
          }
          trajectory.dispose();
        });
      }
    }
  }
}

test.run();
