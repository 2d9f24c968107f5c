// lossAndGradient(mode, features, prototypes, biases?, labels, sizes, loss) → [numbers of a LossSummary, gradients of
// features, prototypes and biases]: see ops/losses.
#include "ops/losses/losses.h"

#include <iterator>
#include <memory>

#include "addon/addon.h"
#include "addon/job.h"
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

Napi::Value loss_and_gradient(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const auto sizes = info[5].As<Napi::Object>();
    const Index n = size_in(sizes, "samples"), classes = size_in(sizes, "classes"), p = size_in(sizes, "dim");
    const Loss loss = loss_in(info[6].As<Napi::Object>(), n, classes);
    const Input<T> features(info, 1, n * p), prototypes(info, 2, classes * p);
    const auto biases = info[3].IsTypedArray() ? std::make_shared<Input<T>>(info, 3, classes) : nullptr;
    const Labels labels(info, 4, n, classes);
    const Output<double> numbers(info.Env(), 4);
    const Output<T> h(info.Env(), n * p), w(info.Env(), classes * p), b(info.Env(), classes);
    return run(
        info,
        [=](Control& control) {
          const auto summary = lp::loss_and_gradient<T>(
              loss,
              {features.matrix(n, p), prototypes.matrix(classes, p), biases ? biases->get() : nullptr, labels.get()},
              {h.matrix(n, p), w.matrix(classes, p), b.get(), nullptr}, true, control);
          const double found[] = {summary.value, summary.accuracy, summary.min_margin, summary.regularizer};
          std::copy(std::begin(found), std::end(found), numbers.get());
        },
        [=](Napi::Env env) { return array_of(env, {numbers.value(), h.value(), w.value(), b.value()}); });
  });
}

}  // namespace lp::addon
