#include "ops/loss/row-inl.h"

namespace lp::LP_ISA {

template <class T>
Decision decide(const T* z, Index classes, Index label) {
  return decide_row(z, classes, label);
}

template Decision decide(const float*, Index, Index);
template Decision decide(const double*, Index, Index);

}  // namespace lp::LP_ISA
