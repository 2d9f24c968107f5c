// Projected stochastic gradient descent on features, prototypes and biases under any of the losses of ops/loss/losses:
// with x one of the parts that move, g its gradient over the batch and λ its decay,
//
//   d = g + λ x     v ← μ v + d  (v = 0 at first)     x ← P(x − η_k v),   Nesterov: x ← P(x − η_k (d + μ v)),
//
// the update rule of the usual SGD optimizer. P is the projection onto the constraint of the part: each row into a ball
// or onto a sphere, or all rows together into a ball of the Frobenius norm (LP §2, ETF Eq. 10). `rescaled` multiplies
// η_k of a feature by ‖h_i‖ (UL §3.4). All parts move at once, from gradients at the old state.
//
// A batch is a stretch of a permutation of the samples that is a function of seed and epoch alone (every epoch takes
// each sample once; its last batch may be short). It moves prototypes, biases and its own features.
//
// A run is a function of its plan, its start and its rates: where it is cut into calls, saved and restored, or how many
// threads take part, changes no bit of it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/array.h"
#include "core/control.h"
#include "core/dispatch.h"
#include "ops/loss/losses.h"

namespace lp {

struct Constraint {
  enum Kind { none, ball, sphere, frobenius } kind = none;
  double radius = 1;
};

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

struct DescentPlan {
  Loss loss;
  PartPlan features, prototypes, biases;
  double momentum = 0;
  bool nesterov = false;
  bool rescaled = false;
  Index batch = 0;  // 0: all samples
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
};

// How a call of `advance` ended.
struct DescentOutcome {
  enum Reason { steps, event, stationary, diverged } reason = steps;
  std::vector<double> records;  // a row for each measurement: step, then the measures
};

template <class T>
class Descent {
 public:
  // Copies the start, and projects it onto the constraints (unless as_it_is). target (n, p) and (C, p) or null.
  Descent(const DescentPlan& plan, const State<const T>& start, const T* target_features, const T* target_prototypes);
  ~Descent();

  // Parts of the start that were outside of their constraints, in the order features, prototypes.
  bool projected[2] = {false, false};

  // Goes `steps` steps on, or less where it stops; rates (steps) of each part. Of a divergence − the loss is no longer
  // finite − it keeps the last state whose loss was; where the state is `shown` afterwards, its own loss is looked at
  // as well. A `quiet` run tells no progress.
  DescentOutcome advance(const double* rates_features, const double* rates_prototypes, const double* rates_biases,
                         Index steps, bool shown, const Control& control, bool quiet = false);
  // The measures of the state as it is: step, then the measures.
  std::vector<double> observe(const Control& control);

  // The state, its velocities (null without momentum), and the number of steps behind it; whoever writes to them
  // restores a run.
  State<T> state() const;
  State<T> velocity() const;
  Index step() const;
  void restore(Index step);

  size_t bytes() const;

  // Whether an event, stationarity or divergence has ended it.
  bool ended = false;

 private:
  struct Run;
  std::unique_ptr<Run> run_;
};

// Takes many runs on at once, each by one thread, that its working set stay in that thread's cache. rates (3, steps) a
// run, or of all; runs that have ended stand still. Errors name the run.
template <class T>
void advance_all(const std::vector<std::unique_ptr<Descent<T>>>& runs, const double* rates, bool rates_of_each,
                 Index steps, bool shown, std::vector<DescentOutcome>& outcomes, const Control& control);

// What a kernel needs to know of one step of one part.
struct MoveFactors {
  double rate, decay, momentum;
  bool nesterov;
  Constraint constraint;
};

}  // namespace lp

// One step of a row x (p) with gradient g, velocity v or null without momentum.
LP_DECLARE(template <class T> void move_row(T* x, T* v, const T* g, Index p, const MoveFactors& factors);)
