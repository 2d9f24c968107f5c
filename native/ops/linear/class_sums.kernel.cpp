#include "ops/linear/class_sums.h"

#include <cmath>

namespace lp::LP_ISA {

constexpr Index kStrip = 64;  // elements added between fetches

template <class T>
void sum_rows(const T* h, const Index* rows, Index count, Index p, double* sum, T* largest) {
  for (Index j = 0; j < p; j++) sum[j] = 0;
  // Of elements begin … end − 1 of a row, which are in the cache.
  const auto look = [largest](const T* x, Index begin, Index end) {
    T most = *largest;
#pragma omp simd reduction(max : most)
    for (Index j = begin; j < end; j++) most = std::abs(x[j]) > most ? std::abs(x[j]) : most;
    *largest = most;
  };
  Index i = 0;
  // Four rows at a time: the sum is loaded and stored once for them. Rows of a class are apart in memory, where the
  // machine does not run ahead by itself: the next four are fetched meanwhile.
  for (; i + 4 <= count; i += 4) {
    const T *a = h + rows[i] * p, *b = h + rows[i + 1] * p, *c = h + rows[i + 2] * p, *d = h + rows[i + 3] * p;
    const Index* next = rows + (i + 8 <= count ? i + 4 : i);
    for (Index begin = 0; begin < p; begin += kStrip) {
      const Index end = begin + kStrip < p ? begin + kStrip : p;
      for (Index j = begin; j < end; j += 64 / sizeof(T))
        for (int row = 0; row < 4; row++) __builtin_prefetch(h + next[row] * p + j);
#pragma omp simd
      for (Index j = begin; j < end; j++) {
        sum[j] += (static_cast<double>(a[j]) + static_cast<double>(b[j])) +
                  (static_cast<double>(c[j]) + static_cast<double>(d[j]));
      }
      if (!largest) continue;
      for (const T* row : {a, b, c, d}) look(row, begin, end);
    }
  }
  for (; i < count; i++) {
    const T* a = h + rows[i] * p;
#pragma omp simd
    for (Index j = 0; j < p; j++) sum[j] += static_cast<double>(a[j]);
    if (largest) look(a, 0, p);
  }
}

template void sum_rows(const float*, const Index*, Index, Index, double*, float*);
template void sum_rows(const double*, const Index*, Index, Index, double*, double*);

}  // namespace lp::LP_ISA
