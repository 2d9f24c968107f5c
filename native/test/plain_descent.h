// Projected descent in plain loops over the formulas of ops/descent/move and ops/loss/losses: what the engines of
// descent are held to.
#pragma once

#include <numeric>
#include <vector>

#include "check.h"
#include "ops/descent/plan.h"

namespace lp::test {

template <class T>
struct Arrays {
  Arrays(Index n, Index classes, Index p) : h(n * p), w(classes * p), b(classes), n(n), classes(classes), p(p) {}
  State<T> state(const std::vector<int32_t>& labels, bool biased) {
    return {{h.data(), n, p}, {w.data(), classes, p}, biased ? b.data() : nullptr, labels.data()};
  }
  std::vector<T> h, w, b;
  Index n, classes, p;
};

template <class T>
State<const T> constant(const State<T>& state) {
  return {state.features, state.prototypes, state.biases, state.labels};
}

inline std::vector<Index> all_of(Index n) {
  std::vector<Index> order(n);
  std::iota(order.begin(), order.end(), Index(0));
  return order;
}

// The listed rows of x (rows, p); and what brings them back onto a constraint of single rows.
template <class T>
void plain_move(std::vector<T>& x, std::vector<T>& v, const std::vector<T>& g, const std::vector<Index>& rows, Index p,
                double rate, const PartPlan& part, const ProjectedDescentPlan& plan, bool rescaled) {
  if (!part.moves) return;
  const double radius = part.constraint.radius;
  const auto row_norm = [&](Index i) {
    double square = 0;
    for (Index j = i * p; j < (i + 1) * p; j++) square += static_cast<double>(x[j]) * static_cast<double>(x[j]);
    return std::sqrt(square);
  };
  for (Index k = 0; k < std::ssize(rows); k++) {
    const Index i = rows[k];
    const double own = rescaled ? rate * row_norm(i) : rate;
    for (Index j = 0; j < p; j++) {
      T &at = x[i * p + j], &speed = v[i * p + j];
      const double d = static_cast<double>(g[k * p + j]) + part.decay * static_cast<double>(at);
      speed = static_cast<T>(plan.momentum * static_cast<double>(speed) + d);
      const double now = static_cast<double>(speed);
      at = static_cast<T>(static_cast<double>(at) - own * (plan.nesterov ? d + plan.momentum * now : now));
    }
    const double length = row_norm(i);
    const bool outside = part.constraint.kind == Constraint::sphere
                             ? length > 0
                             : part.constraint.kind == Constraint::ball && length > radius;
    for (Index j = i * p; j < (i + 1) * p && outside; j++)
      x[j] = static_cast<T>(static_cast<double>(x[j]) * radius / length);
  }
  if (part.constraint.kind != Constraint::frobenius) return;
  double all = 0;
  for (T value : x) all += static_cast<double>(value) * static_cast<double>(value);
  if (std::sqrt(all) <= radius) return;
  for (T& value : x) value = static_cast<T>(static_cast<double>(value) * radius / std::sqrt(all));
}

// One step by the samples of `batch`. Returns the loss before it.
template <class T>
double plain_step(const ProjectedDescentPlan& plan, Arrays<T>& x, Arrays<T>& v, const std::vector<int32_t>& labels,
                  bool biased, const std::vector<Index>& batch, const double (&rates)[3]) {
  const Index n = std::ssize(batch), classes = x.classes, p = x.p;
  Arrays<T> chosen(n, classes, p), g(n, classes, p);
  chosen.w = x.w, chosen.b = x.b;
  std::vector<int32_t> own;
  Loss loss = plan.loss;
  loss.soft_labels.clear();
  for (Index k = 0; k < n; k++) {
    const Index i = batch[k];
    std::copy_n(&x.h[i * p], p, &chosen.h[k * p]);
    own.push_back(labels[i]);
    if (plan.loss.soft_labels.empty()) continue;
    const auto soft = plan.loss.soft_labels.begin() + i * classes;
    loss.soft_labels.insert(loss.soft_labels.end(), soft, soft + classes);
  }
  const double value = loss_and_gradient_ref(loss, constant(chosen.state(own, biased)), g.state(own, biased)).value;
  plain_move(x.h, v.h, g.h, batch, p, rates[0], plan.features, plan, plan.rescaled);
  plain_move(x.w, v.w, g.w, all_of(classes), p, rates[1], plan.prototypes, plan, false);
  if (biased) plain_move(x.b, v.b, g.b, {0}, classes, rates[2], plan.biases, plan, false);
  return value;
}

// With one of the first `kinds` of losses, those of lanes before the others.
inline ProjectedDescentPlan random_plan(Random& random, Index classes, Index kinds) {
  static constexpr LossKind kKinds[] = {LossKind::cross_entropy,  LossKind::mse,
                                        LossKind::hinge,          LossKind::unhinged,
                                        LossKind::dot_regression, LossKind::adjusted_margin};
  ProjectedDescentPlan plan;
  Loss& loss = plan.loss;
  loss.kind = kKinds[random.below(kinds)];
  loss.gamma = 0.3;
  loss.normalized = random.below(3) == 0;
  loss.radius = 1.5;
  loss.sum = random.below(4) == 0;
  if (loss.kind == LossKind::cross_entropy) {
    if (random.below(2)) loss.smoothing = 0.1;
    if (random.below(2)) {
      for (Index c = 0; c < classes; c++) loss.class_weights.push_back(1 + 0.5 * random.uniform());
    }
  }
  if (loss.kind == LossKind::dot_regression) {
    loss.targets.assign(classes, 0.9), loss.curvatures.assign(classes, 0.7);
    if (random.below(2)) loss.prototype_lengths.assign(classes, 1.1);
  }
  loss.epsilon = 0.8;
  if (random.below(3) == 0) loss.regularization = 0.01;
  if (random.below(2)) plan.momentum = 0.7;
  plan.nesterov = plan.momentum != 0 && random.below(2);
  plan.rescaled = random.below(4) == 0;
  for (PartPlan* part : {&plan.features, &plan.prototypes, &plan.biases}) {
    part->moves = random.below(5) != 0;
    if (random.below(2)) part->decay = 0.05;
    if (part == &plan.biases) continue;
    part->constraint.kind = static_cast<Constraint::Kind>(random.below(4));
    part->constraint.radius = part->constraint.kind == Constraint::frobenius ? 2 : 0.8;
  }
  return plan;
}

}  // namespace lp::test
