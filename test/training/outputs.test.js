// What a trained network makes of any images, from its checkpoint: what training itself saw of them, and files of it.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { evaluate, fitImages, matmulSync, readNpy, readSafetensors, writeSafetensors } from 'layerpeel';
import { outputs, readNetwork, train } from 'layerpeel/torch';
import * as assert from 'uvu/assert';
import { run } from '../cli/run.js';
import { withFolder } from '../data/formats.js';
import { refuses } from '../helpers.js';
import { imageFiles, patterns } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('outputs');

const images = patterns({ seed: 1 });
const config = {
  data: { train: patterns(), test: images },
  model: { kind: 'mlp', widths: [32, 16] },
  loss: { kind: 'cross-entropy' },
  ...{ optimizer: { learningRate: 0.05 }, epochs: 2, batch: 16, threads: 1, collapseEvery: 0 },
};
const kinds = {
  'convolutions, and a classifier with biases': { model: { kind: 'resnet20' } },
  'averaged weights': { ema: 0.8 },
  'directions against directions': {
    model: { ...config.model, head: { normalize: true, scale: 4 } },
    loss: { kind: 'dot-regression' },
  },
};

/** Trains, and gives what it saw of the test images, with the checkpoint. */
async function trained(path, more) {
  let seen;
  for await (const epoch of train({ ...config, ...more })) {
    seen = { ...(await epoch.output('test')), ...(await epoch.classifier()) };
    await epoch.save(join(path, 'checkpoint.safetensors'));
  }
  return seen;
}

/** The parts as whole arrays. */
async function whole(checkpoint, set, options) {
  const parts = [];
  for await (const part of outputs(checkpoint, set, options)) {
    assert.is(
      part.first,
      parts.reduce((sum, { features }) => sum + features.shape[0], 0),
    );
    parts.push(part);
  }
  const of = (name) => parts.flatMap((part) => [...part[name].data]);
  return { features: of('features'), logits: of('logits'), parts };
}

const close = (got, expected, within = 1e-4) => {
  assert.is(got.length, expected.length);
  const size = Math.max(...expected.map(Math.abs));
  for (const [i, value] of expected.entries()) assert.ok(Math.abs(got[i] - value) <= within * size, `${i}: ${got[i]}, ${value}`);
};

for (const [name, more] of Object.entries(kinds)) {
  test(`${name}: what training saw of the test images, whatever the parts`, () =>
    withFolder({}, async (path) => {
      const seen = await trained(path, more);
      const { features, logits, parts } = await whole(path, images);
      assert.equal(features, [...seen.features.data]);
      assert.equal(logits, [...seen.logits.data]);
      const [{ prototypes, biases }] = parts;
      assert.equal(prototypes, seen.prototypes);
      assert.equal(biases, seen.biases);
      const product = matmulSync(seen.features, prototypes, { transposeB: true }).data;
      close(
        logits,
        [...product].map((z, i) => z + (biases?.data[i % 4] ?? 0)),
      );
      const some = await whole(join(path, 'checkpoint.safetensors'), images, { part: 7 });
      assert.is(some.parts.length, Math.ceil(96 / 7));
      close(some.logits, logits);
    }));
}

test('a checkpoint says what its network is; other images are refused, or made to fit', () =>
  withFolder({}, async (path) => {
    await trained(path, { epochs: 1 });
    const network = await readNetwork(path);
    assert.equal(
      { ...network, counts: [...network.counts] },
      {
        ...{ file: join(path, 'checkpoint.safetensors'), epochs: 1, classes: images.classes, counts: [24, 24, 24, 24] },
        images: { height: 8, width: 8, channels: 3 },
      },
    );
    // Of other classes than the network's, and more of them.
    const others = patterns({ classes: 7, size: 12, channels: 1, perClass: 2 });
    await refuses('LP_SHAPE', /12×12×1, those of the network 8×8×3 .*fitImages/, () => whole(path, others));
    const { logits } = await whole(path, await fitImages(others, network.images));
    assert.is(logits.length, 14 * 4);
    assert.ok(logits.every(Number.isFinite));
    await refuses('LP_OPTION', /options\.part is 0/, () => whole(path, images, { part: 0 }));
    await refuses('LP_ABORTED', /./, () => whole(path, images, { signal: AbortSignal.abort() }));
    await refuses('LP_FILE', /nowhere/, () => whole(join(path, 'nowhere'), images));

    const file = join(path, 'checkpoint.safetensors');
    const { tensors, metadata } = await readSafetensors(file);
    const { normalization: _, ...older } = JSON.parse(metadata.progress);
    await writeSafetensors(file, tensors, { ...metadata, progress: JSON.stringify(older) });
    await refuses('LP_FILE', /does not say what images its network takes; .*--resume/, () => readNetwork(path));
  }));

test('sets out of distribution are given to the network at every epoch, made to fit', () =>
  withFolder({}, async (path) => {
    const grey = patterns({ classes: 7, size: 12, channels: 1, perClass: 2 });
    const data = { ...config.data, outOfDistribution: [{ name: 'grey', set: grey }] };
    for await (const epoch of train({ ...config, data, epochs: 1 })) {
      assert.equal(epoch.splits, ['train', 'test', 'ood:grey']);
      await epoch.save(join(path, 'checkpoint.safetensors'));
      const { logits, features } = await epoch.output('ood:grey');
      const seen = await whole(path, await fitImages(grey, { height: 8, width: 8, channels: 3 }));
      assert.equal([...logits.data], seen.logits);
      assert.equal([...features.data], seen.features);
      await refuses('LP_OPTION', /no ood:other images/, () => epoch.output('ood:other'));
    }
    // What else is looked at may differ when a run goes on.
    const more = train({ ...config, epochs: 1 }, { resume: path });
    assert.is((await more.next()).value.epoch, 1);
    await more.return();
    for (const [outOfDistribution, pattern] of [
      [[{ name: 'a' }], /data\.outOfDistribution\[0\]\.kind/],
      [[{ name: 'a/b', set: grey }], /outOfDistribution\[0\]\.name is "a\/b"; expected letters/],
      [
        [
          { name: 'a', set: grey },
          { name: 'a', set: grey },
        ],
        /the name of another set/,
      ],
      [[{ name: 'a', set: grey, distance: 'close' }], /distance is "close"; expected one of 'near', 'far'/],
      [[{ name: 'a', set: grey, path: 'x' }], /outOfDistribution\[0\]\.path/],
      [[{ name: 'a', set: { ...grey, labels: new Int32Array(1) } }], /outOfDistribution\[0\]\.set has 1 labels/],
      [{}, /outOfDistribution is/],
    ]) {
      let thrown;
      await train({ ...config, data: { ...config.data, outOfDistribution } })
        .next()
        .catch((error) => {
          thrown = error;
        });
      assert.match(String(thrown?.message), pattern);
    }
  }));

test('several splits are one training set', () =>
  withFolder({}, async (path) => {
    for (const [split, seed] of [
      ['train', 0],
      ['extra', 5],
      ['test', 1],
    ])
      await imageFiles(join(path, split), patterns({ seed, perClass: 3 }));
    const counts = async (split) => {
      const run = train({ ...config, data: { kind: 'folder', path, split, cache: false }, epochs: 1 });
      const { value } = await run.next();
      await run.return();
      return [...value.counts];
    };
    assert.equal(await counts(['train', 'extra']), [6, 6, 6, 6]);
    assert.equal(await counts('extra'), [3, 3, 3, 3]);
    await refuses('LP_CONFIG', /data\.split names a split twice/, () => counts(['train', 'train']));
    await refuses('LP_CONFIG', /data\.split names no split/, () => counts([]));
    await refuses('LP_CONFIG', /data\.split/, () => counts(['train', 5]));
  }));

test('layerpeel predict: arrays and predictions of a folder, which evaluate takes; sets out of distribution by their images', () =>
  withFolder({}, async (path) => {
    const set = patterns({ seed: 1, perClass: 5 });
    await imageFiles(join(path, 'train'), patterns());
    await imageFiles(join(path, 'test'), set);
    await imageFiles(join(path, 'other'), patterns({ seed: 3, classes: 1, size: 9 }), { flat: true });
    const outOfDistribution = [{ name: 'other', distance: 'far', kind: 'folder', path: 'other', split: false, cache: false }];
    const file = { ...config, data: { kind: 'folder', path: '.', outOfDistribution }, epochs: 3 };
    await writeFile(join(path, 'run.json'), JSON.stringify(file));
    const at = { cwd: path };
    assert.is((await run(['train', 'run.json', '--out', 'run'], at)).code, 0);

    const { code, stdout, stderr } = await run(['predict', 'run', '--images', 'test', '--out', 'seen', '--json'], at);
    assert.is(code, 0, stderr);
    const array = (run, name) => readNpy(join(path, run, `arrays/${name}.npy`));
    for (const name of ['features', 'logits', 'labels', 'prototypes', 'biases', 'counts'])
      assert.equal(await array('seen', name), await array('run', name), name);
    assert.equal(JSON.parse(await readFile(join(path, 'run/classes.json'), 'utf8')), set.classes);
    const logits = await array('run', 'logits');
    const { data: predicted } = await array('seen', 'predicted');
    const labels = (await array('run', 'labels')).data;
    const rows = (await readFile(join(path, 'seen/predictions.csv'), 'utf8')).trim().split('\r\n');
    assert.is(rows.shift(), 'image,predicted,confidence,label');
    for (let i = 0; i < 20; i++) {
      const z = [...logits.data.subarray(4 * i, 4 * i + 4)];
      const best = z.indexOf(Math.max(...z));
      assert.is(predicted[i], best);
      const [number, name, confidence, label] = rows[i].split(',');
      assert.equal([Number(number), name, label], [i, set.classes[best], set.classes[labels[i]]]);
      const share = Math.exp(z[best]) / z.reduce((sum, value) => sum + Math.exp(value), 0);
      assert.ok(Math.abs(Number(confidence) - share) < 1e-6);
    }
    assert.is(JSON.parse(stdout).accuracy, [...predicted].filter((c, i) => c === labels[i]).length / 20);

    // One folder of images is one class, of which the network knows nothing.
    assert.is((await run(['predict', 'run', '--images', 'other', '--out', 'apart'], at)).code, 0);
    assert.equal((await array('apart', 'logits')).shape, [24, 4]);
    assert.is(await array('apart', 'labels').catch(({ code }) => code), 'LP_FILE');

    const evaluated = async (...more) =>
      JSON.parse((await run(['evaluate', 'run', '--json', ...more], at)).stdout).outOfDistributionSets;
    const byArrays = ['--ood-logits', 'far:other=apart/arrays/logits.npy', '--ood-features', 'other=apart/arrays/features.npy'];
    const sets = await evaluated('--out', 'a');
    assert.is(sets.other.distance, 'far');
    assert.equal(await evaluated('--ood-images', 'far:other=other', '--out', 'b'), sets);
    assert.equal(await evaluated(...byArrays, '--out', 'c'), sets);
    // In a folder of its own, from elsewhere: paths are the configuration's.
    assert.equal((await evaluate(join(path, 'run'), { resamples: 0 })).outOfDistributionSets.other.distance, 'far');
    for (const [args, pattern] of [
      [['evaluate', 'run/arrays/logits.npy', '--labels', 'run/arrays/labels.npy', '--ood-images', 'other'], /needs RUN/],
      [['evaluate', 'run', '--ood-images', 'a=other', '--ood-logits', 'a=x.npy'], /the set a twice/],
      [['predict', 'run'], /--images is missing/],
    ]) {
      const refused = await run(args, at);
      assert.is(refused.code, 2);
      assert.match(refused.stderr, pattern);
    }
    const nowhere = await run(['predict', 'run', '--images', 'nowhere', '--out', 'none'], at);
    assert.is(nowhere.code, 1);
    assert.match(nowhere.stderr, /nowhere/);
  }));

test.run();
