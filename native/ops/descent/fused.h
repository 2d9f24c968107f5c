// Gradient descent on features, prototypes and biases under the unhinged loss, step by step: the iterated counterpart
// of the exact engine. Gradients are those of the structured products (ops/linear/products), moves those of
// ops/descent/move without constraints.
//
// A step reads and writes each feature once: samples lie in order of their class, so the new class sums, from which the
// next step of the prototypes follows, are gathered in the same pass, in double.
#pragma once

#include "core/array.h"
#include "core/control.h"
#include "core/dispatch.h"
#include "ops/descent/move.h"

namespace lp {

struct FusedDescentPlan {
  double gamma;
  double decay_features, decay_prototypes;  // λ of features, and of prototypes and biases
  double momentum;
  bool nesterov;
  Index steps;
  const double *rates_features, *rates_prototypes;  // η of each step (steps)
};

// Moves the state by all steps. Throws LP_NOT_FINITE, LP_OVERFLOW.
template <class T>
void fused_descent(const State<T>& state, const FusedDescentPlan& plan, const Control& control);

// Plain loops over the formula above, class sums and all: the oracle.
template <class T>
void fused_descent_ref(const State<T>& state, const FusedDescentPlan& plan);

}  // namespace lp

// One step of `count` samples of one class, h (count, p), of gradient g (p). velocity like h, or null without momentum.
// sum (p) = Σ of the new rows.
LP_DECLARE(template <class T> void step_rows(T* h, T* velocity, const T* g, Index count, Index p,
                                             const MoveFactors& factors, double* sum);)

// One step of the columns [begin, end) of the prototypes w (C, p) by the class sums of the features, and the next
// step's gradient (C, p) of the features, a row a class. scratch (end − begin).
LP_DECLARE(template <class T> void step_columns(T* w, T* velocity, const double* sums, T* gradient, Index classes,
                                                Index p, Index begin, Index end, Index samples, double gamma,
                                                const MoveFactors& factors, double* scratch);)
