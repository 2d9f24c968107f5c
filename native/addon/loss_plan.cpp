#include "addon/loss_plan.h"

namespace lp::addon {

Loss loss_in(const Argument& plan, Index samples, Index classes) {
  const auto vector = [&](const char* key, Index size) {
    const Argument given = plan[key];
    if (!given.given()) return std::vector<double>();
    if (given.length() != size) given.fail("LP_SHAPE", "has a length other than " + std::to_string(size));
    return given.numbers();
  };
  Loss loss;
  loss.kind = plan["kind"].choice<LossKind>({{"unhinged", LossKind::unhinged},
                                             {"cross-entropy", LossKind::cross_entropy},
                                             {"mse", LossKind::mse},
                                             {"hinge", LossKind::hinge},
                                             {"dot-regression", LossKind::dot_regression},
                                             {"adjusted-margin", LossKind::adjusted_margin}});
  loss.gamma = plan["gamma"].number();
  loss.smoothing = plan["smoothing"].number();
  loss.margin = plan["margin"].number();
  loss.epsilon = plan["epsilon"].number();
  loss.class_weights = vector("classWeights", classes);
  loss.soft_labels = vector("softLabels", samples * classes);
  loss.targets = vector("targets", classes);
  loss.curvatures = vector("curvatures", classes);
  loss.prototype_lengths = vector("prototypeLengths", classes);
  loss.own_length = plan["ownLength"].flag();
  loss.normalized = plan["normalized"].flag();
  loss.radius = plan["radius"].number();
  loss.sum = plan["sum"].flag();
  loss.regularization = plan["regularization"].number();
  if (loss.kind == LossKind::dot_regression && (loss.targets.empty() || loss.curvatures.empty())) {
    plan.fail("LP_SHAPE", "has no targets or no curvatures, which dot regression needs");
  }
  return loss;
}

}  // namespace lp::addon
