// The whole of a configuration is checked before an image is read, or libtorch looked for: here there is neither.
import { train } from 'layerpeel/torch';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';

const data = { kind: 'folder', path: 'nowhere' };
const right = { data, model: { kind: 'resnet18' }, loss: { kind: 'cross-entropy' }, epochs: 3 };
const first = (config) => train(config).next();

test('a wrong entry is named, wherever it stands', async () => {
  for (const [more, pattern] of [
    [{ loss: { kind: 'ldamm' } }, /config\.loss\.kind is "ldamm"; did you mean 'ldam'/],
    [{ loss: { kind: 'huge-margin' } }, /config\.loss\.kind is "huge-margin"; .*'cross-entropy'.*'ldam'/],
    [{ loss: null }, /config\.loss\.kind is missing/],
    [{ loss: { kind: 'ldam', scale: 0 } }, /config\.loss\.scale is 0/],
    [{ loss: { kind: 'cross-entropy', labelSmoothing: 2 } }, /config\.loss\.labelSmoothing is 2/],
    [{ loss: { kind: 'unhinged' } }, /config\.loss\.gamma is missing/],
    [{ reweighting: { from: 9 } }, /config\.reweighting\.from is 9, but the run has 3 epochs/],
    [{ regularization: { kind: 'odd' } }, /config\.regularization/],
    [{ rescaled: 1 }, /config\.rescaled is 1/],
    [{ model: { kind: 'resnet19' } }, /config\.model\.kind is "resnet19"; did you mean/],
    [{ model: { kind: 'mlp', widths: [] } }, /config\.model\.widths is an empty list/],
    [{ model: { kind: 'resnet18', classifier: { kind: 'fixed' } } }, /config\.model\.classifier\.kind is "fixed"/],
    [{ model: { kind: 'resnet18', head: { scale: -1 } } }, /config\.model\.head\.scale is -1/],
    [{ optimizer: { momentum: 1 } }, /config\.optimizer\.momentum is 1/],
    [{ data: { ...data, onUnreadable: 'pass' } }, /config\.data\.onUnreadable is "pass"/],
    [{ data: { ...data, kind: 'cifar11' } }, /config\.data\.kind is "cifar11"; did you mean 'cifar10'/],
    [{ data: { kind: 'cifar10', path: 'nowhere', size: [4, 4] } }, /config\.data\.size is not known/],
    [{ data: { kind: 'svhn', path: 'nowhere', test: 'tset' } }, /config\.data\.split is "tset"; did you mean 'test'/],
    [{ data: { ...data, imbalance: { kind: 'steep', ratio: 2 } } }, /config\.data\.imbalance\.kind is "steep"/],
    [{ data: { ...data, imbalance: { kind: 'step', ratio: 0.5 } } }, /config\.data\.imbalance\.ratio is 0\.5/],
    [{ data: { ...data, labelNoise: { share: 2 } } }, /config\.data\.labelNoise\.share is 2/],
    [{ data: { ...data, heldOut: 'cat' } }, /config\.data\.heldOut is "cat"/],
    [{ data: { ...data, augmentation: { flip: 1 } } }, /config\.data\.augmentation\.flip is 1/],
    [{ data: { ...data, normalization: { mean: [0.5], std: [0], more: 1 } } }, /config\.data\.normalization\.more/],
    [{ data: { ...data, normalization: { mean: [0.5], std: [1, 1] } } }, /config\.data\.normalization\.std must be a list of 1/],
  ]) {
    await refuses('LP_CONFIG', pattern, () => first({ ...right, ...more }));
  }
});

test('what only images can tell waits for them', async () => {
  for (const more of [
    {},
    { loss: { kind: 'cross-entropy', classWeights: [1, 2, 3] } },
    { data: { ...data, normalization: { mean: [0.5], std: [0] } } },
    { data: { ...data, imbalance: { kind: 'step', ratio: 1e5 }, heldOut: ['cat', 3] } },
    { model: { kind: 'mlp', classifier: { kind: 'fixed-etf' } }, loss: { kind: 'ldam' } },
    { data: { kind: 'npz', path: 'nowhere.npz', test: 'val', emptyClasses: 'leave out' } },
  ]) {
    const error = await first({ ...right, ...more }).catch((reason) => reason);
    assert.ok(['LP_FILE', 'LP_NOT_BUILT'].includes(error.code), error.message);
  }
});

test.run();
