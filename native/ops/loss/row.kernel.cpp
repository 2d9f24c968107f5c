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

}  // namespace

template <class T>
Decision decide(const T* z, Index classes, Index label) {
  const T own = z[label], below = largest(z, 0, label), above = largest(z, label + 1, classes);
  return {static_cast<double>(own), static_cast<double>(above > below ? above : below), own > below && own >= above};
}

template Decision decide(const float*, Index, Index);
template Decision decide(const double*, Index, Index);

}  // namespace lp::LP_ISA
