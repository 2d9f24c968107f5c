#include "ops/exact/rows.h"

namespace lp::LP_ISA {

template <class T>
void blend_rows(const T* h, const int32_t* labels, Index count, Index p, double scale, double rest, const double* shift,
                T* out) {
  for (Index i = 0; i < count; i++) {
    const T* from = h + i * p;
    const double* add = shift + labels[i] * p;
    T* to = out + i * p;
#pragma omp simd
    for (Index j = 0; j < p; j++) to[j] = static_cast<T>(rest * (scale * static_cast<double>(from[j])) + add[j]);
  }
}

void decide_samples(const LogitRows& rows, Index label, Index count, double* z, Decision* out) {
  const Index classes = rows.classes;
  for (Index i = 0; i < count; i++, z += classes) {
    const double* x = rows.x + i * rows.stride;
    const double* y = rows.y + i * rows.stride;
#pragma omp simd
    for (Index c = 0; c < classes; c++) z[c] = rows.rest * (rows.a[c] * x[c] + rows.b[c] * y[c]) + rows.of_class[c];
    if (rows.between) {
      const double* m = rows.between + i * rows.sizes;
      for (Index c = 0; c < classes; c++) z[c] += rows.rest * m[rows.size_of[c]];
    }
    out[i] = decide(z, classes, label);
  }
}

template void blend_rows(const float*, const int32_t*, Index, Index, double, double, const double*, float*);
template void blend_rows(const double*, const int32_t*, Index, Index, double, double, const double*, double*);

}  // namespace lp::LP_ISA
