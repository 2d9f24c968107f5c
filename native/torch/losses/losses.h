// The losses of native/ops/loss/losses over features h (n, p), prototypes W (C, p) and biases b (C) of a network, as
// expressions that libtorch differentiates; with u = h, or r h/‖h‖ where features are normalized, z = W u + b. Beyond
// those that are there:
//
//   ldam      cross-entropy of s (z − m_y e_y), m_c = ½ (n_c / min n)^{−1/4}            (Cao et al. 2019, Eq. 13)
//   rescaled  ‖h‖, held fixed, multiplies each sample's gradient but not its value     (UL §4.3, footnote 15)
//   cosine    W by its rows' directions                                                (LDAM's classifier)
//   balanced  dot regression's lengths by the counts of the batch, γ_B its size over
//             its number of labels: τ_c = √(γ_B/n_c), κ_c = 1                          (ETF, released code)
//   mixtures  λ ℓ(y) + (1 − λ) ℓ(partner's y): of cross-entropy that of the soft label
//
// Class weights multiply the samples' losses; the mean divides by n, or by the sum of the weights, of a mixture λ a_y +
// (1 − λ) a of the partner's. The regularization ρ Σ‖h‖² (or its mean) is of the
// features as they are before normalization.
#pragma once

#include <torch/torch.h>

#include "ops/loss/losses.h"

namespace lp {

struct NetworkLoss {
  Loss base;
  bool mean_regularization = false;
  bool rescaled = false;
  bool cosine = false;
  bool balanced = false;
  bool ldam = false;
  double scale = 1;             // ldam: s
  std::vector<double> margins;  // ldam: m (C)
  // Class weights count from this epoch on (deferred re-weighting).
  Index weights_from = 0;
  // Whether the mean divides by the sum of the weights (Cao et al. 2019's, as PyTorch's cross-entropy has it).
  bool by_weights = false;

  bool weighted(Index epoch) const { return !base.class_weights.empty() && epoch >= weights_from; }
};

struct Targets {
  at::Tensor labels;           // (n), int64
  at::Tensor partners, share;  // labels and λ of a mixup, or undefined
  at::Tensor soft;             // (n, C) in place of labels, or undefined; cross-entropy
};

// The features as they enter the logits, and the logits (n, C).
at::Tensor entering(const NetworkLoss& loss, const at::Tensor& features);
at::Tensor logits(const NetworkLoss& loss, const at::Tensor& entering, const at::Tensor& prototypes,
                  const at::Tensor& biases);

// The objective. Biases may be undefined.
at::Tensor network_loss(const NetworkLoss& loss, const at::Tensor& features, const at::Tensor& prototypes,
                        const at::Tensor& biases, const Targets& targets, Index epoch);

}  // namespace lp
