#include "ops/loss/exponential.h"
#include "ops/loss/pass.h"
#include "ops/loss/row-inl.h"

namespace lp::LP_ISA {

namespace {

template <class T>
double cross_entropy_row(T* z, Index classes, Index label, const double* soft, double smoothing, double weight,
                         double rival) {
  const double own = static_cast<double>(z[label]), most = own > rival ? own : rival;
  // Of the other classes alone: where the own one dominates, 1 − p_y and the loss keep all their digits.
  const T top = static_cast<T>(most);
  double others = 0, total = 0;
  const bool plain = !soft && smoothing == 0;
  if (!plain) {
#pragma omp simd reduction(+ : total)
    for (Index j = 0; j < classes; j++) total += (soft ? soft[j] : 1.0) * (static_cast<double>(z[j]) - most);
  }
  z[label] = top;  // so that it counts as 1 below
#pragma omp simd reduction(+ : others)
  for (Index j = 0; j < classes; j++) {
    const T e = exponential(z[j] - top);
    z[j] = e;
    others += static_cast<double>(e);
  }
  // Its 1 is exact in the sum as long as the rest is not lost in it; where it is, the sum is taken again without it.
  double rest = others - 1;
  if (rest < 1e-3) {
    rest = 0;
    z[label] = 0;
#pragma omp simd reduction(+ : rest)
    for (Index j = 0; j < classes; j++) rest += static_cast<double>(z[j]);
  }
  const double mine = __builtin_exp(own - most), sum = rest + mine;
  const double log_sum = mine == 1 ? __builtin_log1p(rest) : __builtin_log(sum);
  const double scale = weight / sum;
  const T factor = static_cast<T>(scale);
  double value = log_sum - (own - most);
  if (plain) {
    for (Index j = 0; j < classes; j++) z[j] *= factor;
    z[label] = static_cast<T>(-scale * rest);
  } else {
    z[label] = static_cast<T>(mine);
    const double even = smoothing / static_cast<double>(classes);
    for (Index j = 0; j < classes; j++) {
      const double target = soft ? soft[j] : even + (j == label ? 1 - smoothing : 0);
      z[j] = static_cast<T>(scale * static_cast<double>(z[j]) - weight * target);
    }
    // Σ t_j = 1.
    value = soft ? log_sum - total : log_sum - (1 - smoothing) * (own - most) - even * total;
  }
  return value;
}

template <class T>
double mse_row(T* z, Index classes, Index label, double weight) {
  const T factor = static_cast<T>(2 * weight);
  double value = 0;
  z[label] -= T(1);
#pragma omp simd reduction(+ : value)
  for (Index j = 0; j < classes; j++) {
    value += static_cast<double>(z[j]) * static_cast<double>(z[j]);
    z[j] *= factor;
  }
  return value;
}

template <class T>
double hinge_row(T* z, Index classes, Index label, double margin, double weight) {
  const double edge = static_cast<double>(z[label]) - margin;
  const T factor = static_cast<T>(weight);
  double value = 0, count = 0;
  z[label] = -static_cast<T>(__builtin_inff());  // no excess of its own
#pragma omp simd reduction(+ : value, count)
  for (Index j = 0; j < classes; j++) {
    const double excess = static_cast<double>(z[j]) - edge;
    value += excess <= 0 ? 0.0 : excess;  // a NaN counts
    count += excess <= 0 ? 0.0 : 1.0;
    z[j] = excess <= 0 ? T(0) : factor;
  }
  z[label] = static_cast<T>(-weight * count);
  return value;
}

}  // namespace

template <class T>
RowResult transform_row(const RowLoss& loss, T* z, Index classes, Index label, const T* biases, const double* soft,
                        double weight) {
  if (biases)
    for (Index j = 0; j < classes; j++) z[j] += biases[j];
  const Decision decision = decide_row(z, classes, label);
  const double value = loss.kind == RowLoss::mse ? mse_row(z, classes, label, weight)
                       : loss.kind == RowLoss::hinge
                           ? hinge_row(z, classes, label, loss.margin, weight)
                           : cross_entropy_row(z, classes, label, soft, loss.smoothing, weight, decision.rival);
  return {value, decision};
}

template <class T>
void combine_row(const T* x, const T* y, Index p, double a, double b, T* out, double c, double* sum) {
  const T left = static_cast<T>(a), right = static_cast<T>(b);
  if (!sum) {
#pragma omp simd
    for (Index j = 0; j < p; j++) out[j] = left * x[j] + right * y[j];
    return;
  }
#pragma omp simd
  for (Index j = 0; j < p; j++) {
    sum[j] += c * static_cast<double>(x[j]);
    out[j] = left * x[j] + right * y[j];
  }
}

template <class T>
void add_rows(const T* rows, Index count, Index classes, double* sum) {
  for (Index i = 0; i < count; i++) {
    const T* row = rows + i * classes;
#pragma omp simd
    for (Index j = 0; j < classes; j++) sum[j] += static_cast<double>(row[j]);
  }
}

#define LP_ROWS(T)                                                                                     \
  template RowResult transform_row(const RowLoss&, T*, Index, Index, const T*, const double*, double); \
  template void combine_row(const T*, const T*, Index, double, double, T*, double, double*);           \
  template void add_rows(const T*, Index, Index, double*);
LP_ROWS(float)
LP_ROWS(double)
#undef LP_ROWS

}  // namespace lp::LP_ISA
