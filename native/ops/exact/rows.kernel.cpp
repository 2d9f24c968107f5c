#include "ops/exact/rows.h"
#include "ops/loss/row-inl.h"

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

namespace {

// The logits of a sample from `begin` on, without what is between sizes, and the largest of them.
inline double form(const LogitRows& rows, const double* x, const double* y, Index begin, Index end, double* z) {
  const double rest = rows.rest, *a = rows.a, *b = rows.b, *of_class = rows.of_class;
  double most = std::numeric_limits<double>::lowest();
#pragma omp simd reduction(max : most)
  for (Index c = begin; c < end; c++) {
    const double logit = rest * (a[c] * x[c] + b[c] * y[c]) + of_class[c];
    z[c] = logit;
    most = logit > most ? logit : most;
  }
  return most > std::numeric_limits<double>::lowest() ? most : largest(z, begin, end);
}

}  // namespace

void decide_samples(const LogitRows& rows, Index label, Index count, double* z, Index z_stride, Decision* out) {
  const Index classes = rows.classes;
  for (Index i = 0; i < count; i++, z += z_stride) {
    const double *x = rows.x + i * rows.stride, *y = rows.y + i * rows.stride;
    const double below = form(rows, x, y, 0, label, z), above = form(rows, x, y, label + 1, classes, z);
    form(rows, x, y, label, label + 1, z);
    if (!rows.between) {
      out[i] = decide_between(below, z[label], above);
      continue;
    }
    const double* m = rows.between + i * rows.sizes;
    for (Index c = 0; c < classes; c++) z[c] += rows.rest * m[rows.size_of[c]];
    out[i] = decide_row(z, classes, label);
  }
}

template void blend_rows(const float*, const int32_t*, Index, Index, double, double, const double*, float*);
template void blend_rows(const double*, const int32_t*, Index, Index, double, double, const double*, double*);

}  // namespace lp::LP_ISA
