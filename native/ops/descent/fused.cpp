#include "ops/descent/fused.h"

#include <algorithm>
#include <cstring>

#include "core/finite.h"
#include "core/flushed.h"
#include "core/thread_pool.h"
#include "ops/linear/class_sums.h"
#include "ops/linear/products.h"

namespace lp {
namespace {

// Columns of prototypes that one thread moves at a time: whole cache lines.
constexpr Index kColumns = 64;

enum class Direction { gather, scatter };

// Copies rows between the order of the samples and that of the classes.
template <Direction direction, class T>
void reorder(Matrix<T> features, const ByClass& samples, T* by_class, const Control& control) {
  const Index p = features.cols;
  parallel_for(features.rows, even_grain(features.rows, 1 + 8192 / p), control, [&](Index begin, Index end) {
    for (Index i = begin; i < end; i++) {
      T *theirs = features.row(samples.order[i]), *ours = by_class + i * p;
      direction == Direction::gather ? std::memcpy(ours, theirs, p * sizeof(T))
                                     : std::memcpy(theirs, ours, p * sizeof(T));
    }
  });
}

template <class T>
Buffer<T> zeros(Index size) {
  Buffer<T> buffer(size);
  std::fill(buffer.begin(), buffer.end(), T(0));
  return buffer;
}

// The biases move by themselves: their gradient is the constant −m.
template <class T>
class Biases {
 public:
  Biases(const State<T>& state, const ByClass& samples, double gamma)
      : biases_(state.biases),
        counts_(state.classes()),
        pull_(state.classes()),
        velocity_(zeros<double>(state.classes())) {
    for (Index c = 0; c < state.classes(); c++) counts_[c] = static_cast<double>(samples.count(c));
    contrast<double>({counts_.get(), state.classes(), 1}, gamma, state.samples(), {pull_.get(), state.classes(), 1});
  }
  void step(const MoveFactors& factors) const {
    if (!biases_) return;
    for (Index c = 0; c < pull_.size(); c++) {
      const double d = factors.decay * biases_[c] - pull_[c];
      velocity_[c] = factors.momentum * velocity_[c] + d;
      biases_[c] -=
          static_cast<T>(factors.rate * (factors.nesterov ? d + factors.momentum * velocity_[c] : velocity_[c]));
    }
  }

 private:
  T* biases_;
  Buffer<double> counts_, pull_, velocity_;
};

}  // namespace

template <class T>
void fused_descent(const State<T>& state, const FusedDescentPlan& plan, const Control& control) {
  const FlushedIfFloat<T> flushed;
  const Index n = state.samples(), classes = state.classes(), p = state.dim();
  const ByClass samples(state.labels, n, classes);
  const Buffer<T> features(n * p);
  reorder<Direction::gather>(state.features, samples, features.get(), control);

  // Class sums, and gradients of the features, of the step that reads them, and of the one after it, which the same
  // pass writes.
  const Buffer<double> memory(2 * classes * p);
  const Matrix<double> sums[2] = {{memory.get(), classes, p}, {memory.get() + classes * p, classes, p}};
  const ClassRuns runs[2] = {{samples, sums[0]}, {samples, sums[1]}};
  const Buffer<T> gradient[2] = {Buffer<T>(classes * p), Buffer<T>(classes * p)};

  class_sums<T>(state.features, samples, sums[0], control);
  if (!all_finite(sums[0])) check_finite<T>(state.features, "features");
  const Buffer<double> product_memory(classes * p);
  const Matrix<double> product{product_memory.get(), classes, p};
  contrast<T>(state.prototypes, plan.gamma, n, product);
  if (!all_finite(product)) check_finite<T>(state.prototypes, "prototypes");
  if (state.biases) check_finite<T>({state.biases, classes, 1}, "biases");
  for (Index k = 0; k < product.size(); k++) gradient[0][k] = static_cast<T>(-product.data[k]);

  const bool moving = plan.momentum != 0;
  const Buffer<T> features_velocity = zeros<T>(moving ? n * p : 0),
                  prototypes_velocity = zeros<T>(moving ? classes * p : 0);
  const Biases<T> biases(state, samples, plan.gamma);
  const auto step_rows = LP_SELECT(step_rows<T>);
  const auto step_columns = LP_SELECT(step_columns<T>);
  const Index grain = runs[0].grain(), run_count = std::ssize(runs[0].list);
  const Index row_tasks = divide_up(run_count, grain), column_tasks = divide_up(p, kColumns);

  for (Index k = 0; k < plan.steps; k++) {
    const int now = k % 2, next = 1 - now;
    const MoveFactors of_features{plan.rates_features[k], plan.decay_features, plan.momentum, plan.nesterov};
    const MoveFactors of_prototypes{plan.rates_prototypes[k], plan.decay_prototypes, plan.momentum, plan.nesterov};
    const auto step_columns_at = [&](Index task) {
      double scratch[kColumns];
      const Index begin = task * kColumns, end = std::min(p, begin + kColumns);
      if (k > 0) runs[now].combine(begin, end);
      step_columns(state.prototypes.data, prototypes_velocity.get(), sums[now].data, gradient[next].get(), classes, p,
                   begin, end, n, plan.gamma, of_prototypes, scratch);
    };
    const auto step_runs_at = [&](Index task) {
      for (Index r = task * grain; r < std::min(run_count, (task + 1) * grain); r++) {
        const auto& run = runs[next].list[r];
        T* velocity = moving ? features_velocity.get() + run.begin * p : nullptr;
        step_rows(features.get() + run.begin * p, velocity, gradient[now].get() + run.label * p, run.end - run.begin, p,
                  of_features, run.sum);
      }
    };
    parallel_for(column_tasks + row_tasks, 1, control, [&](Index task, Index) {
      task < column_tasks ? step_columns_at(task) : step_runs_at(task - column_tasks);
    });
    biases.step(of_prototypes);
    if (k % std::max<Index>(plan.steps / 100, 1) == 0) control.progress(static_cast<double>(k) / plan.steps);
  }

  reorder<Direction::scatter>(state.features, samples, features.get(), control);
  if (plan.steps > 0) runs[plan.steps % 2].combine(0, p);
  contrast<T>(state.prototypes, plan.gamma, n, product);
  if (!all_finite(sums[plan.steps % 2]) || !all_finite(product)) {
    throw Error("LP_OVERFLOW",
                "The state outgrows its dtype within these steps; take fewer, or use the exact gradientDescent, "
                "whose directionAt never overflows.");
  }
}

template void fused_descent(const State<float>&, const FusedDescentPlan&, const Control&);
template void fused_descent(const State<double>&, const FusedDescentPlan&, const Control&);

}  // namespace lp
