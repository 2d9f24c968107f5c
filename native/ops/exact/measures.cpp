// Measured quantities along a trajectory; see trajectory.h for skeletons, logits.cpp for accuracy and margins.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "ops/exact/logits.h"
#include "ops/exact/trajectory.h"

namespace lp {
namespace {

// Over the largest of their sizes.
Scaled sum(const std::vector<Scaled>& terms) {
  Scaled out{0, -std::numeric_limits<double>::infinity()};
  for (const Scaled& term : terms)
    if (term.value != 0) out.log = std::max(out.log, term.log);
  for (const Scaled& term : terms)
    if (term.value != 0) out.value += term.value * std::exp(term.log - out.log);
  return out.value == 0 ? Scaled{0, 0} : out;
}

// x² + y² times e^{2 log}, whatever the size of x and y.
Scaled square_of(double x, double y, double log) {
  const double square = x * x + y * y;
  if (square > 1e-280 && square < 1e280) return {square, 2 * log};
  const double length = std::hypot(x, y);
  return length > 0 ? Scaled{1, 2 * (log + std::log(length))} : Scaled{0, 0};
}

}  // namespace

TrajectoryMeasure trajectory_measure(const std::string& name) {
  static const char* const names[] = {"loss",
                                      "logAbsLoss",
                                      "lossSign",
                                      "accuracy",
                                      "minMargin",
                                      "meanMargin",
                                      "logNorm",
                                      "logFeatureNorm",
                                      "logPrototypeNorm",
                                      "featureNorm",
                                      "prototypeNorm",
                                      "distanceToLimit",
                                      "distanceToAligned",
                                      "logDistanceToLimit",
                                      "logDistanceToAligned",
                                      "nc1",
                                      "nc1Papyan",
                                      "nc1TraceRatio",
                                      "nc1Cdnv",
                                      "withinClassVariation",
                                      "featureNormVariation",
                                      "featureCosine",
                                      "prototypeNormVariation",
                                      "centeredPrototypeNormVariation",
                                      "centeredPrototypeCosine",
                                      "nc2",
                                      "nc2Zhu",
                                      "nc3",
                                      "nc3Zhu",
                                      "dualityFrobenius",
                                      "selfDuality",
                                      "alignment",
                                      "nc4",
                                      "nc4Zhu",
                                      "logNc1",
                                      "logNc1Papyan",
                                      "logNc1TraceRatio",
                                      "logNc1Cdnv",
                                      "logWithinClassVariation",
                                      "logDualityFrobenius",
                                      "logSelfDuality",
                                      "logPrototypeNormVariation"};
  static_assert(std::size(names) == kTrajectoryMeasures);
  for (size_t i = 0; i < std::size(names); i++)
    if (name == names[i]) return static_cast<TrajectoryMeasure>(i);
  throw Error("LP_OPTION", name + " is not a measure of trajectories.");
}

// −⟨M, W Hᵀ⟩ − ⟨m, b⟩ (UL Eq. 3): of each group −σ times the product of its skeleton's rows.
template <class T>
Scaled Trajectory<T>::loss(const Propagation& at) const {
  std::vector<Scaled> parts;
  for (size_t g = 0; g < pairs_.size(); g++) {
    const Mat2 group = at.pairs[g].p * origin_.groups[g];
    const double product = -pairs_[g].sigma * (group.hh * group.wh + group.hw * group.ww);
    if (product != 0) parts.push_back({product, 2 * (at.pairs[g].log + log_scale_)});
  }
  double of_biases = 0;
  for (size_t c = 0; c < start_.biases.size(); c++)
    of_biases -= pull_[c] * (at.keep * start_.biases[c] + at.gain * pull_[c]);
  if (of_biases != 0) parts.push_back({of_biases, 0});
  return sum(parts);
}

template <class T>
Scaled Trajectory<T>::side_norm(const Propagation& at, Side side) const {
  std::vector<Scaled> squares;
  for (size_t g = 0; g < pairs_.size(); g++) {
    const Mat2 group = at.pairs[g].p * origin_.groups[g];
    const auto [x, y] = side == Side::features ? std::pair(group.hh, group.hw) : std::pair(group.wh, group.ww);
    if (x != 0 || y != 0) squares.push_back(square_of(x, y, at.pairs[g].log));
  }
  if (side == Side::features && origin_.rest > 0) squares.push_back(square_of(at.rest * origin_.rest, 0, at.rest_log));
  const Scaled square = sum(squares);
  return {std::sqrt(square.value), square.log / 2};
}

template <class T>
void Trajectory<T>::measure(const std::vector<double>& times, const std::vector<TrajectoryMeasure>& measures,
                            const std::vector<double*>& columns, const Control& control) {
  using enum TrajectoryMeasure;
  if (times.empty()) return;
  std::vector<Index> order(times.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return times[a] < times[b]; });

  MeasureColumns to{};
  for (size_t m = 0; m < measures.size(); m++) to[static_cast<size_t>(measures[m])] = columns[m];
  const auto column = [&](TrajectoryMeasure which) { return to[static_cast<size_t>(which)]; };
  const auto any = [&](std::initializer_list<TrajectoryMeasure> some) {
    return std::any_of(some.begin(), some.end(), [&](TrajectoryMeasure which) { return column(which) != nullptr; });
  };
  const std::shared_ptr<const Limit> end = any({distanceToLimit, logDistanceToLimit}) ? limit(control) : nullptr;
  const bool wants_aligned = any({distanceToAligned, logDistanceToAligned});
  const Reference along = wants_aligned ? aligned() : Reference();
  const bool wants_loss = any({TrajectoryMeasure::loss, logAbsLoss, lossSign});
  const bool of_samples = any({accuracy, minMargin, meanMargin, nc4, withinClassVariation, logWithinClassVariation});
  const bool of_classes = any({nc1,
                               nc1Papyan,
                               nc1TraceRatio,
                               nc1Cdnv,
                               featureNormVariation,
                               featureCosine,
                               prototypeNormVariation,
                               centeredPrototypeNormVariation,
                               centeredPrototypeCosine,
                               nc2,
                               nc2Zhu,
                               nc3,
                               nc3Zhu,
                               dualityFrobenius,
                               selfDuality,
                               alignment,
                               nc4Zhu,
                               logNc1,
                               logNc1Papyan,
                               logNc1TraceRatio,
                               logNc1Cdnv,
                               logDualityFrobenius,
                               logSelfDuality,
                               logPrototypeNormVariation});
  const bool of_means = any({nc4, withinClassVariation, logWithinClassVariation});
  const std::shared_ptr<const Classes> centres = of_classes || of_means ? classes(control) : nullptr;

  // Samples of several times together: a block of them serves them all.
  std::vector<typename Logits::Time> batch;
  const Index batch_size = Logits::times_at_once(start_.classes());
  const LearningRates known = rates();
  std::unique_ptr<Propagator> propagator = borrow_propagator(times[order[0]]);
  Propagation at;
  for (Index done = 0; done < std::ssize(order); done++) {
    const Index i = order[done];
    propagator->advance(times[i], known, control);
    propagator->read(at);
    const auto put = [&](TrajectoryMeasure which, auto&& value) {
      if (double* values = column(which)) values[i] = value();
    };
    if (any({logNorm, logFeatureNorm, logPrototypeNorm, featureNorm, prototypeNorm})) {
      const Scaled features = side_norm(at, Side::features), prototypes = side_norm(at, Side::prototypes);
      const auto square = [](const Scaled& x) { return Scaled{x.value * x.value, 2 * x.log}; };
      put(logNorm, [&] { return sum({square(features), square(prototypes)}).log_abs() / 2 + log_scale_; });
      put(logFeatureNorm, [&] { return features.log_abs() + log_scale_; });
      put(logPrototypeNorm, [&] { return prototypes.log_abs() + log_scale_; });
      put(featureNorm, [&] { return features.plain(exponent_); });
      put(prototypeNorm, [&] { return prototypes.plain(exponent_); });
    }
    if (wants_loss) {
      const Scaled value = this->loss(at);
      put(TrajectoryMeasure::loss, [&] { return value.plain(); });
      put(logAbsLoss, [&] { return value.log_abs(); });
      put(lossSign, [&] { return value.value > 0 ? 1 : value.value < 0 ? -1 : 0; });
    }
    if (end || wants_aligned) {
      const Skeleton now = skeleton(at);
      const auto put_distance = [&](TrajectoryMeasure plain, TrajectoryMeasure logarithm, const Reference& reference) {
        const Scaled value = distance(reference, at, now);
        put(plain, [&] { return value.plain(); });
        put(logarithm, [&] { return value.log_abs(); });
      };
      if (wants_aligned) put_distance(distanceToAligned, logDistanceToAligned, along);
      if (end && end->kind != Limit::Kind::oscillating)
        put_distance(distanceToLimit, logDistanceToLimit, end->reference);
      else if (end)
        for (const TrajectoryMeasure which : {distanceToLimit, logDistanceToLimit}) put(which, [] { return NAN; });
    }
    if (of_classes) {
      control.poll();
      centres->measure(*this, at, to, i, control);
    }

    const bool last = done + 1 == std::ssize(order);
    if (of_samples) {
      batch.push_back({i, at});
      if (last || std::ssize(batch) == batch_size) {
        logits(control)->measure(*this, centres.get(), batch, to, control);
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
