// Measures of collapse by their definitions, in dense loops: an oracle of small sizes.

const dot = (x, y) => x.reduce((sum, value, j) => sum + value * y[j], 0);
const norm = (x) => Math.sqrt(dot(x, x));
const minus = (x, y) => x.map((value, j) => value - y[j]);
const mean = (rows) => rows[0].map((_, j) => rows.reduce((sum, row) => sum + row[j], 0) / rows.length);
const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

export const rowsOf = ({ shape: [rows, cols], data }) =>
  Array.from({ length: rows }, (_, i) => Array.from(data.subarray(i * cols, (i + 1) * cols)));

/** Eigenvalues and eigenvectors (rows) of a symmetric matrix, by Jacobi's rotations. */
function eigen(matrix) {
  const a = matrix.map((row) => [...row]);
  const n = a.length;
  const v = a.map((_, i) => a.map((_, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < 60; sweep++) {
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        if (a[p][q] === 0) continue;
        const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
        const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1);
        const s = t * c;
        for (let k = 0; k < n; k++) [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
        for (let k = 0; k < n; k++) [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
        for (let k = 0; k < n; k++) [v[p][k], v[q][k]] = [c * v[p][k] - s * v[q][k], s * v[p][k] + c * v[q][k]];
      }
    }
  }
  return a.map((row, i) => ({ value: row[i], vector: v[i] })).sort((x, y) => y.value - x.value);
}

const covariance = (rows) => rows[0].map((_, i) => rows[0].map((_, j) => average(rows.map((row) => row[i] * row[j]))));

/** tr(A B⁺) with B⁺ of the given rank. */
function tracePseudoInverse(a, b, rank) {
  const pairs = eigen(b).slice(0, rank);
  return pairs.reduce(
    (sum, { value, vector }) =>
      sum +
      dot(
        vector,
        a.map((row) => dot(row, vector)),
      ) /
        value,
    0,
  );
}

function simplexDistance(a, b) {
  const products = a.map((x) => b.map((y) => dot(x, y)));
  const size = norm(products.flat());
  const classes = a.length;
  return norm(products.flatMap((row, c) => row.map((x, d) => x / size - ((c === d) - 1 / classes) / Math.sqrt(classes - 1))));
}

function variation(rows, ddof) {
  const norms = rows.map(norm);
  const center = average(norms);
  return Math.sqrt(norms.reduce((sum, x) => sum + (x - center) ** 2, 0) / (rows.length - ddof)) / center;
}

/** The measures that golden cases do not have, and those that options change; against the means of another state, if there is one. */
export function reference(state, { globalMean = 'classes', ddof = 0 } = {}, other = state) {
  const { features, labels, prototypes, biases } = state;
  const h = rowsOf(features);
  const w = rowsOf(prototypes);
  const classes = w.length;
  const members = w.map((_, c) => h.filter((_, i) => labels[i] === c));
  const origins = rowsOf(other.features);
  const means = w.map((_, c) => mean(origins.filter((_, i) => other.labels[i] === c)));
  const center = mean(globalMean === 'classes' ? means : origins);
  const decided = (scores) => scores.indexOf(Math.max(...scores));
  const centered = means.map((row) => minus(row, center));
  const residuals = h.map((row, i) => minus(row, means[labels[i]]));
  const spreads = members.map((rows, c) => average(rows.map((row) => norm(minus(row, means[c])) ** 2)));
  const pairs = means.flatMap((x, c) => means.slice(0, c).map((y, d) => (spreads[c] + spreads[d]) / (2 * norm(minus(x, y)) ** 2)));
  const trace = tracePseudoInverse(covariance(residuals), covariance(centered), Math.min(classes - 1, features.shape[1]));
  const bias = biases ? Array.from(biases.data) : w.map(() => 0);
  const apart = h.filter(
    (row) => decided(w.map((v, c) => dot(v, row) + bias[c])) !== decided(means.map((point) => -norm(minus(row, point)))),
  );
  return {
    nc1: trace / classes,
    nc1Papyan: trace,
    nc1TraceRatio: average(residuals.map((row) => norm(row) ** 2)) / average(centered.map((row) => norm(row) ** 2)),
    nc1Cdnv: average(pairs),
    withinClassVariation: average(residuals.map(norm)) / average(h.map((row) => norm(minus(row, center)))),
    featureNormVariation: variation(centered, ddof),
    prototypeNormVariation: variation(w, ddof),
    nc2Zhu: simplexDistance(w, w),
    nc3Zhu: simplexDistance(w, centered),
    nc4: apart.length / h.length,
    nc4Zhu: norm(w.map((row, c) => dot(row, center) + bias[c])),
  };
}
