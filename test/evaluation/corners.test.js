// Evaluation at its corners: confidences on the edges of bins, the bootstrap drawn by hand, logits of more rows than a piece.
import { calibrationSync, classifierLogitsSync, detection, evaluateSync, fitTemperatureSync, seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array } from '../helpers.js';

test('a confidence of 1/C lies in the bin it is the upper edge of, however products round', () => {
  for (let classes = 2; classes <= 120; classes++) {
    const logits = array([new Array(classes).fill(1)]);
    for (const factor of [1, 2, 3, 5, 7, 11, 13]) {
      const bins = classes * factor;
      const { reliability } = calibrationSync(logits, Int32Array.of(0), { bins, temperature: 1 });
      const { edges, counts, confidence } = reliability;
      const bin = counts.indexOf(1);
      assert.ok(edges[bin] < confidence[bin] && confidence[bin] <= edges[bin + 1], `${classes} classes, ${bins} bins: bin ${bin}`);
      if (confidence[bin] === 1 / classes && edges[factor] === 1 / classes) assert.is(bin, factor - 1);
    }
  }
});

test('confidences within a few roundings of an edge lie in the bin whose edges they are between', () => {
  for (const bins of [3, 7, 11, 15, 33, 49, 100]) {
    for (let k = Math.floor(bins / 2) + 1; k < bins; k++) {
      const lead = Math.log(k / (bins - k)); // whose confidence is k/bins
      for (let ulps = -12; ulps <= 12; ulps++) {
        const logits = array([[lead * (1 + ulps * 2 ** -53), 0]]);
        const { edges, counts, confidence } = calibrationSync(logits, Int32Array.of(0), { bins, temperature: 1 }).reliability;
        const bin = counts.indexOf(1);
        assert.ok(edges[bin] < confidence[bin] && confidence[bin] <= edges[bin + 1], `${confidence[bin]} of ${bins} bins: ${bin}`);
      }
    }
  }
});

/** The middle share of values, linear between order statistics. */
function interval(values, confidence) {
  const sorted = [...values].sort((a, b) => a - b);
  return [(1 - confidence) / 2, (1 + confidence) / 2].map((share) => {
    const at = share * (sorted.length - 1);
    const below = sorted[Math.floor(at)];
    return below + (at - Math.floor(at)) * (sorted[Math.ceil(at)] - below);
  });
}
const near = (actual, expected, what) => {
  for (const k of [0, 1]) assert.ok(Math.abs(actual[k] - expected[k]) < 1e-12, `${what}: ${actual}, not ${expected}`);
};

test('intervals are those of drawings by the documented generator, of each set by itself', () => {
  const random = seededRandom(12);
  const rows = (count) => Array.from({ length: count }, () => [2 * random.normal(), random.normal(), random.normal()]);
  const [inside, outside] = [rows(23), rows(9)];
  const labels = Int32Array.from(inside, (_, i) => (i * 5) % 3);
  const counts = [50, 20, 5];
  for (const [seed, confidence] of [
    [0, 0.95],
    [7, 0.8],
  ]) {
    const options = { resamples: 40, seed, confidence, temperature: 2, bins: 4, groups: { many: 40, few: 10 } };
    const found = evaluateSync({ logits: array(inside), labels, counts, outOfDistribution: { logits: array(outside) } }, options);
    const drawn = { accuracy: [], 'groups.few.accuracy': [], 'calibration.ece': [], 'calibration.nll': [], 'fitted.brier': [] };
    const generator = seededRandom(seed);
    const draw = (size) => Array.from({ length: size }, () => Math.floor(generator.uniform() * size));
    const fitted = fitTemperatureSync(array(inside), labels).temperature;
    for (let k = 0; k < 40; k++) {
      const chosen = draw(23);
      const logits = array(chosen.map((i) => inside[i]));
      const own = Int32Array.from(chosen, (i) => labels[i]);
      const { ece, nll } = calibrationSync(logits, own, { temperature: 2, bins: 4 });
      const share = (members) =>
        members.filter((i) => inside[i].indexOf(Math.max(...inside[i])) === labels[i]).length / members.length;
      drawn.accuracy.push(share(chosen));
      drawn['groups.few.accuracy'].push(share(chosen.filter((i) => labels[i] === 2)));
      drawn['calibration.ece'].push(ece);
      drawn['calibration.nll'].push(nll);
      drawn['fitted.brier'].push(calibrationSync(logits, own, { temperature: fitted, bins: 4 }).brier);
    }
    for (const [name, values] of Object.entries(drawn)) {
      near(
        found.intervals[name],
        interval(
          values.filter((x) => !Number.isNaN(x)),
          confidence,
        ),
        `${name}, seed ${seed}`,
      );
    }
    // Of detection the drawings begin anew with each score, and both sets are drawn in turn.
    const energy = (z) => Math.log(z.reduce((sum, x) => sum + Math.exp(x), 0));
    const again = seededRandom(seed);
    const side = (set) => Array.from({ length: set.length }, () => energy(set[Math.floor(again.uniform() * set.length)]));
    const aurocs = Array.from({ length: 40 }, () => {
      const [a, b] = [side(inside), side(outside)];
      return detection(a, b, { positive: 'out-of-distribution' }).auroc;
    });
    near(
      found.intervals['outOfDistribution.energy.outOfDistributionPositive.auroc'],
      interval(aurocs, confidence),
      `AUROC, seed ${seed}`,
    );
  }
});

test('classes of exactly as many samples as the limits of groups are of the middle', () => {
  const logits = array([
    [1, 0, 0],
    [0, 1, 0],
  ]);
  const { groups } = evaluateSync({ logits, labels: Int32Array.of(0, 1), counts: [100, 20, 60] }, { resamples: 0, temperature: 1 });
  assert.equal([groups.many.classes, groups.medium.classes, groups.few.classes], [[], [0, 1, 2], []]);
});

test('logits of more rows than a piece of 8 MiB', () => {
  const [samples, dim, classes] = [3 * 2 ** 12 + 5, 128, 3];
  const features = { shape: [samples, dim], data: new Float64Array(samples * dim) };
  for (let i = 0; i < samples; i++) features.data[i * dim + (i % dim)] = i;
  const prototypes = {
    shape: [classes, dim],
    data: Float64Array.from({ length: classes * dim }, (_, k) => 1 + Math.floor(k / dim)),
  };
  const { data } = classifierLogitsSync({ features, prototypes, biases: array([0.5, 0, -0.5]) });
  const wrong = data.findIndex((z, k) => {
    const [i, c] = [Math.floor(k / classes), k % classes];
    return z !== i * (1 + c) + [0.5, 0, -0.5][c];
  });
  assert.is(wrong, -1, `logit ${wrong} is ${data[wrong]}`);
});

test('equal largest logits share the probability, for the fit of the temperature too', () => {
  // Every own class is among the largest, and three times it ties: at temperature 0 the NLL is that of the ties.
  const logits = array([
    [2, 2, 0],
    [0, 3, 3],
    [1, 1, 1],
    [5, 0, 0],
  ]);
  const { temperature, nll } = fitTemperatureSync(logits, Int32Array.of(1, 1, 2, 0));
  assert.is(temperature, 0);
  assert.ok(Math.abs(nll - (2 * Math.log(2) + Math.log(3)) / 4) < 1e-15, `${nll}`);
});

test.run();
