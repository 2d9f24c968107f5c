#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/loss/softmax.h"

namespace lp {

template <class T>
void softmax_rows_ref(Matrix<const T> logits, const int32_t* labels, double beta, const SoftmaxRows& out) {
  using Real = long double;
  const Index classes = logits.cols;
  const Real unit = beta > 0 ? beta : 1;
  for (Index i = 0; i < logits.rows; i++) {
    const T* z = logits.row(i);
    const Index top = std::max_element(z, z + classes) - z;
    const Real first = z[top];
    std::vector<Real> p(classes);
    Real sum = 0, others = 0, mean = 0, variance = 0, brier = 0;
    const auto masked = [&](Index j) { return std::isinf(z[j]); };
    for (Index j = 0; j < classes; j++) sum += p[j] = masked(j) ? 0 : std::exp(Real(beta) * (z[j] - first));
    for (Index j = 0; j < classes; j++) {
      p[j] /= sum;
      if (j != top) others += p[j];
      if (masked(j)) continue;
      mean += p[j] * unit * (z[j] - first);
    }
    for (Index j = 0; j < classes; j++)
      if (!masked(j)) variance += p[j] * (unit * (z[j] - first) - mean) * (unit * (z[j] - first) - mean);
    out.predicted[i] = static_cast<int32_t>(top);
    out.largest[i] = z[top];
    out.confidence[i] = static_cast<double>(p[top]);
    out.log_odds[i] = static_cast<double>(std::log(p[top] / others));
    out.mean[i] = static_cast<double>(mean);
    out.variance[i] = static_cast<double>(variance);
    out.ties[i] = static_cast<double>(std::count(z, z + classes, z[top]));
    if (!labels) continue;
    const Index y = labels[i];
    for (Index j = 0; j < classes; j++) brier += (p[j] - (j == y)) * (p[j] - (j == y));
    out.nll[i] = static_cast<double>(-std::log(p[y]));
    out.brier[i] = static_cast<double>(brier);
    out.missed[i] = static_cast<double>(unit * (first - z[y]));
  }
}

template void softmax_rows_ref(Matrix<const float>, const int32_t*, double, const SoftmaxRows&);
template void softmax_rows_ref(Matrix<const double>, const int32_t*, double, const SoftmaxRows&);

}  // namespace lp
