// Losses in plain loops, and what they are tried on.

/** The loss by its formula, of plain arrays. */
export function value(
  loss,
  { features, prototypes, biases, labels },
  { normalizeFeatures = false, reduction = 'mean', regularization } = {},
) {
  const [n, p] = features.shape;
  const classes = prototypes.shape[0];
  const row = ({ data }, i) => Array.from(data.subarray(i * p, (i + 1) * p));
  const dot = (x, y) => x.reduce((sum, a, j) => sum + a * y[j], 0);
  const energies = (loss.convention ?? 'energies') === 'energies';
  const size = (given, c) => (typeof given === 'number' ? given : (given?.[c] ?? 1));
  let total = 0;
  let squares = 0;
  for (let i = 0; i < n; i++) {
    const y = labels[i];
    let u = row(features, i);
    const norm = Math.sqrt(dot(u, u));
    squares += norm ** 2;
    const radius = loss.kind !== 'dot-regression' ? 1 : energies ? Math.sqrt(loss.featureEnergy ?? 1) : (loss.featureLength ?? 1);
    if (normalizeFeatures) u = u.map((x) => (radius * x) / norm);
    const z = Array.from({ length: classes }, (_, c) => dot(row(prototypes, c), u) + (biases?.data[c] ?? 0));
    const top = Math.max(...z);
    const logSum = top + Math.log(z.reduce((sum, x) => sum + Math.exp(x - top), 0));
    const others = z.filter((_, c) => c !== y);
    switch (loss.kind) {
      case 'unhinged':
        total += -z[y] + loss.gamma * others.reduce((sum, x) => sum + x, 0);
        break;
      case 'mse':
        total += z.reduce((sum, x, c) => sum + (x - (c === y)) ** 2, 0);
        break;
      case 'hinge':
        total += others.reduce((sum, x) => sum + Math.max(0, x - z[y] + (loss.margin ?? 1)), 0);
        break;
      case 'cross-entropy': {
        const s = loss.labelSmoothing ?? 0;
        const target = (c) => loss.softLabels?.data[i * classes + c] ?? (c === y) * (1 - s) + s / classes;
        total += (loss.classWeights?.[y] ?? 1) * z.reduce((sum, x, c) => sum - target(c) * (x - logSum), 0);
        break;
      }
      case 'dot-regression': {
        let w = row(prototypes, y);
        const given = size(energies ? loss.prototypeEnergy : loss.prototypeLength, y);
        const own = Math.sqrt(dot(w, w));
        if (loss.prototypes !== 'learnable') w = w.map((x) => (x / own) * (energies ? Math.sqrt(given) : given));
        const target = energies ? Math.sqrt(given * (loss.featureEnergy ?? 1)) : given * (loss.featureLength ?? 1);
        const scale = energies ? target : (loss.featureLength ?? 1);
        total += (dot(w, u) - target) ** 2 / (2 * scale);
        break;
      }
    }
  }
  const { weight = 0, normalization = 'sum' } = regularization ?? {};
  return total / (reduction === 'sum' ? 1 : n) + (weight * squares) / { sum: 1, mean: n, 'half-mean': 2 * n }[normalization];
}

/** Soft labels `[n, classes]`: rows that add up to 1. */
export function randomTargets(n, classes, random) {
  const data = Float64Array.from({ length: n * classes }, () => random.uniform());
  for (let i = 0; i < n; i++) {
    const row = data.subarray(i * classes, (i + 1) * classes);
    const sum = row.reduce((total, x) => total + x, 0);
    row.set(row.map((x) => x / sum));
  }
  return { shape: [n, classes], data };
}
