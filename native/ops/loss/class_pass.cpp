#include "ops/loss/class_pass.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/thread_pool.h"
#include "core/vector.h"

namespace lp {
namespace {

// Lengths of features from here to the inverse leave room in a float for the squares of what they are scaled by.
constexpr double kLeastLength = 1e-15;

// A unit vector orthogonal to the unit vector x: an axis without what it has of x.
void orthogonal(const double* x, Index p, double* out) {
  const Index axis = p > 1 && x[0] * x[0] > 0.5 ? 1 : 0;
  const double length = std::sqrt(std::max(0.0, 1 - x[axis] * x[axis]));
  for (Index j = 0; j < p; j++) out[j] = length > 0 ? ((j == axis) - x[axis] * x[j]) / length : 0;
}

}  // namespace

template <class T>
LossTally ClassPass<T>::run(const LossTask<T>& task) const {
  const Pulls all = pulls(task);
  std::vector<int32_t> labels(task.count);
  for (Index i = 0; i < task.count; i++) labels[i] = static_cast<int32_t>(task.label(i));
  const ByClass by_class(labels.data(), task.count, classes_);
  // Class sums of what each sample adds to ∂L/∂w_y; and, of those whose prototype is turned, to ∂L/∂w_y alone.
  const bool wanted = task.prototypes.data && loss_.prototype_lengths.empty();
  const bool turns = loss_.kind == LossKind::adjusted_margin;
  const Buffer<double> memory((1 + turns) * classes_ * p_);
  const Matrix<double> sums{memory.get(), classes_, p_}, turned_sums{memory.get() + classes_ * p_, classes_, p_};
  const ClassRuns runs(by_class, sums);
  const ClassRuns turned_runs = turns ? ClassRuns(by_class, turned_sums) : ClassRuns(ByClass(nullptr, 0, 0), {});

  std::vector<LossTally> tallies(runs.list.size());
  parallel_for(std::ssize(runs.list), runs.grain(), task.control, [&](Index begin, Index end) {
    const Buffer<T> rows(3 * p_);
    const Scratch scratch{rows.get(), rows.get() + p_, rows.get() + 2 * p_};
    for (Index r = begin; r < end; r++) {
      const auto& run = runs.list[r];
      double* turned_sum = turns ? turned_runs.list[r].sum : nullptr;
      if (wanted) std::fill_n(run.sum, p_, 0.0);
      if (turned_sum) std::fill_n(turned_sum, p_, 0.0);
      for (Index k = run.begin; k < run.end; k++) {
        tallies[r].add(pull(task, all, by_class.order[k], scratch, wanted ? run.sum : nullptr, turned_sum));
      }
    }
  });

  if (wanted) {
    runs.combine(0, p_);
    if (turns) turned_runs.combine(0, p_);
    prototype_gradient(task, sums, turned_sums);
  } else if (task.prototypes.data) {
    std::fill_n(task.prototypes.data, task.prototypes.size(), T(0));
  }
  if (task.biases) bias_gradient(task, by_class);
  LossTally total;
  for (const LossTally& tally : tallies) total.add(tally);
  return total;
}

// v_c (C, p), and γ Σ_j b_j − (1+γ) b_c.
template <class T>
typename ClassPass<T>::Pulls ClassPass<T>::pulls(const LossTask<T>& task) const {
  const State<const T>& state = task.state;
  Pulls out{Buffer<T>(classes_ * p_), std::vector<double>(classes_)};
  std::vector<double> sum(p_);  // Σ_j w_j
  double biases = 0;            // Σ_j b_j
  for (Index c = 0; c < classes_ && !regression(); c++) {
    for (Index j = 0; j < p_; j++) sum[j] += static_cast<double>(state.prototypes(c, j));
    if (state.biases) biases += static_cast<double>(state.biases[c]);
  }
  for (Index c = 0; c < classes_; c++) {
    double scale = 1;
    if (!loss_.prototype_lengths.empty()) {
      const double length = norm(state.prototypes.row(c), p_);
      if (length == 0) refuse_zero("prototypes", c);
      scale = loss_.prototype_lengths[c] / length;
    }
    for (Index j = 0; j < p_; j++) {
      const double w = static_cast<double>(state.prototypes(c, j));
      out.rows[c * p_ + j] = static_cast<T>(regression() ? scale * w : loss_.gamma * sum[j] - (1 + loss_.gamma) * w);
    }
    if (state.biases && !regression()) {
      out.offsets[c] = loss_.gamma * biases - (1 + loss_.gamma) * static_cast<double>(state.biases[c]);
    }
  }
  return out;
}

// The sample i of the list: its loss, its ∂L/∂h to whoever moves it, and what it adds to the class sums.
template <class T>
LossTally ClassPass<T>::pull(const LossTask<T>& task, const Pulls& pulls, Index i, const Scratch& scratch, double* sum,
                             double* turned_sum) const {
  const auto combine = LP_SELECT(combine_row<T>);
  const Index y = task.label(i);
  const T *h = task.features(i), *v = pulls.rows.get() + y * p_;
  const bool regularized = loss_.regularization != 0;
  const double weight = sample_weight(loss_, y, task.count);
  const double length = loss_.normalized || loss_.own_length || turned_sum || regularized ? norm(h, p_) : 0;  // ‖h‖
  if (length == 0 && (loss_.normalized || loss_.own_length)) refuse_zero("features", task.sample(i));

  // ∂u/∂h = scale (1 − û ûᵀ), or 1. u (p) = factor x, formed only where the square of its factor might leave T's range.
  const double scale = loss_.normalized ? loss_.radius / length : 1;
  const bool formed = loss_.normalized && !(length > kLeastLength && length < 1 / kLeastLength);
  if (formed) combine(h, h, p_, scale, 0, scratch.u, 0, nullptr);
  const T* x = formed ? scratch.u : h;
  const double factor = formed ? 1 : scale, length_of_u = loss_.normalized ? loss_.radius : length;

  Slope slope = slope_of(y, x, factor, length_of_u, v);
  if (turned_sum && length > 0 && turn(task.state.prototypes.row(y), h, length, scratch.turned)) {
    slope = slope_of(y, x, factor, length_of_u, scratch.turned);
    combine(x, x, p_, 0, 0, scratch.slope, weight * factor, turned_sum);
  }

  // ∂L/∂h = weight s scale (v − û ûᵀv) + 2ρ h; and Σ weight s u.
  if (sum || task.move) {
    const double pulled = weight * slope.s * scale;
    const double back = loss_.normalized ? -pulled * slope.along / (loss_.radius * loss_.radius) : 0;
    combine(x, slope.v, p_, back * factor, pulled, scratch.slope, weight * slope.s * factor, sum);
    if (regularized) combine(scratch.slope, h, p_, 1, 2 * loss_.regularization, scratch.slope, 0, nullptr);
  }
  if (task.move) task.move(i, i + 1, scratch.slope);
  LossTally tally;
  tally.value = weight * (slope.value + pulls.offsets[y]);
  if (regularized) tally.squares = length * length;
  return tally;
}

// Of u = factor x, of this length.
template <class T>
typename ClassPass<T>::Slope ClassPass<T>::slope_of(Index label, const T* x, double factor, double length,
                                                    const T* v) const {
  const double along = factor * dot(x, v, p_);
  if (!regression()) return {along, 1, v, along};
  const double size = loss_.own_length ? length : 1;
  const double rest = along - loss_.targets[label] * size, s = loss_.curvatures[label] / size * rest;
  return {s * rest / 2, s, v, along};
}

// Where cos∠(w, h) < −1 + ε: v (p) = −(1+γ)(w + δ). w + δ has what w has along h, and aside of it so much that the
// cosine is −1 + ε; at the cosine −1 any direction aside will do. `length` is ‖h‖.
template <class T>
bool ClassPass<T>::turn(const T* w, const T* h, double length, T* v) const {
  const double along = dot(w, h, p_) / length, near = 1 - loss_.epsilon, length_of_w = norm(w, p_);
  if (!(along < -near * length_of_w)) return false;
  std::vector<double> unit(p_), aside(p_);  // ĥ and w − ĥ ĥᵀw
  for (Index j = 0; j < p_; j++) {
    unit[j] = static_cast<double>(h[j]) / length;
    aside[j] = static_cast<double>(w[j]) - along * unit[j];
  }
  double size = norm(aside.data(), p_);
  const double rounding = std::numeric_limits<T>::epsilon() * 16;
  if (size <= rounding * length_of_w) orthogonal(unit.data(), p_, aside.data()), size = 1;
  const double wanted = -along * std::sqrt(1 - near * near) / near / size;
  for (Index j = 0; j < p_; j++) v[j] = static_cast<T>(-(1 + loss_.gamma) * (along * unit[j] + wanted * aside[j]));
  return true;
}

// ∂L/∂w_c = γ Σ_d (S_d − turned S_d) − (1+γ) S_c; of dot regression S_c.
template <class T>
void ClassPass<T>::prototype_gradient(const LossTask<T>& task, Matrix<double> sums, Matrix<double> turned_sums) const {
  std::vector<double> others(p_);
  for (Index c = 0; c < classes_ && !regression(); c++) {
    for (Index j = 0; j < p_; j++) {
      const double turned = loss_.kind == LossKind::adjusted_margin ? turned_sums(c, j) : 0;
      others[j] += loss_.gamma * (sums(c, j) - turned);
    }
  }
  for (Index c = 0; c < classes_; c++) {
    for (Index j = 0; j < p_; j++) {
      task.prototypes(c, j) = static_cast<T>(regression() ? sums(c, j) : others[j] - (1 + loss_.gamma) * sums(c, j));
    }
  }
}

// ∂L/∂b_c = γ Σ_i a_i − (1+γ) Σ_{y_i=c} a_i; of dot regression 0.
template <class T>
void ClassPass<T>::bias_gradient(const LossTask<T>& task, const ByClass& by_class) const {
  std::vector<double> own(classes_);
  double total = 0;
  for (Index c = 0; c < classes_; c++) {
    own[c] = sample_weight(loss_, c, task.count) * static_cast<double>(by_class.count(c));
    total += own[c];
  }
  for (Index c = 0; c < classes_; c++) {
    task.biases[c] = static_cast<T>(regression() ? 0 : loss_.gamma * total - (1 + loss_.gamma) * own[c]);
  }
}

template class ClassPass<float>;
template class ClassPass<double>;

}  // namespace lp
