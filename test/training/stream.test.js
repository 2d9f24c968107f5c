// Images that stay in their files: training and evaluation as in memory, to the bit; resumed; beyond memory; and what cannot be read.
import { link, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadImages, readSafetensors, streamImages } from 'layerpeel';
import { outputs, train } from 'layerpeel/torch';
import sharp from 'sharp';
import * as assert from 'uvu/assert';
import { inFolder, refuses } from '../helpers.js';
import { startNode } from '../process.js';
import { imageFiles, patterns } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('images in files');

/** Training and test images of four classes, and others, as files. */
const withImages = (body, options = {}) =>
  inFolder(async (path) => {
    await imageFiles(join(path, 'train'), patterns({ perClass: 10, ...options }));
    await imageFiles(join(path, 'test'), patterns({ perClass: 3, seed: 1, ...options }));
    await imageFiles(join(path, 'other'), patterns({ perClass: 2, seed: 2, ...options }), { flat: true });
    return body(path);
  });

const configOf = (path, data = {}, more = {}) => ({
  data: {
    ...{ kind: 'folder', path, cache: false, augmentation: { padding: 1, flip: true, mixup: 0.2 } },
    heldOut: ['class 3'],
    outOfDistribution: [
      { name: 'other', kind: 'folder', path: join(path, 'other'), split: false, cache: false, stream: data.stream ?? false },
    ],
    ...data,
  },
  model: { kind: 'mlp', widths: [16, 8], head: { batchNorm: true } },
  loss: { kind: 'cross-entropy' },
  reweighting: { beta: 0.9 },
  optimizer: { learningRate: 0.05, nesterov: true },
  epochs: 3,
  batch: 7,
  accumulate: 2,
  ...more,
});

/** Everything that comes of a run, without times: measures of all epochs, the last state, and what the network makes of every split. */
async function outcome(folder, config, options) {
  const file = join(folder, `${Math.random()}.safetensors`);
  let found;
  for await (const epoch of train(config, options)) {
    await epoch.save(file);
    const outputs = {};
    for (const split of epoch.splits) outputs[split] = await epoch.output(split);
    const measures = epoch.history.map((row) =>
      Object.fromEntries(Object.entries(row).filter(([name]) => !/^(seconds|waited|imagesPer)/.test(name))),
    );
    assert.ok(epoch.measures.waitedForImages >= 0 && epoch.measures.waitedForImages < epoch.measures.seconds);
    found = { measures, outputs, tensors: (await readSafetensors(file)).tensors };
  }
  return { ...found, file };
}

function assertSame(a, b) {
  assert.equal(a.measures, b.measures);
  assert.equal(Object.keys(a.outputs), Object.keys(b.outputs));
  assert.equal(a.outputs, b.outputs);
  assert.equal(a.tensors, b.tensors);
}

const crop = { size: [6, 5], resize: 7 };
const ways = {
  whole: [{}, {}],
  'without a mixup, stretched, in steps of one batch': [
    { augmentation: { flip: true }, size: [6, 9] },
    { accumulate: 1, batch: 300 },
  ],
  'cropped at random': [{ augmentation: { resizedCrop: crop, flip: true, mixup: 0.2 }, heldOut: [] }, {}],
};

for (const [name, [data, more]] of Object.entries(ways)) {
  test(`the same bits as in memory, and when resumed: ${name}`, () =>
    withImages(async (path) => {
      const config = (stream, epochs = 3) => configOf(path, { ...data, stream }, { ...more, epochs });
      const inMemory = await outcome(path, config(false));
      const inFiles = await outcome(path, config(true));
      assert.ok(inMemory.measures.length === 3 && inMemory.measures[2].nc1 > 0);
      assertSame(inFiles, inMemory);
      const half = await outcome(path, config(true, 1));
      assertSame(await outcome(path, config(true), { resume: half.file }), inMemory);
      // Where the images are is no part of what a run is.
      assertSame(await outcome(path, config(false), { resume: half.file }), inMemory);
    }));
}

test('a network makes the same of images in their files', () =>
  withImages(async (path) => {
    const { file } = await outcome(path, configOf(path, { stream: true }));
    const all = async (images, options) => {
      const parts = [];
      for await (const { first, features, logits } of outputs(file, images, options)) {
        for (let i = 0; i < features.shape[0]; i++) {
          const row = ({ shape: [, columns], data }) => [...data.subarray(i * columns, (i + 1) * columns)];
          parts[first + i] = [row(features), row(logits)];
        }
      }
      return parts;
    };
    const source = { kind: 'folder', path, split: 'test' };
    const expected = await all(await loadImages(source), { part: 5 });
    assert.is(expected.length, 12);
    assert.equal(await all(await streamImages(source), { part: 5 }), expected);
    const sets = { train: await streamImages({ kind: 'folder', path }), test: await streamImages(source) };
    const given = await outcome(path, configOf(path, {}, { data: sets }));
    assert.is(given.measures.length, 3);
  }));

test('a list to test on, and lists to train on', () =>
  withImages(async (path) => {
    const lines = (folder, set) =>
      [...set.labels].map((label, i) => `${folder}/${set.classes[label]}/${String(i).padStart(3, '0')}.png ${label}\n`).join('');
    await writeFile(join(path, 'LT_train.txt'), lines('train', patterns({ perClass: 10 })));
    await writeFile(join(path, 'LT_test.txt'), lines('test', patterns({ perClass: 3, seed: 1 })));
    const lists = { kind: 'list', path, cache: false, heldOut: [], outOfDistribution: [], augmentation: {}, stream: true };
    const both = await outcome(path, configOf(path, { ...lists, split: 'LT_train', test: 'LT_test' }));
    const memory = { ...lists, stream: false, split: 'LT_train', test: { ...lists, split: 'LT_test' } };
    const { heldOut, outOfDistribution, augmentation, ...source } = memory.test;
    assertSame(await outcome(path, configOf(path, { ...memory, test: source })), both);
    const folders = { kind: 'folder', heldOut: [], outOfDistribution: [], augmentation: {}, stream: true };
    const tested = await outcome(path, configOf(path, { ...folders, test: source }));
    assert.equal(tested.outputs.test, {
      ...both.outputs.test,
      features: tested.outputs.test.features,
      logits: tested.outputs.test.logits,
      loss: tested.outputs.test.loss,
    });
    await refuses('LP_CONFIG', /config\.data\.test\.kind/, () =>
      outcome(path, configOf(path, { ...folders, test: { kind: 'lists', path } })),
    );
  }));

test('a file that cannot be read when it is its turn ends the run by name, whatever is being done', () =>
  withImages(async (path) => {
    const config = configOf(path, { stream: true, normalization: { mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] } });
    for (const split of ['train', 'test']) {
      const { files } = await streamImages({ kind: 'folder', path, split });
      const sound = await readFile(files[2]);
      await writeFile(files[2], sound.subarray(0, sound.length / 2));
      await refuses('LP_FILE', new RegExp(`${split}/class 0/\\d+\\.png cannot be read as an image.*Mend it`), () =>
        outcome(path, config),
      );
      await writeFile(files[2], sound);
    }
    assert.is((await outcome(path, config)).measures.length, 3);
  }));

test('what does not go together is refused before anything is trained', () =>
  withImages(async (path) => {
    const refused = (code, pattern, data) => refuses(code, pattern, () => outcome(path, configOf(path, data)));
    const cropped = (resizedCrop) => ({ augmentation: { resizedCrop } });
    await refused('LP_CONFIG', /data\.onUnreadable is "skip"; expected 'refuse' with stream/, {
      stream: true,
      onUnreadable: 'skip',
    });
    await refused('LP_CONFIG', /size.*resizedCrop.*leave size out/, { stream: true, size: [8, 8], ...cropped({ size: 4 }) });
    await refused('LP_CONFIG', /resizedCrop\.size/, cropped({}));
    await refused('LP_CONFIG', /resizedCrop\.size has 3 entries/, cropped({ size: [4, 4, 3] }));
    await refused('LP_CONFIG', /resizedCrop\.scale\[1\]/, cropped({ size: 4, scale: [0.5, 0.1] }));
    await refused('LP_CONFIG', /resizedCrop\.scale\[0\]/, cropped({ size: 4, scale: [0, 0.1] }));
    await refused('LP_CONFIG', /resizedCrop\.ratio\[0\]/, cropped({ size: 4, ratio: [-1, 2] }));
    await refused('LP_CONFIG', /resizedCrop\.resize is 3/, cropped({ size: 4, resize: 3 }));
    await refused('LP_CONFIG', /resizedCrop\.sale.*scale/, cropped({ size: 4, sale: [0.1, 1] }));
  }));

test('a set of twice the memory that the process may have', () =>
  inFolder(async (path) => {
    // 128 × 128 × 3 bytes each: 768 MiB decoded, under a limit of half of it.
    const [count, size, limit] = [16384, 128, 384];
    for (const [c, name] of ['dark', 'bright'].entries()) {
      const pixels = new Uint8Array(size * size * 3).fill(60 + 120 * c);
      const one = sharp(pixels, { raw: { width: size, height: size, channels: 3 } });
      for (const [split, images] of [
        ['train', count / 2],
        ['test', 150],
      ]) {
        const at = (i) => join(path, split, name, `${i}.jpg`);
        await mkdir(join(path, split, name), { recursive: true });
        await writeFile(at(0), await one.jpeg().toBuffer());
        for (let i = 1; i < images; i++) await link(at(0), at(i));
      }
    }
    const child = fileURLToPath(new URL('children/beyond-memory.js', import.meta.url));
    const start = (stream) =>
      startNode([child, path, String(stream)], { env: { LAYERPEEL_MEMORY: `${limit}M` } }).ended.then(
        ({ stdout, stderr, code }) => {
          assert.is(code, 0, stderr);
          return JSON.parse(stdout);
        },
      );
    const refused = await start(false);
    assert.is(refused.code, 'LP_MEMORY');
    assert.match(refused.message, /16384 images.*stream: true/);
    const { measures, peak } = await start(true);
    assert.ok(measures.accuracy > 0.9 && measures.testAccuracy === 1, JSON.stringify(measures));
    assert.ok(peak < limit * 2 ** 20, `the process took ${peak} bytes`);
  }));

test.run();
