// Projected descent at its corners: divergence with a velocity, values met exactly, batches under every option, measures of a sum.
import {
  batchedDescent,
  crossEntropyFlowSync,
  kktCertificateSync,
  lossAndGradientSync,
  projectedDescentSync,
  randomState,
  seededRandom,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, near, refuses } from '../helpers.js';

const last = (iterator) => [...iterator].at(-1);

const random = seededRandom(4);
/** Normal numbers; many samples are beyond what is stepped on vector lanes. */
function sample(n, classes, p, biased = true) {
  const normal = (...shape) => ({ shape, data: random.fillNormal(new Float64Array(shape.reduce((a, b) => a * b))) });
  return {
    features: normal(n, p),
    prototypes: normal(classes, p),
    ...(biased && { biases: normal(classes) }),
    labels: Int32Array.from({ length: n }, (_, i) => i % classes),
  };
}
const lossOf = (loss, state, setting) => lossAndGradientSync(loss, state, setting).value;

test('a run that diverges ends with the last state of a finite loss, whatever moves it', () => {
  for (const n of [12, 9000]) {
    for (const loss of [{ kind: 'mse' }, { kind: 'dot-regression', prototypes: 'learnable' }]) {
      for (const momentum of [{}, { momentum: 0.9 }, { momentum: 0.6, nesterov: true }]) {
        const problem = { loss, state: sample(n, 3, 30) };
        const options = { learningRates: { features: 0.2 * n, prototypes: 0.5 }, ...momentum };
        const wild = last(projectedDescentSync(problem, { ...options, steps: 5000 }));
        assert.is(wild.reason, 'diverged');
        assert.ok(wild.step > 2);
        const again = last(projectedDescentSync(problem, { ...options, steps: wild.step }));
        assert.is(again.reason, 'steps');
        assert.equal(again.checkpoint, wild.checkpoint);
        assert.ok(Number.isFinite(lossOf(loss, wild.state)));
        // The step after it, taken alone, has no finite loss.
        const beyond = last(projectedDescentSync(problem, { ...options, steps: wild.step + 1, resume: wild.checkpoint }));
        assert.equal([beyond.reason, beyond.step], ['diverged', wild.step]);
      }
    }
  }
});

test('squares of logits leave the range before the logits do', () => {
  const state = { features: array([[1]]), prototypes: array([[1e60], [0]]), labels: Int32Array.of(1) };
  const problem = { loss: { kind: 'mse' }, state, moves: { prototypes: false } };
  const { reason, step } = last(projectedDescentSync(problem, { learningRates: { features: 1e35 }, steps: 40 }));
  // h = 1 → −2·10³⁵·10¹²⁰: the square of the logit is beyond 10³⁰⁸, the logit is not.
  assert.equal([reason, step], ['diverged', 0]);
});

test('hinge: what is exactly at its margin stands still', () => {
  for (const Type of [Float32Array, Float64Array]) {
    const state = { features: array([[1], [1]], Type), prototypes: array([[1], [0]], Type), labels: Int32Array.of(0, 0) };
    const options = { learningRates: { features: 1, prototypes: 1 }, steps: 3 };
    const { state: now } = last(projectedDescentSync({ loss: { kind: 'hinge', margin: 1 }, state }, options));
    assert.equal(now, { ...state });
  }
});

test('an event whose value is met exactly ends the run, from above and from below', () => {
  const state = sample(12, 3, 8);
  const options = { learningRates: { features: 0.5, prototypes: 0.5 }, steps: 1000, measure: { names: ['loss', 'accuracy'] } };
  const right = last(
    projectedDescentSync({ loss: { kind: 'mse' }, state }, { ...options, stop: { event: { measure: 'accuracy', above: 1 } } }),
  );
  assert.is(right.reason, 'event');
  assert.is(right.measures.accuracy.at(-1), 1);
  assert.ok(right.measures.accuracy.at(-2) < 1);
  const none = last(
    projectedDescentSync({ loss: { kind: 'hinge' }, state }, { ...options, stop: { event: { measure: 'loss', below: 0 } } }),
  );
  assert.is(none.reason, 'event');
  assert.ok(none.measures.loss.at(-1) === 0 && none.measures.loss.at(-2) > 0);
  // Where no class is within its margin nothing moves: stationary to the last bit.
  const still = last(projectedDescentSync({ loss: { kind: 'hinge' }, state: none.state }, { ...options, stop: { stationary: 0 } }));
  assert.equal([still.reason, still.step], ['stationary', 0]);
});

test('the smoothed margin is that of the sum of the losses, summed or averaged', () => {
  const state = sample(12, 3, 8, false);
  state.features.data = state.features.data.map(
    (x, k) => x + 3 * state.prototypes.data[8 * state.labels[Math.floor(k / 8)] + (k % 8)],
  );
  const square = Math.hypot(...state.features.data, ...state.prototypes.data) ** 2;
  const sum = lossOf({ kind: 'cross-entropy' }, state, { reduction: 'sum' });
  assert.ok(sum < Math.LN2, `${sum}`);
  for (const reduction of ['mean', 'sum']) {
    for (const regularization of [undefined, { weight: 0.01 }]) {
      const problem = { loss: { kind: 'cross-entropy' }, state, reduction, ...(regularization && { regularization }) };
      const options = { learningRates: { features: 0, prototypes: 0 }, steps: 0, measure: { names: ['smoothedMargin'] } };
      const { measures } = last(projectedDescentSync(problem, options));
      near(measures.smoothedMargin[0], -Math.log(Math.expm1(sum)) / square, 1e-13, reduction);
    }
  }
});

/** The batches of a run, seen as the features that move. */
function batchesOf(problem, options) {
  const [n, p] = problem.state.features.shape;
  let before = problem.state.features.data;
  return [...projectedDescentSync(problem, { ...options, snapshots: 1 })]
    .filter(({ step }) => step > 0)
    .map(({ state }) => {
      const { data } = state.features;
      const moved = Array.from({ length: n }, (_, i) => i).filter((i) => data[i * p] !== before[i * p]);
      before = data;
      return moved;
    });
}

test('batches move their samples by their own norms and soft labels, in the order of the seed, the last one smaller', () => {
  const [n, classes, p] = [13, 3, 4];
  const state = sample(n, classes, p);
  const rows = Array.from({ length: n }, () => Array.from({ length: classes }, () => random.uniform()));
  const soft = array(rows.map((row) => row.map((x) => x / row.reduce((a, b) => a + b))));
  const rowsOf = ({ data }, width, chosen) => array(chosen.map((i) => Array.from(data.subarray(i * width, (i + 1) * width))));
  const seen = [];
  for (const seed of [5, 6]) {
    for (const rescaled of [false, true]) {
      const problem = { loss: { kind: 'cross-entropy', softLabels: soft }, state };
      const options = { learningRates: { features: 0.3, prototypes: 0.2 }, rescaled, batch: { size: 4, seed }, steps: 8 };
      const batches = batchesOf(problem, options);
      assert.equal(
        batches.map(({ length }) => length),
        [4, 4, 4, 1, 4, 4, 4, 1],
      );
      if (!rescaled) seen.push(batches);
      const now = Object.fromEntries(
        ['features', 'prototypes', 'biases'].map((part) => [part, { ...state[part], data: state[part].data.slice() }]),
      );
      for (const batch of batches) {
        const own = {
          ...now,
          features: rowsOf(now.features, p, batch),
          labels: Int32Array.from(batch, (i) => state.labels[i]),
        };
        const slope = lossAndGradientSync({ kind: 'cross-entropy', softLabels: rowsOf(soft, classes, batch) }, own);
        for (const [row, i] of batch.entries()) {
          const h = now.features.data.subarray(i * p, (i + 1) * p);
          const rate = 0.3 * (rescaled ? Math.hypot(...h) : 1);
          for (let j = 0; j < p; j++) h[j] -= rate * slope.features.data[row * p + j];
        }
        for (const part of ['prototypes', 'biases']) {
          for (let k = 0; k < now[part].data.length; k++) now[part].data[k] -= 0.2 * slope[part].data[k];
        }
      }
      const end = last(projectedDescentSync(problem, options)).state;
      for (const part of Object.keys(now)) assert.ok(distance(end[part].data, now[part].data) < 1e-12, `${part}, ${rescaled}`);
    }
  }
  assert.not.equal(seen[0], seen[1], 'another seed, another order');
  assert.not.equal(seen[0].slice(0, 4), seen[0].slice(4), 'another epoch, another order');
});

test('a run is resumed under the problem and options that it began with alone, and the difference is named', async () => {
  const problem = {
    loss: { kind: 'cross-entropy', classWeights: [1, 2, 1], labelSmoothing: 0.1 },
    state: sample(9, 3, 4),
    constraints: { features: { kind: 'ball', radius: 3 }, prototypes: { kind: 'frobenius', radius: 5 } },
    weightDecay: { features: 0.1, prototypes: 0.2, biases: 0.3 },
    regularization: { weight: 0.01 },
  };
  const options = {
    learningRates: { features: 0.1, prototypes: 0.2, biases: 0.3 },
    schedule: { kind: 'cosine', period: 90 },
    momentum: 0.5,
    batch: { size: 4, seed: 2 },
    steps: 5,
  };
  const { checkpoint } = last(projectedDescentSync(problem, options));
  const goOn = (changes) => {
    const more = { ...options, steps: 9, resume: checkpoint, ...changes.options };
    return last(projectedDescentSync({ ...problem, ...changes.problem }, more));
  };
  assert.is(goOn({}).step, 9);
  const loss = (changes) => ({ problem: { loss: { ...problem.loss, ...changes } } });
  const { features, prototypes, labels } = problem.state;
  for (const [name, changes] of Object.entries({
    classWeights: loss({ classWeights: [1, 2, 1.5] }),
    smoothing: loss({ labelSmoothing: 0.2 }),
    'loss.*kind': { problem: { loss: { kind: 'mse' } } },
    normalized: { problem: { normalizeFeatures: true } },
    sum: { problem: { reduction: 'sum' } },
    regularization: { problem: { regularization: { weight: 0.02 } } },
    'features.moves': { problem: { moves: { features: false } } },
    'biases.moves': { problem: { moves: { biases: false } } },
    'features.radius': { problem: { constraints: { ...problem.constraints, features: { kind: 'ball', radius: 2 } } } },
    'prototypes.constraint': { problem: { constraints: { ...problem.constraints, prototypes: { kind: 'ball', radius: 5 } } } },
    'prototypes.decay': { problem: { weightDecay: { ...problem.weightDecay, prototypes: 0.3 } } },
    'biases.decay': { problem: { weightDecay: { features: 0.1, prototypes: 0.2 } } },
    'learningRates.features': { options: { learningRates: { ...options.learningRates, features: 0.2 } } },
    'learningRates.biases': { options: { learningRates: { ...options.learningRates, biases: undefined } } },
    'schedule.period': { options: { schedule: { kind: 'cosine', period: 80 } } },
    schedule: { options: { schedule: undefined } },
    momentum: { options: { momentum: 0.6 } },
    nesterov: { options: { nesterov: true } },
    rescaled: { options: { rescaled: true } },
    'batch 4': { options: { batch: { size: 5, seed: 2 } } },
    seed: { options: { batch: { size: 4, seed: 3 } } },
    'labels\\[0\\]': { problem: { state: { ...problem.state, labels: labels.map((_, i) => (i + 1) % 3) } } },
    'a state of': { problem: { state: { features, prototypes, labels } } },
  })) {
    await refuses('LP_OPTION', new RegExp(`resume is of a run with .*${name}`), () => goOn(changes));
  }
});

test('a small problem, stepped on vector lanes, follows the rates of every part over thousands of steps', () => {
  const [n, classes, p] = [63, 7, 29]; // of which some 500 steps are taken at a time
  const state = sample(n, classes, p);
  const rows = {
    shape: [n, classes],
    data: Float64Array.from({ length: n * classes }, (_, k) => Number(state.labels[Math.floor(k / classes)] === k % classes)),
  };
  const options = {
    learningRates: {
      features: { kind: 'exponential', value: 0.5, timescale: 900 },
      prototypes: { kind: 'cosine', value: 0.3, period: 3000 },
      biases: { kind: 'steps', value: 0.4, milestones: [500, 1100, 2300], factor: 0.3 },
    },
    steps: 2600,
  };
  const lanes = last(projectedDescentSync({ loss: { kind: 'cross-entropy' }, state }, options));
  // Labels by their rows are the general engine's.
  const blocks = last(projectedDescentSync({ loss: { kind: 'cross-entropy', softLabels: rows }, state }, options));
  for (const part of ['features', 'prototypes', 'biases']) {
    assert.ok(distance(lanes.state[part].data, blocks.state[part].data) < 1e-10, part);
  }
});

test('runs side by side move at their own rates and schedules, stretch after stretch', async () => {
  const problems = [0, 1, 2].map(() => ({ loss: { kind: 'cross-entropy' }, state: sample(9, 3, 4) }));
  const options = problems.map((_, r) => ({
    learningRates: { features: 0.1 * (r + 1), prototypes: { kind: 'constant', value: 0.2, warmup: 3 * r }, biases: 0.05 * r },
    schedule: { kind: 'cosine', period: 40 + r },
    steps: 30,
    snapshots: 7,
  }));
  let ends;
  for await (ends of batchedDescent(problems, options));
  for (const [r, { state }] of ends.entries()) {
    const whole = last(projectedDescentSync(problems[r], { ...options[r], snapshots: 30 }));
    assert.equal(state, whole.state, `run ${r}`);
  }
});

test('margins and alignment of a loss far below the range of numbers, in logarithms; no smoothed margin of other losses', async () => {
  const start = crossEntropyFlowSync(randomState({ classes: 4, perClass: 2, dim: 6, seed: 5 })).atSync(1e3);
  for (const [Type, scale, tolerance] of [
    [Float64Array, 1e3, 1e-12],
    [Float32Array, 40, 1e-5],
  ]) {
    const wide = (x, factor) => ({ shape: x.shape, data: Type.from(x.data, (value) => factor * value) });
    const state = { ...start, features: wide(start.features, scale), prototypes: wide(start.prototypes, 1) };
    const problem = { loss: { kind: 'cross-entropy' }, state };
    const options = {
      learningRates: { features: 1e-3, prototypes: 1e-3 },
      steps: 2,
      measure: { names: ['loss', 'smoothedMargin', 'gradientAlignment'] },
    };
    const { measures } = last(projectedDescentSync(problem, options));
    const { smoothedMargin, gradientAlignment } = kktCertificateSync(state);
    assert.is(measures.loss[0], 0);
    for (const row of [0, 1, 2]) {
      near(measures.smoothedMargin[row] / smoothedMargin, 1, tolerance, 'smoothed margin');
      near(measures.gradientAlignment[row] / gradientAlignment, 1, tolerance, 'alignment');
    }
  }
  const biases = { shape: [4], data: new Float64Array(4) };
  for (const problem of [
    { loss: { kind: 'cross-entropy', classWeights: [1, 2, 1, 1] }, state: start },
    { loss: { kind: 'cross-entropy', labelSmoothing: 0.1 }, state: start },
    { loss: { kind: 'cross-entropy' }, state: { ...start, biases } },
    { loss: { kind: 'cross-entropy' }, state: start, normalizeFeatures: true },
  ]) {
    await refuses('LP_OPTION', /Lemma B\.2/, () =>
      last(
        projectedDescentSync(problem, {
          learningRates: { features: 1, prototypes: 1 },
          steps: 1,
          measure: { names: ['smoothedMargin'] },
        }),
      ),
    );
  }
});

test.run();
