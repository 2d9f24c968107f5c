// Pre-trained weights: networks with PyTorch's names give what PyTorch gives, however they are wrapped and stored; a training begins
// with them; and what does not fit is refused before anything is trained.
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadImages, readNpy, readPth, readSafetensors, seededRandom, writeNpz, writeSafetensors } from 'layerpeel';
import { outputs, readNetwork, torchWeights, train } from 'layerpeel/torch';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { studied } from '../../lib/study/commands.js';
import { run } from '../cli/run.js';
import { withFolder } from '../data/formats.js';
import { distance, refuses } from '../helpers.js';
import { python, withoutPython } from '../python.js';
import { imageFiles, patterns } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('weights');

const normalization = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const models = {
  mlp: [{ kind: 'mlp', widths: [12, 7] }, 4],
  resnet18: [{ kind: 'resnet18', stem: 'imagenet' }, 32],
  resnet50: [{ kind: 'resnet50', stem: 'imagenet' }, 32],
  'small resnet18': [{ kind: 'resnet18' }, 8],
  resnet20: [{ kind: 'resnet20' }, 8],
  vgg13: [{ kind: 'vgg13' }, 32],
  densenet: [{ kind: 'densenet', depth: 22, growth: 6 }, 8],
};
const imagesOf = (size) => patterns({ classes: 3, perClass: 2, size });

/** Images as PyTorch takes them: by channels, normalized. */
function inputOf({ images, shape: [, height, width, channels] }) {
  const pixels = height * width;
  return Float32Array.from({ length: images.length }, (_, at) => {
    const [i, c, k] = [Math.floor(at / pixels / channels), Math.floor(at / pixels) % channels, at % pixels];
    return (images[(i * pixels + k) * channels + c] / 255 - normalization.mean[c]) / normalization.std[c];
  });
}

/** A folder in which PyTorch has left NAME.pth, NAME.features and NAME.logits of every model. */
let folderOfPyTorch;
async function besidePyTorch() {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-pytorch-'));
  const jobs = [];
  for (const [name, [, size]] of Object.entries(models)) {
    const set = imagesOf(size);
    const [n, height, width, channels] = set.shape;
    jobs.push({ name, shape: [n, channels, height, width] });
    await writeFile(join(folder, `${name}.x`), new Uint8Array(inputOf(set).buffer));
  }
  await writeFile(join(folder, 'job.json'), JSON.stringify(jobs));
  execFileSync(python, ['-W', 'ignore', fileURLToPath(new URL('pretrained.py', import.meta.url)), folder]);
  return folder;
}
test.after?.(async () => folderOfPyTorch && rm(await folderOfPyTorch, { recursive: true }));

const rawOf = async (path) => new Float32Array(Uint8Array.from(await readFile(path)).buffer);

/** The only part of what a network makes of images. */
async function seen(network, images, options) {
  const parts = [];
  for await (const part of outputs(network, images, options)) parts.push(part);
  assert.is(parts.length, 1);
  return parts[0];
}

function close(found, wanted, within = 2e-5) {
  assert.is(found.length, wanted.length);
  const scale = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  assert.ok(scale > 0);
  const off = found.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i])), 0);
  assert.ok(off <= within * scale, `${off} of ${scale}`);
}

for (const [name, [model, size]] of Object.entries(models)) {
  test(`${name}: features and logits are PyTorch's, and so are its names`, async () => {
    if (!python) return console.log(`Left out: ${withoutPython}`);
    folderOfPyTorch ??= besidePyTorch();
    const folder = await folderOfPyTorch;
    const file = join(folder, `${name}.pth`);
    const weights = { file, classifier: true };
    const set = imagesOf(size);
    const found = await seen({ model: { ...model, weights }, normalization }, set);
    close(found.features.data, await rawOf(join(folder, `${name}.features`)));
    close(found.logits.data, await rawOf(join(folder, `${name}.logits`)));
    assert.equal([found.logits.shape, found.prototypes.shape[0], found.biases.shape], [[6, 5], 5, [5]]);

    // A training that moves nothing ends in the weights that it began with, by their names, the average included.
    const config = {
      data: { train: { ...set, classes: ['a', 'b', 'c', 'd', 'e'], labels: Int32Array.of(0, 1, 2, 3, 4, 0) } },
      ...{ model: { ...model, weights }, loss: { kind: 'cross-entropy' }, optimizer: { learningRate: 0, momentum: 0 } },
      ...{ ema: 0.5, epochs: 1, batch: 6, collapseEvery: 0 },
    };
    const checkpoint = join(folder, 'checkpoint.safetensors');
    for await (const epoch of train(config)) await epoch.save(checkpoint);
    const back = await torchWeights(checkpoint);
    const named = (key) => (name === 'mlp' ? key.replace(/^\d/, (k) => `fc${(Number(k) + 1) / 2}`) : key.replace('linear', 'fc'));
    const wanted = Object.entries((await readPth(file)).tensors).filter(([key]) => !key.endsWith('num_batches_tracked'));
    assert.equal(Object.keys(back).sort(), wanted.map(([key]) => named(key)).sort());
    for (const [key, { shape, data }] of wanted) {
      assert.equal(back[named(key)].shape, shape, key);
      if (!/running_/.test(key)) assert.is(distance(back[named(key)].data, data), 0, key);
    }
  });
}

/* Without PyTorch: an MLP whose weights are at hand. */

const random = seededRandom(7);
const normals = (...shape) => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal() / 4),
});
const tensors = {
  'fc1.weight': normals(12, 48),
  'fc1.bias': normals(12),
  'fc2.weight': normals(7, 12),
  'fc2.bias': normals(7),
  'fc3.weight': normals(4, 7),
  'fc3.bias': normals(4),
};
const mlp = { kind: 'mlp', widths: [12, 7] };
const set = patterns({ size: 4, perClass: 3 });
const of = (weights, more = {}) => ({ model: { ...mlp, weights, ...more }, normalization });

/** Features and logits by plain loops in float64. */
function byHand() {
  const input = inputOf(set);
  const layer = (x, { shape: [out, width], data }, { data: bias }) =>
    Array.from({ length: out }, (_, o) => x.reduce((sum, value, i) => sum + value * data[o * width + i], bias[o]));
  const relu = (x) => x.map((value) => Math.max(0, value));
  const rows = Array.from({ length: 12 }, (_, i) => {
    const first = relu(layer([...input.subarray(i * 48, i * 48 + 48)], tensors['fc1.weight'], tensors['fc1.bias']));
    const features = relu(layer(first, tensors['fc2.weight'], tensors['fc2.bias']));
    return { features, logits: layer(features, tensors['fc3.weight'], tensors['fc3.bias']) };
  });
  return { features: rows.flatMap(({ features }) => features), logits: rows.flatMap(({ logits }) => logits) };
}

const renamed = (rename, given = tensors) =>
  Object.fromEntries(Object.entries(given).map(([name, value]) => [rename(name), value]));
const sequential = (name) => name.replace(/^fc(\d)/, (_, k) => `${2 * Number(k) - 2}`);

test('features of an MLP are those by hand; without its classifier there are no logits', async () => {
  const wanted = byHand();
  const whole = await seen(of({ tensors, classifier: true }), set);
  close(whole.features.data, wanted.features);
  close(whole.logits.data, wanted.logits);
  assert.equal(whole.prototypes, tensors['fc3.weight']);
  const alone = await seen(of({ tensors }), set);
  assert.equal(alone.features, whole.features);
  assert.equal(Object.keys(alone), ['first', 'features']);
  const parts = [];
  for await (const part of outputs(of({ tensors }), set, { part: 5 })) parts.push(...part.features.data);
  close(parts, wanted.features);
});

test('weights are found in files of every kind, wrapped or in a part, in any precision, and among what is ignored', () =>
  withFolder({}, async (folder) => {
    const at = (name) => join(folder, name);
    const { features } = await seen(of({ tensors }), set);
    const same = async (weights, within = 0) => {
      const found = await seen(of(weights), set);
      if (within === 0) assert.equal(found.features.data, features.data, JSON.stringify(weights));
      else close(found.features.data, features.data, within);
    };
    await writeSafetensors(at('a.safetensors'), tensors);
    await same(at('a.safetensors'));
    await writeNpz(at('a.npz'), renamed(sequential));
    await same(at('a.npz'));
    await writeSafetensors(
      at('wrapped.safetensors'),
      renamed((name) => `state_dict.module.${name}`),
    );
    await same(at('wrapped.safetensors'));
    const checkpoint = { ...renamed((name) => `state_dict.model.${name}`), 'optimizer.state.0.step': normals(1) };
    await writeSafetensors(at('part.safetensors'), checkpoint);
    await same(`${at('part.safetensors')}:state_dict`);
    await refuses('LP_CONFIG', /named after a colon: .*part\.safetensors:(optimizer|state_dict)\.$/, () =>
      seen(of(at('part.safetensors')), set),
    );
    await refuses('LP_CONFIG', /has no tensor under nothing; it has .*state_dict/, () =>
      seen(of(`${at('part.safetensors')}:nothing`), set),
    );
    // Layers by their numbers (9, 10, 11), in no order of the file or of texts; float64; counts of batches.
    const numbered = renamed((name) => name.replace(/^fc(\d)/, (_, k) => `net.layers.${8 + Number(k)}`));
    const reversed = Object.fromEntries(Object.entries(numbered).reverse());
    await same({ tensors: { ...reversed, 'net.num_batches_tracked': { shape: [], data: Int32Array.of(9) } } });
    const wide = Object.fromEntries(
      Object.entries(tensors).map(([name, { shape, data }]) => [name, { shape, data: Float64Array.from(data) }]),
    );
    await same({ tensors: wide });
    const { 'fc3.weight': w, 'fc3.bias': b, ...backbone } = tensors;
    await same({ tensors: backbone });
    await same({ tensors: { ...backbone, 'head.weight': w, 'head.bias': b } });
    // Of bfloat16 the upper halves are kept.
    const upper = (data) => Uint16Array.from(new Uint16Array(data.buffer.slice(0)).filter((_, i) => i % 2 === 1));
    const header = {};
    const bytes = [];
    let end = 0;
    for (const [name, { shape, data }] of Object.entries(tensors)) {
      header[name] = { dtype: 'BF16', shape, data_offsets: [end, end + 2 * data.length] };
      bytes.push(Buffer.from(upper(data).buffer));
      end += 2 * data.length;
    }
    const text = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    await writeFile(at('half.safetensors'), Buffer.concat([length, text, ...bytes]));
    await same(at('half.safetensors'), 0.05);
    // What is cut off is no file of weights, and nothing is made of it.
    const whole = await readFile(at('a.safetensors'));
    await writeFile(at('cut.safetensors'), whole.subarray(0, whole.length - 8));
    await refuses('LP_FILE', /cut\.safetensors.*truncated/, () => seen(of(at('cut.safetensors')), set));
    await refuses('LP_FILE', /none\.pth cannot be read/, () => seen(of(at('none.pth')), set));
    await refuses('LP_FILE', /unknown kind/, () => seen(of(at('a.bmp')), set));
  }));

const { 'fc2.bias': _, ...lacking } = tensors;
const network = { kind: 'resnet18', stem: 'small' };
/** A network of that kind as it begins, by PyTorch's names. */
async function begun(folder, model) {
  const config = {
    data: { train: patterns({ perClass: 2 }) },
    model,
    loss: { kind: 'cross-entropy' },
    epochs: 1,
    collapseEvery: 0,
  };
  for await (const epoch of train(config)) await epoch.save(join(folder, 'checkpoint.safetensors'));
  return torchWeights(folder);
}

const faults = [
  [{ tensors: lacking }, 'LP_CONFIG', /^config\.model\.weights: what is given does not fit mlp: missing: fc2\.bias\.$/],
  [
    { tensors: { ...tensors, extra: normals(2), 'more.weight': normals(3) } },
    'LP_CONFIG',
    /not in this network: extra, more\.weight\.$/,
  ],
  [{ tensors: { ...tensors, 'fc1.weight': normals(12, 27) } }, 'LP_SHAPE', /: fc1\.weight is \[12, 27\], expected \[12, 48\]\.$/],
  [
    { tensors: { ...tensors, 'fc1.bias': { shape: [12], data: new Int32Array(12) } } },
    'LP_CONFIG',
    /no floats: fc1\.bias \(int32\)\.$/,
  ],
  [
    { tensors: { ...tensors, 'fc1.bias': { shape: [12], data: new Float32Array(12).fill(1, 0, 5).fill(Number.NaN, 5) } } },
    'LP_NOT_FINITE',
    /what is given:fc1\.bias has NaN as its element 5/,
  ],
  [
    { tensors: { ...tensors, 'fc1.bias': { shape: [12], data: new Float64Array(12).fill(1e39) } } },
    'LP_NOT_FINITE',
    /fc1\.bias has 1e\+39 as its element 0; expected finite numbers of float32/,
  ],
  [{ tensors: { ...tensors, 'fc1.bias': { shape: [12], data: new Float32Array(11) } } }, 'LP_SHAPE', /tensors\["fc1\.bias"\]/],
  [{ tensors: lacking, classifier: 'yes' }, 'LP_CONFIG', /weights\.classifier is "yes"/],
  [{ tensors, file: 'a.pth' }, 'LP_CONFIG', /has both file and tensors/],
  [{}, 'LP_CONFIG', /has neither file nor tensors|has neither file and tensors/],
  [{ path: 'a.pth' }, 'LP_CONFIG', /weights\.path is not known/],
  ['', 'LP_CONFIG', /weights\.file is ""/],
  [5, 'LP_CONFIG', /weights is 5/],
  [{ tensors: { ...tensors, ['a.'.repeat(1e5)]: normals(1) } }, 'LP_CONFIG', /not in this network: (?:a\.){50}…\.$/],
  [{ tensors: {} }, 'LP_CONFIG', /missing: fc1\.weight, fc1\.bias, fc2\.weight and 1 more\.$/],
  [{ tensors: backboneAlone(), classifier: true }, 'LP_CONFIG', /missing: fc3\.weight, fc3\.bias\.$/],
];

function backboneAlone() {
  const { 'fc3.weight': _w, 'fc3.bias': _b, ...backbone } = tensors;
  return backbone;
}

for (const [weights, code, pattern] of faults) {
  test(`refuses ${String(pattern)}`, async () => {
    await refuses(code, pattern, () => seen(of(weights), set));
    const config = { data: { train: set }, model: { ...mlp, weights }, loss: { kind: 'cross-entropy' }, epochs: 1 };
    let ready = false;
    await refuses(code, pattern, () => train(config, { onReady: () => (ready = true) }).next());
    assert.not.ok(ready);
  });
}

test('a classifier of other classes is refused where it is asked for, and one that begins as a simplex', async () => {
  const config = (model, images = set) => ({ data: { train: images }, model, loss: { kind: 'cross-entropy' }, epochs: 1 });
  const begin = (model, images) => train(config(model, images)).next();
  const three = patterns({ size: 4, perClass: 3, classes: 3 });
  await refuses(
    'LP_SHAPE',
    /fc3\.weight is \[4, 7\], expected \[3, 7\]; fc3|fc3\.weight is \[4, 7\], expected \[3, 7\], fc3\.bias/,
    () => begin({ ...mlp, weights: { tensors, classifier: true } }, three),
  );
  assert.is((await begin({ ...mlp, weights: { tensors } }, three)).value.epoch, 1);
  await refuses('LP_CONFIG', /weights\.classifier is true, but the classifier begins as a simplex/, () =>
    begin({ ...mlp, weights: { tensors, classifier: true }, classifier: { kind: 'fixed-etf' } }),
  );
  await refuses('LP_CONFIG', /not in this network: fc3\.bias/, () =>
    begin({ ...mlp, weights: { tensors, classifier: true }, classifier: { bias: false } }),
  );
  assert.is((await begin({ ...mlp, weights: { tensors }, classifier: { kind: 'fixed-etf' } })).value.epoch, 1);
});

test('another architecture is refused with what it lacks, and another stem by its name', () =>
  withFolder({}, async (folder) => {
    const own = await begun(folder, network);
    await refuses(
      'LP_CONFIG',
      /does not fit resnet34: missing: layer1\.2\.conv1\.weight, layer1\.2\.bn1\.weight, layer1\.2\.bn1\.bias and 77 more\.$/,
      () => seen({ model: { kind: 'resnet34', weights: { tensors: own } }, normalization }, patterns()),
    );
    await refuses('LP_SHAPE', /conv1\.weight is \[64, 3, 3, 3\], expected \[64, 3, 7, 7\]\. .*model\.stem 'small'/, () =>
      seen({ model: { kind: 'resnet18', stem: 'imagenet', weights: { tensors: own } }, normalization }, patterns({ size: 32 })),
    );
    await refuses(
      'LP_CONFIG',
      /vgg13: missing: features\.0\.bias, features\.3\.weight, .* more; not in this network: layer1\.0\.conv1\.weight, .* more\.$/,
      () => seen({ model: { kind: 'vgg13', weights: { tensors: own } }, normalization }, patterns()),
    );
    // A network inside another one, beside its classifier.
    const inside = renamed((name) => (name.startsWith('fc.') ? name : `backbone.${name}`), own);
    for (const classifier of [false, true]) {
      await refuses('LP_CONFIG', /missing: conv1\.weight, .* what is given:backbone\.$/, () =>
        seen({ model: { ...network, weights: { tensors: inside, classifier } }, normalization }, patterns()),
      );
    }
    const featuresOf = async (tensors) =>
      (await seen({ model: { ...network, weights: { tensors } }, normalization }, patterns())).features.data;
    const features = await featuresOf(own);
    const wrapped = renamed((name) => `model.module.${name.replace('.downsample.', '.shortcut.')}`, own);
    assert.is(distance(await featuresOf(wrapped), features), 0);
    await refuses('LP_CONFIG', /resnet18: not in this network: model\.module\.extra\.$/, () =>
      featuresOf({ ...wrapped, 'model.module.extra': normals(1) }),
    );
  }));

test('a training goes on from another one, and a run that is resumed needs its weights no more', () =>
  withFolder({}, async (folder) => {
    const [before, after] = ['before', 'after'].map((name) => join(folder, name));
    for (const path of [before, after]) await mkdir(path);
    const data = { train: set, normalization };
    const config = { data, model: mlp, loss: { kind: 'cross-entropy' }, batch: 6, threads: 1 };
    let last;
    for await (const epoch of train({ ...config, epochs: 2, ema: 0.5 })) {
      last = await epoch.output('train');
      await epoch.save(join(before, 'checkpoint.safetensors'));
    }
    const weights = { file: before, classifier: true };
    const again = { model: { ...mlp, weights }, normalization, classes: set.classes };
    assert.equal((await seen(again, set)).logits.data, last.logits.data);

    // Its first features, from which the theory beside the run begins, are those of the weights.
    const two = { ...config, model: { ...mlp, weights }, epochs: 2 };
    const trained = [];
    for await (const epoch of train({ ...two })) {
      trained.push(epoch.measures.loss);
      if (epoch.epoch === 1) await epoch.save(join(after, 'checkpoint.safetensors'));
    }
    const { tensors: start } = await readSafetensors(join(after, 'checkpoint.safetensors'));
    assert.equal(start['theory.features'].data, last.features.data);
    const resumed = (model) => train({ ...two, model }, { resume: after });
    // The file is not read again, and may lie elsewhere by now.
    const elsewhere = { ...mlp, weights: { ...weights, file: '/nowhere/before' } };
    const run = resumed(elsewhere);
    assert.is((await run.next()).value.measures.loss, trained[1]);
    await run.return();
    for (const model of [mlp, { ...mlp, weights: { ...weights, file: 'other' } }, { ...mlp, weights: before }]) {
      await refuses('LP_CONFIG', /config\.model\.weights is not that of .*checkpoint/, () => resumed(model).next());
    }
    assert.is((await readNetwork(after)).epochs, 1);
    assert.equal((await seen(after, set)).features.shape, [12, 7]);
  }));

test('claims of a file cost no memory; a checkpoint of no known network is refused', () =>
  withFolder({}, async (folder) => {
    const claimed = { ...tensors, 'fc3.weight': { shape: [2 ** 30, 0], data: new Float32Array(0) } };
    await refuses('LP_SHAPE', /fc3\.weight is \[1073741824, 0\], expected \[2, 7\]/, () =>
      seen(of({ tensors: claimed, classifier: true }), set),
    );
    const file = join(folder, 'checkpoint.safetensors');
    for (const progress of [{}, { config: { model: { kind: 'mpl' } } }]) {
      const text = JSON.stringify({ history: [], observations: [], ...progress });
      await writeSafetensors(file, { 'model.prototypes': normals(2, 2) }, { layerpeel: 'training', progress: text });
      await refuses('LP_FILE', /does not say what network it is of/, () => torchWeights(folder));
    }
    await refuses('LP_FILE', /nowhere/, () => torchWeights(join(folder, 'nowhere')));
    await refuses('LP_OPTION', /checkpoint is 5/, () => torchWeights(5));
  }));

test('a network from elsewhere is refused for what it lacks', async () => {
  const good = of({ tensors, classifier: true });
  for (const [network, code, pattern] of [
    [{ ...good, model: mlp }, 'LP_CONFIG', /config\.model\.weights is missing/],
    [{ model: good.model }, 'LP_CONFIG', /config\.normalization is missing/],
    [{ ...good, normalization: { mean: [0.5], std: [0.5] } }, 'LP_CONFIG', /normalization\.mean must be a list of 3 numbers/],
    [{ ...good, model: { kind: 'mpl' } }, 'LP_CONFIG', /did you mean 'mlp'/],
    [{ ...good, size: 3 }, 'LP_CONFIG', /config\.size is not known/],
    [{ ...good, classes: ['a'] }, 'LP_CONFIG', /classes has 1 names, but the classifier has 4/],
    [{ ...of({ tensors }), classes: ['a'] }, 'LP_CONFIG', /classes has 1 names, but model\.weights\.classifier is not true/],
    [null, 'LP_OPTION', /checkpoint/],
  ]) {
    await refuses(code, pattern, () => seen(network, set));
  }
});

test('layerpeel predict: a network from a file, with its classifier and without; layerpeel train from the same weights', () =>
  withFolder({}, async (folder) => {
    const at = { cwd: folder };
    await mkdir(join(folder, 'networks'));
    await writeSafetensors(join(folder, 'networks/net.safetensors'), tensors);
    await imageFiles(join(folder, 'images'), set);
    const images = await loadImages({ kind: 'folder', path: join(folder, 'images'), split: false, cache: false });
    const described = { model: { ...mlp, weights: 'net.safetensors' }, normalization, size: [4, 4] };
    await writeFile(join(folder, 'networks/net.json'), JSON.stringify(described));
    const alone = await run(['predict', 'networks/net.json', '--images', 'images', '--out', 'alone', '--json'], at);
    assert.is(alone.code, 0, alone.stderr);
    const wanted = await seen(of({ tensors, classifier: true }), images);
    const array = (name) => readNpy(join(folder, name));
    assert.equal((await array('alone/arrays/features.npy')).data, wanted.features.data);
    assert.equal([...(await array('alone/arrays/labels.npy')).data], [...images.labels]);
    assert.is(await array('alone/arrays/logits.npy').catch(({ code }) => code), 'LP_FILE');
    const more = ['--set', 'model.weights={"file": "net.safetensors", "classifier": true}'];
    const whole = await run(['predict', 'networks/net.json', '--images', 'images', '--out', 'whole', '--json', ...more], at);
    assert.is(whole.code, 0, whole.stderr);
    assert.equal((await array('whole/arrays/logits.npy')).data, wanted.logits.data);
    const decided = Array.from({ length: 12 }, (_, i) => {
      const z = [...wanted.logits.data.subarray(4 * i, 4 * i + 4)];
      return z.indexOf(Math.max(...z));
    });
    assert.equal([...(await array('whole/arrays/predicted.npy')).data], decided);
    // Without names classes are numbers, which those of the images are not.
    assert.equal(JSON.parse(await readFile(join(folder, 'whole/classes.json'), 'utf8')), ['0', '1', '2', '3']);
    assert.not.ok('accuracy' in JSON.parse(whole.stdout));
    const names = ['--set', `classes=${JSON.stringify(set.classes)}`];
    const known = await run(
      ['predict', 'networks/net.json', '--images', 'images', '--out', 'known', '--json', ...more, ...names],
      at,
    );
    assert.is(JSON.parse(known.stdout).accuracy, decided.filter((c, i) => c === images.labels[i]).length / 12);
    const saved = JSON.parse(await readFile(join(folder, 'whole/config.json'), 'utf8'));
    assert.is(saved.network.model.weights.file, join(folder, 'networks/net.safetensors'));
    for (const [change, pattern] of [
      ['size=4', /config\.size is 4; expected \[height, width\]/],
      ['size=[4]', /config\.size\[1\] is missing/],
      ['model.weights=other.pth', /networks\/other\.pth cannot be read/],
      ['norm=1', /config\.norm is not known/],
    ]) {
      const refused = await run(['predict', 'networks/net.json', '--images', 'images', '--set', change, '--out', 'no'], at);
      assert.is(refused.code, 1);
      assert.match(refused.stderr, pattern);
    }

    const config = {
      ...{
        data: { kind: 'folder', path: '..', split: 'images', test: false, cache: false },
        model: { ...mlp, weights: 'net.safetensors' },
      },
      ...{ loss: { kind: 'cross-entropy' }, optimizer: { learningRate: 0 }, epochs: 1, threads: 1 },
    };
    await writeFile(join(folder, 'networks/run.json'), JSON.stringify(config));
    const trained = await run(['train', 'networks/run.json', '--out', 'run'], at);
    assert.is(trained.code, 0, trained.stderr);
    assert.match(trained.stderr, /parameters, begun with .*networks\/net\.safetensors, features of 7 dimensions/);
    const back = await torchWeights(join(folder, 'run'));
    for (const name of Object.keys(backboneAlone())) assert.equal(back[name].data, tensors[name].data, name);
    const { model } = JSON.parse(await readFile(join(folder, 'run/config.json'), 'utf8'));
    assert.is(model.weights, join(folder, 'networks/net.safetensors'));
    const refused = await run(['predict', 'run', '--images', 'images', '--set', 'size=[4, 4]'], at);
    assert.is(refused.code, 2);
    assert.match(refused.stderr, /--set is for NETWORK\.json/);
  }));

test.run();

// Without libtorch.
const paths = suite('paths of a training');

paths('are relative to the file of a configuration, and of a study', () => {
  const config = (path, weights) => ({
    data: {
      kind: 'folder',
      path: path('images'),
      outOfDistribution: [
        { name: 'a', kind: 'idx', path: path('a') },
        { name: 'b', set: {} },
      ],
    },
    model: { kind: 'mlp', weights },
  });
  const there = (name) => `/runs/${name}`;
  for (const given of [(name) => name, there]) {
    for (const [weights, located] of [
      [given('net.pth:part'), '/runs/net.pth:part'],
      [{ file: given('net.pth') }, { file: '/runs/net.pth' }],
      [{ tensors: {} }, { tensors: {} }],
      [5, 5],
    ]) {
      assert.equal(studied.train.prepared(config(given, weights), '/runs', []), config(there, located));
    }
  }
  for (const odd of [5, null, [], {}, { data: 5, model: null }, { data: { outOfDistribution: [5, null] } }])
    assert.equal(studied.train.prepared(odd, '/runs', []), odd);
});

paths.run();
