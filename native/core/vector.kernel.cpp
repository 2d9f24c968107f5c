#include "core/vector.h"

namespace lp::LP_ISA {
namespace {

// Σ_j term(j), begin ≤ j < end.
template <class Term>
inline __attribute__((always_inline)) double sum_of(Index begin, Index end, Term term) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = begin; j < end; j++) sum += term(j);
  return sum;
}

// Likewise of all j < size; of a long vector its quarters at once, so that no sum waits for the one before it.
template <class Term>
inline __attribute__((always_inline)) double sum_of(Index size, Term term) {
  constexpr Index kLong = 1024;
  if (size < kLong) return sum_of(0, size, term);
  const Index quarter = size / 4;
  double a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
  for (Index j = 0; j < quarter; j++) {
    a += term(j);
    b += term(j + quarter);
    c += term(j + 2 * quarter);
    d += term(j + 3 * quarter);
  }
  return ((a + b) + (c + d)) + sum_of(4 * quarter, size, term);
}

}  // namespace

template <class X, class Y>
double dot(const X* x, const Y* y, Index size) {
  return sum_of(size, [=](Index j) { return static_cast<double>(x[j]) * static_cast<double>(y[j]); });
}

template <class T>
double squared_norm(const T* x, Index size) {
  return sum_of(size, [=](Index j) { return static_cast<double>(x[j]) * static_cast<double>(x[j]); });
}

template <class X, class Y>
double squared_distance(const X* x, const Y* y, Index size) {
  return sum_of(size, [=](Index j) {
    const double rest = static_cast<double>(x[j]) - static_cast<double>(y[j]);
    return rest * rest;
  });
}

template double squared_norm(const float*, Index);
template double squared_norm(const double*, Index);
#define LP_PRODUCTS(X, Y)                         \
  template double dot(const X*, const Y*, Index); \
  template double squared_distance(const X*, const Y*, Index);
LP_PRODUCTS(float, float)
LP_PRODUCTS(double, double)
LP_PRODUCTS(float, double)
#undef LP_PRODUCTS

}  // namespace lp::LP_ISA
