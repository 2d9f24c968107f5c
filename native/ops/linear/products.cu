// The structured products on the device: see products.h. Class sums, then two small tables; the features' product is a
// copy of a row of a table for each sample, and writing it is all the time it takes.
#include "ops/linear/products.h"

#include <vector>

#include "cuda/launch.h"
#include "ops/linear/class_sums.h"

namespace lp::cuda {

constexpr int kThreads = 256;

// out_c = ((1+γ) x_c − γ total)/n for x, out (C, p), total (p).
template <class T>
__global__ void __launch_bounds__(kThreads)
    contrast_kernel(const T* x, const double* total, double gamma, double samples, Index size, Index p, double* out) {
  const Index at = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (at < size) out[at] = ((1 + gamma) * static_cast<double>(x[at]) - gamma * total[at % p]) / samples;
}

template <class T>
__global__ void __launch_bounds__(kThreads) convert_kernel(const double* x, Index size, T* out) {
  const Index at = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (at < size) out[at] = static_cast<T>(x[at]);
}

// out_i = table_{y_i} (n, p), by packs of kVector columns.
template <class T, int kVector>
__global__ void __launch_bounds__(kThreads)
    rows_of_class_kernel(const T* table, const int32_t* labels, Index samples, Index p, T* out) {
  using Columns = cuda::Columns<T, kVector>;
  const Index across = p / kVector;
  for_cells(samples, across, [&](Index i, Index j, Index at) {
    reinterpret_cast<Columns*>(out)[at] = reinterpret_cast<const Columns*>(table)[labels[i] * across + j];
  });
}

template <class T>
void contrast(Job& job, Matrix<const T> x, double gamma, Index samples, Matrix<double> out) {
  double* const total = job.scratch<double>(x.cols);
  class_sums<T>(job, x, ClassRuns(job, x.rows), {total, 1, x.cols});
  launch(job, contrast_kernel<T>, dim3(blocks_for(x.size(), kThreads)), dim3(kThreads), 0, x.data, total, gamma,
         static_cast<double>(samples), x.size(), x.cols, out.data);
}

template <class T>
void products(Job& job, const State<const T>& state, double gamma, const State<T>& out) {
  const Index n = state.samples(), classes = state.classes(), p = state.dim(), size = classes * p;
  const ByClass samples(state.labels, n, classes);
  const Matrix<double> sums{job.scratch<double>(size), classes, p}, product{job.scratch<double>(size), classes, p};
  const auto convert = [&](const double* from, Index count, T* to) {
    launch(job, convert_kernel<T>, dim3(blocks_for(count, kThreads)), dim3(kThreads), 0, from, count, to);
  };

  class_sums<T>(job, state.features, ClassRuns(job, samples), sums);
  contrast<double>(job, sums, gamma, n, product);
  if (!all_finite(job, product)) check_finite(job, state.features, "features");
  convert(product.data, size, out.prototypes.data);

  std::vector<double> counts(classes), biases(classes);
  for (Index c = 0; c < classes; c++) counts[c] = static_cast<double>(samples.count(c));
  lp::contrast<double>({counts.data(), classes, 1}, gamma, n, {biases.data(), classes, 1});
  convert(job.uploaded(biases.data(), classes), classes, out.biases);

  contrast<T>(job, state.prototypes, gamma, n, product);
  if (!all_finite(job, product)) check_finite(job, state.prototypes, "prototypes");
  T* const table = job.scratch<T>(size);
  convert(product.data, size, table);
  const int32_t* const labels = job.uploaded(state.labels, n);
  const auto spread = [&](auto kernel, int vector) {
    const Index blocks = std::min<Index>(divide_up(n * p / vector, kThreads), 16384);
    launch(job, kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, table, labels, n, p, out.features.data);
  };
  constexpr int kVector = Pack<T>::kSize;
  packs(out.features.data, p) ? spread(rows_of_class_kernel<T, kVector>, kVector)
                              : spread(rows_of_class_kernel<T, 1>, 1);
}

template void contrast(Job&, Matrix<const float>, double, Index, Matrix<double>);
template void contrast(Job&, Matrix<const double>, double, Index, Matrix<double>);
template void products(Job&, const State<const float>&, double, const State<float>&);
template void products(Job&, const State<const double>&, double, const State<double>&);

}  // namespace lp::cuda
