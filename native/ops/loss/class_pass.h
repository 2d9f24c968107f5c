// The pass of losses that see the own prototype and a sum of all: unhinged, dot regression, adjusted margin. Of a
// sample of class y, with u = h, or r h/‖h‖ where features are normalized,
//
//   ∂ℓ/∂u = s v_y      v_c = γ Σ_j w_j − (1+γ) w_c,  s = 1;  of dot regression v_c = w_c (at its stated length),
//                      s = κ_y (v_yᵀu − τ_y)
//
// with one vector v_c a class, so that ∂L/∂H costs O(n p), and ∂L/∂W follows from the class sums S_c = Σ_{y_i=c} a_c s
// u_i alone. No logits are made.
#pragma once

#include <vector>

#include "ops/linear/class_sums.h"
#include "ops/loss/pass.h"

namespace lp {

template <class T>
class ClassPass {
 public:
  // The loss must outlive the pass.
  ClassPass(const Loss& loss, Index classes, Index p) : loss_(loss), classes_(classes), p_(p) {}

  // Accuracy and margins are not among what it finds.
  LossTally run(const LossTask<T>& task) const;

 private:
  struct Pulls {
    Buffer<T> rows;               // (C, p) v
    std::vector<double> offsets;  // (C) what biases add to the loss
  };
  // Where a thread works on a sample, each (p).
  struct Scratch {
    T *u, *turned, *slope;  // slope: ∂L/∂h
  };
  // How the loss of one sample depends on its u.
  struct Slope {
    double value;  // ℓ, yet without biases
    double s;
    const T* v;
    double along;  // vᵀu
  };

  Pulls pulls(const LossTask<T>& task) const;
  LossTally pull(const LossTask<T>& task, const Pulls& pulls, Index i, const Scratch& scratch, double* sum,
                 double* turned_sum) const;
  Slope slope_of(Index label, const T* x, double factor, double length, const T* v) const;
  bool turn(const T* w, const T* h, double length, T* v) const;
  void prototype_gradient(const LossTask<T>& task, Matrix<double> sums, Matrix<double> turned_sums) const;
  void bias_gradient(const LossTask<T>& task, const ByClass& by_class) const;

  bool regression() const { return loss_.kind == LossKind::dot_regression; }

  const Loss& loss_;
  const Index classes_, p_;
};

}  // namespace lp
