// descend(mode, features, prototypes, biases?, labels, n, C, p, plan) → [features, prototypes, biases?]: see
// ops/descent/fused.
#include "addon/addon.h"
#include "addon/job.h"
#include "ops/descent/fused.h"

namespace lp::addon {

Napi::Value descend(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const Index n = size_argument(info, 5), classes = size_argument(info, 6), p = size_argument(info, 7);
    const bool biased = info[3].IsTypedArray();
    const Labels labels(info, 4, n, classes);
    // The operation moves the results in place: they begin as copies of the arguments.
    const Output<T> h(info, 1, n * p), w(info, 2, classes * p);
    const Output<T> b = biased ? Output<T>(info, 3, classes) : Output<T>(info.Env(), 0);

    const auto plan = info[8].As<Napi::Object>();
    const auto feature_rates = numbers_in(plan, "featureRates"), prototype_rates = numbers_in(plan, "prototypeRates");
    if (feature_rates.size() != prototype_rates.size()) throw Error("LP_SHAPE", "The learning rates differ in number.");
    Descent how{};
    how.gamma = number_in(plan, "gamma");
    how.decay_features = number_in(plan, "featureDecay");
    how.decay_prototypes = number_in(plan, "prototypeDecay");
    how.momentum = number_in(plan, "momentum");
    how.nesterov = plan.Get("nesterov").ToBoolean();
    how.steps = static_cast<Index>(feature_rates.size());
    return run(
        info,
        [=](Control& control) mutable {
          how.rates_features = feature_rates.data();
          how.rates_prototypes = prototype_rates.data();
          lp::descend<T>({h.matrix(n, p), w.matrix(classes, p), biased ? b.get() : nullptr, labels.get()}, how,
                         control);
        },
        [=](Napi::Env env) -> Napi::Value {
          return biased ? array_of(env, {h.value(), w.value(), b.value()}) : array_of(env, {h.value(), w.value()});
        });
  });
}

}  // namespace lp::addon
