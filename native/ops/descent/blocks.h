// A step of projected descent under any loss, a block of samples at a time: the pass of ops/loss/losses hands out the
// gradients of a block's features as soon as nobody needs these any more, and they move at once. So a step reads and
// writes each feature once or twice, and gradients of features are never stored whole.
//
// A batch is a stretch of a permutation of the samples that is a function of seed and epoch alone (every epoch takes
// each sample once; its last batch may be short). It moves prototypes, biases and its own features.
#pragma once

#include <functional>
#include <vector>

#include "ops/descent/plan.h"

namespace lp {

struct StepRates {
  double features, prototypes, biases;
};

template <class T>
class BlockDescent {
 public:
  // The plan must outlive it; its batch is 0 or below the number of samples.
  BlockDescent(const ProjectedDescentPlan& plan, Index samples, Index classes, Index p);

  // Sees each sample of a pass, with ∂L/∂h (p), before it moves; in parallel.
  using Look = std::function<void(Index sample, const T* gradient)>;

  // Sees the loss of a pass, and `gradient`, before prototypes and biases move.
  using Summarize = std::function<void(const LossSummary& loss)>;

  // Moves state and velocity (null without momentum) by step `step`. Returns the loss of the state before, over its
  // batch, accuracy and margins only where somebody summarizes. Where the loss is not finite, nothing of the state is
  // to be used.
  LossSummary step(const State<T>& state, const State<T>& velocity, Index step, const StepRates& rates,
                   const Look& look, const Summarize& summarize, const Control& control);
  // The loss of the state, over all samples; and its gradients where somebody looks at them.
  LossSummary observe(const State<T>& state, const Look& look, const Control& control);

  // ∂L/∂W (C, p) and ∂L/∂b (C) of the last pass that had them made.
  State<T> gradient() const { return {{}, {gradient_.get(), classes_, p_}, gradient_.get() + classes_ * p_, nullptr}; }

  // ‖h_i‖² (n), kept up to date by steps where anything asks for them at every step; else from `measure_squares`.
  const Buffer<double>& squares() const { return squares_; }
  double largest_square() const { return largest_square_; }  // or above it, once rows have become smaller
  void measure_squares(const State<T>& state);

  size_t bytes() const { return bytes_of(gradient_, squares_, order_) + pass_.bytes(); }

 private:
  void raise_largest_square(const Index* chosen, Index count);
  void move_others(const State<T>& state, const State<T>& velocity, const StepRates& rates) const;
  void shrink_features(const State<T>& state, const Control& control);

  const ProjectedDescentPlan& plan_;
  const Index samples_, classes_, p_;
  LossPass<T> pass_;
  Buffer<T> gradient_;
  Buffer<double> squares_;
  double largest_square_ = 0;
  const bool squares_kept_;
  std::vector<Index> order_;  // of the samples, in epoch `epoch_`
  Index epoch_ = -1;
};

// Brings a part of a start into its constraint; says whether it was outside. Throws LP_OPTION of a zero row that has to
// lie on a sphere.
template <class T>
bool project(Matrix<T> rows, const Constraint& constraint, const char* name);

}  // namespace lp
