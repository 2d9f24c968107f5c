// Kernels of collapse: see collapse.h, core/dispatch.h.
#include "core/array.h"

namespace lp::LP_ISA {

// out = x − mean, subtracted in double; returns ‖x − mean‖².
template <class T>
double subtract(const T* x, const double* mean, Index size, T* out) {
  double square = 0;
#pragma omp simd reduction(+ : square)
  for (Index j = 0; j < size; j++) {
    const double rest = static_cast<double>(x[j]) - mean[j];
    square += rest * rest;
    out[j] = static_cast<T>(rest);
  }
  return square;
}

// max over c ≠ skip of values[c] + offsets[c].
template <class T>
double best_other(const T* values, const double* offsets, Index size, Index skip) {
  double best = -__builtin_inf();
#pragma omp simd reduction(max : best)
  for (Index c = 0; c < skip; c++) {
    const double value = values[c] + offsets[c];
    best = value > best ? value : best;
  }
#pragma omp simd reduction(max : best)
  for (Index c = skip + 1; c < size; c++) {
    const double value = values[c] + offsets[c];
    best = value > best ? value : best;
  }
  return best;
}

template double subtract(const float*, const double*, Index, float*);
template double subtract(const double*, const double*, Index, double*);
template double best_other(const float*, const double*, Index, Index);
template double best_other(const double*, const double*, Index, Index);

}  // namespace lp::LP_ISA
