// Every column that training reports and every file that it leaves, against numbers computed here: the network from its
// checkpoint, losses and norms by hand, collapse by `collapse`, and the command line against the function.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { collapseMeasures, collapseSync, loadImages, matmulSync, readNpy, readSafetensors, selectImages } from 'layerpeel';
import { train } from 'layerpeel/torch';
import * as assert from 'uvu/assert';
import { run } from '../cli/run.js';
import { distance, inFolder } from '../helpers.js';
import { idxFiles, patterns } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('columns of training');

const sum = (values) => values.reduce((total, value) => total + value, 0);
const near = (found, wanted, tolerance, name) =>
  assert.ok(Math.abs(found - wanted) <= tolerance * Math.max(1, Math.abs(wanted)), `${name} is ${found}, not ${wanted}`);

/** Mean and standard deviation of the pixels over 255 of each channel. */
function statistics({ images, shape }) {
  return Array.from({ length: shape[3] }, (_, c) => {
    const own = Array.from(
      images.filter((_, k) => k % shape[3] === c),
      (value) => value / 255,
    );
    const mean = sum(own) / own.length;
    return { mean, std: Math.sqrt(sum(own.map((value) => (value - mean) ** 2)) / own.length) };
  });
}

/** Features and logits of a perceptron of two layers, from a checkpoint. */
function perceptron(tensors, kind, { images, shape }, moments) {
  const get = (name) => tensors[`${kind}.${name}`];
  const layers = ['network.layer1', 'network.layer2'].map((name) => [get(`${name}.weight`), get(`${name}.bias`)]);
  const [pixels, channels] = [shape[1] * shape[2], shape[3]];
  const rows = Array.from({ length: shape[0] }, (_, i) => {
    let x = moments.flatMap(({ mean, std }, c) =>
      Array.from({ length: pixels }, (_, k) => (images[(i * pixels + k) * channels + c] / 255 - mean) / std),
    );
    for (const [weight, bias] of layers) {
      const [outs, ins] = weight.shape;
      x = Array.from({ length: outs }, (_, o) =>
        Math.max(0, sum(x.map((value, j) => value * weight.data[o * ins + j])) + bias.data[o]),
      );
    }
    return x;
  });
  const w = get('prototypes');
  const b = get('biases')?.data ?? new Float32Array(w.shape[0]);
  const z = rows.map((h) => Array.from(b, (bias, c) => bias + sum(h.map((value, j) => value * w.data[c * h.length + j]))));
  return { features: rows, logits: z };
}

const crossEntropy = (z, y) => Math.log(sum(z.map((value) => Math.exp(value - Math.max(...z))))) + Math.max(...z) - z[y];
const lossOf = (z, labels, weights) =>
  sum(z.map((row, i) => (weights?.[labels[i]] ?? 1) * crossEntropy(row, labels[i]))) /
  sum(z.map((_, i) => weights?.[labels[i]] ?? 1));
const accuracyOf = (z, labels) => z.filter((row, i) => row.indexOf(Math.max(...row)) === labels[i]).length / z.length;

const dot = (a, b) => sum(a.map((value, k) => value * b[k]));
const centred = (rows) => rows.map((row) => row.map((value, k) => value - sum(rows.map((other) => other[k])) / rows.length));

/** arccos of the largest cosine between two rows, in degrees (UL Fig. 19e). */
function smallestAngle(rows) {
  const cosines = rows.flatMap((a, c) => rows.slice(0, c).map((b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))));
  return (Math.acos(Math.max(...cosines)) * 180) / Math.PI;
}

test('every column of every epoch, of splits beyond one pass of the network', async () => {
  const data = {
    train: patterns({ classes: 3, counts: [2600, 1500, 400], size: 2, noise: 90 }),
    test: patterns({ classes: 3, perClass: 1390, size: 2, noise: 90, seed: 1 }),
    augmentation: { mixup: 0.4, flip: true, padding: 1 },
  };
  const config = {
    ...{ data, model: { kind: 'mlp', widths: [7, 5] }, loss: { kind: 'cross-entropy' }, regularization: { weight: 1e-4 } },
    ...{ reweighting: { beta: 0.99, from: 1 }, epochs: 2, batch: 100, ema: 0.9, optimizer: { learningRate: 0.02 } },
  };
  const raw = [2600, 1500, 400].map((count) => 0.01 / (1 - 0.99 ** count));
  const weights = raw.map((weight) => (3 * weight) / sum(raw));
  const normalization = statistics(data.train);
  await inFolder(async (folder) => {
    const path = join(folder, 'state.safetensors');
    for await (const epoch of train(config)) {
      await epoch.save(path);
      const { tensors } = await readSafetensors(path);
      const of = epoch.epoch === 1 ? undefined : weights;
      const { measures } = epoch;
      const parts = {};
      for (const split of ['train', 'test']) {
        const { features, logits } = perceptron(tensors, 'average', data[split], normalization);
        const found = await epoch.output(split);
        assert.equal(found.features.shape, [data[split].labels.length, 5]);
        assert.ok(distance(found.features.data, features.flat()) < 1e-4, `features of ${split}`);
        assert.ok(distance(found.logits.data, logits.flat()) < 1e-4, `logits of ${split}`);
        assert.equal(found.labels, data[split].labels);
        near(found.loss, lossOf(logits, found.labels, of), 1e-5, `loss of ${split}`);
        parts[split] = { features, logits, labels: found.labels };
      }
      near(measures.testLoss, lossOf(parts.test.logits, parts.test.labels, of), 1e-5, 'testLoss');
      near(measures.testAccuracy, accuracyOf(parts.test.logits, parts.test.labels), 1e-3, 'testAccuracy');
      near(measures.trainLoss, lossOf(parts.train.logits, parts.train.labels, of), 1e-5, 'trainLoss');
      near(measures.trainAccuracy, accuracyOf(parts.train.logits, parts.train.labels), 1e-3, 'trainAccuracy');
      const { prototypes, biases } = await epoch.classifier();
      assert.equal(prototypes, tensors['average.prototypes']);
      assert.equal(biases, tensors['average.biases']);
      const { features, labels } = await epoch.output('train');
      const collapse = collapseSync({ features, labels, prototypes, biases });
      for (const name of Object.keys(collapseMeasures)) {
        if (name === 'accuracy') continue;
        assert.is(measures[name], collapse[name], name);
      }
      // Of the test features about the means of the training features.
      const test = await epoch.output('test');
      const reference = collapseSync({ features, labels }, { classMeans: true });
      const about = collapseSync({ features: test.features, labels: test.labels, prototypes, biases }, { reference });
      const rows = ({ data: values }) =>
        Array.from({ length: values.length / 5 }, (_, i) => Array.from(values.subarray(5 * i, 5 * i + 5)));
      const means = rows(reference.classMeans);
      const nearest = rows(test.features).map((h) => {
        const apart = means.map((mean) => sum(mean.map((x, j) => (h[j] - x) ** 2)));
        return apart.indexOf(Math.min(...apart));
      });
      const otherwise = nearest.filter((c, i) => {
        const z = test.logits.data.subarray(3 * i, 3 * i + 3);
        return z.indexOf(Math.max(...z)) !== c;
      });
      near(measures.testNc4, otherwise.length / nearest.length, 1e-3, 'testNc4');
      for (const name of ['nc1', 'nc1Cdnv', 'nc1TraceRatio', 'withinClassVariation']) {
        const column = `test${name.charAt(0).toUpperCase()}${name.slice(1)}`;
        near(measures[column], about[name], 1e-6, column);
        assert.not.equal(measures[column], measures[name], column);
      }
      near(measures.featureNorm, sum(parts.train.features.map((h) => Math.hypot(...h))) / 4500, 1e-5, 'featureNorm');
      const lengths = [0, 1, 2].map((c) => Math.hypot(...prototypes.data.subarray(5 * c, 5 * c + 5)));
      near(measures.smallestPrototypeNorm, Math.min(...lengths), 1e-6, 'smallestPrototypeNorm');
      near(measures.prototypeNormRatio, Math.max(...lengths) / Math.min(...lengths), 1e-6, 'prototypeNormRatio');
      const own = [0, 1, 2].map((c) => Array.from(prototypes.data.subarray(5 * c, 5 * c + 5)));
      near(measures.smallestPrototypeAngle, smallestAngle(own), 1e-6, 'smallestPrototypeAngle');
      near(measures.smallestCenteredPrototypeAngle, smallestAngle(centred(own)), 1e-6, 'smallestCenteredPrototypeAngle');
      near(measures.imagesPerSecond, 4500 / measures.seconds, 1e-12, 'imagesPerSecond');
      assert.ok(measures.secondsCollapse <= measures.secondsMeasuring && measures.waitedForImages <= measures.seconds);
      assert.equal([measures.epoch, measures.learningRate], [epoch.epoch, 0.02]);
      assert.equal(
        Object.keys(measures).sort(),
        [
          ...[
            'accuracy',
            ...Object.keys(collapseMeasures).filter((name) => name !== 'accuracy'),
            'epoch',
            'featureNorm',
            'imagesPerSecond',
          ],
          ...[
            'learningRate',
            'loss',
            'prototypeNormRatio',
            'seconds',
            'secondsCollapse',
            'secondsMeasuring',
            'secondsTheory',
            'smallestCenteredPrototypeAngle',
            'smallestPrototypeAngle',
          ],
          ...['testNc1', 'testNc1Cdnv', 'testNc1TraceRatio', 'testNc4', 'testWithinClassVariation'],
          ...['smallestPrototypeNorm', 'testAccuracy', 'testLoss', 'trainAccuracy', 'trainLoss', 'waitedForImages'],
        ].sort(),
      );
    }
  });
});

test('of equal logits the first decides, in every column', async () => {
  // Images that are their mean, one feature that a ReLU cuts off, no biases: all logits are 0.
  const grey = (counts) => {
    const set = patterns({ classes: 3, counts, size: 2, channels: 1 });
    return { ...set, images: new Uint8Array(set.images.length).fill(51) };
  };
  const data = { train: grey([2, 3, 5]), test: grey([3, 5, 2]), normalization: { mean: [0.2], std: [1] } };
  const model = { kind: 'mlp', widths: [1], classifier: { bias: false } };
  let cut = 0;
  for (let seed = 0; seed < 6; seed++) {
    const config = { data, model, loss: { kind: 'mse' }, optimizer: { learningRate: 0 }, epochs: 1, seed };
    for await (const { measures, output } of train(config)) {
      if ((await output('train')).features.data.some((value) => value !== 0)) continue;
      cut++;
      const { accuracy, trainAccuracy, testAccuracy } = measures;
      assert.ok(distance([accuracy, trainAccuracy, testAccuracy], [0.2, 0.2, 0.3]) < 1e-6);
    }
  }
  assert.ok(cut > 0);
});

test('a channel that never changes is only shifted', async () => {
  const set = patterns({ size: 2, perClass: 4 });
  for (let k = 0; k < set.images.length; k += 3) set.images[k] = 102;
  await inFolder(async (folder) => {
    const path = join(folder, 'state.safetensors');
    const config = { data: { train: set }, model: { kind: 'mlp', widths: [4, 3] }, loss: { kind: 'mse' }, epochs: 1 };
    for await (const epoch of train(config)) {
      await epoch.save(path);
      const { tensors } = await readSafetensors(path);
      const [, ...others] = statistics(set);
      const { features } = perceptron(tensors, 'model', set, [{ mean: 0.4, std: 1 }, ...others]);
      assert.ok(distance((await epoch.output('train')).features.data, features.flat()) < 1e-5);
    }
  });
});

test("a cosine classifier's prototypes are those that enter the logits", async () => {
  const config = {
    ...{ data: { train: patterns({ size: 2, perClass: 4 }) }, model: { kind: 'mlp', widths: [4] } },
    ...{ loss: { kind: 'ldam', scale: 5 }, epochs: 1 },
  };
  for await (const epoch of train(config)) {
    const { features, logits } = await epoch.output('train');
    const { prototypes, biases } = await epoch.classifier();
    assert.is(biases, undefined);
    for (let c = 0; c < 4; c++) assert.ok(Math.abs(Math.hypot(...prototypes.data.subarray(4 * c, 4 * c + 4)) - 1) < 1e-6);
    const { data } = matmulSync(features, prototypes, { transposeB: true });
    assert.ok(distance(logits.data, data) < 1e-5);
  }
});

test('a test set is numbered as the training set is, whatever of its classes it has', async () => {
  await inFolder(async (folder) => {
    const set = patterns({ channels: 1 });
    const kept = Array.from(set.labels.keys()).filter((i) => set.labels[i] !== 3);
    const images = Uint8Array.from(kept.flatMap((i) => Array.from(set.images.subarray(64 * i, 64 * i + 64))));
    const labels = set.labels.filter((label) => label !== 3);
    await idxFiles(folder, { t10k: { ...set, images, labels, shape: [kept.length, 8, 8, 1] } });
    const data = { kind: 'idx', path: folder, verify: false };
    for await (const epoch of train({ data, model: { kind: 'mlp', widths: [4] }, loss: { kind: 'mse' }, epochs: 1 })) {
      assert.equal((await epoch.output('test')).logits.shape, [72, 4]);
      assert.is((await epoch.output('train')).labels.length, 96);
    }
  });
});

test('warm-up and milestones count epochs', async () => {
  const data = { train: patterns({ perClass: 5 }) };
  const base = { data, model: { kind: 'mlp', widths: [4] }, loss: { kind: 'mse' }, collapseEvery: 0, batch: 6 };
  for (const [learningRate, wanted] of [
    [{ kind: 'constant', value: 0.1, warmup: 2 }, [0.05, 0.1, 0.1]],
    [{ kind: 'steps', value: 0.1, milestones: [1, 2], factor: 0.1 }, [0.1, 0.01, 0.001]],
    [0.03, [0.03, 0.03, 0.03]],
  ]) {
    const rates = [];
    for await (const { measures } of train({ ...base, epochs: 3, optimizer: { learningRate } })) rates.push(measures.learningRate);
    assert.ok(distance(rates, wanted) < 1e-15, rates.join(', '));
  }
});

test('a run folder: columns, arrays and the theory are those of the function, of the selection that was asked for', async () => {
  await inFolder(async (folder) => {
    await idxFiles(folder);
    const selection = {
      heldOut: ['1'],
      imbalance: { kind: 'long-tailed', ratio: 4, largest: 20, seed: 3 },
      labelNoise: { share: 0.1, seed: 5 },
    };
    const rest = {
      ...{ model: { kind: 'mlp', widths: [12, 6] }, loss: { kind: 'cross-entropy' }, optimizer: { learningRate: 0.05 } },
      ...{ epochs: 3, batch: 16, collapseEvery: 2, seed: 2 },
    };
    const config = { data: { kind: 'idx', path: '.', verify: false, ...selection }, ...rest };
    await writeFile(join(folder, 'run.json'), JSON.stringify(config));
    const ran = await run(['train', join(folder, 'run.json'), '--out', join(folder, 'run'), '--json']);
    assert.is(ran.code, 0, ran.stderr);

    const source = { kind: 'idx', path: folder, verify: false };
    const { images: set } = selectImages(await loadImages(source), selection);
    const tested = selectImages(await loadImages({ ...source, split: 'test' }), { heldOut: ['1'] });
    const { images: testSet, heldOut } = tested;
    // n_c = ⌊20 · 4^(−c/2)⌋ of the three classes that are left.
    assert.equal(
      [set, testSet, heldOut].map(({ labels }) => labels.length),
      [20 + 10 + 5, 72, 24],
    );
    let last;
    const rows = [];
    for await (const epoch of train({ data: { train: set, test: testSet }, ...rest })) {
      rows.push(epoch.measures);
      last = {
        ...{ train: await epoch.output('train'), test: await epoch.output('test'), classifier: await epoch.classifier() },
        ...{ theory: await epoch.theory(), counts: epoch.counts },
      };
    }
    const columnsOf = async (name) => {
      const [head, ...lines] = (await readFile(join(folder, 'run', name), 'utf8')).trim().split('\r\n');
      return Object.fromEntries(head.split(',').map((key, i) => [key, lines.map((line) => Number(line.split(',')[i]))]));
    };
    const columns = await columnsOf('metrics.csv');
    assert.equal(Object.keys(columns), Object.keys(rows[0]));
    for (const [name, values] of Object.entries(columns)) {
      if (/^(seconds|waited|images)/.test(name)) continue;
      assert.equal(
        values,
        rows.map((row) => row[name]),
        name,
      );
    }
    assert.equal(columns.nc1.map(Number.isNaN), [true, false, false]); // every second, and the last
    const { zeta, measured, predicted } = last.theory;
    assert.equal(await columnsOf('theory.csv'), { epoch: [0, 1, 2, 3], zeta, measured, predicted });
    near(zeta[3], 3 * 3 * 0.05, 1e-12, 'ζ'); // three steps an epoch

    const array = (name) => readNpy(join(folder, 'run/arrays', `${name}.npy`));
    assert.equal(await array('features'), last.test.features);
    assert.equal(await array('logits'), last.test.logits);
    assert.equal((await array('labels')).data, testSet.labels);
    assert.equal(await array('prototypes'), last.classifier.prototypes);
    assert.equal(await array('biases'), last.classifier.biases);
    assert.equal((await array('counts')).data, last.counts);
    assert.is(sum(Array.from(last.counts)), 35);
    const mean = Array.from(
      { length: 6 },
      (_, k) => sum(Array.from({ length: 35 }, (_, i) => last.train.features.data[6 * i + k])) / 35,
    );
    assert.ok(distance((await array('feature-mean')).data, mean) < 1e-5);
    const { tensors } = await readSafetensors(join(folder, 'run/checkpoint.safetensors'));
    const outside = perceptron(tensors, 'model', heldOut, statistics(set));
    assert.ok(distance((await array('ood-features')).data, outside.features.flat()) < 1e-4);
    assert.ok(distance((await array('ood-logits')).data, outside.logits.flat()) < 1e-4);
    assert.is((await readdir(join(folder, 'run/arrays'))).filter((name) => !name.startsWith('class-')).length, 9);
  });
});

test.run();
