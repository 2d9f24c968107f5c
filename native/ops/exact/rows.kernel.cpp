#include "ops/exact/rows.h"

namespace lp::LP_ISA {

template <class T>
void blend_rows(const T* h, const int32_t* labels, Index count, Index p, double rest, const double* shift, T* out) {
  for (Index i = 0; i < count; i++) {
    const T* from = h + i * p;
    const double* add = shift + labels[i] * p;
    T* to = out + i * p;
#pragma omp simd
    for (Index j = 0; j < p; j++) to[j] = static_cast<T>(rest * static_cast<double>(from[j]) + add[j]);
  }
}

void sample_margins(const LogitRows& rows, const int32_t* labels, Index count, double* below, double* above,
                    double* own) {
  const Index classes = rows.classes;
  for (Index i = 0; i < count; i++) {
    const double* x = rows.x + i * rows.stride;
    const double* y = rows.y + i * rows.stride;
    const double* of_class = rows.of_class + labels[i] * classes;
    double* z = rows.scratch;
    const Index label = labels[i];
#pragma omp simd
    for (Index c = 0; c < classes; c++) z[c] = rows.a[c] * x[c] + rows.b[c] * y[c] + of_class[c];
    if (rows.between) {
      const double* m = rows.between + i * rows.sizes;
      for (Index c = 0; c < classes; c++) z[c] += m[rows.size_of[c]];
    }
    double low = -__builtin_inf(), high = -__builtin_inf();
#pragma omp simd reduction(max : low)
    for (Index c = 0; c < label; c++) low = z[c] > low ? z[c] : low;
#pragma omp simd reduction(max : high)
    for (Index c = label + 1; c < classes; c++) high = z[c] > high ? z[c] : high;
    below[i] = low;
    above[i] = high;
    own[i] = z[label];
  }
}

template void blend_rows(const float*, const int32_t*, Index, Index, double, const double*, float*);
template void blend_rows(const double*, const int32_t*, Index, Index, double, const double*, double*);

}  // namespace lp::LP_ISA
