#include <cmath>

#include "ops/spherical/spherical.h"

namespace lp::LP_ISA {
namespace {

template <bool kRescaled>
void steps_of(Index count, double* cosine, double* sine, double* norm, const double* pull, const double* rates,
              Index steps) {
  for (Index k = 0; k < steps; k++) {
    const double rate = rates[k];
#pragma omp simd
    for (Index i = 0; i < count; i++) {
      const double c = cosine[i], s = sine[i], r = norm[i];
      const double alpha = rate * pull[i] / (kRescaled ? r : r * r);
      // 1 − αc as (1 − α) + α (1 − c): near alignment and α = 1 the plain form has no digits left.
      const double gap = c > 0 ? s * s / (1 + c) : 1 - c;
      const double across = alpha * s;
      const double root = std::sqrt(1 + across * across);
      const double inverse = 1 / root;
      const double next_c = (c + across * s) * inverse;
      const double next_s = s * ((1 - alpha) + alpha * gap) * inverse;
      // Back onto the unit circle, from which rounding drifts: one step of Newton's method for 1/√(c² + s²).
      const double unit = 1.5 - 0.5 * (next_c * next_c + next_s * next_s);
      cosine[i] = next_c * unit;
      sine[i] = next_s * unit;
      norm[i] = r * root;
    }
  }
}

}  // namespace

void spherical_steps(Index count, double* cosine, double* sine, double* norm, const double* pull, const double* rates,
                     Index steps, bool rescaled) {
  (rescaled ? steps_of<true> : steps_of<false>)(count, cosine, sine, norm, pull, rates, steps);
}

}  // namespace lp::LP_ISA
