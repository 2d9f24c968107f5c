#include "ops/augment/augment.h"

namespace lp::LP_ISA {

void normalize_row(const uint8_t* own, Index n, double factor, double offset, float* out) {
#pragma omp simd
  for (Index i = 0; i < n; i++) out[i] = static_cast<float>(factor * static_cast<int>(own[i]) + offset);
}

void normalize_mixed_row(const uint8_t* own, const uint8_t* other, double share, Index n, double factor, double offset,
                         float* out) {
  const double rest = 1 - share;
#pragma omp simd
  for (Index i = 0; i < n; i++) {
    const double mixed = share * static_cast<int>(own[i]) + rest * static_cast<int>(other[i]);
    out[i] = static_cast<float>(factor * mixed + offset);
  }
}

}  // namespace lp::LP_ISA
