// The definitions in plain loops, with dense p×p covariances.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/blas/blas.h"
#include "ops/collapse/collapse.h"

namespace lp {
namespace {

using Vector = std::vector<double>;
using Rows = std::vector<Vector>;

double dot(const Vector& x, const Vector& y) {
  double sum = 0;
  for (size_t j = 0; j < x.size(); j++) sum += x[j] * y[j];
  return sum;
}

double norm(const Vector& x) { return std::sqrt(dot(x, x)); }

Vector minus(Vector x, const Vector& y) {
  for (size_t j = 0; j < x.size(); j++) x[j] -= y[j];
  return x;
}

Vector scaled(Vector x, double factor) {
  for (double& value : x) value *= factor;
  return x;
}

double variation(const Rows& rows, int ddof) {
  double mean = 0, square = 0;
  for (const Vector& row : rows) mean += norm(row) / rows.size();
  for (const Vector& row : rows) square += std::pow(norm(row) - mean, 2);
  return std::sqrt(square / (rows.size() - ddof)) / mean;
}

double cosine(const Vector& x, const Vector& y) { return dot(x, y) / (norm(x) * norm(y)); }

double cosine_deviation(const Rows& rows) {
  const double classes = rows.size();
  double sum = 0;
  for (size_t c = 0; c < rows.size(); c++)
    for (size_t d = c + 1; d < rows.size(); d++) sum += std::abs(cosine(rows[c], rows[d]) + 1 / (classes - 1));
  return sum / (classes * (classes - 1) / 2);
}

// ‖X/‖X‖ − (I − 11ᵀ/C)/√(C−1)‖ of X = a bᵀ.
double simplex_distance(const Rows& a, const Rows& b) {
  const double classes = a.size();
  double total = 0, sum = 0;
  for (const Vector& x : a)
    for (const Vector& y : b) total += std::pow(dot(x, y), 2);
  for (size_t c = 0; c < a.size(); c++)
    for (size_t d = 0; d < b.size(); d++)
      sum += std::pow(dot(a[c], b[d]) / std::sqrt(total) - ((c == d) - 1 / classes) / std::sqrt(classes - 1), 2);
  return std::sqrt(sum);
}

Vector cosines(const Rows& rows) {
  Vector out;
  for (const Vector& x : rows)
    for (const Vector& y : rows) out.push_back(cosine(x, y));
  return out;
}

Vector norms(const Rows& rows) {
  Vector out;
  for (const Vector& x : rows) out.push_back(norm(x));
  return out;
}

Index largest(const Vector& x) { return std::max_element(x.begin(), x.end()) - x.begin(); }

template <class T>
Rows to_rows(Matrix<const T> x) {
  Rows rows;
  for (Index i = 0; i < x.rows; i++) rows.emplace_back(x.row(i), x.row(i) + x.cols);
  return rows;
}

Vector mean_of(const Rows& rows) {
  Vector mean(rows[0].size());
  for (const Vector& row : rows)
    for (size_t j = 0; j < mean.size(); j++) mean[j] += row[j] / rows.size();
  return mean;
}

Rows centered_at(const Rows& rows, const Vector& point) {
  Rows out;
  for (const Vector& row : rows) out.push_back(minus(row, point));
  return out;
}

// Eigenvalues of Σ_W Σ_B⁺, as those of F Σ_W Fᵀ with Σ_B⁺ = Fᵀ F from the p×p eigenvectors of Σ_B.
Vector spectrum(const Rows& residuals, const Rows& centered) {
  const Index p = std::ssize(centered[0]), classes = std::ssize(centered);
  Vector between(p * p), values(p);
  for (const Vector& m : centered)
    for (Index i = 0; i < p; i++)
      for (Index j = 0; j < p; j++) between[i * p + j] += m[i] * m[j] / classes;
  blas::eigh(p, between.data(), values.data());
  Rows whitening;
  for (Index k = p - 1; k >= std::max<Index>(0, p - (classes - 1)); k--) {
    if (values[k] <= 1e-13 * values[p - 1]) break;
    whitening.push_back(scaled({&between[k * p], &between[k * p] + p}, 1 / std::sqrt(values[k])));
  }
  const Index rank = std::ssize(whitening);
  Vector matrix(rank * rank), result(rank);
  for (const Vector& r : residuals)
    for (Index i = 0; i < rank; i++)
      for (Index j = 0; j < rank; j++)
        matrix[i * rank + j] += dot(whitening[i], r) * dot(whitening[j], r) / residuals.size();
  if (rank > 0) blas::eigh(rank, matrix.data(), result.data());
  std::reverse(result.begin(), result.end());
  return result;
}

}  // namespace

template <class T>
CollapseResult collapse_ref(const State<const T>& state, CollapseOptions options, const State<const T>* reference) {
  const Index n = state.samples(), classes = state.classes();
  const Rows features = to_rows(state.features), prototypes = to_rows(state.prototypes);
  std::vector<Rows> members(classes);
  for (Index i = 0; i < n; i++) members[state.labels[i]].push_back(features[i]);
  // Of the state's own samples, or of those that it is held against.
  const State<const T>& other = reference ? *reference : state;
  const Rows sources = to_rows(other.features);
  std::vector<Rows> origins(classes);
  for (Index i = 0; i < other.samples(); i++) origins[other.labels[i]].push_back(sources[i]);
  Rows means;
  for (const Rows& rows : origins) means.push_back(mean_of(rows));
  const Vector global = options.global_mean_of_samples ? mean_of(sources) : mean_of(means);
  const Rows centered = centered_at(means, global), heads = centered_at(prototypes, mean_of(prototypes));

  Rows residuals;
  Vector spread(classes);
  double to_class = 0, to_global = 0, within = 0, margins = 0, least = std::numeric_limits<double>::infinity();
  double correct = 0, disagree = 0;
  for (Index i = 0; i < n; i++) {
    const Index y = state.labels[i];
    residuals.push_back(minus(features[i], means[y]));
    const double length = norm(residuals[i]);
    to_class += length;
    to_global += norm(minus(features[i], global));
    within += length * length / n;
    spread[y] += length * length / members[y].size();
    Vector logits, nearness;
    for (Index c = 0; c < classes; c++) {
      logits.push_back(dot(prototypes[c], features[i]) + (state.biases ? state.biases[c] : 0));
      nearness.push_back(-norm(minus(features[i], means[c])));
    }
    double margin = std::numeric_limits<double>::infinity();
    for (Index c = 0; c < classes; c++)
      if (c != y) margin = std::min(margin, logits[y] - logits[c]);
    margins += margin;
    least = std::min(least, margin);
    correct += largest(logits) == y;
    disagree += largest(logits) != largest(nearness);
  }

  CollapseResult result;
  auto& measures = result.measures;
  result.spectrum = spectrum(residuals, centered);
  double trace = result.spectrum.empty() ? std::numeric_limits<double>::quiet_NaN() : 0;
  for (double value : result.spectrum) trace += value;
  double between = 0, distance_normalized = 0, alignment = 0, duality = 0, frobenius = 0, zhu = 0;
  double prototypes_norm = 0, centered_norm = 0;
  for (Index c = 0; c < classes; c++) {
    between += dot(centered[c], centered[c]) / classes;
    prototypes_norm += dot(prototypes[c], prototypes[c]);
    centered_norm += dot(centered[c], centered[c]);
    for (Index d = c + 1; d < classes; d++)
      distance_normalized += (spread[c] + spread[d]) / (2 * std::pow(norm(minus(means[c], means[d])), 2));
  }
  for (Index c = 0; c < classes; c++) {
    alignment += cosine(centered[c], prototypes[c]) / classes;
    duality += norm(minus(scaled(centered[c], 1 / norm(centered[c])), scaled(heads[c], 1 / norm(heads[c])))) / classes;
    frobenius += std::pow(norm(minus(scaled(prototypes[c], 1 / std::sqrt(prototypes_norm)),
                                     scaled(centered[c], 1 / std::sqrt(centered_norm)))),
                          2);
    zhu += std::pow(dot(prototypes[c], global) + (state.biases ? state.biases[c] : 0), 2);
  }
  measures["nc1"] = trace / classes;
  measures["nc1Papyan"] = trace;
  measures["nc1TraceRatio"] = within / between;
  measures["nc1Cdnv"] = distance_normalized / (classes * (classes - 1) / 2);
  measures["withinClassVariation"] = to_class / to_global;
  measures["featureNormVariation"] = variation(centered, options.ddof);
  measures["featureCosine"] = cosine_deviation(centered);
  measures["prototypeNormVariation"] = variation(prototypes, options.ddof);
  measures["centeredPrototypeNormVariation"] = variation(heads, options.ddof);
  measures["centeredPrototypeCosine"] = cosine_deviation(heads);
  measures["nc2"] = simplex_distance(heads, heads);
  measures["nc2Zhu"] = simplex_distance(prototypes, prototypes);
  measures["nc3"] = simplex_distance(heads, centered);
  measures["nc3Zhu"] = simplex_distance(prototypes, centered);
  measures["dualityFrobenius"] = frobenius;
  measures["selfDuality"] = duality;
  measures["alignment"] = alignment;
  measures["nc4"] = disagree / n;
  measures["nc4Zhu"] = std::sqrt(zhu);
  measures["accuracy"] = correct / n;
  measures["minMargin"] = least;
  measures["meanMargin"] = margins / n;
  result.feature_cosines = cosines(centered);
  result.prototype_cosines = cosines(heads);
  result.class_norms = norms(centered);
  result.prototype_norms = norms(prototypes);
  result.centered_prototype_norms = norms(heads);
  for (const Vector& mean : means) result.class_means.insert(result.class_means.end(), mean.begin(), mean.end());
  return result;
}

template CollapseResult collapse_ref(const State<const float>&, CollapseOptions, const State<const float>*);
template CollapseResult collapse_ref(const State<const double>&, CollapseOptions, const State<const double>*);

}  // namespace lp
