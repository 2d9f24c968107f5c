// What training measures by class, under every kind of loss, head and classifier: against `gradientShares` of the features and the
// classifier that an epoch hands out, by losses that are written here; kept by checkpoints and in run folders.
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { balancedLengths, gradientSharesSync, lossAndGradientSync, readNpy } from 'layerpeel';
import { classMeasures, train } from 'layerpeel/torch';
import * as assert from 'uvu/assert';
import { run } from '../cli/run.js';
import { distance, near, refuses } from '../helpers.js';
import { idxFiles, patterns } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('measures by class');

const counts = [30, 14, 6, 2];
const total = 52;
const data = { train: patterns({ classes: 4, counts }) };
const base = { data, model: { kind: 'mlp', widths: [8, 5] }, optimizer: { learningRate: 0.05 }, epochs: 2, batch: 16 };
const model = (head, classifier) => ({ ...base.model, ...(head && { head }), ...(classifier && { classifier }) });
const entropy = { kind: 'cross-entropy' };
const lengthsConvention = { kind: 'dot-regression', convention: 'lengths' };

/** N/(K n_k) */
const own = counts.map((count) => total / (4 * count));

/** Weights (1−β)/(1−β^n), and of mean 1 over the samples: what a mean by weights makes of them. */
const weights = counts.map((count) => 0.1 / (1 - 0.9 ** count));
const perSample = weights.reduce((sum, weight, c) => sum + weight * counts[c], 0) / total;
const perClass = weights.reduce((sum, weight) => sum + weight / 4, 0);
const weighted = { ...entropy, classWeights: weights.map((weight) => weight / perSample) };
const bySamples = { ...entropy, classWeights: weights.map((weight) => weight / perClass) };

// What is configured, and the loss on features as they enter the logits, of each epoch.
const CASES = {
  'cross-entropy': [{ loss: entropy }, [entropy, entropy]],
  'averaged weights': [{ loss: entropy, ema: 0.7 }, [entropy, entropy]],
  'normalized features of a scale': [{ loss: entropy, model: model({ normalize: true, scale: 3 }) }, [entropy, entropy]],
  'smoothed labels, regularized and rescaled': [
    { loss: { ...entropy, labelSmoothing: 0.2 }, regularization: { weight: 1e-3 }, rescaled: true },
    [
      { ...entropy, labelSmoothing: 0.2 },
      { ...entropy, labelSmoothing: 0.2 },
    ],
  ],
  'a fixed simplex': [{ loss: entropy, model: model(undefined, { kind: 'fixed-etf', scale: 2 }) }, [entropy, entropy]],
  'weights from the second epoch on': [{ loss: entropy, reweighting: { beta: 0.9, from: 1 } }, [entropy, weighted]],
  'weights in a mean of samples': [{ loss: entropy, reweighting: { beta: 0.9, mean: 'samples' } }, [bySamples, bySamples]],
  'dot regression towards a fixed simplex': [
    {
      loss: { kind: 'dot-regression', prototypeEnergy: 2, featureEnergy: 3 },
      model: model({ normalize: true }, { kind: 'fixed-etf' }),
    },
    Array(2).fill({ kind: 'dot-regression', prototypeEnergy: 2, featureEnergy: 3 }),
  ],
  'learnable dot regression by lengths': [
    { loss: lengthsConvention, model: model({ relu: false }) },
    Array(2).fill({ ...lengthsConvention, prototypes: 'learnable' }),
  ],
  'dot regression by the lengths of a batch': [
    { loss: { ...lengthsConvention, balanced: true }, model: model({ normalize: true }, { kind: 'fixed-etf' }) },
    Array(2).fill({
      ...lengthsConvention,
      prototypeLength: Array.from(balancedLengths(counts, { convention: 'released' })),
      featureLength: 1,
    }),
  ],
  "dot regression by the training set's lengths": [
    {
      loss: { kind: 'dot-regression', balanced: 'paper', featureEnergy: 3 },
      model: model({ normalize: true }, { kind: 'fixed-etf' }),
    },
    Array(2).fill({ kind: 'dot-regression', prototypeEnergy: own.map((each) => each ** 2), featureEnergy: 3 }),
  ],
  "learnable dot regression by the training set's lengths, of the convention lengths": [
    { loss: { ...lengthsConvention, balanced: 'paper' }, model: model({ normalize: true }) },
    Array(2).fill({ ...lengthsConvention, prototypes: 'learnable', prototypeLength: own, featureLength: 1 }),
  ],
  unhinged: [{ loss: { kind: 'unhinged', gamma: 0.3 } }, Array(2).fill({ kind: 'unhinged', gamma: 0.3 })],
};

/** Arrays in which a NaN equals another. */
const plain = (byClass) =>
  Object.fromEntries(Object.entries(byClass).map(([name, { shape, data }]) => [name, [shape, Array.from(data)]]));

for (const [name, [change, losses]] of Object.entries(CASES)) {
  test(name, async () => {
    const fixed = change.model?.classifier?.kind === 'fixed-etf';
    for await (const epoch of train({ ...base, ...change })) {
      const { features, labels } = await epoch.output('train');
      const state = { features, labels, ...(await epoch.classifier()) };
      const loss = losses[epoch.epoch - 1];
      const { value } = lossAndGradientSync(loss, state);
      near(epoch.measures.trainLoss, value, 1e-5 * (1 + Math.abs(value)), 'the loss that training measures');
      const found = gradientSharesSync(loss, state);
      const featureNorm = counts.map((count, c) =>
        Array.from(labels).reduce(
          (sum, label, i) => sum + (label === c ? Math.hypot(...features.data.subarray(5 * i, 5 * i + 5)) / count : 0),
          0,
        ),
      );
      const none = new Float64Array(4);
      const expected = {
        ...{ featureNorm, backbone: found.backbone },
        ...(fixed ? { pull: none, push: none } : { pull: found.pullNorms, push: found.pushNorms }),
      };
      assert.equal(Object.keys(epoch.byClass).sort(), Object.keys(classMeasures).sort());
      for (const [measure, values] of Object.entries(expected)) {
        const { shape, data: all } = epoch.byClass[measure];
        assert.equal(shape, [epoch.epoch, 4]);
        const last = all.subarray(4 * (epoch.epoch - 1));
        assert.ok(
          distance(last, Float64Array.from(values)) < 1e-5 * (1e-3 + Math.max(...values)),
          `${measure}: ${last}, not ${values}`,
        );
        // Dot regression has one prototype a sample, its own.
        const nothing = fixed || (measure === 'push' && losses[0].kind === 'dot-regression');
        assert.ok(nothing || last.some((value) => value > 0), measure);
      }
    }
  });
}

test("the paper's lengths bound what a class has in the backbone's gradient alike; other lengths beside them are refused", async () => {
  const fixed = { model: model({ normalize: true }, { kind: 'fixed-etf' }), epochs: 1 };
  for await (const { byClass } of train({ ...base, ...fixed, loss: { kind: 'dot-regression', balanced: 'paper' } })) {
    assert.ok(byClass.backbone.data.every((value) => value > 0 && value <= 2 / 4));
  }
  for (const [pattern, loss] of [
    [/balanced is "papers"; did you mean 'paper'/, { kind: 'dot-regression', balanced: 'papers' }],
    [/balanced is 1; expected/, { kind: 'dot-regression', balanced: 1 }],
    [/belongs to the convention 'lengths'/, { kind: 'dot-regression', balanced: 'released' }],
    [/has prototypeEnergy and balanced/, { kind: 'dot-regression', balanced: 'paper', prototypeEnergy: 2 }],
    [/has prototypeLength and balanced/, { ...lengthsConvention, balanced: 'paper', prototypeLength: 2 }],
  ]) {
    await refuses('LP_CONFIG', pattern, () => train({ ...base, ...fixed, loss }).next());
  }
});

test('a feature that has become zero has no length for a loss to divide by: there are lengths alone', async () => {
  let met = 0;
  for (let seed = 0; seed < 12; seed++) {
    try {
      for await (const { byClass, output } of train({ ...base, loss: lengthsConvention, epochs: 1, seed })) {
        const { data: values } = (await output('train')).features;
        const row = (i) => values.subarray(5 * i, 5 * i + 5);
        const zero = Array.from({ length: total }, (_, i) => row(i)).some((each) => each.every((x) => x === 0));
        met += zero;
        assert.ok(byClass.featureNorm.data.every(Number.isFinite));
        assert.is(byClass.backbone.data.every(Number.isNaN), zero);
      }
    } catch (error) {
      if (error.code !== 'LP_NOT_FINITE') throw error; // it was zero within the epoch, which cannot be trained on
    }
  }
  assert.ok(met > 0);
});

test('of so many classes that their gradients would outlast the epoch there are lengths alone', async () => {
  const [classes, dim] = [1025, 2048]; // classes² · dim is just above 2³¹
  const data = { train: patterns({ classes, perClass: 1, size: 2, channels: 1 }) };
  for await (const { byClass } of train({
    ...base,
    data,
    model: { kind: 'mlp', widths: [dim] },
    optimizer: { learningRate: 1e-4 },
    loss: { kind: 'mse' },
    epochs: 1,
  })) {
    assert.ok(byClass.featureNorm.data.every((value) => value > 0));
    for (const name of ['pull', 'push', 'backbone']) assert.ok(byClass[name].data.every(Number.isNaN), name);
  }
});

test('of LDAM there are lengths alone; what is not measured is NaN, also where a run goes on', async () => {
  for await (const { byClass } of train({ ...base, loss: { kind: 'ldam' }, epochs: 1 })) {
    assert.ok(byClass.featureNorm.data.every((value) => Math.abs(value - 1) < 1e-5));
    for (const name of ['pull', 'push', 'backbone']) assert.ok(byClass[name].data.every(Number.isNaN), name);
  }
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  try {
    const config = { ...base, loss: entropy, epochs: 4, collapseEvery: 2 };
    const path = join(folder, 'state.safetensors');
    let whole;
    for await (const epoch of train(config)) {
      if (epoch.epoch === 3) await epoch.save(path);
      whole = epoch.byClass;
    }
    const measured = Array.from({ length: 4 }, (_, k) => Number.isFinite(whole.pull.data[4 * k]));
    assert.equal(measured, [false, true, false, true]);
    let known;
    const onReady = ({ byClass, classes }) => {
      known = { byClass, classes };
    };
    for await (const { byClass, classes } of train(config, { resume: path, onReady })) {
      assert.equal(plain(byClass), plain(whole));
      assert.equal(known.classes, classes);
      assert.equal(plain(known.byClass).backbone, [[3, 4], Array.from(whole.backbone.data.slice(0, 12))]);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a run folder keeps them as arrays, and draws the last; without measures there are none', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  try {
    await idxFiles(folder);
    const config = { ...base, data: { kind: 'idx', path: '.', verify: false }, loss: entropy, seed: 4 };
    await writeFile(join(folder, 'run.json'), JSON.stringify(config));
    const ran = await run(['train', join(folder, 'run.json'), '--out', join(folder, 'run')]);
    assert.is(ran.code, 0, ran.stderr);
    const arrays = (await readdir(join(folder, 'run/arrays'))).filter((name) => name.startsWith('class-'));
    assert.equal(
      arrays.sort(),
      ['backbone', 'feature-norm', 'pull', 'push'].map((name) => `class-${name}.npy`),
    );
    for (const name of arrays) {
      const { shape, data: values } = await readNpy(join(folder, 'run/arrays', name));
      assert.equal(shape, [2, 4]);
      assert.ok(values.every((value) => value > 0));
    }
    for (const name of ['class-gradients', 'class-backbone', 'class-features']) {
      assert.ok((await readdir(join(folder, 'run/figures'))).includes(`${name}.svg`), name);
    }
    const without = await run(['train', join(folder, 'run.json'), '--out', join(folder, 'none'), '--set', 'collapseEvery=0']);
    assert.is(without.code, 0, without.stderr);
    assert.not.ok((await readdir(join(folder, 'none/arrays'))).some((name) => name.startsWith('class-')));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.run();
