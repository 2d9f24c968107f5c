// Training: it learns, goes on bit for bit from a checkpoint, survives being killed, stops where it diverges or is told to.
import { access, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readSafetensors, writeSafetensors } from 'layerpeel';
import { train } from 'layerpeel/torch';
import * as assert from 'uvu/assert';
import { run, start } from '../cli/run.js';
import { inFolder, refuses } from '../helpers.js';
import { startNode } from '../process.js';
import { idxFiles, patterns } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('training');

const data = { train: patterns(), test: patterns({ seed: 1 }), augmentation: { padding: 1, mixup: 0.1 } };
const optimizer = { learningRate: { kind: 'cosine', value: 0.05, period: 6, warmup: 1 }, nesterov: true, weightDecay: 1e-3 };
const mlp = { kind: 'mlp', widths: [32, 16] };
const small = { data, model: mlp, loss: { kind: 'cross-entropy' }, optimizer, epochs: 6, batch: 16 };

async function all(config, options) {
  const epochs = [];
  for await (const epoch of train(config, options)) epochs.push(epoch.measures);
  return epochs;
}

/** The measures without those of time. */
const timeless = (rows) =>
  rows.map(({ seconds, imagesPerSecond, waitedForImages, secondsMeasuring, secondsCollapse, ...rest }) => {
    assert.ok(seconds > 0 && imagesPerSecond > 0 && waitedForImages >= 0 && secondsMeasuring >= secondsCollapse);
    return rest;
  });

const recipes = {
  'cross-entropy': {},
  'smoothed, with averaged weights': { loss: { kind: 'cross-entropy', labelSmoothing: 0.1 }, ema: 0.9 },
  mse: { loss: { kind: 'mse' } },
  // At the rate of the others its steps go past the margins and back.
  hinge: { loss: { kind: 'hinge' }, optimizer: { learningRate: 0.01 } },
  'unhinged with anchored prototypes and regularized features': {
    model: { ...mlp, classifier: { kind: 'fixed-etf' } },
    loss: { kind: 'unhinged', gamma: 1 / 3 },
    regularization: { weight: 1e-3 },
  },
  'unhinged over directions, rescaled': {
    model: { ...mlp, head: { normalize: true }, classifier: { kind: 'fixed-etf' } },
    loss: { kind: 'unhinged', gamma: 1 / 3 },
    rescaled: true,
  },
  'adjusted margin': {
    model: { ...mlp, head: { normalize: true }, classifier: { kind: 'fixed-etf' } },
    loss: { kind: 'adjusted-margin', gamma: 1 / 3, epsilon: 0.1 },
  },
  'dot regression to a fixed simplex': {
    model: { ...mlp, head: { batchNorm: true, normalize: true }, classifier: { kind: 'fixed-etf' } },
    loss: { kind: 'dot-regression', convention: 'lengths', balanced: true },
  },
  'LDAM, re-weighted late': { loss: { kind: 'ldam', scale: 10 }, reweighting: { from: 3 } },
  'two batches a step, bfloat16': { accumulate: 2, batch: 8, precision: 'bfloat16' },
};

for (const [name, change] of Object.entries(recipes)) {
  test(`learns: ${name}`, async () => {
    const epochs = await all({
      ...small,
      data: { ...data, augmentation: {} },
      epochs: 12,
      optimizer: { learningRate: 0.05 },
      ...change,
    });
    const { testAccuracy, trainAccuracy, nc1 } = epochs.at(-1);
    assert.ok(trainAccuracy > 0.95, `training accuracy is ${trainAccuracy}`);
    assert.ok(testAccuracy > 0.9, `test accuracy is ${testAccuracy}`);
    assert.ok(nc1 > 0 && nc1 < epochs[0].nc1);
  });
}

test('a step is that of the usual SGD: against one written here', async () => {
  // One class pattern, linear network, MSE without bias: everything can be written down.
  const set = patterns({ classes: 2, perClass: 3, size: 2, channels: 1 });
  const settings = { momentum: 0.9, nesterov: true, learningRate: 0.1, weightDecay: 0.01 };
  const config = {
    data: { train: set, normalization: { mean: [0.5], std: [0.25] } },
    model: { kind: 'mlp', widths: [3], head: { relu: false }, classifier: { bias: false } },
    loss: { kind: 'mse' },
    optimizer: settings,
    epochs: 3,
    batch: 6,
  };
  const states = await inFolder(async (folder) => {
    const list = [];
    for await (const epoch of train(config)) {
      await epoch.save(join(folder, 'c.safetensors'));
      list.push((await readSafetensors(join(folder, 'c.safetensors'))).tensors);
    }
    return list;
  });
  const matrix = ({ shape: [rows, cols], data }) =>
    Array.from({ length: rows }, (_, i) => Array.from(data.subarray(i * cols, (i + 1) * cols)));
  const names = ['network.layer1.weight', 'network.layer1.bias', 'prototypes'];
  const x = Array.from({ length: 6 }, (_, i) => Array.from(set.images.subarray(4 * i, 4 * i + 4), (v) => (v / 255 - 0.5) / 0.25));
  const read = (state, kind) =>
    Object.fromEntries(
      names.map((name) => [
        name,
        name.endsWith('bias') ? [Array.from(state[`${kind}.${name}`].data)] : matrix(state[`${kind}.${name}`]),
      ]),
    );
  for (const [before, after] of [
    [states[0], states[1]],
    [states[1], states[2]],
  ]) {
    const [p, v, next] = [read(before, 'model'), read(before, 'velocity'), read(after, 'model')];
    const [A, b, W] = names.map((name) => p[name]);
    const gradient = {
      [names[0]]: A.map((r) => r.map(() => 0)),
      [names[1]]: [b[0].map(() => 0)],
      [names[2]]: W.map((r) => r.map(() => 0)),
    };
    for (const [i, input] of x.entries()) {
      const h = A.map((weights, k) => weights.reduce((sum, w, j) => sum + w * input[j], b[0][k]));
      const dz = W.map((w, c) => (2 * (w.reduce((sum, value, k) => sum + value * h[k], 0) - (c === set.labels[i] ? 1 : 0))) / 6);
      for (const [c, d] of dz.entries())
        h.forEach((value, k) => {
          gradient[names[2]][c][k] += d * value;
        });
      for (let k = 0; k < 3; k++) {
        const dh = dz.reduce((sum, d, c) => sum + d * W[c][k], 0);
        gradient[names[1]][0][k] += dh;
        input.forEach((value, j) => {
          gradient[names[0]][k][j] += dh * value;
        });
      }
    }
    for (const name of names) {
      for (const [i, r] of p[name].entries()) {
        for (const [j, value] of r.entries()) {
          const g = gradient[name][i][j] + 0.01 * value;
          const velocity = 0.9 * v[name][i][j] + g;
          const wanted = value - 0.1 * (g + 0.9 * velocity);
          assert.ok(Math.abs(next[name][i][j] - wanted) < 1e-5, `${name}[${i}, ${j}]`);
        }
      }
    }
  }
});

for (const [name, change] of Object.entries({
  mlp: { ema: 0.9 },
  resnet20: { model: { kind: 'resnet20', head: { batchNorm: true }, classifier: { kind: 'fixed-etf' } }, accumulate: 2, batch: 8 },
})) {
  test(`${name}: a resumed run is the same to the bit as one that never stopped`, async () => {
    await inFolder(async (folder) => {
      const config = { ...small, epochs: 4, optimizer: { learningRate: { kind: 'cosine', value: 0.05, period: 4 } }, ...change };
      const file = (label) => join(folder, `${label}.safetensors`);
      const whole = [];
      for await (const epoch of train(config)) {
        whole.push(epoch.measures);
        await epoch.save(file(`whole${epoch.epoch}`));
      }
      for await (const epoch of train(config)) {
        await epoch.save(file('stopped'));
        if (epoch.epoch === 2) break;
      }
      const rest = [];
      let history;
      for await (const epoch of train(config, { resume: file('stopped') })) {
        rest.push(epoch.measures);
        history = epoch.history;
        await epoch.save(file(`resumed${epoch.epoch}`));
      }
      assert.equal(timeless(rest), timeless(whole.slice(2)));
      assert.equal(timeless(history), timeless(whole));
      const [a, b] = await Promise.all(['whole4', 'resumed4'].map((label) => readSafetensors(file(label))));
      assert.equal(a.tensors, b.tensors);
    });
  });
}

test('two trainings at once are those that run alone', async () => {
  const other = { ...small, seed: 7 };
  const alone = [await all(small), await all(other)];
  const together = await Promise.all([all(small), all(other)]);
  assert.equal(together.map(timeless), alone.map(timeless));
  assert.not.equal(timeless(alone[0]), timeless(alone[1]));
});

test('divergence stops with epoch, batch and reason', async () => {
  const wild = { ...small, loss: { kind: 'mse' }, optimizer: { learningRate: 1e9 } };
  await refuses('LP_NOT_FINITE', /epoch 1 at batch \d+ of 6: the loss or its gradient is not finite/, () => all(wild));
});

test('a signal stops an epoch; breaking off the loop is enough as well', async () => {
  const controller = new AbortController();
  const long = { ...small, model: { kind: 'resnet20' }, epochs: 1000, optimizer: {} };
  setTimeout(() => controller.abort(), 300);
  await refuses('LP_ABORTED', /stopped/, () => all(long, { signal: controller.signal }));
  await refuses('LP_ABORTED', /stopped/, () => all(long, { signal: AbortSignal.abort() }));
});

test('a signal stops within a batch, and none of an epoch is left to be had', async () => {
  const controller = new AbortController();
  const batch = 256;
  const onReady = () => void setTimeout(() => controller.abort(), 200);
  const seconds = {
    ...{ data: { train: patterns({ perClass: batch / 4, size: 32 }) }, model: { kind: 'resnet18' }, loss: { kind: 'hinge' } },
    ...{ optimizer: {}, epochs: 1, batch, threads: 1, collapseEvery: 0 },
  };
  await refuses('LP_ABORTED', /stopped/, () => all(seconds, { signal: controller.signal, onReady }));
});

for (const how of ['process', 'worker', 'process of a worker']) {
  test(`the ${how} may end in the middle of training`, async () => {
    const child = fileURLToPath(new URL('children/exit.js', import.meta.url));
    const { code, signal, stderr } = await startNode([child, how]).ended;
    assert.is(code, 7, `${signal} ${stderr}`);
  });
}

test('checkpoints of another architecture, configuration or of none are refused', async () => {
  await inFolder(async (folder) => {
    const file = join(folder, 'checkpoint.safetensors');
    for await (const epoch of train(small)) {
      await epoch.save(file);
      if (epoch.epoch === 1) break;
    }
    const resume = (change, from = file) => all({ ...small, ...change }, { resume: from });
    await refuses('LP_FILE', /another architecture/, () => resume({ model: { kind: 'mlp', widths: [32, 17] } }));
    await refuses('LP_CONFIG', /config\.seed is not that/, () => resume({ seed: 3 }));
    await refuses('LP_CONFIG', /classes of 24, 24/, () => resume({ data: { ...data, train: patterns({ perClass: 23 }) } }));
    await refuses('LP_FILE', /does not exist|cannot be/, () => resume({}, join(folder, 'none.safetensors')));
    const { tensors, metadata } = await readSafetensors(file);
    await writeSafetensors(join(folder, 'plain.safetensors'), tensors);
    await refuses('LP_FILE', /no checkpoint of a training/, () => resume({}, join(folder, 'plain.safetensors')));
    const { 'model.prototypes': _, ...rest } = tensors;
    await writeSafetensors(join(folder, 'less.safetensors'), rest, metadata);
    await refuses('LP_FILE', /another architecture: model\.prototypes is missing/, () =>
      resume({}, join(folder, 'less.safetensors')),
    );
    const bytes = await readFile(file);
    await writeFile(join(folder, 'short.safetensors'), bytes.subarray(0, bytes.length - 7));
    await refuses('LP_FILE', /short/, () => resume({}, join(folder, 'short.safetensors')));
  });
});

test('a run goes on as it began: each option by itself, changed, is refused', async () => {
  await inFolder(async (folder) => {
    const file = join(folder, 'checkpoint.safetensors');
    const config = {
      ...{
        data: { train: data.train, test: data.test, augmentation: { flip: true } },
        model: mlp,
        loss: { kind: 'cross-entropy' },
      },
      ...{ optimizer: { learningRate: 0.05, momentum: 0.5, nesterov: true, weightDecay: 1e-3 }, epochs: 2, batch: 16 },
    };
    for await (const epoch of train(config)) {
      await epoch.save(file);
      if (epoch.epoch === 1) break;
    }
    const resume = (change) => all({ ...config, ...change }, { resume: file });
    const optimizer = (change) => ({ optimizer: { ...config.optimizer, ...change } });
    const images = (change) => ({ data: { ...config.data, ...change } });
    const changes = [
      ...[
        { loss: { kind: 'cross-entropy', labelSmoothing: 0.1 } },
        { reweighting: { beta: 0.9 } },
        { regularization: { weight: 1e-4 } },
      ],
      ...[{ rescaled: true }, { batch: 15 }, { accumulate: 2 }, { ema: 0.5 }, { seed: 1 }, { precision: 'bfloat16' }],
      ...[{ channelsLast: false }, { tf32: false }],
      ...[optimizer({ learningRate: 0.06 }), optimizer({ momentum: 0.6 }), optimizer({ nesterov: false })],
      ...[optimizer({ weightDecay: 1e-4 }), optimizer({ learningRate: { kind: 'constant', value: 0.05 } })],
      ...[images({ augmentation: {} }), images({ augmentation: { flip: true, mixup: 0.1 } })],
      ...[
        images({ normalization: { mean: [0, 0, 0], std: [1, 1, 1] } }),
        images({ train: { ...data.train, source: 'other patterns' } }),
      ],
      images({ test: { ...data.test, source: 'other patterns' } }),
    ];
    for (const change of changes) {
      const [key] = Object.keys(change);
      await refuses('LP_CONFIG', new RegExp(`^config\\.${key} is not that of .*goes on with the configuration`), () =>
        resume(change),
      );
    }
    await refuses('LP_CONFIG', /is not that of/, () => resume({ tf32: undefined, seed: 0 })); // given where it was not
    await refuses('LP_FILE', /another architecture: its model is/, () => resume({ model: { ...mlp, head: { relu: false } } }));
    // What may differ: how far it goes, where it runs and what is watched.
    for (const change of [{ epochs: 3 }, { device: 'cpu' }, { threads: 1 }, { collapseEvery: 2 }, { tensorboard: true }]) {
      assert.is((await resume(change)).at(-1).epoch, change.epochs ?? 2, JSON.stringify(change));
    }
    const done = join(folder, 'done.safetensors');
    for await (const epoch of train({ ...config, epochs: 3 })) await epoch.save(done);
    await refuses('LP_CONFIG', /config\.epochs is 2, but .* has done 3/, () => all(config, { resume: done }));
  });
});

test('images may have moved when a run goes on; which they are may not have changed', async () => {
  await inFolder(async (folder) => {
    const [here, there] = ['here', 'there'].map((name) => join(folder, name));
    for (const path of [here, there]) {
      await mkdir(path);
      await idxFiles(path);
    }
    const file = join(folder, 'checkpoint.safetensors');
    const source = { kind: 'idx', path: here, verify: false, labelNoise: { share: 0.1 } };
    const config = { data: source, model: mlp, loss: { kind: 'mse' }, epochs: 2, batch: 32 };
    for await (const epoch of train(config)) {
      await epoch.save(file);
      if (epoch.epoch === 1) break;
    }
    const resume = (change) => all({ ...config, data: { ...source, ...change } }, { resume: file });
    assert.is((await resume({ path: there })).length, 1);
    for (const change of [
      { labelNoise: { share: 0.2 } },
      { labelNoise: { share: 0.1, seed: 1 } },
      { test: false },
      { heldOut: ['0'] },
    ]) {
      await refuses('LP_CONFIG', /^config\.data is not that of/, () => resume(change));
    }
  });
});

test('what was not measured stays unmeasured when a run goes on', async () => {
  await inFolder(async (folder) => {
    const config = { ...small, epochs: 4, optimizer: {}, collapseEvery: 3 };
    const file = join(folder, 'checkpoint.safetensors');
    for await (const epoch of train(config)) {
      await epoch.save(file);
      if (epoch.epoch === 2) break;
    }
    let [before, history] = [];
    const onReady = (about) => {
      before = about.history;
    };
    for await (const epoch of train(config, { resume: file, onReady })) history = epoch.history;
    assert.equal(before, history.slice(0, 2));
    assert.equal(
      history.map((row) => row.epoch),
      [1, 2, 3, 4],
    );
    for (const [name, measured] of Object.entries({ nc1: [false, false, true, true], trainLoss: [false, false, true, true] })) {
      assert.equal(
        history.map((row) => Number.isFinite(row[name])),
        measured,
        name,
      );
      assert.equal(
        history.map((row) => Number.isNaN(row[name])),
        measured.map((each) => !each),
        name,
      );
    }
  });
});

test('layerpeel train: columns, checkpoint and arrays; killed at any moment it goes on', async () => {
  await inFolder(async (folder) => {
    await idxFiles(folder);
    const config = {
      data: { kind: 'idx', path: '.', verify: false },
      model: mlp,
      loss: { kind: 'cross-entropy' },
      optimizer: { learningRate: 0.05 },
      epochs: 300,
      batch: 16,
    };
    const path = join(folder, 'run.json');
    await writeFile(path, JSON.stringify(config));
    const [killed, whole] = ['killed', 'whole'].map((name) => join(folder, name));
    const { child, ended } = start(['train', path, '--out', killed]);
    for (let tries = 0; tries < 1000; tries++) {
      if (
        await access(join(killed, 'checkpoint.safetensors')).then(
          () => true,
          () => false,
        )
      )
        break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    child.kill('SIGKILL');
    await ended;
    const { metadata } = await readSafetensors(join(killed, 'checkpoint.safetensors'));
    const reached = JSON.parse(metadata.progress).epochs;
    assert.ok(reached >= 1 && reached < 300, `${reached} epochs`);
    await writeFile(path, JSON.stringify({ ...config, epochs: reached + 3 }));
    const resumed = await run(['train', path, '--resume', killed, '--out', killed, '--json']);
    assert.is(resumed.code, 0, resumed.stderr);
    const straight = await run(['train', path, '--out', whole, '--json']);
    assert.is(straight.code, 0, straight.stderr);
    const [a, b] = await Promise.all([killed, whole].map((at) => readSafetensors(join(at, 'checkpoint.safetensors'))));
    assert.equal(a.tensors, b.tensors);
    const rows = (await readFile(join(killed, 'metrics.csv'), 'utf8')).trim().split('\r\n');
    assert.is(rows.length, 1 + reached + 3);
    assert.match(rows[0], /^epoch,loss,accuracy,learningRate,testLoss,testAccuracy,.*nc1,/);
    const evaluated = await run(['evaluate', whole, '--json', '--out', join(folder, 'evaluated')]);
    assert.is(evaluated.code, 0, evaluated.stderr);
    // Of a run that is complete nothing is left to do; one that was killed after its last checkpoint is finished.
    const again = await run(['train', path, '--resume', whole, '--out', whole]);
    assert.is(again.code, 0, again.stderr);
    assert.match(again.stdout, /is complete; nothing is left to do/);
    const statusOf = async () => JSON.parse(await readFile(join(whole, 'run.json'), 'utf8'));
    const complete = await statusOf();
    assert.is(complete.status, 'complete');
    const kept = await readdir(join(whole, 'arrays'));
    const logits = await readFile(join(whole, 'arrays/logits.npy'));
    await rm(join(whole, 'arrays'), { recursive: true });
    await writeFile(join(whole, 'run.json'), JSON.stringify({ ...complete, status: 'running' }));
    const finished = await run(['train', path, '--resume', whole, '--out', whole]);
    assert.is(finished.code, 0, finished.stderr);
    assert.is((await statusOf()).status, 'complete');
    assert.equal((await readdir(join(whole, 'arrays'))).sort(), kept.sort());
    assert.equal(await readFile(join(whole, 'arrays/logits.npy')), logits);
    assert.equal((await readFile(join(whole, 'metrics.csv'), 'utf8')).trim().split('\r\n').length, rows.length);
    // In another folder too, and nothing is overwritten unasked.
    assert.is((await run(['train', path, '--resume', whole, '--out', join(folder, 'copy')])).code, 0);
    assert.equal(await readFile(join(folder, 'copy', 'arrays/logits.npy')), logits);
    assert.match((await run(['train', path, '--out', whole])).stderr, /holds a finished run .*--force/);
  });
});

test('a last batch of one sample on maps of one pixel is refused before training', async () => {
  const set = (count, size) => patterns({ classes: 3, counts: [count - 2, 1, 1], size });
  const single = async (model, count, size, batch, head = {}) => {
    const config = {
      data: { train: set(count, size) },
      model: { ...model, head },
      loss: { kind: 'cross-entropy' },
      batch,
      epochs: 1,
    };
    await train({ ...config, threads: 1, optimizer: { learningRate: 0.01 } }).next();
  };
  for (const [model, count, size, batch, head] of [
    [{ kind: 'resnet20' }, 33, 4, 32],
    [{ kind: 'resnet20' }, 6, 4, 1],
    [{ kind: 'resnet18' }, 33, 8, 16],
    [{ kind: 'resnet18', stem: 'imagenet' }, 33, 32, 32],
    [{ kind: 'vgg13' }, 5, 16, 4],
    [{ kind: 'densenet', depth: 10 }, 5, 7, 4],
    [{ kind: 'mlp', widths: [8] }, 5, 8, 4, { batchNorm: true }],
    [{ kind: 'mlp', widths: [8] }, 5, 8, 1, { batchNorm: true }],
  ]) {
    await refuses('LP_CONFIG', /single sample .* has no variance/, () => single(model, count, size, batch, head));
  }
  // Maps of more pixels, or batches of more samples, train.
  await single({ kind: 'resnet20' }, 5, 5, 4);
  await single({ kind: 'vgg13' }, 5, 17, 4);
  await single({ kind: 'densenet', depth: 10 }, 5, 8, 4);
  await single({ kind: 'resnet20' }, 6, 4, 4);
  await single({ kind: 'mlp', widths: [8] }, 5, 8, 1);
});

test.run();
