// Gradient flow of the cross-entropy layer-peeled model, θ' = −∇L(θ), in logarithmic time s = log(1 + t):
//
//   dθ/ds = −e^s ∇L(θ).
//
// Once every sample is on its side the loss falls like 1/t (LP Theorem 3.2) and the state moves like √log t, so that in
// s the flow neither stiffens nor stalls: t = 10¹² is s = 28. Where the minimum is finite instead (smoothed or soft
// labels, classes that cannot be separated) the flow comes to rest, and steps end there.
#pragma once

#include "core/array.h"
#include "core/control.h"
#include "core/integrator.h"
#include "ops/loss/losses.h"

namespace lp {

// Moves z = (H, W, b), one after the other in memory and b only if `biased`, from log time `from` to `to`, which may be
// Infinity, in at most `max_steps` steps. `step` is the first step's length, or 0. Throws LP_NOT_FINITE if z is not
// finite, LP_OVERFLOW where the flow leaves the range of doubles.
Integrator::Outcome cross_entropy_flow(const Loss& loss, const int32_t* labels, Index samples, Index classes, Index dim,
                                       bool biased, double* z, double from, double to, double step, double tolerance,
                                       Index max_steps, const Control& control);

}  // namespace lp
