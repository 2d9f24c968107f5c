#include "ops/linear/class_sums.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/thread_pool.h"

namespace lp {

ByClass::ByClass(const int32_t* labels, Index samples, Index classes) : order(samples), start(classes + 1) {
  for (Index i = 0; i < samples; i++) start[labels[i] + 1]++;
  for (Index c = 0; c < classes; c++) start[c + 1] += start[c];
  std::vector<Index> next(start.begin(), start.end() - 1);
  for (Index i = 0; i < samples; i++) order[next[labels[i]]++] = i;
}

ClassRuns::ClassRuns(const ByClass& samples, Matrix<double> sums) : sums_(sums) {
  for (Index c = 0; c < samples.classes(); c++) {
    std::fill_n(sums.row(c), sums.cols, 0.0);
    for (Index begin = samples.start[c]; begin < samples.start[c + 1]; begin += kLength) {
      list.push_back({c, begin, std::min(begin + kLength, samples.start[c + 1]), sums.row(c)});
    }
  }
  const auto starts = [&](const Run& run) { return run.begin == samples.start[run.label]; };
  const Index further = std::count_if(list.begin(), list.end(), [&](const Run& run) { return !starts(run); });
  rest_ = Buffer<double>(further * sums.cols);
  double* free = rest_.get();
  for (Run& run : list) {
    if (starts(run)) continue;
    run.sum = free;
    free += sums.cols;
  }
}

void ClassRuns::combine(Index begin, Index end) const {
  for (const Run& run : list) {
    double* sum = sums_.row(run.label);
    if (run.sum == sum) continue;
    for (Index j = begin; j < end; j++) sum[j] += run.sum[j];
  }
}

Index ClassRuns::grain() const {
  constexpr Index kLeast = 1 << 14, kMost = 1 << 20;  // elements
  if (list.empty()) return 1;
  const Index rows = divide_up(list.back().end, std::ssize(list)), elements = rows * sums_.cols;
  return std::clamp<Index>(kMost / elements, 1, even_grain(std::ssize(list), 1 + kLeast / elements));
}

template <class T>
void class_sums(Matrix<const T> features, const ByClass& samples, Matrix<double> sums, const Control& control,
                T* largest) {
  const auto sum_rows = LP_SELECT(sum_rows<T>);
  const ClassRuns runs(samples, sums);
  std::vector<T> most(largest ? runs.list.size() : 0);
  parallel_for(std::ssize(runs.list), runs.grain(), control, [&](Index begin, Index end) {
    for (Index r = begin; r < end; r++) {
      const auto& run = runs.list[r];
      sum_rows(features.data, &samples.order[run.begin], run.end - run.begin, features.cols, run.sum,
               largest ? &most[r] : nullptr);
    }
  });
  runs.combine(0, features.cols);
  if (largest) *largest = std::accumulate(most.begin(), most.end(), T(0), [](T a, T b) { return std::max(a, b); });
}

bool all_finite(Matrix<const double> values) {
  return std::all_of(values.data, values.data + values.size(), [](double x) { return std::isfinite(x); });
}

template void class_sums(Matrix<const float>, const ByClass&, Matrix<double>, const Control&, float*);
template void class_sums(Matrix<const double>, const ByClass&, Matrix<double>, const Control&, double*);

}  // namespace lp
