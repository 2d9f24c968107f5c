#include "ops/cross_entropy/rows.h"
#include "ops/loss/exponential.h"
#include "ops/loss/row.h"

namespace lp::LP_ISA {

RowMargin margin_of_row(const double* z, Index classes, Index label) {
  const double rival = decide(z, classes, label).rival;
  const Index begins[] = {0, label + 1}, ends[] = {label, classes};
  double sum = 0;
  for (int side = 0; side < 2; side++) {
#pragma omp simd reduction(+ : sum)
    for (Index j = begins[side]; j < ends[side]; j++) sum += exponential(z[j] - rival);
  }
  return {z[label] - rival, sum};
}

double share_row(double* z, Index classes, Index label, RowScale scale) {
  const double own = z[label];
  z[label] = -__builtin_inf();
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < classes; j++) {
    const double e = exponential(((z[j] - own) + scale.lift) - scale.offset);
    z[j] = e;
    sum += e;
  }
  return sum;
}

void bend_row(double* change, const double* shares, Index classes, Index label, double loss) {
  const double base = change[label];
  double mean = 0, sum = 0;
#pragma omp simd reduction(+ : mean)
  for (Index j = 0; j < classes; j++) mean += shares[j] * (change[j] - base);
  mean *= loss;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < classes; j++) {
    const double bent = shares[j] * (change[j] - base - mean);
    change[j] = bent;
    sum += bent;
  }
  change[label] = -sum;
}

double slack_row(double* z, Index classes, Index label, RowScale scale, double margin, double factor) {
  const double own = z[label], inverse = 1 / margin;
  const Index begins[] = {0, label + 1}, ends[] = {label, classes};
  double sum = 0;
  for (int side = 0; side < 2; side++) {
#pragma omp simd reduction(+ : sum)
    for (Index j = begins[side]; j < ends[side]; j++) {
      const double e = exponential(((z[j] - own) + scale.lift) - scale.offset);
      sum += e * ((own - z[j]) * inverse - 1);
      z[j] = factor * e;
    }
  }
  z[label] = 0;
  return sum;
}

}  // namespace lp::LP_ISA
