#include "addon/loss_plan.h"

namespace lp::addon {

Loss loss_in(Napi::Object plan, Index samples, Index classes) {
  const auto vector = [&](const char* key, Index size) {
    if (!plan.Get(key).IsTypedArray()) return std::vector<double>();
    auto values = numbers_in(plan, key);
    if (std::ssize(values) != size) throw Error("LP_SHAPE", std::string("The loss has a wrong number of ") + key + ".");
    return values;
  };
  const double kind = number_in(plan, "kind");
  if (!(kind >= 0 && kind <= 5)) throw Error("LP_OPTION", "There is no such loss.");
  Loss loss;
  loss.kind = static_cast<LossKind>(static_cast<int>(kind));
  loss.gamma = number_in(plan, "gamma");
  loss.smoothing = number_in(plan, "smoothing");
  loss.margin = number_in(plan, "margin");
  loss.epsilon = number_in(plan, "epsilon");
  loss.class_weights = vector("classWeights", classes);
  loss.soft_labels = vector("softLabels", samples * classes);
  loss.targets = vector("targets", classes);
  loss.curvatures = vector("curvatures", classes);
  loss.prototype_lengths = vector("prototypeLengths", classes);
  loss.own_length = plan.Get("ownLength").ToBoolean();
  loss.normalized = plan.Get("normalized").ToBoolean();
  loss.radius = number_in(plan, "radius");
  loss.sum = plan.Get("sum").ToBoolean();
  loss.regularization = number_in(plan, "regularization");
  if (loss.kind == LossKind::dot_regression && (loss.targets.empty() || loss.curvatures.empty())) {
    throw Error("LP_SHAPE", "Dot regression needs targets and curvatures.");
  }
  return loss;
}

}  // namespace lp::addon
