// What a projected descent is to do: a problem, how its parts move, what is measured on the way and where it stops.
#pragma once

#include <optional>
#include <vector>

#include "ops/descent/move.h"
#include "ops/loss/losses.h"

namespace lp {

struct PartPlan {
  bool moves = true;
  double decay = 0;
  Constraint constraint;
};

// What is measured of a state, over all samples, in this order.
enum class DescentMeasure {
  loss,       // without regularization
  objective,  // with it
  accuracy,
  min_margin,
  feature_norm,        // ‖H‖_F
  prototype_norm,      // ‖W‖_F
  gradient_norm,       // of the objective by all parts that move, without decay
  normalized_margin,   // q_min/(‖W‖² + ‖H‖²)
  smoothed_margin,     // −log(e^L − 1)/(‖W‖² + ‖H‖²), L the sum of the losses; NaN unless L < log 2 (LP §3.1)
  gradient_alignment,  // ⟨θ, −∇⟩/(‖θ‖ ‖∇‖) of features and prototypes
  distance,            // ‖Z − D‖_F to the target D
  feature_gradient_norm,
  prototype_gradient_norm,
  // Norm of d = g + λ x by the parts that move, without what their constraints take up: the component of d along x on a
  // sphere, and where −d points out of a ball x is at the rim of. 0 at the stationary points of the problem.
  stationarity,
};

struct ProjectedDescentPlan {
  Loss loss;
  PartPlan features, prototypes, biases;
  double momentum = 0;
  bool nesterov = false;
  bool rescaled = false;  // the rate of a feature is multiplied by ‖h_i‖ (UL §4.3)
  Index batch = 0;        // 0: all samples
  uint64_t seed = 0;
  bool as_it_is = false;  // the start is of a saved run and not projected, lest its last bits change

  std::vector<DescentMeasure> measures;
  Index every = 1;  // steps between two measurements, of steps that are multiples of it

  struct Stop {
    DescentMeasure measure;
    bool below;  // or above
    double value;
  };
  std::optional<Stop> event;  // looked at where measures are taken
  double stationary = -1;     // stops where `stationarity` is at most this; likewise

  bool asks_for(DescentMeasure measure) const {
    for (const DescentMeasure one : measures)
      if (one == measure) return true;
    return (event && event->measure == measure) || (stationary >= 0 && measure == DescentMeasure::stationarity);
  }
  // Whether anything is measured at all.
  bool looks() const { return !measures.empty() || event || stationary >= 0; }

  MoveFactors factors_of(const PartPlan& part, double rate) const {
    return {rate, part.decay, momentum, nesterov, part.constraint};
  }
};

// Logits below this have squares in the range of a float, and a loss that is finite whatever else, of parameters of any
// use.
constexpr double kSmallLogits = 1e15;
// Squares of norms from here on keep their digits in a float.
constexpr double kLeastSquare = 1e-30;

}  // namespace lp
