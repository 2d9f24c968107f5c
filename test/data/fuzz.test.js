import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { LayerpeelError, loadImages } from 'layerpeel';
import sharp from 'sharp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkImages } from '../../lib/data/images.js';
import { changes } from '../fuzz/mutations.js';
import { cifar, gzip, idx, idxImages, matlab, matrix, stl10Images, svhnImages, writeFiles } from './formats.js';

const digits = matrix('y', 9, [2, 1], 2, [10, 1]);
const png = await sharp({ create: { height: 7, width: 5, channels: 3, background: '#123456' } })
  .png()
  .toBuffer();
const jpeg = await sharp(png).jpeg().toBuffer();

/** Sound sets, and which of a set's files is changed. */
const sets = [
  ['cifar100', 'train.bin', { 'train.bin': cifar([[0, 1]]) }],
  ['cifar10', 'batches.meta.txt', { 'test_batch.bin': cifar([[1]]), 'batches.meta.txt': 'a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n' }],
  ['stl10', 'train_y.bin', { 'train_X.bin': stl10Images(2), 'train_y.bin': Buffer.of(1, 2) }],
  [
    'idx',
    'train-images-idx3-ubyte',
    { 'train-images-idx3-ubyte': idxImages(2, 3, 4), 'train-labels-idx1-ubyte': idx([2], [1, 0]) },
  ],
  [
    'idx',
    'train-images-idx3-ubyte.gz',
    { 'train-images-idx3-ubyte.gz': gzip(idxImages(2, 3, 4)), 'train-labels-idx1-ubyte': idx([2], [1, 0]) },
  ],
  [
    'idx',
    'train-labels-idx1-ubyte',
    { 'train-images-idx3-ubyte': idxImages(2, 3, 4), 'train-labels-idx1-ubyte': idx([2], [1, 0]) },
  ],
  ['svhn', 'train_32x32.mat', { 'train_32x32.mat': matlab([svhnImages(2, 3, 4), digits]) }],
  ['svhn', 'train_32x32.mat', { 'train_32x32.mat': matlab([svhnImages(2, 3, 4), digits], { compress: false }) }],
  ['folder', 'train/a/1.png', { 'train/a/1.png': png, 'train/a/2.png': png }],
  ['folder', 'train/a/1.jpg', { 'train/a/1.jpg': jpeg, 'train/a/2.png': png }],
  ['folder', '.layerpeel-cache/train.safetensors', { 'train/a/1.jpg': jpeg, 'train/a/2.png': png }],
].map(([kind, changed, files]) => ({ kind, changed, files }));

test('a set with a changed file is loaded as one that agrees with itself, or refused', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'layerpeel-images-'));
  try {
    for (const [k, { kind, changed, files }] of sets.entries()) {
      const path = join(folder, String(k));
      writeFiles(path, files);
      const split = files['test_batch.bin'] ? 'test' : 'train';
      const load = () => loadImages({ kind, path, split });
      await load();
      const whole = files[changed] ?? readFileSync(join(path, changed));
      await fc.assert(
        fc.asyncProperty(fc.noBias(changes), async (change) => {
          writeFiles(path, { [changed]: change(Buffer.from(whole)) });
          try {
            checkImages(await load());
          } catch (error) {
            if (!(error instanceof LayerpeelError) || error.code !== 'LP_FILE') throw error;
            assert.not.equal(files[changed], undefined, 'a damaged cache is no reason to refuse');
          }
        }),
        { numRuns: 60 },
      );
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
