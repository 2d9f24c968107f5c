#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/loss/losses.h"

namespace lp {
namespace {

double dot(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (size_t j = 0; j < x.size(); j++) sum += x[j] * y[j];
  return sum;
}

template <class T>
std::vector<double> row_of(Matrix<const T> rows, Index i) {
  return {rows.row(i), rows.row(i) + rows.cols};
}

// A unit vector orthogonal to the unit vector x: the first axis that x does not have most of itself in, made
// orthogonal.
std::vector<double> orthogonal(const std::vector<double>& x) {
  std::vector<double> out(x.size());
  const Index axis = x.size() > 1 && x[0] * x[0] > 0.5 ? 1 : 0;
  for (size_t j = 0; j < x.size(); j++) out[j] = (static_cast<Index>(j) == axis) - x[axis] * x[j];
  const double norm = std::sqrt(dot(out, out));
  for (double& value : out) value = norm > 0 ? value / norm : 0;
  return out;
}

// Loss of one sample, and its derivatives by z; or, where `direct`, by u itself.
struct One {
  double value = 0;
  std::vector<double> logits;  // ∂ℓ/∂z
};

One of_logits(const Loss& loss, const std::vector<double>& z, Index y, const double* soft) {
  const Index classes = std::ssize(z);
  One one;
  one.logits.resize(classes);
  const auto target = [&](Index j) {
    return soft ? soft[j] : (j == y) * (1 - loss.smoothing) + loss.smoothing / static_cast<double>(classes);
  };
  switch (loss.kind) {
    case LossKind::unhinged:
    case LossKind::adjusted_margin:
      for (Index j = 0; j < classes; j++) {
        one.logits[j] = j == y ? -1 : loss.gamma;
        one.value += one.logits[j] * z[j];
      }
      break;
    case LossKind::cross_entropy: {
      const double most = *std::max_element(z.begin(), z.end());
      double sum = 0;
      for (double value : z) sum += std::exp(value - most);
      for (Index j = 0; j < classes; j++) {
        one.logits[j] = std::exp(z[j] - most) / sum - target(j);
        if (target(j) != 0) one.value -= target(j) * (z[j] - most - std::log(sum));
      }
      break;
    }
    case LossKind::mse:
      for (Index j = 0; j < classes; j++) {
        const double rest = z[j] - (j == y);
        one.logits[j] = 2 * rest;
        one.value += rest * rest;
      }
      break;
    case LossKind::hinge:
      for (Index j = 0; j < classes; j++) {
        const double excess = z[j] - z[y] + loss.margin;
        if (j == y || excess <= 0) continue;
        one.value += excess;
        one.logits[j] = 1;
        one.logits[y] -= 1;
      }
      break;
    case LossKind::dot_regression:
      break;
  }
  return one;
}

}  // namespace

template <class T>
LossSummary loss_and_gradient_ref(const Loss& loss, const State<const T>& state, const State<T>& gradient) {
  const Index n = state.samples(), classes = state.classes(), p = state.dim();
  const double share = loss.sum ? 1 : 1 / static_cast<double>(n);
  std::vector<std::vector<double>> w, dw(classes, std::vector<double>(p));
  std::vector<double> db(classes);
  for (Index c = 0; c < classes; c++) {
    w.push_back(row_of(state.prototypes, c));
    if (loss.prototype_lengths.empty()) continue;
    const double norm = std::sqrt(dot(w[c], w[c]));
    for (double& value : w[c]) value *= loss.prototype_lengths[c] / norm;
  }
  LossSummary summary;
  Index correct = 0;
  summary.min_margin = std::numeric_limits<double>::infinity();
  for (Index i = 0; i < n; i++) {
    const Index y = state.labels[i];
    const double weight = share * (loss.class_weights.empty() ? 1 : loss.class_weights[y]);
    const auto h = row_of(state.features, i);
    const double norm = std::sqrt(dot(h, h)), scale = loss.normalized ? loss.radius / norm : 1;
    auto u = h;
    for (double& value : u) value *= scale;

    std::vector<double> z(classes), du(p);
    for (Index c = 0; c < classes; c++) {
      z[c] = dot(w[c], u) + (state.biases && loss.kind != LossKind::dot_regression ? state.biases[c] : 0);
    }
    auto decided = z;
    for (Index c = 0; c < classes && !loss.prototype_lengths.empty(); c++)
      decided[c] = dot(row_of(state.prototypes, c), u);
    double rival = -std::numeric_limits<double>::infinity();
    for (Index c = 0; c < classes; c++) rival = c == y ? rival : std::max(rival, decided[c]);
    summary.min_margin = std::min(summary.min_margin, decided[y] - rival);
    correct += std::max_element(decided.begin(), decided.end()) - decided.begin() == y;

    double value;
    const double cosine = dot(w[y], h) / (norm * std::sqrt(dot(w[y], w[y])));
    if (loss.kind == LossKind::dot_regression) {
      const double length = loss.own_length ? std::sqrt(dot(u, u)) : 1;
      const double rest = z[y] - loss.targets[y] * length, slope = loss.curvatures[y] / length * rest;
      value = slope * rest / 2;
      for (Index j = 0; j < p; j++) {
        du[j] = slope * w[y][j];
        if (loss.prototype_lengths.empty()) dw[y][j] += weight * slope * u[j];
      }
    } else if (loss.kind == LossKind::adjusted_margin && cosine < -1 + loss.epsilon) {
      // w + δ: length and direction of w in the plane of w and h, at the cosine −1 + ε.
      const double near = 1 - loss.epsilon, along = dot(w[y], h) / norm;
      std::vector<double> aside(p), turned(p), unit(p);
      for (Index j = 0; j < p; j++) unit[j] = h[j] / norm;
      for (Index j = 0; j < p; j++) aside[j] = w[y][j] - along * unit[j];
      double length = std::sqrt(dot(aside, aside));
      if (length <= 1e-12 * std::abs(along)) aside = orthogonal(unit), length = 1;
      const double wanted = -along * std::sqrt(1 - near * near) / near;
      for (Index j = 0; j < p; j++) turned[j] = along * unit[j] + wanted * aside[j] / length;
      value = -(1 + loss.gamma) * dot(turned, u);
      for (Index j = 0; j < p; j++) {
        du[j] = -(1 + loss.gamma) * turned[j];
        dw[y][j] -= weight * (1 + loss.gamma) * u[j];
      }
      for (Index c = 0; c < classes && state.biases; c++) {
        value += (c == y ? -1 : loss.gamma) * state.biases[c];
        db[c] += weight * (c == y ? -1 : loss.gamma);
      }
    } else {
      const One one = of_logits(loss, z, y, loss.soft_labels.empty() ? nullptr : loss.soft_labels.data() + i * classes);
      value = one.value;
      for (Index c = 0; c < classes; c++) {
        for (Index j = 0; j < p; j++) {
          du[j] += one.logits[c] * w[c][j];
          dw[c][j] += weight * one.logits[c] * u[j];
        }
        db[c] += weight * one.logits[c];
      }
    }
    summary.value += weight * value;
    summary.regularizer += loss.regularization * norm * norm;
    const double along = loss.normalized ? dot(du, h) / (norm * norm) : 0;
    for (Index j = 0; j < p && gradient.features.data; j++) {
      gradient.features(i, j) =
          static_cast<T>(weight * scale * (du[j] - along * h[j]) + 2 * loss.regularization * h[j]);
    }
  }
  summary.accuracy = static_cast<double>(correct) / static_cast<double>(n);
  summary.value += summary.regularizer;
  for (Index c = 0; c < classes; c++) {
    for (Index j = 0; j < p && gradient.prototypes.data; j++) gradient.prototypes(c, j) = static_cast<T>(dw[c][j]);
    if (gradient.biases) gradient.biases[c] = static_cast<T>(db[c]);
  }
  return summary;
}

template LossSummary loss_and_gradient_ref(const Loss&, const State<const float>&, const State<float>&);
template LossSummary loss_and_gradient_ref(const Loss&, const State<const double>&, const State<double>&);

}  // namespace lp
