// The definitions, in plain loops over plain lists.

const sum = (values) => values.reduce((all, value) => all + value, 0);
const mean = (values) => sum(values) / values.length;

export function softmax(z, temperature = 1) {
  const largest = Math.max(...z);
  const shares = z.map((value) => Math.exp((value - largest) / temperature));
  return shares.map((share) => share / sum(shares));
}

const argmax = (values) => values.indexOf(Math.max(...values));

/** ECE, MCE and the counts of bins that are closed on the right; NLL and Brier score. */
export function calibration(logits, labels, { temperature = 1, bins = 15 } = {}) {
  const p = logits.map((z) => softmax(z, temperature));
  const gaps = [];
  const counts = [];
  for (let k = 0; k < bins; k++) {
    const inside = p.flatMap((each, i) => {
      const confidence = Math.max(...each);
      return confidence <= (k + 1) / bins && (confidence > k / bins || k === 0) ? [i] : [];
    });
    counts.push(inside.length);
    const accuracy = mean(inside.map((i) => (argmax(logits[i]) === labels[i] ? 1 : 0)));
    gaps.push(inside.length === 0 ? 0 : Math.abs(accuracy - mean(inside.map((i) => Math.max(...p[i])))));
  }
  return {
    ece: sum(gaps.map((gap, k) => (gap * counts[k]) / labels.length)),
    mce: Math.max(...gaps),
    counts,
    nll: mean(p.map((each, i) => -Math.log(each[labels[i]]))),
    brier: mean(p.map((each, i) => sum(each.map((value, j) => (value - (j === labels[i] ? 1 : 0)) ** 2)))),
  };
}

/** Detection of one class by a score that is large for it: pairs counted one by one, thresholds tried one by one. */
export function detect(positives, negatives) {
  const pairs = positives.flatMap((a) => negatives.map((b) => (a > b ? 1 : a === b ? 0.5 : 0)));
  const thresholds = [...new Set([...positives, ...negatives])];
  const rate = (values, threshold) => values.filter((value) => value >= threshold).length / values.length;
  const enough = thresholds.filter(
    (threshold) => positives.filter((value) => value >= threshold).length * 20 >= 19 * positives.length,
  );
  const points = thresholds.map((threshold) => {
    const [found, taken] = [positives, negatives].map((values) => values.filter((value) => value >= threshold).length);
    return { threshold, recall: found / positives.length, precision: found / (found + taken) };
  });
  points.sort((a, b) => b.threshold - a.threshold);
  const steps = points.map(({ recall, precision }, k) => {
    const before = points[k - 1] ?? { recall: 0, precision: 1 };
    return { step: (recall - before.recall) * precision, area: ((recall - before.recall) * (precision + before.precision)) / 2 };
  });
  return {
    fpr95: Math.min(...enough.map((threshold) => rate(negatives, threshold))),
    auroc: mean(pairs),
    aupr: sum(steps.map(({ step }) => step)),
    auprTrapezoid: sum(steps.map(({ area }) => area)),
  };
}

export { argmax, mean, sum };
