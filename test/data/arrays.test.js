// Images kept as arrays, as MedMNIST, Keras and corrupted test sets are.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadImages, writeNpz } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { npyBytes, zipBytes } from '../array/cases.js';
import { refuses } from '../helpers.js';
import { startNode } from '../process.js';
import { assertSet, pixel, withFolder } from './formats.js';

/** A `.npy` of unsigned bytes. */
function uint8(shape, value) {
  const size = shape.reduce((product, extent) => product * extent, 1);
  const bytes = npyBytes(`{'descr': '|u1', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`, size);
  for (let k = 0; k < size; k++) bytes[bytes.length - size + k] = value(k);
  return bytes;
}
const imagesOf = (shape) => {
  const [, height, width, channels = 1] = shape;
  return uint8(shape, (k) =>
    pixel(
      Math.floor(k / (height * width * channels)),
      Math.floor(k / (width * channels)) % height,
      Math.floor(k / channels) % width,
      k % channels,
    ),
  );
};
const labelsOf = (labels, shape = [labels.length]) => uint8(shape, (k) => labels[k]);
const named = (members, deflate = true) =>
  zipBytes(
    Object.entries(members).map(([name, bytes]) => [`${name}.npy`, bytes]),
    { deflate },
  );

test('one file of named arrays: MedMNIST and Keras', async () => {
  for (const deflate of [false, true]) {
    const med = named(
      {
        train_images: imagesOf([3, 5, 4, 3]),
        train_labels: labelsOf([2, 0, 1], [3, 1]),
        val_images: imagesOf([1, 5, 4]),
        val_labels: labelsOf([1], [1, 1]),
      },
      deflate,
    );
    const keras = named(
      { x_train: imagesOf([2, 5, 4]), y_train: labelsOf([1, 0]), x_test: imagesOf([1, 5, 4]), y_test: labelsOf([1]) },
      deflate,
    );
    await withFolder({ 'med.npz': med, 'keras.npz': keras }, async (path) => {
      const load = (file, more) => loadImages({ kind: 'npz', path: join(path, file), ...more });
      const train = await load('med.npz');
      assertSet(train, [2, 0, 1], [5, 4, 3]);
      assert.equal(train.classes, ['0', '1', '2']);
      assert.match(train.source, /train_images of .*med\.npz/);
      assertSet(await load('med.npz', { split: 'val', classes: ['a', 'b'] }), [1], [5, 4, 1]);
      assertSet(await load('keras.npz'), [1, 0], [5, 4, 1]);
      assertSet(await load('keras.npz', { split: 'test' }), [1], [5, 4, 1]);
      assertSet(await load('keras.npz', { images: 'x_test', labels: 'y_test' }), [1], [5, 4, 1]);
      await refuses('LP_OPTION', /med\.npz has no array test_images/, () => load('med.npz', { split: 'test' }));
      await refuses('LP_FILE', /y_test: it has 1 labels for the 2 images/, () => load('keras.npz', { labels: 'y_test' }));
      await refuses('LP_OPTION', /source\.size is not known/, () => load('med.npz', { size: [2, 2] }));
      await refuses('LP_OPTION', /source\.split is false/, () => load('med.npz', { split: false }));
    });
  }
});

test('files of a folder: CIFAR-10-C', () =>
  withFolder(
    {
      'fog.npy': imagesOf([3, 2, 2, 3]),
      'labels.npy': labelsOf([9, 0, 4]),
      'test_images.npy': imagesOf([1, 2, 2]),
      'test_labels.npy': labelsOf([5]),
    },
    async (path) => {
      const load = (more) => loadImages({ kind: 'npy', path, ...more });
      assertSet(await load({ images: 'fog.npy', labels: 'labels.npy' }), [9, 0, 4], [2, 2, 3]);
      const few = await load({ images: 'fog.npy', labels: 'labels.npy', emptyClasses: 'leave out' });
      assert.equal([...few.labels], [2, 0, 1]);
      assert.equal(few.classes, ['0', '4', '9']);
      assertSet(await load({ split: 'test' }), [5], [2, 2, 1]);
      await refuses('LP_FILE', /train_images\.npy cannot be read: it does not exist/, () => load());
    },
  ));

test('rows and columns exchanged, whatever the channels', () =>
  withFolder({ 'a.npy': imagesOf([2, 5, 4, 3]), 'y.npy': labelsOf([0, 1]) }, async (path) => {
    const { images, shape } = await loadImages({ kind: 'npy', path, images: 'a.npy', labels: 'y.npy', transpose: true });
    assert.equal(shape, [2, 4, 5, 3]);
    for (let k = 0; k < images.length; k++) {
      assert.is(images[k], pixel(Math.floor(k / 60), Math.floor(k / 3) % 5, Math.floor(k / 15) % 4, k % 3));
    }
  }));

test('other shapes and types are refused, with what makes them right', async () => {
  const float = npyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 2), }", 16);
  for (const [images, labels, message] of [
    [imagesOf([1, 3, 5, 6]), [0], /shape is \[1, 3, 5, 6\]; .*images\.transpose\(0, 2, 3, 1\) puts channels last/],
    [imagesOf([4, 4]), [0], /shape is \[4, 4\]; expected \[n, height, width\]/],
    [float, [0], /holds float32; expected images of uint8, 0 … 255 \(images\.astype\('uint8'\) converts\)/],
    [imagesOf([0, 4, 4]), [], /shape is \[0, 4, 4\]/],
    [imagesOf([1, 4, 4]), [0, 1], /y\.npy: it has 2 labels for the 1 images/],
  ]) {
    await withFolder({ 'a.npy': images, 'y.npy': labelsOf(labels) }, (path) =>
      refuses('LP_FILE', message, () => loadImages({ kind: 'npy', path, images: 'a.npy', labels: 'y.npy' })),
    );
  }
  await withFolder(
    { 'a.npy': imagesOf([1, 4, 4]), 'y.npy': npyBytes("{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }", 8) },
    async (path) => {
      const bytes = readFileSync(join(path, 'y.npy'));
      bytes.writeInt32LE(2 ** 30, bytes.length - 8);
      writeFileSync(join(path, 'y.npy'), bytes);
      const source = { kind: 'npy', path, images: 'a.npy', labels: 'y.npy' };
      await refuses('LP_FILE', /largest label is 1073741824, which makes 1073741825 classes; .*emptyClasses: 'leave out'/, () =>
        loadImages(source),
      );
      assert.equal((await loadImages({ ...source, emptyClasses: 'leave out' })).classes, ['1073741824']);
    },
  );
});

test('images take their own bytes of memory and little more', () =>
  withFolder({}, async (path) => {
    const size = 96 * 2 ** 20;
    writeFileSync(
      join(path, 'a.npy'),
      uint8([1536, 256, 256], () => 7),
    );
    await writeNpz(join(path, 'y.npz'), { y: new Int32Array(1536) });
    writeFileSync(join(path, 'y.npy'), labelsOf(new Array(1536).fill(0)));
    const code = `import { loadImages } from ${JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)};
      import { readFileSync } from 'node:fs';
      const peak = () => Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
      const before = peak();
      const set = await loadImages({ kind: 'npy', path: ${JSON.stringify(path)}, images: 'a.npy', labels: 'y.npy' });
      console.log(String((peak() - before) / set.images.length));`;
    if (process.platform !== 'linux') return console.log('not run: peak memory, which /proc tells on Linux');
    const { stdout, stderr } = await startNode(['--input-type=module', '-e', code]).ended;
    assert.ok(Number(stdout) > 0.9 && Number(stdout) < 1.6, `${stdout} times ${size} bytes ${stderr}`);
  }));

test.run();
