// Trains on a folder of images that memory does not hold, and prints what came of it and the most memory that it took.
import { train } from 'layerpeel/torch';

const [, , path, stream] = process.argv;
const normalization = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };
const config = {
  data: { kind: 'folder', path, cache: false, stream: stream === 'true', normalization },
  model: { kind: 'mlp', widths: [4] },
  loss: { kind: 'cross-entropy' },
  optimizer: { learningRate: 1e-3 },
  epochs: 1,
  batch: 16,
  collapseEvery: 0,
};
try {
  for await (const { measures } of train(config)) {
    console.log(JSON.stringify({ measures, peak: process.resourceUsage().maxRSS * 1024 }));
  }
} catch ({ code, message }) {
  console.log(JSON.stringify({ code, message }));
}
