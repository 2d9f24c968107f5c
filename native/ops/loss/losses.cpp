#include "ops/loss/losses.h"

#include <algorithm>
#include <cmath>

#include "core/finite.h"
#include "core/flushed.h"
#include "ops/loss/class_pass.h"
#include "ops/loss/logits_pass.h"

namespace lp {
namespace {

// Whether the loss sees more of the prototypes than the own one and a sum, so that logits have to be made.
bool couples_all(LossKind kind) {
  return kind == LossKind::cross_entropy || kind == LossKind::mse || kind == LossKind::hinge;
}

// Accuracy and margins of a loss that makes no logits: by those of the mean squares, which share them.
template <class T>
Decisions decisions(const Loss& loss, const LossTask<T>& task) {
  Loss plain;
  plain.kind = LossKind::mse;
  plain.normalized = loss.normalized;
  plain.radius = loss.radius;
  State<const T> state = task.state;
  if (loss.kind == LossKind::dot_regression) state.biases = nullptr;
  LogitsPass<T> pass(plain, state.classes(), state.dim());
  return pass.run({state, task.chosen, task.count, {}, nullptr, {}, task.control}).decisions;
}

}  // namespace

template <class T>
struct LossPass<T>::Passes {
  Passes(const Loss& given, Index classes, Index p)
      : loss(given), of_logits(loss, classes, p), of_classes(loss, classes, p) {}

  const Loss loss;
  LogitsPass<T> of_logits;
  ClassPass<T> of_classes;
};

template <class T>
LossPass<T>::LossPass(const Loss& loss, Index classes, Index p) : passes_(std::make_unique<Passes>(loss, classes, p)) {}

template <class T>
size_t LossPass<T>::bytes() const {
  return bytes_of(passes_->loss.soft_labels) + passes_->of_logits.bytes();
}

template <class T>
LossPass<T>::~LossPass() = default;

template <class T>
LossSummary LossPass<T>::run(const State<const T>& state, const Index* chosen, Index count, Matrix<T> prototypes,
                             T* biases, const Move& move, bool measure, const Control& control) {
  const FlushedIfFloat<T> flushed;
  const Loss& loss = passes_->loss;
  const LossTask<T> task{state, chosen, count, prototypes, biases, move, control};
  LossTally tally;
  if (couples_all(loss.kind)) {
    tally = passes_->of_logits.run(task);
  } else {
    // Before anything moves.
    const Decisions found = measure ? decisions(loss, task) : Decisions();
    tally = passes_->of_classes.run(task);
    tally.decisions = found;
  }
  LossSummary summary;
  summary.regularizer = loss.regularization == 0 ? 0 : loss.regularization * tally.squares;
  summary.value = tally.value + summary.regularizer;
  summary.min_margin = tally.decisions.min_margin;
  summary.accuracy = tally.decisions.correct / static_cast<double>(count);
  return summary;
}

template <class T>
LossSummary loss_and_gradient(const Loss& loss, const State<const T>& state, const State<T>& gradient, bool measure,
                              const Control& control) {
  const FlushedIfFloat<T> flushed;
  const Index n = state.samples(), p = state.dim();
  LossPass<T> pass(loss, state.classes(), p);
  typename LossPass<T>::Move move;
  if (gradient.features.data) {
    move = [&](Index begin, Index end, const T* rows) {
      std::copy_n(rows, (end - begin) * p, gradient.features.row(begin));
    };
  }
  const LossSummary summary = pass.run(state, nullptr, n, gradient.prototypes, gradient.biases, move, measure, control);
  if (!std::isfinite(summary.value)) {
    check_finite(state.features, "features");
    check_finite(state.prototypes, "prototypes");
    if (state.biases) check_finite<T>({state.biases, state.classes(), 1}, "biases");
    throw Error("LP_OVERFLOW", "The loss of this state exceeds the range of its dtype; scale the state down.");
  }
  return summary;
}

template class LossPass<float>;
template class LossPass<double>;
template LossSummary loss_and_gradient(const Loss&, const State<const float>&, const State<float>&, bool,
                                       const Control&);
template LossSummary loss_and_gradient(const Loss&, const State<const double>&, const State<double>&, bool,
                                       const Control&);

}  // namespace lp
