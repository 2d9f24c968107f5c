/** Sound sets of images of every kind, one of whose files is changed, and what must hold: it is loaded as a set that agrees with itself, or refused. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { LayerpeelError, loadImages } from 'layerpeel';
import sharp from 'sharp';
import * as assert from 'uvu/assert';
import { checkImages } from '../../lib/data/images.js';
import { npyBytes, zipBytes } from '../array/cases.js';
import { cifar, gzip, idx, idxImages, matlab, matrix, stl10Images, svhnImages, writeFiles } from '../data/formats.js';
import { changes } from './mutations.js';

const digits = matrix('y', 9, [2, 1], 2, [10, 1]);
const image = sharp({ create: { height: 7, width: 5, channels: 3, background: '#123456' } });
const [png, jpeg, tiff, gif, webp] = await Promise.all(
  ['png', 'jpeg', 'tiff', 'gif', 'webp'].map((kind) => image.clone()[kind]().toBuffer()),
);
const bytes = (shape) =>
  npyBytes(
    `{'descr': '|u1', 'fortran_order': False, 'shape': (${shape}), }`,
    shape.split(',').reduce((n, k) => n * (Number(k) || 1), 1),
  );
const arrays = [
  ['train_images.npy', bytes('2, 3, 4')],
  ['train_labels.npy', bytes('2, 1')],
];

const idxSet = { 'train-images-idx3-ubyte': idxImages(2, 3, 4), 'train-labels-idx1-ubyte': idx([2], [1, 0]) };
const folder = (name, file) => ['folder', `train/a/${name}`, { [`train/a/${name}`]: file, 'train/a/2.png': png }];

export const sets = [
  ['cifar100', 'train.bin', { 'train.bin': cifar([[0, 1]]) }],
  [
    'cifar10',
    'batches.meta.txt',
    { 'test_batch.bin': cifar([[1]]), 'batches.meta.txt': 'a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n' },
    { split: 'test' },
  ],
  ['stl10', 'train_y.bin', { 'train_X.bin': stl10Images(2), 'train_y.bin': Buffer.of(1, 2) }],
  ['stl10', 'train_X.bin', { 'train_X.bin': stl10Images(2), 'train_y.bin': Buffer.of(1, 2) }],
  ['idx', 'train-images-idx3-ubyte', idxSet],
  ['idx', 'train-images-idx3-ubyte', idxSet, { transpose: true, firstLabel: -3 }],
  [
    'idx',
    'train-images-idx3-ubyte.gz',
    { 'train-images-idx3-ubyte.gz': gzip(idxImages(2, 3, 4)), 'train-labels-idx1-ubyte': idx([2], [1, 0]) },
  ],
  ['idx', 'train-labels-idx1-ubyte', idxSet, { emptyClasses: 'leave out' }],
  ['svhn', 'train_32x32.mat', { 'train_32x32.mat': matlab([svhnImages(2, 3, 4), digits]) }],
  ['svhn', 'train_32x32.mat', { 'train_32x32.mat': matlab([svhnImages(2, 3, 4), digits], { compress: false }) }],
  ['npz', 'a.npz', { 'a.npz': zipBytes(arrays) }],
  ['npz', 'a.npz', { 'a.npz': zipBytes(arrays, { deflate: true }) }],
  ['npy', 'train_images.npy', Object.fromEntries(arrays), { transpose: true }],
  ['npy', 'train_labels.npy', Object.fromEntries(arrays)],
  folder('1.png', png),
  folder('1.jpg', jpeg),
  folder('1.tif', tiff),
  folder('1.gif', gif),
  folder('1.webp', webp),
  [...folder('1.png', png), { size: [3, 2], cache: false }],
  [...folder('1.tif', tiff), { size: [3, 2], orient: true, cache: false }],
  ['folder', '.layerpeel-cache/train.safetensors', { 'train/a/1.jpg': jpeg, 'train/a/2.png': png }],
].map(([kind, changed, files, options = {}]) => ({ kind, changed, files, options }));

/** A set, and a change of its file. */
export const changedSets = fc.noBias(fc.tuple(fc.constantFrom(...sets), changes).map(([set, change]) => ({ ...set, change })));

/** Loads a set in a folder of its own as it is, so that a cache is there, and then changed. */
export async function checkSet({ kind, changed, files, options, change }, path) {
  writeFiles(path, files);
  const load = () => loadImages({ kind, path: kind === 'npz' ? join(path, changed) : path, ...options });
  await load();
  writeFiles(path, { [changed]: change(Buffer.from(files[changed] ?? readFileSync(join(path, changed)))) });
  try {
    checkImages(await load());
  } catch (error) {
    const refused = error instanceof LayerpeelError && (error.code === 'LP_FILE' || (kind === 'npz' && error.code === 'LP_OPTION'));
    if (!refused) throw error;
    assert.not.equal(files[changed], undefined, 'a damaged cache is no reason to refuse');
  }
}
