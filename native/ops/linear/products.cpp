#include "ops/linear/products.h"

#include <algorithm>

#include "core/finite.h"
#include "core/flushed.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "ops/linear/class_sums.h"

namespace lp {

template <class T>
void contrast(Matrix<const T> x, double gamma, Index samples, Matrix<double> out) {
  const Buffer<double> total(x.cols);
  std::fill(total.begin(), total.end(), 0.0);
  for (Index c = 0; c < x.rows; c++)
    for (Index j = 0; j < x.cols; j++) total[j] += x(c, j);
  for (Index c = 0; c < x.rows; c++)
    for (Index j = 0; j < x.cols; j++) out(c, j) = ((1 + gamma) * x(c, j) - gamma * total[j]) / samples;
}

template <class T>
void products(const State<const T>& state, double gamma, const State<T>& out, const Control& control) {
  const FlushedIfFloat<T> flushed;
  const Index n = state.samples(), classes = state.classes(), p = state.dim();
  const ByClass samples(state.labels, n, classes);
  const Buffer<double> memory(2 * classes * p), counts(classes), biases(classes);
  const Matrix<double> sums{memory.get(), classes, p}, product{memory.get() + classes * p, classes, p};

  class_sums<T>(state.features, samples, sums, control);
  contrast<double>(sums, gamma, n, product);
  if (!all_finite(product)) check_finite(state.features, "features");
  std::copy_n(product.data, product.size(), out.prototypes.data);

  for (Index c = 0; c < classes; c++) counts[c] = static_cast<double>(samples.count(c));
  contrast<double>({counts.get(), classes, 1}, gamma, n, {biases.get(), classes, 1});
  std::copy_n(biases.get(), classes, out.biases);

  contrast<T>(state.prototypes, gamma, n, product);
  if (!all_finite(product)) check_finite(state.prototypes, "prototypes");
  const Buffer<T> rows(classes * p);
  std::copy_n(product.data, product.size(), rows.get());
  parallel_for(n, std::min(even_grain(n, 1 + 8192 / p), 1 + (1 << 18) / p), control, [&](Index begin, Index end) {
    for (Index i = begin; i < end; i++) {
      stream_copy(out.features.row(i), rows.get() + state.labels[i] * p, p * sizeof(T));
    }
    stream_fence();
  });
}

template void contrast(Matrix<const float>, double, Index, Matrix<double>);
template void contrast(Matrix<const double>, double, Index, Matrix<double>);
template void products(const State<const float>&, double, const State<float>&, const Control&);
template void products(const State<const double>&, double, const State<double>&, const Control&);

}  // namespace lp
