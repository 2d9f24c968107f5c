// What a step of training does and what an epoch reports, with every option at more than one value, against a network written
// here in float64: features `h = A x + a` (with BatchNorm, scale or direction), logits `W h + b`, and its losses, whose gradients
// are central differences. In which order the samples come is nobody's business but the seed's: of all orders exactly one must
// give what training gives.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { augmentSync, readSafetensors } from 'layerpeel';
import { train } from 'layerpeel/torch';
import * as assert from 'uvu/assert';
import { patterns } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('steps of training');

const set = patterns({ classes: 3, counts: [2, 2, 1], size: 2, channels: 1 });
const samples = 5;
const counts = [2, 2, 1];
const normalization = { mean: [0.5], std: [0.25] };
const model = { kind: 'mlp', widths: [3], head: { relu: false } };

/** What an epoch reports and the state after it, of each. */
async function run(config) {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  try {
    const epochs = [];
    const { augmentation, ...rest } = config;
    const data = { train: set, normalization, ...(augmentation && { augmentation }) };
    for await (const epoch of train({ model, loss: { kind: 'cross-entropy' }, ...rest, data, collapseEvery: 0 })) {
      const path = join(folder, 'state.safetensors');
      await epoch.save(path);
      const { tensors } = await readSafetensors(path);
      epochs.push({ measures: epoch.measures, state: tensors });
    }
    return epochs;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** All ways to deal the samples into batches of this size, the last one smaller. */
function* partitions(size, left = Array.from({ length: samples }, (_, i) => i)) {
  if (left.length <= size) {
    if (left.length > 0) yield [left];
    return;
  }
  for (const batch of subsets(left, size)) {
    for (const rest of partitions(
      size,
      left.filter((i) => !batch.includes(i)),
    ))
      yield [batch, ...rest];
  }
}
function* subsets(list, size, from = 0) {
  if (size === 0) return yield [];
  for (let i = from; i <= list.length - size; i++) for (const rest of subsets(list, size - 1, i + 1)) yield [list[i], ...rest];
}

const SHAPES = {
  'network.layer1.weight': [3, 4],
  'network.layer1.bias': [3],
  'norm.weight': [3],
  'norm.bias': [3],
  prototypes: [3, 3],
  biases: [3],
};
const namesIn = (state) => Object.keys(SHAPES).filter((name) => state[`model.${name}`]);
const read = (state, kind, names = namesIn(state)) =>
  Object.fromEntries(
    names.filter((name) => state[`${kind}.${name}`]).map((name) => [name, Float64Array.from(state[`${kind}.${name}`].data)]),
  );

const sum = (values) => values.reduce((total, value) => total + value, 0);
const dot = (u, v) => sum(Array.from(u, (value, k) => value * v[k]));
const norm = (u) => Math.sqrt(dot(u, u));
const row = (matrix, i, width) => matrix.subarray(i * width, (i + 1) * width);
const logSum = (z) => Math.log(sum(z.map(Math.exp)));
const softmaxLoss = (z, y, weight = 1) => weight * (logSum(z) - z[y]);

/** What the network makes of a batch in training mode: features before they are normalized, and logits. */
function forward(P, xs, { head = {}, cosine = false } = {}) {
  let h = xs.map((x) =>
    Array.from({ length: 3 }, (_, k) => P['network.layer1.bias'][k] + dot(row(P['network.layer1.weight'], k, 4), x)),
  );
  const moments = Array.from({ length: 3 }, (_, k) => {
    const mean = sum(h.map((one) => one[k])) / h.length;
    return { mean, variance: sum(h.map((one) => (one[k] - mean) ** 2)) / h.length };
  });
  if (head.batchNorm) {
    h = h.map((one) =>
      one.map(
        (value, k) => ((value - moments[k].mean) / Math.sqrt(moments[k].variance + 1e-5)) * P['norm.weight'][k] + P['norm.bias'][k],
      ),
    );
  }
  const { normalize, scale = 1 } = head;
  if (!normalize) h = h.map((one) => one.map((value) => scale * value));
  const u = h.map((one) => (normalize ? one.map((value) => (scale * value) / norm(one)) : one));
  const w = Array.from({ length: 3 }, (_, c) => {
    const own = row(P.prototypes, c, 3);
    return cosine ? own.map((value) => value / norm(own)) : own;
  });
  return { h, moments, z: u.map((one) => w.map((own, c) => dot(own, one) + (P.biases?.[c] ?? 0))) };
}

const argmax = (z) => z.indexOf(Math.max(...z));

const images = new Map();
/** Images as training sees them in an epoch, whose own tests are elsewhere. */
function imagesOf(batch, options) {
  const key = JSON.stringify([batch, options]);
  if (!images.has(key)) {
    const { images: found, partners, shares } = augmentSync(set, batch, options);
    images.set(key, { xs: batch.map((_, b) => Array.from(row(found.data, b, 4))), partners, shares });
  }
  return images.get(key);
}

/**
 * The loss of a batch, and the share that is decided right. `lengths` weigh the samples' gradients, where rates are rescaled;
 * `weight` of a label is what the mean divides by the sum of.
 */
function objective(
  P,
  batch,
  epoch,
  { loss, weight = () => 1, augmentation = {}, seed = 0, regularizer = () => 0, ...how },
  lengths,
) {
  const { xs, partners, shares } = imagesOf(batch, { ...augmentation, ...normalization, epoch, seed });
  const { h, z, moments } = forward(P, xs, how);
  const right = batch.map((i, b) => {
    const [y, other] = [set.labels[i], set.labels[partners[b]]];
    return shares[b] * (argmax(z[b]) === y) + (1 - shares[b]) * (argmax(z[b]) === other);
  });
  const losses = batch.map((i, b) => {
    const of = (y) => loss(z[b], y, epoch);
    return shares[b] * of(set.labels[i]) + (1 - shares[b]) * of(set.labels[partners[b]]);
  });
  const weights = batch.map(
    (i, b) => shares[b] * weight(set.labels[i], epoch) + (1 - shares[b]) * weight(set.labels[partners[b]], epoch),
  );
  const value = sum(losses.map((each, b) => each * (lengths?.[b] ?? 1))) / sum(weights) + regularizer(h);
  return { value, right: sum(right), norms: h.map(norm), moments };
}

/** One epoch in this order: the state after it and what it reports. */
function epochOf({ P, v, average, statistics }, batches, epoch, how) {
  const { rates, momentum = 0.9, nesterov = false, decay = {}, accumulate = 1, ema = 0, fixed = false, rescaled } = how;
  [P, v] = [P, v].map((all) => Object.fromEntries(Object.entries(all).map(([name, values]) => [name, values.slice()])));
  average = average && Object.fromEntries(Object.entries(average).map(([name, values]) => [name, values.slice()]));
  statistics = statistics && { mean: statistics.mean.slice(), variance: statistics.variance.slice() };
  let [losses, right] = [0, 0];
  const steps = Math.ceil(batches.length / accumulate);
  for (let step = 0; step < steps; step++) {
    const parts = batches.slice(step * accumulate, (step + 1) * accumulate);
    const size = sum(parts.map((part) => part.length));
    const gradient = Object.fromEntries(Object.keys(P).map((name) => [name, new Float64Array(P[name].length)]));
    for (const part of parts) {
      const { value, right: own, norms, moments } = objective(P, part, epoch, how);
      losses += value * part.length;
      right += own;
      const of = () => objective(P, part, epoch, how, rescaled && norms).value;
      for (const [name, values] of Object.entries(P)) {
        for (const [k, at] of values.entries()) {
          const there = (x) => {
            values[k] = x;
            return of();
          };
          gradient[name][k] += ((part.length / size) * (there(at + 1e-5) - there(at - 1e-5))) / 2e-5;
          values[k] = at;
        }
      }
      if (statistics) {
        for (const [k, { mean, variance }] of moments.entries()) {
          statistics.mean[k] = 0.9 * statistics.mean[k] + 0.1 * mean;
          statistics.variance[k] = 0.9 * statistics.variance[k] + (0.1 * variance * part.length) / (part.length - 1);
        }
      }
    }
    for (const name of Object.keys(P)) {
      if (fixed && name === 'prototypes') continue;
      const group = { prototypes: 'prototypes', biases: 'biases', 'network.layer1.bias': 'biases' }[name];
      const lambda = decay[group ?? (name.startsWith('norm') ? 'norms' : 'weights')] ?? 0;
      for (const [k, x] of P[name].entries()) {
        const g = gradient[name][k] + lambda * x;
        v[name][k] = momentum * v[name][k] + g;
        P[name][k] = x - rates(epoch * steps + step, steps) * (nesterov ? g + momentum * v[name][k] : v[name][k]);
      }
    }
    if (average) {
      const now = { ...P, ...(statistics && { 'norm.running_mean': statistics.mean, 'norm.running_var': statistics.variance }) };
      for (const name of Object.keys(average)) {
        average[name] = average[name].map((x, k) => ema * x + (1 - ema) * now[name][k]);
      }
    }
  }
  return {
    P,
    v,
    average,
    statistics,
    loss: losses / samples,
    accuracy: right / samples,
    rate: rates(epoch * steps + steps - 1, steps),
  };
}

const STATISTICS = ['norm.running_mean', 'norm.running_var'];

/** What the network is in a checkpoint. */
function stateOf(state) {
  const names = namesIn(state);
  const P = read(state, 'model', names);
  const given = read(state, 'velocity', names);
  const v = Object.fromEntries(names.map((name) => [name, given[name] ?? new Float64Array(P[name].length)]));
  const [mean, variance] = STATISTICS.map((name) => state[`model.${name}`]?.data);
  return {
    ...{ P, v },
    ...(state['average.prototypes'] && { average: read(state, 'average', [...names, ...STATISTICS]) }),
    ...(mean && { statistics: { mean: Float64Array.from(mean), variance: Float64Array.from(variance) } }),
  };
}

function distanceOf(found, wanted) {
  let most = 0;
  const see = (a, b) => {
    for (const [k, value] of a.entries()) most = Math.max(most, Math.abs(value - b[k]));
  };
  for (const name of Object.keys(wanted.P)) see(found.P[name], wanted.P[name]);
  for (const name of Object.keys(wanted.average ?? {})) see(found.average[name], wanted.average[name]);
  for (const name of Object.keys(wanted.statistics ?? {})) see(found.statistics[name], wanted.statistics[name]);
  return most;
}

const rate = () => 0.1;
const plain = (z, y) => softmaxLoss(z, y);
const balanced = (beta) => {
  const raw = counts.map((count) => (1 - beta) / (1 - beta ** count));
  return raw.map((weight) => (3 * weight) / sum(raw));
};
const unhinged = (z, y) => 0.5 * sum(z) - 1.5 * z[y];
const squares = (h) => sum(h.map((one) => dot(one, one)));
const normalized = (scale) => ({ ...model, head: { relu: false, normalize: true, scale } });

// Of each: what training is told, and what the network here is. `alike` orders of the samples are the same steps.
const cases = {
  'a batch that does not divide the samples, no momentum': [
    { batch: 2, optimizer: { learningRate: 0.1, momentum: 0 } },
    { rates: rate, momentum: 0 },
  ],
  'momentum and a weight decay of each kind': [
    { batch: 3, optimizer: { momentum: 0.8, weightDecay: { weights: 0.5, prototypes: 0.7, biases: 0.9 } } },
    { rates: rate, momentum: 0.8, decay: { weights: 0.5, prototypes: 0.7, biases: 0.9 } },
  ],
  "Nesterov's momentum and one weight decay for all": [
    { batch: 4, optimizer: { learningRate: 0.05, nesterov: true, weightDecay: 0.3 } },
    { rates: () => 0.05, nesterov: true, decay: { weights: 0.3, prototypes: 0.3, biases: 0.3, norms: 0.3 } },
  ],
  'two batches a step': [
    { batch: 2, accumulate: 2 },
    { rates: rate, accumulate: 2, alike: 6 },
  ],
  'three batches a step, of fewer at the end': [
    { batch: 1, accumulate: 3, seed: 5 },
    { rates: rate, accumulate: 3, alike: 12, seed: 5 },
  ],
  'a cosine with warm-up': [
    { batch: 2, optimizer: { learningRate: { kind: 'cosine', value: 0.2, period: 8, warmup: 2 } } },
    { rates: (k, steps) => 0.1 * (1 + Math.cos((Math.PI * k) / (8 * steps))) * Math.min(1, (k + 1) / (2 * steps)) },
  ],
  'a cosine with warm-up, once an epoch': [
    { batch: 2, optimizer: { learningRate: { kind: 'cosine', value: 0.2, period: 8, warmup: 2 }, ratePer: 'epoch' } },
    {
      rates: (k, steps) => {
        const epoch = Math.floor(k / steps);
        return 0.1 * (1 + Math.cos((Math.PI * epoch) / 8)) * Math.min(1, (epoch + 1) / 2);
      },
    },
  ],
  'steps at milestones': [
    { batch: 3, optimizer: { learningRate: { kind: 'steps', value: 0.2, milestones: [1, 3], factor: 0.5 } } },
    { rates: (k, steps) => 0.2 * 0.5 ** ((k >= steps) + (k >= 3 * steps)) },
  ],
  'an exponential decay': [
    { batch: 2, optimizer: { learningRate: { kind: 'exponential', value: 0.2, timescale: 1.5 } } },
    { rates: (k, steps) => 0.2 * Math.exp(-k / (1.5 * steps)) },
  ],
  'regularization by the sum': [
    { batch: 2, loss: { kind: 'unhinged', gamma: 0.5 }, regularization: { weight: 0.05 } },
    { rates: rate, loss: unhinged, regularizer: (h) => 0.05 * squares(h) },
  ],
  'regularization by the mean': [
    { batch: 2, loss: { kind: 'unhinged', gamma: 0.5 }, regularization: { weight: 0.05, normalization: 'mean' } },
    { rates: rate, loss: unhinged, regularizer: (h) => (0.05 * squares(h)) / h.length },
  ],
  'regularization by half the mean': [
    { batch: 3, loss: { kind: 'unhinged', gamma: 0.5 }, regularization: { weight: 0.05, normalization: 'half-mean' } },
    { rates: rate, loss: unhinged, regularizer: (h) => (0.05 * squares(h)) / (2 * h.length) },
  ],
  'regularization of features that then enter by their direction': [
    { batch: 2, model: normalized(2), regularization: { weight: 0.05 } },
    { rates: rate, head: { normalize: true, scale: 2 }, regularizer: (h) => 0.05 * squares(h) },
  ],
  're-weighted classes': [
    { batch: 2, reweighting: { beta: 0.9 } },
    { rates: rate, loss: (z, y) => softmaxLoss(z, y, balanced(0.9)[y]), weight: (y) => balanced(0.9)[y] },
  ],
  're-weighted classes, the mean by samples': [
    { batch: 2, reweighting: { beta: 0.9, mean: 'samples' } },
    { rates: rate, loss: (z, y) => softmaxLoss(z, y, balanced(0.9)[y]) },
  ],
  'classes re-weighted late': [
    { batch: 3, reweighting: { beta: 0.6, from: 2 } },
    {
      rates: rate,
      loss: (z, y, epoch) => softmaxLoss(z, y, epoch < 2 ? 1 : balanced(0.6)[y]),
      weight: (y, epoch) => (epoch < 2 ? 1 : balanced(0.6)[y]),
    },
  ],
  'class weights and smoothed labels': [
    { batch: 2, loss: { kind: 'cross-entropy', classWeights: [0.5, 1, 3], labelSmoothing: 0.3 } },
    { rates: rate, loss: (z, y) => [0.5, 1, 3][y] * (logSum(z) - 0.7 * z[y] - 0.1 * sum(z)) },
  ],
  'squared errors': [
    { batch: 2, loss: { kind: 'mse' } },
    { rates: rate, loss: (z, y) => sum(z.map((value, c) => (value - (c === y)) ** 2)) },
  ],
  'features by their direction, at a length': [
    { batch: 2, model: normalized(3) },
    { rates: rate, head: { normalize: true, scale: 3 } },
  ],
  'features scaled': [
    { batch: 2, model: { ...model, head: { relu: false, scale: 2 } } },
    { rates: rate, head: { scale: 2 } },
  ],
  'rescaled learning rates': [
    { batch: 2, rescaled: true, model: normalized(1), loss: { kind: 'unhinged', gamma: 0.5 } },
    { rates: rate, rescaled: true, head: { normalize: true }, loss: unhinged },
  ],
  'no biases': [{ batch: 2, model: { ...model, classifier: { bias: false } } }, { rates: rate }],
  'a fixed simplex': [
    { batch: 2, model: { ...model, classifier: { kind: 'fixed-etf', scale: 2 } }, optimizer: { weightDecay: 0.2 } },
    { rates: rate, fixed: true, decay: { weights: 0.2, prototypes: 0.2, biases: 0.2 } },
  ],
  'LDAM, re-weighted': [
    { batch: 2, loss: { kind: 'ldam', largestMargin: 0.7, scale: 4 }, reweighting: { beta: 0.8 }, model },
    {
      ...{ rates: rate, head: { normalize: true }, cosine: true },
      weight: (y) => balanced(0.8)[y],
      loss: (z, y) =>
        softmaxLoss(
          z.map((value, c) => 4 * (value - (c === y ? 0.7 * counts[c] ** -0.25 : 0))),
          y,
          balanced(0.8)[y],
        ),
    },
  ],
  'BatchNorm of the features, its own weight decay': [
    { batch: 3, model: { ...model, head: { relu: false, batchNorm: true } }, optimizer: { weightDecay: { norms: 0.6 } } },
    { rates: rate, head: { batchNorm: true }, decay: { norms: 0.6 } },
  ],
  'averaged weights and statistics': [
    { batch: 3, ema: 0.75, model: { ...model, head: { relu: false, batchNorm: true } } },
    { rates: rate, ema: 0.75, head: { batchNorm: true } },
  ],
  'averaged weights, several steps': [
    { batch: 2, ema: 0.6 },
    { rates: rate, ema: 0.6 },
  ],
  mixup: [
    { batch: 2, seed: 3, augmentation: { mixup: 0.7 } },
    { rates: rate, seed: 3, augmentation: { mixup: 0.7 } },
  ],
  'crops and mirrors': [
    { batch: 2, seed: 4, augmentation: { padding: 1, flip: true, shift: 1 } },
    { rates: rate, seed: 4, augmentation: { padding: 1, flip: true, shift: 1 } },
  ],
};

/** Trains for so many epochs; of each but the first, what fits of all orders that the samples may have come in. */
async function ordersOf(config, how) {
  const epochs = await run({ epochs: 4, ...config });
  const states = epochs.map(({ state }) => stateOf(state));
  const orders = [...partitions(config.batch)];
  return states.slice(1).map((after, k) => ({
    measures: epochs[k + 1].measures,
    fits: orders
      .map((order) => ({ order, found: epochOf(states[k], order, k + 1, { loss: plain, ...how }) }))
      .filter(({ found }) => distanceOf(found, after) < 5e-6),
  }));
}

for (const [name, [config, { alike = 1, ...how }]] of Object.entries(cases)) {
  test(name, async () => {
    for (const { measures, fits } of await ordersOf(config, how)) {
      assert.is(fits.length, alike, `epoch ${measures.epoch} fits so many orders`);
      const [{ found }] = fits;
      const { loss, accuracy, learningRate } = measures;
      assert.ok(Math.abs(loss - found.loss) < 1e-5, `loss ${loss}, not ${found.loss}`);
      assert.ok(Math.abs(accuracy - found.accuracy) < 1e-6, `accuracy ${accuracy}, not ${found.accuracy}`);
      assert.ok(Math.abs(learningRate - found.rate) < 1e-12, `learning rate ${learningRate}, not ${found.rate}`);
    }
  });
}

test('samples come in an order of its own in every epoch and for every seed', async () => {
  const taken = [];
  for (const seed of [0, 1])
    taken.push((await ordersOf({ batch: 2, seed, epochs: 6 }, { rates: rate })).map(({ fits }) => String(fits[0].order)));
  for (const orders of taken) assert.ok(new Set(orders).size >= 3, orders.join(' | '));
  assert.not.equal(taken[0], taken[1]);
});

test('every sample may come last', async () => {
  const last = (await ordersOf({ batch: 4, epochs: 30 }, { rates: rate })).map(({ fits }) => fits[0].order[1][0]);
  assert.is(new Set(last).size, samples, last.join(' '));
});

test('a network begins from its seed, prototypes and biases too', async () => {
  const begin = async (seed) => (await run({ epochs: 1, seed, optimizer: { learningRate: 0 } }))[0].state;
  const [zero, again, one] = [await begin(0), await begin(0), await begin(1)];
  for (const name of namesIn(zero)) {
    assert.equal(zero[`model.${name}`], again[`model.${name}`]);
    assert.not.equal(zero[`model.${name}`], one[`model.${name}`], name);
  }
});

test('an average begins where the network does', async () => {
  for (const head of [{}, { batchNorm: true }]) {
    const [{ state }] = await run({ epochs: 1, batch: 5, ema: 0.9, optimizer: { learningRate: 0 }, model: { ...model, head } });
    for (const name of namesIn(state)) assert.equal(state[`average.${name}`], state[`model.${name}`]);
  }
});

test('bfloat16 rounds what the layers give', async () => {
  for (const [precision, rounded] of [
    ['bfloat16', true],
    ['float32', false],
  ]) {
    for await (const epoch of train({ data: { train: set }, model, loss: { kind: 'mse' }, epochs: 1, precision })) {
      const { data } = (await epoch.output('train')).features;
      const bits = new Uint32Array(data.slice().buffer);
      assert.is(
        bits.every((word) => (word & 0xffff) === 0),
        rounded,
      );
    }
  }
});

test.run();
