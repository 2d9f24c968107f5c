// Losses of the layer-peeled model, their values and gradients. With u_i = h_i, or u_i = r h_i/‖h_i‖ where features are
// normalized, logits z_i = W u_i + b, and y the label of sample i, one sample's loss ℓ_i is
//
//   unhinged         −z_y + γ Σ_{j≠y} z_j                                                      (UL Eq. 1)
//   cross_entropy    −Σ_j t_j log softmax(z)_j,  t = (1−s) e_y + s/C, or a soft label          (LP Eq. 2.3)
//   mse              ‖z − t‖²,  t = e_y                                                        (UL Eq. 25)
//   hinge            Σ_{j≠y} max(0, z_j − z_y + m)
//   dot_regression   ½ κ_y (w_yᵀu − τ_y)²; biases play no part                                 (ETF Eq. 14)
//   adjusted_margin  unhinged, but with −(1+γ)(w_y + δ)ᵀu for what W u_i gives where cos∠(w_y, h) < −1 + ε; δ, which is
//                    held fixed, turns w_y so far that the cosine is −1 + ε                    (UL Eq. 104, corrected)
//
// and the objective is  (1/n) Σ_i a_{y_i} ℓ_i + ρ Σ_i ‖h_i‖²,  or the sum instead of the mean; a are class weights.
//
// A pass over blocks of samples makes a block's logits, turns them into ∂ℓ/∂z in place and consumes them by both
// products, so that they are never stored whole (ops/loss/logits_pass). What a loss does not couple to all classes
// (unhinged, dot_regression, adjusted_margin) costs O(p (n + C)) and makes no logits at all (ops/loss/class_pass).
#pragma once

#include <functional>
#include <vector>

#include "core/array.h"
#include "core/control.h"
#include "core/device.h"
#include "core/dispatch.h"

namespace lp {

enum class LossKind { unhinged, cross_entropy, mse, hinge, dot_regression, adjusted_margin };

struct Loss {
  LossKind kind = LossKind::cross_entropy;
  double gamma = 0;                       // unhinged, adjusted_margin
  double smoothing = 0;                   // cross_entropy: s
  double margin = 1;                      // hinge: m
  double epsilon = 0;                     // adjusted_margin: ε
  std::vector<double> class_weights;      // a (C), or empty for 1
  std::vector<double> soft_labels;        // t (n, C), or empty; cross_entropy
  std::vector<double> targets;            // dot_regression: τ (C)
  std::vector<double> curvatures;         // dot_regression: κ (C)
  bool own_length = false;                // dot_regression: τ_y ‖u_i‖ for τ_y and κ_y/‖u_i‖ for κ_y, ‖u_i‖ held fixed
  std::vector<double> prototype_lengths;  // dot_regression: where given (C), prototypes count by their direction, at
                                          // these lengths, and are held fixed
  bool normalized = false;                // whether features are
  double radius = 1;                      // r
  bool sum = false;                       // instead of the mean
  double regularization = 0;              // ρ, of features as they are
};

// What a pass finds out beside the gradient.
struct LossSummary {
  double value = 0;        // of the objective
  double accuracy = 0;     // these two only where they are asked for: logits that no gradient needs cost O(n p C)
  double min_margin = 0;   // min_i z_y − max_{j≠y} z_j
  double regularizer = 0;  // ρ Σ‖h‖², part of value
};

// Value and gradients. What of `gradient` is null is not computed. `measure` asks for accuracy and margins.
// Throws LP_NOT_FINITE.
template <class T>
LossSummary loss_and_gradient(const Loss& loss, const State<const T>& state, const State<T>& gradient, bool measure,
                              const Control& control);

// Plain loops over the formulas: the oracle.
template <class T>
LossSummary loss_and_gradient_ref(const Loss& loss, const State<const T>& state, const State<T>& gradient);

namespace cuda {
// The same on the device.
template <class T>
LossSummary loss_and_gradient(Job& job, Precision precision, const Loss& loss, const State<const T>& state,
                              const State<T>& gradient, bool measure);
}  // namespace cuda

// The same pass for whoever moves the state: descent. Memory is kept from one pass to the next.
template <class T>
class LossPass {
 public:
  LossPass(const Loss& loss, Index classes, Index p);
  ~LossPass();

  // Over the samples listed in `chosen` (count of them; null: the first `count`); means are over these. Fills the
  // gradients of prototypes (C, p) and biases (C) unless null. Once nobody needs a block's features any more, calls
  // move(begin, end, gradient), in parallel for different blocks, with ∂/∂h of the samples begin … end − 1 of the list
  // (rows of p): the callee may change these features. Nothing of the result depends on the number of threads.
  using Move = std::function<void(Index begin, Index end, const T* gradient)>;
  LossSummary run(const State<const T>& state, const Index* chosen, Index count, Matrix<T> prototypes, T* biases,
                  const Move& move, bool measure, const Control& control);

  size_t bytes() const;

 private:
  struct Passes;
  std::unique_ptr<Passes> passes_;
};

}  // namespace lp
