/**
 * Training as `bench/training.py` times it in PyTorch: `node bench/training.js '{"model":"resnet20","images":6400,"batch":128}'`.
 * With `"scale": 300` margins are large. Prints images a second of a step (an epoch without what it waited for images) and of whole epochs, the seconds of an epoch, of
 * measuring collapse after it and of the forward pass in that, and the most memory that was held while training.
 */
import { readFileSync } from 'node:fs';
import { seededRandom } from 'layerpeel';
import { train } from 'layerpeel/torch';

const { model, images, batch, scale } = JSON.parse(process.argv[2]);
const random = seededRandom(0);

const set = {
  images: new Uint8Array(new SharedArrayBuffer(images * 32 * 32 * 3)),
  shape: [images, 32, 32, 3],
  labels: Int32Array.from({ length: images }, (_, i) => i % 10),
  classes: Array.from('0123456789'),
  source: 'noise',
};
for (let k = 0; k < set.images.length; k++) set.images[k] = 256 * random.uniform();
const config = {
  data: { train: set, augmentation: { padding: 4, flip: true } },
  // Margins of some hundreds from the first step on: a fixed simplex of that scale.
  model: { kind: model, ...(scale && { classifier: { kind: 'fixed-etf', scale } }) },
  loss: { kind: 'cross-entropy' },
  optimizer: { learningRate: 0.1, momentum: 0.9, weightDecay: 5e-4 },
  epochs: 4,
  batch,
  collapseEvery: 4,
};
const peakOf = () => 1024 * Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const epochs = [];
let peak;
for await (const epoch of train(config)) {
  epochs.push(epoch.measures);
  if (epoch.epoch < config.epochs) peak = peakOf();
}
// The first epoch warms caches up.
const later = epochs.slice(1);
console.log(
  JSON.stringify({
    step: median(later.map(({ seconds, waitedForImages }) => images / (seconds - waitedForImages))),
    epoch: median(later.map(({ seconds }) => images / seconds)),
    seconds: median(later.map(({ seconds }) => seconds)),
    measuring: epochs.at(-1).secondsMeasuring,
    forward: epochs.at(-1).secondsMeasuring - epochs.at(-1).secondsCollapse,
    peak,
  }),
);
