import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { loadImages } from 'layerpeel';
import sharp from 'sharp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';
import { assertSet, pixel, withFolder, writeFiles } from './formats.js';

/** An image whose pixels are those of `pixel`. */
const image = (i, height, width, channels = 3) =>
  sharp(
    Buffer.from(
      Array.from({ length: height * width * channels }, (_, k) =>
        pixel(i, Math.floor(k / (width * channels)), Math.floor(k / channels) % width, k % channels),
      ),
    ),
    { raw: { height, width, channels } },
  );
const png = (i, height = 6, width = 5) => image(i, height, width).png().toBuffer();

/** Three images of two classes. */
const small = async () => ({
  'train/cat/1.png': await png(0),
  'train/cat/2.webp': await image(1, 6, 5).webp({ lossless: true }).toBuffer(),
  'train/dog/a.tiff': await image(2, 6, 5).tiff({ compression: 'lzw' }).toBuffer(),
  'train/cat/.hidden': 'not an image',
  'train/readme.txt': 'neither a class',
});
const cacheOf = (path, name = 'train.safetensors') => join(path, '.layerpeel-cache', name);

test('a folder of lossless images of several formats, exactly; then from the cache', async () =>
  withFolder(await small(), async (path) => {
    const load = (more) => loadImages({ kind: 'folder', path, ...more });
    const set = await load();
    assertSet(set, [0, 0, 1], [6, 5, 3]);
    assert.equal(set.classes, ['cat', 'dog']);
    assert.not('skipped' in set);
    // From the cache: what it holds is what is given.
    const kept = readFileSync(cacheOf(path));
    kept[kept.length - 1] ^= 1;
    writeFiles(path, { '.layerpeel-cache/train.safetensors': kept });
    assert.is((await load()).images.at(-1), set.images.at(-1) ^ 1);
    assertSet(await load({ cache: false }), [0, 0, 1], [6, 5, 3]);
  }));

test('a cache that is stale, damaged or of something else is made anew', async () =>
  withFolder(await small(), async (path) => {
    const load = (more) => loadImages({ kind: 'folder', path, ...more });
    await load();
    const whole = readFileSync(cacheOf(path));
    const damaged = [
      whole.subarray(0, 100),
      whole.subarray(0, whole.length - 1),
      Buffer.alloc(0),
      Buffer.concat([whole, Buffer.of(0)]),
      Buffer.from(whole.toString('latin1').replace('"unreadable":""', '"unreadable":"7"'), 'latin1'),
      Buffer.from(whole.toString('latin1').replace('"unreadable"', '"unreadablf"'), 'latin1'),
      Buffer.from(whole.toString('latin1').replace('"images"', '"imagos"'), 'latin1'),
      Buffer.from(whole.toString('latin1').replace('"U8"', '"I8"'), 'latin1'),
    ];
    for (const bytes of damaged) {
      writeFiles(path, { '.layerpeel-cache/train.safetensors': bytes });
      assertSet(await load(), [0, 0, 1], [6, 5, 3]);
      assert.equal(readFileSync(cacheOf(path)), whole);
    }
    // Another image under the same name, of the same size in bytes but of another time.
    const bytes = await png(7);
    writeFiles(path, { 'train/cat/1.png': bytes });
    utimesSync(join(path, 'train/cat/1.png'), 1, 1);
    assert.is((await load()).images[0], pixel(7, 0, 0, 0));
    writeFiles(path, { 'train/dog/b.png': await png(3) });
    assert.equal([...(await load()).labels], [0, 0, 1, 1]);
    rmSync(join(path, 'train/dog/b.png'));
    renameSync(join(path, 'train/cat/2.webp'), join(path, 'train/dog/2.webp'));
    assert.equal([...(await load()).labels], [0, 1, 1]);
    assert.equal(readdirSync(join(path, '.layerpeel-cache')), ['train.safetensors']);
  }));

test('a cache of its own folder, or none where it cannot be written', async () =>
  withFolder(await small(), async (path) => {
    const cache = join(path, 'elsewhere', 'deep');
    await loadImages({ kind: 'folder', path, cache, size: [2, 2] });
    assert.equal(readdirSync(cache), ['train-2x2.safetensors']);
    assert.not(existsSync(join(path, '.layerpeel-cache')));
    await loadImages({ kind: 'folder', path, cache: false });
    assert.not(existsSync(join(path, '.layerpeel-cache')));
    // A file stands where the folder should be.
    writeFiles(path, { occupied: '' });
    assertSet(await loadImages({ kind: 'folder', path, cache: join(path, 'occupied') }), [0, 0, 1], [6, 5, 3]);
  }));

test('every kind of pixel becomes 8-bit red, green and blue', async () => {
  const values = [0, 100, 255];
  const one = (channels, data, raw = {}) => sharp(Buffer.from(data), { raw: { height: 1, width: 3, channels, ...raw } });
  const grey = one(1, values);
  const files = {
    'train/a/1.png': await grey.clone().png().toBuffer(),
    'train/a/2.png': await grey.clone().toColourspace('b-w').png().toBuffer(),
    'train/a/3.png': await one(
      4,
      values.flatMap((v) => [v, v, v, 9]),
    )
      .png()
      .toBuffer(),
    'train/a/4.png': await one(
      2,
      values.flatMap((v) => [v, 200]),
    )
      .toColourspace('b-w')
      .png()
      .toBuffer(),
    'train/a/5.png': await one(
      3,
      values.flatMap((v) => [v, v, v]),
    )
      .toColourspace('rgb16')
      .png()
      .toBuffer(),
    'train/a/6.png': await one(
      3,
      values.flatMap((v) => [v, v, v]),
    )
      .png({ palette: true })
      .toBuffer(),
    'train/a/7.gif': await one(
      3,
      values.flatMap((v) => [v, v, v]),
    )
      .gif()
      .toBuffer(),
    'train/b/1.png': await grey.clone().png().toBuffer(),
  };
  await withFolder(files, async (path) => {
    const { shape, images } = await loadImages({ kind: 'folder', path });
    assert.equal(shape, [8, 1, 3, 3]);
    for (let i = 0; i < 8; i++) {
      const own = [...images.subarray(9 * i, 9 * i + 9)];
      const expected = values.flatMap((v) => [v, v, v]);
      assert.ok(
        own.every((value, k) => Math.abs(value - expected[k]) <= 1),
        `${i}: ${own}`,
      );
    }
  });
});

test('sizes that differ need one to stretch to', async () => {
  const flat = (height, width, background) =>
    sharp({ create: { height, width, channels: 3, background } })
      .png()
      .toBuffer();
  const files = { 'train/a/1.png': await flat(4, 4, '#0a141e'), 'train/a/2.png': await flat(9, 30, '#010203') };
  await withFolder(files, async (path) => {
    const load = (more) => loadImages({ kind: 'folder', path, ...more });
    for (const onUnreadable of ['refuse', 'skip']) {
      await refuses('LP_FILE', /2\.png: it is 9×30 .* not 4×4 .* pass size/, () => load({ onUnreadable }));
    }
    // The larger one first.
    writeFiles(path, { 'train/a/0.png': await flat(9, 30, '#010203') });
    await refuses('LP_FILE', /1\.png: it is 4×4 .* not 9×30/, load);
    const { shape, images } = await load({ size: [2, 3] });
    assert.equal(shape, [3, 2, 3, 3]);
    assert.equal(
      [...images],
      [
        [1, 2, 3],
        [10, 20, 30],
        [1, 2, 3],
      ].flatMap((colour) => new Array(6).fill(colour).flat()),
    );
    await refuses('LP_OPTION', /size\[0\] is 0/, () => load({ size: [0, 3] }));
    await refuses('LP_OPTION', /expected \[height, width\]/, () => load({ size: 32 }));
  });
});

test('an image whose header claims very many pixels is not decoded as it is', async () => {
  const bomb = Buffer.from(await png(0));
  bomb.writeUInt32BE(16000, 16);
  bomb.writeUInt32BE(16000, 20);
  bomb.writeUInt32BE(crc32(bomb.subarray(12, 29)), 29);
  await withFolder({ 'train/a/1.png': bomb }, async (path) => {
    await refuses('LP_FILE', /1\.png: it is 16000×16000 .* more than 16777216 pixels; pass size/, () =>
      loadImages({ kind: 'folder', path }),
    );
    await refuses('LP_FILE', /1\.png cannot be read/, () => loadImages({ kind: 'folder', path, size: [4, 4] }));
  });
});

test('an unreadable image is named, and refused or left out', async () => {
  const [bytes, jpeg] = [await png(1), await image(1, 6, 5).jpeg().toBuffer()];
  const broken = {
    'truncated.png': bytes.subarray(0, bytes.length - 30),
    'cut.jpg': jpeg.subarray(0, jpeg.length - 20),
    'text.png': 'not an image',
    'empty.jpg': '',
    'notes.txt': 'nor this',
  };
  for (const [name, content] of Object.entries(broken)) {
    await withFolder({ ...(await small()), [`train/cat/0${name}`]: content }, async (path) => {
      const load = (more) => loadImages({ kind: 'folder', path, ...more });
      await refuses('LP_FILE', new RegExp(`train/cat/0${name} cannot be read as an image: .*onUnreadable: 'skip'`), load);
      // Decoded, then from the cache.
      for (let time = 0; time < 2; time++) {
        const set = await load({ onUnreadable: 'skip' });
        assertSet(set, [0, 0, 1], [6, 5, 3]);
        assert.equal(set.skipped, [join(path, `train/cat/0${name}`)]);
      }
      await refuses('LP_FILE', /cannot be read as an image/, load);
    });
  }
  await withFolder({ ...(await small()), 'train/dog/a.tiff': 'x' }, (path) =>
    refuses('LP_FILE', /train: none of the images of dog can be read/, () =>
      loadImages({ kind: 'folder', path, onUnreadable: 'skip' }),
    ),
  );
  await withFolder({ 'train/dog/1.png': 'x', 'train/dog/2.png': 'y' }, (path) =>
    refuses('LP_FILE', /1\.png: neither it nor any other/, () => loadImages({ kind: 'folder', path, onUnreadable: 'skip' })),
  );
});

test('folders that are no data set are refused', async () =>
  withFolder(await small(), async (path) => {
    const load = (more) => loadImages({ kind: 'folder', path, ...more });
    await refuses('LP_FILE', /test: it does not exist; expected a folder of class folders/, () => load({ split: 'test' }));
    await refuses('LP_FILE', /cat: it has no folders; expected one for each class/, () =>
      loadImages({ kind: 'folder', path: join(path, 'train'), split: 'cat' }),
    );
    await refuses('LP_OPTION', /split is "\.\.\/train"/, () => load({ split: '../train' }));
    await refuses('LP_OPTION', /split is "\.\."/, () => load({ split: '..' }));
    mkdirSync(join(path, 'train/fox'));
    await refuses('LP_FILE', /train\/fox: it is empty/, load);
    mkdirSync(join(path, 'train/fox/deeper'));
    await refuses('LP_FILE', /fox\/deeper: it is no file/, load);
    rmSync(join(path, 'train/fox/deeper'), { recursive: true });
    symlinkSync(join(path, 'nowhere'), join(path, 'train/fox/1.png'));
    await refuses('LP_FILE', /fox\/1\.png: it is no file/, load);
  }));

test('classes that are given number the folders, and must be all of them', async () =>
  withFolder(await small(), async (path) => {
    const load = (classes) => loadImages({ kind: 'folder', path, classes });
    const set = await load(['dog', 'cat']);
    assert.equal([...set.labels], [0, 1, 1]);
    assert.equal(
      [...set.images.subarray(0, 3)],
      [0, 1, 2].map((c) => pixel(2, 0, 0, c)),
    );
    // Another order of classes is another order of images.
    assert.equal([...(await load(['cat', 'dog'])).labels], [0, 0, 1]);
    await refuses('LP_FILE', /train\/dog: it is the folder of none of the 2 classes; did you mean dot/, () => load(['cat', 'dot']));
    await refuses('LP_FILE', /train\/fox: it does not exist/, () => load(['cat', 'dog', 'fox']));
  }));

test('decoding is followed and stopped; nothing is left behind', async () => {
  const files = {};
  for (let i = 0; i < 60; i++) files[`train/${i % 2}/${i}.png`] = await png(i);
  await withFolder(files, async (path) => {
    const shares = [];
    for (const limit of [1, 25, 60]) {
      const controller = new AbortController();
      let calls = 0;
      const onProgress = () => ++calls === limit && controller.abort();
      const load = () => loadImages({ kind: 'folder', path, cache: false }, { signal: controller.signal, onProgress });
      if (limit < 60) await refuses('LP_ABORTED', /stopped/, load);
      else await load();
    }
    await loadImages({ kind: 'folder', path }, { onProgress: (share) => shares.push(share) });
    assert.is(shares.length, 60);
    assert.is(shares.at(-1), 1);
    // What a callback throws comes out.
    const thrown = await loadImages(
      { kind: 'folder', path, cache: false },
      {
        onProgress: () => {
          throw new Error('mine');
        },
      },
    ).catch((error) => error);
    assert.is(thrown.message, 'mine');
    assert.equal(readdirSync(join(path, '.layerpeel-cache')), ['train.safetensors']);
  });
});

test('an image that changes under the same name within a process is read anew', async () =>
  withFolder(await small(), async (path) => {
    const load = () => loadImages({ kind: 'folder', path, cache: false });
    await load();
    writeFiles(path, { 'train/cat/1.png': await png(9) });
    assert.is((await load()).images[0], pixel(9, 0, 0, 0));
  }));

test.run();
