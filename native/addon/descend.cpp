// descend(mode, state, { gamma, featureRates, prototypeRates, featureDecay, prototypeDecay, momentum, nesterov })
// → { features, prototypes, biases? } after as many steps as there are rates: see ops/descent/fused.
#include <algorithm>

#include "addon/call.h"
#include "ops/descent/fused.h"

namespace lp::addon {
namespace {

Napi::Value descend(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& start) {
    const Argument plan = call[2];
    const auto feature_rates = plan["featureRates"].numbers(), prototype_rates = plan["prototypeRates"].numbers();
    if (feature_rates.size() != prototype_rates.size()) throw Error("LP_SHAPE", "The learning rates differ in number.");
    FusedDescentPlan how{};
    how.gamma = plan["gamma"].number();
    how.decay_features = plan["featureDecay"].number();
    how.decay_prototypes = plan["prototypeDecay"].number();
    how.momentum = plan["momentum"].number();
    how.nesterov = plan["nesterov"].flag();
    how.steps = std::ssize(feature_rates);
    const StateOutput<T> out(call, start.sizes, bool(start.biases));
    return call.run(
        [=](Control& control) mutable {
          how.rates_features = feature_rates.data();
          how.rates_prototypes = prototype_rates.data();
          // The operation moves the results in place: they begin as copies of the start.
          const State<const T> from = start.get();
          const State<T> moved = out.get(from.labels);
          std::copy_n(from.features.data, from.features.size(), moved.features.data);
          std::copy_n(from.prototypes.data, from.prototypes.size(), moved.prototypes.data);
          if (from.biases) std::copy_n(from.biases, from.classes(), moved.biases);
          fused_descent<T>(moved, how, control);
        },
        [=](Napi::Env env) { return named(env, out.entries()); });
  });
}
LP_EXPORT("descend(mode, state, plan)", descend)

}  // namespace
}  // namespace lp::addon
