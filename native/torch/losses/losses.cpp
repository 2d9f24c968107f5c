#include "torch/losses/losses.h"

#include <limits>

namespace lp {
namespace {

using at::Tensor;

Tensor tensor_of(const std::vector<double>& values, const Tensor& like) {
  return torch::tensor(values, torch::kFloat64).to(like.options());
}

Tensor norms(const Tensor& rows) { return at::linalg_vector_norm(rows, 2, {1}); }

// Rows over their lengths, which are taken of rows over a power of two, so that no square under- or overflows; a zero
// row stays zero. 2^-e of a number m 2^e is m over it, exactly.
Tensor directions(const Tensor& rows) {
  const double least =
      rows.scalar_type() == at::kDouble ? std::numeric_limits<double>::min() : std::numeric_limits<float>::min();
  const auto largest = rows.detach().abs().amax({1}, true).clamp_min(least);
  const auto sized = rows * (std::get<0>(at::frexp(largest)) / largest);
  return sized / norms(sized).clamp_min(1e-12).unsqueeze(1);
}

// One column of each row.
Tensor at_labels(const Tensor& rows, const Tensor& labels) { return rows.gather(1, labels.unsqueeze(1)).squeeze(1); }

// A unit vector orthogonal to each unit row: the first axis that the row does not have most of itself in, made
// orthogonal.
Tensor orthogonal(const Tensor& units) {
  const auto axis = (units.select(1, 0).square() > 0.5).to(at::kLong) * (units.size(1) > 1 ? 1 : 0);
  const auto aside = at::one_hot(axis, units.size(1)).to(units.options()) - at_labels(units, axis).unsqueeze(1) * units;
  return aside / norms(aside).clamp_min(1e-30).unsqueeze(1);
}

Tensor dot_regression(const NetworkLoss& network, const Tensor& u, Tensor w, const Tensor& labels) {
  const Loss& loss = network.base;
  if (!loss.prototype_lengths.empty()) {
    w = (directions(w) * tensor_of(loss.prototype_lengths, w).unsqueeze(1)).detach();
  }
  auto target = tensor_of(loss.targets, u).index_select(0, labels);
  auto curvature = tensor_of(loss.curvatures, u).index_select(0, labels);
  auto own = w.index_select(0, labels);
  if (network.balanced) {
    const auto counts = at::bincount(labels, {}, w.size(0));
    const double per_label = static_cast<double>(labels.numel()) / counts.gt(0).sum().item<double>();
    const auto length = (per_label / counts.index_select(0, labels).to(u.scalar_type())).sqrt();
    target = target * length;
    own = own * length.unsqueeze(1);
  }
  const auto length = loss.own_length ? norms(u).detach() : at::ones_like(target);
  return 0.5 * curvature / length * ((own * u).sum(1) - target * length).square();
}

// Where the own prototype lies all but opposite to the feature, it counts as turned to the cosine −1 + ε; δ is fixed.
Tensor adjusted_margin(const Loss& loss, const Tensor& h, const Tensor& u, const Tensor& z, const Tensor& w,
                       const Tensor& biases, const Tensor& labels) {
  const auto plain = loss.gamma * z.sum(1) - (1 + loss.gamma) * at_labels(z, labels);
  const auto own = w.index_select(0, labels);
  Tensor turned, opposite;
  {
    torch::NoGradGuard no_gradient;
    const auto unit = h / norms(h).unsqueeze(1);
    const auto along = (own * unit).sum(1);
    opposite = along / norms(own) < -1 + loss.epsilon;
    if (!opposite.any().item<bool>()) return plain;
    const auto aside = own - along.unsqueeze(1) * unit;
    const auto length = norms(aside);
    const auto direction = at::where((length <= 1e-12 * along.abs()).unsqueeze(1), orthogonal(unit),
                                     aside / length.clamp_min(1e-300).unsqueeze(1));
    const double near = 1 - loss.epsilon;
    const auto wanted = along * (-std::sqrt(1 - near * near) / near);
    turned = along.unsqueeze(1) * unit + wanted.unsqueeze(1) * direction - own;  // δ
  }
  auto adjusted = -(1 + loss.gamma) * ((own + turned) * u).sum(1);
  if (biases.defined())
    adjusted = adjusted + loss.gamma * biases.sum() - (1 + loss.gamma) * biases.index_select(0, labels);
  return at::where(opposite, adjusted, plain);
}

// ℓ of each sample under these labels (n), without class weights.
Tensor sample_losses(const NetworkLoss& network, const Tensor& h, const Tensor& u, const Tensor& z, const Tensor& w,
                     const Tensor& biases, const Tensor& labels) {
  const Loss& loss = network.base;
  if (network.ldam) {
    const auto margins = tensor_of(network.margins, z).index_select(0, labels);
    const auto lowered = z.scatter_add(1, labels.unsqueeze(1), -margins.unsqueeze(1));
    return at::cross_entropy_loss(network.scale * lowered, labels, {}, at::Reduction::None);
  }
  switch (loss.kind) {
    case LossKind::unhinged:
      return loss.gamma * z.sum(1) - (1 + loss.gamma) * at_labels(z, labels);
    case LossKind::cross_entropy:
      return at::cross_entropy_loss(z, labels, {}, at::Reduction::None, -100, loss.smoothing);
    case LossKind::mse:
      return (z - at::one_hot(labels, z.size(1)).to(z.options())).square().sum(1);
    case LossKind::hinge:  // the own class has no excess
      return at::relu(z - at_labels(z, labels).unsqueeze(1) + loss.margin).sum(1) - std::max(loss.margin, 0.0);
    case LossKind::dot_regression:
      return dot_regression(network, u, w, labels);
    case LossKind::adjusted_margin:
      return adjusted_margin(loss, h, u, z, w, biases, labels);
  }
  throw Error("LP_OPTION", "There is no such loss.");
}

}  // namespace

Tensor entering(const NetworkLoss& loss, const Tensor& features) {
  if (!loss.base.normalized) return features;
  return loss.base.radius * directions(features);
}

Tensor logits(const NetworkLoss& loss, const Tensor& entering, const Tensor& prototypes, const Tensor& biases) {
  const auto w = loss.cosine ? directions(prototypes) : prototypes;
  return biases.defined() ? at::addmm(biases, entering, w.t()) : at::mm(entering, w.t());
}

Tensor network_loss(const NetworkLoss& network, const Tensor& features, const Tensor& prototypes, const Tensor& biases,
                    const Targets& targets, Index epoch) {
  const Loss& loss = network.base;
  const auto u = entering(network, features);
  // Dot regression makes no logits.
  const auto z =
      loss.kind == LossKind::dot_regression && !network.ldam ? Tensor() : logits(network, u, prototypes, biases);
  const bool weighted = network.weighted(epoch);
  const auto weights_of = [&](const Tensor& labels) {
    return tensor_of(loss.class_weights, u).index_select(0, labels);
  };
  const auto of = [&](const Tensor& labels) {
    auto losses = targets.soft.defined() ? -(targets.soft * at::log_softmax(z, 1)).sum(1)
                                         : sample_losses(network, features, u, z, prototypes, biases, labels);
    if (weighted) losses = losses * weights_of(labels);
    return losses;
  };
  const auto mixed = [&](const auto& values_of) {
    const Tensor own = values_of(targets.labels);
    return targets.partners.defined() ? targets.share * own + (1 - targets.share) * values_of(targets.partners) : own;
  };
  auto losses = mixed(of);
  if (network.rescaled) {
    const auto scaled = losses * norms(features).detach();
    losses = scaled + (losses - scaled).detach();
  }
  auto value = loss.sum                         ? losses.sum()
               : weighted && network.by_weights ? losses.sum() / mixed(weights_of).sum()
                                                : losses.mean();
  if (loss.regularization > 0) {
    const double share = network.mean_regularization ? 1.0 / static_cast<double>(features.size(0)) : 1;
    value = value + loss.regularization * share * features.square().sum();
  }
  return value;
}

}  // namespace lp
