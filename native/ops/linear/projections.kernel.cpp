#include "ops/linear/projections.h"
#include "core/memory.h"

namespace lp::LP_ISA {

template <class T>
void project_rows(const T* h, const int32_t* labels, Index count, Index p, const T* plus1, const T* minus1,
                  const T* plus2, const T* minus2, const T* means, T* scratch, T* const* out) {
  const std::size_t bytes = p * sizeof(T);
  for (Index i = 0; i < count; i++) {
    const Index at = i * p, label = labels[i] * p;
    const T *x = h + at, *mean = means + label;
#pragma omp simd
    for (Index j = 0; j < p; j++) scratch[j] = x[j] - mean[j];
    stream_copy(out[0] + at, plus1 + label, bytes);
    stream_copy(out[1] + at, minus1 + label, bytes);
    stream_copy(out[2] + at, plus2, bytes);
    stream_copy(out[3] + at, minus2, bytes);
    stream_copy(out[4] + at, scratch, bytes);
  }
  stream_fence();
}

template void project_rows(const float*, const int32_t*, Index, Index, const float*, const float*, const float*,
                           const float*, const float*, float*, float* const*);
template void project_rows(const double*, const int32_t*, Index, Index, const double*, const double*, const double*,
                           const double*, const double*, double*, double* const*);

}  // namespace lp::LP_ISA
