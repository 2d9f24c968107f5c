// The networks: as many parameters as the papers and torchvision have, heads and classifiers as asked for, and what of a
// configuration is refused before training starts.
import { simplexETF } from 'layerpeel';
import { train } from 'layerpeel/torch';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';
import { patterns } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('networks');

/** What a run says of itself before it trains. */
async function about(config, set) {
  let ready;
  const stop = new Error('seen');
  const run = train(
    { data: { train: set }, loss: { kind: 'cross-entropy' }, epochs: 1, ...config },
    {
      onReady(found) {
        ready = found;
        throw stop;
      },
    },
  );
  await run.next().catch((error) => {
    if (error !== stop) throw error;
  });
  return ready;
}

const cifar = patterns({ classes: 10, perClass: 1, size: 32 });
const thousand = patterns({ classes: 1000, perClass: 1, size: 32 });
const hundred = patterns({ classes: 100, perClass: 1, size: 32 });

// torchvision's of ImageNet; of CIFAR those of the implementations that the papers' counts in millions agree with.
const counts = [
  [{ kind: 'resnet18', stem: 'imagenet' }, thousand, 11_689_512, 512],
  [{ kind: 'resnet34', stem: 'imagenet' }, thousand, 21_797_672, 512],
  [{ kind: 'resnet50', stem: 'imagenet' }, thousand, 25_557_032, 2048],
  [{ kind: 'resnet101', stem: 'imagenet' }, thousand, 44_549_160, 2048],
  [{ kind: 'resnet18' }, cifar, 11_173_962, 512],
  [{ kind: 'resnet20' }, cifar, 269_722, 64],
  [{ kind: 'resnet32' }, cifar, 464_154, 64],
  [{ kind: 'resnet32', width: 32 }, hundred, 1_861_508, 128], // by PyTorch's count of the same layers
  [{ kind: 'resnet44' }, cifar, 658_586, 64],
  [{ kind: 'resnet56' }, cifar, 853_018, 64],
  [{ kind: 'vgg13' }, cifar, 9_416_010, 512],
  [{ kind: 'densenet', depth: 100 }, cifar, 769_162, 342],
  [{ kind: 'densenet', depth: 100 }, hundred, 800_032, 342],
  [{ kind: 'densenet' }, cifar, 1_514_890, 510], // of depth 150, by PyTorch's count of the same layers
];

for (const [model, set, parameters, dim] of counts) {
  test(`${model.kind}${model.depth ?? ''}${model.width ? `, ${model.width} wide,` : ''} of ${set.classes.length} classes has ${parameters} parameters`, async () => {
    const ready = await about({ model }, set);
    assert.is(ready.parameters, parameters);
    assert.is(ready.dim, dim);
  });
}

/** The first epoch of a run. */
async function first(config, options) {
  for await (const epoch of train(config, options)) {
    return {
      measures: epoch.measures,
      output: await epoch.output('train'),
      classifier: await epoch.classifier(),
    };
  }
}

const small = patterns({ classes: 4, perClass: 8, size: 8 });
const optimizer = { learningRate: 0.01 };
const base = { data: { train: small }, loss: { kind: 'cross-entropy' }, optimizer, epochs: 1, batch: 16 };
const kinds = [
  { kind: 'mlp', widths: [12, 6] },
  { kind: 'resnet18' },
  { kind: 'resnet50' },
  { kind: 'resnet20' },
  { kind: 'vgg13' },
  { kind: 'densenet', depth: 16, growth: 4 },
  { kind: 'densenet' },
];

for (const model of kinds) {
  test(`${model.kind}: features are not negative, unless the last ReLU is left out`, async () => {
    const { output } = await first({ ...base, model });
    assert.ok(output.features.data.every((value) => value >= 0));
    assert.ok(output.features.data.some((value) => value > 0));
    const free = await first({ ...base, model: { ...model, head: { relu: false } } });
    assert.ok(free.output.features.data.some((value) => value < 0));
  });
}

test('normalized features have the stated length; logits are their products with prototypes and biases', async () => {
  const model = { kind: 'mlp', widths: [6], head: { batchNorm: true, normalize: true, scale: 3 } };
  const { output, classifier } = await first({ ...base, model });
  const { features, logits } = output;
  const [w, b] = [classifier.prototypes.data, classifier.biases.data];
  for (let i = 0; i < 32; i++) {
    const h = features.data.subarray(i * 6, i * 6 + 6);
    assert.ok(Math.abs(Math.hypot(...h) - 3) < 1e-5);
    for (let c = 0; c < 4; c++) {
      const z = h.reduce((sum, value, j) => sum + value * w[c * 6 + j], b[c]);
      assert.ok(Math.abs(z - logits.data[i * 4 + c]) < 1e-5);
    }
  }
});

test('a fixed classifier is the simplex of its seed, before and after training; an initialized one leaves it', async () => {
  const frame = simplexETF(4, 6, { seed: 5, scale: 2, dtype: 'float32' }).data;
  const model = (kind) => ({ kind: 'mlp', widths: [6], classifier: { kind, seed: 5, scale: 2 } });
  const fixed = await first({ ...base, model: model('fixed-etf'), optimizer: { weightDecay: 0.1 } });
  assert.equal(fixed.classifier.prototypes.data, frame);
  assert.not.ok(fixed.classifier.biases);
  const still = await first({ ...base, model: model('etf-initialized'), optimizer: { learningRate: 0 } });
  assert.equal(still.classifier.prototypes.data, frame);
  const moved = await first({ ...base, model: model('etf-initialized') });
  assert.not.equal(moved.classifier.prototypes.data, frame);
});

test('a simplex has the seed of the run and length 1, unless it is given others; features then have no last ReLU', async () => {
  for (const seed of [0, 3]) {
    for (const kind of ['fixed-etf', 'etf-initialized']) {
      const model = { kind: 'mlp', widths: [6], classifier: { kind } };
      const { classifier, output } = await first({ ...base, model, seed, optimizer: { learningRate: 0 } });
      assert.equal(classifier.prototypes.data, simplexETF(4, 6, { seed, dtype: 'float32' }).data);
      assert.not.ok(classifier.biases);
      assert.ok(output.features.data.some((value) => value < 0));
    }
  }
  const { classifier } = await first({
    ...base,
    model: { kind: 'mlp', widths: [6], classifier: { kind: 'fixed-etf', bias: true } },
  });
  assert.is(classifier.biases.data.length, 4);
});

const mlp = { kind: 'mlp', widths: [6] };
const faults = [
  [{ model: { kind: 'resnet21' } }, 'LP_CONFIG', /model\.kind is "resnet21".*resnet/],
  [{ model: { ...mlp, stem: 'small' } }, 'LP_CONFIG', /model\.stem is not known/],
  [{ model: { kind: 'resnet20', width: 5 } }, 'LP_CONFIG', /model\.width is 5; expected an even number/],
  [{ model: { ...mlp, width: 16 } }, 'LP_CONFIG', /model\.width is not known/],
  [{ model: mlp, optimizer: { ratePer: 'batch' } }, 'LP_CONFIG', /optimizer\.ratePer is "batch"; expected one of 'step', 'epoch'/],
  [{ model: { kind: 'mlp', widths: [2], classifier: { kind: 'fixed-etf' } } }, 'LP_CONFIG', /2 dimensions.*needs 3/],
  [{ model: { ...mlp, classifier: { scale: 2 } } }, 'LP_CONFIG', /scale belongs to a simplex/],
  [{ model: mlp, loss: { kind: 'dot-regression', prototypes: 'fixed' } }, 'LP_CONFIG', /'fixed', but the classifier is not/],
  [{ model: { ...mlp, classifier: { bias: true } }, loss: { kind: 'dot-regression' } }, 'LP_CONFIG', /no use for biases/],
  [{ model: mlp, loss: { kind: 'ldam', margin: 1 } }, 'LP_CONFIG', /loss\.margin is not known/],
  [{ model: mlp, loss: { kind: 'cross-entropy', classWeights: [1, 2] } }, 'LP_CONFIG', /has 2 numbers; expected 4/],
  [{ model: mlp, reweighting: {}, loss: { kind: 'mse' } }, 'LP_CONFIG', /reweighting is for/],
  [{ model: mlp, reweighting: { from: 160 } }, 'LP_CONFIG', /from is 160, but the run has 1/],
  [{ model: mlp, epochs: 0 }, 'LP_CONFIG', /epochs is 0/],
  [{ model: mlp, epohcs: 3 }, 'LP_CONFIG', /did you mean epochs/],
  [
    { model: mlp, optimizer: { learningRate: { kind: 'steps', value: 0.1, milestones: [160, 180], factor: 0.1 } } },
    'LP_CONFIG',
    /milestone 160/,
  ],
  [
    { model: mlp, optimizer: { learningRate: { kind: 'cosine', value: 0.1, period: 2 } }, epochs: 9 },
    'LP_CONFIG',
    /period 2.*9 epochs/,
  ],
  [{ model: mlp, optimizer: { learningRate: { kind: 'constant', value: 0.1, warmup: 5 } } }, 'LP_CONFIG', /warms up for 5/],
  [{ model: mlp, optimizer: { nesterov: true, momentum: 0 } }, 'LP_CONFIG', /nesterov needs momentum/],
  [{ model: mlp, device: 'gpu' }, 'LP_CONFIG', /expected cpu, cuda/],
  [{ model: mlp, device: 'cuda:77' }, 'LP_DEVICE', /no device cuda:77/],
  [{ model: { ...mlp, head: { batchNorm: true } }, batch: 31 }, 'LP_CONFIG', /a single sample/],
  [{ model: { kind: 'resnet18', stem: 'imagenet' } }, 'LP_CONFIG', /at least 32×32/],
  [{ model: mlp, data: { train: patterns({ counts: [3, 0, 2] }) } }, 'LP_BALANCE', /class 1 has no training image/],
  [{ model: mlp, data: { kind: 'cifar10', path: '/nowhere' } }, 'LP_FILE', /nowhere/],
  [{ model: mlp, data: { train: small, test: patterns({ size: 9 }) } }, 'LP_SHAPE', /9×9×3/],
];

for (const [change, code, pattern] of faults) {
  test(`refuses ${JSON.stringify({ ...change, data: change.data && '…' })}`, async () => {
    await refuses(code, pattern, () => train({ ...base, ...change }).next());
  });
}

test.run();
