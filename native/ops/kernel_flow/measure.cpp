#include "ops/kernel_flow/measure.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/blas/blas.h"
#include "core/thread_pool.h"
#include "core/vector.h"

namespace lp {
namespace {

// Samples of a block: the prototypes are read once for them, and their logits stay in the cache.
constexpr Index kRows = 64;

struct Sums {
  double own = 0, total = 0, square = 0, correct = 0, margin = 0, norm = 0;
  double min = std::numeric_limits<double>::infinity();

  void add(const Sums& more) {
    own += more.own, total += more.total, square += more.square;
    correct += more.correct, margin += more.margin, norm += more.norm;
    min = std::min(min, more.min);
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

// The logits of one sample, already without bias.
template <class T>
void add_sample(const T* z, const T* biases, Index classes, Index label, Sums& sums) {
  const auto logit = [&](Index j) { return static_cast<double>(z[j]) + (biases ? biases[j] : 0); };
  const double own = logit(label);
  double rival = -std::numeric_limits<double>::infinity(), total = 0, square = 0;
  bool first = true;
  for (Index j = 0; j < classes; j++) {
    const double value = logit(j);
    total += value;
    square += (value - (j == label)) * (value - (j == label));
    if (j == label) continue;
    if (j < label && value >= own) first = false;
    rival = std::max(rival, value);
  }
  sums.own += own;
  sums.total += total;
  sums.square += square;
  sums.correct += first && own >= rival;
  sums.margin += own - rival;
  sums.min = std::min(sums.min, own - rival);
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
Evaluation evaluate(const State<const T>& state, const DirectionRef<T>& direction, const Control& control) {
  const Index n = state.samples(), p = state.dim(), classes = state.classes();
  const Sums sums = over_blocks<Sums>(n, control, [&](Index begin, Index end) {
    Sums mine;
    Buffer<T> logits((end - begin) * classes);
    blas::gemm(false, true, end - begin, classes, p, T(1), state.features.row(begin), p, state.prototypes.data, p, T(0),
               logits.get(), classes);
    for (Index i = begin; i < end; i++) {
      add_sample(logits.get() + (i - begin) * classes, state.biases, classes, state.labels[i], mine);
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
  return {sums.own / count,    sums.total / count,   sums.square / count, sums.correct / count, sums.min,
          sums.margin / count, std::sqrt(sums.norm), std::sqrt(square),   std::sqrt(distance)};
}

template Evaluation evaluate(const State<const float>&, const DirectionRef<float>&, const Control&);
template Evaluation evaluate(const State<const double>&, const DirectionRef<double>&, const Control&);

}  // namespace lp
