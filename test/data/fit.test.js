// Images made to fit a network: their size by sharp, grey ones in every channel.
import { fitImages, joinImages, loadImages } from 'layerpeel';
import sharp from 'sharp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';
import { withFolder } from './formats.js';

const made = (channels, height = 6, width = 5, count = 30) => ({
  images: Uint8Array.from({ length: count * height * width * channels }, (_, i) => (i * 7919) % 251),
  shape: [count, height, width, channels],
  labels: new Int32Array(count),
  ...{ classes: ['a'], source: 'made' },
});

test('stretched, images are those that a folder of them gives when it is read at this size', async () => {
  const set = made(3);
  const own = (i) => Buffer.from(set.images.subarray(i * 90, (i + 1) * 90));
  const raw = { height: 6, width: 5, channels: 3 };
  const files = {};
  for (let i = 0; i < 30; i++) files[`a/${String(i).padStart(2, '0')}.png`] = await sharp(own(i), { raw }).png().toBuffer();
  await withFolder(files, async (path) => {
    for (const [height, width] of [
      [12, 11],
      [3, 5],
      [1, 1],
    ]) {
      const read = await loadImages({ kind: 'folder', path, split: false, size: [height, width], cache: false });
      const shares = [];
      const fitted = await fitImages(set, { height, width, channels: 3 }, { onProgress: (share) => shares.push(share) });
      assert.equal(fitted.shape, [30, height, width, 3]);
      assert.equal(fitted.images, read.images);
      assert.is(shares.at(-1), 1);
      assert.equal(fitted.labels, set.labels);
    }
  });
});

test('channels: grey is the same in all; others stay, one by one where they are no colours', async () => {
  const grey = made(1);
  const three = await fitImages(grey, { height: 6, width: 5, channels: 3 });
  assert.equal(
    three.images,
    Uint8Array.from({ length: 2700 }, (_, i) => grey.images[Math.floor(i / 3)]),
  );
  const larger = await fitImages(grey, { height: 9, width: 9, channels: 1 });
  assert.equal(larger.shape, [30, 9, 9, 1]);
  const two = await fitImages(made(2), { height: 9, width: 9, channels: 2 });
  const first = { ...grey, images: made(2).images.filter((_, i) => i % 2 === 0) };
  assert.equal(
    two.images.filter((_, i) => i % 2 === 0),
    (await fitImages(first, { height: 9, width: 9, channels: 1 })).images,
  );
  assert.is(await fitImages(grey, { height: 6, width: 5, channels: 1 }), grey);
});

test('what cannot be made is refused', async () => {
  await refuses('LP_SHAPE', /have 3 channels; expected 1,/, () => fitImages(made(3), { height: 6, width: 5, channels: 1 }));
  await refuses('LP_OPTION', /size\.height is 0/, () => fitImages(made(3), { height: 0, width: 5, channels: 3 }));
  await refuses('LP_OPTION', /size\.width/, () => fitImages(made(3), { height: 6 }));
  await refuses('LP_SHAPE', /./, () => fitImages({ ...made(3), shape: [1, 2, 3] }, { height: 6, width: 5, channels: 3 }));
  const signal = AbortSignal.abort();
  await refuses('LP_ABORTED', /./, () => fitImages(made(3), { height: 9, width: 9, channels: 3 }, { signal }));
});

test('a folder of images alone is one class, by its name', async () => {
  const png = await sharp(Buffer.alloc(90, 7), { raw: { height: 6, width: 5, channels: 3 } })
    .png()
    .toBuffer();
  await withFolder({ 'flowers/b.png': png, 'flowers/a.png': png }, async (path) => {
    const set = await loadImages({ kind: 'folder', path: `${path}/flowers`, split: false });
    assert.equal([set.classes, set.shape], [['flowers'], [2, 6, 5, 3]]);
    // Asked for a split, or for classes, folders are expected.
    await refuses('LP_FILE', /no folders; expected one for each class/, () =>
      loadImages({ kind: 'folder', path, split: 'flowers' }),
    );
    await refuses('LP_FILE', /no folders/, () =>
      loadImages({ kind: 'folder', path: `${path}/flowers`, split: false, classes: ['a'] }),
    );
  });
});

test('sets are joined, one after another', async () => {
  const [a, b] = [made(3, 6, 5, 4), { ...made(3, 6, 5, 2), labels: Int32Array.of(0, 0), source: 'more', skipped: ['x.png'] }];
  const whole = joinImages([a, b]);
  assert.equal([whole.shape, whole.source, whole.skipped], [[6, 6, 5, 3], 'made; more', ['x.png']]);
  assert.equal([...whole.images], [...a.images, ...b.images]);
  assert.equal([...whole.labels], [...a.labels, ...b.labels]);
  assert.equal(joinImages([a]).images, a.images);
  await refuses('LP_SHAPE', /sets\[1\] has images of 6×6×3, the first of 6×5×3/, () => joinImages([a, made(3, 6, 6)]));
  await refuses('LP_LABEL', /sets\[1\] has other classes/, () => joinImages([a, { ...b, classes: ['b'] }]));
  await refuses('LP_OPTION', /sets is empty/, () => joinImages([]));
  await refuses('LP_OPTION', /sets/, () => joinImages(a));
});

test.run();
