#include "ops/linear/projections.h"

#include <algorithm>
#include <cmath>

#include "core/finite.h"
#include "core/thread_pool.h"
#include "ops/linear/class_sums.h"

namespace lp {
namespace {

// Mean over the rows; of the class sums and the prototypes these are all that plus2 and minus2 need.
template <class T>
Buffer<double> mean_of_rows(Matrix<const T> rows) {
  Buffer<double> mean(rows.cols);
  std::fill(mean.begin(), mean.end(), 0.0);
  for (Index i = 0; i < rows.rows; i++)
    for (Index j = 0; j < rows.cols; j++) mean[j] += static_cast<double>(rows(i, j)) / static_cast<double>(rows.rows);
  return mean;
}

}  // namespace

template <class T>
void projections(const State<const T>& state, const Projections<T>& out, const Control& control) {
  const Index n = state.samples(), classes = state.classes(), p = state.dim();
  const double per_class = static_cast<double>(n) / static_cast<double>(classes), root = std::sqrt(per_class);
  const ByClass samples(state.labels, n, classes);
  const Buffer<double> memory(classes * p);
  const Matrix<double> sums{memory.get(), classes, p};
  class_sums<T>(state.features, samples, sums, control);
  const Buffer<double> mean_sum = mean_of_rows<double>(sums), mean_prototype = mean_of_rows(state.prototypes);
  if (!all_finite({mean_sum.get(), 1, p})) check_finite(state.features, "features");
  if (!all_finite({mean_prototype.get(), 1, p})) check_finite(state.prototypes, "prototypes");

  const Buffer<T> plus1(classes * p), minus1(classes * p), means(classes * p), plus2(p), minus2(p);
  for (Index c = 0; c < classes; c++) {
    for (Index j = 0; j < p; j++) {
      const Index at = c * p + j;
      const double u = (sums(c, j) - mean_sum[j]) / root, w = state.prototypes(c, j) - mean_prototype[j];
      out.prototypes[0][at] = static_cast<T>((w + u) / 2);
      out.prototypes[1][at] = static_cast<T>((w - u) / 2);
      plus1[at] = static_cast<T>((u + w) / 2 / root);
      minus1[at] = static_cast<T>((u - w) / 2 / root);
      means[at] = static_cast<T>(sums(c, j) / per_class);
    }
  }
  for (Index j = 0; j < p; j++) {
    const double u = mean_sum[j] / root, w = mean_prototype[j];
    plus2[j] = static_cast<T>((u + w) / 2 / root);
    minus2[j] = static_cast<T>((u - w) / 2 / root);
    for (Index c = 0; c < classes; c++) {
      out.prototypes[2][c * p + j] = static_cast<T>((w + u) / 2);
      out.prototypes[3][c * p + j] = static_cast<T>((w - u) / 2);
    }
  }
  std::fill_n(out.prototypes[4], classes * p, T(0));

  const auto project_rows = LP_SELECT(project_rows<T>);
  const Index grain = std::min(even_grain(n, 1 + 8192 / p), 1 + (1 << 18) / p);
  parallel_for(n, grain, control, [&](Index begin, Index end) {
    const Buffer<T> scratch(p);
    T* rows[5];
    for (int part = 0; part < 5; part++) rows[part] = out.features[part] + begin * p;
    project_rows(state.features.row(begin), state.labels + begin, end - begin, p, plus1.get(), minus1.get(),
                 plus2.get(), minus2.get(), means.get(), scratch.get(), rows);
  });
}

template void projections(const State<const float>&, const Projections<float>&, const Control&);
template void projections(const State<const double>&, const Projections<double>&, const Control&);

}  // namespace lp
