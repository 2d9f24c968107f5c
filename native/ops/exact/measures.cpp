// Measured quantities along a trajectory; see trajectory.h for skeletons, logits.cpp for accuracy and margins.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "ops/exact/logits.h"
#include "ops/exact/trajectory.h"

namespace lp {

TrajectoryMeasure trajectory_measure(const std::string& name) {
  static const char* const names[] = {
      "loss",          "logAbsLoss",      "lossSign",         "accuracy",         "minMargin",
      "meanMargin",    "logNorm",         "logFeatureNorm",   "logPrototypeNorm", "featureNorm",
      "prototypeNorm", "distanceToLimit", "distanceToAligned"};
  for (size_t i = 0; i < std::size(names); i++)
    if (name == names[i]) return static_cast<TrajectoryMeasure>(i);
  throw Error("LP_OPTION", name + " is not a measure of trajectories.");
}

// −⟨M, W Hᵀ⟩ − ⟨m, b⟩ (UL Eq. 3): of each group −σ times the product of its skeleton's rows.
template <class T>
Scaled Trajectory<T>::loss(const Propagation& at, const Skeleton& state) const {
  double product = 0, of_biases = 0;
  for (size_t g = 0; g < pairs_.size(); g++) {
    const Mat2& group = state.groups[g];
    product -= pairs_[g].sigma * (group.hh * group.wh + group.hw * group.ww);
  }
  for (size_t c = 0; c < start_.biases.size(); c++)
    of_biases -= pull_[c] * (at.keep * start_.biases[c] + at.gain * pull_[c]);
  const double log = of_biases == 0 ? 2 * state.log : std::max(2 * state.log, 0.0);
  return {product * std::exp(2 * state.log - log) + of_biases * std::exp(-log), log};
}

template <class T>
void Trajectory<T>::measure(const std::vector<double>& times, const std::vector<TrajectoryMeasure>& measures,
                            const std::vector<double*>& columns, const Control& control) {
  using enum TrajectoryMeasure;
  if (times.empty()) return;
  std::vector<Index> order(times.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return times[a] < times[b]; });

  std::array<double*, kTrajectoryMeasures> to{};
  for (size_t m = 0; m < measures.size(); m++) to[static_cast<size_t>(measures[m])] = columns[m];
  const auto column = [&](TrajectoryMeasure which) { return to[static_cast<size_t>(which)]; };
  const std::shared_ptr<const Limit> end = column(distanceToLimit) ? limit(control) : nullptr;
  const Reference along = column(distanceToAligned) ? aligned() : Reference();
  const bool wants_loss = column(TrajectoryMeasure::loss) || column(logAbsLoss) || column(lossSign);
  const bool wants_logits = column(accuracy) || column(minMargin) || column(meanMargin);

  // Logits of several times together: a block of samples serves them all.
  std::vector<LogitTime> batch;
  const Index batch_size = Logits::times_at_once(start_.classes());
  const LearningRates known = rates();
  std::unique_ptr<Propagator> propagator = borrow_propagator(times[order[0]]);
  Propagation at;
  for (Index done = 0; done < std::ssize(order); done++) {
    const Index i = order[done];
    propagator->advance(times[i], known, control);
    propagator->read(at);
    const Skeleton now = skeleton(at);
    double features = now.rest * now.rest, prototypes = 0;
    for (const Mat2& group : now.groups) {
      features += group.hh * group.hh + group.hw * group.hw;
      prototypes += group.wh * group.wh + group.ww * group.ww;
    }
    const auto put = [&](TrajectoryMeasure which, auto&& value) {
      if (double* values = column(which)) values[i] = value();
    };
    const auto norm = [&](double square) { return Scaled{std::sqrt(square), now.log}; };
    put(logNorm, [&] { return norm(features + prototypes).log_abs(); });
    put(logFeatureNorm, [&] { return norm(features).log_abs(); });
    put(logPrototypeNorm, [&] { return norm(prototypes).log_abs(); });
    put(featureNorm, [&] { return norm(features).plain(); });
    put(prototypeNorm, [&] { return norm(prototypes).plain(); });
    if (wants_loss) {
      const Scaled value = this->loss(at, now);
      put(TrajectoryMeasure::loss, [&] { return value.plain(); });
      put(logAbsLoss, [&] { return value.log_abs(); });
      put(lossSign, [&] { return value.value > 0 ? 1 : value.value < 0 ? -1 : 0; });
    }
    put(distanceToLimit,
        [&] { return end->kind == Limit::Kind::oscillating ? NAN : distance(end->reference, at, now); });
    put(distanceToAligned, [&] { return distance(along, at, now); });

    const bool last = done + 1 == std::ssize(order);
    if (wants_logits) {
      batch.push_back({i, at, now.log});
      if (last || std::ssize(batch) == batch_size) {
        logits(control)->measure(*this, batch, {column(accuracy), column(minMargin), column(meanMargin)}, control);
        batch.clear();
      }
    }
    constexpr Index kBetweenPolls = 256;
    if (done % kBetweenPolls == 0 || last) {
      control.poll();
      control.progress(static_cast<double>(done + 1) / static_cast<double>(std::ssize(order)));
    }
  }
  keep_propagator(std::move(propagator));
}

template void Trajectory<float>::measure(const std::vector<double>&, const std::vector<TrajectoryMeasure>&,
                                         const std::vector<double*>&, const Control&);
template void Trajectory<double>::measure(const std::vector<double>&, const std::vector<TrajectoryMeasure>&,
                                          const std::vector<double*>&, const Control&);

}  // namespace lp
