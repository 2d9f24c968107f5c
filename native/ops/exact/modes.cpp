#include "ops/exact/modes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/blas/blas.h"

namespace lp {

Modes::Modes(const std::vector<Index>& class_counts, double gamma) : counts(class_counts) {
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  const Index k = sizes();
  members.resize(k);
  for (const Index count : class_counts) {
    size_of.push_back(std::lower_bound(counts.begin(), counts.end(), count) - counts.begin());
    members[size_of.back()]++;
  }
  const double n = static_cast<double>(std::accumulate(class_counts.begin(), class_counts.end(), Index{0}));
  std::vector<double> root(k), root_members(k);
  for (Index s = 0; s < k; s++) {
    root[s] = std::sqrt(static_cast<double>(counts[s]));
    root_members[s] = std::sqrt(static_cast<double>(members[s]));
    sigma.push_back((1 + gamma) * root[s] / n);
  }
  u_.assign(k * k, 1);
  v_.assign(k * k, 1);
  if (k == 1) {
    // In this form γ = 1/(C−1) gives zero and γ = 2/(C−2) gives −σ up to the rounding of γ alone.
    sigma.push_back((1 + gamma - gamma * static_cast<double>(members[0])) * root[0] / n);
  } else {
    std::vector<double> reduced(k * k), values(k), vt(k * k);
    for (Index r = 0; r < k; r++)
      for (Index s = 0; s < k; s++)
        reduced[r * k + s] = root[s] * ((r == s ? 1 + gamma : 0) - gamma * root_members[r] * root_members[s]) / n;
    blas::svd(k, reduced.data(), u_.data(), values.data(), vt.data());
    sigma.insert(sigma.end(), values.begin(), values.end());
    for (Index s = 0; s < k; s++)
      for (Index m = 0; m < k; m++) v_[s * k + m] = vt[m * k + s];
  }
  for (Index s = 0; s < k; s++) {
    for (Index m = 0; m < k; m++) {
      u_[s * k + m] /= root_members[s];
      v_[s * k + m] /= root_members[s];
    }
  }
}

void Modes::to_rows(Side side, Matrix<const double> from, Matrix<double> rows) const {
  const Index k = sizes(), c_count = classes(), p = from.cols;
  const std::vector<double>& basis = between(side);
  const Buffer<double> mean(k * p);
  std::fill(mean.begin(), mean.end(), 0.0);
  for (Index c = 0; c < c_count; c++) {
    double* sum = &mean[size_of[c] * p];
    for (Index j = 0; j < p; j++) sum[j] += from(c, j);
  }
  for (Index m = 0; m < k; m++) {
    double* row = rows.row(c_count + m);
    std::fill_n(row, p, 0.0);
    for (Index s = 0; s < k; s++)
      for (Index j = 0; j < p; j++) row[j] += basis[s * k + m] * mean[s * p + j];
  }
  for (Index s = 0; s < k; s++)
    for (Index j = 0; j < p; j++) mean[s * p + j] /= static_cast<double>(members[s]);
  for (Index c = 0; c < c_count; c++) {
    const double* centre = &mean[size_of[c] * p];
    for (Index j = 0; j < p; j++) rows(c, j) = from(c, j) - centre[j];
  }
}

void Modes::from_rows(Side side, Matrix<double> rows) const {
  const Index k = sizes(), c_count = classes(), p = rows.cols;
  const Buffer<double> mean(k * p);
  blas::gemm<double>(false, false, k, p, k, 1, between(side).data(), k, rows.row(c_count), p, 0, mean.get(), p);
  for (Index c = 0; c < c_count; c++) {
    double* row = rows.row(c);
    const double* centre = &mean[size_of[c] * p];
    for (Index j = 0; j < p; j++) row[j] += centre[j];
  }
}

}  // namespace lp
