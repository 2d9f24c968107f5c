// What training measures beside the steps: features before they are normalized, the global mean that is asked for, many
// classes, and the clock of its theory.
import { collapseSync } from 'layerpeel';
import { train } from 'layerpeel/torch';
import * as assert from 'uvu/assert';
import { distance, refuses } from '../helpers.js';
import { patterns } from './images.js';
import { torchSuite } from './torch.js';

const test = torchSuite('measures of training');

const model = { kind: 'mlp', widths: [12, 8] };
const config = {
  data: { train: patterns() },
  model,
  loss: { kind: 'cross-entropy' },
  optimizer: { learningRate: 0.05 },
  epochs: 1,
};

test('the length of features is that before they are normalized', async () => {
  // What the head does with features is done after them: at a learning rate of 0 both networks are the same.
  const still = { ...config, optimizer: { learningRate: 0 } };
  const plain = { ...model, head: { relu: true } };
  for await (const { measures, output } of train({ ...still, model: plain })) {
    const { data } = (await output('train')).features;
    const lengths = Array.from({ length: 96 }, (_, i) => Math.hypot(...data.subarray(8 * i, 8 * i + 8)));
    const mean = lengths.reduce((total, length) => total + length / 96, 0);
    assert.ok(Math.abs(mean - 1) > 0.1);
    assert.ok(Math.abs(measures.featureNorm - mean) < 1e-6 * mean);
    for await (const normalized of train({ ...still, model: { ...plain, head: { normalize: true, scale: 3 } } })) {
      assert.ok(Math.abs(normalized.measures.featureNorm - mean) < 1e-6 * mean, `${normalized.measures.featureNorm}, not ${mean}`);
      const { data: directions } = (await normalized.output('train')).features;
      assert.ok(Math.abs(Math.hypot(...directions.subarray(0, 8)) - 3) < 1e-5);
    }
  }
});

test('the global mean is that of the classes, or of the samples, as it is asked for', async () => {
  const data = { train: patterns({ classes: 5, counts: [40, 20, 8, 4, 2] }) };
  const found = {};
  for (const globalMean of [undefined, 'classes', 'samples']) {
    for await (const epoch of train({ ...config, data, epochs: 2, ...(globalMean && { globalMean }) })) {
      const { features, labels } = await epoch.output('train');
      const { prototypes, biases } = await epoch.classifier();
      const wanted = collapseSync({ features, labels, prototypes, biases }, { globalMean: globalMean ?? 'classes' });
      for (const name of ['alignment', 'dualityFrobenius', 'nc1', 'nc3', 'withinClassVariation']) {
        assert.is(epoch.measures[name], wanted[name], `${globalMean}: ${name}`);
      }
      found[globalMean] = epoch.measures.dualityFrobenius;
    }
  }
  assert.is(found.undefined, found.classes);
  assert.not.equal(found.samples, found.classes);
  await refuses('LP_CONFIG', /config\.globalMean is "class"; did you mean 'classes'\?/, () =>
    train({ ...config, globalMean: 'class' }).next(),
  );
});

for (const classes of [360, 1000]) {
  test(`${classes} classes are trained on and measured, with the theory beside them`, async () => {
    const data = { train: patterns({ classes, perClass: 2, size: 2, channels: 1 }) };
    const wide = { ...config, data, model: { kind: 'mlp', widths: [24] } };
    for await (const epoch of train({ ...wide, loss: { kind: 'unhinged', gamma: 1 / (classes - 1) } })) {
      const { nc1, nc3, nc4, smallestPrototypeAngle, smallestCenteredPrototypeAngle, trainAccuracy } = epoch.measures;
      for (const value of [nc1, nc3, nc4, trainAccuracy]) assert.ok(value >= 0, `${value}`);
      const { prototypes } = await epoch.classifier();
      let largest = -1;
      const rows = Array.from({ length: classes }, (_, c) => {
        const row = prototypes.data.subarray(24 * c, 24 * c + 24);
        const length = Math.hypot(...row);
        return row.map((value) => value / length);
      });
      for (let c = 0; c < classes; c++) {
        for (let d = 0; d < c; d++)
          largest = Math.max(
            largest,
            rows[c].reduce((sum, value, k) => sum + value * rows[d][k], 0),
          );
      }
      const angle = (Math.acos(largest) * 180) / Math.PI;
      assert.ok(Math.abs(smallestPrototypeAngle - angle) < 1e-3, `${smallestPrototypeAngle}, not ${angle}`);
      assert.ok(smallestCenteredPrototypeAngle > 0);
      assert.type(await epoch.theory(), 'object');
    }
  });
}

test('logits of more entries than are kept are made when they are asked for', async () => {
  // 2²⁶ and a few: 8193 images of 8192 classes.
  const classes = 8192;
  const random = patterns({ classes: 2, perClass: 8, size: 1, channels: 1 });
  const labels = Int32Array.from({ length: classes + 1 }, (_, i) => i % classes);
  const images = Uint8Array.from(labels, (_, i) => random.images[i % 16]);
  const set = { images, labels, shape: [classes + 1, 1, 1, 1], classes: Array.from({ length: classes }, String), source: 'made' };
  const wide = { ...config, data: { train: set }, model: { kind: 'mlp', widths: [2] }, collapseEvery: 0, batch: 4096 };
  for await (const epoch of train(wide)) {
    const { features, logits } = await epoch.output('train');
    assert.equal(
      [features.shape, logits.shape],
      [
        [8193, 2],
        [8193, 8192],
      ],
    );
    const { prototypes, biases } = await epoch.classifier();
    for (const [i, c] of [
      [0, 0],
      [4095, 17],
      [4096, 8191],
      [8192, 5],
    ]) {
      const [h, w] = [features.data.subarray(2 * i, 2 * i + 2), prototypes.data.subarray(2 * c, 2 * c + 2)];
      assert.ok(Math.abs(logits.data[i * classes + c] - (h[0] * w[0] + h[1] * w[1] + biases.data[c])) < 1e-5);
    }
  }
});

test('the clock of the theory is looked up once an epoch, and goes on where a run goes on', async () => {
  const looks = async (epochs) => {
    let count = 0;
    const learningRate = {
      kind: 'constant',
      get value() {
        count++;
        return 0.05;
      },
    };
    let zeta;
    for await (const epoch of train({ ...config, epochs, batch: 48, optimizer: { learningRate } })) {
      if (epoch.epoch === epochs) zeta = (await epoch.theory()).zeta;
    }
    assert.ok(
      distance(
        zeta,
        Array.from({ length: epochs + 1 }, (_, k) => 2 * k * 0.05),
      ) < 1e-12,
    );
    return count;
  };
  const [few, many] = [await looks(5), await looks(15)];
  assert.ok(many < 3 * few + 10, `${few} and ${many}`);
});

test('momentum of 1 is refused: velocities would never fade', async () => {
  await refuses('LP_CONFIG', /config\.optimizer\.momentum is 1; expected a finite number of at least 0 and below 1/, () =>
    train({ ...config, optimizer: { momentum: 1 } }).next(),
  );
});

test.run();
