// Theory beside a run: the model's limit reached by a network, the same when resumed, and what is said where there is none.
import { join } from 'node:path';
import { readSafetensors, simplexETF } from 'layerpeel';
import { train } from 'layerpeel/torch';
import * as assert from 'uvu/assert';
import { theorySetting } from '../../lib/training/run-theory.js';
import { inFolder } from '../helpers.js';
import { patterns } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('theory beside a run');

const data = { train: patterns(), test: patterns({ seed: 1 }) };
const anchored = {
  data,
  model: { kind: 'mlp', widths: [32, 16], classifier: { kind: 'fixed-etf' } },
  loss: { kind: 'unhinged', gamma: 1 / 3 },
  regularization: { weight: 1e-3 },
  optimizer: { learningRate: 0.01 },
  epochs: 12,
  batch: 16,
};

async function last(config, options) {
  let theory;
  for await (const epoch of train(config, options)) {
    if (epoch.epoch === config.epochs) theory = await epoch.theory();
  }
  return theory;
}

test('features under fixed prototypes come to MᵀW/λ', async () => {
  const { zeta, measured, predicted, clock, statement, anchored: seen } = await last(anchored);
  assert.match(statement, /MᵀW\/λ/);
  assert.is(zeta.length, 13);
  // Six batches an epoch, at a rate of 0.01.
  assert.ok(Math.abs(zeta[12] - 0.72) < 1e-12);
  // A sample's loss and its regularization, −⟨m, h⟩ + 0.001·16 ‖h‖² with m = w_y − γ Σ w_j, are least at h = m/0.032.
  const { data: w } = simplexETF(4, 16, { seed: 0 });
  const m = Array.from({ length: 16 }, (_, k) => w[k] - (w[16 + k] + w[32 + k] + w[48 + k]) / 3);
  const limit = (Math.hypot(...m) / 0.032) * Math.sqrt(96);
  assert.ok(Math.abs(seen.limitNorm / limit - 1) < 1e-4, `${seen.limitNorm}, not ${limit}`);
  assert.ok(Math.abs(seen.norm[12] / limit - 1) < 0.1, `norm is ${seen.norm[12]}`);
  assert.ok(seen.cosine[0] < 0.5 && seen.cosine[12] > 0.99, `cosine is ${seen.cosine[12]}`);
  assert.ok(Math.abs(seen.predicted.norm[0] / seen.norm[0] - 1) < 1e-5);
  // H(t) is e^(−λt) H(0) + (1 − e^(−λt)) L, L the limit, in the model: with λ = 2·0.001·16/96.
  const share = Math.exp(-(0.032 / 96) * clock * zeta[12]);
  assert.ok(Math.abs(seen.predicted.norm[12] - (1 - share) * limit) <= share * seen.norm[0] + 1e-3);
  assert.ok(clock > 0 && measured[12] < 0.1 * measured[0]);
  assert.ok(Math.abs(predicted[0] / measured[0] - 1) < 1e-4);
});

test('the limit of the features, by each normalization of their regularization', async () => {
  const { data: w } = simplexETF(4, 16, { seed: 0 });
  const m = Math.hypot(...Array.from({ length: 16 }, (_, k) => w[k] - (w[16 + k] + w[32 + k] + w[48 + k]) / 3));
  // Of a sample: −⟨m, h⟩ + c‖h‖², least at m/2c, with c = ρB, ρ and ρ/2; of a batch no larger than the set.
  for (const [regularization, batch, curvature] of [
    [{ weight: 1e-3, normalization: 'sum' }, 24, 24e-3],
    [{ weight: 1e-3 }, 1000, 96e-3],
    [{ weight: 0.01, normalization: 'mean' }, 24, 0.01],
    [{ weight: 0.01, normalization: 'half-mean' }, 24, 0.005],
  ]) {
    const { anchored: seen } = await last({ ...anchored, regularization, batch, epochs: 1 });
    const limit = (m / (2 * curvature)) * Math.sqrt(96);
    assert.ok(Math.abs(seen.limitNorm / limit - 1) < 1e-4, `${seen.limitNorm}, not ${limit}`);
  }
});

test('ζ adds up the learning rates of the steps, under a schedule too', async () => {
  const learningRate = { kind: 'cosine', value: 0.02, period: 3, warmup: 1 };
  const { zeta, measured } = await last({ ...anchored, optimizer: { learningRate }, epochs: 3 });
  let sum = 0;
  const wanted = [0, 1, 2].map((epoch) => {
    for (let k = 6 * epoch; k < 6 * epoch + 6; k++) sum += 0.01 * (1 + Math.cos((Math.PI * k) / 18)) * Math.min(1, (k + 1) / 6);
    return sum;
  });
  for (const [k, value] of [0, ...wanted].entries()) assert.ok(Math.abs(zeta[k] - value) < 1e-12, `${zeta}, not ${wanted}`);
  assert.is(measured.length, 4);
});

test('a probe of many samples has the classes in their proportion, the small ones too', async () => {
  const set = patterns({ classes: 3, counts: [3000, 1500, 2], size: 2, channels: 1 });
  // ⌊1000/4502 · n_c⌋, one at least: the first samples of each class, in the order of the set.
  const left = [666, 333, 1];
  const probe = Array.from(set.labels.keys()).filter((i) => left[set.labels[i]]-- > 0);
  await inFolder(async (folder) => {
    const path = join(folder, 'checkpoint.safetensors');
    for await (const epoch of train({ ...anchored, data: { train: set }, epochs: 1, batch: 500 })) {
      await epoch.save(path);
      assert.equal((await readSafetensors(path)).tensors['theory.features'].shape, [1000, 16]);
      const { norm } = (await epoch.theory()).anchored;
      const { data } = (await epoch.output('train')).features;
      const wanted = Math.hypot(...probe.map((i) => Math.hypot(...data.subarray(16 * i, 16 * i + 16))));
      assert.ok(Math.abs(norm[1] / wanted - 1) < 1e-5, `${norm[1]}, not ${wanted}`);
    }
  });
});

for (const [name, change] of Object.entries({
  'unhinged loss, fixed prototypes': {},
  'cross-entropy': { model: { kind: 'mlp', widths: [32, 16] }, loss: { kind: 'cross-entropy' }, regularization: undefined },
})) {
  test(`a resumed run has the theory of one that never stopped: ${name}`, async () => {
    await inFolder(async (folder) => {
      const { regularization, ...rest } = { ...anchored, epochs: 4, ...change };
      const config = regularization ? { ...rest, regularization } : rest;
      const file = join(folder, 'checkpoint.safetensors');
      for await (const epoch of train(config)) {
        await epoch.save(file);
        if (epoch.epoch === 2) break;
      }
      const { tensors } = await readSafetensors(file);
      assert.equal(tensors['theory.features'].shape, [96, 16]);
      const resumed = await last(config, { resume: file });
      assert.is(resumed.measured.length, 5);
      assert.equal(resumed, await last(config));
    });
  });
}

test('a cross-entropy flow too large to be integrated is not begun', () => {
  const config = { data: {}, model: { kind: 'mlp' }, loss: { kind: 'cross-entropy' } };
  const sizes = { batch: 16, probe: 1000, classes: 200, dim: 500 };
  assert.equal(theorySetting(config, sizes), { loss: config.loss, fixed: false, weightDecay: 0 });
  assert.match(theorySetting(config, { ...sizes, dim: 501 }), /1000 samples in 200 classes and 501 dimensions is too large/);
  assert.type(theorySetting({ ...config, loss: { kind: 'unhinged', gamma: 0 } }, { ...sizes, dim: 501 }), 'object');
});

for (const [reason, change] of [
  [/does not cover mse/, { loss: { kind: 'mse' } }],
  [/does not cover cross-entropy with mixup/, { loss: { kind: 'cross-entropy' }, data: { ...data, augmentation: { mixup: 0.2 } } }],
  [/does not cover cross-entropy with smoothed labels/, { loss: { kind: 'cross-entropy', labelSmoothing: 0.1 } }],
  [/collapseEvery/, { loss: { kind: 'cross-entropy' }, collapseEvery: 0 }],
]) {
  test(`says why there is none: ${reason.source}`, async () => {
    const { regularization: _, ...rest } = anchored;
    assert.match(await last({ ...rest, model: { kind: 'mlp' }, epochs: 1, ...change }), reason);
  });
}

test.run();
