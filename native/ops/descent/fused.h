// Gradient descent on features, prototypes and biases under the unhinged loss, step by step: the iterated counterpart
// of the exact engine. With x one of H, W, b, and −g its part of the structured products (ops/linear/products),
//
//   d = λ x + g      v ← μ v + d  (v = 0 at first)      x ← x − η_k v,   Nesterov: x ← x − η_k (d + μ v),
//
// the update rule of the usual SGD optimizer; all parts move at once, from gradients at the old state.
//
// A step reads and writes each feature once: samples lie in order of their class, so the new class sums, from which the
// next step of the prototypes follows, are gathered in the same pass, in double.
#pragma once

#include "core/array.h"
#include "core/control.h"
#include "core/dispatch.h"

namespace lp {

struct Descent {
  double gamma;
  double decay_features, decay_prototypes;  // λ of features, and of prototypes and biases
  double momentum;
  bool nesterov;
  Index steps;
  const double *rates_features, *rates_prototypes;  // η of each step (steps)
};

// Moves the state by all steps. Throws LP_NOT_FINITE, LP_OVERFLOW.
template <class T>
void descend(const State<T>& state, const Descent& how, const Control& control);

// Plain loops over the formula above, class sums and all: the oracle.
template <class T>
void descend_ref(const State<T>& state, const Descent& how);

// What a kernel needs to know of one step of one part.
struct StepFactors {
  double rate, decay, momentum;
  bool nesterov;
};

}  // namespace lp

// One step of `count` samples of one class, h (count, p), along the row `ascent` (p) = −g. velocity like h, or null
// without momentum; it holds −v. sum (p) = Σ of the new rows.
LP_DECLARE(template <class T> void step_rows(T* h, T* velocity, const T* ascent, Index count, Index p,
                                             const StepFactors& factors, double* sum);)

// One step of the columns [begin, end) of the prototypes w (C, p) by the class sums of the features, and the next
// step's `ascent` (C, p) of the features. scratch (end − begin).
LP_DECLARE(template <class T> void step_columns(T* w, T* velocity, const double* sums, T* ascent, Index classes,
                                                Index p, Index begin, Index end, Index samples, double gamma,
                                                const StepFactors& factors, double* scratch);)
