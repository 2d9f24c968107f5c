// Measures two networks that make the same of images, one with so many features that they are not kept, and prints what came of
// both, and the most memory that the first one took.
import { train } from 'layerpeel/torch';
import { patterns } from '../images.js';

const [copies, narrow, classes] = [64, 64, 2];
const images = patterns({ classes, perClass: 34000, size: 4, channels: 1 });
const sine = (rows, columns) => Array.from({ length: rows * columns }, (_, k) => Math.sin(k + k * k));
const [first, last] = [sine(narrow, 16), sine(classes, narrow)];

/** A network whose features are `times` copies of those of the narrow one, of the same length together. */
function weights(times) {
  const [rows, scale] = [times * narrow, 1 / Math.sqrt(times)];
  const copied = (row) => Array.from({ length: times }, () => row.map((value) => scale * value)).flat();
  return {
    classifier: true,
    tensors: {
      'fc1.weight': { shape: [rows, 16], data: Float32Array.from(copied(first)) },
      'fc1.bias': { shape: [rows], data: new Float32Array(rows) },
      'fc2.weight': {
        shape: [classes, rows],
        data: Float32Array.from([0, 1].flatMap((c) => copied(last.slice(c * narrow, (c + 1) * narrow)))),
      },
      'fc2.bias': { shape: [classes], data: new Float32Array(classes) },
    },
  };
}

const found = [];
for (const times of [copies, 1]) {
  const config = {
    data: { train: images, test: patterns({ classes, perClass: 50, size: 4, channels: 1, seed: 1 }) },
    model: { kind: 'mlp', widths: [times * narrow], weights: weights(times) },
    loss: { kind: 'cross-entropy' },
    optimizer: { learningRate: 0, momentum: 0 },
    epochs: 1,
    batch: 500,
  };
  for await (const { measures, byClass, featureMean } of train(config)) {
    const mean = await featureMean();
    found.push({
      measures,
      byClass: Object.fromEntries(Object.entries(byClass).map(([name, { data }]) => [name, [...data]])),
      mean: [...mean.data.subarray(0, narrow)].map((value) => value * Math.sqrt(times)),
      peak: process.resourceUsage().maxRSS * 1024,
    });
  }
}
console.log(JSON.stringify(found));
