/**
 * The real CIFAR-10 as folders of images, where the environment says where it lies: sizes, classes, and the statistics that the field
 * normalizes with (of the original images; these may have gone through JPEG).
 */
import { channelStatistics, classCounts, loadImages } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const path = process.env.LAYERPEEL_CIFAR10;

if (!path) console.log('skipped: LAYERPEEL_CIFAR10 names no folder with train/<class>/ and test/<class>/ of CIFAR-10');
else {
  test('CIFAR-10 as image folders', async () => {
    const train = await loadImages({ kind: 'folder', path });
    const held = await loadImages({ kind: 'folder', path, split: 'test', classes: train.classes });
    assert.equal(
      [train.shape, held.shape],
      [
        [50000, 32, 32, 3],
        [10000, 32, 32, 3],
      ],
    );
    assert.equal(train.classes, 'airplane automobile bird cat deer dog frog horse ship truck'.split(' '));
    assert.ok(classCounts(train).every((count) => count === 5000) && classCounts(held).every((count) => count === 1000));
    const { mean, std } = await channelStatistics(train);
    for (const [c, expected] of [0.4914, 0.4822, 0.4465].entries()) assert.ok(Math.abs(mean[c] - expected) < 0.003, `${mean}`);
    for (const [c, expected] of [0.247, 0.2435, 0.2616].entries()) assert.ok(Math.abs(std[c] - expected) < 0.003, `${std}`);
  });
}

test.run();
