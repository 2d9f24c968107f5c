// Random resized crops against torchvision: boxes from the same uniforms, sizes and corners of centres, and pixels; and their distribution.
import { seededRandom } from 'layerpeel';
import sharp from 'sharp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { randomOf } from '../../lib/array/random.js';
import { centreCut, checkCrop, croppedView, randomBox } from '../../lib/data/crop.js';
import { cutting } from '../../lib/data/decode.js';
import { golden, near } from '../helpers.js';

const { boxes, centres, pixels } = golden('crops');
const place = { path: 'crop', code: 'LP_OPTION' };

test("boxes are torchvision's, from the same uniforms, those that fit in no range among them", () => {
  for (const { size, scale, ratio, uniforms, box } of boxes) {
    const left = [...uniforms];
    const found = randomBox(size, { scale, ratio }, { uniform: () => left.shift() });
    assert.equal([found.top, found.left, found.height, found.width], box, JSON.stringify({ size, scale, ratio }));
    assert.is(left.length, 0);
  }
  assert.ok(boxes.some(({ uniforms }) => uniforms.length === 20));
});

test("resized images and their centres are torchvision's", () => {
  for (const { size, resize, crop, resized, corner } of centres) {
    const found = centreCut({ size: crop, resize })(size);
    assert.equal(found.size, resized);
    assert.equal(found.box, { top: corner[0], left: corner[1], height: crop[0], width: crop[1] });
  }
});

// Of what is reduced: libvips places what it enlarges by up to half a pixel otherwise.
test('pixels are those of Pillow, to within rounding', async () => {
  const [height, width] = pixels.size;
  const made = (cut) => {
    const image = sharp(Uint8Array.from(pixels.image), { raw: { height, width, channels: 3 } });
    cutting(image, cut);
    return image.raw().toBuffer();
  };
  const assertNear = (found, expected) => {
    assert.is(found.length, expected.length);
    for (const [k, value] of expected.entries()) near(found[k], value, 3, `pixel ${k}`);
  };
  for (const {
    box: [top, left, h, w],
    to,
    pixels: expected,
  } of pixels.cropped) {
    assertNear(await made({ from: { top, left, height: h, width: w }, size: to, kernel: 'linear' }), expected);
  }
  const { resize, crop, pixels: expected } = pixels.centre;
  assertNear(await made(centreCut({ size: crop, resize })([height, width])), expected);
});

test('areas are uniform, ratios uniform in their logarithm, and boxes anywhere', () => {
  const [n, side] = [20000, 1000];
  const crop = { scale: [0.1, 0.5], ratio: [0.5, 2] };
  const random = seededRandom(5);
  let [area, ratio, top, left] = [0, 0, 0, 0];
  const quarters = [0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    const box = randomBox([side, side], crop, random);
    area += (box.height * box.width) / side ** 2;
    ratio += Math.log(box.width / box.height);
    top += box.top / (side - box.height);
    left += box.left / (side - box.width);
    quarters[Math.min(3, Math.max(0, Math.floor((10 * box.height * box.width) / side ** 2 - 1)))]++;
  }
  // Within five standard deviations. An area of a half fits at every ratio of up to 2, but for rounding.
  near(area / n, 0.3, (5 * 0.4) / Math.sqrt(12 * n) + 1e-3, 'mean area');
  near(ratio / n, 0, (5 * 2 * Math.log(2)) / Math.sqrt(12 * n), 'mean logarithm of the ratio');
  for (const mean of [top, left]) near(mean / n, 0.5, 5 / Math.sqrt(12 * n), 'mean place');
  for (const count of quarters) near(count / n, 0.25, 5 * Math.sqrt(0.1875 / n) + 3e-3, 'share of a quarter of the areas');
});

test('a crop follows from the seed, the epoch and the sample alone, and differs between any two', () => {
  const crop = checkCrop({ size: 4 }, place);
  const box = (...words) => JSON.stringify(croppedView(crop, ...words).cut([500, 400]).from);
  assert.is(box(1, 2, 3), box(1, 2, 3));
  const found = new Set();
  for (let seed = 0; seed < 5; seed++) {
    for (let epoch = 0; epoch < 5; epoch++) for (let sample = 0; sample < 5; sample++) found.add(box(seed, epoch, sample));
  }
  assert.ok(found.size > 120, `${found.size} of 125`);
  // Neighbouring words give unrelated numbers, in whatever order.
  const firsts = [];
  for (let a = 0; a < 30; a++) for (let b = 0; b < 30; b++) firsts.push(randomOf(a, b).uniform());
  assert.is(new Set(firsts).size, 900);
  near(firsts.reduce((sum, value) => sum + value) / 900, 0.5, 5 / Math.sqrt(12 * 900), 'mean');
});

test('defaults', () => {
  assert.equal(checkCrop({ size: 224 }, place), { size: [224, 224], scale: [0.08, 1], ratio: [3 / 4, 4 / 3], resize: 256 });
  assert.is(checkCrop({ size: [32, 20] }, place).resize, 37);
});

test.run();
