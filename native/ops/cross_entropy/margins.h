// The cross-entropy layer-peeled model as a max-margin problem (LP §3.1). With s_ij = (w_y − w_j)ᵀh_i for the classes
// j ≠ y of sample i,
//
//   margins  q_i = min_j s_ij
//   L = Σ_i log(1 + Σ_j e^{−s_ij}), the loss summed over samples
//   shares   p_ij/L of the softmax weights p_ij of the other classes: at most 1, and of the order of 1 however small L
//   is G = ∂L/∂Z over L: G_ij = p_ij/L, and G_iy = −Σ_j G_ij, whose digits p_iy − 1 would lose
//
// Logarithms are kept of what may leave the range of a double. Logits are made a block of samples at a time, again for
// every pass, and never stored whole. Biases play no part.
#pragma once

#include <functional>

#include "core/array.h"
#include "core/control.h"
#include "ops/cross_entropy/rows.h"

namespace lp {

// q (n) of a state.
void margins(const State<const double>& state, double* q, const Control& control);

// ‖W‖² + ‖H‖². Throws LP_NOT_FINITE if a value is not, LP_OVERFLOW if the sum is not.
double squares(const State<const double>& state);

// The softmax weights of a state, which must outlive them. Nothing of their results depends on the number of threads.
class Weights {
 public:
  Weights(const State<const double>& state, const Control& control);

  double log_loss() const { return log_loss_; }  // log L
  double smallest() const { return smallest_; }  // q_min

  // The curvature of L over L along (vh (n, p), vw (C, p)), with Ż = vh Wᵀ + H vwᵀ and Ġ = P∘(Ż − (P∘Ż) 11ᵀ)/L:
  //   oh = Ġ W + G vw     ow = Ġᵀ H + Gᵀ vh
  void bend(Matrix<const double> vh, Matrix<const double> vw, Matrix<double> oh, Matrix<double> ow,
            const Control& control);

  // ∇L over L: oh = G W, ow = Gᵀ H.
  void slope(Matrix<double> oh, Matrix<double> ow, const Control& control);

  // Σ_ij (p_ij/L) (s_ij/q_min − 1), and `factor` p_ij/L (n, C), 0 at the own classes, into `shares` unless null.
  double slack(double factor, double* shares, const Control& control) const;

 private:
  void product(bool bent, Matrix<const double> vh, Matrix<const double> vw, Matrix<double> oh, Matrix<double> ow,
               const Control& control);

  const State<const double> state_;
  double log_loss_, smallest_;
  Buffer<RowScale> scales_;          // (n) of p_ij/L
  Buffer<double> slopes_, changes_;  // (block, C) G, and Ż, then Ġ
};

// How far a state is from a KKT point of the minimum-norm separation problem (LP Eq. 3.1, Lemma B.1).
struct Certificate {
  double log_loss;
  double smallest;   // q_min
  double square;     // ρ²
  double alignment;  // β, the cosine between the state and −∇L
  double apart;      // ‖θ/ρ + ∇L/‖∇L‖‖² = 2 − 2β, with all its digits
  double slack;      // Σ λ_ij (s_ij/q_min − 1)
};

// `multipliers` λ_ij = ρ/‖∇L‖ p_ij (n, C), unless null. Throws LP_OPTION unless q_min > 0.
Certificate kkt_certificate(const State<const double>& state, double* multipliers, const Control& control);

// Plain loops, in plain softmax weights: the oracle, where L is in the range of a double. `slope_ref` and `bend_ref`
// are of L itself.
void margins_ref(const State<const double>& state, double* q);
double slope_ref(const State<const double>& state, Matrix<double> oh, Matrix<double> ow);
void bend_ref(const State<const double>& state, Matrix<const double> vh, Matrix<const double> vw, Matrix<double> oh,
              Matrix<double> ow);

}  // namespace lp
