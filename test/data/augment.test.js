import { augment, augmentSync, channelStatistics, channelStatisticsSync, seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';
import { startNode } from '../process.js';

const [n, height, width, channels] = [20, 6, 5, 3];
const random = seededRandom(3);
const set = {
  images: Uint8Array.from({ length: n * height * width * channels }, () => 256 * random.uniform()),
  shape: [n, height, width, channels],
  labels: new Int32Array(n),
  classes: ['only'],
  source: 'test',
};
const pixel = (i, y, x, c) => set.images[((i * height + y) * width + x) * channels + c];

/** Whether an augmented plane is `view(y, x)` everywhere, in 0 … 1. */
const isView = (plane, view) => plane.every((value, k) => Math.abs(value - view(Math.floor(k / width), k % width) / 255) < 1e-6);

test('without options: pixels over 255, channels first', () => {
  const { images, partners, shares } = augmentSync(set, [3, 19]);
  assert.equal(images.shape, [2, channels, height, width]);
  for (const [b, i] of [3, 19].entries()) {
    for (let c = 0; c < channels; c++) {
      const from = (b * channels + c) * height * width;
      assert.ok(isView(images.data.subarray(from, from + height * width), (y, x) => pixel(i, y, x, c)));
    }
  }
  assert.equal([...partners], [3, 19]);
  assert.equal([...shares], [1, 1]);
});

test('normalization takes the mean off and divides', () => {
  const { mean, std } = channelStatisticsSync(set);
  const { data } = augmentSync(
    set,
    Array.from({ length: n }, (_, i) => i),
    { mean, std },
  ).images;
  for (let c = 0; c < channels; c++) {
    let [sum, square] = [0, 0];
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < height * width; k++) {
        const value = data[(i * channels + c) * height * width + k];
        sum += value;
        square += value ** 2;
      }
    }
    assert.ok(Math.abs(sum / (n * height * width)) < 1e-6);
    assert.ok(Math.abs(square / (n * height * width) - 1) < 1e-6);
  }
});

test('every crop with flip is one of the windows, and all of them come', () => {
  const seen = new Set();
  for (let epoch = 0; epoch < 150; epoch++) {
    const plane = augmentSync(set, [7], { padding: 1, flip: true, epoch }).images.data.subarray(0, height * width);
    const found = [];
    for (const flip of [false, true]) {
      for (const dy of [-1, 0, 1]) {
        for (const dx of [-1, 0, 1]) {
          const view = (y, x) => {
            const [row, column] = [y + dy, (flip ? width - 1 - x : x) + dx];
            return row >= 0 && row < height && column >= 0 && column < width ? pixel(7, row, column, 0) : 0;
          };
          if (isView(plane, view)) found.push(`${flip} ${dy} ${dx}`);
        }
      }
    }
    assert.is(found.length, 1);
    seen.add(found[0]);
  }
  assert.is(seen.size, 18);
});

test('seed, epoch and index draw an augmentation, each by itself', () => {
  const of = (indices, more) => augmentSync(set, indices, { padding: 2, flip: true, shift: 1, mixup: 0.5, ...more });
  const all = Array.from({ length: n }, (_, i) => i);
  const base = of(all);
  assert.equal(of(all, { seed: 0, epoch: 0 }), base);
  for (const change of [{ seed: 1 }, { epoch: 1 }]) {
    const other = of(all, change);
    for (const part of ['partners', 'shares']) assert.not.equal(other[part], base[part]);
    assert.not.equal(other.images, base.images);
  }
  // An image is augmented alike whatever others are asked for.
  const size = height * width * channels;
  assert.equal(of([13]).images.data, base.images.data.subarray(13 * size, 14 * size));
});

test('mixup is the mean of two augmented images by its shares', () => {
  const how = { padding: 1, flip: true, epoch: 2, seed: 5 };
  const { images, partners, shares } = augmentSync(set, [0, 1, 2, 3], { ...how, mixup: 1 });
  const own = augmentSync(set, [0, 1, 2, 3], how).images.data;
  const other = augmentSync(set, partners, how).images.data;
  const size = height * width * channels;
  for (const [k, value] of images.data.entries()) {
    const share = shares[Math.floor(k / size)];
    assert.ok(Math.abs(value - share * own[k] - (1 - share) * other[k]) < 1e-6);
  }
});

test('the same bits for any number of threads and instruction set, and off the event loop', async () => {
  const code = `
    import { createHash } from 'node:crypto';
    import { augmentSync } from 'layerpeel';
    const images = Uint8Array.from({ length: 500 * 33 * 31 * 3 }, (_, k) => (k * k) >> 5);
    const set = { images, shape: [500, 33, 31, 3], labels: new Int32Array(500), classes: ['a'], source: '' };
    const how = { padding: 4, shift: 2, flip: true, mixup: 0.2, mean: [0.49, 0.48, 0.45], std: [0.25, 0.24, 0.26], epoch: 1 };
    console.log(createHash('sha256').update(augmentSync(set, [...Array(500).keys()], how).images.data).digest('hex'));`;
  const hashes = new Set();
  for (const env of [
    { LAYERPEEL_THREADS: '1' },
    { LAYERPEEL_THREADS: '3' },
    { LAYERPEEL_ISA: 'baseline' },
    { LAYERPEEL_ISA: 'avx2' },
  ]) {
    const {
      code: exit,
      stdout,
      stderr,
    } = await startNode(['--input-type=module', '-e', code], { env: { ...process.env, ...env } }).ended;
    assert.is(exit, 0, stderr);
    hashes.add(stdout.trim());
  }
  assert.is(hashes.size, 1, [...hashes].join(' '));
  const options = { padding: 2, mixup: 0.5 };
  assert.equal(await augment(set, [1, 2], options), augmentSync(set, [1, 2], options));
});

test('statistics are those of the pixels', async () => {
  const { mean, std } = await channelStatistics(set);
  for (let c = 0; c < channels; c++) {
    const values = [...set.images].filter((_, k) => k % channels === c).map((v) => v / 255);
    const average = values.reduce((sum, v) => sum + v, 0) / values.length;
    const variance = values.reduce((sum, v) => sum + (v - average) ** 2, 0) / values.length;
    assert.ok(Math.abs(mean[c] - average) < 1e-12);
    assert.ok(Math.abs(std[c] - Math.sqrt(variance)) < 1e-12);
  }
});

test('bad input is refused', async () => {
  await refuses('LP_OPTION', /indices\[1\] is 20/, () => augment(set, [0, 20]));
  await refuses('LP_OPTION', /did you mean padding/, () => augment(set, [0], { pading: 1 }));
  await refuses('LP_OPTION', /std\[1\] is 0/, () => augment(set, [0], { std: [1, 0, 1] }));
  await refuses('LP_OPTION', /mean is a list; expected a list of 3/, () => augment(set, [0], { mean: [0] }));
  await refuses('LP_OPTION', /mixup is -1/, () => augment(set, [0], { mixup: -1 }));
  await refuses('LP_SHAPE', /expected their product/, () => augment({ ...set, shape: [n, 2, 2, 2] }, [0]));
  await refuses('LP_LABEL', /labels\[0\] is 3/, () => augment({ ...set, labels: new Int32Array(n).fill(3) }, [0]));
  await refuses('LP_LABEL', /labels\[0\] is 1; expected 0 … 0/, () => augment({ ...set, labels: new Int32Array(n).fill(1) }, [0]));
  await refuses('LP_DTYPE', /Uint8Array/, () => augment({ ...set, images: new Float32Array(9) }, [0]));
  await refuses('LP_ABORTED', /stopped/, () => augment(set, [0], { signal: AbortSignal.abort() }));
});

test('shares of mixup are in [0, 1] for every parameter, and none is taken from which they would not be', async () => {
  const indices = Int32Array.from({ length: 4096 }, (_, i) => i % set.labels.length);
  for (const mixup of [1e-6, 1e-4, 0.01, 1, 1e3, 1e6]) {
    for (const epoch of [0, 1, 2]) {
      const { shares } = augmentSync(set, indices, { mixup, epoch });
      assert.ok(
        shares.every((share) => share >= 0 && share <= 1),
        `${mixup}`,
      );
    }
  }
  for (const mixup of [5e-324, 1e-7, 1e7, Number.NaN]) await refuses('LP_OPTION', /mixup/, () => augment(set, [0], { mixup }));
});

test.run();
