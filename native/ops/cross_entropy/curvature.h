// The landscape of the cross-entropy layer-peeled model on the sphere (LP §3.2). At a state θ = (W, H) with the
// gradient parallel to it, ∇L = −λθ, the Riemannian Hessian on the tangent space, the directions orthogonal to θ
// (Definition 3.1), is ∇²L + λI. Its lowest eigenpair is found by the Lanczos process with full orthogonalization and
// thick restarts, from products with ∇²L that are made a block of samples at a time (`Weights::bend` of
// ops/cross_entropy/margins): no Hessian is formed, no logits are stored.
//
// All of it is over L, so that a state is judged rightly where its softmax rounds to the labels.
//
// Memory: 48 vectors of (n + C) p doubles.
#pragma once

#include "core/array.h"
#include "core/control.h"

namespace lp {

struct CurvatureSearch {
  double tolerance;  // residual of the eigenpair over `scale` at which the search ends
  Index steps;       // at most
  uint64_t seed;     // of the start
};

struct Curvature {
  double log_loss;    // log L, the loss summed over samples
  double multiplier;  // λ/L, λ = −⟨θ, ∇L⟩/‖θ‖²
  double tangent;     // ‖∇L + λθ‖/‖∇L‖; 0 where ∇L is
  double eigenvalue;  // of (∇²L + λI)/L on the tangent space
  double residual;    // ‖((∇²L + λI)/L − eigenvalue) v‖ there
  double scale;       // the largest of these eigenvalues in size that was seen
  double steps;       // that were taken
};

// `gradient` is ∇L/L, `direction` the unit eigenvector v. Throws LP_NOT_FINITE, LP_OVERFLOW, and LP_OPTION of a zero
// state.
Curvature tangent_curvature(const State<const double>& state, const CurvatureSearch& search,
                            const State<double>& gradient, const State<double>& direction, const Control& control);

}  // namespace lp
