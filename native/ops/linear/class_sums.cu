// Sums over classes on the device: see class_sums.h. A block sums the rows of a run, columns side by side, so that
// reads of a row are consecutive; a second kernel adds up the runs of each class in their order. No atomics: results
// repeat.
#include "ops/linear/class_sums.h"

#include <algorithm>

#include "core/finite.h"
#include "cuda/launch.h"

namespace lp::cuda {

constexpr int kSumThreads = 128;
constexpr Index kRunRows = 64;  // short enough for many blocks, long enough that partial sums are 1/64 of what is read
constexpr int kAhead = 8;       // rows on their way at a time

// parts (runs, p): part of run r, column j = Σ of rows (·, p) order[begin[r]] … order[begin[r + 1] − 1], each times its
// factor (null: 1). Grid: runs × tiles of columns, each thread kVector of them.
template <class T, int kVector>
__global__ void __launch_bounds__(kSumThreads)
    sum_runs_kernel(const T* rows, Index p, const Index* order, const Index* begin, const double* factors,
                    double* parts) {
  using Columns = cuda::Columns<T, kVector>;
  const Index column = (static_cast<Index>(blockIdx.y) * kSumThreads + threadIdx.x) * kVector;
  if (column >= p) return;
  const Index from = begin[blockIdx.x], to = begin[blockIdx.x + 1];
  const auto row = [&](Index at) {
    return *reinterpret_cast<const Columns*>(rows + (order ? order[at] : at) * p + column);
  };
  const auto factor = [&](Index at) { return factors ? factors[order ? order[at] : at] : 1; };
  double sum[kVector] = {};
  Index at = from;
  for (; at + kAhead <= to; at += kAhead) {
    Columns read[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; a++) read[a] = row(at + a);
#pragma unroll
    for (int a = 0; a < kAhead; a++)
#pragma unroll
      for (int v = 0; v < kVector; v++) sum[v] += factor(at + a) * static_cast<double>(read[a].x[v]);
  }
  for (; at < to; at++) {
    const Columns read = row(at);
#pragma unroll
    for (int v = 0; v < kVector; v++) sum[v] += factor(at) * static_cast<double>(read.x[v]);
  }
  double* const out = parts + static_cast<Index>(blockIdx.x) * p + column;
#pragma unroll
  for (int v = 0; v < kVector; v++) out[v] = sum[v];
}

// sums (C, p): of class c the parts first[c] … first[c + 1] − 1. Grid: classes × tiles of columns.
__global__ void __launch_bounds__(kSumThreads)
    join_runs_kernel(const double* parts, Index p, const Index* first, double* sums) {
  const Index column = static_cast<Index>(blockIdx.y) * kSumThreads + threadIdx.x;
  if (column >= p) return;
  double sum = 0;
  for (Index run = first[blockIdx.x]; run < first[blockIdx.x + 1]; run++) sum += parts[run * p + column];
  sums[static_cast<Index>(blockIdx.x) * p + column] = sum;
}

// The place of the first element that is NaN or infinite, as far as it is below *place.
template <class T>
__global__ void __launch_bounds__(256) find_not_finite_kernel(const T* data, Index size, unsigned long long* place) {
  const Index stride = static_cast<Index>(gridDim.x) * 256;
  for (Index i = static_cast<Index>(blockIdx.x) * 256 + threadIdx.x; i < size; i += stride) {
    if (isfinite(data[i])) continue;
    atomicMin(place, static_cast<unsigned long long>(i));
    return;
  }
}

namespace {

template <class T>
Index first_not_finite(Job& job, const T* data, Index size) {
  auto* const place = job.scratch<unsigned long long>(1);
  check(cudaMemsetAsync(place, 0xff, sizeof *place, stream_of(job)), "cudaMemsetAsync");
  const unsigned blocks = static_cast<unsigned>(std::min<Index>(divide_up(size, 256), 2048));
  launch(job, find_not_finite_kernel<T>, dim3(blocks), dim3(256), 0, data, size, place);
  return static_cast<Index>(job.downloaded(place));  // −1: none
}

}  // namespace

ClassRuns::ClassRuns(Job& job, const ByClass& samples) : classes(samples.classes()) {
  std::vector<Index> begins, firsts{0};
  for (Index c = 0; c < classes; c++) {
    for (Index at = samples.start[c]; at < samples.start[c + 1]; at += kRunRows) begins.push_back(at);
    firsts.push_back(std::ssize(begins));
  }
  runs = std::ssize(begins);
  begins.push_back(std::ssize(samples.order));
  order = job.uploaded(samples.order.data(), std::ssize(samples.order));
  begin = job.uploaded(begins.data(), runs + 1);
  first = job.uploaded(firsts.data(), classes + 1);
}

ClassRuns::ClassRuns(Job& job, Index rows) : classes(1), order(nullptr) {
  std::vector<Index> begins;
  for (Index at = 0; at < rows; at += kRunRows) begins.push_back(at);
  runs = std::ssize(begins);
  begins.push_back(rows);
  const Index firsts[] = {0, runs};
  begin = job.uploaded(begins.data(), runs + 1);
  first = job.uploaded(firsts, 2);
}

template <class T>
void class_sums(Job& job, Matrix<const T> rows, const ClassRuns& runs, Matrix<double> sums, const double* factors) {
  const Index p = rows.cols;
  double* const parts = job.scratch<double>(runs.runs * p);
  const auto sum = [&](auto kernel, int vector) {
    launch(job, kernel, dim3(blocks_for(runs.runs, 1), blocks_for(p, kSumThreads * vector)), dim3(kSumThreads), 0,
           rows.data, p, runs.order, runs.begin, factors, parts);
  };
  constexpr int kVector = Pack<T>::kSize;
  packs(rows.data, p) ? sum(sum_runs_kernel<T, kVector>, kVector) : sum(sum_runs_kernel<T, 1>, 1);
  launch(job, join_runs_kernel, dim3(blocks_for(runs.classes, 1), blocks_for(p, kSumThreads)), dim3(kSumThreads), 0,
         parts, p, runs.first, sums.data);
}

template <class T>
void check_finite(Job& job, Matrix<const T> array, const char* name) {
  const Index place = first_not_finite(job, array.data, array.size());
  if (place < 0) return;
  refuse_not_finite(name, place / array.cols, place % array.cols, array.cols, job.downloaded(array.data + place));
}

bool all_finite(Job& job, Matrix<const double> values) { return first_not_finite(job, values.data, values.size()) < 0; }

template void class_sums(Job&, Matrix<const float>, const ClassRuns&, Matrix<double>, const double*);
template void class_sums(Job&, Matrix<const double>, const ClassRuns&, Matrix<double>, const double*);
template void check_finite(Job&, Matrix<const float>, const char*);
template void check_finite(Job&, Matrix<const double>, const char*);

}  // namespace lp::cuda
