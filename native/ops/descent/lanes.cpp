#include "ops/descent/lanes.h"

#include <algorithm>
#include <cmath>

namespace lp {
namespace {

// Of `rows` given rows of `cols` to their transposition with rows of `stride`.
template <class T>
void lay_out(const Matrix<T>& rows, T* lanes, Index stride) {
  for (Index i = 0; i < rows.rows; i++) {
    for (Index j = 0; j < rows.cols; j++) lanes[j * stride + i] = rows(i, j);
  }
}

template <class T>
void read_back(const T* lanes, Index stride, const Matrix<T>& rows) {
  for (Index i = 0; i < rows.rows; i++) {
    for (Index j = 0; j < rows.cols; j++) rows(i, j) = lanes[j * stride + i];
  }
}

// Rows of `cols` from one stride to another.
template <class T>
void copy_rows(const T* from, Index from_stride, T* to, Index to_stride, Index rows, Index cols) {
  for (Index i = 0; i < rows; i++) std::copy_n(from + i * from_stride, cols, to + i * to_stride);
}

// Parameters whose products and squares a float can hold.
bool small(double value) { return std::abs(value) <= kSmallLogits; }
bool ordinary(double radius) { return small(radius) && radius >= 1 / kSmallLogits; }

}  // namespace

const char* beyond_lanes(const ProjectedDescentPlan& plan, Index samples) {
  const Loss& loss = plan.loss;
  if (loss.kind == LossKind::dot_regression || loss.kind == LossKind::adjusted_margin) {
    return "loss of this kind (problem.loss)";
  }
  if (!loss.soft_labels.empty()) return "soft labels (problem.loss.softLabels)";
  if (plan.batch > 0 && plan.batch < samples) return "batches (options.batch)";
  const bool constraints = ordinary(plan.features.constraint.radius) && ordinary(plan.prototypes.constraint.radius);
  if (!constraints) return "radii this small or large (problem.constraints)";
  if (!ordinary(loss.radius) || !small(loss.gamma) || !small(loss.margin) || !small(loss.regularization) ||
      !std::ranges::all_of(loss.class_weights, small)) {
    return "parameters of a loss this small or large (problem.loss)";
  }
  return nullptr;
}

// Measured on two cores (AVX-512), cross-entropy, C from 3 to 100: one thread on lanes takes 0.2 (n p C = 3e4) to 0.95
// (6e6) of the time of blocks on both threads, up to 3 MB of arrays. The bounds are lower, for machines with more cores
// and smaller caches: about 0.1 ms a step, and arrays that stay in or near a second-level cache.
template <class T>
bool LaneDescent<T>::suits(const ProjectedDescentPlan& plan, Index samples, Index classes, Index p) {
  if (beyond_lanes(plan, samples)) return false;
  const double n = static_cast<double>(samples), c = static_cast<double>(classes), d = static_cast<double>(p);
  return n * c * d <= 1 << 21 && (n * (2 * d + c) + c * d) * sizeof(T) <= 1 << 21;
}

template <class T>
LaneDescent<T>::LaneDescent(const ProjectedDescentPlan& plan, const State<const T>& shape)
    : run_{}, samples_(shape.samples()) {
  const Loss& loss = plan.loss;
  run_.lanes = round_up(samples_, kLaneBytes / sizeof(T));
  run_.classes = shape.classes();
  run_.dim = shape.dim();
  run_.padded_classes = round_up(run_.classes, kClassPair);
  run_.padded_dim = round_up(run_.dim, kDimTile);
  const Index n = run_.lanes, c = run_.padded_classes, p = run_.padded_dim;
  const bool moving = plan.momentum != 0;
  const auto lines = [](Index size) { return round_up(size, kLaneBytes / sizeof(T)); };
  const Index copies = moving ? 2 : 1;
  memory_ = Buffer<T>(copies * (lines(p * n) + lines(c * p) + lines(c)) + (loss.normalized ? 2 : 1) * c * n +
                      lines(c * p) + lines(c) + 7 * n);
  std::fill(memory_.begin(), memory_.end(), T(0));
  T* next = memory_.get();
  const auto take = [&](Index size) {
    T* taken = next;
    next += lines(size);
    return taken;
  };
  run_.features = take(p * n);
  run_.prototypes = take(c * p);
  run_.biases = take(c);
  if (moving) {
    run_.features_velocity = take(p * n);
    run_.prototypes_velocity = take(c * p);
    run_.biases_velocity = take(c);
  }
  run_.slopes = take((loss.normalized ? 2 : 1) * c * n);
  run_.prototypes_slope = take(c * p);
  run_.biases_slope = take(c);
  for (T** lane : {&run_.weights, &run_.top, &run_.rest, &run_.scale, &run_.decay, &run_.rate, &run_.squares}) {
    *lane = take(n);
  }
  labels_ = Buffer<typename LaneLabel<T>::type>(n);
  std::fill(labels_.begin(), labels_.end(), -1);
  run_.labels = labels_.get();
  for (Index i = 0; i < samples_; i++) {
    const int32_t label = shape.labels[i];
    labels_[i] = label;
    run_.weights[i] = static_cast<T>((loss.class_weights.empty() ? 1 : loss.class_weights[label]) /
                                     (loss.sum ? 1 : static_cast<double>(samples_)));
  }
  run_.kind = loss.kind;
  run_.gamma = static_cast<T>(loss.gamma);
  run_.smoothing = static_cast<T>(loss.smoothing);
  run_.margin = static_cast<T>(loss.margin);
  run_.radius = static_cast<T>(loss.radius);
  run_.normalized = loss.normalized;
  run_.rescaled = plan.rescaled;
  run_.biased = shape.biases != nullptr;
  run_.moves_features = plan.features.moves;
  run_.moves_prototypes = plan.prototypes.moves;
  run_.moves_biases = plan.biases.moves;
  run_.features_factors = plan.factors_of(plan.features, 0);
  run_.features_factors.decay += 2 * loss.regularization;  // ∂ρ‖h‖²/∂h
  run_.prototypes_factors = plan.factors_of(plan.prototypes, 0);
  run_.biases_factors = plan.factors_of(plan.biases, 0);
}

template <class T>
Index LaneDescent<T>::advance(const State<T>& state, const State<T>& velocity, const double* rates_features,
                              const double* rates_prototypes, const double* rates_biases, Index steps,
                              const Control& control) {
  const Index n = run_.lanes, classes = run_.classes, p = run_.dim, stride = run_.padded_dim;
  const bool moving = run_.features_velocity != nullptr;
  lay_out(state.features, run_.features, n);
  copy_rows(state.prototypes.data, p, run_.prototypes, stride, classes, p);
  if (run_.biased) std::copy_n(state.biases, classes, run_.biases);
  if (moving) {
    lay_out(velocity.features, run_.features_velocity, n);
    copy_rows(velocity.prototypes.data, p, run_.prototypes_velocity, stride, classes, p);
    if (run_.biased) std::copy_n(velocity.biases, classes, run_.biases_velocity);
  }
  // About half a millisecond.
  const Index slice = 1 + (Index{1} << 23) / (n * run_.padded_classes * stride);
  const auto go = LP_SELECT(lane_steps<T>);
  Index done = 0;
  while (done < steps) {
    control.poll();
    const Index count = std::min(slice, steps - done);
    const Index made = go(run_, rates_features + done, rates_prototypes + done, rates_biases + done, count);
    done += made;
    if (made < count) break;
  }
  read_back(run_.features, n, state.features);
  copy_rows(run_.prototypes, stride, state.prototypes.data, p, classes, p);
  if (run_.biased) std::copy_n(run_.biases, classes, state.biases);
  if (moving) {
    read_back(run_.features_velocity, n, velocity.features);
    copy_rows(run_.prototypes_velocity, stride, velocity.prototypes.data, p, classes, p);
    if (run_.biased) std::copy_n(run_.biases_velocity, classes, velocity.biases);
  }
  return done;
}

template class LaneDescent<float>;
template class LaneDescent<double>;

}  // namespace lp
