// Projected descent: golden trajectories, plain loops of its rules, the exact engines, resuming, batches, and its ends.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  batchedDescent,
  gradientDescentSync,
  loadCheckpoint,
  lossAndGradientSync,
  projectedDescent,
  projectedDescentSync,
  randomState,
  saveCheckpoint,
  seededRandom,
  simplexETF,
  sphericalDescentSync,
  writeSafetensors,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, distance, golden, near, refuses, shuffle, stateOf } from '../helpers.js';

const last = (iterator) => {
  let snapshot;
  for (snapshot of iterator);
  return snapshot;
};

test('golden: the cross-entropy layer-peeled model', async () => {
  const kase = golden('layer-peeled').find(({ name }) => name.startsWith('layer-peeled'));
  const names = ['loss', 'minMargin', 'normalizedMargin', 'smoothedMargin', 'featureNorm', 'prototypeNorm'];
  const there = { featureNorm: 'featuresNorm', prototypeNorm: 'prototypesNorm' };
  const run = projectedDescent(
    { loss: { kind: 'cross-entropy' }, state: stateOf(kase) },
    { learningRates: { features: 5, prototypes: 5 }, steps: 2000, snapshots: 1, measure: { names } },
  );
  let seen = 0;
  let measures;
  for await (const snapshot of run) {
    // Measures of a step come with the snapshot after it, and those of the last with itself.
    for (const expected of kase.at) {
      const row = snapshot.measures.step.indexOf(expected.step);
      if (row >= 0) {
        for (const name of names) {
          const value = expected[there[name] ?? name];
          if (value === null) assert.ok(Number.isNaN(snapshot.measures[name][row]));
          else near(snapshot.measures[name][row], value, 1e-10 * (1 + Math.abs(value)), `${name} at ${expected.step}`);
        }
        seen++;
      }
      if (snapshot.step === expected.step) {
        assert.ok(distance(snapshot.state.prototypes.data, array(expected.prototypes).data) < 1e-10, `step ${expected.step}`);
      }
    }
    measures = snapshot;
  }
  assert.is(seen, kase.at.length);
  assert.is(measures.reason, 'steps');
});

for (const kase of golden('layer-peeled').filter(({ name }) => name.startsWith('projected'))) {
  test(`golden: ${kase.name}`, () => {
    const state = stateOf(kase);
    const { EW, EH } = kase;
    const loss = kase.name.endsWith('dr')
      ? { kind: 'dot-regression', prototypeEnergy: EW, featureEnergy: EH }
      : { kind: 'cross-entropy' };
    const scale = Math.sqrt(EH / EW);
    const optimum = Float64Array.from(
      state.features.data,
      (_, i) => scale * state.prototypes.data[state.labels[Math.floor(i / kase.dim)] * kase.dim + (i % kase.dim)],
    );
    const problem = {
      loss,
      state,
      reduction: 'sum',
      moves: { prototypes: false },
      constraints: { features: { kind: 'ball', radius: Math.sqrt(EH) } },
      target: { features: { shape: state.features.shape, data: optimum }, prototypes: state.prototypes },
    };
    const options = { learningRates: { features: kase.learningRate }, steps: 60, snapshots: 1, measure: { names: ['distance'] } };
    const distances = new Map();
    for (const { step, state: now, measures } of projectedDescentSync(problem, options)) {
      for (const [row, at] of measures.step.entries()) distances.set(at, measures.distance[row]);
      const expected = kase.at.find((one) => one.step === step);
      if (expected) assert.ok(distance(now.features.data, array(expected.features).data) < 1e-12, `step ${step}`);
    }
    for (const { step, distance: expected } of kase.at) near(distances.get(step), expected, 1e-10, `distance at ${step}`);
  });
}

/** Plain loops: the rule of the update, gradients by lossAndGradient (tested on its own). */
function brute(problem, options, orders) {
  const { loss, state, moves = {}, constraints = {}, weightDecay = {}, target: _, ...setting } = problem;
  const { learningRates, momentum = 0, nesterov = false, rescaled = false, steps } = options;
  const now = Object.fromEntries(
    ['features', 'prototypes', 'biases']
      .filter((part) => state[part])
      .map((part) => [part, { ...state[part], data: state[part].data.slice() }]),
  );
  const [n, p] = state.features.shape;
  const velocity = Object.fromEntries(Object.keys(now).map((part) => [part, new Float64Array(now[part].data.length)]));
  const norm = (x) => Math.sqrt(x.reduce((sum, a) => sum + a * a, 0));
  const project = (part) => {
    const { kind, radius } = constraints[part] ?? {};
    const { data, shape } = now[part];
    if (kind === 'frobenius' && norm(data) > radius) data.set(data.map((x) => (x * radius) / norm(data)));
    if (kind !== 'ball' && kind !== 'sphere') return;
    for (let i = 0; i < shape[0]; i++) {
      const row = data.subarray(i * p, (i + 1) * p);
      const size = norm(row);
      if (kind === 'sphere' || size > radius) row.set(row.map((x) => (x * radius) / size));
    }
  };
  for (const part of ['features', 'prototypes']) project(part);
  for (let k = 0; k < steps; k++) {
    const samples = orders ? orders[k] : Array.from({ length: n }, (_, i) => i);
    const rows = samples.map((i) => now.features.data.slice(i * p, (i + 1) * p));
    const gradient = lossAndGradientSync(
      loss,
      {
        ...now,
        features: { shape: [samples.length, p], data: Float64Array.from(rows.flatMap((row) => [...row])) },
        labels: Int32Array.from(samples, (i) => state.labels[i]),
      },
      setting,
    );
    for (const part of Object.keys(now)) {
      if (moves[part] === false) continue;
      const decay = weightDecay[part] ?? 0;
      const update = (at, g, rate) => {
        const x = now[part].data;
        const d = g + decay * x[at];
        velocity[part][at] = momentum * velocity[part][at] + d;
        x[at] -= rate * (nesterov ? d + momentum * velocity[part][at] : velocity[part][at]);
      };
      const rate = learningRates[part] ?? learningRates.prototypes;
      if (part === 'features') {
        for (const [row, i] of samples.entries()) {
          const scale = rescaled ? norm(rows[row]) : 1;
          for (let j = 0; j < p; j++) update(i * p + j, gradient.features.data[row * p + j], rate * scale);
        }
      } else for (let at = 0; at < now[part].data.length; at++) update(at, gradient[part].data[at], rate);
    }
    for (const part of ['features', 'prototypes']) if (moves[part] !== false) project(part);
  }
  return now;
}

const random = seededRandom(11);
function sample(n, classes, p, biased = true) {
  const normal = (size) => Float64Array.from({ length: size }, () => random.normal());
  return {
    features: { shape: [n, p], data: normal(n * p) },
    prototypes: { shape: [classes, p], data: normal(classes * p) },
    ...(biased && { biases: { shape: [classes], data: normal(classes) } }),
    labels: Int32Array.from({ length: n }, (_, i) => (i < classes ? i : Math.floor(random.uniform() * classes))),
  };
}

const losses = [
  { kind: 'unhinged', gamma: 0.2 },
  { kind: 'cross-entropy', labelSmoothing: 0.1 },
  { kind: 'mse' },
  { kind: 'hinge' },
  { kind: 'dot-regression', prototypes: 'learnable' },
  { kind: 'adjusted-margin', gamma: 0.2, epsilon: 0.3 },
];

test('equals plain loops: every loss, momentum, decay, constraint, part that stands', () => {
  const learningRates = { features: 0.05, prototypes: 0.03, biases: 0.02 };
  for (const [k, loss] of losses.entries()) {
    for (const [m, [momentum, nesterov]] of [
      [0, false],
      [0.9, false],
      [0.8, true],
    ].entries()) {
      const [n, classes, p] = [
        [7, 3, 5],
        [13, 4, 1],
        [11, 2, 17],
      ][(k + m) % 3];
      for (const setting of [
        {},
        { constraints: { features: { kind: 'ball', radius: 1.1 }, prototypes: { kind: 'frobenius', radius: 2 } } },
        {
          constraints: { features: { kind: 'sphere', radius: 0.7 } },
          normalizeFeatures: true,
          weightDecay: { features: 0.2, prototypes: 0.1 },
        },
        { constraints: { features: { kind: 'frobenius', radius: 3 } }, moves: { prototypes: false }, weightDecay: { biases: 0.3 } },
        { moves: { features: false }, reduction: 'sum', regularization: { weight: 0.1, normalization: 'mean' } },
      ]) {
        const problem = { loss, state: sample(n, classes, p), ...setting };
        for (const rescaled of [false, true]) {
          const options = { learningRates, momentum, nesterov, rescaled, steps: 9 };
          const { state } = last(projectedDescentSync(problem, options));
          const expected = brute(problem, options);
          for (const part of ['features', 'prototypes', 'biases']) {
            const size = expected[part].data.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
            assert.ok(
              distance(state[part].data, expected[part].data) < 1e-11 * size,
              `${part} of ${loss.kind}, ${JSON.stringify({ momentum, nesterov, rescaled, ...setting })}`,
            );
          }
        }
      }
    }
  }
});

/** The batches that a run takes, seen as the features that move. */
function batchesOf(state, batch, steps) {
  const problem = { loss: { kind: 'mse' }, state, moves: { prototypes: false, biases: false } };
  const [n, p] = state.features.shape;
  let before = state.features.data;
  const batches = [];
  for (const { state: now, step } of projectedDescentSync(problem, {
    learningRates: { features: 1e-3 },
    batch,
    steps,
    snapshots: 1,
  })) {
    if (step === 0) continue;
    const data = now.features.data;
    batches.push(Array.from({ length: n }, (_, i) => i).filter((i) => data[i * p] !== before[i * p]));
    before = data;
  }
  return batches;
}

test('batches take every sample once an epoch, in an order of the seed, and move their own features alone', () => {
  const state = sample(17, 3, 4);
  const batches = batchesOf(state, { size: 5, seed: 3 }, 12);
  assert.equal(
    batches.map((one) => one.length),
    [5, 5, 5, 2, 5, 5, 5, 2, 5, 5, 5, 2],
  );
  for (const epoch of [0, 4, 8]) {
    const seen = batches.slice(epoch, epoch + 4).flat();
    assert.is(new Set(seen).size, 17);
  }
  assert.not.equal(batches.slice(0, 4), batches.slice(4, 8));
  assert.equal(batchesOf(state, { size: 5, seed: 3 }, 12), batches);
  assert.not.equal(batchesOf(state, { size: 5, seed: 4 }, 12), batches);
  for (const loss of losses) {
    const problem = { loss, state, constraints: { features: { kind: 'frobenius', radius: 4 } }, weightDecay: { features: 0.1 } };
    const options = { learningRates: { features: 0.2, prototypes: 0.1 }, momentum: 0.9, batch: { size: 5, seed: 3 }, steps: 12 };
    const { state: now } = last(projectedDescentSync(problem, options));
    const expected = brute(problem, options, batches);
    for (const part of ['features', 'prototypes', 'biases']) {
      assert.ok(distance(now[part].data, expected[part].data) < 1e-11, `${part} of ${loss.kind}`);
    }
  }
});

test('equals the exact engines where the loss is linear', () => {
  const state = randomState({ classes: 5, perClass: 7, dim: 9, seed: 2 });
  shuffle(state.labels, 1);
  const learningRates = { features: 2, prototypes: { kind: 'constant', value: 0.5, warmup: 20 } };
  const schedule = { kind: 'cosine', period: 300 };
  const weightDecay = { features: 0.01, prototypes: 0.02 };
  const options = { learningRates, schedule, momentum: 0.9, nesterov: true };
  const run = projectedDescentSync({ loss: { kind: 'unhinged', gamma: 0.2 }, state, weightDecay }, { ...options, steps: 200 });
  const exact = gradientDescentSync(state, { ...options, weightDecay, gamma: 0.2 }).atSync(200);
  const { state: now } = last(run);
  const size = exact.features.data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  assert.ok(distance(now.features.data, exact.features.data) < 1e-11 * size);
  assert.ok(distance(now.prototypes.data, exact.prototypes.data) < 1e-11 * size);

  const frame = simplexETF(5, 9, { seed: 1 });
  for (const rescaled of [false, true]) {
    const sphere = { ...state, prototypes: frame };
    const problem = {
      loss: { kind: 'unhinged', gamma: 0.2 },
      state: sphere,
      normalizeFeatures: true,
      moves: { prototypes: false },
    };
    const { state: there } = last(projectedDescentSync(problem, { learningRates: { features: 3 }, rescaled, steps: 100 }));
    const path = sphericalDescentSync(sphere, { gamma: 0.2, learningRate: 3, rescaled });
    assert.ok(distance(there.features.data, path.atSync(100).features.data) < 1e-11);
  }
});

test('an interrupted run goes on bit for bit, with momentum, batches and constraints', async () => {
  const state = sample(23, 4, 7);
  const problem = {
    loss: { kind: 'cross-entropy', classWeights: [1, 2, 1, 0.5] },
    state,
    constraints: { features: { kind: 'frobenius', radius: 8 }, prototypes: { kind: 'ball', radius: 1 } },
    weightDecay: { features: 0.01 },
  };
  for (const more of [
    {},
    { momentum: 0.9 },
    { momentum: 0.5, nesterov: true, batch: { size: 6, seed: 9 } },
    { rescaled: true, batch: { size: 4 } },
  ]) {
    const options = { learningRates: { features: 0.5, prototypes: 0.2 }, schedule: { kind: 'cosine', period: 90 }, ...more };
    const whole = last(
      projectedDescentSync(problem, { ...options, steps: 61, measure: { names: ['loss', 'gradientNorm'], every: 7 } }),
    );
    for (const cut of [1, 13, 60]) {
      const { checkpoint } = last(projectedDescentSync(problem, { ...options, steps: cut }));
      const json = { ...checkpoint, plan: String(checkpoint.plan) };
      let rest;
      for await (rest of projectedDescent(problem, { ...options, steps: 61, snapshots: 11, resume: json }));
      assert.equal(rest.state, whole.state, `${JSON.stringify(more)} cut at ${cut}`);
      assert.equal(rest.checkpoint, whole.checkpoint);
    }
    await refuses('LP_OPTION', /options.resume is of a run with .*momentum/, () =>
      projectedDescent(problem, { ...options, momentum: 0.123, steps: 70, resume: whole.checkpoint }),
    );
  }
});

test('a checkpoint goes through a file, and what is none is refused', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  const path = join(folder, 'run.safetensors');
  const problem = { loss: { kind: 'hinge', margin: 0.5 }, state: sample(9, 3, 4) };
  for (const dtype of [Float32Array, Float64Array]) {
    for (const part of ['features', 'prototypes', 'biases'])
      problem.state[part] = { ...problem.state[part], data: dtype.from(problem.state[part].data) };
    for (const momentum of [0, 0.9]) {
      const options = { learningRates: { features: 0.3, prototypes: 0.2 }, momentum };
      const whole = last(projectedDescentSync(problem, { ...options, steps: 20 }));
      const { checkpoint } = last(projectedDescentSync(problem, { ...options, steps: 8 }));
      await saveCheckpoint(path, checkpoint);
      assert.equal(await loadCheckpoint(path), checkpoint);
      const rest = last(projectedDescentSync(problem, { ...options, steps: 20, resume: await loadCheckpoint(path) }));
      assert.equal(rest.checkpoint, whole.checkpoint);
    }
  }
  await writeSafetensors(path, { features: problem.state.features });
  await refuses('LP_FILE', /no checkpoint of projected descent/, () => loadCheckpoint(path));
  await writeFile(path, 'nonsense');
  await refuses('LP_FILE', /./, () => loadCheckpoint(path));
  await rm(folder, { recursive: true });
});

test('refuses to go on with another problem than was saved', async () => {
  const state = sample(12, 3, 5, false);
  const problem = { loss: { kind: 'cross-entropy' }, state };
  const options = { learningRates: { features: 0.3, prototypes: 0.2 } };
  const { checkpoint } = last(projectedDescentSync(problem, { ...options, steps: 5 }));
  const go = (more, resume = checkpoint) => last(projectedDescentSync({ ...problem, ...more }, { ...options, steps: 8, resume }));
  assert.is(go({}).step, 8);
  // What says the same is the same, in whatever words.
  const spelled = {
    learningRates: { prototypes: { value: 0.2, kind: 'constant' }, features: 0.3 },
    momentum: 0,
    rescaled: false,
    schedule: undefined,
  };
  const same = last(
    projectedDescentSync({ ...problem, moves: { features: true }, weightDecay: {} }, { ...spelled, steps: 8, resume: checkpoint }),
  );
  assert.equal(same.checkpoint, go({}).checkpoint);
  await refuses('LP_OPTION', /a run with learningRates\.features\.value 0\.3, learningRates\.biases.*; expected the same/, () =>
    projectedDescent(problem, { learningRates: { features: 0.1, prototypes: 0.2, biases: 0 }, steps: 8, resume: checkpoint }),
  );
  const labels = Int32Array.from(state.labels);
  labels[7] = (labels[7] + 1) % 3;
  const biases = { shape: [3], data: new Float64Array(3) };
  for (const [other, pattern] of [
    [{ ...state, labels }, /labels\[7\]/],
    [{ ...state, biases }, /a state of \[12, 5\] and \[3, 5\] \(float64\)/],
    [sample(13, 3, 5, false), /a state of \[12, 5\]/],
  ]) {
    await refuses('LP_OPTION', pattern, () => go({ state: other }));
  }
  for (const plan of [undefined, 'nonsense', 'null', '3']) {
    await refuses('LP_OPTION', /options.resume.plan is/, () => go({}, { ...checkpoint, plan }));
  }
  // Labels by their rows may be many: their digest stands for them.
  const soft = (weight) => ({
    kind: 'cross-entropy',
    softLabels: { shape: [600, 3], data: Float64Array.from([...Array(1797).fill(1 / 3), weight, 1 - weight, 0]) },
  });
  const large = { loss: soft(0.5), state: sample(600, 3, 5, false) };
  const { checkpoint: saved } = last(projectedDescentSync(large, { ...options, steps: 2 }));
  assert.ok(saved.plan.length < 1000);
  const rest = { ...options, steps: 3, resume: saved };
  assert.is(last(projectedDescentSync(large, rest)).step, 3);
  await refuses('LP_OPTION', /options.resume is of a run with loss/, () => projectedDescent({ ...large, loss: soft(0.25) }, rest));
});

/** Runs a checkpointed descent in a process of its own, until it is killed. */
const child = `
  import { projectedDescent, randomState, saveCheckpoint } from 'layerpeel';
  const problem = { loss: { kind: 'cross-entropy' }, state: randomState({ classes: 4, perClass: 6, dim: 5 }) };
  const options = { learningRates: { features: 1, prototypes: 1 }, momentum: 0.9, steps: 1e8, snapshots: 500 };
  for await (const { checkpoint } of projectedDescent(problem, options)) {
    await saveCheckpoint(process.argv[1], checkpoint);
    process.stdout.write(checkpoint.step + '\\n');
  }`;

test('a process that is killed leaves a run that goes on', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  const path = join(folder, 'run.safetensors');
  const running = spawn(process.execPath, ['--input-type=module', '-e', child, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => {
    let seen = '';
    running.stdout.on('data', (text) => {
      seen += text;
      if (seen.split('\n').length > 5) resolve();
    });
  });
  running.kill('SIGKILL');
  await once(running, 'exit');
  const resume = await loadCheckpoint(path);
  assert.ok(resume.step >= 2000 && resume.step % 500 === 0);
  const problem = { loss: { kind: 'cross-entropy' }, state: randomState({ classes: 4, perClass: 6, dim: 5 }) };
  const options = { learningRates: { features: 1, prototypes: 1 }, momentum: 0.9, steps: resume.step + 700 };
  assert.equal(
    last(projectedDescentSync(problem, { ...options, resume })).checkpoint,
    last(projectedDescentSync(problem, options)).checkpoint,
  );
  await rm(folder, { recursive: true });
});

test('a batch of runs gives each the bits it has alone', async () => {
  const problems = Array.from({ length: 9 }, (_, r) => ({
    loss: r % 2 ? { kind: 'unhinged', gamma: r / 10 } : { kind: 'cross-entropy' },
    state: sample(15, 3, 6, false),
    weightDecay: { features: r / 100 },
  }));
  const options = problems.map((_, r) => ({
    learningRates: { features: 0.1 * (r + 1), prototypes: 0.1 },
    momentum: r % 3 ? 0.9 : 0,
    steps: 40,
    snapshots: 15,
    measure: { names: ['loss', 'accuracy'], every: 5 },
  }));
  const steps = [];
  const alone = problems.map((problem, r) => [...projectedDescentSync(problem, options[r])]);
  let k = 0;
  for await (const snapshots of batchedDescent(problems, options)) {
    steps.push(snapshots[0].step);
    for (const [r, snapshot] of snapshots.entries()) assert.equal(snapshot, alone[r][k]);
    k++;
  }
  assert.equal(steps, [15, 30, 40]);
  await refuses('LP_SHAPE', /problems\[1\]\.state is .*expected one shape/, () =>
    batchedDescent([problems[0], { ...problems[1], state: sample(15, 3, 5, false) }], options[0]),
  );
  await refuses('LP_OPTION', /differ in steps/, () =>
    batchedDescent(problems.slice(0, 2), [options[0], { ...options[1], steps: 3 }]),
  );
});

test('events, stationarity and divergence end a run where they happen', async () => {
  const state = sample(12, 3, 5, false);
  const problem = { loss: { kind: 'mse' }, state };
  const options = { learningRates: { features: 0.5, prototypes: 0.1 }, steps: 5000, measure: { names: ['loss', 'gradientNorm'] } };
  const event = last(projectedDescentSync(problem, { ...options, stop: { event: { measure: 'loss', below: 0.5 } } }));
  assert.is(event.reason, 'event');
  const { loss, step } = event.measures;
  assert.ok(loss.at(-1) <= 0.5 && loss.at(-2) > 0.5);
  assert.is(step.at(-1), event.step);
  near(lossAndGradientSync({ kind: 'mse' }, event.state).value, loss.at(-1), 1e-14, 'the state of the event');
  const still = last(projectedDescentSync(problem, { ...options, stop: { stationary: 1e-3 } }));
  assert.is(still.reason, 'stationary');
  assert.ok(still.measures.gradientNorm.at(-1) <= 1e-3);

  // Fixed prototypes: the rate that theory names is where divergence begins.
  const fixed = {
    loss: { kind: 'dot-regression', prototypes: 'learnable' },
    state,
    reduction: 'sum',
    moves: { prototypes: false },
  };
  const largest = Math.max(
    ...[0, 1, 2].map((c) => state.prototypes.data.subarray(5 * c, 5 * c + 5).reduce((sum, w) => sum + w * w, 0)),
  );
  const wild = last(projectedDescentSync(fixed, { ...options, learningRates: { features: 2.2 / largest }, steps: 100_000 }));
  assert.is(wild.reason, 'diverged');
  assert.match(wild.advice, new RegExp((2 / largest).toPrecision(3).replace('.', '\\.')));
  assert.ok(Number.isFinite(lossAndGradientSync(fixed.loss, wild.state, { reduction: 'sum' }).value));
  assert.is(wild.measures.step.at(-1), wild.step);
  const again = last(projectedDescentSync(fixed, { ...options, learningRates: { features: 2.2 / largest }, steps: wild.step }));
  assert.equal(again.state, wild.state);
  // The state that comes last is looked at too, whether or not anything is measured.
  const cut = { learningRates: { features: 2.2 / largest }, steps: wild.step + 1 };
  const next = last(projectedDescentSync(fixed, cut));
  assert.is(next.reason, 'diverged');
  assert.equal(next.state, wild.state);
  const shown = last(projectedDescentSync(fixed, { ...cut, steps: 100_000, snapshots: wild.step + 1 }));
  assert.equal([shown.reason, shown.step], ['diverged', wild.step]);
  // Nor can a run go on from such a state, whether from its beginning or resumed.
  const { features } = wild.state;
  const over = { ...wild.state, features: { ...features, data: features.data.map((x) => x * 1e10) } };
  await refuses('LP_OVERFLOW', /exceeds the range/, () => lossAndGradientSync(fixed.loss, over, { reduction: 'sum' }));
  await refuses('LP_OVERFLOW', /of the start exceeds/, () =>
    last(projectedDescentSync({ ...fixed, state: over }, { learningRates: { features: 1 }, steps: 2 })),
  );
  await refuses('LP_OVERFLOW', /of the start exceeds/, () =>
    last(projectedDescentSync(fixed, { ...cut, steps: wild.step + 3, resume: { ...wild.checkpoint, state: over } })),
  );
  await refuses('LP_OVERFLOW', /^problems\.1: .* of the start exceeds/, async () => {
    for await (const _ of batchedDescent([fixed, { ...fixed, state: over }, fixed], { learningRates: { features: 1 }, steps: 2 }));
  });
  // Of batches the mean is over their samples, and so is the rate.
  const batches = { loss: { kind: 'mse' }, state, moves: { prototypes: false } };
  const advised = [12, 2].map((size) => {
    const { reason, advice } = last(
      projectedDescentSync(batches, { learningRates: { features: 1e4 }, steps: 5000, batch: { size } }),
    );
    assert.is(reason, 'diverged');
    return Number(/below (\S+) /.exec(advice)[1]);
  });
  near(advised[1] / advised[0], 2 / 12, 1e-2, 'the rate of batches');
  const under = { learningRates: { features: 0.99 * advised[1] }, steps: 20_000, batch: { size: 2 } };
  const [before, after] = [0, 1].map(
    (k) => lossAndGradientSync({ kind: 'mse' }, k ? last(projectedDescentSync(batches, under)).state : state).value,
  );
  assert.ok(after < before);
  const tame = last(projectedDescentSync(fixed, { ...options, learningRates: { features: 1.9 / largest }, steps: 20_000 }));
  assert.is(tame.reason, 'steps');
});

/** ‖d − ⟨d, x⟩/‖x‖² x‖² where a constraint holds x, else ‖d‖², of rows of d = g + λ x. */
function residual(x, g, decay, size, { kind, radius } = {}) {
  let sum = 0;
  for (let from = 0; from < x.length; from += size) {
    const row = x.subarray(from, from + size);
    const d = row.map((value, j) => g[from + j] + decay * value);
    const square = row.reduce((total, value) => total + value ** 2, 0);
    const along = row.reduce((total, value, j) => total + value * d[j], 0);
    const held = kind === 'sphere' || (kind && along < 0 && Math.sqrt(square) > radius * (1 - 1e-12));
    sum += d.reduce((total, value, j) => total + (held ? value - (along / square) * row[j] : value) ** 2, 0);
  }
  return sum;
}

test('stationarity counts decay, and leaves out what constraints take up', () => {
  const state = sample(12, 3, 5);
  const weightDecay = { features: 0.03, prototypes: 0.02, biases: 0.01 };
  for (const kind of [undefined, 'ball', 'sphere', 'frobenius']) {
    const constraint = kind && { kind, radius: kind === 'frobenius' ? 3 : 1 };
    const problem = { loss: { kind: 'cross-entropy' }, state, weightDecay };
    if (constraint) problem.constraints = { features: constraint, prototypes: constraint };
    const names = ['stationarity', 'gradientNorm', 'featureGradientNorm', 'prototypeGradientNorm'];
    const options = { learningRates: { features: 2, prototypes: 0.3 }, measure: { names } };
    for (const steps of [0, 3, 40]) {
      const { state: at, measures } = last(projectedDescentSync(problem, { ...options, steps }));
      const slopes = lossAndGradientSync(problem.loss, at);
      const norm = (part) => Math.hypot(...slopes[part].data);
      const expected = ['features', 'prototypes', 'biases'].reduce((sum, part) => {
        const { data, shape } = at[part];
        const size = part === 'biases' || kind === 'frobenius' ? data.length : shape[1];
        return sum + residual(data, slopes[part].data, weightDecay[part], size, part === 'biases' ? undefined : constraint);
      }, 0);
      near(measures.stationarity.at(-1), Math.sqrt(expected), 1e-9, `${kind} at ${steps}`);
      near(measures.featureGradientNorm.at(-1), norm('features'), 1e-12, 'gradient by features');
      near(measures.prototypeGradientNorm.at(-1), norm('prototypes'), 1e-12, 'gradient by prototypes');
    }
    const still = last(projectedDescentSync(problem, { ...options, steps: 100_000, stop: { stationary: 1e-6 } }));
    assert.is(still.reason, 'stationary', kind);
    assert.ok(still.measures.gradientNorm.at(-1) > 1e-3);
  }
});

test('of the unhinged loss, the decays and rates that theory names are where divergence begins', () => {
  const state = sample(12, 3, 5, false);
  const run = (decay, rate) =>
    last(
      projectedDescentSync(
        { loss: { kind: 'unhinged', gamma: 0.3 }, state, weightDecay: { features: decay, prototypes: decay } },
        { learningRates: { features: rate, prototypes: rate }, steps: 200_000 },
      ),
    );
  const free = run(0, 1);
  assert.is(free.reason, 'diverged');
  const decay = Math.sqrt(Number(/product above (\S+);/.exec(free.advice)[1]));
  assert.is(run(0.99 * decay, 1).reason, 'diverged');
  assert.is(run(1.01 * decay, 0.5 / decay).reason, 'steps');
  const fast = run(1.5 * decay, 10 / decay);
  const rate = Number(/both below (\S+) /.exec(fast.advice)[1]);
  assert.is(run(1.5 * decay, 1.02 * rate).reason, 'diverged');
  assert.is(run(1.5 * decay, 0.98 * rate).reason, 'steps');
});

test('a start outside its constraint is projected, and the result says so', async () => {
  const state = sample(6, 3, 4, false);
  const constraints = { features: { kind: 'sphere', radius: 2 }, prototypes: { kind: 'frobenius', radius: 100 } };
  const run = last(
    projectedDescentSync(
      { loss: { kind: 'mse' }, state, constraints },
      { learningRates: { features: 0, prototypes: 0 }, steps: 0 },
    ),
  );
  assert.equal(run.projected, ['features']);
  for (let i = 0; i < 6; i++) near(Math.hypot(...run.state.features.data.subarray(4 * i, 4 * i + 4)), 2, 1e-14, 'norm');
  state.features.data.fill(0, 4, 8);
  await refuses('LP_OPTION', /features\[1\] is zero and cannot be projected/, () =>
    projectedDescent({ loss: { kind: 'mse' }, state, constraints }, { learningRates: { features: 1, prototypes: 1 }, steps: 1 }),
  );
});

test('is stopped by its signal, and by leaving the loop', async () => {
  const state = randomState({ classes: 50, perClass: 40, dim: 64 });
  const controller = new AbortController();
  const options = { learningRates: { features: 0.1, prototypes: 0.1 }, steps: 1e9, signal: controller.signal };
  setTimeout(() => controller.abort(), 20);
  await refuses('LP_ABORTED', /stopped/, async () => {
    for await (const _ of projectedDescent({ loss: { kind: 'cross-entropy' }, state }, options));
  });
  // Of options one a problem, any signal stops them all.
  const second = new AbortController();
  setTimeout(() => second.abort(), 20);
  const problem = { loss: { kind: 'cross-entropy' }, state };
  const never = new AbortController().signal;
  await refuses('LP_ABORTED', /stopped/, async () => {
    const each = [never, second.signal].map((signal) => ({ ...options, signal }));
    for await (const _ of batchedDescent([problem, problem], each));
  });
  let shares = 0;
  for await (const { step } of projectedDescent(
    { loss: { kind: 'cross-entropy' }, state },
    { ...options, signal: undefined, snapshots: 3, onProgress: () => shares++ },
  )) {
    if (step === 6) break;
  }
  assert.ok(shares >= 0);
});

test('refuses what makes no run', async () => {
  const state = sample(6, 3, 4);
  const bad = (problem, options, code, pattern) =>
    refuses(code, pattern, () =>
      projectedDescent(
        { loss: { kind: 'mse' }, state, ...problem },
        { learningRates: { features: 1, prototypes: 1 }, steps: 3, ...options },
      ),
    );
  await bad({ los: 1 }, {}, 'LP_OPTION', /loss/);
  await bad({ moves: { feature: true } }, {}, 'LP_OPTION', /features/);
  await bad({ constraints: { features: { kind: 'bal', radius: 1 } } }, {}, 'LP_OPTION', /did you mean 'ball'/);
  await bad({ constraints: { features: { kind: 'ball', radius: 0 } } }, {}, 'LP_OPTION', /radius is 0/);
  await bad({ constraints: { biases: { kind: 'ball', radius: 1 } } }, {}, 'LP_OPTION', /biases/);
  await bad({ weightDecay: { prototypes: -1 } }, {}, 'LP_OPTION', /problem.weightDecay.prototypes is -1/);
  await bad({}, { steps: -1 }, 'LP_OPTION', /options.steps is -1/);
  await bad({}, { batch: { size: 7 } }, 'LP_OPTION', /options.batch.size is 7/);
  await bad({}, { momentum: 1 }, 'LP_OPTION', /momentum is 1/);
  await bad({}, { learningRates: { features: 1 } }, 'LP_OPTION', /options.learningRates.prototypes/);
  await bad({}, { measure: { names: ['los'] } }, 'LP_OPTION', /did you mean 'loss'/);
  await bad({}, { measure: { names: ['distance'] } }, 'LP_OPTION', /problem has no target/);
  await bad({}, { measure: { names: ['smoothedMargin'] } }, 'LP_OPTION', /one of cross-entropy, but problem.loss is 'mse'/);
  await bad({}, { stop: { event: { measure: 'distance', below: 1 } } }, 'LP_OPTION', /problem has no target/);
  await bad({}, { stop: { event: { measure: 'loss' } } }, 'LP_OPTION', /neither below and above/);
  await bad(
    { target: { features: state.features, prototypes: array([[1]]) } },
    {},
    'LP_SHAPE',
    /problem.target.prototypes is \[1, 1\]/,
  );
  state.prototypes.data[5] = Number.NaN;
  await bad({}, {}, 'LP_NOT_FINITE', /prototypes\[1, 1\] is NaN/);
});

test('a small problem, stepped on vector lanes, takes the steps of the general engine', () => {
  for (const dtype of ['float32', 'float64']) {
    const state = randomState({ classes: 7, perClass: 9, dim: 13, dtype, seed: 3 });
    state.biases = { shape: [7], data: state.prototypes.data.slice(0, 7) };
    const rows = Float64Array.from({ length: 63 * 7 }, (_, k) => Number(state.labels[Math.floor(k / 7)] === k % 7));
    const options = { learningRates: { features: 3, prototypes: 2 }, momentum: 0.8, nesterov: true, rescaled: true, steps: 60 };
    const rest = {
      state,
      normalizeFeatures: true,
      weightDecay: { features: 0.01, prototypes: 0.02 },
      constraints: { features: { kind: 'ball', radius: 4 }, prototypes: { kind: 'sphere', radius: 2 } },
    };
    const small = last(projectedDescentSync({ ...rest, loss: { kind: 'cross-entropy' } }, options));
    // Labels by their rows are the general engine's.
    const general = last(
      projectedDescentSync({ ...rest, loss: { kind: 'cross-entropy', softLabels: { shape: [63, 7], data: rows } } }, options),
    );
    const tolerance = dtype === 'float32' ? 2e-4 : 1e-11;
    for (const part of ['features', 'prototypes', 'biases']) {
      assert.ok(distance(small.state[part].data, general.state[part].data) < tolerance, `${dtype} ${part}`);
    }
    const watched = last(
      projectedDescentSync(
        { ...rest, loss: { kind: 'cross-entropy' } },
        { ...options, snapshots: 7, measure: { names: ['loss'], every: 3 } },
      ),
    );
    assert.equal(watched.state.features.data, small.state.features.data, 'watching changes no bit');
  }
});

test.run();
