#include "ops/loss/softmax.h"

#include <algorithm>

#include "core/flushed.h"
#include "core/thread_pool.h"

namespace lp {

template <class T>
void softmax_rows(Matrix<const T> logits, const int32_t* labels, double beta, const SoftmaxRows& out,
                  const Control& control) {
  const FlushedIfFloat<T> flushed;
  constexpr Index kLeast = 1 << 12, kMost = 1 << 18;  // elements
  const auto rows = LP_SELECT(softmax_rows<T>);
  const Index most = std::max<Index>(1, kMost / logits.cols);
  parallel_for(logits.rows, std::min(most, even_grain(logits.rows, 1 + kLeast / logits.cols)), control,
               [&](Index begin, Index end) { rows(logits.data, begin, end, logits.cols, labels, beta, out); });
}

template void softmax_rows(Matrix<const float>, const int32_t*, double, const SoftmaxRows&, const Control&);
template void softmax_rows(Matrix<const double>, const int32_t*, double, const SoftmaxRows&, const Control&);

}  // namespace lp
