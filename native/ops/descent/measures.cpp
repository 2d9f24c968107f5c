#include "ops/descent/measures.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/cross_entropy/margins.h"

namespace lp {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double total(const Buffer<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

bool asks_for_gradients(const ProjectedDescentPlan& plan) {
  using enum DescentMeasure;
  for (const DescentMeasure measure :
       {gradient_norm, gradient_alignment, feature_gradient_norm, prototype_gradient_norm, stationarity}) {
    if (plan.asks_for(measure)) return true;
  }
  return false;
}

// Whether the loss is −log p_y itself, of features as they are.
bool is_plain(const Loss& loss) {
  return loss.kind == LossKind::cross_entropy && loss.class_weights.empty() && loss.smoothing == 0 &&
         loss.soft_labels.empty() && !loss.normalized && loss.regularization == 0;
}

// Whether a constraint holds x, of which ‖x‖² and ⟨d, x⟩ are given, against d = g + λ x.
bool holds(const Constraint& constraint, double square, double along, double epsilon) {
  const double rim = constraint.radius * (1 - 16 * epsilon);
  const bool ball = constraint.kind == Constraint::ball || constraint.kind == Constraint::frobenius;
  return constraint.kind == Constraint::sphere || (ball && along < 0 && square >= rim * rim);
}

// ‖d‖² without what the constraint takes up, where it is one of x (size) as a whole.
template <class T>
double residual(const T* x, const T* g, Index size, const PartPlan& part) {
  if (!part.moves) return 0;
  const double square = squared_norm(x, size), along = dot(x, g, size) + part.decay * square;
  double rest = 0;
  const double taken =
      square > 0 && holds(part.constraint, square, along, std::numeric_limits<T>::epsilon()) ? along / square : 0;
  for (Index j = 0; j < size; j++) {
    const double d = static_cast<double>(g[j]) + (part.decay - taken) * static_cast<double>(x[j]);
    rest += d * d;
  }
  return rest;
}

}  // namespace

template <class T>
DescentMeasures<T>::DescentMeasures(const ProjectedDescentPlan& plan, Index samples, Index classes, Index p,
                                    const T* target_features, const T* target_prototypes)
    : plan_(plan),
      samples_(samples),
      classes_(classes),
      p_(p),
      differentiates_(asks_for_gradients(plan)),
      stationarity_(plan.asks_for(DescentMeasure::stationarity)),
      in_logarithms_(is_plain(plan.loss) && (plan.asks_for(DescentMeasure::smoothed_margin) ||
                                             plan.asks_for(DescentMeasure::gradient_alignment))) {
  if (!target_features || !target_prototypes) return;
  target_ = Buffer<T>((samples + classes) * p);
  std::copy_n(target_features, samples * p, target_.get());
  std::copy_n(target_prototypes, classes * p, target_.get() + samples * p);
}

template <class T>
void DescentMeasures<T>::before(const State<T>& state, const Buffer<double>& squares, StateSums& sums,
                                const Control& control) {
  if (differentiates_ && slopes_.size() == 0) {
    for (Buffer<double>* buffer : {&slopes_, &alongs_, &residuals_}) *buffer = Buffer<double>(samples_);
  }
  sums.features = total(squares);
  sums.prototypes = squared_norm(state.prototypes.data, classes_ * p_);
  if (in_logarithms_ && !state.biases) {
    in_logarithms(state, *std::max_element(squares.begin(), squares.end()), sums, control);
  }
  if (target_.size() == 0) return;
  if (distances_.size() == 0) distances_ = Buffer<double>(samples_);
  parallel_for(samples_, even_grain(samples_, 1 + 8192 / p_), control, [&](Index begin, Index end) {
    for (Index i = begin; i < end; i++) {
      distances_[i] = squared_distance(state.features.row(i), target_.get() + i * p_, p_);
    }
  });
  sums.distance = squared_distance(state.prototypes.data, target_.get() + samples_ * p_, classes_ * p_);
  sums.distance += total(distances_);
}

// Margins are at most max ‖h‖ √2 ‖W‖: below kFarMargin no loss leaves the range of float, nor do its gradients.
template <class T>
void DescentMeasures<T>::in_logarithms(const State<T>& state, double largest_square, StateSums& sums,
                                       const Control& control) const {
  constexpr double kFarMargin = 60;
  if (2 * largest_square * sums.prototypes < kFarMargin * kFarMargin) return;
  Buffer<double> wide((samples_ + classes_) * p_);  // (n, p), then (C, p)
  std::copy_n(state.features.data, samples_ * p_, wide.get());
  std::copy_n(state.prototypes.data, classes_ * p_, wide.get() + samples_ * p_);
  const State<const double> z{
      {wide.get(), samples_, p_}, {wide.get() + samples_ * p_, classes_, p_}, nullptr, state.labels};
  if (Weights(z, control).smallest() < kFarMargin) return;
  const Certificate certificate = kkt_certificate(z, nullptr, control);
  sums.log_loss = certificate.log_loss;
  sums.alignment = certificate.alignment;
}

template <class T>
void DescentMeasures<T>::look(const State<T>& state, Index sample, const T* gradient) const {
  const T* x = state.features.row(sample);
  slopes_[sample] = squared_norm(gradient, p_);
  alongs_[sample] = dot(gradient, x, p_);
  if (stationarity_) residuals_[sample] = residual(x, gradient, p_, plan_.features);
}

template <class T>
void DescentMeasures<T>::after(const State<T>& state, const State<T>& gradient, const LossSummary& loss,
                               StateSums& sums) const {
  sums.loss = loss;
  if (!differentiates_) return;
  const double of_features = total(slopes_), of_prototypes = squared_norm(gradient.prototypes.data, classes_ * p_);
  sums.by_features = plan_.features.moves ? of_features : 0;
  sums.by_prototypes = plan_.prototypes.moves ? of_prototypes : 0;
  sums.by_biases = state.biases && plan_.biases.moves ? squared_norm(gradient.biases, classes_) : 0;
  sums.slope = of_features + of_prototypes;
  sums.along = total(alongs_) + dot(state.prototypes.data, gradient.prototypes.data, classes_ * p_);
  if (!stationarity_) return;
  sums.residual = residual_of_features(sums) + residual_of_prototypes(state.prototypes, gradient.prototypes);
  if (state.biases) sums.residual += residual(state.biases, gradient.biases, classes_, plan_.biases);
}

template <class T>
double DescentMeasures<T>::residual_of_prototypes(Matrix<T> x, Matrix<T> g) const {
  const PartPlan& part = plan_.prototypes;
  if (part.constraint.kind == Constraint::frobenius) return residual(x.data, g.data, x.size(), part);
  double sum = 0;
  for (Index c = 0; c < classes_; c++) sum += residual(x.row(c), g.row(c), p_, part);
  return sum;
}

// Of a Frobenius ball by sums alone, for the gradient is gone: right to about 1e-8 ‖d‖.
template <class T>
double DescentMeasures<T>::residual_of_features(const StateSums& sums) const {
  const PartPlan& part = plan_.features;
  if (!part.moves) return 0;
  if (part.constraint.kind != Constraint::frobenius) return total(residuals_);
  const double square = sums.features, gradient_along = total(alongs_), along = gradient_along + part.decay * square;
  const double all = total(slopes_) + part.decay * (gradient_along + along);
  const bool held = holds(part.constraint, square, along, std::numeric_limits<T>::epsilon());
  return held ? std::max(0.0, all - along * along / square) : all;
}

template <class T>
double DescentMeasures<T>::value(DescentMeasure measure, const StateSums& sums) const {
  const double square = sums.features + sums.prototypes;
  switch (measure) {
    case DescentMeasure::loss:
      return sums.loss.value - sums.loss.regularizer;
    case DescentMeasure::objective:
      return sums.loss.value;
    case DescentMeasure::accuracy:
      return sums.loss.accuracy;
    case DescentMeasure::min_margin:
      return sums.loss.min_margin;
    case DescentMeasure::feature_norm:
      return std::sqrt(sums.features);
    case DescentMeasure::prototype_norm:
      return std::sqrt(sums.prototypes);
    case DescentMeasure::gradient_norm:
      return std::sqrt(sums.by_features + sums.by_prototypes + sums.by_biases);
    case DescentMeasure::normalized_margin:
      return sums.loss.min_margin / square;
    case DescentMeasure::smoothed_margin: {
      if (!std::isnan(sums.log_loss)) return -sums.log_loss / square;  // e^L − 1 is L
      const double sum =
          (sums.loss.value - sums.loss.regularizer) * (plan_.loss.sum ? 1 : static_cast<double>(samples_));
      return sum < std::log(2.0) ? -std::log(std::expm1(sum)) / square : kNaN;
    }
    case DescentMeasure::gradient_alignment:
      if (!std::isnan(sums.alignment)) return sums.alignment;
      return -sums.along / std::sqrt(square * sums.slope);
    case DescentMeasure::distance:
      return target_.size() > 0 ? std::sqrt(sums.distance) : kNaN;
    case DescentMeasure::feature_gradient_norm:
      return std::sqrt(sums.by_features);
    case DescentMeasure::prototype_gradient_norm:
      return std::sqrt(sums.by_prototypes);
    case DescentMeasure::stationarity:
      return std::sqrt(sums.residual);
  }
  return kNaN;
}

template class DescentMeasures<float>;
template class DescentMeasures<double>;

}  // namespace lp
