// The exact trajectory of the layer-peeled model under the unhinged loss: a start in modal rows (ops/exact/modes) and
// the propagators of its pairs at any time (ops/exact/propagator). UL Thms 2, 4, 6 and their counterparts in steps.
//
// States. With ĥ and W in modal rows x, y (C + K, p), P the propagator of a row's group and ρ that of the rest,
//
//   features_i   = ρ h_i(0) + (1/√n_c) Σ_r V_cr ((P_hh − ρ) x_r + P_hw y_r),  c = y_i
//   prototypes_c =                     Σ_r U_cr (P_wh x_r + P_ww y_r)
//
// so a state costs a few passes over (C, p) and one over the features.
//
// Measures. A propagator mixes nothing but the x and y of its group, so inner products of states are those of the 2×2
// matrices P L, L a square root of the group's Gram matrix of (x, y). These *skeletons* (row 1 the features, row 2 the
// prototypes) are isometric to the state: norms, loss and distances cost O(groups) a time, without the factor p.
//
// Parts grow and shrink at rates of their own, far apart in the end: each is kept over its own size e^log, and nothing
// is summed before it is known what is small. The start is taken over the power of two of its largest number, so that
// no square under- or overflows.
#pragma once

#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/array.h"
#include "core/control.h"
#include "ops/exact/modes.h"
#include "ops/exact/propagator.h"
#include "ops/exact/scale.h"

namespace lp {

// Where a trajectory begins; in arrays of its own.
template <class T>
struct Start {
  Buffer<T> features, prototypes;  // (n, p), (C, p)
  std::vector<T> biases;           // (C), or empty where there are none
  std::vector<int32_t> labels;     // (n)
  Index dim = 0;

  Index samples() const { return static_cast<Index>(labels.size()); }
  Index classes() const { return prototypes.size() / dim; }
};

// A skeleton of all that a state has.
struct Skeleton {
  std::vector<Mat2> groups;
  double rest = 0;
  double log = 0;  // all times e^log

  double square() const;
};

// e^x, at once where parts have one size, as most have at most times.
inline double weight(double log) { return log == 0 ? 1 : std::exp(log); }

// Its parts, each times a size of its own.
struct Parts {
  std::vector<Mat2> groups;
  std::vector<double> logs;
  double rest = 0, rest_log = 0;

  // All over the largest of their sizes.
  void gather(Skeleton& out) const;
};

// value · e^log
struct Scaled {
  double value = 0, log = 0;

  // Times 2^exponent; in two factors, as either may leave the range of numbers that their product is in.
  double plain(int exponent = 0) const {
    if (value == 0 || (log == 0 && exponent == 0)) return value;
    const double half = std::exp(log / 2);
    return value * half * std::scalbn(half, exponent);
  }
  double log_abs() const { return std::log(std::abs(value)) + log; }

  Scaled& operator+=(const Scaled& b) {
    if (b.value == 0) return *this;
    if (value == 0) return *this = b;
    if (log < b.log) {
      value *= std::exp(log - b.log);
      log = b.log;
    }
    value += b.value * weight(b.log - log);
    return *this;
  }
};

// A direction that distances are measured to.
struct Reference {
  Skeleton unit;
  // What is left of a group without its part of the direction, as a share of F(slow) (see pair.h): subtracting the
  // whole part at once leaves distances exact that are far below the rounding of the state.
  std::vector<Mat2> remainder;
  std::vector<char> leads;  // (groups) whether it has a part
  bool rest_leads = false;
};

struct Limit {
  enum class Kind { steady, frozen, oscillating } kind = Kind::steady;
  double exponent = 0, rate = 0;                       // per unit of a flow's τ, or step
  bool polynomial = false;                             // whether it also grows like t
  bool within = false, between = false, rest = false;  // which parts lead: groups within sizes, between them, the rest
  Reference reference;
  Propagation map;    // makes of the start the leading part …
  Scaled norm{0, 0};  // … of this norm
};

enum class TrajectoryMeasure {
  loss,
  logAbsLoss,
  lossSign,
  accuracy,
  minMargin,
  meanMargin,
  logNorm,
  logFeatureNorm,
  logPrototypeNorm,
  featureNorm,
  prototypeNorm,
  distanceToLimit,
  distanceToAligned,
  logDistanceToLimit,
  logDistanceToAligned,
  nc1,
  nc1Papyan,
  nc1TraceRatio,
  nc1Cdnv,
  withinClassVariation,
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
  nc4,
  nc4Zhu,
  logNc1,
  logNc1Papyan,
  logNc1TraceRatio,
  logNc1Cdnv,
  logWithinClassVariation,
  logDualityFrobenius,
  logSelfDuality,
  logPrototypeNormVariation,
};
constexpr size_t kTrajectoryMeasures = static_cast<size_t>(TrajectoryMeasure::logPrototypeNormVariation) + 1;
// By the name that callers use (src/dynamics/trajectory.ts and src/collapse/measures.ts say what each is).
TrajectoryMeasure trajectory_measure(const std::string& name);
// A column for each measure that is wanted, the others null.
using MeasureColumns = std::array<double*, kTrajectoryMeasures>;

// Where a state is written: (n, p), (C, p), and (C) if the start has biases.
template <class T>
struct StateOut {
  T *features, *prototypes, *biases;
};

// Parts of a start smaller than this share of it are rounding, and taken as absent.
template <class T>
constexpr double kRounding = 16 * static_cast<double>(std::numeric_limits<T>::epsilon());

template <class T>
class Trajectory {
 public:
  // Throws LP_NOT_FINITE.
  Trajectory(Start<T> start, double gamma, const Dynamics& dynamics, const Control& control);

  const Start<T>& start() const { return start_; }

  // What later calls go by; calls that run keep what they began with.
  void rates(LearningRates rates);

  // The state, or the state over its norm.
  struct Size {
    double log_norm;  // log ‖(H, W)‖
    bool fits;        // whether what was written is finite
  };
  Size state(double time, bool unit, const StateOut<T>& out, const Control& control);
  // columns[m][i] = measures[m] at times[i], in any order.
  void measure(const std::vector<double>& times, const std::vector<TrajectoryMeasure>& measures,
               const std::vector<double*>& columns, const Control& control);
  // The limit, and, where there is one, the direction of unit norm or the part itself.
  std::shared_ptr<const Limit> limit(const Control& control);
  void limit_state(const Limit& limit, bool unit, const StateOut<T>& out, const Control& control) const;

  size_t bytes() const;

 private:
  class Logits;   // logits.h
  class Classes;  // classes.h

  void measure_start(const Control& control);
  Propagation propagate(double time, const Control& control);
  std::unique_ptr<Propagator> borrow_propagator(double time);
  void keep_propagator(std::unique_ptr<Propagator> propagator);
  LearningRates rates() const;

  void parts(const Propagation& at, Parts& out) const;
  Skeleton skeleton(const Propagation& at) const;
  double rest_factor(const Propagation& at, double log_scale) const;
  Scaled loss(const Propagation& at, const Parts& parts) const;
  // ‖H‖² or ‖W‖²
  Scaled side_square(const Parts& parts, Side side) const;
  // `state` gathers `parts`; in memory that is used again at the next time.
  struct Apart {
    Parts parts;
    Skeleton skeleton;
  };
  Scaled distance(const Reference& to, const Propagation& at, const Parts& parts, const Skeleton& state,
                  Apart& apart) const;

  // (C, p) features' shifts and prototypes, times 2^exponent e^{−log_scale}.
  void class_rows(const Propagation& at, double log_scale, int exponent, double* shift, double* prototypes) const;
  // The state, or the state over `norm` if there is one. Its logarithm may be so large that the mantissa would be lost
  // in it: both are kept apart.
  void write(const Propagation& at, const Scaled* norm, const StateOut<T>& out, const Control& control) const;
  // h_i − μ_{y_i} (p) of the start, over 2^exponent_.
  void residual(Index sample, double* out) const;

  std::unique_ptr<Limit> find_limit(const Control& control);
  Reference aligned() const;

  std::shared_ptr<const Logits> logits(const Control& control);
  std::shared_ptr<const Classes> classes(const Control& control);

  Start<T> start_;
  Modes modes_;
  double gamma_;
  Dynamics dynamics_;
  std::vector<double> root_counts_;  // (C) √n_c
  std::vector<double> pull_;         // (C) m_c = (1+γ) n_c/n − γ, what moves the biases
  // Everything from here on is of the start over 2^exponent_.
  int exponent_ = 0;
  double log_scale_ = 0;        // of 2^exponent_
  Buffer<double> x_, y_;        // (C + K, p)
  Buffer<double> means_;        // (C, p) μ
  Buffer<double> lengths_;      // (n) ‖h_i − μ_{y_i}‖
  std::vector<double> within_;  // (C) sums of their squares
  Skeleton origin_;
  std::vector<Mode> pairs_;  // (groups)

  mutable std::mutex mutex_;  // of everything below
  LearningRates rates_;
  std::unique_ptr<Propagator> latest_;
  std::shared_ptr<const Limit> limit_;
  std::shared_ptr<const Logits> logits_;
  std::shared_ptr<const Classes> classes_;
};

}  // namespace lp
