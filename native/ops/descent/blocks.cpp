#include "ops/descent/blocks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "core/random.h"
#include "core/thread_pool.h"
#include "core/vector.h"

namespace lp {
namespace {

// The factor that brings rows of this squared norm back into a Frobenius ball, or 1.
double into_ball(const Constraint& constraint, double square) {
  if (constraint.kind != Constraint::frobenius || !(square > constraint.radius * constraint.radius)) return 1;
  return constraint.radius / std::sqrt(square);
}

template <class T>
void scale_by(T* x, Index size, double factor) {
  const T scale = static_cast<T>(factor);
  for (Index k = 0; k < size; k++) x[k] *= scale;
}

}  // namespace

template <class T>
BlockDescent<T>::BlockDescent(const ProjectedDescentPlan& plan, Index samples, Index classes, Index p)
    : plan_(plan),
      samples_(samples),
      classes_(classes),
      p_(p),
      pass_(plan.loss, classes, p),
      gradient_(classes * p + classes),
      squares_(samples),
      squares_kept_(plan.rescaled || plan.features.constraint.kind == Constraint::frobenius || plan.looks() ||
                    plan.batch > 0),
      order_(plan.batch > 0 ? samples : 0) {
  std::fill(gradient_.begin(), gradient_.end(), T(0));
}

template <class T>
LossSummary BlockDescent<T>::step(const State<T>& state, const State<T>& velocity, Index step, const StepRates& rates,
                                  const Look& look, const Summarize& summarize, const Control& control) {
  const Index* chosen = nullptr;
  Index count = samples_;
  if (plan_.batch > 0) {
    const Index batches = divide_up(samples_, plan_.batch), first = step % batches * plan_.batch;
    if (const Index wanted = step / batches; epoch_ != wanted) {
      epoch_ = wanted;
      std::iota(order_.begin(), order_.end(), Index(0));
      SplitMix64 random({plan_.seed, static_cast<uint64_t>(epoch_)});
      shuffle(order_.data(), samples_, random);
    }
    chosen = order_.data() + first;
    count = std::min(plan_.batch, samples_ - first);
  }

  // The features of a block, each by its row g of ∂L/∂H.
  const auto move_row = LP_SELECT(move_row<T>);
  const MoveFactors factors = plan_.factors_of(plan_.features, rates.features);
  typename LossPass<T>::Move move;
  if (plan_.features.moves || look) {
    move = [&](Index begin, Index end, const T* rows) {
      for (Index i = begin; i < end; i++) {
        const Index sample = chosen ? chosen[i] : i;
        const T* g = rows + (i - begin) * p_;
        if (look) look(sample, g);
        if (!plan_.features.moves) continue;
        MoveFactors own = factors;
        if (plan_.rescaled) own.rate *= std::sqrt(squares_[sample]);
        T* x = state.features.row(sample);
        move_row(x, velocity.features.data ? velocity.features.row(sample) : nullptr, g, p_, own);
        if (squares_kept_) squares_[sample] = squared_norm(x, p_);
      }
    };
  }
  const bool seen = static_cast<bool>(look);
  const LossSummary summary = pass_.run({state.features, state.prototypes, state.biases, state.labels}, chosen, count,
                                        plan_.prototypes.moves || seen ? gradient().prototypes : Matrix<T>{},
                                        state.biases && (plan_.biases.moves || seen) ? gradient().biases : nullptr,
                                        move, static_cast<bool>(summarize), control);
  if (!std::isfinite(summary.value)) return summary;
  if (summarize) summarize(summary);
  if (plan_.features.moves) shrink_features(state, control);
  if (plan_.batch > 0) raise_largest_square(chosen, count);
  move_others(state, velocity, rates);
  return summary;
}

template <class T>
LossSummary BlockDescent<T>::observe(const State<T>& state, const Look& look, const Control& control) {
  typename LossPass<T>::Move each;
  if (look) {
    each = [&](Index begin, Index end, const T* rows) {
      for (Index i = begin; i < end; i++) look(i, rows + (i - begin) * p_);
    };
  }
  const bool seen = static_cast<bool>(look);
  return pass_.run({state.features, state.prototypes, state.biases, state.labels}, nullptr, samples_,
                   seen ? gradient().prototypes : Matrix<T>{}, seen && state.biases ? gradient().biases : nullptr, each,
                   true, control);
}

// Prototypes and biases, by ∂L/∂W and ∂L/∂b.
template <class T>
void BlockDescent<T>::move_others(const State<T>& state, const State<T>& velocity, const StepRates& rates) const {
  const auto move_row = LP_SELECT(move_row<T>);
  const State<T> g = gradient();
  if (plan_.prototypes.moves) {
    const MoveFactors factors = plan_.factors_of(plan_.prototypes, rates.prototypes);
    for (Index c = 0; c < classes_; c++) {
      move_row(state.prototypes.row(c), velocity.prototypes.data ? velocity.prototypes.row(c) : nullptr,
               g.prototypes.row(c), p_, factors);
    }
    const Index size = state.prototypes.size();
    const double factor = into_ball(factors.constraint, squared_norm(state.prototypes.data, size));
    if (factor < 1) scale_by(state.prototypes.data, size, factor);
  }
  if (state.biases && plan_.biases.moves) {
    move_row(state.biases, velocity.biases, g.biases, classes_, plan_.factors_of(plan_.biases, rates.biases));
  }
}

// Brings the features back into a Frobenius ball.
template <class T>
void BlockDescent<T>::shrink_features(const State<T>& state, const Control& control) {
  if (plan_.features.constraint.kind != Constraint::frobenius) return;
  const double square = std::accumulate(squares_.begin(), squares_.end(), 0.0);
  const double factor = into_ball(plan_.features.constraint, square);
  if (!(factor < 1)) return;
  parallel_for(samples_, 1 + (1 << 16) / p_, control, [&](Index begin, Index end) {
    for (Index i = begin; i < end; i++) {
      scale_by(state.features.row(i), p_, factor);
      squares_[i] = squared_norm(state.features.row(i), p_);
    }
  });
}

template <class T>
void BlockDescent<T>::measure_squares(const State<T>& state) {
  for (Index i = 0; i < samples_; i++) squares_[i] = squared_norm(state.features.row(i), p_);
  largest_square_ = 0;
  raise_largest_square(nullptr, samples_);
}

template <class T>
void BlockDescent<T>::raise_largest_square(const Index* chosen, Index count) {
  for (Index i = 0; i < count; i++) {
    const double square = squares_[chosen ? chosen[i] : i];
    if (!(square <= largest_square_)) largest_square_ = square;  // a NaN too
  }
}

template <class T>
bool project(Matrix<T> rows, const Constraint& constraint, const char* name) {
  if (constraint.kind == Constraint::frobenius) {
    const double length = norm(rows.data, rows.size());
    if (!(length > constraint.radius)) return false;
    scale_by(rows.data, rows.size(), constraint.radius / length);
    return true;
  }
  if (constraint.kind == Constraint::none) return false;
  bool outside = false;
  const double rounding = 8 * std::numeric_limits<T>::epsilon();
  for (Index i = 0; i < rows.rows; i++) {
    T* row = rows.row(i);
    const double ratio = norm(row, rows.cols) / constraint.radius;
    if (constraint.kind == Constraint::sphere && ratio == 0) {
      throw Error("LP_OPTION", name + ("[" + std::to_string(i)) +
                                   "] is zero and cannot be projected onto a sphere; expected a non-zero row.");
    }
    if (ratio <= 1 + rounding && (constraint.kind == Constraint::ball || ratio >= 1 - rounding)) continue;
    outside = true;
    for (Index j = 0; j < rows.cols; j++) row[j] = static_cast<T>(static_cast<double>(row[j]) / ratio);
  }
  return outside;
}

template class BlockDescent<float>;
template class BlockDescent<double>;
template bool project(Matrix<float>, const Constraint&, const char*);
template bool project(Matrix<double>, const Constraint&, const char*);

}  // namespace lp
