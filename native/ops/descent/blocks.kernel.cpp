#include "ops/descent/blocks.h"

#include "core/vector.h"

namespace lp::LP_ISA {

template <class T>
void move_row(T* x, T* v, const T* g, Index p, const MoveFactors& factors) {
  const T rate = static_cast<T>(factors.rate), decay = static_cast<T>(factors.decay);
  const T momentum = static_cast<T>(factors.momentum);
  if (!v) {
#pragma omp simd
    for (Index j = 0; j < p; j++) x[j] -= rate * (g[j] + decay * x[j]);
  } else {
    const T look = factors.nesterov ? momentum : T(1), direct = factors.nesterov ? T(1) : T(0);
#pragma omp simd
    for (Index j = 0; j < p; j++) {
      const T d = g[j] + decay * x[j], velocity = momentum * v[j] + d;
      v[j] = velocity;
      x[j] -= rate * (direct * d + look * velocity);
    }
  }
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
