// What the two passes over samples of ops/loss/losses share: LogitsPass of losses that couple all classes, ClassPass of
// those that see the own prototype and a sum of all. Below, G = ∂L/∂Z (n, C) is the gradient by the logits, class
// weights and the mean's 1/n included.
#pragma once

#include <functional>
#include <string>

#include "core/error.h"
#include "ops/loss/losses.h"
#include "ops/loss/row.h"

namespace lp {

// One pass over samples of a state.
template <class T>
struct LossTask {
  const State<const T>& state;
  const Index* chosen;  // (count) the samples, or null: the first `count`
  Index count;
  Matrix<T> prototypes;                    // (C, p) ∂L/∂W, written unless there is no data
  T* biases;                               // (C) ∂L/∂b, written unless null
  const typename LossPass<T>::Move& move;  // takes ∂L/∂h, unless empty
  const Control& control;

  Index sample(Index i) const { return chosen ? chosen[i] : i; }
  const T* features(Index i) const { return state.features.row(sample(i)); }
  Index label(Index i) const { return state.labels[sample(i)]; }
};

// What the samples of a stretch add up to.
struct LossTally {
  double value = 0;    // Σ (a_y/n) ℓ_i
  double squares = 0;  // Σ ‖h_i‖², where features are regularized
  Decisions decisions;

  void add(const LossTally& more) {
    value += more.value;
    squares += more.squares;
    decisions.add(more.decisions);
  }
};

// a_y/n of a sample of class y among n, or a_y where losses are summed.
inline double sample_weight(const Loss& loss, Index label, Index count) {
  const double own = loss.class_weights.empty() ? 1 : loss.class_weights[label];
  return loss.sum ? own : own / static_cast<double>(count);
}

[[noreturn]] inline void refuse_zero(const char* name, Index i) {
  throw Error("LP_OPTION", name + ("[" + std::to_string(i)) +
                               "] is zero and has no direction; expected non-zero rows, as they are normalized.");
}

// A loss that couples all classes, as one row of logits sees it.
struct RowLoss {
  enum Kind { cross_entropy, mse, hinge } kind;
  double smoothing, margin;
};

// What is found of one row.
struct RowResult {
  double value;  // ℓ
  Decision decision;
};

}  // namespace lp

// The kernels. Turns products with the prototypes z (C) into g (C) = `weight` ∂ℓ/∂z of the logits z + b (biases: null
// for none). `soft` are soft labels (C) or null.
LP_DECLARE(template <class T> RowResult transform_row(const RowLoss& loss, T* z, Index classes, Index label,
                                                      const T* biases, const double* soft, double weight);)

// out = a x + b y (p); and, if sum is not null, sum += c x in double.
LP_DECLARE(template <class T>
           void combine_row(const T* x, const T* y, Index p, double a, double b, T* out, double c, double* sum);)

// sum (C) += the column sums of rows (count, C).
LP_DECLARE(template <class T> void add_rows(const T* rows, Index count, Index classes, double* sum);)
