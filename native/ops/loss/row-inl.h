// The look of ops/loss/row at a row, for kernels that take it on their way: included once in each of their files, in
// whose namespace it lies.
#pragma once

#include "ops/loss/row.h"

namespace lp::LP_ISA {
namespace {

template <class T>
inline T largest(const T* z, Index begin, Index end) {
  T most = -static_cast<T>(__builtin_inff());
#pragma omp simd reduction(max : most)
  for (Index j = begin; j < end; j++) most = z[j] > most ? z[j] : most;
  return most;
}

template <class T>
inline Decision decide_row(const T* z, Index classes, Index label) {
  const T own = z[label], below = largest(z, 0, label), above = largest(z, label + 1, classes);
  return {static_cast<double>(own), static_cast<double>(above > below ? above : below), own > below && own >= above};
}

}  // namespace
}  // namespace lp::LP_ISA
