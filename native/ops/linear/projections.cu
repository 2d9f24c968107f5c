// The five parts on the device: see projections.h. Tables of each class from its sums, then one pass over the features,
// which reads a row and writes five.
#include "ops/linear/projections.h"

#include <cmath>

#include "cuda/launch.h"
#include "ops/linear/class_sums.h"

namespace lp::cuda {

constexpr int kPartThreads = 256;

// What a sample's parts are made of: rows of its class (C, p), and two of all (p).
template <class T>
struct PartTables {
  T *plus1, *minus1, *means;
  T *plus2, *minus2;
};

// The tables and the parts' prototypes, an element of (C, p) a thread; sums (C, p) and their total (p), prototypes (C,
// p) and their total (p).
template <class T>
__global__ void __launch_bounds__(kPartThreads)
    part_tables_kernel(const double* sums, const double* sums_total, const T* prototypes,
                       const double* prototypes_total, Index classes, Index p, double per_class, double root,
                       PartTables<T> tables, Projections<T> out) {
  const Index at = static_cast<Index>(blockIdx.x) * kPartThreads + threadIdx.x;
  if (at >= classes * p) return;
  const Index j = at % p;
  const double mean_sum = sums_total[j] / static_cast<double>(classes);
  const double mean_prototype = prototypes_total[j] / static_cast<double>(classes);
  const double u = (sums[at] - mean_sum) / root, w = static_cast<double>(prototypes[at]) - mean_prototype;
  const double shared_u = mean_sum / root, shared_w = mean_prototype;
  out.prototypes[0][at] = static_cast<T>((w + u) / 2);
  out.prototypes[1][at] = static_cast<T>((w - u) / 2);
  out.prototypes[2][at] = static_cast<T>((shared_w + shared_u) / 2);
  out.prototypes[3][at] = static_cast<T>((shared_w - shared_u) / 2);
  out.prototypes[4][at] = T(0);
  tables.plus1[at] = static_cast<T>((u + w) / 2 / root);
  tables.minus1[at] = static_cast<T>((u - w) / 2 / root);
  tables.means[at] = static_cast<T>(sums[at] / per_class);
  if (at >= p) return;
  tables.plus2[at] = static_cast<T>((shared_u + shared_w) / 2 / root);
  tables.minus2[at] = static_cast<T>((shared_u - shared_w) / 2 / root);
}

// The features of the parts, kVector columns a thread.
template <class T, int kVector>
__global__ void __launch_bounds__(kPartThreads)
    part_rows_kernel(const T* features, const int32_t* labels, Index samples, Index p, PartTables<T> tables,
                     Projections<T> out) {
  using Columns = cuda::Columns<T, kVector>;
  const auto columns = [](auto* data) { return reinterpret_cast<const Columns*>(data); };
  const auto target = [](T* data) { return reinterpret_cast<Columns*>(data); };
  const Index across = p / kVector;
  for_cells(samples, across, [&](Index i, Index j, Index at) {
    const Index of_class = labels[i] * across + j;
    const Columns h = columns(features)[at], mean = columns(tables.means)[of_class];
    Columns rest;
#pragma unroll
    for (int v = 0; v < kVector; v++) rest.x[v] = h.x[v] - mean.x[v];
    target(out.features[0])[at] = columns(tables.plus1)[of_class];
    target(out.features[1])[at] = columns(tables.minus1)[of_class];
    target(out.features[2])[at] = columns(tables.plus2)[j];
    target(out.features[3])[at] = columns(tables.minus2)[j];
    target(out.features[4])[at] = rest;
  });
}

template <class T>
void projections(Job& job, const State<const T>& state, const Projections<T>& out) {
  const Index n = state.samples(), classes = state.classes(), p = state.dim(), size = classes * p;
  const double per_class = static_cast<double>(n) / static_cast<double>(classes), root = std::sqrt(per_class);
  const Matrix<double> sums{job.scratch<double>(size), classes, p};
  const Matrix<double> sums_total{job.scratch<double>(p), 1, p}, prototypes_total{job.scratch<double>(p), 1, p};
  const ClassRuns all(job, classes);
  class_sums<T>(job, state.features, ClassRuns(job, ByClass(state.labels, n, classes)), sums);
  class_sums<double>(job, sums, all, sums_total);
  class_sums<T>(job, state.prototypes, all, prototypes_total);
  if (!all_finite(job, sums_total)) check_finite(job, state.features, "features");
  if (!all_finite(job, prototypes_total)) check_finite(job, state.prototypes, "prototypes");

  T* const memory = job.scratch<T>(3 * size + 2 * p);
  const PartTables<T> tables{memory, memory + size, memory + 2 * size, memory + 3 * size, memory + 3 * size + p};
  launch(job, part_tables_kernel<T>, dim3(blocks_for(size, kPartThreads)), dim3(kPartThreads), 0, sums.data,
         sums_total.data, state.prototypes.data, prototypes_total.data, classes, p, per_class, root, tables, out);

  const int32_t* const labels = job.uploaded(state.labels, n);
  bool whole = packs(state.features.data, p);
  for (const T* part : out.features) whole = whole && packs(part, p);
  const auto spread = [&](auto kernel, int vector) {
    const Index blocks = std::min<Index>(divide_up(n * p / vector, kPartThreads), 16384);
    launch(job, kernel, dim3(static_cast<unsigned>(blocks)), dim3(kPartThreads), 0, state.features.data, labels, n, p,
           tables, out);
  };
  constexpr int kVector = Pack<T>::kSize;
  whole ? spread(part_rows_kernel<T, kVector>, kVector) : spread(part_rows_kernel<T, 1>, 1);
}

template void projections(Job&, const State<const float>&, const Projections<float>&);
template void projections(Job&, const State<const double>&, const Projections<double>&);

}  // namespace lp::cuda
