// The move of a part x of a state − features, prototypes or biases − at step k. With g its gradient, λ its decay, μ the
// momentum and η_k its rate,
//
//   d = g + λ x     v ← μ v + d  (v = 0 at first)     x ← P(x − η_k v),   Nesterov: x ← P(x − η_k (d + μ v)),
//
// the update rule of the usual SGD optimizer. P is the projection onto the constraint of the part: each row into a ball
// or onto a sphere, or all rows together into a ball of the Frobenius norm (LP §2, ETF Eq. 10). All parts move at once,
// from gradients at the old state.
//
// Three engines make such moves: fused (unhinged loss, one pass over the features), blocks (any loss, a block of
// samples at a time) and lanes (problems that stay in the first caches, samples on vector lanes).
#pragma once

#include "core/array.h"
#include "core/dispatch.h"

namespace lp {

struct Constraint {
  enum Kind { none, ball, sphere, frobenius } kind = none;
  double radius = 1;
};

// What a kernel needs to know of one step of one part.
struct MoveFactors {
  double rate, decay, momentum;
  bool nesterov;
  Constraint constraint = {};
};

}  // namespace lp

// Moves a row x (p) with gradient g, velocity v or null without momentum, and projects it where its constraint is one
// of rows.
LP_DECLARE(template <class T> void move_row(T* x, T* v, const T* g, Index p, const MoveFactors& factors);)
