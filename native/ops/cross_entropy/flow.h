// Gradient flow of the cross-entropy layer-peeled model, θ' = −∇L(θ), in logarithmic time s = log(1 + t):
//
//   dθ/ds = −e^s ∇L(θ).
//
// Once every sample is on its side the loss falls like 1/t (LP Theorem 3.2) and the state moves like √log t, so that in
// s the flow neither stiffens nor stalls: t = 10¹² is s = 28.
#pragma once

#include "core/array.h"
#include "core/control.h"
#include "ops/loss/losses.h"

namespace lp {

struct FlowOutcome {
  double step;   // the length of step in s that the accuracy allows: for the next call
  double error;  // the sum of the local errors, over the size of the state
};

// Moves z = (H, W, b), one after the other in memory and b only if `biased`, from log time `from` to `to`. `step` is
// the first step's length, or 0. Throws LP_NOT_FINITE if z is not finite, LP_OVERFLOW where the flow leaves the range
// of doubles.
FlowOutcome cross_entropy_flow(const Loss& loss, const int32_t* labels, Index samples, Index classes, Index dim,
                               bool biased, double* z, double from, double to, double step, double tolerance,
                               const Control& control);

}  // namespace lp
