import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadImages } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';
import {
  assertSet,
  cifar,
  gzip,
  idx,
  idxImages,
  matlab,
  matrix,
  stl10Images,
  svhnImages,
  withFolder,
  writeFiles,
} from './formats.js';

const batches = (sizes) =>
  Object.fromEntries(sizes.map((size, k) => [`data_batch_${k + 1}.bin`, cifar(new Array(size).fill([k]), 3 * k)]));

test('CIFAR-10: five batches and the test batch, with names', () =>
  withFolder(
    { ...batches([3, 3, 3, 3, 1]), 'test_batch.bin': cifar([[9], [0]]), 'batches.meta.txt': 'a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n' },
    async (path) => {
      const train = await loadImages({ kind: 'cifar10', path });
      assertSet(train, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4], [32, 32, 3]);
      assert.equal(train.classes, [...'abcdefghij']);
      assert.match(train.source, /CIFAR-10 train/);
      assertSet(await loadImages({ kind: 'cifar10', path, split: 'test' }), [9, 0], [32, 32, 3]);
    },
  ));

test('CIFAR-100: the fine label is the second byte; classes without names are numbered', () =>
  withFolder(
    {
      'train.bin': cifar([
        [19, 99],
        [3, 0],
        [255, 7],
      ]),
    },
    async (path) => {
      const set = await loadImages({ kind: 'cifar100', path });
      assertSet(set, [99, 0, 7], [32, 32, 3]);
      assert.is(set.classes.length, 100);
      assert.is(set.classes[99], '99');
    },
  ));

test('CIFAR: what is missing, truncated, mislabelled or misnamed is refused by file', () =>
  withFolder(batches([1, 1, 1, 1]), async (path) => {
    const load = () => loadImages({ kind: 'cifar10', path });
    await refuses('LP_FILE', /data_batch_5\.bin: it does not exist; expected data_batch_1\.bin/, load);
    const whole = cifar([[4]]);
    for (const length of [0, 1, 2, 3072]) {
      writeFiles(path, { 'data_batch_5.bin': whole.subarray(0, length) });
      await refuses('LP_FILE', length ? /_5\.bin: it has \d+ bytes, which is no multiple of 3073/ : /_5\.bin: it is empty/, load);
    }
    writeFiles(path, { 'data_batch_5.bin': Buffer.concat([whole, Buffer.of(1)]) });
    await refuses('LP_FILE', /_5\.bin: it has 3074 bytes/, load);
    writeFiles(path, { 'data_batch_5.bin': cifar([[4], [10]]) });
    await refuses('LP_FILE', /_5\.bin: the label of image 1 is 10; expected 0 … 9/, load);
    writeFiles(path, { 'data_batch_5.bin': whole, 'batches.meta.txt': 'cat\ndog\n' });
    await refuses('LP_FILE', /batches\.meta\.txt: it has 2 lines; expected 10/, load);
  }));

test('the Python version of CIFAR, and a folder above the one that is meant, are told', () =>
  withFolder({ 'py/data_batch_1': '\x80', 'above/bin/train.bin': cifar([[1, 2]]) }, async (path) => {
    await refuses('LP_FILE', /data_batch_1\.bin: it does not exist; .*Python version, of pickles.*fetch the binary version/, () =>
      loadImages({ kind: 'cifar10', path: join(path, 'py') }),
    );
    await refuses('LP_FILE', /train\.bin: it does not exist; .*It is in .*above\/bin: pass that as path/, () =>
      loadImages({ kind: 'cifar100', path: join(path, 'above') }),
    );
    assertSet(await loadImages({ kind: 'cifar100', path: join(path, 'above/bin') }), [2], [32, 32, 3]);
  }));

test('a file of a published size must have the published checksum, unless told otherwise', () =>
  withFolder({ 'train_y.bin': Buffer.alloc(5000, 1), 'train_X.bin': stl10Images(1) }, async (path) => {
    await refuses('LP_FILE', /train_y\.bin: its MD5 is [0-9a-f]{32}, but the published file's is 5a34089d/, () =>
      loadImages({ kind: 'stl10', path }),
    );
    await refuses('LP_FILE', /train_y\.bin: it has 5000 labels for the 1 images/, () =>
      loadImages({ kind: 'stl10', path, verify: false }),
    );
  }));

test('IDX: either name, plain or compressed', async () => {
  const [images, labels] = [idxImages(3, 5, 4), idx([3], [2, 0, 1])];
  for (const files of [
    { 'train-images-idx3-ubyte': images, 'train-labels-idx1-ubyte': labels },
    { 'train-images.idx3-ubyte': images, 'train-labels.idx1-ubyte.gz': gzip(labels) },
    { 'train-images-idx3-ubyte.gz': gzip(images), 'train-labels-idx1-ubyte.gz': gzip(labels) },
  ]) {
    await withFolder(files, async (path) => {
      const set = await loadImages({ kind: 'idx', path });
      assertSet(set, [2, 0, 1], [5, 4, 1]);
      assert.equal(set.classes, ['0', '1', '2']);
      const named = await loadImages({ kind: 'idx', path, classes: ['a', 'b', 'c', 'd'] });
      assert.equal(named.classes, ['a', 'b', 'c', 'd']);
      await refuses('LP_FILE', /the label of image 0 is 2; expected 0 … 1/, () =>
        loadImages({ kind: 'idx', path, classes: ['a', 'b'] }),
      );
      await refuses('LP_FILE', /t10k-images-idx3-ubyte.*does not exist/, () => loadImages({ kind: 'idx', path, split: 'test' }));
    });
  }
});

test('IDX: headers are not believed, and nothing may be missing or follow', async () => {
  const [images, labels] = [idxImages(3, 5, 4), idx([3], [2, 0, 1])];
  const lying = (at, value) => {
    const bytes = Buffer.from(images);
    bytes.writeUInt32BE(value, at);
    return bytes;
  };
  const cases = [
    [lying(0, 0x0801), /begins with the bytes 0 0 8 1; expected 0 0 8 3/],
    [lying(0, 0x0d03), /begins with the bytes 0 0 13 3/],
    [lying(4, 2 ** 32 - 1), /claims shape \[4294967295, 5, 4\]/],
    [lying(8, 2 ** 31), /claims shape/],
    [lying(4, 0), /claims shape \[0, 5, 4\].*at least one image/],
    [idxImages(2, 5, 4), /labels-idx1-ubyte.* 3 labels for the 2 images/],
    [Buffer.concat([images, Buffer.alloc(4000)]), /truncated or damaged|more data follows/],
    ...[0, 1, 3, 4, 7, 8, 12, 15, 16, 17, images.length - 1].map((length) => [
      images.subarray(0, length),
      /truncated|bytes early|cannot be inflated|is empty/,
    ]),
  ];
  for (const [bytes, message] of cases) {
    for (const file of [{ 'train-images-idx3-ubyte': bytes }, { 'train-images-idx3-ubyte.gz': gzip(bytes) }]) {
      await withFolder({ ...file, 'train-labels-idx1-ubyte': labels }, (path) =>
        refuses('LP_FILE', message, () => loadImages({ kind: 'idx', path })),
      );
    }
  }
});

test('IDX: a compressed file that is damaged, cut or would fill the memory is refused', async () => {
  const labels = idx([3], [2, 0, 1]);
  const whole = gzip(idxImages(3, 5, 4));
  const checksum = Buffer.from(whole);
  checksum[whole.length - 8] ^= 1;
  // Many times its size of zeros, behind a header that claims three images.
  const bomb = gzip(Buffer.concat([idxImages(3, 5, 4), Buffer.alloc(2 ** 26)]));
  // And one whose header claims more than deflate could make of it.
  const claim = gzip(idx([60000, 1000, 1000], Buffer.alloc(64)));
  const cases = [
    [checksum, /cannot be inflated/],
    [bomb, /more data follows/],
    [claim, /claims shape \[60000, 1000, 1000\]/],
    [Buffer.from('no gzip at all'), /begins with the bytes 110 111 32 103; expected 0 0 8 3/],
    ...[0, 5, 10, whole.length - 9, whole.length - 1].map((length) => [
      whole.subarray(0, length),
      /cannot be inflated|bytes early|is empty/,
    ]),
  ];
  for (const [bytes, message] of cases) {
    await withFolder({ 'train-images-idx3-ubyte.gz': bytes, 'train-labels-idx1-ubyte': labels }, (path) =>
      refuses('LP_FILE', message, () => loadImages({ kind: 'idx', path })),
    );
  }
});

test('IDX: a folder in the way of a file is passed over; gzip is told by what the file is', async () => {
  const [images, labels] = [idxImages(3, 5, 4), idx([3], [2, 0, 1])];
  const inTheWay = { 'train-images-idx3-ubyte/x': '', 'train-labels-idx1-ubyte/x': '', 'train-images-idx3-ubyte.gz/x': '' };
  for (const files of [
    { 'train-images.idx3-ubyte': images, 'train-labels.idx1-ubyte': labels },
    { 'train-images.idx3-ubyte.gz': gzip(images), 'train-labels-idx1-ubyte.gz': gzip(labels) },
    // Compressed under a plain name, as some downloads leave it, and the reverse.
    { 'train-images.idx3-ubyte': gzip(images), 'train-labels.idx1-ubyte.gz': labels },
  ]) {
    await withFolder({ ...inTheWay, ...files }, async (path) =>
      assertSet(await loadImages({ kind: 'idx', path }), [2, 0, 1], [5, 4, 1]),
    );
  }
  await withFolder(inTheWay, (path) =>
    refuses('LP_FILE', /train-images-idx3-ubyte.* is not a regular file|does not exist/, () => loadImages({ kind: 'idx', path })),
  );
  for (const [bytes, message] of [
    ['', /train-images-idx3-ubyte: it is empty/],
    ['<!doctype html>', /train-images-idx3-ubyte: it is a page of HTML/],
  ]) {
    await withFolder({ 'train-images-idx3-ubyte': bytes, 'train-labels-idx1-ubyte': labels }, (path) =>
      refuses('LP_FILE', message, () => loadImages({ kind: 'idx', path })),
    );
  }
});

/** An image of `[height, width]` by rows, made one by columns. */
const turned = (bytes, count, height, width) =>
  idx(
    [count, width, height],
    Array.from({ length: count * height * width }, (_, k) => {
      const [i, x, y] = [Math.floor(k / (height * width)), Math.floor(k / height) % width, k % height];
      return bytes[16 + (i * height + y) * width + x];
    }),
  );

test("IDX: EMNIST's names, turned images and labels from 1", () =>
  withFolder(
    {
      'emnist-letters-train-images-idx3-ubyte.gz': gzip(turned(idxImages(3, 5, 4), 3, 5, 4)),
      'emnist-letters-train-labels-idx1-ubyte.gz': gzip(idx([3], [26, 1, 2])),
      'emnist-letters-test-images-idx3-ubyte': turned(idxImages(1, 5, 4), 1, 5, 4),
      'emnist-letters-test-labels-idx1-ubyte': idx([1], [2]),
    },
    async (path) => {
      const emnist = { kind: 'idx', path, prefix: 'emnist-letters-', transpose: true, firstLabel: 1 };
      const train = await loadImages(emnist);
      assertSet(train, [25, 0, 1], [5, 4, 1]);
      assert.is(train.classes.length, 26);
      assertSet(await loadImages({ ...emnist, split: 'test', classes: train.classes }), [1], [5, 4, 1]);
      await refuses('LP_FILE', /the label of image 1 is 1; expected 2 … 26/, () => loadImages({ ...emnist, firstLabel: 2 }));
      await refuses('LP_OPTION', /source\.prefix is "\.\.\/x"/, () => loadImages({ ...emnist, prefix: '../x' }));
    },
  ));

test('IDX: classes without images keep their numbers, or are left out and said to be', () =>
  withFolder(
    {
      'train-images-idx3-ubyte': idxImages(4, 2, 2),
      'train-labels-idx1-ubyte': idx([4], [11, 2, 9, 2]),
      't10k-images-idx3-ubyte': idxImages(1, 2, 2),
      't10k-labels-idx1-ubyte': idx([1], [9]),
    },
    async (path) => {
      const all = await loadImages({ kind: 'idx', path });
      assert.equal([...all.labels], [11, 2, 9, 2]);
      assert.is(all.classes.length, 12);
      assert.not.match(all.source, /left out/);
      const some = await loadImages({ kind: 'idx', path, emptyClasses: 'leave out' });
      assert.equal([...some.labels], [2, 0, 1, 0]);
      assert.equal(some.classes, ['2', '9', '11']);
      assert.match(some.source, /9 classes without images are left out, the others renumbered/);
      const test = { kind: 'idx', path, split: 'test', emptyClasses: 'leave out' };
      assert.equal([...(await loadImages({ ...test, classes: some.classes })).labels], [1]);
      await refuses('LP_FILE', /the label of image 0 is 9; expected one of 2, 11/, () =>
        loadImages({ ...test, classes: ['2', '11'] }),
      );
      await refuses('LP_OPTION', /source\.emptyClasses is "drop"/, () => loadImages({ ...test, emptyClasses: 'drop' }));
    },
  ));

test('STL-10: column by column, labels from 1', () =>
  withFolder({ 'train_X.bin': stl10Images(2), 'train_y.bin': Buffer.of(10, 1) }, async (path) => {
    const load = () => loadImages({ kind: 'stl10', path });
    assertSet(await load(), [9, 0], [96, 96, 3]);
    writeFiles(path, { 'train_y.bin': Buffer.of(1, 0) });
    await refuses('LP_FILE', /train_y\.bin: the label of image 1 is 0; expected 1 … 10/, load);
    writeFiles(path, { 'train_y.bin': Buffer.of(1) });
    await refuses('LP_FILE', /train_y\.bin: it has 1 labels for the 2 images/, load);
    writeFiles(path, { 'train_X.bin': stl10Images(2).subarray(0, 30000) });
    await refuses('LP_FILE', /train_X\.bin: it has 30000 bytes, which is no multiple of 27648/, load);
    writeFiles(path, { 'train_X.bin': stl10Images(1), 'class_names.txt': 'a\na\n' });
    await refuses('LP_FILE', /class_names\.txt: it has 2 lines; expected 10/, load);
  }));

const digits = matrix('y', 9, [3, 1], 2, [10, 1, 9]);

test('SVHN: compressed or not, in either order, labels of any type', async () => {
  const doubles = Buffer.from(Float64Array.of(10, 1, 9).buffer);
  const variants = [
    matlab([svhnImages(3), digits]),
    matlab([svhnImages(3), digits], { compress: false }),
    matlab([matrix('other', 6, [1, 1], 9, Buffer.alloc(8)), digits, svhnImages(3)]),
    matlab([svhnImages(3), matrix('y', 6, [3, 1], 9, doubles)]),
    matlab([svhnImages(3), matrix('y', 6, [1, 3], 4, Buffer.from(Uint16Array.of(10, 1, 9).buffer))]),
  ];
  for (const bytes of variants) {
    await withFolder({ 'train_32x32.mat': bytes }, async (path) => {
      const set = await loadImages({ kind: 'svhn', path });
      assertSet(set, [0, 1, 9], [32, 32, 3]);
      assert.is(set.classes.length, 10);
    });
  }
  await withFolder({ 'extra_32x32.mat': matlab([svhnImages(1), matrix('y', 9, [1, 1], 2, [5])]) }, async (path) =>
    assertSet(await loadImages({ kind: 'svhn', path, split: 'extra' }), [5], [32, 32, 3]),
  );
});

test('images of more than a piece of the file stand in their order', async () => {
  const labels = Array.from({ length: 1400 }, (_, i) => (i * 7) % 10);
  await withFolder(
    {
      'train-images-idx3-ubyte': idxImages(1400, 28, 28),
      'train-labels-idx1-ubyte': idx([1400], labels),
      'test_32x32.mat': matlab([
        svhnImages(400),
        matrix(
          'y',
          9,
          [400, 1],
          2,
          labels.slice(0, 400).map((label) => label || 10),
        ),
      ]),
    },
    async (path) => {
      assertSet(await loadImages({ kind: 'idx', path }), labels, [28, 28, 1]);
      assertSet(await loadImages({ kind: 'svhn', path, split: 'test' }), labels.slice(0, 400), [32, 32, 3]);
    },
  );
});

test('SVHN: files that scipy.io.savemat wrote, of smaller images', async () => {
  // X = pixel(i, y, x, c) for [y, x, c, i] of [5, 4, 3, 3]; y = [[10], [1], [9]], of doubles in the plain one.
  for (const name of ['scipy-compressed', 'scipy-plain']) {
    const bytes = readFileSync(new URL(`fixtures/${name}.mat`, import.meta.url));
    await withFolder({ 'test_32x32.mat': bytes }, async (path) =>
      assertSet(await loadImages({ kind: 'svhn', path, split: 'test' }), [0, 1, 9], [5, 4, 3]),
    );
  }
});

test('SVHN: other files, lying variables and cuts are refused', async () => {
  const whole = matlab([svhnImages(3), digits]);
  const first = 128 + 8 + whole.readUInt32LE(132);
  const plain = matlab([svhnImages(3), digits], { compress: false });
  const changed = (bytes, at, value) => {
    const copy = Buffer.from(bytes);
    copy.writeUInt32LE(value, at);
    return copy;
  };
  const cases = [
    [Buffer.from('MATLAB 7.3 MAT-file'.padEnd(200)), /version 7\.3.*-v7/],
    [Buffer.alloc(200), /does not begin as a little-endian MATLAB 5\.0 file/],
    [whole.subarray(0, 128), /no variable X/],
    [matlab([svhnImages(3)]), /no variable y/],
    [matlab([svhnImages(3), matrix('y', 9, [2, 1], 2, [1, 1])]), /2 labels for the 3 images/],
    [matlab([svhnImages(3), matrix('y', 9, [3, 1], 2, [1, 11, 1])]), /label of image 1 is 11; expected 1 … 10/],
    [matlab([svhnImages(3), matrix('y', 6, [3, 1], 7, Buffer.from(Float32Array.of(1, Number.NaN, 2).buffer))]), /image 1 is NaN/],
    [matlab([svhnImages(3), matrix('y', 4, [3, 1], 4, Buffer.alloc(6, 1))]), /y is of class 4/],
    [matlab([matrix('X', 6, [1, 1, 1, 1], 9, Buffer.alloc(8)), digits]), /X is of class 6/],
    [matlab([matrix('X', 9, [32, 32, 3, 5], 2, Buffer.alloc(100)), digits]), /X is of class 9.*100 bytes/],
    [matlab([matrix('X', 9, [-4, -4, 1, 1], 2, Buffer.alloc(16)), digits]), /X is of class 9/],
    [matlab([Buffer.alloc(64)]), /holds type 0; expected a variable/],
    [changed(whole, 128, 7), /of type 7; expected a variable/],
    [changed(whole, 132, 2 ** 31), /claims 2147483648 bytes/],
    [changed(plain, 132, 64), /bytes of type 2|beyond the variable|of type/],
    [changed(whole, first + 4, 12), /cannot be inflated|bytes early|truncated/],
    // A variable that claims 4 GiB.
    [matlab([changed(svhnImages(3), 4, 2 ** 32 - 1), digits]), /a variable claims 4294967295 bytes, more than/],
    ...[0, 4, 127, 129, 135, 136, 140, first - 1, first + 3, first + 8, whole.length - 1].map((length) => [
      whole.subarray(0, length),
      /MATLAB|truncated|cannot be inflated|bytes early/,
    ]),
    ...[136, 144, 152, 160, 168, 184, 192, 200, 208].map((length) => [plain.subarray(0, length), /truncated/]),
  ];
  for (const [bytes, message] of cases) {
    await withFolder({ 'train_32x32.mat': bytes }, (path) => refuses('LP_FILE', message, () => loadImages({ kind: 'svhn', path })));
  }
});

test('options are checked for their kind', async () => {
  const path = '.';
  await refuses('LP_OPTION', /source\.kind is "cifar"; did you mean 'cifar10'/, () => loadImages({ kind: 'cifar', path }));
  await refuses('LP_OPTION', /source\.splt is not known; did you mean split/, () =>
    loadImages({ kind: 'idx', path, splt: 'train' }),
  );
  await refuses('LP_OPTION', /source\.size is not known/, () => loadImages({ kind: 'idx', path, size: [1, 1] }));
  await refuses('LP_OPTION', /source\.split is "val"/, () => loadImages({ kind: 'svhn', path, split: 'val' }));
  await refuses('LP_OPTION', /source\.path is missing/, () => loadImages({ kind: 'idx' }));
  await refuses('LP_OPTION', /source\.verify is "no"/, () => loadImages({ kind: 'idx', path, verify: 'no' }));
  await refuses('LP_OPTION', /source\.classes is a list/, () => loadImages({ kind: 'idx', path, classes: ['a', 'a'] }));
  await refuses('LP_OPTION', /source is missing/, () => loadImages());
  await refuses('LP_OPTION', /control\.sginal is not known; did you mean signal/, () =>
    loadImages({ kind: 'idx', path }, { sginal: null }),
  );
});

test('a load is followed and stopped', () =>
  withFolder(batches([500, 500, 1, 1, 1]), async (path) => {
    const shares = [];
    await loadImages({ kind: 'cifar10', path }, { onProgress: (share) => shares.push(share) });
    assert.is(shares.at(-1), 1);
    assert.ok(shares.length > 3 && shares.every((share, k) => share > (shares[k - 1] ?? 0)));
    const controller = new AbortController();
    const stop = { signal: controller.signal, onProgress: () => controller.abort() };
    await refuses('LP_ABORTED', /stopped/, () => loadImages({ kind: 'cifar10', path }, stop));
    await refuses('LP_ABORTED', /stopped/, () => loadImages({ kind: 'cifar10', path }, stop));
  }));

test.run();
