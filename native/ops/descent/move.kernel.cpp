#include "core/vector.h"
#include "ops/descent/move-inl.h"

namespace lp::LP_ISA {

template <class T>
void move_row(T* x, T* v, const T* g, Index p, const MoveFactors& factors) {
  const T rate = static_cast<T>(factors.rate), decay = static_cast<T>(factors.decay);
  const T momentum = static_cast<T>(factors.momentum);
  with_rule(factors, [=]<Rule rule>() {
#pragma omp simd
    for (Index j = 0; j < p; j++) {
      T velocity = rule == Rule::plain ? T(0) : v[j];
      move_by<rule>(x[j], velocity, g[j], rate, decay, momentum);
      if constexpr (rule != Rule::plain) v[j] = velocity;
    }
  });
  const Constraint& constraint = factors.constraint;
  if (constraint.kind != Constraint::ball && constraint.kind != Constraint::sphere) return;
  const double square = squared_norm(x, p), radius = constraint.radius;
  if (square == 0 || (constraint.kind == Constraint::ball && square <= radius * radius)) return;
  const T scale = static_cast<T>(radius / __builtin_sqrt(square));
#pragma omp simd
  for (Index j = 0; j < p; j++) x[j] *= scale;
}

template void move_row(float*, float*, const float*, Index, const MoveFactors&);
template void move_row(double*, double*, const double*, Index, const MoveFactors&);

}  // namespace lp::LP_ISA
