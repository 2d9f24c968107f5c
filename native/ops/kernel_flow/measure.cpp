#include "ops/kernel_flow/measure.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/blas/blas.h"
#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/loss/row.h"

namespace lp {
namespace {

// Samples of a block: the prototypes are read once for them, and their logits stay in the cache.
constexpr Index kRows = 64;

struct Sums {
  double own = 0, total = 0, square = 0, norm = 0;
  Decisions decisions;

  void add(const Sums& more) {
    own += more.own, total += more.total, square += more.square, norm += more.norm;
    decisions.add(more.decisions);
  }
};

// ‖x/norm − d‖²
template <class T>
double square_distance(const T* x, double norm, const T* d, Index size) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < size; j++) sum += (x[j] / norm - d[j]) * (x[j] / norm - d[j]);
  return sum;
}

// A sample of class `label`, of its logits without biases; those with them go to z (classes).
template <class T>
void add_sample(const T* products, const T* biases, Index classes, Index label, double* z, Sums& sums) {
  for (Index j = 0; j < classes; j++) {
    z[j] = static_cast<double>(products[j]) + (biases ? static_cast<double>(biases[j]) : 0);
    sums.total += z[j];
    sums.square += (z[j] - (j == label)) * (z[j] - (j == label));
  }
  sums.own += z[label];
  sums.decisions.add(decide(z, classes, label));
}

// Adds up `part(begin, end)` over blocks of rows, in an order of its own however many threads there are.
template <class Value, class Part>
Value over_blocks(Index rows, const Control& control, Part part) {
  const Index blocks = divide_up(rows, kRows);
  std::vector<Value> partial(blocks);
  parallel_for(blocks, 1, control,
               [&](Index block, Index) { partial[block] = part(block * kRows, std::min(rows, (block + 1) * kRows)); });
  Value sum{};
  for (const Value& value : partial) {
    if constexpr (std::is_same_v<Value, Sums>)
      sum.add(value);
    else
      sum += value;
  }
  return sum;
}

}  // namespace

template <class T>
KernelMeasures measure(const State<const T>& state, const DirectionRef<T>& direction, const Control& control) {
  const Index n = state.samples(), p = state.dim(), classes = state.classes();
  const Sums sums = over_blocks<Sums>(n, control, [&](Index begin, Index end) {
    Sums mine;
    const Buffer<T> logits((end - begin) * classes);
    const Buffer<double> row(classes);
    blas::gemm(false, true, end - begin, classes, p, T(1), state.features.row(begin), p, state.prototypes.data, p, T(0),
               logits.get(), classes);
    for (Index i = begin; i < end; i++) {
      add_sample(logits.get() + (i - begin) * classes, state.biases, classes, state.labels[i], row.get(), mine);
    }
    mine.norm = squared_norm(state.features.row(begin), (end - begin) * p);
    return mine;
  });
  const double square = squared_norm(state.prototypes.data, classes * p);
  double distance = 0;
  if (direction.features) {
    const double norm = std::sqrt(sums.norm + square);
    distance = over_blocks<double>(n, control, [&](Index begin, Index end) {
      return square_distance(state.features.row(begin), norm, direction.features + begin * p, (end - begin) * p);
    });
    distance += square_distance(state.prototypes.data, norm, direction.prototypes, classes * p);
  }
  const double count = static_cast<double>(n);
  const Decisions& decided = sums.decisions;
  return {sums.own / count,        sums.total / count, sums.square / count,
          decided.correct / count, decided.min_margin, decided.margins / count,
          std::sqrt(sums.norm),    std::sqrt(square),  std::sqrt(distance)};
}

template KernelMeasures measure(const State<const float>&, const DirectionRef<float>&, const Control&);
template KernelMeasures measure(const State<const double>&, const DirectionRef<double>&, const Control&);

}  // namespace lp
