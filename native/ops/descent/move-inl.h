// The rule of ops/descent/move for one number or one vector of them: included once in each kernel that moves, in whose
// namespace it lies.
#pragma once

#include "ops/descent/move.h"

namespace lp::LP_ISA {
namespace {

enum class Rule { plain, momentum, nesterov };

// Moves x, and its velocity v (which `plain` leaves alone), without the projection.
template <Rule rule, class V, class Rate, class Decay, class T>
inline __attribute__((always_inline)) void move_by(V& x, V& v, const V& g, const Rate& rate, const Decay& decay,
                                                   T momentum) {
  const V d = g + decay * x;
  if constexpr (rule == Rule::plain) {
    x -= rate * d;
  } else {
    v = momentum * v + d;
    if constexpr (rule == Rule::nesterov) {
      x -= rate * (d + momentum * v);
    } else {
      x -= rate * v;
    }
  }
}

// Calls use.operator()<rule>().
template <class Use>
inline void with_rule(const MoveFactors& factors, const Use& use) {
  if (factors.momentum == 0) return use.template operator()<Rule::plain>();
  factors.nesterov ? use.template operator()<Rule::nesterov>() : use.template operator()<Rule::momentum>();
}

}  // namespace
}  // namespace lp::LP_ISA
