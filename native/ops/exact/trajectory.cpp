#include "ops/exact/trajectory.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/finite.h"
#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/exact/classes.h"
#include "ops/exact/logits.h"
#include "ops/exact/rows.h"
#include "ops/linear/class_sums.h"

namespace lp {
namespace {

template <class T>
std::vector<Index> count_labels(const Start<T>& start) {
  std::vector<Index> counts(start.classes());
  for (const int32_t label : start.labels) counts[label]++;
  return counts;
}

template <class T>
double largest_of(const Buffer<T>& values) {
  double largest = 0;
  for (const T value : values) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

Index row_grain(Index rows, Index p) { return std::min(even_grain(rows, 1 + 8192 / p), 1 + (1 << 19) / p); }

}  // namespace

double Skeleton::square() const {
  double sum = rest * rest;
  for (const Mat2& group : groups) sum += group.dot(group);
  return sum;
}

void Parts::gather(Skeleton& out) const {
  out.groups.resize(groups.size());
  // Only what is there counts for the common size: an absent group may grow far beyond it.
  out.log = -std::numeric_limits<double>::infinity();
  const auto count = [&](double size, double log) {
    if (size > 0) out.log = std::max(out.log, log + kLog2 * excess(size));
  };
  for (size_t g = 0; g < groups.size(); g++) count(groups[g].largest(), logs[g]);
  count(std::abs(rest), rest_log);
  if (!std::isfinite(out.log)) out.log = 0;
  for (size_t g = 0; g < groups.size(); g++)
    out.groups[g] = groups[g].largest() > 0 ? groups[g] * weight(logs[g] - out.log) : Mat2();
  out.rest = rest == 0 ? 0 : rest * weight(rest_log - out.log);
}

template <class T>
Trajectory<T>::Trajectory(Start<T> start, double gamma, const Dynamics& dynamics, const Control& control)
    : start_(std::move(start)), modes_(count_labels(start_), gamma), gamma_(gamma), dynamics_(dynamics) {
  const double n = static_cast<double>(start_.samples());
  for (const Index size : modes_.size_of) {
    const double count = static_cast<double>(modes_.counts[size]);
    root_counts_.push_back(std::sqrt(count));
    // In this form γ = 1/(C−1) leaves balanced biases where they are, but for the rounding of γ.
    pull_.push_back(modes_.sizes() == 1 ? (1 + gamma - gamma * static_cast<double>(start_.classes())) * count / n
                                        : (1 + gamma) * count / n - gamma);
  }
  measure_start(control);
}

// The start in modal rows, and its skeleton.
template <class T>
void Trajectory<T>::measure_start(const Control& control) {
  const Index n = start_.samples(), classes = start_.classes(), p = start_.dim, rows = modes_.rows();
  const Matrix<const T> features{start_.features.get(), n, p}, prototypes{start_.prototypes.get(), classes, p};
  // (C, p) each: S_c, then ĥ_c = S_c/√n_c; W in double.
  const Buffer<double> sums(classes * p), w(classes * p);
  T largest_feature;
  class_sums<T>(features, ByClass(start_.labels.data(), n, classes), {sums.get(), classes, p}, control,
                &largest_feature);
  std::copy(start_.prototypes.begin(), start_.prototypes.end(), w.begin());
  const bool overflown = !all_finite({sums.get(), classes, p});
  if (overflown) check_finite(features, "features");
  if (!all_finite({w.get(), classes, p})) check_finite(prototypes, "prototypes");
  check_finite<T>({start_.biases.data(), static_cast<Index>(start_.biases.size()), 1}, "biases");
  if (overflown) throw Error("LP_OVERFLOW", "Sums of the features leave the range of a double; scale the start down.");

  // The powers of two that a double can divide by and multiply with.
  const double largest = std::max<double>(largest_feature, largest_of(start_.prototypes));
  exponent_ = largest > 0 ? std::clamp(std::ilogb(largest), -1000, 1000) : 0;
  log_scale_ = exponent_ * kLog2;
  means_ = Buffer<double>(classes * p);
  for (Index c = 0; c < classes; c++) {
    const double root = std::max(root_counts_[c], 1.0);  // the sum over an empty class is zero
    for (Index j = c * p; j < (c + 1) * p; j++) {
      const double sum = std::scalbn(sums[j], -exponent_);
      means_[j] = sum / (root * root);
      sums[j] = sum / root;
      w[j] = std::scalbn(w[j], -exponent_);
    }
  }

  // The rest's share of the skeleton: √Σ_i ‖h_i − μ_{y_i}‖².
  lengths_ = Buffer<double>(n);
  parallel_for(n, 1 + (1 << 19) / p, control, [&](Index begin, Index end) {
    const Buffer<double> rest(p);
    for (Index i = begin; i < end; i++) {
      residual(i, rest.get());
      lengths_[i] = norm(rest.get(), p);
    }
  });
  within_.assign(classes, 0);
  for (Index i = 0; i < n; i++) within_[start_.labels[i]] += lengths_[i] * lengths_[i];
  origin_.rest = norm(lengths_.get(), n);

  // (C + K, p) ĥ and W in modal rows.
  x_ = Buffer<double>(rows * p);
  y_ = Buffer<double>(rows * p);
  modes_.to_rows(Side::features, {sums.get(), classes, p}, {x_.get(), rows, p});
  modes_.to_rows(Side::prototypes, {w.get(), classes, p}, {y_.get(), rows, p});
  // Rows that are rounding, as of classes of equal means, would grow like any other.
  for (const Buffer<double>* side : {&x_, &y_}) {
    const Buffer<double>& from = side == &x_ ? sums : w;
    const double least = 16 * std::numeric_limits<double>::epsilon() * norm(from.get(), from.size());
    for (Index r = 0; r < rows; r++)
      if (norm(side->get() + r * p, p) <= least) std::fill_n(side->get() + r * p, p, 0.0);
  }

  // Gram–Schmidt of (x, y) in each group: x = hh e1, y = wh e1 + ww e2.
  std::vector<double> xx(modes_.groups()), xy(modes_.groups()), yy(modes_.groups());
  const auto over_rows = [&](auto&& visit) {
    for (Index r = 0; r < rows; r++) visit(modes_.group_of(r), &x_[r * p], &y_[r * p]);
  };
  over_rows([&](Index g, const double* x, const double* y) {
    xx[g] += squared_norm(x, p);
    xy[g] += dot(x, y, p);
  });
  over_rows([&](Index g, const double* x, const double* y) {
    const double along = xx[g] > 0 ? xy[g] / xx[g] : 0;
    for (Index j = 0; j < p; j++) yy[g] += (y[j] - along * x[j]) * (y[j] - along * x[j]);
  });
  for (Index g = 0; g < modes_.groups(); g++) {
    const double length = std::sqrt(xx[g]);
    origin_.groups.push_back({length, 0, length > 0 ? xy[g] / length : 0, std::sqrt(yy[g])});
  }

  // Which groups are there, and which of them have a part along the fast eigenvector.
  const double norm = std::sqrt(origin_.square());
  const double rounding = kRounding<T>;
  if (origin_.rest <= rounding * norm) origin_.rest = 0;
  for (Index g = 0; g < modes_.groups(); g++) {
    const Mat2& origin = origin_.groups[g];
    const Pair pair(modes_.sigma[g], dynamics_.rates);
    const bool lifted =
        origin.norm() > rounding * norm && (pair.lift * origin).norm() > rounding * pair.lift.norm() * origin.norm();
    pairs_.push_back({modes_.sigma[g], lifted});
  }
}

template <class T>
void Trajectory<T>::residual(Index sample, double* out) const {
  const Index p = start_.dim;
  const T* from = start_.features.get() + sample * p;
  const double* mean = &means_[start_.labels[sample] * p];
  const double scale = std::scalbn(1.0, -exponent_);
  for (Index j = 0; j < p; j++) out[j] = scale * static_cast<double>(from[j]) - mean[j];
}

template <class T>
void Trajectory<T>::rates(LearningRates rates) {
  std::lock_guard lock(mutex_);
  rates_ = std::move(rates);
}

template <class T>
LearningRates Trajectory<T>::rates() const {
  std::lock_guard lock(mutex_);
  return rates_;
}

// A propagator at or before a time: a copy of the last one used, if it serves.
template <class T>
std::unique_ptr<Propagator> Trajectory<T>::borrow_propagator(double time) {
  std::lock_guard lock(mutex_);
  return latest_ && latest_->time() <= time ? latest_->clone() : make_propagator(dynamics_, pairs_);
}

template <class T>
void Trajectory<T>::keep_propagator(std::unique_ptr<Propagator> propagator) {
  std::lock_guard lock(mutex_);
  latest_ = std::move(propagator);
}

template <class T>
Propagation Trajectory<T>::propagate(double time, const Control& control) {
  std::unique_ptr<Propagator> propagator = borrow_propagator(time);
  propagator->advance(time, rates(), control);
  Propagation at;
  propagator->read(at);
  keep_propagator(std::move(propagator));
  return at;
}

template <class T>
void Trajectory<T>::parts(const Propagation& at, Parts& out) const {
  out.groups.resize(pairs_.size());
  out.logs.resize(pairs_.size());
  for (size_t g = 0; g < pairs_.size(); g++) {
    out.groups[g] = origin_.groups[g].largest() > 0 ? at.pairs[g].p * origin_.groups[g] : Mat2();
    out.logs[g] = at.pairs[g].log;
  }
  out.rest = origin_.rest > 0 ? at.rest * origin_.rest : 0;
  out.rest_log = at.rest_log;
}

template <class T>
Skeleton Trajectory<T>::skeleton(const Propagation& at) const {
  Parts apart;
  Skeleton out;
  parts(at, apart);
  apart.gather(out);
  return out;
}

// Where features equal the means of their classes, nothing is left to the rest: taking it out and putting it back would
// cancel where it outgrows the classes.
template <class T>
double Trajectory<T>::rest_factor(const Propagation& at, double log_scale) const {
  return origin_.rest > 0 ? at.rest * std::exp(at.rest_log - log_scale) : 0;
}

template <class T>
void Trajectory<T>::class_rows(const Propagation& at, double log_scale, int exponent, double* shift,
                               double* prototypes) const {
  const Index classes = modes_.classes(), rows = modes_.rows(), p = start_.dim;
  const double rest = std::scalbn(rest_factor(at, log_scale), exponent);
  const auto combine = [&](Side side, double* out) {
    // (C + K, p) modal rows P_wh x + P_ww y, or (P_hh − ρ) x + P_hw y; then (C, p) classes, features over √n_c.
    const Buffer<double> memory(rows * p);
    const Matrix<double> mixed{memory.get(), rows, p};
    for (Index r = 0; r < rows; r++) {
      const Index g = modes_.group_of(r);
      const PairPropagator& pair = at.pairs[g];
      // In two factors: the size may leave the range of numbers although the product with a small part does not.
      const double half = std::exp((pair.log - log_scale) / 2);
      const bool absent = origin_.groups[g].dot(origin_.groups[g]) == 0;
      const Mat2 m = absent ? Mat2() : pair.p * half * std::scalbn(half, exponent);
      const double a = side == Side::prototypes ? m.wh : absent ? 0 : m.hh - rest;
      const double b = side == Side::prototypes ? m.ww : m.hw;
      const double *from_x = &x_[r * p], *from_y = &y_[r * p];
      double* to = mixed.row(r);
      for (Index j = 0; j < p; j++) to[j] = a * from_x[j] + b * from_y[j];
    }
    modes_.from_rows(side, mixed);
    for (Index c = 0; c < classes; c++) {
      const double share = side == Side::prototypes ? 1 : root_counts_[c] > 0 ? 1 / root_counts_[c] : 0;
      for (Index j = 0; j < p; j++) out[c * p + j] = share * mixed(c, j);
    }
  };
  combine(Side::features, shift);
  combine(Side::prototypes, prototypes);
}

template <class T>
void Trajectory<T>::write(const Propagation& at, const Scaled* norm, const StateOut<T>& out,
                          const Control& control) const {
  const Index n = start_.samples(), classes = start_.classes(), p = start_.dim;
  // (C, p) both. Prototypes that have not moved are given back to the last bit.
  const Buffer<double> shift(classes * p), prototypes(classes * p);
  const double log = norm ? norm->log : 0, value = norm ? norm->value : 1;
  class_rows(at, log, norm ? 0 : exponent_, shift.get(), prototypes.get());
  if (norm) {
    for (const Buffer<double>* part : {&shift, &prototypes})
      for (double& number : *part) number /= value;
  }
  const bool still = !norm && std::all_of(at.pairs.begin(), at.pairs.end(), [](const PairPropagator& pair) {
    return pair.p.wh == 0 && pair.p.ww == 1 && pair.log == 0;
  });
  for (Index k = 0; k < classes * p; k++)
    out.prototypes[k] = still ? start_.prototypes[k] : static_cast<T>(prototypes[k]);
  if (out.biases) {
    for (Index c = 0; c < classes; c++) out.biases[c] = static_cast<T>(at.keep * start_.biases[c] + at.gain * pull_[c]);
  }
  const double rest = rest_factor(at, log) / value, scale = std::scalbn(1.0, norm ? -exponent_ : 0);
  const auto blend_rows = LP_SELECT(blend_rows<T>);
  parallel_for(n, row_grain(n, p), control, [&](Index begin, Index end) {
    blend_rows(start_.features.get() + begin * p, start_.labels.data() + begin, end - begin, p, scale, rest,
               shift.get(), out.features + begin * p);
  });
}

template <class T>
auto Trajectory<T>::state(double time, bool unit, const StateOut<T>& out, const Control& control) -> Size {
  const Propagation at = propagate(time, control);
  const Skeleton size = skeleton(at);
  const Scaled norm{std::sqrt(size.square()), size.log};
  const double log_norm = norm.log_abs() + log_scale_;
  write(at, unit && std::isfinite(log_norm) ? &norm : nullptr, out, control);
  // No element exceeds the norm: only a large one calls for a look at every element.
  const double largest = std::log(static_cast<double>(std::numeric_limits<T>::max()));
  const auto finite = [](const T* values, Index count) {
    return std::all_of(values, values + count, [](T value) { return std::isfinite(value); });
  };
  const Index p = start_.dim, n = start_.samples(), classes = start_.classes();
  const bool fits =
      unit || log_norm < largest - 1 || (finite(out.features, n * p) && finite(out.prototypes, classes * p));
  return {log_norm, fits && (!out.biases || finite(out.biases, classes))};
}

template <class T>
size_t Trajectory<T>::bytes() const {
  const size_t n = start_.samples(), p = start_.dim, classes = start_.classes(), rows = modes_.rows();
  std::lock_guard lock(mutex_);
  return (n + classes) * p * sizeof(T) + n * sizeof(int32_t) + 2 * rows * p * sizeof(double) +
         bytes_of(means_, lengths_, within_) + rates_.bytes() + (logits_ ? logits_->bytes() : 0) +
         (classes_ ? classes_->bytes() : 0);
}

template class Trajectory<float>;
template class Trajectory<double>;

}  // namespace lp
