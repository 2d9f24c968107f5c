// Projected stochastic gradient descent on features, prototypes and biases under any of the losses of ops/loss/losses:
// moves as of ops/descent/move, made by lanes where the problem stays in the first caches and by blocks elsewhere, with
// what is measured on the way, where it stops, and what is kept of a divergence.
//
// A run is a function of its plan, its start and its rates: where it is cut into calls, saved and restored, or how many
// threads take part, changes no bit of it. It diverges at the first state whose loss, over all samples, is not finite,
// and ends at the state before.
#pragma once

#include <memory>
#include <vector>

#include "core/array.h"
#include "core/control.h"
#include "ops/descent/plan.h"

namespace lp {

// How a call of `advance` ended.
struct DescentOutcome {
  enum Reason { steps, event, stationary, diverged } reason = steps;
  std::vector<double> records;  // a row for each measurement: step, then the measures
};

// Steps that one run is to take, at most kMost.
template <class T>
struct Leg {
  static constexpr Index kMost = 4096;
  Index run;
  T *state,
      *velocity;  // features (n, p), prototypes (C, p) and biases (C) in one piece; velocity null without momentum
  const double* rates[3];  // (steps) of each part
  Index steps;
  Index taken = 0;
};

// Whoever takes many runs on at once in place of lanes: a device.
template <class T>
class StepsOfMany {
 public:
  virtual ~StepsOfMany() = default;
  // Takes each run on, up to the first state from which it does not: whether a step can be made there is for blocks to
  // say.
  virtual void go(std::vector<Leg<T>>& legs) = 0;
};

template <class T>
class ProjectedDescent {
 public:
  // Copies the start, and projects it onto the constraints (unless as_it_is). target (n, p) and (C, p) or null.
  ProjectedDescent(const ProjectedDescentPlan& plan, const State<const T>& start, const T* target_features,
                   const T* target_prototypes);
  ~ProjectedDescent();

  // Parts of the start that were outside of their constraints, in the order features, prototypes.
  bool projected[2] = {false, false};

  // Goes `steps` steps on, or less where it stops; rates (steps) of each part. Where the state is `shown` afterwards,
  // its own loss is looked at as well. A `quiet` run tells no progress.
  DescentOutcome advance(const double* rates_features, const double* rates_prototypes, const double* rates_biases,
                         Index steps, bool shown, const Control& control, bool quiet = false);
  // Takes many runs on, stretch by stretch together; as `advance_all` otherwise.
  static void advance_together(const std::vector<std::unique_ptr<ProjectedDescent>>& runs, const double* rates,
                               bool rates_of_each, Index steps, bool shown, std::vector<DescentOutcome>& outcomes,
                               StepsOfMany<T>& many, const Control& control);
  // The measures of the state as it is: step, then the measures.
  std::vector<double> observe(const Control& control);

  const ProjectedDescentPlan& plan() const;
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
void advance_all(const std::vector<std::unique_ptr<ProjectedDescent<T>>>& runs, const double* rates, bool rates_of_each,
                 Index steps, bool shown, std::vector<DescentOutcome>& outcomes, const Control& control);

}  // namespace lp
