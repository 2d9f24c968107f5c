// Measured quantities along a trajectory; see trajectory.h for skeletons, logits.cpp for accuracy and margins.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "ops/exact/logits.h"
#include "ops/exact/trajectory.h"

namespace lp {
namespace {

// x² + y² times e^{2 log}, whatever the size of x and y.
Scaled square_of(double x, double y, double log) {
  const double square = x * x + y * y;
  if (square > 1e-280 && square < 1e280) return {square, 2 * log};
  if (x == 0 && y == 0) return {};
  return {1, 2 * (log + std::log(std::hypot(x, y)))};
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
Scaled Trajectory<T>::loss(const Propagation& at, const Parts& parts) const {
  Scaled sum;
  for (size_t g = 0; g < pairs_.size(); g++) {
    const Mat2& group = parts.groups[g];
    sum += {-pairs_[g].sigma * (group.hh * group.wh + group.hw * group.ww), 2 * (parts.logs[g] + log_scale_)};
  }
  double of_biases = 0;
  for (size_t c = 0; c < start_.biases.size(); c++)
    of_biases -= pull_[c] * (at.keep * start_.biases[c] + at.gain * pull_[c]);
  sum += {of_biases, 0};
  return sum;
}

template <class T>
Scaled Trajectory<T>::side_square(const Parts& parts, Side side) const {
  Scaled sum;
  for (size_t g = 0; g < pairs_.size(); g++) {
    const Mat2& group = parts.groups[g];
    const bool features = side == Side::features;
    sum += square_of(features ? group.hh : group.wh, features ? group.hw : group.ww, parts.logs[g]);
  }
  if (side == Side::features) sum += square_of(parts.rest, 0, parts.rest_log);
  return sum;
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
  const bool of_norms = any({logNorm, logFeatureNorm, logPrototypeNorm, featureNorm, prototypeNorm});
  const bool of_means = any({nc4, withinClassVariation, logWithinClassVariation});
  const std::shared_ptr<const Classes> centres = of_classes || of_means ? classes(control) : nullptr;

  // Samples of several times together: a block of them serves them all.
  std::vector<typename Logits::Time> batch;
  const Index batch_size = Logits::times_at_once(start_.classes());
  const LearningRates known = rates();
  std::unique_ptr<Propagator> propagator = borrow_propagator(times[order[0]]);
  Propagation at;
  Parts parts;
  Skeleton now;
  Apart apart;
  for (Index done = 0; done < std::ssize(order); done++) {
    const Index i = order[done];
    propagator->advance(times[i], known, control);
    propagator->read(at);
    const auto put = [&](TrajectoryMeasure which, auto&& value) {
      if (double* values = column(which)) values[i] = value();
    };
    if (of_norms || wants_loss || end || wants_aligned) this->parts(at, parts);
    if (of_norms) {
      const Scaled features = side_square(parts, Side::features), prototypes = side_square(parts, Side::prototypes);
      const auto root = [](const Scaled& x) { return Scaled{std::sqrt(x.value), x.log / 2}; };
      put(logNorm, [&] { return (Scaled(features) += prototypes).log_abs() / 2 + log_scale_; });
      put(logFeatureNorm, [&] { return features.log_abs() / 2 + log_scale_; });
      put(logPrototypeNorm, [&] { return prototypes.log_abs() / 2 + log_scale_; });
      put(featureNorm, [&] { return root(features).plain(exponent_); });
      put(prototypeNorm, [&] { return root(prototypes).plain(exponent_); });
    }
    if (wants_loss) {
      const Scaled value = this->loss(at, parts);
      put(TrajectoryMeasure::loss, [&] { return value.plain(); });
      put(logAbsLoss, [&] { return value.log_abs(); });
      put(lossSign, [&] { return value.value > 0 ? 1 : value.value < 0 ? -1 : 0; });
    }
    if (end || wants_aligned) {
      parts.gather(now);
      const auto put_distance = [&](TrajectoryMeasure plain, TrajectoryMeasure logarithm, const Reference& reference) {
        const Scaled value = distance(reference, at, parts, now, apart);
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
