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
#pragma once

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

// value · e^log
struct Scaled {
  double value, log;

  double plain() const { return value == 0 ? 0 : value * std::exp(log); }
  double log_abs() const { return std::log(std::abs(value)) + log; }
};
constexpr Scaled kUnscaled{1, 0};

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
};
constexpr size_t kTrajectoryMeasures = 13;
// By the name that callers use (src/dynamics/trajectory.ts says what each is).
TrajectoryMeasure trajectory_measure(const std::string& name);

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
  class Logits;  // logits.h

  void measure_start(const Control& control);
  Propagation propagate(double time, const Control& control);
  std::unique_ptr<Propagator> borrow_propagator(double time);
  void keep_propagator(std::unique_ptr<Propagator> propagator);
  LearningRates rates() const;

  Skeleton skeleton(const Propagation& at) const;
  double rest_factor(const Propagation& at, double log_scale) const;
  Scaled loss(const Propagation& at, const Skeleton& state) const;
  double distance(const Reference& to, const Propagation& at, const Skeleton& state) const;

  // Features' shifts and prototypes, (C, ·), times e^{−log_scale}, of any x, y with as many rows; either may be left
  // out.
  void class_rows(const Propagation& at, double log_scale, Matrix<const double> x, Matrix<const double> y,
                  double* shift, double* prototypes) const;
  // The state over `norm`. Its logarithm may be so large that the mantissa would be lost in it: both are kept apart.
  void write(const Propagation& at, const Scaled& norm, const StateOut<T>& out, const Control& control) const;

  std::unique_ptr<Limit> find_limit(const Control& control);
  Reference aligned() const;

  std::shared_ptr<const Logits> logits(const Control& control);

  Start<T> start_;
  Modes modes_;
  Dynamics dynamics_;
  std::vector<double> root_counts_;  // (C) √n_c
  std::vector<double> pull_;         // (C) m_c = (1+γ) n_c/n − γ, what moves the biases
  Buffer<double> x_, y_;             // (C + K, p)
  Skeleton origin_;                  // of the start
  std::vector<Mode> pairs_;          // (groups)

  mutable std::mutex mutex_;  // of everything below
  LearningRates rates_;
  std::unique_ptr<Propagator> latest_;
  std::shared_ptr<const Limit> limit_;
  std::shared_ptr<const Logits> logits_;
};

}  // namespace lp
