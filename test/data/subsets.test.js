import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { classCounts, imageSubset, imbalancedIndices, noisyLabels, selectImages } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mersenneTwister } from '../../lib/data/subsets.js';
import { golden, refuses } from '../helpers.js';

/** A set of one-pixel images whose value is their index. */
const setOf = (labels, classes) => ({
  images: Uint8Array.from(labels.keys()),
  shape: [labels.length, 1, 1, 1],
  labels: Int32Array.from(labels),
  classes,
  source: 'test',
});

test('the words of MT19937', () => {
  // The 10000th word from the default seed, which the C++ standard states.
  const word = mersenneTwister(5489);
  for (let i = 1; i < 10000; i++) word();
  assert.is(word(), 4123659995);
});

test('the subsets that NumPy draws, to the bit', () => {
  const { cases, longTailed } = golden('subsets');
  for (const { labels, counts, seed, indices } of cases) {
    assert.equal(imbalancedIndices(Int32Array.from(labels), counts, seed), Int32Array.from(indices));
  }
  const labels = Int32Array.from({ length: 50000 }, (_, i) => i % 10);
  const chosen = imbalancedIndices(labels, longTailed.counts);
  assert.is(chosen.length, 12406);
  assert.equal([...chosen.subarray(0, 8)], longTailed.first);
  assert.is(createHash('sha256').update(chosen).digest('hex'), longTailed.sha256);
});

test('a class with too few images is refused, and so is an empty one', async () => {
  const labels = Int32Array.of(0, 0, 1);
  await refuses('LP_BALANCE', /Class 1 has 1 images, but 2/, () => imbalancedIndices(labels, [2, 2]));
  await refuses('LP_BALANCE', /Class 1 would keep no image/, () => imbalancedIndices(labels, [2, 0]));
  await refuses('LP_LABEL', /labels\[2\] is 1/, () => imbalancedIndices(labels, [2]));
  await refuses('LP_OPTION', /seed/, () => imbalancedIndices(labels, [1, 1], -1));
  await refuses('LP_OPTION', /counts\[0\] is 1000000000000/, () => imbalancedIndices(labels, [1e12, 1]));
});

test('subsets hold their counts, each index once, of its own class', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 2, maxLength: 6 }), fc.nat(1000), (sizes, seed) => {
      const labels = Int32Array.from(sizes.flatMap((size, c) => new Array(size).fill(c)));
      const counts = sizes.map((size) => Math.ceil(size / 2));
      const chosen = imbalancedIndices(labels, counts, seed);
      assert.is(new Set(chosen).size, chosen.length);
      assert.equal(
        [...chosen].map((i) => labels[i]),
        counts.flatMap((count, c) => new Array(count).fill(c)),
      );
    }),
  );
});

test('label noise changes exactly the share asked for, evenly', () => {
  const labels = Int32Array.from({ length: 9000 }, (_, i) => i % 3);
  const noisy = noisyLabels(labels, 3, 0.5, 4);
  const moves = [0, 0, 0];
  for (const [i, label] of labels.entries()) moves[(noisy[i] - label + 3) % 3]++;
  assert.is(moves[0], 4500);
  assert.ok(Math.abs(moves[1] - 2250) < 5 * Math.sqrt(4500 / 4));
  assert.equal(noisyLabels(labels, 3, 0.5, 4), noisy);
  assert.not.equal(noisyLabels(labels, 3, 0.5, 5), noisy);
  for (const [count, share, wrong] of [
    [5, 0.5, 3],
    [7, 0.35, 2],
    [10, 0.26, 3],
  ]) {
    assert.is(noisyLabels(new Int32Array(count), 3, share).filter((label) => label !== 0).length, wrong);
  }
  assert.equal(noisyLabels(labels, 3, 0), labels);
  assert.ok(noisyLabels(labels, 3, 1).every((label, i) => label !== labels[i]));
});

test('classes are held out and the others numbered anew', () => {
  const set = setOf([0, 1, 2, 3, 2, 1, 0], ['a', 'b', 'c', 'd']);
  const { images, heldOut } = selectImages(set, { heldOut: ['c', 0] });
  assert.equal(
    [images.classes, [...images.labels], [...images.images]],
    [
      ['b', 'd'],
      [0, 1, 0],
      [1, 3, 5],
    ],
  );
  assert.equal(
    [heldOut.classes, [...heldOut.labels], [...heldOut.images]],
    [
      ['c', 'a'],
      [1, 0, 0, 1],
      [0, 2, 4, 6],
    ],
  );
});

test('the seeds of a selection are handed on, each to its own part', () => {
  const set = setOf(
    Array.from({ length: 120 }, (_, i) => i % 3),
    ['a', 'b', 'c'],
  );
  const imbalance = { kind: 'long-tailed', ratio: 4, largest: 32 };
  for (const seed of [0, 1, 7]) {
    const { images } = selectImages(set, { imbalance: { ...imbalance, seed } });
    assert.equal([...images.images], [...imbalancedIndices(set.labels, [32, 16, 8], seed)]);
    const noisy = selectImages(set, { labelNoise: { share: 0.4, seed } }).images;
    assert.equal(noisy.labels, noisyLabels(set.labels, 3, 0.4, seed));
    assert.equal(noisy.images, set.images);
    // Together: the noise is drawn over what the imbalance has left.
    const both = selectImages(set, { imbalance: { ...imbalance, seed: 3 }, labelNoise: { share: 0.4, seed } }).images;
    const left = imbalancedIndices(set.labels, [32, 16, 8], 3);
    assert.equal([...both.images], [...left]);
    assert.equal(
      both.labels,
      noisyLabels(
        left.map((i) => set.labels[i]),
        3,
        0.4,
        seed,
      ),
    );
  }
  const plain = selectImages(set, { imbalance, labelNoise: { share: 0.4 } }).images;
  assert.equal(plain, selectImages(set, { imbalance: { ...imbalance, seed: 0 }, labelNoise: { share: 0.4, seed: 0 } }).images);
});

test('a ratio is bounded by the largest class, which is the smallest of the set unless it is said', async () => {
  const set = setOf([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2], ['a', 'b', 'c']);
  const counts = (imbalance) => [...classCounts(selectImages(set, { imbalance }).images)];
  assert.equal(counts({ kind: 'long-tailed', ratio: 4 }), [4, 2, 1]);
  assert.equal(counts({ kind: 'step', ratio: 2 }), [4, 2, 2]);
  assert.equal(counts({ kind: 'step', ratio: 1, largest: 3 }), [3, 3, 3]);
  await refuses('LP_OPTION', /ratio is 5/, () => counts({ kind: 'step', ratio: 5 }));
  await refuses('LP_OPTION', /ratio is 0.5/, () => counts({ kind: 'step', ratio: 0.5 }));
});

test('label noise: which images, and to which classes, is drawn evenly', () => {
  const labels = new Int32Array(40);
  const [times, moves] = [new Array(40).fill(0), [0, 0, 0]];
  for (let seed = 0; seed < 600; seed++) {
    noisyLabels(labels, 4, 0.25, seed).forEach((label, i) => {
      if (label === 0) return;
      times[i]++;
      moves[label - 1]++;
    });
  }
  assert.is(
    moves.reduce((sum, count) => sum + count),
    6000,
  );
  // Binomial: 150 ± 10.6 of each image, 2000 ± 36.5 to each class.
  for (const count of times) assert.ok(Math.abs(count - 150) < 5 * 10.6, times.join(' '));
  for (const count of moves) assert.ok(Math.abs(count - 2000) < 5 * 36.5, moves.join(' '));
});

test('a selection holds out, then thins, then mislabels', async () => {
  const set = setOf(
    Array.from({ length: 200 }, (_, i) => i % 4),
    ['a', 'b', 'c', 'd'],
  );
  const { images } = selectImages(set, { heldOut: ['b'], imbalance: { kind: 'long-tailed', ratio: 25 }, labelNoise: { share: 0 } });
  assert.equal([...classCounts(images)], [50, 10, 2]);
  assert.ok(images.images.every((value, i) => images.classes[images.labels[i]] === set.classes[set.labels[value]]));
  const step = selectImages(set, { imbalance: { kind: 'step', ratio: 5, largest: 40 } });
  assert.equal([...classCounts(step.images)], [40, 40, 8, 8]);

  await refuses('LP_OPTION', /heldOut\[0\] is "x"/, () => selectImages(set, { heldOut: ['x'] }));
  await refuses('LP_OPTION', /at least 2/, () => selectImages(set, { heldOut: ['a', 'b', 'c'] }));
  await refuses('LP_OPTION', /did you mean 'step'/, () => selectImages(set, { imbalance: { kind: 'stp', ratio: 2 } }));
  await refuses('LP_BALANCE', /has 50 images, but 51/, () =>
    selectImages(set, { imbalance: { kind: 'step', ratio: 2, largest: 51 } }),
  );
  await refuses('LP_OPTION', /share is 2/, () => selectImages(set, { labelNoise: { share: 2 } }));
  await refuses('LP_OPTION', /did you mean labelNoise/, () => selectImages(set, { labelNose: {} }));
  await refuses('LP_SHAPE', /indices\[0\] is 200/, () => imageSubset(set, [200]));
});

test.run();
