// Propagators of the linear dynamics at a time: what every mode has been multiplied by since the start.
//
//   pairs             (h_k, w_k)(t) = P_g (h_k, w_k)(0), a 2×2 matrix for each distinct singular value
//   rest              what of the features is orthogonal to all modes only decays (Π3 of UL Thms 2, 4)
//   biases            b(t) = keep b(0) + gain m
//
// Their common size leaves the range of numbers soon (e^5000 and more), so each comes with a logarithm beside it.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "core/control.h"
#include "core/rate.h"
#include "core/schedule.h"
#include "ops/exact/momentum.h"
#include "ops/exact/pair.h"

namespace lp {

struct PairPropagator {
  Mat2 p;  // times e^log
  double log = 0;
  // F(slow) of Newton's form, times e^slow_log, if P is (a constant times) a function of one A; else 0. It has a
  // logarithm of its own, since it falls behind P without end.
  double slow = 0, slow_log = 0;
  // det P, times e^det_log: what P has lost where its columns agree. NaN where it is not known.
  double det = NAN, det_log = 0;
};

struct Propagation {
  std::vector<PairPropagator> pairs;
  double rest = 1, rest_log = 0;
  double keep = 1, gain = 0;
};

// How the parameters move.
struct Dynamics {
  enum class Kind {
    flow,        // z' = A z in its time τ: rates proportional to one function, τ the integral of it (UL Thms 2, 4, 6)
    descent,     // z ← z + f_k A z and its momentum variants (UL Eq. 5 in steps)
    integrated,  // a flow with rates η1(t), η2(t) that are not proportional
    stepped,     // a descent with learning rates that are not proportional
  };
  Kind kind = Kind::flow;
  Rates rates{};  // per unit of τ, or of f_k; `integrated`, `stepped`: those from `end_time` on
  Momentum momentum;

  // What happens in the end: rates stay constant from end_time on (steady), are zero from then on (frozen), or nobody
  // knows.
  enum class End { steady, frozen, unknown } end = End::steady;
  double end_time = 0;
  double end_factor = 1;  // descent: f_k of the steps from end_time on
};

// The rates that a time needs, as far as they are known: those of functions are handed on as later times are asked for.
struct LearningRates {
  // Of a descent's steps: f_k, or `stepped` η1 and η2. 1 where there is none; one serves both where there is one.
  std::shared_ptr<const Schedule> features, prototypes;
  // Of an `integrated` flow.
  std::shared_ptr<const Rate> feature_rate, prototype_rate;

  size_t bytes() const {
    const auto of = [](const auto& part) { return part ? part->bytes() : 0; };
    return of(features) + of(prototypes) + of(feature_rate) + of(prototype_rate);
  }
};

// One mode to propagate.
struct Mode {
  double sigma;
  // Whether the start has a part along the fast eigenvector. Where it has none beyond rounding, the start is an
  // eigenvector of `slow`, and stays one: else the rounding would take over in time.
  bool lifted;
};

// Runs through time, forward only.
class Propagator {
 public:
  virtual ~Propagator() = default;
  virtual std::unique_ptr<Propagator> clone() const = 0;
  double time() const { return time_; }
  // t ≥ time()
  virtual void advance(double t, const LearningRates& rates, const Control& control) = 0;
  virtual void read(Propagation& out) const = 0;

 protected:
  double time_ = 0;
};

std::unique_ptr<Propagator> make_flow(const Dynamics& dynamics, const std::vector<Mode>& modes);
std::unique_ptr<Propagator> make_descent(const Dynamics& dynamics, const std::vector<Mode>& modes);
std::unique_ptr<Propagator> make_stepped(const Dynamics& dynamics, const std::vector<Mode>& modes);
std::unique_ptr<Propagator> make_integrated(const Dynamics& dynamics, const std::vector<Mode>& modes);
std::unique_ptr<Propagator> make_propagator(const Dynamics& dynamics, const std::vector<Mode>& modes);

}  // namespace lp
