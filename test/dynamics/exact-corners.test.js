// Exact trajectories at their corners: limits that oscillate, biases behind the end of schedules, states scaled many times over,
// times that go back, steps far out, and logits of unequal classes.
import { gradientDescentSync, gradientFlowSync, iteratedDescentSync, randomState, seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, near, shuffle } from '../helpers.js';

const sides = (features, prototypes) => ({ features, prototypes });

function sample({ counts = [3, 3, 3], dim = 4, seed = 1, dtype = 'float64' } = {}) {
  const state = randomState({ counts, dim, seed, dtype });
  shuffle(state.labels, seed);
  const biases = seededRandom(seed).fillNormal(new state.features.data.constructor(counts.length));
  return { ...state, biases: { shape: [counts.length], data: biases } };
}

/** By how much `log ‖Z‖` grows a step, over many turns: from the largest of a stretch to that of a late one. */
function growth(trajectory, [from, to], width) {
  const top = (begin) => {
    const steps = Float64Array.from({ length: width }, (_, k) => begin + k);
    return Math.max(...trajectory.measureSync(steps, ['logNorm']).logNorm);
  };
  return (top(to) - top(from)) / (to - from);
}

test('the exponent of a limit that oscillates is how the norm grows, for every kind of step', () => {
  const state = sample();
  // At decay 1 the leading mode has α ≈ −0.3, −0.5, −2.6: complex roots with momentum, a change of sign at every step without.
  for (const [rate, momentum, nesterov] of [
    [0.4, 0.9, false],
    [0.4, 0.9, true],
    [0.7, 0.6, true],
    [0.7, 0.8, false],
    [3.2, 0, false],
    [2.4, 0, false],
  ]) {
    const trajectory = gradientDescentSync(state, {
      gamma: 0.3,
      learningRates: sides(rate, rate),
      weightDecay: 1,
      momentum,
      nesterov,
    });
    const { regime, exponent, direction } = trajectory.limitSync();
    assert.is(regime, 'oscillating', `${rate}, ${momentum}`);
    assert.is(direction, undefined);
    near(exponent, growth(trajectory, [2000, 6000], 300), 2e-4, `exponent of ${rate}, ${momentum}, ${nesterov}`);
  }
});

test('the exponent and the rate of a limit are by the rates and learning rates that stay', () => {
  const state = sample();
  const schedule = { kind: 'steps', milestones: [2, 5], factor: 0.5, warmup: 3 };
  const [shape, slow] = [0.8, 0.4].map((value) => ({ ...schedule, value }));
  for (const made of [
    gradientFlowSync(state, { gamma: 0.3, rates: sides(shape, slow) }),
    gradientFlowSync(state, { gamma: 0.3, rates: sides(shape, 0.4) }),
    gradientDescentSync(state, { gamma: 0.3, learningRates: sides(0.8, 0.4), schedule }),
    gradientDescentSync(state, { gamma: 0.3, learningRates: sides(shape, 0.4) }),
    gradientDescentSync(state, { gamma: 0.3, learningRates: sides(shape, slow), momentum: 0.5 }),
  ]) {
    const { exponent, rate, regime } = made.limitSync();
    assert.is(regime, 'aligned');
    const { logNorm, distanceToLimit } = made.measureSync([400, 600], ['logNorm', 'distanceToLimit']);
    near((logNorm[1] - logNorm[0]) / 200 / exponent, 1, 1e-6, 'exponent');
    near(Math.log(distanceToLimit[0] / distanceToLimit[1]) / 200 / rate, 1, 1e-3, 'rate');
  }
});

test('biases under decay: everywhere on the way, behind the end of schedules, and in the limit', () => {
  const state = sample({ counts: [4, 2, 3] });
  const shape = { kind: 'steps', milestones: [3, 9], factor: 0.4, warmup: 5 };
  for (const momentum of [{}, { momentum: 0.8 }, { momentum: 0.8, nesterov: true }]) {
    for (const learningRates of [
      sides(0.3, 0.5),
      sides({ ...shape, value: 0.3 }, 0.5),
      sides(0.3, { ...shape, value: 0.5 }),
      sides(0.3, { kind: 'exponential', value: 0.5, timescale: 5 }),
    ]) {
      const options = { gamma: 0.3, learningRates, weightDecay: sides(0.2, 0.3), ...momentum };
      const trajectory = gradientDescentSync(state, options);
      // In hops, each from a copy of the clock of the one before, and back again.
      for (const steps of [1, 2, 5, 8, 9, 30, 4]) {
        const expected = iteratedDescentSync(state, { ...options, steps });
        for (const part of ['features', 'prototypes', 'biases']) {
          assert.ok(distance(trajectory.atSync(steps)[part].data, expected[part].data) < 1e-13, `${part} after ${steps}`);
        }
      }
    }
  }
  // σ > λ: nothing vanishes, and the state of the limit has the biases m/λ.
  const still = gradientFlowSync(sample(), { gamma: 0.3, rates: sides(0.5, 0.7), weightDecay: 1.3 / (3 * Math.sqrt(3)) });
  const { regime, state: end } = still.limitSync();
  assert.is(regime, 'stationary');
  const late = still.atSync(3000);
  for (const part of ['features', 'prototypes', 'biases']) {
    assert.ok(distance(end[part].data, late[part].data) < 1e-12, `${part} of the limit`);
  }
  // And stays there for any time: nothing of the rounding of σ − λ grows.
  for (const rates of [sides(0.5, 0.7), sides(0.3, 0.9), sides(1.1, 0.2), sides(0.7, 0.7)]) {
    const flow = gradientFlowSync(sample(), { gamma: 0.3, rates, weightDecay: 1.3 / (3 * Math.sqrt(3)) });
    const { logNorm } = flow.measureSync([3000, 1e20], ['logNorm']);
    near(logNorm[1], logNorm[0], 1e-12, `log norm at rates ${rates.features}, ${rates.prototypes}`);
  }
  near(end.biases.data[0], (1.3 / 3 - 0.3) / (1.3 / (3 * Math.sqrt(3))), 1e-12, 'a bias of the limit');
});

test('flows move biases at the rate of the prototypes, whatever that of the features', () => {
  const state = sample({ counts: [4, 2, 3] });
  const pull = (c) => (1.3 * [4, 2, 3][c]) / 9 - 0.3;
  for (const [decay, decayed] of [
    [0, (zeta) => [1, zeta]],
    [0.4, (zeta) => [Math.exp(-0.4 * zeta), (1 - Math.exp(-0.4 * zeta)) / 0.4]],
  ]) {
    for (const [rates, zetaAt] of [
      [sides(0.9, 0.2), (t) => 0.2 * t],
      [sides(0.9, { kind: 'constant', value: 0.2, warmup: 4 }), (t) => 0.2 * (t < 4 ? t ** 2 / 8 : t - 2)],
      [sides({ kind: 'exponential', value: 0.9, timescale: 3 }, 0.2), (t) => 0.2 * t],
    ]) {
      const trajectory = gradientFlowSync(state, { gamma: 0.3, rates, weightDecay: sides(0.1, decay) });
      for (const t of [1, 30, 3]) {
        const [keep, gain] = decayed(zetaAt(t));
        const expected = state.biases.data.map((b, c) => keep * b + gain * pull(c));
        assert.ok(distance(trajectory.atSync(t).biases.data, expected) < 1e-12, `${JSON.stringify(rates)} at ${t}`);
      }
    }
  }
});

test('what differs within classes decays by itself, far below the range of doubles', () => {
  // Classes whose means are zero, and prototypes that are: nothing but the rest is there.
  const features = array([
    [1, 2],
    [-1, -2],
    [3, 0],
    [-3, 0],
  ]);
  const state = {
    features,
    prototypes: array([
      [0, 0],
      [0, 0],
    ]),
    labels: Int32Array.of(0, 0, 1, 1),
  };
  const norm = Math.log(Math.hypot(...features.data));
  for (const [made, log] of [
    [
      gradientDescentSync(state, { gamma: 0.1, learningRates: sides(0.5, 0.1), weightDecay: sides(1, 0.1) }),
      (k) => k * Math.log(0.5),
    ],
    [
      gradientDescentSync(state, {
        gamma: 0.1,
        learningRates: sides({ kind: 'constant', value: 0.5, warmup: 100 }, { kind: 'constant', value: 0.1, warmup: 101 }),
        weightDecay: sides(1, 0.1),
      }),
      (k) => Array.from({ length: k }, (_, i) => Math.log1p(-0.5 * Math.min(1, (i + 1) / 100))).reduce((a, b) => a + b, 0),
    ],
    [gradientFlowSync(state, { gamma: 0.1, rates: sides(0.5, 0.1), weightDecay: sides(1, 0.1) }), (t) => -0.5 * t],
  ]) {
    const steps = [0, 1, 90, 101, 110, 5000, 10_000];
    const { logNorm } = made.measureSync(steps, ['logNorm']);
    for (const [i, k] of steps.entries()) near(logNorm[i], norm + log(k), 1e-9 * (1 + k), `after ${k}`);
    const { features: unit } = made.directionAtSync(10_000);
    assert.ok(
      distance(
        unit.data,
        features.data.map((x) => x / Math.hypot(...features.data)),
      ) < 1e-11,
    );
    const { distanceToLimit } = made.measureSync([5000], ['distanceToLimit']);
    near(distanceToLimit[0], 0, 1e-300, 'distance to the limit');
  }
});

test('the distance to a limit that is shared by the common mean and what differs within classes keeps its digits', () => {
  // γ = 1 of two classes leaves the common mean and the rest as they are; the classes' difference lies along the direction that
  // dies away, √n_c (μ_0 − μ_1) = −(w_0 − w_1), like e^{−σt} with σ = (1 + γ)/(2√n_c) = ½.
  const rest = [
    [1, 0],
    [-1, 0],
    [0, 2],
    [0, -2],
  ];
  const rows = [0.5, -0.5].flatMap((side) => rest.map(([x, y]) => [x + side + 3, y + 1]));
  const state = {
    features: array(rows),
    prototypes: array([
      [-1 + 5, 2],
      [1 + 5, 2],
    ]),
    labels: Int32Array.of(0, 0, 0, 0, 1, 1, 1, 1),
  };
  const flow = gradientFlowSync(state, { gamma: 1, rates: sides(1, 1) });
  const within = Math.hypot(...new Array(8).fill(0.5), 1, 1);
  const norm = Math.sqrt(Math.hypot(...state.features.data, ...state.prototypes.data) ** 2 - within ** 2);
  for (const t of [20, 200]) {
    const { distanceToLimit } = flow.measureSync([t], ['distanceToLimit']);
    near(distanceToLimit[0] / ((within / norm) * Math.exp(-t / 2)), 1, 1e-6, `distance at ${t}`);
  }
});

test('integrated flows keep their size when it leaves the range of doubles again and again', () => {
  const state = sample({ counts: [2, 2] });
  const rates = sides({ kind: 'constant', value: 4, warmup: 1500 }, { kind: 'constant', value: 4, warmup: 1501 });
  const { logNorm } = gradientFlowSync(state, { gamma: 0.5, rates }).measureSync([0, 1500, 3000], ['logNorm']);
  // The leading mode grows by σ ∫√(η1 η2), σ = (1 + γ)/√n a class; ∫ up to 1500 is half of it but for the small lag.
  const sigma = 1.5 / (2 * Math.sqrt(2));
  near((logNorm[2] - logNorm[1]) / (sigma * 6000), 1, 1e-3, 'growth at the full rates');
  near((logNorm[1] - logNorm[0]) / (sigma * 3000), 1, 0.01, 'growth on the way there');
});

test('accuracy and margins of unequal classes with features that differ, at a time when features have decayed', () => {
  const state = sample({ counts: [5, 2, 4], dim: 3, seed: 8 });
  for (const trajectory of [
    gradientFlowSync(state, { gamma: 0.2, rates: sides(0.6, 0.3), weightDecay: sides(0.9, 0.05) }),
    gradientDescentSync(state, { gamma: 0.2, learningRates: sides(0.6, 0.3), weightDecay: sides(0.9, 0.05) }),
  ]) {
    for (const time of [0, 2, 6]) {
      const { features, prototypes, biases } = trajectory.atSync(time);
      const margins = Array.from(state.labels, (y, i) => {
        const z = [0, 1, 2].map((c) =>
          [0, 1, 2].reduce((sum, j) => sum + features.data[3 * i + j] * prototypes.data[3 * c + j], biases.data[c]),
        );
        return z[y] - Math.max(...z.filter((_, c) => c !== y));
      });
      const measured = trajectory.measureSync([time], ['accuracy', 'minMargin', 'meanMargin']);
      near(measured.minMargin[0], Math.min(...margins), 1e-12, `smallest margin at ${time}`);
      near(measured.meanMargin[0], margins.reduce((a, b) => a + b) / 11, 1e-12, `mean margin at ${time}`);
      near(measured.accuracy[0], margins.filter((margin) => margin > 0).length / 11, 1e-15, `accuracy at ${time}`);
    }
  }
});

/** Smallest and mean margin, and accuracy, of a state by plain loops. */
function margins({ features, prototypes, labels }) {
  const [n, p] = features.shape;
  const classes = prototypes.shape[0];
  let [smallest, sum, right] = [Number.POSITIVE_INFINITY, 0, 0];
  for (let i = 0; i < n; i++) {
    let [own, rival] = [0, Number.NEGATIVE_INFINITY];
    for (let c = 0; c < classes; c++) {
      let z = 0;
      for (let j = 0; j < p; j++) z += features.data[i * p + j] * prototypes.data[c * p + j];
      if (c === labels[i]) own = z;
      else rival = Math.max(rival, z);
    }
    smallest = Math.min(smallest, own - rival);
    sum += own - rival;
    if (own > rival) right++;
  }
  return { minMargin: smallest, meanMargin: sum / n, accuracy: right / n };
}

test('margins of more samples than products are kept of, and at more times than are looked at together', () => {
  const names = ['minMargin', 'meanMargin', 'accuracy'];
  const many = sample({ counts: new Array(100).fill(1700), dim: 2 });
  const flow = gradientFlowSync({ ...many, biases: undefined }, { gamma: 0.001, rates: sides(1, 1), weightDecay: sides(0.1, 0) });
  const measured = flow.measureSync([2], names);
  const expected = margins(flow.atSync(2));
  for (const name of names) near(measured[name][0], expected[name], 1e-11, name);

  const descent = gradientDescentSync(
    { ...sample({ counts: [2, 1, 3] }), biases: undefined },
    { gamma: 0.2, learningRates: sides(0.05, 0.1), weightDecay: 0.01 },
  );
  const steps = Array.from({ length: 700 }, (_, k) => (k * 263) % 701);
  const columns = descent.measureSync(steps, names);
  for (const [row, k] of steps.entries()) {
    const at = margins(descent.atSync(k));
    for (const name of names) near(columns[name][row], at[name], 1e-11 * (1 + Math.abs(at[name])), `${name} at ${k}`);
  }
});

test('biases decide where the state has vanished, at any time', () => {
  const state = sample();
  state.biases.data.set([0.5, -1, 0.25]);
  const trajectory = gradientFlowSync(state, { gamma: 0.5, rates: sides(1, 1), weightDecay: sides(2, 0) });
  // γ = 1/(C−1): biases of balanced classes stay as they are.
  const flow = gradientFlowSync(
    { ...state, prototypes: { ...state.prototypes, data: new Float64Array(12) } },
    {
      gamma: 0.5,
      rates: sides(1, 1e-9),
      weightDecay: sides(2, 2e9),
    },
  );
  const { accuracy, minMargin, meanMargin } = flow.measureSync([3000], ['accuracy', 'minMargin', 'meanMargin']);
  assert.ok(trajectory.measureSync([1], ['logNorm']).logNorm[0] < 10);
  near(accuracy[0], 1 / 3, 1e-15, 'accuracy');
  assert.ok(Number.isFinite(minMargin[0]) && Number.isFinite(meanMargin[0]));
});

test('the sign of a loss that is zero is 0', () => {
  const state = sample();
  const zero = { ...state, features: { ...state.features, data: new Float64Array(36) }, biases: undefined };
  const { loss, lossSign } = gradientFlowSync(zero, { gamma: 0.5, rates: sides(0, 0) }).measureSync([0, 1], ['loss', 'lossSign']);
  assert.equal([...loss, ...lossSign].map(Math.abs), [0, 0, 0, 0]);
});

test('a step far out costs no more than a near one, and is exact', () => {
  const state = { ...sample({ counts: [5, 2, 4] }), biases: undefined };
  const options = { gamma: 0.2, learningRates: sides(0.3, 0.2), weightDecay: 0.01 };
  for (const more of [{}, { momentum: 0.9 }, { momentum: 0.9, nesterov: true }]) {
    const trajectory = gradientDescentSync(state, { ...options, ...more });
    const { exponent, direction } = trajectory.limitSync();
    const [middle, far] = [1e12, Number.MAX_SAFE_INTEGER].map((step) => trajectory.directionAtSync(step));
    near(far.logNorm / Number.MAX_SAFE_INTEGER, exponent, 1e-12, 'growth');
    near(middle.logNorm / 1e12, exponent, 1e-10, 'growth');
    near(distance(far.features.data, direction.features.data), 0, 1e-12, 'direction');
    near(distance(far.prototypes.data, direction.prototypes.data), 0, 1e-12, 'direction');
  }
  // Rates so small that nothing overflows: the flow after the same time.
  const tiny = gradientDescentSync(state, { ...options, learningRates: sides(3e-15, 2e-15) }).atSync(1e15);
  const flow = gradientFlowSync(state, { gamma: 0.2, rates: sides(3, 2), weightDecay: 0.01 }).atSync(1);
  near(distance(tiny.features.data, flow.features.data), 0, 1e-13, 'as the flow');
  near(distance(tiny.prototypes.data, flow.prototypes.data), 0, 1e-13, 'as the flow');
});

test('a schedule that ends is passed at once from there on, for every kind of rate', () => {
  const state = sample({ counts: [5, 2, 4] });
  const steps = { kind: 'steps', milestones: [7, 40], factor: 0.5, warmup: 5 };
  for (const [schedule, features] of [
    [steps, 0.3],
    [steps, { kind: 'steps', value: 0.3, milestones: [20], factor: 0.1 }],
    [{ kind: 'cosine', period: 50 }, 0.3],
    [
      { kind: 'cosine', period: 50 },
      { kind: 'exponential', value: 0.3, timescale: 9 },
    ],
  ]) {
    const options = { gamma: 0.2, learningRates: sides(features, 0.2), schedule };
    const trajectory = gradientDescentSync(state, options);
    const far = trajectory.directionAtSync(3e9);
    const { direction, exponent } = trajectory.limitSync();
    near(distance(far.features.data, direction.features.data), 0, 1e-12, 'direction');
    near((trajectory.directionAtSync(6e9).logNorm - far.logNorm) / 3e9, exponent, 1e-12, 'growth');
    // On the way the steps are those of the loop, wherever the trajectory has been before.
    for (const count of [45, 60]) {
      const looped = iteratedDescentSync(state, { ...options, steps: count });
      const at = trajectory.atSync(count);
      near(distance(at.features.data, looped.features.data), 0, 1e-12, `features after ${count}`);
      near(distance(at.biases.data, looped.biases.data), 0, 1e-12, `biases after ${count}`);
    }
  }
});

test('times in any order are measured as one by one', () => {
  const state = sample({ counts: [5, 2, 4] });
  const made = [
    () => gradientDescentSync(state, { gamma: 0.2, learningRates: sides(0.5, 0.3), momentum: 0.5 }),
    () =>
      gradientDescentSync(state, {
        gamma: 0.2,
        learningRates: sides({ kind: 'cosine', value: 0.5, period: 30 }, 0.3),
      }),
    () => gradientFlowSync(state, { gamma: 0.2, rates: sides({ kind: 'cosine', value: 0.5, period: 30 }, 0.3) }),
  ];
  const times = [40, 7, 0, 23, 7, 40, 1];
  const names = ['loss', 'minMargin', 'logNorm', 'featureNorm'];
  for (const make of made) {
    const columns = make().measureSync(times, names);
    for (const [i, time] of times.entries()) {
      const alone = make().measureSync([time], names);
      for (const name of names) near(columns[name][i], alone[name][0], 1e-12, `${name} at ${time}`);
    }
  }
});

test('one learning rate that varies beside one that stays: every step is its own, however many are asked for', () => {
  const state = randomState({ classes: 3, perClass: 2, dim: 4, seed: 6 });
  const steps = 20_000; // more than a block of those that are passed at once where rates stay the same
  const fading = Float64Array.from({ length: steps }, (_, k) => 0.05 * Math.exp(-k / 900));
  const object = { kind: 'exponential', value: 0.05, timescale: 900 };
  for (const [features, prototypes, rateOf] of [
    [object, 0.02, (k) => [fading[k], 0.02]],
    [0.02, object, (k) => [0.02, fading[k]]],
  ]) {
    const exact = gradientDescentSync(state, { gamma: 0.2, learningRates: { features, prototypes } }).atSync(steps);
    const [n, C, p] = [6, 3, 4];
    const [h, w] = [state.features.data.slice(), state.prototypes.data.slice()];
    for (let k = 0; k < steps; k++) {
      const [a, b] = rateOf(k);
      const [oldH, oldW] = [h.slice(), w.slice()];
      for (let i = 0; i < n; i++)
        for (let c = 0; c < C; c++) {
          const m = (c === state.labels[i] ? 1 : -0.2) / n;
          for (let j = 0; j < p; j++) {
            h[i * p + j] += a * m * oldW[c * p + j];
            w[c * p + j] += b * m * oldH[i * p + j];
          }
        }
    }
    assert.ok(distance(exact.features.data, h) < 1e-11 * Math.max(...h.map(Math.abs)));
    assert.ok(distance(exact.prototypes.data, w) < 1e-11 * Math.max(...w.map(Math.abs)));
  }
});

test.run();
