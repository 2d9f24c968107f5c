#include "ops/loss/softmax.h"
#include "ops/loss/exponential.h"
#include "ops/loss/row-inl.h"

namespace lp::LP_ISA {

namespace {

template <class T>
void row(const T* z, Index classes, const int32_t* label, double beta, Index i, const SoftmaxRows& out) {
  constexpr double kMasked = -__builtin_inf();
  const double first = static_cast<double>(largest(z, 0, classes));
  double zeros = 0;
#pragma omp simd reduction(+ : zeros)
  for (Index j = 0; j < classes; j++) zeros += z[j] < 0 ? 0.0 : 0.0 * static_cast<double>(z[j]);
  if (zeros != 0 || first == kMasked || (label && static_cast<double>(z[*label]) == kMasked)) {  // zeros is NaN
    out.confidence[i] = __builtin_nan("");
    return;
  }
  Index top = 0;
  while (static_cast<double>(z[top]) != first) top++;
  const double second = decide_row(z, classes, top).rival;
  if (second == kMasked) {  // all but one are masked
    out.predicted[i] = static_cast<int32_t>(top);
    out.largest[i] = first;
    out.confidence[i] = out.ties[i] = 1;
    out.log_odds[i] = __builtin_inf();
    out.mean[i] = out.variance[i] = 0;
    if (label) out.nll[i] = out.brier[i] = out.missed[i] = 0;
    return;
  }

  // Over all classes; the largest one counts as another z₂. For β = 0 moments are those of z.
  const double unit = beta > 0 ? 0 : 1;
  double ties = 0, sum = 0, squares = 0, linear = 0, quadratic = 0;
#pragma omp simd reduction(+ : ties, sum, squares, linear, quadratic)
  for (Index j = 0; j < classes; j++) {
    const double value = static_cast<double>(z[j]);
    ties += value == first ? 1.0 : 0.0;
    const double present = value > kMasked ? 1.0 : 0.0;
    double below = value - second;
    below = below < 0 && present > 0 ? below : 0;
    double x = beta * below;
    x = x > -745 ? x : -745;  // where eˣ is 0, so that eˣx² is
    const double e = present * exponential(x);
    x += unit * below;
    sum += e;
    squares += e * e;
    linear += e * x;
    quadratic += e * x * x;
  }
  sum -= 1, squares -= 1;

  const double lead = beta > 0 ? beta * (first - second) : 0, gap = beta > 0 ? lead : first - second;
  const double rest = __builtin_exp(-lead) * sum;  // (1 − p₁) / p₁
  const double others = rest / (1 + rest);
  const double inner = linear / sum, spread = gap - inner;
  out.predicted[i] = static_cast<int32_t>(top);
  out.largest[i] = first;
  out.confidence[i] = 1 / (1 + rest);
  out.log_odds[i] = lead - __builtin_log(sum);
  out.mean[i] = others > 0 ? -others * spread : 0;
  out.variance[i] = others > 0 ? others * (quadratic / sum - inner * inner + (1 - others) * spread * spread) : 0;
  out.ties[i] = ties;
  if (!label) return;
  const double own = static_cast<double>(z[*label]);
  const double sum_of_squares = squares * (others / sum) * (others / sum);
  out.missed[i] = (beta > 0 ? beta : 1) * (first - own);
  out.nll[i] = __builtin_log1p(rest) + (beta > 0 ? out.missed[i] : 0);
  if (*label == top) {
    out.brier[i] = others * others + sum_of_squares;
  } else {
    const double p = __builtin_exp(beta * (own - second)) * (others / sum), most = 1 / (1 + rest);
    out.brier[i] = most * most + sum_of_squares - p * p + (1 - p) * (1 - p);
  }
}

}  // namespace

template <class T>
void softmax_rows(const T* z, Index begin, Index end, Index classes, const int32_t* labels, double beta,
                  const SoftmaxRows& out) {
  for (Index i = begin; i < end; i++) row(z + i * classes, classes, labels ? labels + i : nullptr, beta, i, out);
}

template void softmax_rows(const float*, Index, Index, Index, const int32_t*, double, const SoftmaxRows&);
template void softmax_rows(const double*, Index, Index, Index, const int32_t*, double, const SoftmaxRows&);

}  // namespace lp::LP_ISA
