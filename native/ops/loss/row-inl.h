// The look of ops/loss/row at a row, for kernels that take it on their way: included once in each of their files, in
// whose namespace it lies.
#pragma once

#include <limits>

#include "ops/loss/row.h"

namespace lp::LP_ISA {
namespace {

// −∞ of none, and where all of them are: a reduction to the maximum may begin at the lowest finite number instead
// (OpenMP 5.0, table 2.11; clang's does), so where it ends there the elements are looked at again.
template <class T>
inline T largest(const T* z, Index begin, Index end) {
  constexpr T kLowest = std::numeric_limits<T>::lowest();
  T most = kLowest;
#pragma omp simd reduction(max : most)
  for (Index j = begin; j < end; j++) most = z[j] > most ? z[j] : most;
  if (most > kLowest) return most;
  for (Index j = begin; j < end; j++) {
    if (z[j] == kLowest) return kLowest;
  }
  return -std::numeric_limits<T>::infinity();
}

// Of the largest logits of the classes before and after the label's.
template <class T>
inline Decision decide_between(T below, T own, T above) {
  return {static_cast<double>(own), static_cast<double>(above > below ? above : below), own > below && own >= above};
}

template <class T>
inline Decision decide_row(const T* z, Index classes, Index label) {
  return decide_between(largest(z, 0, label), z[label], largest(z, label + 1, classes));
}

}  // namespace
}  // namespace lp::LP_ISA
